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

// tokenSource is the authenticator of one integration. It holds the present token, and makes one flight at a time to
// get the next.
type tokenSource struct {
	app *App
	key string
	own bool // the app's own credentials, which need no refresh token

	unproved atomic.Bool // the present token came after one that was rejected, and has not been accepted so far

	mu       sync.Mutex
	now      Token            // the zero value before the first
	cred     belay.Credential // which it is as
	version  uint64           // of now, in the order in which the store has kept them
	worked   time.Time        // when a token was last got
	rejected string           // an access token that the partner answered with a 401
	refused  time.Time        // when
	futile   int              // renewals in a row after which the partner answered with a 401 again
	futileAt time.Time        // the last of them
	spared   time.Time        // until then no token is rejected
	revived  time.Time        // when a rejected token was last taken for good again, as there was no other
	flight   *flight          // that is under way
	unsaved  *renewal         // what was got, but the store could not keep
	dead     *belay.Error     // the grant was refused for good
	died     Token            // the one that it was refused for
	since    time.Time        // when
	looked   time.Time        // when the store was last asked whether it has come back
	trouble  *belay.Error     // why the last flight failed otherwise
	troubled time.Time        // when
	failures int              // in a row
	next     time.Time        // no flight before it
}

// flight gets a token, from the store or the partner. Done is closed when it has ended.
type flight struct {
	done   chan struct{}
	before uint64 // the version that it began with
	cred   belay.Credential
	err    error
}

// renewal is a token and the one that was spent for it.
type renewal struct{ spent, got Token }

const (
	lookAgain    = 30 * time.Second // how often a dead grant's store is asked for another token
	refreshAgain = 30 * time.Second // after a refresh failed while the old token is good, and at the most after trouble
	refusedAgain = 5 * time.Minute  // at the most after refusals for no known reason
	askAgain     = time.Hour        // after the app's own credentials were refused
	spareFor     = 5 * time.Minute  // after a new token was refused like the one before; doubled each time, up to the following
	spareMost    = 30 * time.Minute
)

