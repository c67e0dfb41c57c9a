package oauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/fault"
)

// source is the authenticator of one integration. It holds the current token, and runs one refresh at a time to get the next.
type source struct {
	app *App
	key string
	own bool // the app's own credentials, which need no refresh token

	// provisional says that the current token came after a rejected one, and has not been accepted so far.
	provisional atomic.Bool

	mu        sync.Mutex
	current   current
	rejection rejection
	revoked   revoked
	backoff   backoff
	refresh   *refresh // in progress, nil for none
	unsaved   *renewal // a token that the store could not keep, nil for none
}

// current is the token in use.
type current struct {
	token   Token            // the zero value before the first
	cred    belay.Credential // of token
	version uint64           // of token, in the order in which the store has kept them
	got     time.Time        // when a token was last got
}

// rejection is what the partner's 401s say of tokens.
type rejection struct {
	access          string    // the access token that was answered with a 401
	at              time.Time // when
	restored        time.Time // when a rejected token was last taken for good again, because there was no other
	suppressedUntil time.Time // 401s are ignored until then
	suppressions    int       // in a row
	suppressedAt    time.Time // when the last of them began
}

// revoked is a grant that was refused for good.
type revoked struct {
	err     *belay.Error // nil while the grant stands
	token   Token        // that was refused
	at      time.Time    // when
	checked time.Time    // when the store was last asked for another token
}

// backoff is the wait after a refresh that failed for a reason that may pass.
type backoff struct {
	err       *belay.Error // nil after a success
	at        time.Time    // when it failed
	failures  int          // in a row
	notBefore time.Time    // when the next refresh may begin
}

// refresh gets a token, from the store or from the partner.
type refresh struct {
	done   chan struct{} // closed at the end
	before uint64        // the version that it began with
	cred   belay.Credential
	err    error
}

// renewal is a token and the token that was spent for it.
type renewal struct{ spent, got Token }

const (
	recheckStore    = 30 * time.Second // how often the store of a revoked grant is asked for another token
	retryRefresh    = 30 * time.Second // after a failure while the old token is good, and at most after other failures
	retryRefusal    = 5 * time.Minute  // at most, after refusals for no known reason
	retryOwn        = time.Hour        // after the app's own credentials were refused
	suppressFor     = 5 * time.Minute  // after a new token was rejected like the one before; doubled each time
	maxSuppress     = 30 * time.Minute
	restoredRecent  = time.Minute // a refusal that soon after a restored token is the same refusal
	maxBackoffShift = 10
)

// Credential returns a token that is good, after getting one where there is none.
func (s *source) Credential(ctx context.Context) (belay.Credential, error) {
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
	if good { // the old one serves meanwhile
		return cred, nil
	}
	select {
	case <-r.done:
		if r.err != nil {
			return nil, r.err
		}
		return r.cred, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token: %w", fault.Context(ctx))
	}
}

// remembered returns why a refresh would be in vain now, nil where it would not. The error is a copy, because calls complete it.
func (s *source) remembered(now time.Time) error {
	switch {
	case s.revoked.err != nil && now.Sub(s.revoked.checked) < recheckStore:
		err := *s.revoked.err
		return &err
	case s.backoff.err != nil && now.Before(s.backoff.notBefore):
		err := *s.backoff.err
		err.RetryAfter = max(s.backoff.notBefore.Sub(now), err.RetryAfter-now.Sub(s.backoff.at))
		return &err
	}
	return nil
}

// good reports whether the current token can be sent, and for how long it need not be refreshed.
func (s *source) good(now time.Time) (good bool, fresh time.Duration) {
	use, fresh := s.current.token.lasts(now)
	access := s.current.token.Access.Reveal()
	return access != "" && access != s.rejection.access && use > 0, fresh
}

// refreshable reports whether the current token can be exchanged for another.
func (s *source) refreshable() bool { return s.own || s.current.token.Refresh.Reveal() != "" }

