package belay

import "time"

// queue holds waiters of one view with the same tiers, in order of arrival.
type queue struct {
	view       *Limiter
	tiers      uint64
	head, tail *waiter
	cost       int    // permits that its waiters ask for
	blocked    uint64 // the round in which its head was found to have to wait
}

type waiter struct {
	ticket     *Ticket
	view       *Limiter
	seq        uint64
	prev, next *waiter
	queue      *queue // nil when behind a pause, or gone
	pause      *pause
	ready      chan struct{} // closed when it has been admitted
	admitted   bool
	deadline   time.Duration
	err        error // set before ready when it was turned away
}

// enqueue inserts w by its sequence number into the queue of its tiers.
func (ln *line) enqueue(w *waiter) {
	q := ln.queueOf(w.view, w.ticket.taken)
	if q == nil {
		q = &queue{view: w.view, tiers: w.ticket.taken}
		ln.queues = append(ln.queues, q)
		ln.eachTier(q, func(t *tier) { t.queues++ })
	}
	q.cost += w.ticket.cost()
	after := q.tail
	for after != nil && after.seq > w.seq {
		after = after.prev
	}
	w.queue, w.pause, w.prev = q, nil, after
	if after == nil {
		w.next, q.head = q.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.tail = w
	} else {
		w.next.prev = w
	}
}

// queueOf returns the queue of a view's tiers, nil when nobody stands in it.
func (ln *line) queueOf(l *Limiter, tiers uint64) *queue {
	for _, q := range ln.queues {
		if q.view == l && q.tiers == tiers {
			return q
		}
	}
	return nil
}

func (ln *line) eachTier(q *queue, f func(*tier)) {
	for i, t := range q.view.tiers {
		if q.tiers>>i&1 != 0 {
			f(t)
		}
	}
}

// unlink takes w out of its queue.
func (ln *line) unlink(w *waiter) {
	q := w.queue
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queue = nil, nil, nil
	q.cost -= w.ticket.cost()
	if q.head == nil {
		ln.eachTier(q, func(t *tier) { t.queues-- })
		for i, have := range ln.queues {
			if have == q {
				last := len(ln.queues) - 1
				ln.queues[i], ln.queues[last] = ln.queues[last], nil
				ln.queues = ln.queues[:last]
				break
			}
		}
	}
}

// remove takes w out of the line, wherever it stands.
func (ln *line) remove(w *waiter) {
	if w.queue != nil {
		ln.unlink(w)
	} else if p := w.pause; p != nil {
		for i, have := range p.waiters {
			if have == w {
				p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
				break
			}
		}
	}
	ln.waiting.Add(-1)
}

// pump admits whom it can and sets the timer for the next.
func (ln *line) pump(now time.Duration) {
	if ln.waiting.Load() == 0 {
		if ln.timer != nil {
			ln.timer.Stop()
			ln.timer = nil
		}
		return
	}
	next := ln.endPauses(now)
	if ln.paused > now {
		next = min(next, ln.paused)
	} else {
		next = min(next, ln.admitHeads(now))
	}
	if ln.waiting.Load() == 0 || next == never || ln.timer != nil && ln.wake == next {
		return
	}
	ln.wake = next
	if ln.timer == nil {
		ln.timer = time.AfterFunc(next-now, ln.onTimer)
	} else {
		ln.timer.Reset(next - now)
	}
}

func (ln *line) onTimer() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	if ln.timer == nil || now < ln.wake {
		return // it was set to another time while this one was on its way
	}
	ln.timer = nil
	ln.pump(now)
}

// admitHeads looks at the heads of the queues in order of arrival. A head that has to wait claims what
// it needs, so that nobody behind it takes that. It returns when the next head could go.
func (ln *line) admitHeads(now time.Duration) time.Duration {
	next := never
	ln.round++
	for {
		var q *queue
		for _, have := range ln.queues {
			if have.blocked != ln.round && (q == nil || have.head.seq < q.head.seq) {
				q = have
			}
		}
		if q == nil {
			return next
		}
		if !ln.ramp.open(now) {
			return min(next, ln.ramp.next)
		}
		w := q.head
		n := w.ticket.cost()
		at := now
		everybody := false // waits for what this one waits for
		for i, tier := range w.view.tiers {
			if w.ticket.taken>>i&1 == 0 {
				continue
			}
			claimed := tier.claim(ln.round)
			if tier.slots != nil {
				if !tier.slots.Free(1 + claimed) {
					at = never // a slot comes back by leave, not by the clock
					everybody = everybody || tier.queues == len(ln.queues)
				}
			} else if wait := tier.Wait(now, n+claimed); wait > 0 {
				at = max(at, now+wait)
				everybody = everybody || tier.queues == len(ln.queues)
			}
		}
		if at > now {
			ln.eachTier(q, func(t *tier) { t.claimed += t.cost(n) })
			q.blocked = ln.round
			if next = min(next, at); everybody {
				return next
			}
			continue
		}
		ln.remove(w)
		ln.take(w.view, w.ticket, now)
		w.admitted = true
		close(w.ready)
	}
}
