package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// LoginConfig configures a [Login]. Name is required, so the zero value is not valid.
type LoginConfig struct {
	// Name is the partner's name in errors and events.
	Name string
	// Store keeps the tokens. Nil is a MemoryStore, which forgets them when the process ends.
	Store Store
	// Limits are the limits of the login. Nil means none. They count as long as the Login lives. Limiter holds
	// further ones, which several Logins share; nil means none.
	Limits  []belay.Limit
	Limiter *belay.Limiter
	// Timeout bounds one call of a Renew, as [Config].Timeout does one token request. Zero means 45 s; negative
	// or above an hour is an error.
	Timeout time.Duration
	// Observer gets an event when a token is renewed, refused or revoked. Nil means no observer.
	Observer belay.Observer
}

// Renew gets the next token from a partner that has a login of its own in place of OAuth2. Old is the token that it
// replaces, the zero value at first: a partner with refresh tokens takes old.Refresh, any other the customer's name
// and password. It may be called again after an error. The result needs Access; Obtained is set if it is zero.
//
// An error says what it means as that of a call does: a [belay.Error] of ClassAuth, or with the status 400 or 422,
// refuses the login for good, until there is another token or an hour has passed; any other error passes, and Renew is
// called up to three times. So a call that Renew makes needs no retries of its own: [belay.MaxAttempts](1).
type Renew func(ctx context.Context, old Token) (Token, error)

// Login gets and renews the tokens of a partner's own login with all that an [App] does for OAuth2: one renewal at a
// time for each key, in all processes that share the store; ahead of the token's end, while the old one serves; again
// after a 401; refusals remembered; a budget, and a circuit of its own. Make one for each partner when the program
// starts. It is safe for concurrent use.
type Login struct{ app *App }

// login is the part of an App that renews tokens by functions of the user's.
type login struct{ renews map[string]Renew } // by key; guarded by App.mu

// NewLogin returns a login, or an error that matches [belay.ErrInvalid] and names each field that is out of range.
func NewLogin(cfg LoginConfig) (*Login, error) {
	var faults errkit.List
	bad := func(wrong bool, format string, args ...any) { faults.If(wrong, "LoginConfig."+format, args...) }
	bad(cfg.Name == "", "Name is empty")
	bad(cfg.Timeout < 0 || cfg.Timeout > maxWait, "Timeout is %s, must be from 0 to %s", cfg.Timeout, maxWait)
	limiter, err := limiterOf(cfg.Limiter, cfg.Limits)
	bad(err != nil, "Limits: %w", err)
	if err := faults.Err(); err != nil {
		return nil, errkit.Invalidf("oauth.NewLogin: %w", err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	return &Login{&App{
		cfg:     Config{Name: cfg.Name, Store: cfg.Store, Timeout: cfg.Timeout, Observer: cfg.Observer},
		limiter: limiter, breaker: newBreaker(), sources: make(map[string]*source),
		login: &login{renews: make(map[string]Renew)},
	}}, nil
}

// Format prints the partner's name, for any verb.
func (l *Login) Format(f fmt.State, _ rune) {
	if l == nil || l.app == nil {
		fmt.Fprint(f, "Login{nil}")
		return
	}
	fmt.Fprintf(f, "Login{%s}", l.app.cfg.Name)
}

// Credential returns the credential of the integration whose token is kept under key. Renew gets its tokens; the last
// one given for a key counts. An empty key and a nil renew make a credential that fails.
func (l *Login) Credential(key string, renew Renew) belay.Authenticator {
	if l == nil || l.app == nil || key == "" || renew == nil {
		return broken{errkit.Invalidf("oauth: the Login or the function is nil, or the key is empty")}
	}
	l.app.mu.Lock()
	l.app.login.renews[key] = renew
	l.app.mu.Unlock()
	return l.app.source(key, true)
}

// Put stores a token from another source under key, and forgets a refusal of the login.
func (l *Login) Put(ctx context.Context, key string, t Token) error {
	if l == nil || l.app == nil {
		return errkit.Invalidf("Put: the Login is nil")
	}
	return l.app.Put(ctx, key, t)
}

// Forget removes an integration's token from the store, and its function. Its credential fails with [belay.ErrAuth]
// until there is another function by Credential.
func (l *Login) Forget(ctx context.Context, key string) error {
	if l == nil || l.app == nil {
		return errkit.Invalidf("Forget: the Login is nil")
	}
	l.app.mu.Lock()
	delete(l.app.login.renews, key)
	l.app.mu.Unlock()
	return l.app.Forget(ctx, key)
}

// renew calls the function of key, as often as the budget allows.
func (l *login) renew(ctx context.Context, o *App, key string, old Token) (Token, *belay.Error) {
	o.mu.Lock()
	renew := l.renews[key]
	o.mu.Unlock()
	if renew == nil {
		return Token{}, o.fail(key, noToken, "the login was forgotten: call Login.Credential again", nil)
	}
	return o.repeat(ctx, func(ctx context.Context) (Token, *belay.Error) {
		return o.attempt(ctx, key, func(ctx context.Context) (Token, *belay.Error) {
			began := time.Now()
			t, err := renew(ctx, old)
			if e := o.loginError(ctx, key, old, err); e != nil {
				return t, e
			}
			if t.Obtained.IsZero() {
				t.Obtained = began
			}
			return t, nil
		})
	})
}

// loginRefused is the code of a login that was refused for good.
const loginRefused = "login_refused"

// loginStatus reports whether an error says that the login itself was refused.
func loginStatus(e *belay.Error) bool {
	return e.Class == belay.ClassAuth || e.StatusCode == http.StatusBadRequest ||
		e.StatusCode == http.StatusUnprocessableEntity
}

// loginError returns the error of a Renew as that of a token request, without the URL of a url.Error and without old.
// Nil stays nil.
func (o *App) loginError(ctx context.Context, key string, old Token, err error) *belay.Error {
	if err == nil {
		return nil
	}
	var of *belay.Error
	ours := errors.As(err, &of) && of != nil
	secrets := []string{old.Access.Reveal(), old.Refresh.Reveal()}
	for _, s := range old.Extra {
		secrets = append(secrets, s.Reveal())
	}
	err = redact.Error(err, secrets)
	if ours { // its sentinels say nothing of the resource of the call
		err = errors.New(redact.Line(err.Error(), 500))
	}
	switch {
	case ours && loginStatus(of):
		return o.fail(key, loginRefused, final[loginRefused], err)
	case ours && of.Class == belay.ClassClient:
		text := fmt.Sprintf("the login was answered with status %d: check its URL and request", of.StatusCode)
		return o.fail(key, "", text, err)
	case ours && of.Class != belay.ClassCanceled:
		return o.failAs(of.Verdict, key, "", "the login failed", err)
	case context.Cause(ctx) == errkit.ErrAttemptTimeout:
		v := belay.Classify(&belay.Attempt{Err: errkit.ErrAttemptTimeout})
		return o.failAs(v, key, "timeout", "the login did not end in time", err)
	case ctx.Err() != nil:
		return o.failAs(belay.Verdict{Class: belay.ClassCanceled, Scope: belay.ScopeCall}, key, "",
			"the login was canceled", err)
	}
	return o.failAs(belay.Verdict{Class: belay.ClassTransient, Scope: belay.ScopeCall}, key, "", "the login failed", err)
}
