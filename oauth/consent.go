package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/url"

	"golang.org/x/oauth2"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// Consent is a visit to the partner's consent page. Keep it with the user's session until the callback. To
// write it down, take the Verifier with Reveal, because a Secret is written as REDACTED.
type Consent struct {
	// URL is the page to send the user to.
	URL string
	// State comes back with the callback; Exchange compares it.
	State string
	// Verifier is the PKCE verifier (RFC 7636), which only this side knows. It is empty with Config.NoPKCE.
	Verifier belay.Secret
}

// AuthCodeURL begins the authorization code grant with a random state and, unless Config.NoPKCE is set, PKCE (S256).
// Params are added to the URL of the consent page, for example access_type=offline. Nil adds none; a parameter of the
// grant itself is an error.
func (o *App) AuthCodeURL(params url.Values) (Consent, error) {
	if o == nil || o.cfg.AuthURL == "" || o.cfg.RedirectURL == "" {
		return Consent{}, errkit.Invalidf("AuthCodeURL: Config.AuthURL or RedirectURL is empty")
	}
	c := Consent{State: oauth2.GenerateVerifier()}
	var challenge []oauth2.AuthCodeOption
	if !o.cfg.NoPKCE {
		verifier := oauth2.GenerateVerifier()
		c.Verifier, challenge = belay.NewSecret(verifier), append(challenge, oauth2.S256ChallengeOption(verifier))
	}
	page := oauth2.Config{
		ClientID: o.cfg.ClientID, RedirectURL: o.cfg.RedirectURL, Scopes: o.cfg.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: o.cfg.AuthURL},
	}
	u, err := url.Parse(page.AuthCodeURL(c.State, challenge...))
	if err != nil {
		return Consent{}, errkit.Invalidf("AuthCodeURL: %w", err)
	}
	query := u.Query()
	for name, values := range params {
		if query.Has(name) {
			return Consent{}, errkit.Invalidf("AuthCodeURL: the parameter %q is the grant's own", name)
		}
		query[name] = values
	}
	u.RawQuery = query.Encode()
	c.URL = u.String()
	return c, nil
}

// Exchange completes the grant: it compares the state in the callback's query, exchanges the code for a
// token, and stores the token under key, which is the integration's. A callback with an error (the user said
// no), without a code, or with another state returns [belay.ErrAuth].
func (o *App) Exchange(ctx context.Context, key string, c Consent, callback url.Values) error {
	switch {
	case o == nil:
		return errkit.Invalidf("Exchange: the App is nil")
	case ctx == nil || key == "":
		return errkit.Invalidf("Exchange: the context is nil or the key is empty")
	case c.State == "" || !o.cfg.NoPKCE && c.Verifier.Check() != nil:
		return errkit.Invalidf(
			"Exchange: the consent is not one of AuthCodeURL; its Verifier does not survive being written, but by Reveal")
	case subtle.ConstantTimeCompare([]byte(c.State), []byte(callback.Get("state"))) != 1:
		return o.fail(key, "state_mismatch",
			"the state of the callback is not the one that was sent: begin the consent again", nil)
	case callback.Get("error") != "":
		secrets := []string{callback.Get("code"), c.State, c.Verifier.Reveal()}
		return o.fail(key, redact.Line(redact.Values(callback.Get("error"), secrets), 100),
			"the consent was refused: "+redact.Line(redact.Values(callback.Get("error_description"), secrets), 200), nil)
	case callback.Get("code") == "":
		return o.fail(key, "no_code", "the callback holds no code: begin the consent again", nil)
	}
	got, err := o.exchange(ctx, key, callback.Get("code"), c.Verifier.Reveal())
	if err != nil {
		if kept, ok := (Token{}).keeping(got); ok { // the next call may make a token of it
			return errors.Join(err, o.replace(ctx, key, kept))
		}
		return err
	}
	if err := o.Put(ctx, key, got); err != nil {
		return err
	}
	if !got.understood() {
		return o.unknown(key, got)
	}
	return nil
}
