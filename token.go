package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// Token is what a token endpoint gave. Its secrets do not print.
type Token struct {
	// Access is sent with calls. Refresh gets the next one; empty when there is none, as some partners
	// never expire a token.
	Access, Refresh Secret
	// Type is how Access is sent; empty means Bearer.
	Type string
	// Obtained is when it was asked for, and Expiry when it ends; zero when the partner does not say.
	Obtained, Expiry time.Time
}

// check returns why t cannot be used.
func (t Token) check() error {
	if err := t.Access.check(); err != nil {
		return fmt.Errorf("the access token: %w", err)
	}
	if t.Refresh.Reveal() != "" {
		if err := t.Refresh.check(); err != nil {
			return fmt.Errorf("the refresh token: %w", err)
		}
	}
	if t.Type != "" && !token(t.Type) {
		return errors.New("its type is not a token of HTTP")
	}
	return nil
}

// same reports whether both hold the same access token.
func (t Token) same(o Token) bool { return t.Access.Reveal() == o.Access.Reveal() }

// earliest is how long before its end a token is refreshed at the most.
const earliest = 5 * time.Minute

// lasts returns how long t can still be used, and how long until it should be refreshed; both are very long when it
// does not say when it ends.
func (t Token) lasts(now time.Time) (use, fresh time.Duration) {
	if t.Expiry.IsZero() {
		return never, never
	}
	use = t.Expiry.Sub(now)
	ahead := earliest
	if !t.Obtained.IsZero() {
		ahead = min(ahead, t.Expiry.Sub(t.Obtained)/10)
	}
	return use, use - ahead
}

func tokenOf(raw *oauth2.Token, asked time.Time) Token {
	t := Token{Access: NewSecret(raw.AccessToken), Refresh: NewSecret(raw.RefreshToken), Type: raw.TokenType, Obtained: asked}
	// An end that has passed already, by a zero or negative expires_in, is none that the partner means.
	if raw.Expiry.After(asked) {
		t.Expiry = raw.Expiry
	}
	if strings.EqualFold(t.Type, "bearer") {
		t.Type = ""
	}
	return t
}

// issued is the credential of an attempt: the token that was good when it began.
type issued struct{ token Token }

func (i issued) Apply(req *http.Request) error {
	kind := i.token.Type
	if kind == "" {
		kind = "Bearer"
	}
	req.Header["Authorization"] = []string{kind + " " + i.token.Access.Reveal()}
	return nil
}

// tokenSource is the authenticator of one integration.
type tokenSource struct {
	app *OAuth2
	key string
	own bool // the app's own credentials, which need no refresh token

	mu       sync.Mutex
	now      Token     // the zero value before the first
	worked   time.Time // when a token was last got
	rejected string    // an access token that the partner answered with a 401
	flight   *flight   // a refresh that is under way
	next     time.Time // no refresh before it, while the old token is good
	dead     *Error    // the grant was refused for good
	died     Token     // the one that it was refused for
	since    time.Time // when
	looked   time.Time // when the store was last asked whether it has come back
}

// flight is one refresh. Done is closed when it has ended.
type flight struct {
	done  chan struct{}
	token Token
	err   error
}

const (
	lookAgain    = 30 * time.Second // how often a dead grant's store is asked for another token
	refreshAgain = 30 * time.Second // after a refresh failed while the old token is good
	askAgain     = time.Hour        // after the app's own credentials were refused, or any for a reason that is not known
)

// Credential returns a token that is good, after getting one where there is none.
func (s *tokenSource) Credential(ctx context.Context) (Credential, error) {
	s.mu.Lock()
	now := time.Now()
	use, fresh := s.now.lasts(now)
	good := s.now.Access.Reveal() != "" && use > 0 && s.now.Access.Reveal() != s.rejected
	if !good && s.dead != nil && now.Sub(s.looked) < lookAgain {
		err := *s.dead
		s.mu.Unlock()
		return nil, &err
	}
	if good && (fresh > 0 || s.flight != nil || now.Before(s.next) || !s.refreshable()) {
		t := s.now
		s.mu.Unlock()
		return issued{t}, nil
	}
	f := s.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flight = f
		go s.fly(context.WithoutCancel(ctx), f)
	}
	t := s.now
	s.mu.Unlock()
	if good { // the old one serves meanwhile
		return issued{t}, nil
	}
	select {
	case <-f.done:
		if f.err != nil {
			return nil, f.err
		}
		return issued{f.token}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token: %w", ended(ctx))
	}
}

