package belay

import "time"

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

// lane holds the waiters of a queue that have one priority, as a heap: by turn, then by arrival.
type lane struct {
	queue   *queue
	waiters []*waiter
	index   int // in line.lanes, -1 when it is not there
}

type waiter struct {
	ticket   *Ticket
	view     *Limiter
	level    int    // of priority, 0 the highest
	turn     uint64 // among the tenants
	seq      uint64 // of arrival
	lane     *lane
	index    int           // in lane.waiters
	ready    chan struct{} // gets a value when it has been admitted or turned away, or is to look again
	admitted bool
	moved    bool // its limits have changed: choose again, and come back to the same place
	ask      *sharedQuota
	deadline time.Duration
	err      error
}

func (w *waiter) before(o *waiter) bool {
	return w.turn < o.turn || w.turn == o.turn && w.seq < o.seq
}

// tenant is one integration's place in the round robin, while it has waiters.
type tenant struct {
	waiting int
	turn    [priorities]uint64 // of its last waiter
}

// levels of priority: High, Normal, Low.
const priorities = 3

// passes is how many calls may pass a waiting one of lower priority before it is its turn.
const passes = 15

// enlist gives w its place among the others of its priority: one turn after the tenant's last, or after the last that went.
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
	w.turn = max(ln.turn[w.level], t.turn[w.level]) + 1
	t.turn[w.level] = w.turn
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

// enqueue puts w into the queue of its limits.
func (ln *line) enqueue(w *waiter) {
	key := queueKey{w.ticket.tiers, w.ticket.taken, ln.groupsOf(w.ticket)}
	q := ln.queues[key]
	if q == nil {
		q = &queue{key: key}
		for i := range q.lanes {
			q.lanes[i].queue, q.lanes[i].index = q, -1
		}
		if ln.queues == nil {
			ln.queues = make(map[queueKey]*queue)
		}
		ln.queues[key] = q
		q.eachTier(func(t *tier) { t.queues++ })
		for _, g := range key.groups {
			if g != nil {
				g.queues++
			}
		}
	}
	q.size++
	q.cost += w.ticket.cost()
	l := &q.lanes[w.level]
	w.lane, w.index = l, len(l.waiters)
	l.waiters = append(l.waiters, w)
	l.up(w.index)
	ln.place(l, w.level)
}

// unlink takes w out of its queue.
func (ln *line) unlink(w *waiter) {
	l := w.lane
	q := l.queue
	i, last := w.index, len(l.waiters)-1
	l.swap(i, last)
	l.waiters[last] = nil
	l.waiters = l.waiters[:last]
	if i < last {
		moved := l.waiters[i]
		l.up(i)
		l.down(moved.index)
	}
	w.lane = nil
	q.size--
	q.cost -= w.ticket.cost()
	ln.place(l, w.level)
	if q.size == 0 {
		delete(ln.queues, q.key)
		q.eachTier(func(t *tier) { t.queues-- })
		for _, g := range q.key.groups {
			if g != nil {
				g.queues--
			}
		}
	}
}

// remove takes w out of the line.
func (ln *line) remove(w *waiter) {
	if w.lane != nil {
		ln.unlink(w)
	}
	ln.delist(w)
}

// eachTier calls f for every tier of the queue that counts by its set; those of the groups come and go.
func (q *queue) eachTier(f func(*tier)) {
	for i, t := range q.key.tiers.tiers {
		if q.key.taken>>i&1 != 0 {
			f(t)
		}
	}
}

func (l *lane) swap(i, j int) {
	l.waiters[i], l.waiters[j] = l.waiters[j], l.waiters[i]
	l.waiters[i].index, l.waiters[j].index = i, j
}

func (l *lane) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !l.waiters[i].before(l.waiters[p]) {
			return
		}
		l.swap(i, p)
		i = p
	}
}

func (l *lane) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(l.waiters) {
			return
		}
		if c+1 < len(l.waiters) && l.waiters[c+1].before(l.waiters[c]) {
			c++
		}
		if !l.waiters[c].before(l.waiters[i]) {
			return
		}
		l.swap(i, c)
		i = c
	}
}

// laneHeap holds the lanes of one priority that have waiters, by their heads.
type laneHeap []*lane

func (h laneHeap) before(i, j int) bool { return h[i].waiters[0].before(h[j].waiters[0]) }

