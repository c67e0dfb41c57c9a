package limiter

import (
	"slices"
	"time"
)

// SetLimits replaces the limits that l was made with. Its parents' limits and its slots in flight stay.
// Waiting calls follow the new limits at once. Calls that were sent before count against the new limits, except
// against a new limit that has a condition, and new slots. An error names each limit that is out of range;
// nothing changes then.
func (l *Limiter) SetLimits(limits ...Limit) error {
	if err := l.checkLimits(limits); err != nil {
		return err
	}
	if l.origin != 0 {
		return l.parent.SetLimits(limits...)
	}
	s := l.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	before := slices.Clone(*l.own.Load())
	var own []*tier
	for _, limit := range limits {
		own = append(own, s.successor(before, limit, now))
	}
	for _, t := range before {
		if t != nil && t.slots != nil {
			own = append(own, t)
		}
	}
	l.own.Store(&own)
	s.generation.Add(1)
	s.eachWaiter(s.moveToNewLimits)
	s.pump(now)
	return nil
}

// moveToNewLimits moves waiter w under the limits of the present generation and keeps its order of arrival.
// If some limit has a condition, w is woken to choose its limits itself, because When must run outside the
// mutex.
func (s *scheduler) moveToNewLimits(w *waiter) {
	s.unlink(w)
	set, r := w.view.gather(), w.place
	if set.conditional {
		w.limitsChanged = true
		w.signal()
		return
	}
	r.tiers = set
	if w.err = r.fits(); w.err != nil {
		s.remove(w)
		w.signal()
		return
	}
	r.taken = 1<<len(set.tiers) - 1
	s.enqueue(w)
}

// successor returns the tier for limit l of a new generation. An unchanged limit keeps its tier, which is
// removed from before. A changed limit gets a new tier that has counted the calls already sent, unless it has
// a condition.
func (s *scheduler) successor(before []*tier, l Limit, now time.Duration) *tier {
	for i, have := range before {
		if have != nil && have.slots == nil && have.limit.same(l) {
			before[i] = nil
			return have
		}
	}
	t := l.tier(s.base)
	if l.When != nil || t.slots != nil {
		return t
	}
	per := l.Per
	if l.Kind == Bucket {
		per = min(24*time.Hour, l.Per*time.Duration(1+l.Burst/l.N))
	}
	s.recount(t.Window, 0, per, now)
	return t
}
