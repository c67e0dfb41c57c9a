package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// queue holds the waiters that stand under the same limits: those of one view, with the same tiers and
// the same groups. Only its head has to be looked at.
type queue struct {
	key   queueKey
	lanes [priorities]lane
	size  int
	cost  int // permits that its waiters ask for
}

type queueKey struct {
	tiers  *tierSet
	taken  uint64
	groups groups
}

// lane holds the waiters of a queue that have one priority: for each tenant a row in order of arrival, the
// rows as a heap by turn.
type lane struct {
	heap.Place // among the heads of its level, while it has waiters
	queue      *queue
	level      int
	rows       heap.Heap[*tenantRow]
	tenants    map[string]*tenantRow
}

// Before orders by the heads.
func (l *lane) Before(o *lane) bool { return l.rows.First().Before(o.rows.First()) }

// tenantRow holds the waiters of one tenant in a lane. It has a turn as long as somebody is in it.
type tenantRow struct {
	heap.Place
	lane       *lane
	tenant     string
	head, tail *waiter
	turn       uint64
}

// Before orders by turn, and then by the arrival of the head.
func (r *tenantRow) Before(o *tenantRow) bool {
	return r.turn < o.turn || r.turn == o.turn && r.head.seq < o.head.seq
}

type waiter struct {
	ticket     *Reservation
	view       *Limiter
	level      int        // of priority, 0 the highest
	seq        uint64     // of arrival
	row        *tenantRow // nil while its limits are looked for again, and afterwards
	prev, next *waiter
	ready      chan struct{} // gets a value when there is something to look at: it has been admitted or turned away, or what follows
	admitted   bool
	moved      bool         // its limits have changed: choose again, and come back to the same place
	ask        *sharedQuota // to be asked for permits
	deadline   time.Duration
	err        error
}

// tenant is one integration's place in the round robin, while it has waiters.
type tenant struct {
	waiting int
	turn    [priorities]uint64 // the last that it had
}

// levels of priority: High, Normal, Low.
const priorities = 3

// passes is how many calls may pass a waiting one of lower priority before it is its turn.
const passes = 15

// enlist counts w among those who wait.
func (ln *line) enlist(w *waiter) {
	ln.seq++
	w.seq = ln.seq
	name := w.ticket.Tenant
	t := ln.tenants[name]
	if t == nil {
		t = new(tenant)
		if ln.tenants == nil {
			ln.tenants = make(map[string]*tenant)
		}
		ln.tenants[name] = t
	}
	t.waiting++
	ln.waiting.Add(1)
}

// delist is the end of w's wait.
func (ln *line) delist(w *waiter) {
	ln.waiting.Add(-1)
	name := w.ticket.Tenant
	if t := ln.tenants[name]; t != nil {
		if t.waiting--; t.waiting == 0 {
			delete(ln.tenants, name)
		}
	}
}

// pick returns the lane whose head is next: of the highest priority, unless a lower one has been passed
// often enough.
func (ln *line) pick() *lane {
	for level := priorities - 1; level > 0; level-- {
		if ln.passed[level] >= passes && ln.lanes[level].Len() > 0 {
			return ln.lanes[level].First()
		}
	}
	for level := range ln.lanes {
		if h := &ln.lanes[level]; h.Len() > 0 {
			return h.First()
		}
	}
	return nil
}

// leaves takes w, the head of a row, out of the line, because it goes now: its tenant has had its turn, and those of lower
// priority who wait have been passed.
func (ln *line) leaves(w *waiter) {
	r := w.row
	level, t := w.level, ln.tenants[r.tenant]
	ln.turn[level] = max(ln.turn[level], r.turn)
	t.turn[level] = max(t.turn[level], r.turn)
	ln.nextTurn(r)
	ln.remove(w)
	ln.passed[level] = 0
	for lower := level + 1; lower < priorities; lower++ {
		if ln.lanes[lower].Len() > 0 {
			ln.passed[lower]++
		}
	}
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
	next := ln.all.until
	if next <= now {
		ln.refresh(&ln.all, now)
		next = ln.admitHeads(now)
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

// admitHeads looks at the heads of the queues in their order. A head that has to wait claims what it
// needs, so that nobody behind it takes that. It returns when the next head could go.
func (ln *line) admitHeads(now time.Duration) time.Duration {
	next := never
	ln.round++
	for l := ln.pick(); l != nil; l = ln.pick() {
		if !ln.ramp.open(now) {
			next = min(next, ln.ramp.next)
			break
		}
		w := l.rows.First().head
		at, common := ln.readyAt(w, now)
		if at <= now {
			lacking := w.ticket.lacking(now)
			if len(lacking) == 0 {
				ln.leaves(w)
				ln.take(w.ticket, l.queue.key.groups, now)
				w.admitted = true
				w.signal()
				continue
			}
			w.ask = lacking[0]
			w.ask.asking = now + quotaTimeout + quotaTimeout/5
			at = w.ask.asking
			w.signal()
		}
		ln.claim(w, at-now)
		next = min(next, at)
		if common > now { // everybody waits for what this one waits for
			next = min(next, common)
			break
		}
		ln.lanes[l.level].Remove(l)
		ln.aside = append(ln.aside, l)
	}
	for i, l := range ln.aside {
		ln.place(l)
		ln.aside[i] = nil
	}
	ln.aside = ln.aside[:0]
	return next
}

// readyAt returns when w can go, as far as the clock tells, and when that has come which every queue waits for, 0
// when there is no such thing; never is what does not come by the clock.
func (ln *line) readyAt(w *waiter, now time.Duration) (at, common time.Duration) {
	t := w.ticket
	at = now
	groups := &w.row.lane.queue.key.groups
	for _, g := range groups {
		switch {
		case g == nil:
		case g.until > now:
			at = max(at, g.until)
		default:
			ln.refresh(g, now)
		}
	}
	look := func(tier *tier, everybody bool) {
		wait := tier.waitBehind(now, t.cost(), ln.round)
		if wait == 0 {
			return
		}
		free := never
		if wait != never {
			free = now + wait
		}
		if at = max(at, free); everybody {
			common = max(common, free)
		}
	}
	w.row.lane.queue.eachTier(func(tier *tier) { look(tier, tier.queues == len(ln.queues)) })
	for _, g := range groups {
		if g != nil {
			g.eachTier(func(tier *tier) { look(tier, false) })
		}
	}
	ln.all.eachTier(func(tier *tier) { look(tier, true) })
	return at, common
}

// claim keeps from those behind w what it needs and what would not be there again when it can go, in wait: a place in
// flight only when that is all that it waits for.
func (ln *line) claim(w *waiter, wait time.Duration) {
	n := w.ticket.cost()
	byClock := wait > 0 && wait < never/2
	f := func(t *tier) {
		if byClock && (t.slots != nil || t.limit.Per <= wait) {
			return
		}
		t.claim(ln.round)
		t.claimed += t.cost(n)
	}
	w.row.lane.queue.eachTier(f)
	for _, g := range w.row.lane.queue.key.groups {
		if g != nil {
			g.eachTier(f)
		}
	}
	ln.all.eachTier(f)
}
