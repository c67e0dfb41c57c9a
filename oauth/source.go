package oauth

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// source is the authenticator of one integration. It holds the current token, and runs one refresh at a time
// to get the next token.
type source struct {
	app *App
	key string
	own bool // for the app's own credentials, which need no refresh token

	// provisional means that the current token came after a rejected one, and has not been accepted yet.
	provisional atomic.Bool
	// grants counts the grants that replaced another one, so that answers that one of them got are not another's.
	grants atomic.Int64
	number int64 // of this source

	mu        sync.Mutex
	current   current
	rejection rejection
	revoked   revoked
	backoff   backoff
	refresh   *refresh // the refresh in progress, nil for none
	unsaved   *renewal // a token that the store could not keep, nil for none
}

// current is the token in use.
type current struct {
	token   Token            // the zero value before the first
	cred    belay.Credential // made from token
	version uint64           // of token, counted in the order in which tokens were stored
	got     time.Time        // when a token was last got
}

// rejection is the state of the 401s with which the partner answered tokens.
type rejection struct {
	access          belay.Secret // the access token that was answered with a 401
	at              time.Time    // when it was answered so
	restored        time.Time    // when a rejected token was last used again, because there was no other
	suppressedUntil time.Time    // 401s are ignored until this time
	suppressions    int          // suppressions in a row
	suppressedAt    time.Time    // when the last suppression began
}

// revoked is a grant that the partner refused for good.
type revoked struct {
	err     *belay.Error // nil while the grant is valid
	token   Token        // the token that was refused
	at      time.Time    // when it was refused
	checked time.Time    // when the store was last asked for another token
}

// backoff is the wait after a refresh that failed for a reason that may pass.
type backoff struct {
	err       *belay.Error // nil after a success
	at        time.Time    // when the refresh failed
	failures  int          // failures in a row
	notBefore time.Time    // the next refresh may not begin before
}

const (
	recheckStore = 30 * time.Second // time between two checks of the store for another token
	// retryRefresh is the wait after a failure while the old token is good, and the longest wait after other
	// failures.
	retryRefresh    = 30 * time.Second
	retryRefusal    = 5 * time.Minute  // longest wait after refusals for no known reason
	retryOwn        = time.Hour        // wait after the app's own credentials were refused
	suppressFor     = 5 * time.Minute  // after two tokens in a row were rejected; doubled each time
	maxSuppress     = 30 * time.Minute // longest suppression
	restoredRecent  = time.Minute      // a refusal so soon after a restored token is the same refusal
	maxBackoffShift = 10               // bounds the doubling of waits
)

