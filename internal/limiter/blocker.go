package limiter

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/heap"
	"github.com/belay-go/belay/internal/window"
)

// heads holds priority queues by level, each level in the order of their turns.
type heads [priorities]heap.Heap[*priorityQueue]

// push adds pq.
func (h *heads) push(pq *priorityQueue) {
	h[pq.level].Push(pq)
	pq.in = h
}

// remove removes pq, which is in h.
func (h *heads) remove(pq *priorityQueue) {
	h[pq.level].Remove(pq)
	pq.in = nil
}

// blocker is what the heads of queues wait for: a limit, a pause or the ramp. It holds the queues whose heads wait
// for it, in their order. Only the first of them is looked at again, when the time has come or when permits have
// come back: the others need the same and come later. So a change costs no more the more calls wait for other things.
type blocker struct {
	heap.Place               // in scheduler.timed
	heads                    // the queues that wait for it
	queued     int           // their number
	at         time.Duration // when the first may go; never if the clock does not tell
	since      time.Duration // when the first queue began to wait
	inFlight   *window.Slots // of a limit of calls in flight, otherwise nil
}

// Before orders blockers by time.
func (b *blocker) Before(o *blocker) bool { return b.at < o.at }

// waiters returns how many calls wait for b, or fewer if they are in several queues.
func (s *scheduler) waiters(b *blocker) int {
	if b.queued == 1 {
		return s.first(&b.heads).queue.size
	}
	return b.queued
}

// first returns the priority queue of h that comes first, nil for none: that of the highest level, unless a lower
// level has been passed maxPasses times.
func (s *scheduler) first(h *heads) *priorityQueue {
	for level := priorities - 1; level > 0; level-- {
		if s.passed[level] >= maxPasses && h[level].Len() > 0 {
			return h[level].First()
		}
	}
	for level := range h {
		if h[level].Len() > 0 {
			return h[level].First()
		}
	}
	return nil
}

// before reports whether a comes before b.
func (s *scheduler) before(a, b *priorityQueue) bool {
	if a.level == b.level {
		return a.Before(b)
	}
	low := max(a.level, b.level)
	if s.passed[low] >= maxPasses {
		return a.level == low
	}
	return a.level < b.level
}

// block makes pq wait for b until the given time, and reserves for its head what it needs of other limits, so that
// no later head takes it. Permits that will be replenished before that are not reserved, nor are slots in flight.
func (s *scheduler) block(pq *priorityQueue, b *blocker, now, at time.Duration) {
	home := pq.home
	pq.home = b
	if b.queued == 0 && home != b {
		b.since = now
	}
	b.push(pq)
	b.queued++
	if b.inFlight != nil {
		s.slotQueues.Add(1)
		if b.inFlight.Free(1) { // given back since it was looked at, by one who did not see it here
			at = now
		}
	}
	s.reserve(pq, b, at-now, at == never)
	if s.first(&b.heads) == pq {
		s.setTime(b, at)
	} else if b.at == 0 {
		s.wake(b)
	}
	if home != nil && home != b {
		s.wake(home) // the next one there may go
	}
}

// setTime sets the time at which the first of b's queues is looked at again.
func (s *scheduler) setTime(b *blocker, at time.Duration) {
	b.at = at
	switch {
	case at == never:
		if b.Placed() {
			s.timed.Remove(b)
		}
	case b.Placed():
		s.timed.Fix(b)
	default:
		s.timed.Push(b)
	}
}

// wake makes the first queue that waits for b ready to be looked at.
func (s *scheduler) wake(b *blocker) {
	if b.queued == 0 {
		return
	}
	pq := s.first(&b.heads)
	s.leave(pq)
	s.ready.push(pq)
}

// leave removes pq from the blocker that it waits for, which stays its home.
func (s *scheduler) leave(pq *priorityQueue) {
	b := pq.home
	b.remove(pq)
	if b.queued--; b.inFlight != nil {
		s.slotQueues.Add(-1)
	}
	if b.Placed() {
		s.timed.Remove(b)
	}
	b.at = 0 // not known until the first has been looked at
}

// dissolve makes all queues that wait for b ready, because b is no more.
func (s *scheduler) dissolve(b *blocker) {
	for b.queued > 0 {
		pq := s.first(&b.heads)
		s.leave(pq)
		pq.home = nil
		s.ready.push(pq)
	}
}

