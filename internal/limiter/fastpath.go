package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/window"
)

// plainTiers is what the successful path needs of a tierSet that is nothing out of the ordinary: no limit has a
// condition, none is counted by a store, and they are few.
type fastTiers struct {
	windows []fastWindow
	slots   []*window.Slots
}

type fastWindow struct {
	window.Window
	at uint8 // of the set's tiers
}

// plainOf returns what is plain of a set, nil where it is not.
func fastTiersOf(s *tierSet) *fastTiers {
	if s.conditional || s.shared || len(s.tiers) > inlineTiers {
		return nil
	}
	p := new(fastTiers)
	for i, t := range s.tiers {
		if t.slots != nil {
			p.slots = append(p.slots, t.slots)
		} else {
			p.windows = append(p.windows, fastWindow{t.Window, uint8(i)})
		}
	}
	return p
}

// TryAcquire admits t and reports true, or does nothing: where its limits are not plain, where the partner has said
// something or somebody waits, or where there is no room, the long way decides.
func (l *Limiter) TryAcquire(r *Reservation) bool {
	set, s := l.set.Load(), l.sched
	if set == nil || set.fast == nil || uint(r.Cost) > 1 || s.signalled.Load() || s.waiting.Load() > 0 {
		return false
	}
	// The clock is read before the lock, which is held for less; who comes in between has a later one.
	now := s.now()
	s.mu.Lock()
	now = max(now, s.lastAdmitted)
	if set.generation != s.generation.Load() || s.signalled.Load() || s.waiting.Load() > 0 || !set.fast.open(now) {
		s.mu.Unlock()
		return false
	}
	s.lastAdmitted = now
	r.tiers, r.taken, r.stored = set, 1<<len(set.tiers)-1, 0
	r.sent, r.state, r.tight = now, taken, set.fast.take(&r.marks, now, now+s.slack)
	s.noteSent(r, now, 1)
	s.mu.Unlock()
	return true
}

// open reports whether all of it has room for one permit.
func (p *fastTiers) open(now time.Duration) bool {
	for _, s := range p.slots {
		if !s.Free(1) {
			return false
		}
	}
	for i := range p.windows {
		if p.windows[i].Wait(now, 1) > 0 {
			return false
		}
	}
	return true
}

// take takes one permit of all of it, and reports whether some of it gains by knowing when that was counted.
func (p *fastTiers) take(marks *[inlineTiers]int64, now, latest time.Duration) (tight bool) {
	for _, s := range p.slots {
		s.Take()
	}
	all := int64(-1)
	for i := range p.windows {
		w := &p.windows[i]
		mark := w.Take(now, latest, 1)
		marks[w.at%inlineTiers] = mark
		all &= mark
	}
	return all >= 0
}
