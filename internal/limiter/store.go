package limiter

import (
	"context"
	"errors"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// Quota is a limit that several processes share, counted in a store of theirs. Only the head of a queue
// asks, one at a time, so that a store is asked no more often than calls go.
type Quota interface {
	// Take takes n permits and returns 0, or takes none and returns how long to wait before asking again,
	// above zero. It must honour ctx, and be safe for concurrent use. An error means that the store cannot
	// say, which is when the limit's fallback holds.
	Take(ctx context.Context, n int) (wait time.Duration, err error)
}

const (
	quotaTimeout = 500 * time.Millisecond
	quotaRetry   = 2 * time.Second // how long the fallback holds before the store is asked again
	quotaLongest = time.Minute     // a store that wants a longer wait is asked again after that
	quotaCredit  = time.Second     // how long permits are good for that were taken and not used
)

// sharedQuota is a tier that a store counts. All but take is called under the line's lock.
type sharedQuota struct {
	quota    Quota
	fallback Fallback
	credit   int           // permits that were taken from the store and not yet used
	expires  time.Duration // when they are no longer worth anything
	asking   time.Duration // when the question under way is given up on, 0 when there is none
	until    time.Duration // when the store may be asked again, as it said
	failed   time.Duration // the fallback holds until then
}

var errQuotaSlow = errors.New("the quota's store did not answer in time")

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

// lacks reports whether n permits have to be asked for.
func (s *sharedQuota) lacks(now time.Duration, n int) bool {
	return now >= s.failed && s.credit < n
}

// spend uses permits that were asked for, and reports whether it was those.
func (s *sharedQuota) spend(now time.Duration, n int) bool {
	if now < s.failed || s.credit < n {
		return false
	}
	s.credit -= n
	return true
}

// take asks the store, outside all locks, for no longer than quotaTimeout.
func (s *sharedQuota) take(ctx context.Context, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout)
	type answer struct {
		wait time.Duration
		err  error
	}
	got := make(chan answer, 1)
	go func() { // it may not honour the context
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

// answered takes in what the store said to a question for n permits.
func (s *sharedQuota) answered(now time.Duration, n int, wait time.Duration, err error, cancelled bool) {
	s.asking = 0
	switch {
	case err != nil && cancelled: // by the caller: the next one asks
	case err != nil:
		s.failed, s.credit = now+quotaRetry, 0
	case wait > 0:
		s.until = now + min(wait, quotaLongest)
	default:
		s.giveBack(now, now, n)
		s.until = 0
	}
}

// giveBack takes back permits that were got from the store at a time: they are good for a while after that.
func (s *sharedQuota) giveBack(now, got time.Duration, n int) {
	if now-got >= quotaCredit {
		return
	}
	if s.credit == 0 || got+quotaCredit < s.expires {
		s.expires = got + quotaCredit
	}
	s.credit += n
}

// lacking returns the shared quotas that t still has to ask.
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
