package oauth

import (
	"context"
	"encoding/base64"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// secrets returns the values that are sent with every token request and must not be printed.
func (o *App) secrets() []string {
	secret := o.cfg.ClientSecret.Reveal()
	// This is how x/oauth2 writes them into the header (RFC 6749 section 2.3.1).
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(o.cfg.ClientID) + ":" + url.QueryEscape(secret)))
	return []string{secret, basic}
}

// refresh makes a token request with t's refresh token, or with the app's own credentials if own is true.
func (o *App) refresh(ctx context.Context, key string, t Token, own bool) (Token, *belay.Error) {
	form := o.params()
	if !own {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", t.Refresh.Reveal())
	}
	return o.request(ctx, key, form, own, t.Access.Reveal())
}

// exchange makes the token request for an authorization code.
func (o *App) exchange(ctx context.Context, key, code, verifier string) (Token, error) {
	form := o.params()
	form.Set("grant_type", "authorization_code")
	form.Set("code", code)
	form.Set("code_verifier", verifier)
	form.Set("redirect_uri", o.cfg.RedirectURL)
	t, err := o.request(ctx, key, form, false)
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

// send makes one token request of any grant. It uses the client credentials of x/oauth2 for all grants,
// because only they take every parameter.
func (o *App) send(ctx context.Context, form url.Values, scopes bool) (*oauth2.Token, error) {
	grant := clientcredentials.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret.Reveal(), TokenURL: o.cfg.TokenURL,
		EndpointParams: form, AuthStyle: o.cfg.Style.style(),
	}
	if scopes {
		grant.Scopes = o.cfg.Scopes
	}
	return grant.Token(context.WithValue(ctx, oauth2.HTTPClient, o.client))
}

const (
	maxAttempts     = 3                      // attempts of a token request that fails for a reason that may pass
	refreshTimeouts = 6                      // multiple of Config.Timeout that a refresh takes at most
	firstBackoff    = 500 * time.Millisecond // doubled after each attempt
)

// request makes a token request within the endpoint's limits. It repeats the request after a 5xx, a 429 or a
// transport error, if the wait is not longer than one request may take.
func (o *App) request(
	ctx context.Context, key string, form url.Values, scopes bool, secrets ...string,
) (Token, *belay.Error) {
	for name, values := range form {
		if redact.LooksSecretField(name) {
			secrets = append(secrets, values...)
		}
	}
	secrets = append(secrets, o.secrets()...)
	for attempt := 1; ; attempt++ {
		t, err := o.attempt(ctx, key, form, scopes, secrets)
		if err == nil || attempt == maxAttempts || err.Class != belay.ClassTransient && err.Class != belay.ClassRateLimited {
			return t, err
		}
		wait := max(err.RetryAfter, firstBackoff<<(attempt-1))
		if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || wait > o.cfg.Timeout {
			return t, err
		}
		if errkit.Sleep(ctx, wait) != nil {
			return t, err
		}
	}
}

// attempt makes one token request, once the endpoint's limits admit it.
func (o *App) attempt(
	ctx context.Context, key string, form url.Values, scopes bool, secrets []string,
) (t Token, e *belay.Error) {
	ticket := belay.Ticket{Tenant: key}
	if err := o.limiter.Acquire(ctx, &ticket); err != nil {
		e := o.fail(key, "", "the limit of the token endpoint leaves no request now", err)
		e.Verdict = belay.Verdict{Class: belay.ClassRefused, Scope: belay.ScopeCall, Message: e.Message}
		e.Verdict.RetryAfter, _ = belay.RetryAfter(err)
		return Token{}, e
	}
	outcome := belay.Outcome{Verdict: belay.Verdict{Class: belay.ClassCanceled}, Sent: true} // if a panic passes
	defer func() { o.limiter.Release(&ticket, outcome) }()
	ctx, cancel := context.WithTimeoutCause(ctx, o.cfg.Timeout, errkit.ErrAttemptTimeout)
	defer cancel()
	began := time.Now()
	raw, err := o.send(ctx, form, scopes)
	if e = o.explain(ctx, key, secrets, err); e == nil {
		t = tokenOf(raw, began)
		if bad := t.check(); bad != nil {
			e = o.fail(key, "bad_token", "the token endpoint's answer cannot be used: "+bad.Error(), nil)
			e.Class, t = belay.ClassData, Token{}
		}
	}
	outcome.Verdict = belay.Verdict{}
	if e != nil {
		outcome = belay.Outcome{Verdict: e.Verdict, Sent: !e.Unsent()}
	}
	return t, e
}