// Reject says that the partner answered the credential with a 401. It reports whether another token is worth a try: it is not where
// one was tried of late to no avail. Then the token stays, for the calls that the partner lets through.
func (s *source) Reject(_ context.Context, c belay.Credential) (retry bool) {
	was, ok := c.(issued)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.current.token.same(was.token) {
		return true // it has been replaced since
	}
	now := time.Now()
	if now.Before(s.rejection.suppressedUntil) {
		return false
	}
	if s.provisional.Load() { // the one before was rejected too
		s.suppressRejections(now)
		return false
	}
	s.rejection.access, s.rejection.at = was.token.Access.Reveal(), now
	if s.backoff.err == nil || s.backoff.err.RetryAfter == 0 {
		s.backoff.notBefore = time.Time{}
	}
	return true
}

// Accepted says that the partner took the credential.
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

// Rejected says that the partner answered a credential with a 401, right after it had rejected the one before.
func (s *source) Rejected(c belay.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if was, ok := c.(issued); ok && s.current.token.same(was.token) && now.After(s.rejection.suppressedUntil) {
		s.suppressRejections(now)
	}
}

// suppressRejections ignores 401s for a while: the last two tokens were both rejected, so another refresh would not help.
func (s *source) suppressRejections(now time.Time) {
	r := &s.rejection
	if now.Sub(r.suppressedAt) > 2*maxSuppress { // the last time was long ago, or never
		r.suppressions = 0
	}
	r.suppressedAt = now
	r.suppressedUntil = now.Add(min(maxSuppress, suppressFor<<min(r.suppressions, maxBackoffShift)))
	r.suppressions++
	s.provisional.Store(false) // when the time is over, the token may be rejected
}

// run runs one refresh, detached from the context of the call that began it. It always ends the refresh, even if the store or the
// transport panics or hangs.
func (s *source) run(ctx context.Context, r *refresh) {
	ctx = belay.DetachedContext(ctx) // its values may be of use to observers
	bounded, cancel := context.WithTimeoutCause(ctx, refreshTimeouts*s.app.cfg.Timeout, fault.ErrAttemptTimeout)
	res := result{err: s.app.storeError(s.key, errors.New("the token store or the transport panicked"))}
	defer func() {
		cancel()
		_ = recover()
		s.finish(ctx, r, res)
	}()
	res = s.obtain(bounded)
}

// result is what a refresh came to.
type result struct {
	token   Token
	version uint64 // of token, 0 when the store was not reached
	spent   Token  // the token that was exchanged, or could not be
	asked   bool   // the partner was asked
	err     *belay.Error
}

// obtain asks the store for a token, and the partner where the store has none that is good.
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
		if context.Cause(ctx) == fault.ErrAttemptTimeout {
			err = fmt.Errorf("it was locked for too long: %w", fault.ErrAttemptTimeout)
		}
		res.err = s.app.storeError(s.key, err)
	default:
		if err := t.check(); err != nil {
			res.err = s.app.storeError(s.key, err)
		}
		res.token = t
	}
	return res
}

// decision is what a refresh does with the token that the store has: it uses a token, fails, or exchanges the store's.
type decision struct {
	use     bool
	token   Token // to use
	renewed bool  // token is one that the partner gave before, and that the store could not keep
	err     *belay.Error
}

