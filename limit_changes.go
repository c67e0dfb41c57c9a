package belay

import (
	"reflect"
	"time"
)

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
	if l.when != nil {
		return t
	}
	per := l.per
	if l.kind == bucketLimit {
		per = min(24*time.Hour, l.per*time.Duration(1+l.burst/l.n))
	}
	ln.recount(t.Window, 0, per, now)
	return t
}

// same reports whether both limit the same in the same way, as far as can be told.
func (l Limit) same(o Limit) bool {
	if l.when != nil || o.when != nil {
		return false
	}
	if l.quota != nil || o.quota != nil {
		if l.quota == nil || o.quota == nil || !reflect.ValueOf(l.quota).Comparable() || !reflect.ValueOf(o.quota).Comparable() || l.quota != o.quota {
			return false
		}
	}
	return l.n == o.n && l.per == o.per && l.kind == o.kind && l.burst == o.burst && l.headroom == o.headroom && l.fallback == o.fallback
}
