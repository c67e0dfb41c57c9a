package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/window"
)

// plainTiers is what the successful path needs of a tierSet that is nothing out of the ordinary: no limit has a
// condition, none is counted by a store, and they are few.
type plainTiers struct {
	windows []plainWindow
	slots   []*window.Slots
}

type plainWindow struct {
	window.Window
	at uint8 // of the set's tiers
}

// plainOf returns what is plain of a set, nil where it is not.
func plainOf(s *tierSet) *plainTiers {
	if s.conditional || s.shared || len(s.tiers) > inlineTiers {
		return nil
	}
	p := new(plainTiers)
	for i, t := range s.tiers {
		if t.slots != nil {
			p.slots = append(p.slots, t.slots)
		} else {
			p.windows = append(p.windows, plainWindow{t.Window, uint8(i)})
		}
	}
	return p
}

// TryAcquire admits t and reports true, or does nothing: where its limits are not plain, where the partner has said
// something or somebody waits, or where there is no room, the long way decides.
func (l *Limiter) TryAcquire(t *Reservation) bool {
	set, ln := l.set.Load(), l.line
	if set == nil || set.plain == nil || uint(t.Cost) > 1 || ln.stirred.Load() || ln.waiting.Load() > 0 {
		return false
	}
	// The clock is read before the lock, which is held for less; who comes in between has a later one.
	now := ln.now()
	ln.mu.Lock()
	now = max(now, ln.latest)
	if set.generation != ln.generation.Load() || ln.stirred.Load() || ln.waiting.Load() > 0 || !set.plain.open(now) {
		ln.mu.Unlock()
		return false
	}
	ln.latest = now
	t.tiers, t.taken, t.stored = set, 1<<len(set.tiers)-1, 0
	t.sent, t.state, t.tight = now, taken, set.plain.take(&t.marks, now, now+ln.slack)
	ln.note(t, now, 1)
	ln.mu.Unlock()
	return true
}

// open reports whether all of it has room for one permit.
func (p *plainTiers) open(now time.Duration) bool {
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
func (p *plainTiers) take(marks *[inlineTiers]int64, now, latest time.Duration) (tight bool) {
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