// decide says what to do with the token that the store has.
func (s *source) decide(have Token) decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved != nil && !s.unsaved.spent.sameGrant(have) {
		s.unsaved = nil
	}
	if s.revoked.err != nil && (!s.revoked.token.sameGrant(have) || s.own && time.Since(s.revoked.at) > retryOwn) {
		s.revoked.err = nil // there is something new to try
	}
	access, alone := have.Access.Reveal(), !s.own && have.Refresh.Reveal() == ""
	if alone && s.rejection.access != "" && access == s.rejection.access && time.Since(s.rejection.at) >= recheckStore {
		// There is no other token, and the partner may have been wrong.
		s.rejection.access, s.rejection.restored, s.revoked.err = "", time.Now(), nil
	}
	use, fresh := have.lasts(time.Now())
	switch {
	case s.unsaved != nil:
		return decision{use: true, token: s.unsaved.got, renewed: true}
	case s.revoked.err != nil:
		return decision{err: s.revoked.err}
	case access != "" && access != s.rejection.access && use > 0 && (fresh > 0 || alone || !have.same(s.current.token)):
		return decision{use: true, token: have} // where it is not ours, another process has renewed it
	case alone && access == "":
		return decision{err: s.app.fail(s.key, noToken, "there is no token in the store: connect the integration", nil)}
	case alone:
		return decision{err: s.app.fail(s.key, noRefreshToken, "the token is no longer good and cannot be refreshed: ask the customer to connect again", nil)}
	}
	return decision{}
}

// exchange asks the partner for the next token, and leaves time to keep the answer: a refresh token may be good only once.
func (s *source) exchange(ctx context.Context, have Token) (Token, *belay.Error) {
	if end, ok := ctx.Deadline(); ok {
		if time.Until(end) < 2*s.app.cfg.Timeout {
			return Token{}, s.app.storeError(s.key, errors.New("it was locked for too long"))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end.Add(-s.app.cfg.Timeout), fault.ErrAttemptTimeout)
		defer cancel()
	}
	next, err := s.app.refresh(ctx, s.key, have, s.own)
	if err == nil && next.Refresh.Reveal() == "" {
		next.Refresh = have.Refresh // which stays good where the answer has none
	}
	return next, err
}

// finish ends a refresh: it takes the token in use, or remembers why there is none, and tells the observer.
func (s *source) finish(ctx context.Context, r *refresh, res result) {
	s.mu.Lock()
	now := time.Now()
	s.refresh, s.revoked.checked = nil, now
	lastGot, newlyRevoked := s.current.got, false
	switch {
	case res.err == nil:
		s.unsaved, s.current.got = nil, now
		s.take(res.token, res.version)
		r.cred = s.current.cred
	case s.current.version != r.before: // Put has brought another meanwhile
		r.cred, res.err, res.asked = s.current.cred, nil, false
	case res.err.Class == belay.ClassAuth && isFinal(res.err.Code):
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
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshed{Partner: partner, Integration: s.key, Expiry: res.token.Expiry})
	case newlyRevoked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRevoked{Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err})
	case res.err != nil && !isFinal(res.err.Code):
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshFailed{Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err})
	}
}

// revoke remembers a grant that was refused for good, and reports whether observers are to be told: not of a missing token, and not
// twice of a token that was restored and refused again at once.
func (s *source) revoke(res result) (tell bool) {
	restored := s.rejection.restored
	again := !restored.IsZero() && s.revoked.token.sameGrant(res.spent) && s.rejection.at.Sub(restored).Abs() < restoredRecent
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
	told := *err
	told.RetryAfter = max(told.RetryAfter, s.backoff.notBefore.Sub(now))
	return &told
}

// take makes t the current token, unless the store has kept a later one.
func (s *source) take(t Token, version uint64) {
	if version < s.current.version {
		return
	}
	s.current.token, s.current.cred, s.current.version = t, issued{t}, version
	s.provisional.Store(s.rejection.access != "")
	s.rejection.suppressedUntil = time.Time{}
	s.rejection.access, s.revoked.err, s.backoff.err, s.backoff.failures, s.backoff.notBefore = "", nil, nil, 0, time.Time{}
}

// replaced takes in a token that was stored by Put.
func (s *source) replaced(t Token, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.empty() {
		s.current.got = time.Now()
	}
	s.take(t, version)
	s.provisional.Store(false) // no token before it was rejected
}

// tell hands an event to an observer, which may be nil, and contains its panic.
func tell(ctx context.Context, o belay.Observer, e belay.Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}
