package belay

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// OAuth2Config is an app's registration with a partner's authorization server (RFC 6749). The zero value
// lacks a TokenURL and a ClientID, which are needed.
type OAuth2Config struct {
	// TokenURL is the token endpoint, https or on loopback.
	TokenURL string
	// ClientID and ClientSecret are the app's. The secret is empty for a public client.
	ClientID     string
	ClientSecret Secret
	// Style says how they are sent. Zero is in the body. It is never found out by trying, as some partners
	// allow five token requests a day.
	Style ClientAuthStyle
	// Scopes are asked for, separated by spaces. Nil asks for none.
	Scopes []string
	// Params are sent with each token request, such as an audience. They are not printed. Nil sends none.
	Params url.Values `json:"-"`
	// AuthURL and RedirectURL are for AuthCodeURL and Exchange only: the consent page, and where it leads back.
	AuthURL, RedirectURL string
	// Store keeps the tokens. Nil is a MemoryStore, which forgets them with the process.
	Store TokenStore
	// Limits are the token endpoint's own. Nil is none.
	Limits []Limit
	// Timeout bounds one token request, and the wait for the store. Zero means 30 s, negative is an error.
	Timeout time.Duration
	// Transport sends the token requests. Nil is one like a client's own.
	Transport http.RoundTripper
	// Observer is told when tokens are refreshed, refused or revoked. Nil tells nobody.
	Observer Observer
	// Name names the partner in errors and events. Empty is the token endpoint's host.
	Name string
}

// Format prints the config without its parameters and secrets, by any verb.
func (c OAuth2Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "OAuth2Config{%s, client %q}", c.TokenURL, c.ClientID)
}

// ClientAuthStyle is how an app shows who it is (RFC 6749 section 2.3.1).
type ClientAuthStyle uint8

const (
	// ClientAuthBody sends client_id and client_secret as parameters.
	ClientAuthBody ClientAuthStyle = iota
	// ClientAuthHeader sends them as Basic authorization.
	ClientAuthHeader
)