// refreshable reports whether the present token can be exchanged for another.
func (s *tokenSource) refreshable() bool { return s.own || s.now.Refresh.Reveal() != "" }

// Reject says that the partner answered the credential with a 401. It reports whether another is worth a try.
func (s *tokenSource) Reject(_ context.Context, c Credential) (retry bool) {
	was, ok := c.(issued)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.same(was.token) {
		return true // it has been renewed since
	}
	s.rejected = was.token.Access.Reveal()
	s.next = time.Time{}
	return true
}

// fly gets a token from the store or the partner. No caller's cancel ends it, but the time of a request and its
// repetitions.
func (s *tokenSource) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, (tokenAttempts+1)*s.app.cfg.Timeout)
	defer cancel()
	asked := false
	var kept *Error
	var tried Token
	t, err := s.update(ctx, func(ctx context.Context, have Token) (Token, error) {
		s.mu.Lock()
		rejected, now, dead := s.rejected, s.now, s.dead
		if dead != nil && (!s.died.same(have) || s.died.Refresh.Reveal() != have.Refresh.Reveal() || (s.own || !lasting(dead.Code)) && time.Since(s.since) > askAgain) {
			dead = nil // there is something new to try
		}
		s.mu.Unlock()
		if dead != nil {
			kept = dead
			return have, dead
		}
		access := have.Access.Reveal()
		if use, fresh := have.lasts(time.Now()); access != "" && access != rejected && use > 0 && (fresh > 0 || !have.same(now)) {
			return have, nil // another process has renewed it
		}
		if !s.own && have.Refresh.Reveal() == "" {
			if access == "" {
				kept = s.app.fail(s.key, "no_token", "there is no token in the store: connect the integration", nil)
			} else {
				kept = s.app.fail(s.key, "no_refresh_token", "the token is no longer good and cannot be refreshed: ask the customer to connect again", nil)
			}
			return have, kept
		}
		asked, tried = true, have
		next, err := s.app.refresh(ctx, s.key, have, s.own)
		if err != nil {
			errors.As(err, &kept)
			return have, err
		}
		if next.Refresh.Reveal() == "" {
			next.Refresh = have.Refresh // which stays good where the answer has none
		}
		return next, nil
	})
	if err != nil && kept == nil {
		kept = s.app.storeError(s.key, err)
	}
	s.land(ctx, f, t, tried, kept, asked)
}

// update is the store's, with a panic of it turned into an error.
func (s *tokenSource) update(ctx context.Context, f func(context.Context, Token) (Token, error)) (t Token, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the token store panicked")
		}
	}()
	return s.app.cfg.Store.Update(ctx, s.key, f)
}

// land ends a flight.
func (s *tokenSource) land(ctx context.Context, f *flight, t, tried Token, err *Error, asked bool) {
	s.mu.Lock()
	now := time.Now()
	s.flight, s.looked = nil, now
	worked := s.worked
	died := false
	switch {
	case err == nil:
		s.now, s.dead, s.worked, s.rejected, s.next = t, nil, now, "", time.Time{}
		f.token = t
	default:
		f.err = err
		s.next = now.Add(refreshAgain)
		if err.Class == ClassAuth {
			if died = s.dead == nil; asked || died {
				s.died, s.since = tried, now
			}
			s.dead = err
		}
	}
	s.mu.Unlock()
	close(f.done)
	switch {
	case err == nil && asked:
		s.app.emit(ctx, TokenRefreshed{Partner: s.app.cfg.Name, Integration: s.key, Expiry: t.Expiry})
	case died:
		s.app.emit(ctx, TokenRevoked{Partner: s.app.cfg.Name, Integration: s.key, LastWorked: worked, Action: err.Message, Err: err})
	case err != nil && err.Class != ClassAuth:
		s.app.emit(ctx, TokenRefreshFailed{Partner: s.app.cfg.Name, Integration: s.key, LastWorked: worked, Action: err.Message, Err: err})
	}
}

// renewed takes in a token that was stored by Put.
func (s *tokenSource) renewed(t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.dead, s.rejected, s.worked, s.next = t, nil, "", time.Now(), time.Time{}
}

func (o *OAuth2) emit(ctx context.Context, e Event) {
	if o.cfg.Observer == nil {
		return
	}
	defer func() { _ = recover() }()
	o.cfg.Observer.Observe(ctx, e)
}