// Format prints the integration's key, for any verb.
func (s *source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%v of %q", s.app, s.key) }

// CredentialID implements [belay.Identified]. It is another one after each [App.Put], [App.Exchange] and [App.Forget],
// in each process, and after another process has stored a token, which may be of another customer's grant.
func (s *source) CredentialID() string {
	return fmt.Sprintf("oauth %s %d %d", process, s.number, s.grants.Load())
}

var (
	process = rand.Text() // another one in each process
	sources atomic.Int64  // the number of the latest source
)

// Credential returns the credential of a good token. It gets a token first if there is none. A good token
// that is due for a refresh is returned while the refresh runs.
func (s *source) Credential(ctx context.Context) (belay.Credential, error) {
	cred, err := s.credential(ctx)
	if is, ok := cred.(issued); ok && err == nil && !is.token.understood() {
		return nil, s.app.unknown(s.key, is.token)
	}
	return cred, err
}

// unknown returns the error for a token of a kind that is not understood.
func (o *App) unknown(key string, t Token) error {
	return o.fail(key, "unknown_token_type", fmt.Sprintf("the token is of the kind %q, which is not understood: "+
		"see Config.TokenType", strings.TrimPrefix(t.Type, unknownKind)), nil)
}

// credential is Credential for a token of any kind.
func (s *source) credential(ctx context.Context) (belay.Credential, error) {
	s.mu.Lock()
	now := time.Now()
	good, fresh := s.good(now)
	if !good && s.refresh == nil {
		if err := s.remembered(now); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	if good && (fresh > 0 || s.refresh != nil || now.Before(s.backoff.notBefore) || !s.refreshable()) {
		cred := s.current.cred
		s.mu.Unlock()
		return cred, nil
	}
	r := s.refresh
	if r == nil {
		r = &refresh{done: make(chan struct{}), before: s.current.version}
		s.refresh = r
		go s.run(ctx, r)
	}
	cred := s.current.cred
	s.mu.Unlock()
	if good { // the old token serves meanwhile
		return cred, nil
	}
	select {
	case <-r.done:
		if r.err != nil {
			return nil, r.err
		}
		return r.cred, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token: %w", errkit.Context(ctx))
	}
}

// remembered returns the reason why a refresh would fail now, or nil if it may succeed. The error of a backoff
// is a copy with the wait that is left.
func (s *source) remembered(now time.Time) error {
	switch {
	case s.revoked.err != nil && now.Sub(s.revoked.checked) < recheckStore:
		return s.revoked.err
	case s.backoff.err != nil && now.Before(s.backoff.notBefore):
		err := *s.backoff.err
		err.RetryAfter = max(s.backoff.notBefore.Sub(now), err.RetryAfter-now.Sub(s.backoff.at))
		return &err
	}
	return nil
}

// good reports whether the current token can be sent. Fresh is the time until it should be refreshed.
func (s *source) good(now time.Time) (good bool, fresh time.Duration) {
	use, fresh := s.current.token.lasts(now)
	access := s.current.token.Access.Reveal()
	return access != "" && access != s.rejection.access.Reveal() && use > 0, fresh
}

// refreshable reports whether the current token can be exchanged for another.
func (s *source) refreshable() bool { return s.own || s.current.token.Refresh.Reveal() != "" }

// Reject records that the partner answered c with a 401. It reports whether another token may help. It
// returns false if a new token was rejected recently as well; the current token then stays in use, for the
// calls that the partner accepts.
func (s *source) Reject(_ context.Context, c belay.Credential) (retry bool) {
	was, ok := c.(issued)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current.token.same(was.token) {
		return true // the token was replaced since
	}
	now := time.Now()
	if now.Before(s.rejection.suppressedUntil) {
		return false
	}
	if s.provisional.Load() { // the previous token was rejected too
		s.suppressRejections(now)
		return false
	}
	s.rejection.access, s.rejection.at = was.token.Access, now
	if s.backoff.err == nil || s.backoff.err.RetryAfter == 0 {
		s.backoff.notBefore = time.Time{}
	}
	return true
}

// Accepted records that the partner accepted c.
func (s *source) Accepted(c belay.Credential) {
	if !s.provisional.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := c.(issued); ok && s.current.token.same(was.token) {
		s.provisional.Store(false)
	}
}

// Rejected records that the partner answered c with a 401, right after it had rejected the previous
// credential. From then on, 401s are ignored for a while.
func (s *source) Rejected(c belay.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if was, ok := c.(issued); ok && s.current.token.same(was.token) && now.After(s.rejection.suppressedUntil) {
		s.suppressRejections(now)
	}
}

// suppressRejections makes the source ignore 401s for a while. The last two tokens were both rejected, so
// another refresh would not help.
func (s *source) suppressRejections(now time.Time) {
	r := &s.rejection
	if now.Sub(r.suppressedAt) > 2*maxSuppress { // the last suppression was long ago, or never
		r.suppressions = 0
	}
	r.suppressedAt = now
	r.suppressedUntil = now.Add(min(maxSuppress, suppressFor<<min(r.suppressions, maxBackoffShift)))
	r.suppressions++
	s.provisional.Store(false) // after that time, a 401 rejects the token again
}

// take makes t the current token, unless a token of a later version is current.
func (s *source) take(t Token, version uint64) {
	if version < s.current.version {
		return
	}
	s.current.token, s.current.cred, s.current.version = t, issued{t}, version
	s.provisional.Store(s.rejection.access.Reveal() != "")
	s.rejection.suppressedUntil = time.Time{}
	s.rejection.access, s.revoked.err, s.backoff.err, s.backoff.failures, s.backoff.notBefore =
		belay.Secret{}, nil, nil, 0, time.Time{}
}

// replaced makes t, which Put or Forget stored, the current token.
func (s *source) replaced(t Token, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.empty() {
		s.current.got = time.Now()
	}
	s.take(t, version)
	s.grants.Add(1)
	s.provisional.Store(false) // t does not follow a rejected token
}