func (s ClientAuthStyle) style() oauth2.AuthStyle {
	if s == ClientAuthHeader {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// OAuth2 gets tokens for the integrations of one app, refreshes them before they expire, and keeps them. Make
// it with [NewOAuth2], one for each app, and an [Authenticator] of it for each integration. It is safe for
// concurrent use.
type OAuth2 struct {
	cfg     OAuth2Config
	params  func() url.Values // copies, behind a func so that they do not print
	limiter *Limiter
	client  *http.Client

	mu      sync.Mutex
	sources map[string]*tokenSource
}

const defaultTokenTimeout = 30 * time.Second

// NewOAuth2 returns an app, or an error that names each field out of range.
func NewOAuth2(cfg OAuth2Config) (*OAuth2, error) {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf("OAuth2Config."+format, args...))
		}
	}
	checkURL := func(field, value string, needed bool) {
		if value == "" && !needed {
			return
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.User != nil {
			bad(true, "%s is not the URL of an endpoint", field)
			return
		}
		bad(u.Scheme != "https" && !(u.Scheme == "http" && origin.Loopback(u)), "%s is %s, must be https (or loopback)", field, origin.Of(u))
		if field == "TokenURL" && cfg.Name == "" {
			cfg.Name = u.Host
		}
	}
	checkURL("TokenURL", cfg.TokenURL, true)
	checkURL("AuthURL", cfg.AuthURL, false)
	bad(cfg.ClientID == "", "ClientID is empty")
	if cfg.ClientSecret.Reveal() != "" {
		if err := cfg.ClientSecret.check(); err != nil {
			bad(true, "ClientSecret: %w", err)
		}
	}
	bad(cfg.Style > ClientAuthHeader, "Style is %d, not known", cfg.Style)
	bad(cfg.Timeout < 0, "Timeout is %s, must not be negative", cfg.Timeout)
	limiter, err := NewLimiter(cfg.Limits...)
	bad(err != nil, "Limits: %w", err)
	if err := errors.Join(errs...); err != nil {
		return nil, invalid("NewOAuth2: %w", err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTokenTimeout
	}
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(2)
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	params := cloneValues(cfg.Params)
	cfg.Params = nil
	o := &OAuth2{cfg: cfg, params: func() url.Values { return cloneValues(params) }, limiter: limiter, sources: make(map[string]*tokenSource)}
	o.client = &http.Client{
		Transport: cfg.Transport,
		// A redirect would take the secret elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return o, nil
}

// Close lets go of idle connections to the token endpoint, where the transport has any. Requests under way end as they would.
func (o *OAuth2) Close() error {
	if o == nil {
		return invalid("Close: the OAuth2 is nil")
	}
	o.client.CloseIdleConnections()
	return nil
}

func cloneValues(v url.Values) url.Values {
	out := make(url.Values, len(v))
	for name, values := range v {
		out[name] = slices.Clone(values)
	}
	return out
}

// Consent is a visit to the partner's consent page. Keep it with the user's session until the callback.
type Consent struct {
	// URL is where to send the user.
	URL string
	// State comes back with the callback; Exchange compares it.
	State string
	// Verifier is the PKCE verifier (RFC 7636), which only this side knows.
	Verifier Secret
}

// AuthCodeURL begins the authorization code grant with a random state and PKCE (S256). Params are added to
// the page's URL, such as access_type=offline; nil adds none.
func (o *OAuth2) AuthCodeURL(params url.Values) (Consent, error) {
	if o == nil || o.cfg.AuthURL == "" || o.cfg.RedirectURL == "" {
		return Consent{}, invalid("AuthCodeURL: OAuth2Config.AuthURL or RedirectURL is empty")
	}
	verifier := oauth2.GenerateVerifier()
	c := Consent{State: oauth2.GenerateVerifier(), Verifier: NewSecret(verifier)}
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for name, values := range params {
		for _, v := range values {
			opts = append(opts, oauth2.SetAuthURLParam(name, v))
		}
	}
	c.URL = o.config().AuthCodeURL(c.State, opts...)
	return c, nil
}

// Exchange ends the grant: it compares the state of the callback's query, exchanges its code for a token, and
// stores that under key, the integration's. A callback that tells an error (the user said no), or with another
// state, is ErrAuth.
func (o *OAuth2) Exchange(ctx context.Context, key string, c Consent, callback url.Values) error {
	switch {
	case o == nil:
		return invalid("Exchange: the OAuth2 is nil")
	case ctx == nil || key == "":
		return invalid("Exchange: the context is nil or the key is empty")
	case c.State == "" || c.Verifier.Reveal() == "":
		return invalid("Exchange: the consent is not one of AuthCodeURL")
	case subtle.ConstantTimeCompare([]byte(c.State), []byte(callback.Get("state"))) != 1:
		return o.fail(key, "state_mismatch", "the state of the callback is not the one that was sent: begin the consent again", nil)
	case callback.Get("error") != "":
		return o.fail(key, redact.Line(callback.Get("error"), 100), "the consent was refused: "+redact.Line(callback.Get("error_description"), 200), nil)
	case callback.Get("code") == "":
		return o.fail(key, "no_code", "the callback holds no code: begin the consent again", nil)
	}
	code := callback.Get("code")
	got, err := o.request(ctx, key, []string{code, c.Verifier.Reveal()}, func(ctx context.Context) (*oauth2.Token, error) {
		opts := []oauth2.AuthCodeOption{oauth2.VerifierOption(c.Verifier.Reveal())}
		for name, values := range o.params() {
			opts = append(opts, oauth2.SetAuthURLParam(name, strings.Join(values, " ")))
		}
		return o.config().Exchange(ctx, code, opts...)
	})
	if err != nil {
		return err
	}
	return o.Put(ctx, key, got)
}

// Put stores a token that was got in another way under key, and forgets a refusal of the one before. It is
// how an integration whose grant was revoked comes back.
func (o *OAuth2) Put(ctx context.Context, key string, t Token) error {
	if o == nil || ctx == nil || key == "" {
		return invalid("Put: the OAuth2 or the context is nil, or the key is empty")
	}
	if err := t.check(); err != nil {
		return invalid("Put: %w", err)
	}
	if _, err := o.cfg.Store.Update(ctx, key, func(context.Context, Token) (Token, error) { return t, nil }); err != nil {
		return o.storeError(key, err)
	}
	o.mu.Lock()
	s := o.sources[key]
	o.mu.Unlock()
	if s != nil {
		s.renewed(t)
	}
	return nil
}

// RefreshToken returns the credential of an integration whose token, got by [OAuth2.Exchange] or [OAuth2.Put], is
// kept under key. It is refreshed min(5 min, a tenth of its lifetime) before it expires, while the old one
// still serves, and after a 401; one refresh at a time, which no single caller's cancel ends.
func (o *OAuth2) RefreshToken(key string) Authenticator { return o.source(key, false) }

// ClientCredentials returns the app's own credential (RFC 6749 section 4.4), kept under key so that
// processes share it; empty means the client's id.
func (o *OAuth2) ClientCredentials(key string) Authenticator {
	if key == "" && o != nil {
		key = o.cfg.ClientID
	}
	return o.source(key, true)
}

func (o *OAuth2) source(key string, own bool) Authenticator {
	if o == nil || key == "" {
		return broken{invalid("OAuth2: the app is nil or the key is empty")}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sources[key]
	if s == nil {
		s = &tokenSource{app: o, key: key, own: own}
		o.sources[key] = s
	}
	if s.own != own {
		return broken{invalid("OAuth2: the key %q is used for another grant already", key)}
	}
	return s
}

// broken is an authenticator that was made of bad input.
type broken struct{ err error }

func (b broken) check() error                                   { return b.err }
func (b broken) Credential(context.Context) (Credential, error) { return nil, b.err }

func (o *OAuth2) config() *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret.Reveal(), RedirectURL: o.cfg.RedirectURL, Scopes: o.cfg.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: o.cfg.AuthURL, TokenURL: o.cfg.TokenURL, AuthStyle: o.cfg.Style.style()},
	}
}

