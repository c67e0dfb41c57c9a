package oauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
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
	if o.login != nil {
		return o.login.renew(ctx, o, key, t)
	}
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
	if verifier != "" && !o.cfg.NoPKCE {
		form.Set("code_verifier", verifier)
	}
	form.Set("redirect_uri", o.cfg.RedirectURL)
	t, err := o.request(ctx, key, form, false)
	if err != nil {
		return t, err
	}
	return t, nil
}

// send makes one token request of any grant. It uses the client credentials of x/oauth2 for all grants,
// because only they take every parameter. What the endpoint said is returned after an error too.
func (o *App) send(ctx context.Context, form url.Values, scopes bool) (*oauth2.Token, *told, error) {
	grant := clientcredentials.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret.Reveal(), TokenURL: o.cfg.TokenURL,
		EndpointParams: form, AuthStyle: o.cfg.Style.style(),
	}
	if scopes {
		grant.Scopes = o.cfg.Scopes
	}
	if o.cfg.RefreshURL != "" && form.Get("grant_type") == "refresh_token" {
		grant.TokenURL = o.cfg.RefreshURL
	}
	var said told
	ctx = context.WithValue(ctx, toldKey{}, &said)
	t, err := grant.Token(context.WithValue(ctx, oauth2.HTTPClient, o.client))
	return t, &said, err
}

// harmless are the parameters of a token request that are no secret. An endpoint may repeat any other one.
var harmless = map[string]bool{
	"grant_type": true, "scope": true, "redirect_uri": true, "audience": true, "resource": true, "client_id": true,
	"response_type": true, "access_type": true,
}

const (
	maxAttempts     = 3                      // attempts of a token request that fails for a reason that may pass
	refreshTimeouts = 6                      // multiple of Config.Timeout that a refresh takes at most
	firstBackoff    = 500 * time.Millisecond // doubled after each attempt
)

// budget returns the time that all attempts of a token request together may take: a third more than one.
func (o *App) budget() time.Duration { return o.cfg.Timeout + o.cfg.Timeout/3 }

// request makes a token request within the endpoint's limits. It repeats the request after a 5xx, a 429 or a
// transport error, as often as the budget allows, if the wait is not longer than one request may take.
func (o *App) request(
	ctx context.Context, key string, form url.Values, scopes bool, secrets ...string,
) (Token, *belay.Error) {
	for name, values := range form {
		if !harmless[name] {
			secrets = append(secrets, values...)
		}
	}
	secrets = append(secrets, o.secrets()...)
	return o.repeat(ctx, func(ctx context.Context) (Token, *belay.Error) {
		return o.attempt(ctx, key, func(ctx context.Context) (t Token, e *belay.Error) {
			began := time.Now()
			raw, said, err := o.send(ctx, form, scopes)
			if e = o.explain(ctx, key, secrets, err); e == nil {
				t = tokenOf(raw, began, append(slices.Clip(secrets), said.secrets()...))
			} else {
				t = said.leftover(e, began)
				said.explain(e, secrets)
			}
			if t.Extra = said.extra(); t.Expiry.IsZero() {
				t.Expiry = endAt(t.Extra["expires_at"].Reveal())
			}
			if t.Type = cmp.Or(o.cfg.TokenType, t.Type); strings.EqualFold(t.Type, "bearer") {
				t.Type = ""
			}
			return t, e
		})
	})
}

// repeat makes attempts of a token request until one succeeds, or cannot, or the budget is spent.
func (o *App) repeat(
	ctx context.Context, attempt func(context.Context) (Token, *belay.Error),
) (t Token, err *belay.Error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.budget(), errkit.ErrAttemptTimeout)
	defer cancel()
	for n := 1; ; n++ {
		t, err = attempt(ctx)
		if err == nil || !t.empty() || // the old refresh token may be spent
			err.Class != belay.ClassTransient && err.Class != belay.ClassRateLimited {
			return t, err
		}
		wait := max(err.RetryAfter, firstBackoff<<(n-1))
		deadline, ok := ctx.Deadline()
		if n == maxAttempts || errors.Is(err, belay.ErrCircuitOpen) || ok && wait >= time.Until(deadline) ||
			wait > o.cfg.Timeout ||
			errkit.Sleep(ctx, wait) != nil {
			e := *err
			e.Err = repeated{cmp.Or[error](err.Err, errors.New("no token"))}
			return t, &e
		}
	}
}

// attempt makes one token request, once the endpoint's limits and its circuit admit it.
func (o *App) attempt(
	ctx context.Context, key string, send func(context.Context) (Token, *belay.Error),
) (t Token, e *belay.Error) {
	ticket := tickets{Ticket: belay.Ticket{Tenant: key}}
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
	e = o.guarded(ctx, key, func() (e *belay.Error) {
		t, e = send(ctx)
		return e
	})
	if e == nil {
		if bad := t.check(); bad != nil {
			e = o.fail(key, badToken, "the token endpoint's answer cannot be used: "+bad.Error(), nil)
			e.Class = belay.ClassData
		}
	}
	outcome.Verdict = belay.Verdict{}
	if e != nil {
		outcome = belay.Outcome{Verdict: e.Verdict, Sent: !e.Unsent()}
	}
	return t, e
}

// guarded runs send unless the circuit of the token endpoint is open. Each key is a route of its own to the breaker,
// so that one customer's failures do not keep the others from their tokens.
func (o *App) guarded(ctx context.Context, key string, send func() *belay.Error) (e *belay.Error) {
	sent := false
	rt := o.breaker.Wrap(roundTripper(func(req *http.Request) (*http.Response, error) {
		sent = true
		if e = send(); e != nil {
			return nil, e
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
	}))
	u := &url.URL{Scheme: "token", Host: o.cfg.Name, Path: "/" + letters(key)}
	what := "the token endpoint does not work, and is tried again soon"
	if o.login != nil { // each customer may have another host
		u.Host, what = letters(key), "the login does not work, and is tried again soon"
	}
	req := (&http.Request{Method: http.MethodPost, URL: u}).WithContext(ctx)
	resp, err := rt.RoundTrip(req)
	switch {
	case resp != nil:
		_ = resp.Body.Close()
	case !sent:
		e = o.fail(key, "", what, belay.ErrCircuitOpen)
		e.Verdict = belay.Verdict{Class: belay.ClassTransient, Scope: belay.ScopeCall, Message: e.Message}
		e.Verdict.RetryAfter, _ = belay.RetryAfter(err)
	}
	return e
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// letters returns a name for key without digits, which the breaker would take for an id.
func letters(key string) string {
	sum := sha256.Sum256([]byte(key))
	out := make([]byte, 0, 32)
	for _, b := range sum[:16] {
		out = append(out, 'a'+b>>4, 'a'+b&15)
	}
	return string(out)
}
