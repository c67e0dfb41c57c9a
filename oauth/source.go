package oauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
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

// refresh is one refresh in progress. It gets a token from the store or from the partner.
type refresh struct {
	done   chan struct{} // closed when the refresh ends
	before uint64        // the version of the current token when it began
	cred   belay.Credential
	err    error
}

// renewal is a new token and the old token that was exchanged for it.
type renewal struct{ spent, got Token }

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

// run runs one refresh, detached from the context of the call that began it. It always ends the refresh: it
// recovers a panic of the store or the transport, and bounds their time by the context.
func (s *source) run(ctx context.Context, r *refresh) {
	ctx = belay.DetachedContext(ctx) // observers may use its values
	bounded, cancel := context.WithTimeoutCause(ctx, refreshTimeouts*s.app.cfg.Timeout, errkit.ErrAttemptTimeout)
	res := result{err: s.app.storeError(s.key, errors.New("the token store or the transport panicked"))}
	defer func() {
		cancel()
		_ = recover()
		s.finish(ctx, r, res)
	}()
	res = s.obtain(bounded)
}

// result is the outcome of a refresh.
type result struct {
	token   Token
	version uint64 // of token, 0 if the store was not reached
	spent   Token  // the token that was exchanged, or that could not be
	asked   bool   // the partner was asked, now or for a token that could not be stored
	err     *belay.Error
}

// obtain gets a token from the store, or from the partner if the store has none that is good.
func (s *source) obtain(ctx context.Context) (res result) {
	t, err := s.app.cfg.Store.Update(ctx, s.key, func(_ context.Context, have Token) (Token, error) {
		res = result{version: s.app.order.Add(1)}
		d := s.decide(have)
		switch {
		case d.err != nil:
			res.spent, res.err = have, d.err
			return have, d.err
		case d.use:
			res.asked = d.renewed
			return d.token, nil
		}
		res.asked, res.spent = true, have
		var next Token
		if next, res.err = s.exchange(ctx, have); res.err != nil {
			if kept, ok := have.keeping(next); ok {
				return kept, nil
			}
			return have, res.err
		}
		s.mu.Lock()
		s.unsaved = &renewal{have, next}
		s.mu.Unlock()
		return next, nil
	})
	switch {
	case res.err != nil:
	case err != nil:
		if context.Cause(ctx) == errkit.ErrAttemptTimeout {
			err = fmt.Errorf("it was locked for too long: %w", errkit.ErrAttemptTimeout)
		}
		s.mu.Lock()
		tokens := []Token{res.spent, s.current.token}
		if s.unsaved != nil {
			tokens = append(tokens, s.unsaved.got, s.unsaved.spent)
		}
		s.mu.Unlock()
		res.err = s.app.storeError(s.key, err, tokens...)
	default:
		if err := t.check(); err != nil {
			res.err = s.app.storeError(s.key, err)
		}
		res.token = t
	}
	return res
}

// decision is the next step of a refresh: it uses token, fails with err, or exchanges the store's token.
type decision struct {
	use     bool
	token   Token // the token to use
	renewed bool  // the partner issued token before, and the store could not keep it
	err     *belay.Error
}

// decide returns the next step for have, the token of the store.
func (s *source) decide(have Token) decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved != nil && !s.unsaved.spent.sameGrant(have) {
		s.unsaved = nil
	}
	if s.revoked.err != nil && (!s.revoked.token.sameGrant(have) || s.own && time.Since(s.revoked.at) > retryOwn) {
		s.revoked.err = nil // another token or another attempt may succeed
	}
	access, alone := have.Access.Reveal(), !s.own && have.Refresh.Reveal() == ""
	rejected := s.rejection.access.Reveal()
	if alone && rejected != "" && access == rejected && time.Since(s.rejection.at) >= recheckStore {
		// There is no other token, and the partner may have been wrong.
		rejected = ""
		s.rejection.access, s.rejection.restored, s.revoked.err = belay.Secret{}, time.Now(), nil
	}
	use, fresh := have.lasts(time.Now())
	switch {
	case s.unsaved != nil:
		return decision{use: true, token: s.unsaved.got, renewed: true}
	case s.revoked.err != nil:
		return decision{err: s.revoked.err}
	case access != "" && access != rejected && use > 0 && (fresh > 0 || alone || !have.same(s.current.token)):
		return decision{use: true, token: have} // if it is not the current token, another process has renewed it
	case alone && access == "":
		return decision{err: s.app.fail(s.key, noToken, "there is no token in the store: connect the integration", nil)}
	case alone:
		return decision{err: s.app.fail(s.key, noRefreshToken,
			"the token is no longer good and cannot be refreshed: ask the customer to connect again", nil)}
	}
	return decision{}
}