func (h laneHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h laneHeap) up(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h laneHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h.before(c+1, c) {
			c++
		}
		if !h.before(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}

// place puts l where its head belongs, or takes it away when it has none.
func (ln *line) place(l *lane, level int) {
	h := &ln.lanes[level]
	switch {
	case len(l.waiters) == 0:
		if l.index >= 0 {
			ln.displace(l, level)
		}
		if len(*h) == 0 && len(ln.aside) == 0 {
			ln.passed[level] = 0
		}
	case l.index < 0:
		l.index = len(*h)
		*h = append(*h, l)
		h.up(l.index)
	default:
		h.up(l.index)
		h.down(l.index)
	}
}

// displace takes l out of the heap.
func (ln *line) displace(l *lane, level int) {
	h := &ln.lanes[level]
	i, last := l.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	l.index = -1
	if i < last {
		j := (*h)[i]
		h.up(i)
		h.down(j.index)
	}
}

// pick returns the lane whose head is next: of the highest priority, unless a lower one has been passed
// often enough.
func (ln *line) pick() (l *lane, level int) {
	for level := priorities - 1; level > 0; level-- {
		if ln.passed[level] >= passes && len(ln.lanes[level]) > 0 {
			return ln.lanes[level][0], level
		}
	}
	for level, h := range ln.lanes {
		if len(h) > 0 {
			return h[0], level
		}
	}
	return nil, 0
}

// went counts w's going as a turn, and as a pass for those of lower priority who wait.
func (ln *line) went(w *waiter) {
	ln.turn[w.level] = max(ln.turn[w.level], w.turn)
	ln.passed[w.level] = 0
	for level := w.level + 1; level < priorities; level++ {
		if len(ln.lanes[level]) > 0 {
			ln.passed[level]++
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
// needs, so that nobody behind it takes that; one behind a pause claims nothing. It returns when the
// next head could go.
func (ln *line) admitHeads(now time.Duration) time.Duration {
	next := never
	ln.round++
	for {
		l, level := ln.pick()
		if l == nil {
			break
		}
		if !ln.ramp.open(now) {
			next = min(next, ln.ramp.next)
			break
		}
		w := l.waiters[0]
		at, shared := ln.readyAt(w, now)
		if at > now {
			next = min(next, at)
			if shared {
				break // every other waits for what this one waits for
			}
			ln.displace(l, level)
			ln.aside = append(ln.aside, laneAside{l, level})
			continue
		}
		if lacking := w.ticket.lacking(now); len(lacking) > 0 {
			w.ask = lacking[0]
			w.ask.asking = now + quotaTimeout + quotaTimeout/5
			w.signal()
			next = min(next, w.ask.asking)
			ln.claim(w)
			ln.displace(l, level)
			ln.aside = append(ln.aside, laneAside{l, level})
			continue
		}
		ln.remove(w)
		ln.went(w)
		ln.take(w.ticket, now)
		w.admitted = true
		w.signal()
	}
	for i, a := range ln.aside {
		if len(a.waiters) > 0 && a.index < 0 {
			ln.place(a.lane, a.level)
		}
		ln.aside[i] = laneAside{}
	}
	ln.aside = ln.aside[:0]
	return next
}

// laneAside is a lane whose head has to wait, out of the heap for the rest of a round.
type laneAside struct {
	*lane
	level int
}

// readyAt returns when w can go, as far as the clock tells, and claims what it needs when that is not now.
// Shared says that every queue needs something that it waits for.
func (ln *line) readyAt(w *waiter, now time.Duration) (at time.Duration, shared bool) {
	t, at := w.ticket, now
	for _, g := range w.lane.queue.key.groups {
		if g == nil {
			continue
		}
		if g.until > now {
			at = max(at, g.until)
		} else {
			ln.refresh(g, now)
		}
	}
	if at > now {
		return at, false
	}
	n := t.cost()
	look := func(tier *tier) {
		wait := tier.waitFor(now, n, tier.claim(ln.round))
		if wait == 0 {
			return
		}
		shared = shared || tier.queues == len(ln.queues)
		if wait == never {
			at = never // a slot comes back by leave, not by the clock
		} else if at != never {
			at = max(at, now+wait)
		}
	}
	w.lane.queue.eachTier(look)
	for _, g := range w.lane.queue.key.groups {
		if g != nil {
			g.eachTier(look)
		}
	}
	ln.all.eachTier(func(tier *tier) {
		before := at
		look(tier)
		shared = shared || at > before
	})
	if at > now {
		ln.claim(w)
	}
	return at, shared
}

// claim keeps what w needs from those behind it, for this round.
func (ln *line) claim(w *waiter) {
	n := w.ticket.cost()
	f := func(t *tier) {
		t.claim(ln.round)
		t.claimed += t.cost(n)
	}
	w.lane.queue.eachTier(f)
	for _, g := range w.lane.queue.key.groups {
		if g != nil {
			g.eachTier(f)
		}
	}
	ln.all.eachTier(f)
}