// secrets returns what is sent with every token request and must not be seen.
func (o *OAuth2) secrets() []string {
	secret := o.cfg.ClientSecret.Reveal()
	// As x/oauth2 writes it into the header, by RFC 6749 section 2.3.1.
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(o.cfg.ClientID) + ":" + url.QueryEscape(secret)))
	secrets := []string{secret, basic}
	for name, values := range o.params() {
		if redact.LooksSecretField(name) {
			secrets = append(secrets, values...)
		}
	}
	return secrets
}

// refresh makes one token request for t's refresh token, or with the app's own credentials.
func (o *OAuth2) refresh(ctx context.Context, key string, t Token, own bool) (Token, error) {
	old := t.Refresh.Reveal()
	return o.request(ctx, key, []string{old, t.Access.Reveal()}, func(ctx context.Context) (*oauth2.Token, error) {
		grant := clientcredentials.Config{
			ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret.Reveal(), TokenURL: o.cfg.TokenURL,
			Scopes: o.cfg.Scopes, EndpointParams: o.params(), AuthStyle: o.cfg.Style.style(),
		}
		if !own { // its form with another grant_type: that of oauth2.Config takes no parameters
			grant.Scopes = nil
			grant.EndpointParams.Set("grant_type", "refresh_token")
			grant.EndpointParams.Set("refresh_token", old)
		}
		return grant.Token(ctx)
	})
}

// Token requests that fail for no lasting reason are repeated within their own small budget.
const (
	tokenAttempts = 3
	tokenBackoff  = 500 * time.Millisecond
)

// request makes a token request, within the endpoint's limits, and repeats it after a 5xx, a 429 that says when,
// or trouble on the way.
func (o *OAuth2) request(ctx context.Context, key string, secrets []string, send func(context.Context) (*oauth2.Token, error)) (Token, error) {
	secrets = append(secrets, o.secrets()...)
	for attempt := 1; ; attempt++ {
		t, err := o.attempt(ctx, key, secrets, send)
		var e *Error
		if err == nil || attempt == tokenAttempts || !errors.As(err, &e) || e.Class != ClassTransient && e.Class != ClassRateLimited {
			return t, err
		}
		wait := max(e.RetryAfter, tokenBackoff<<(attempt-1))
		if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || wait > o.cfg.Timeout {
			return t, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return t, err
		}
	}
}

func (o *OAuth2) attempt(ctx context.Context, key string, secrets []string, send func(context.Context) (*oauth2.Token, error)) (Token, error) {
	var ticket Ticket
	ticket.Tenant = key
	if err := o.limiter.Acquire(ctx, &ticket); err != nil {
		e := o.fail(key, "", "the limit of the token endpoint leaves no request now", err)
		e.Verdict = Verdict{Class: ClassRefused, Scope: ScopeCall, unsent: true}
		e.Verdict.RetryAfter, _ = RetryAfter(err)
		return Token{}, e
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.cfg.Timeout, errAttemptTimeout)
	defer cancel()
	began := time.Now()
	raw, err := send(context.WithValue(ctx, oauth2.HTTPClient, o.client))
	e := o.explain(ctx, key, secrets, err)
	var t Token
	if e == nil {
		t = tokenOf(raw, began)
		if bad := t.check(); bad != nil {
			e = o.fail(key, "bad_token", "the token endpoint's answer cannot be used: "+bad.Error(), nil)
			e.Class = ClassData
		}
	}
	o.limiter.Release(&ticket, Outcome{Verdict: Verdict{}, Sent: e == nil || !e.unsent})
	if e != nil {
		return Token{}, e
	}
	return t, nil
}

