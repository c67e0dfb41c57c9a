package limiter

import (
	"context"
	"errors"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// Quota is a limit that several processes share, counted in a store of theirs. Only the head of a queue asks,
// one at a time, so the store is asked no more often than calls go.
type Quota interface {
	// Take takes n permits and returns 0, or takes none and returns how long to wait before asking again,
	// above zero. It must honor ctx and be safe for concurrent use. An error means that the store cannot say;
	// the limit's fallback applies then.
	Take(ctx context.Context, n int) (wait time.Duration, err error)
}

const (
	quotaTimeout = 500 * time.Millisecond // the store has to answer within this
	quotaRetry   = 2 * time.Second        // how long the fallback applies before the store is asked again
	quotaLongest = time.Minute            // a longer wait is cut to this; then the store is asked again
	quotaCredit  = time.Second            // how long unused permits from the store stay valid
)

// sharedQuota is a limit that a store counts. All methods but take run under the scheduler's mutex.
type sharedQuota struct {
	tier     *tier // that it counts
	quota    Quota
	fallback Fallback
	credit   int           // permits taken from the store and not used yet
	expires  time.Duration // when the credit is no longer valid
	asking   time.Duration // when the present request to the store is given up, 0 if there is none
	until    time.Duration // when the store may be asked again, after it has asked to wait
	failed   time.Duration // the fallback applies until then
}

var errQuotaSlow = errors.New("the quota's store did not answer in time")

// waitFor returns how long n permits have to wait behind claimed others. The window local decides while the
// store fails. Zero with too little credit means that the head of the queue must ask the store.
func (s *sharedQuota) waitFor(local window.Window, now time.Duration, n, claimed int) time.Duration {
	if s.asking > 0 && now >= s.asking {
		s.answered(now, 0, 0, errQuotaSlow, false)
	}
	if now >= s.expires {
		s.credit = 0
	}
	switch {
	case now < s.failed:
		switch s.fallback {
		case FailOpen:
			return 0
		case FailClosed:
			return s.failed - now
		}
		return min(local.Wait(now, min(n, local.Limit())+claimed), s.failed-now) // then the store is asked again
	case s.credit >= n+claimed:
		return 0
	case s.asking > 0:
		return s.asking - now
	case s.until > now:
		return s.until - now
	}
	return 0 // the head asks
}

// lacks reports whether the store must be asked for n permits.
func (s *sharedQuota) lacks(now time.Duration, n int) bool {
	return now >= s.failed && s.credit < n
}

// spend uses n permits of the credit and reports true, or uses none and reports false if the fallback applies
// or the credit is too small.
func (s *sharedQuota) spend(now time.Duration, n int) bool {
	if now < s.failed || s.credit < n {
		return false
	}
	s.credit -= n
	return true
}

// take asks the store for n permits, without the mutex and for no longer than quotaTimeout.
func (s *sharedQuota) take(ctx context.Context, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout)
	type answer struct {
		wait time.Duration
		err  error
	}
	got := make(chan answer, 1)
	go func() { // Take may ignore its context
		defer cancel()
		a := answer{err: errors.New("the quota's Take panicked")}
		defer func() {
			_ = recover()
			got <- a
		}()
		a.wait, a.err = s.quota.Take(ctx, n)
	}()
	select {
	case a := <-got:
		return a.wait, a.err
	case <-ctx.Done():
		select {
		case a := <-got:
			return a.wait, a.err
		default:
			return 0, ctx.Err()
		}
	}
}

// answered records the store's answer to a request for n permits. canceled says that the caller's context
// has ended.
func (s *sharedQuota) answered(now time.Duration, n int, wait time.Duration, err error, canceled bool) {
	s.asking = 0
	switch {
	case err != nil && canceled: // the store has not failed: the next head asks it
	case err != nil:
		s.failed, s.credit = now+quotaRetry, 0
	case wait > 0:
		s.until = now + min(wait, quotaLongest)
	default:
		s.giveBack(now, now, n)
		s.until = 0
	}
}

// giveBack adds n permits that the store granted at time got to the credit. They stay valid for quotaCredit
// after got; later they are lost. All credit expires together, with its oldest permits.
func (s *sharedQuota) giveBack(now, got time.Duration, n int) {
	if now-got >= quotaCredit {
		return
	}
	if s.credit == 0 || got+quotaCredit < s.expires {
		s.expires = got + quotaCredit
	}
	s.credit += n
}

// lacking returns the shared quotas that r still has to ask for permits.
func (r *Reservation) lacking(now time.Duration) (lacking []*sharedQuota) {
	if !r.tiers.shared {
		return nil
	}
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.shared != nil && tier.shared.lacks(now, r.cost()) {
			lacking = append(lacking, tier.shared)
		}
	}
	return lacking
}