// exchange asks the partner for the next token. It leaves time to store the answer, because a refresh token
// may be valid only once.
func (s *source) exchange(ctx context.Context, have Token) (Token, *belay.Error) {
	if end, ok := ctx.Deadline(); ok {
		if time.Until(end) < 2*s.app.cfg.Timeout {
			return Token{}, s.app.storeError(s.key, errors.New("it was locked for too long"))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end.Add(-s.app.cfg.Timeout), errkit.ErrAttemptTimeout)
		defer cancel()
	}
	next, err := s.app.refresh(ctx, s.key, have, s.own)
	if err == nil && next.Refresh.Reveal() == "" {
		next.Refresh = have.Refresh // the old one stays valid if the answer has none
	}
	if len(have.Extra) > 0 { // a refresh may tell less than the first answer did
		extra := maps.Clone(have.Extra)
		maps.Copy(extra, next.Extra)
		next.Extra = extra
	}
	return next, err
}

// finish ends a refresh: it takes the new token into use, or remembers why there is none, and informs the
// observer.
func (s *source) finish(ctx context.Context, r *refresh, res result) {
	s.mu.Lock()
	now := time.Now()
	s.refresh, s.revoked.checked = nil, now
	lastGot, newlyRevoked := s.current.got, false
	switch {
	case res.err == nil:
		s.unsaved, s.current.got = nil, now
		if have, from := s.current.token, res.spent; !have.empty() {
			if !res.asked {
				from = res.token
			}
			if !have.sameGrant(from) { // another process has stored another grant, perhaps another customer's
				s.grants.Add(1)
			}
		}
		s.take(res.token, res.version)
		r.cred = s.current.cred
	case s.current.version != r.before: // another token was stored meanwhile
		r.cred, res.err, res.asked = s.current.cred, nil, false
	case isFinal(res.err):
		r.err = res.err
		newlyRevoked = s.revoke(res)
	default:
		r.err = s.postpone(res.err, now)
	}
	s.mu.Unlock()
	close(r.done)
	partner := s.app.cfg.Name
	switch {
	case res.err == nil && res.asked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshed{
			Partner: partner, Integration: s.key, Expiry: res.token.Expiry, RefreshExpiry: res.token.RefreshExpiry(),
		})
	case newlyRevoked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRevoked{
			Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err,
		})
	case res.err != nil && !isFinal(res.err):
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshFailed{
			Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err,
		})
	}
}

// revoke remembers a grant that was refused for good, and reports whether observers get an event. They get
// none for a missing token, and no second one for a token that was restored and refused again at once.
func (s *source) revoke(res result) (tell bool) {
	restored := s.rejection.restored
	again := !restored.IsZero() && s.revoked.token.sameGrant(res.spent) &&
		s.rejection.at.Sub(restored).Abs() < restoredRecent
	if s.revoked.err == nil && !again {
		tell = res.err.Code != noToken
		s.revoked.token, s.revoked.at = res.spent, time.Now()
	}
	s.revoked.err, s.backoff.err = res.err, nil
	return tell
}

// postpone remembers a failure that may pass, and returns the error for the calls that wait.
func (s *source) postpone(err *belay.Error, now time.Time) error {
	most := retryRefresh
	if err.Class == belay.ClassAuth {
		most = retryRefusal
	}
	wait := min(most, time.Second<<min(s.backoff.failures, maxBackoffShift))
	if good, _ := s.good(now); good {
		wait = retryRefresh
	}
	s.backoff.failures++
	s.backoff.err, s.backoff.at = err, now
	s.backoff.notBefore = now.Add(max(wait, min(err.RetryAfter, maxWait)))
	if err.Class != belay.ClassTransient && err.Class != belay.ClassRateLimited {
		return err
	}
	e := *err
	e.RetryAfter = max(e.RetryAfter, s.backoff.notBefore.Sub(now))
	return &e
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

// tell passes an event to o, which may be nil, and recovers a panic of it.
func tell(ctx context.Context, o belay.Observer, e belay.Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}