// fail makes the error of a token request: ErrAuth, with what to do.
func (o *OAuth2) fail(key, code, action string, err error) *Error {
	return &Error{
		Partner: o.cfg.Name, Integration: key, Method: http.MethodPost, URL: redact.Line(o.endpoint(), 1024), Err: err,
		Verdict: Verdict{Class: ClassAuth, Scope: ScopeCall, Code: code, Message: action},
	}
}

func (o *OAuth2) endpoint() string {
	u, err := url.Parse(o.cfg.TokenURL)
	if err != nil {
		return ""
	}
	return redact.URL(u)
}

func (o *OAuth2) storeError(key string, err error) *Error {
	e := o.fail(key, "token_store", "the token store failed", err)
	e.Class = ClassTransient
	return e
}

// final are the errors of RFC 6749 section 5.2, and what partners send in their place, that no repetition
// mends, with what to do.
var final = map[string]string{
	"invalid_grant":                "the grant has expired or was revoked: ask the customer to connect again",
	"bad_refresh_token":            "the grant has expired or was revoked: ask the customer to connect again",
	"invalid_refresh_token":        "the grant has expired or was revoked: ask the customer to connect again",
	"token_revoked":                "the grant was revoked: ask the customer to connect again",
	"bad_verification_code":        "the code has expired or was used: begin the consent again",
	"invalid_client":               "the app is not known: check its client id, its secret and the style in which they are sent",
	"incorrect_client_credentials": "the app is not known: check its client id and secret",
	"unauthorized_client":          "the app may not use this grant: check its settings with the partner",
	"unsupported_grant_type":       "the partner does not know this grant: check the app's settings",
	"invalid_scope":                "the partner does not grant these scopes: check them",
	"invalid_request":              "the partner finds the token request wrong: check the app's settings",
}

// explain turns what x/oauth2 returns into an error that holds no secret.
func (o *OAuth2) explain(ctx context.Context, key string, secrets []string, err error) *Error {
	if err == nil {
		return nil
	}
	clean := func(s string) string { return redact.Line(redact.Values(s, secrets), 300) }
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		var e *Error
		switch {
		case context.Cause(ctx) == errAttemptTimeout:
			e = o.fail(key, "timeout", "the token endpoint did not answer in time", errAttemptTimeout)
			e.Class, e.timeout = ClassTransient, true
		case ctx.Err() != nil:
			e = o.fail(key, "", "the token request was cancelled", ctx.Err())
			e.Class = ClassCanceled
		case strings.HasPrefix(err.Error(), "oauth2: "):
			e = o.fail(key, "bad_token", "the token endpoint's answer is no token; check TokenURL", nil)
			e.Class = ClassData
		default:
			v := classifyError(&Attempt{Err: err})
			e = o.fail(key, "", "the token endpoint cannot be reached", errors.New(clean(withoutURL(err).Error())))
			v.Code, v.Message = e.Code, e.Message
			e.Verdict = v
		}
		return e
	}
	status := refused.Response.StatusCode
	code, description := refused.ErrorCode, refused.ErrorDescription
	info := errbody.Decode(refused.Body)
	if code == "" {
		code = info.Code
	}
	if description == "" {
		description = info.Message
	}
	e := o.fail(key, clean(code), clean(description), nil)
	e.StatusCode, e.RequestID = status, clean(requestID(refused.Response.Header))
	action, known := final[strings.ToLower(code)]
	switch {
	case known:
		e.Message = action
		if description != "" {
			e.Message += " (" + clean(description) + ")"
		}
	case status == http.StatusTooManyRequests, status >= 500, status == http.StatusRequestTimeout:
		at := Attempt{Request: refused.Response.Request, Response: refused.Response, peeked: refused.Body, done: true}
		v := Classify(&at)
		v.Code, v.Message = e.Code, strings.TrimSpace(fmt.Sprintf("the token endpoint answered %d %s", status, e.Message))
		e.Verdict = v
	case status >= 300 && status < 400:
		e.Message = "the token endpoint redirects, which is not followed: check TokenURL"
	case status < 300:
		e.Message = strings.TrimSpace("the token endpoint refused with a success status " + e.Message)
	default:
		e.Message = strings.TrimSpace(fmt.Sprintf("the token endpoint answered %d, check TokenURL and the app's settings %s", status, e.Message))
	}
	return e
}

// lasting reports whether a refusal is one that no repetition mends. Others may come from something in between.
func lasting(code string) bool {
	_, known := final[strings.ToLower(code)]
	return known
}