// Credential returns a token that is good, after getting one where there is none.
func (s *tokenSource) Credential(ctx context.Context) (belay.Credential, error) {
	s.mu.Lock()
	now := time.Now()
	good, fresh := s.good(now)
	if !good && s.flight == nil {
		if err := s.remembered(now); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	if good && (fresh > 0 || s.flight != nil || now.Before(s.next) || !s.refreshable()) {
		cred := s.cred
		s.mu.Unlock()
		return cred, nil
	}
	f := s.flight
	if f == nil {
		f = &flight{done: make(chan struct{}), before: s.version}
		s.flight = f
		go s.fly(ctx, f)
	}
	cred := s.cred
	s.mu.Unlock()
	if good { // the old one serves meanwhile
		return cred, nil
	}
	select {
	case <-f.done:
		if f.err != nil {
			return nil, f.err
		}
		return f.cred, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token: %w", fault.Context(ctx))
	}
}

// remembered returns why there is no use in asking now: a copy, as calls complete it.
func (s *tokenSource) remembered(now time.Time) error {
	switch {
	case s.dead != nil && now.Sub(s.looked) < lookAgain:
		err := *s.dead
		return &err
	case s.trouble != nil && now.Before(s.next):
		err := *s.trouble
		err.RetryAfter = max(s.next.Sub(now), err.RetryAfter-now.Sub(s.troubled))
		return &err
	}
	return nil
}

// good reports whether the present token can be sent, and for how long it need not be refreshed.
func (s *tokenSource) good(now time.Time) (good bool, fresh time.Duration) {
	use, fresh := s.now.lasts(now)
	access := s.now.Access.Reveal()
	return access != "" && access != s.rejected && use > 0, fresh
}

// refreshable reports whether the present token can be exchanged for another.
func (s *tokenSource) refreshable() bool { return s.own || s.now.Refresh.Reveal() != "" }

// Reject says that the partner answered the credential with a 401. It reports whether another is worth a try: not when one has been
// tried of late to no avail. Then the token stays, for the calls that the partner lets through.
func (s *tokenSource) Reject(_ context.Context, c belay.Credential) (retry bool) {
	was, ok := c.(issued)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.same(was.token) {
		return true // it has been renewed since
	}
	now := time.Now()
	if now.Before(s.spared) {
		return false
	}
	if s.unproved.Load() { // the one before was rejected too
		s.spare(now)
		return false
	}
	s.rejected, s.refused = was.token.Access.Reveal(), now
	if s.trouble == nil || s.trouble.RetryAfter == 0 {
		s.next = time.Time{}
	}
	return true
}

// Accepted says that the partner took the credential.
func (s *tokenSource) Accepted(c belay.Credential) {
	if !s.unproved.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := c.(issued); ok && s.now.same(was.token) {
		s.unproved.Store(false)
	}
}

// Rejected says that the partner answered with a 401 again, to a credential that came after one that it had rejected.
func (s *tokenSource) Rejected(c belay.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if was, ok := c.(issued); ok && s.now.same(was.token) && now.After(s.spared) {
		s.spare(now)
	}
}

// spare keeps the present token, whatever is said of it, for a while.
func (s *tokenSource) spare(now time.Time) {
	if now.Sub(s.futileAt) > 2*spareMost { // the last time was long ago, or never
		s.futile = 0
	}
	s.futileAt = now
	s.spared = now.Add(min(spareMost, spareFor<<min(s.futile, 10)))
	s.futile++
	s.unproved.Store(false) // when the time is over, it may be rejected
}

// fly makes a flight. It outlives the caller that began it, and whatever the store and the transport do, it lands.
func (s *tokenSource) fly(ctx context.Context, f *flight) {
	ctx = belay.DetachedContext(ctx) // its values may be of use to observers
	bounded, cancel := context.WithTimeoutCause(ctx, refreshTimeouts*s.app.cfg.Timeout, fault.ErrAttemptTimeout)
	l := landing{err: s.app.storeError(s.key, errors.New("the token store or the transport panicked"))}
	defer func() {
		cancel()
		_ = recover()
		s.land(ctx, f, l)
	}()
	l = s.get(bounded)
}

// landing is what a flight brings.
type landing struct {
	token   Token
	version uint64 // of it, 0 when the store was not reached
	tried   Token  // what was spent for it, or could not be
	asked   bool   // the partner was asked
	err     *belay.Error
}

// get asks the store, and the partner where the store has nothing that is good.
func (s *tokenSource) get(ctx context.Context) (l landing) {
	t, err := s.app.cfg.Store.Update(ctx, s.key, func(_ context.Context, have Token) (Token, error) {
		l = landing{version: s.app.order.Add(1)}
		s.mu.Lock()
		rejected, now := s.rejected, s.now
		if s.unsaved != nil && !s.unsaved.spent.sameGrant(have) {
			s.unsaved = nil
		}
		unsaved := s.unsaved
		if s.dead != nil && (!s.died.sameGrant(have) || s.own && time.Since(s.since) > askAgain) {
			s.dead = nil // there is something new to try
		}
		access, alone := have.Access.Reveal(), !s.own && have.Refresh.Reveal() == ""
		if alone && rejected != "" && access == rejected && time.Since(s.refused) >= lookAgain {
			s.rejected, s.dead, rejected, s.revived = "", nil, "", time.Now() // it is all that there is: the partner may have been wrong
		}
		dead := s.dead
		s.mu.Unlock()
		if unsaved != nil {
			l.asked = true
			return unsaved.got, nil
		}
		if dead != nil {
			l.err = dead
			return have, dead
		}
		if use, fresh := have.lasts(time.Now()); access != "" && access != rejected && use > 0 && (fresh > 0 || alone || !have.same(now)) {
			return have, nil // another process has renewed it
		}
		if alone {
			l.tried = have
			l.err = s.app.fail(s.key, noRefreshToken, "the token is no longer good and cannot be refreshed: ask the customer to connect again", nil)
			if access == "" {
				l.err = s.app.fail(s.key, noToken, "there is no token in the store: connect the integration", nil)
			}
			return have, l.err
		}
		l.asked, l.tried = true, have
		var next Token
		if next, l.err = s.refresh(ctx, have); l.err != nil {
			return have, l.err
		}
		s.mu.Lock()
		s.unsaved = &renewal{have, next}
		s.mu.Unlock()
		return next, nil
	})
	switch {
	case l.err != nil:
	case err != nil:
		if context.Cause(ctx) == fault.ErrAttemptTimeout {
			err = fmt.Errorf("it was locked for too long: %w", fault.ErrAttemptTimeout)
		}
		l.err = s.app.storeError(s.key, err)
	default:
		if err := t.check(); err != nil {
			l.err = s.app.storeError(s.key, err)
		}
		l.token = t
	}
	return l
}

// refresh asks the partner, and leaves time to keep what it answers: a refresh token may be good only once.
func (s *tokenSource) refresh(ctx context.Context, have Token) (Token, *belay.Error) {
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

// land ends a flight.
func (s *tokenSource) land(ctx context.Context, f *flight, l landing) {
	s.mu.Lock()
	now := time.Now()
	s.flight, s.looked = nil, now
	worked, died := s.worked, false
	switch {
	case l.err == nil:
		s.unsaved, s.worked = nil, now
		s.take(l.token, l.version)
		f.cred = s.cred
	case s.version != f.before: // Put has brought another meanwhile
		f.cred, l.err, l.asked = s.cred, nil, false
	case l.err.Class == belay.ClassAuth && isFinal(l.err.Code):
		f.err = l.err
		// Told already, when it was tried again and refused at once.
		told := !s.revived.IsZero() && s.died.sameGrant(l.tried) && s.refused.Sub(s.revived).Abs() < time.Minute
		if s.dead == nil && !told {
			died = l.err.Code != noToken
			s.died, s.since = l.tried, now
		}
		s.dead, s.trouble = l.err, nil
	default:
		f.err = l.err
		most := refreshAgain
		if l.err.Class == belay.ClassAuth {
			most = refusedAgain
		}
		wait := min(most, time.Second<<min(s.failures, 10))
		if good, _ := s.good(now); good {
			wait = refreshAgain
		}
		s.failures++
		s.trouble, s.troubled = l.err, now
		s.next = now.Add(max(wait, min(l.err.RetryAfter, maxWait)))
		if l.err.Class == belay.ClassTransient || l.err.Class == belay.ClassRateLimited {
			told := *l.err
			told.RetryAfter = max(told.RetryAfter, s.next.Sub(now))
			f.err = &told
		}
	}
	s.mu.Unlock()
	close(f.done)
	partner := s.app.cfg.Name
	switch {
	case l.err == nil && l.asked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshed{Partner: partner, Integration: s.key, Expiry: l.token.Expiry})
	case died:
		tell(ctx, s.app.cfg.Observer, belay.TokenRevoked{Partner: partner, Integration: s.key, LastWorked: worked, Action: l.err.Message, Err: l.err})
	case l.err != nil && !isFinal(l.err.Code):
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshFailed{Partner: partner, Integration: s.key, LastWorked: worked, Action: l.err.Message, Err: l.err})
	}
}

// take makes t the present token, unless the store has kept a later one.
func (s *tokenSource) take(t Token, version uint64) {
	if version < s.version {
		return
	}
	s.now, s.cred, s.version = t, issued{t}, version
	s.unproved.Store(s.rejected != "")
	s.spared = time.Time{}
	s.rejected, s.dead, s.trouble, s.failures, s.next = "", nil, nil, 0, time.Time{}
}

// renewed takes in a token that was stored by Put.
func (s *tokenSource) renewed(t Token, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.empty() {
		s.worked = time.Now()
	}
	s.take(t, version)
	s.unproved.Store(false) // nobody has refused this one's like
}

// tell hands an event to an observer, which may be nil, and contains its panic.
func tell(ctx context.Context, o belay.Observer, e belay.Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}