// place moves pq to its position after its head has changed, and has it looked at again.
func (s *scheduler) place(pq *priorityQueue) {
	switch {
	case pq.queues.Len() == 0:
		s.withdraw(pq)
	case pq.in == nil:
		s.ready.push(pq)
	case pq.in == &s.ready:
		s.ready[pq.level].Fix(pq)
	default:
		s.leave(pq)
		s.ready.push(pq)
	}
}

// withdraw removes pq, whose waiters are gone.
func (s *scheduler) withdraw(pq *priorityQueue) {
	home := pq.home
	switch {
	case pq.in == nil:
	case pq.in == &s.ready:
		s.ready.remove(pq)
	default:
		s.leave(pq)
	}
	pq.home = nil
	s.unreserve(pq)
	if home != nil {
		s.wake(home)
	}
}

// reserve reserves for pq's head the permits of the limits that it needs besides those of its blocker b. What was
// reserved for it before and is needed no more is given up.
func (s *scheduler) reserve(pq *priorityQueue, b *blocker, wait time.Duration, unknown bool) {
	w := pq.queues.First().head
	n := w.place.cost()
	answer := false // it waits for an answer first
	s.eachTier(w, func(t *tier) { answer = answer || &t.blocker == b && t.slots != nil })
	had := pq.reserves
	pq.reserves = nil
	if !answer {
		s.eachTier(w, func(t *tier) {
			if t.slots != nil || &t.blocker == b || !unknown && t.limit.Per <= wait {
				return
			}
			if t.reserved == nil {
				t.reserved = make(map[*priorityQueue]int)
			}
			before := t.reserved[pq]
			t.reservedAll += t.cost(n) - before
			if t.reserved[pq] = t.cost(n); t.cost(n) < before {
				s.wake(&t.blocker)
			}
			pq.reserves = append(pq.reserves, t)
		})
	}
	for _, t := range had {
		if !slices.Contains(pq.reserves, t) {
			s.giveUp(pq, t)
		}
	}
}

// unreserve gives up all that is reserved for pq.
func (s *scheduler) unreserve(pq *priorityQueue) {
	had := pq.reserves
	pq.reserves = nil
	for _, t := range had {
		s.giveUp(pq, t)
	}
}

// giveUp gives up what is reserved for pq of t. Those who wait for t are looked at again.
func (s *scheduler) giveUp(pq *priorityQueue, t *tier) {
	t.reservedAll -= t.reserved[pq]
	delete(t.reserved, pq)
	s.wake(&t.blocker)
}

// eachTier calls f for each limit that w is under, the limits of its scopes included.
func (s *scheduler) eachTier(w *waiter, f func(*tier)) {
	r := w.place
	for i, t := range r.tiers.tiers {
		if r.taken>>i&1 != 0 {
			f(t)
		}
	}
	for _, sc := range s.scopesOf(r) {
		if sc != nil {
			for _, t := range sc.tiers {
				f(t)
			}
		}
	}
}

// waitFor returns how long the head of pq has to wait for n permits of t: behind the queues that wait for t and come
// before pq, and behind those that come before it and have reserved permits of t while they wait for something else.
func (s *scheduler) waitFor(t *tier, pq *priorityQueue, n int, now time.Duration) time.Duration {
	if t.queued > 0 {
		if first := s.first(&t.heads); s.before(first, pq) {
			switch {
			case t.at == never:
				return never
			case t.at > now:
				return max(t.at-now, t.waitFor(now, n, 0))
			}
			s.wake(&t.blocker)
			return 1
		}
	}
	if t.reservedAll == 0 {
		return t.waitFor(now, n, 0)
	}
	if t.waitFor(now, n, t.reservedAll) == 0 {
		return 0
	}
	before := 0
	for o, m := range t.reserved {
		if o != pq && s.before(o, pq) {
			before += m
		}
	}
	if before > 0 && t.slots == nil && t.cost(n)+before > t.Limit() {
		return min(max(t.limit.Per, time.Millisecond), time.Second) // those who have reserved go first; look again then
	}
	return t.waitFor(now, n, before)
}
