// Package oauth gets, keeps and renews the tokens of OAuth 2.0 (RFC 6749). An [App] is one registration with
// a partner; it makes a credential for each customer's integration.
//
//	app, err := oauth.New(oauth.Config{
//		TokenURL: "https://partner.example/token", ClientID: id, ClientSecret: secret, Store: store,
//	})
//	...
//	customer, err := client.With(belay.WithIntegration("acme"), belay.WithAuth(app.RefreshToken("acme")))
//
// One refresh runs at a time for each key, in one process and, through the [Store], in all processes. A token
// is stored before it is used.
package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// Config is an app's registration with a partner's authorization server (RFC 6749). TokenURL and ClientID are
// required, so the zero value is not valid.
type Config struct {
	// TokenURL is the token endpoint: https, or http on loopback. RefreshURL is that of refreshes, for a partner that
	// has two; empty means TokenURL.
	TokenURL, RefreshURL string
	// ClientID and ClientSecret identify the app. The secret is empty for a public client.
	ClientID     string
	ClientSecret belay.Secret
	// Style is how ClientID and ClientSecret are sent. Zero is StyleBody. Belay never finds it out by sending
	// requests, because some partners allow five token requests a day.
	Style Style
	// Scopes are the scopes to ask for. Nil asks for none. ScopeSeparator stands between them; empty means a space (RFC
	// 6749 section 3.3). Linear, Shopify and Slack want a comma.
	Scopes         []string
	ScopeSeparator string
	// Params are sent with each token request, for example an audience. They are not printed. Nil sends none.
	Params url.Values `json:"-"`
	// JSON sends token requests as a JSON object instead of a form.
	JSON bool
	// TokenPath is the path, with dots, of the object in the answer that holds the token, such as "data" or
	// "authed_user". Empty means that the answer itself does.
	TokenPath string
	// TokenType is the scheme in which tokens are sent, whatever the answers say. Empty goes by their token_type:
	// Bearer, or a kind that is not understood, with which no call is sent.
	TokenType string
	// NoPKCE leaves PKCE (RFC 7636) out of the authorization code grant, for a partner that refuses it.
	NoPKCE bool
	// AuthURL is the consent page, RedirectURL the address to which it leads back. Only AuthCodeURL and
	// Exchange use them.
	AuthURL, RedirectURL string
	// Store keeps the tokens. Nil is a MemoryStore, which forgets them when the process ends.
	Store Store
	// Limits are the limits of the token endpoint. Nil means none. They count as long as the App lives: make one
	// App for each registration when the program starts, not where integrations are loaded, or share a Limiter.
	Limits []belay.Limit
	// Limiter holds further limits of the token endpoint, which several Apps share. Nil means none.
	Limiter *belay.Limiter
	// Timeout bounds one token request. A request that fails for a reason that may pass is sent up to three
	// times, in a third more than this time altogether, and the call that needs the token does not multiply that.
	// A whole refresh, with its wait for the store, takes at most six times as long. Zero means 45 s; negative or
	// above an hour is an error.
	Timeout time.Duration
	// Transport sends the token requests. Nil means a transport like a client's own.
	Transport http.RoundTripper
	// Observer gets an event when a token is refreshed, refused or revoked. Nil means no observer.
	Observer belay.Observer
	// Name is the partner's name in errors and events. Empty means the token endpoint's host.
	Name string
}

// Format prints the config without its parameters and secrets, for any verb.
func (c Config) Format(f fmt.State, _ rune) {
	at := "a TokenURL that is none"
	if u, err := url.Parse(c.TokenURL); err == nil {
		at = redact.URL(u)
	}
	fmt.Fprintf(f, "Config{%s, client %q}", at, c.ClientID)
}

// Style is how an app authenticates to the token endpoint (RFC 6749 section 2.3.1).
type Style uint8

const (
	// StyleBody sends client_id and client_secret as parameters of the body.
	StyleBody Style = iota
	// StyleHeader sends client_id and client_secret as Basic authorization.
	StyleHeader
)

