package limiter

import (
	"slices"
	"time"
)

// SetLimits replaces the limits that l was made with; its parents' limits, and its slots in flight, stay. Calls that wait go by the
// new limits at once, and what was sent before counts against them. An error names each limit that is out of range, and nothing
// changes then.
func (l *Limiter) SetLimits(limits ...Limit) error {
	if err := l.checkLimits(limits); err != nil {
		return err
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

// move brings a waiter under the limits that hold now, in its old place. Where it takes the user's functions to tell
// which those are, it does that itself, outside the lock.
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

// successor returns the tier of a limit that takes the place of those before: the same where nothing has
// changed, otherwise one that has counted what was sent.
func (s *scheduler) successor(before []*tier, l Limit, now time.Duration) *tier {
	for i, have := range before {
		if have != nil && have.slots == nil && have.limit.same(l) {
			before[i] = nil
			return have
		}
	}
	t := l.tier(s.base)
	if l.When != nil {
		return t
	}
	per := l.Per
	if l.Kind == Bucket {
		per = min(24*time.Hour, l.Per*time.Duration(1+l.Burst/l.N))
	}
	s.recount(t.Window, 0, per, now)
	return t
}
