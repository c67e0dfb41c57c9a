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
	ln := l.line
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	before := slices.Clone(*l.own.Load())
	var own []*tier
	for _, limit := range limits {
		own = append(own, ln.successor(before, limit, now))
	}
	for _, t := range before {
		if t != nil && t.slots != nil {
			own = append(own, t)
		}
	}
	l.own.Store(&own)
	ln.generation.Add(1)
	ln.eachWaiter(ln.move)
	ln.pump(now)
	return nil
}

// move brings a waiter under the limits that hold now, in its old place. Where it takes the user's functions to tell
// which those are, it does that itself, outside the lock.
func (ln *line) move(w *waiter) {
	ln.unlink(w)
	set, t := w.view.gather(), w.ticket
	if set.conditional {
		w.moved = true
		w.signal()
		return
	}
	t.tiers = set
	if w.err = t.fits(); w.err != nil {
		ln.remove(w)
		w.signal()
		return
	}
	t.taken = 1<<len(set.tiers) - 1
	ln.enqueue(w)
}

// successor returns the tier of a limit that takes the place of those before: the same where nothing has
// changed, otherwise one that has counted what was sent.
func (ln *line) successor(before []*tier, l Limit, now time.Duration) *tier {
	for i, have := range before {
		if have != nil && have.slots == nil && have.limit.same(l) {
			before[i] = nil
			return have
		}
	}
	t := l.tier(ln.base)
	if l.When != nil {
		return t
	}
	per := l.Per
	if l.Kind == Bucket {
		per = min(24*time.Hour, l.Per*time.Duration(1+l.Burst/l.N))
	}
	ln.recount(t.Window, 0, per, now)
	return t
}