func (s Style) style() oauth2.AuthStyle {
	if s == StyleHeader {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// App gets tokens for the integrations of one app, refreshes them before they expire, and keeps them. Make
// one App with [New] for each app, and a [belay.Authenticator] of it for each integration. It is safe for
// concurrent use.
type App struct {
	cfg     Config
	params  func() url.Values // returns a copy of Config.Params; a func does not print them
	limiter limits
	breaker *belay.Breaker // of the token endpoint
	client  *http.Client
	login   *login // renews tokens in place of an OAuth2 request; nil for none
	// order counts the tokens that were stored, to give each one a version. For one key it grows under the
	// store's lock.
	order atomic.Uint64

	mu      sync.Mutex
	sources map[string]*source
}

// Format prints the app's name and client id, for any verb: its store and its transport may hold tokens.
func (o *App) Format(f fmt.State, _ rune) {
	if o == nil {
		fmt.Fprint(f, "App{nil}")
		return
	}
	fmt.Fprintf(f, "App{%s, client %q}", o.cfg.Name, o.cfg.ClientID)
}

const (
	defaultTimeout = 45 * time.Second
	maxWait        = time.Hour // longest Timeout, and longest wait that a token endpoint may ask for
)

// New returns an app, or an error that matches [belay.ErrInvalid] and names each field that is out of range.
func New(cfg Config) (*App, error) {
	var faults errkit.List
	bad := func(wrong bool, format string, args ...any) { faults.If(wrong, "Config."+format, args...) }
	checkURL := func(field, value string, needed bool) {
		if value == "" {
			bad(needed, "%s is empty", field)
			return
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || u.User != nil {
			bad(true, "%s is not the URL of an endpoint", field)
			return
		}
		bad(u.Scheme != "https" && !(u.Scheme == "http" && origin.Loopback(u)),
			"%s is %s, must be https (or loopback)", field, origin.Of(u))
		if field == "TokenURL" && cfg.Name == "" {
			cfg.Name = u.Hostname()
		}
	}
	checkURL("TokenURL", cfg.TokenURL, true)
	checkURL("RefreshURL", cfg.RefreshURL, false)
	checkURL("AuthURL", cfg.AuthURL, false)
	bad(cfg.ClientID == "", "ClientID is empty")
	if cfg.ClientSecret.Reveal() != "" {
		if err := cfg.ClientSecret.Check(); err != nil {
			bad(true, "ClientSecret: %w", err)
		}
	}
	bad(cfg.TokenType != "" && !headers.IsToken(cfg.TokenType), "TokenType is %q, not a token of HTTP", cfg.TokenType)
	bad(strings.HasPrefix(cfg.TokenPath, ".") || strings.HasSuffix(cfg.TokenPath, "."),
		"TokenPath is %q, begins or ends with a dot", cfg.TokenPath)
	bad(cfg.Style > StyleHeader, "Style is %d, not known", cfg.Style)
	bad(cfg.Timeout < 0 || cfg.Timeout > maxWait, "Timeout is %s, must be from 0 to %s", cfg.Timeout, maxWait)
	for name := range cfg.Params {
		switch name {
		case "client_id", "client_secret", "code", "code_verifier", "redirect_uri", "refresh_token":
			bad(true, "Params holds %q, which is the grant's own", name)
		case "scope":
			bad(len(cfg.Scopes) > 0, "Params holds %q beside Scopes", name)
		}
	}
	limiter, err := limiterOf(cfg.Limiter, cfg.Limits)
	bad(err != nil, "Limits: %w", err)
	if err := faults.Err(); err != nil {
		return nil, errkit.Invalidf("oauth.New: %w", err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	if cfg.ScopeSeparator != "" && len(cfg.Scopes) > 0 {
		cfg.Scopes = []string{strings.Join(cfg.Scopes, cfg.ScopeSeparator)} // x/oauth2 joins them by spaces
	}
	params := cloneValues(cfg.Params)
	cfg.Params = nil
	o := &App{
		cfg: cfg, params: func() url.Values { return cloneValues(params) },
		limiter: limiter, breaker: newBreaker(), sources: make(map[string]*source),
	}
	o.client = &http.Client{
		Transport: tokenAnswers{cfg.Transport, cfg.TokenPath, cfg.JSON},
		// A redirect could take the secret to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return o, nil
}

// newBreaker returns the breaker of a token endpoint.
func newBreaker() *belay.Breaker {
	b, _ := belay.NewBreaker(belay.BreakerPolicy{}) // never fails
	return b
}

// newTransport returns a copy of net/http's default transport, with connections of its own.
func newTransport() http.RoundTripper {
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		return t.Clone()
	}
	return http.DefaultTransport
}

func cloneValues(v url.Values) url.Values {
	out := make(url.Values, len(v)+4)
	for name, values := range v {
		out[name] = slices.Clone(values)
	}
	return out
}

// Close closes idle connections to the token endpoint, if the transport has any. Requests in progress are not
// affected.
func (o *App) Close() error {
	if o == nil {
		return errkit.Invalidf("Close: the App is nil")
	}
	if t, ok := o.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Token returns the token that is kept under key, to read its Extra, such as the instance_url with which to make the
// client of a customer. Without one the error matches [belay.ErrAuth]. The token may have expired.
func (o *App) Token(ctx context.Context, key string) (Token, error) {
	if o == nil || ctx == nil || key == "" {
		return Token{}, errkit.Invalidf("Token: the App or the context is nil, or the key is empty")
	}
	t, err := o.cfg.Store.Load(ctx, key)
	switch {
	case err != nil:
		return Token{}, o.storeError(key, err)
	case t.empty():
		return Token{}, o.fail(key, noToken, "there is no token in the store: connect the integration", nil)
	}
	return t, nil
}

// Put stores a token from another source under key, and forgets a refusal of the previous token. An
// integration whose grant was revoked works again after that.
func (o *App) Put(ctx context.Context, key string, t Token) error {
	if o == nil || ctx == nil || key == "" {
		return errkit.Invalidf("Put: the App or the context is nil, or the key is empty")
	}
	if err := t.check(); err != nil {
		return errkit.Invalidf("Put: %w", err)
	}
	return o.replace(ctx, key, t)
}

// Forget removes an integration's token from the store, for example when a customer disconnects. The
// integration's credential fails with [belay.ErrAuth] until Exchange or Put stores another token.
func (o *App) Forget(ctx context.Context, key string) error {
	if o == nil || ctx == nil || key == "" {
		return errkit.Invalidf("Forget: the App or the context is nil, or the key is empty")
	}
	return o.replace(ctx, key, Token{})
}

// replace stores t in place of the token that is there, and passes it to the source of key.
func (o *App) replace(ctx context.Context, key string, t Token) error {
	var version uint64
	var had Token
	_, err := o.cfg.Store.Update(ctx, key, func(_ context.Context, have Token) (Token, error) {
		version, had = o.order.Add(1), have
		return t, nil
	})
	if err != nil {
		return o.storeError(key, err, t, had)
	}
	o.mu.Lock()
	s := o.sources[key]
	o.mu.Unlock()
	if s != nil {
		s.replaced(t, version)
	}
	o.loaded(ctx, key, t)
	return nil
}

// loaded tells of a token that was not refreshed here.
func (o *App) loaded(ctx context.Context, key string, t Token) {
	tell(ctx, o.cfg.Observer, belay.TokenLoaded{
		Partner: o.cfg.Name, Integration: key, Obtained: t.Obtained, Expiry: t.Expiry, RefreshExpiry: t.RefreshExpiry(),
	})
}

// RefreshToken returns the credential of an integration whose token is kept under key. The token comes from
// [App.Exchange] or [App.Put]. It is refreshed min(5 min, a tenth of its lifetime) before it expires, while
// the old token still serves, and after a 401. One refresh runs at a time, and the cancel of a single caller
// does not end it.
func (o *App) RefreshToken(key string) belay.Authenticator { return o.source(key, false) }

// ClientCredentials returns the app's own credential (RFC 6749 section 4.4). Its token is kept under key, so
// that processes share it. An empty key means the client id.
func (o *App) ClientCredentials(key string) belay.Authenticator {
	if key == "" && o != nil {
		key = o.cfg.ClientID
	}
	return o.source(key, true)
}

func (o *App) source(key string, own bool) belay.Authenticator {
	if o == nil || key == "" {
		return broken{errkit.Invalidf("oauth: the App is nil or the key is empty")}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sources[key]
	if s == nil {
		s = &source{app: o, key: key, own: own, number: sources.Add(1)}
		o.sources[key] = s
	}
	if s.own != own {
		return broken{errkit.Invalidf("oauth: the key %q is used for another grant already", key)}
	}
	return s
}

// broken is an authenticator that was made from bad input. Its methods return err.
type broken struct{ err error }

func (b broken) Check() error { return b.err }

func (b broken) Credential(context.Context) (belay.Credential, error) { return nil, b.err }
