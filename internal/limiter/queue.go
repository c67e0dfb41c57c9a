package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// queue holds the waiters that stand under the same limits: those of one view, with the same tiers and
// the same groups. Only its head has to be looked at.
type queue struct {
	key    queueKey
	levels [priorities]priorityQueue
	size   int
	cost   int // permits that its waiters ask for
}

type queueKey struct {
	tiers  *tierSet
	taken  uint64
	scopes scopePair
}

// lane holds the waiters of a queue that have one priority: for each tenant a row in order of arrival, the
// rows as a heap by turn.
type priorityQueue struct {
	heap.Place // among the heads of its level, while it has waiters
	queue      *queue
	level      int
	queues     heap.Heap[*tenantQueue]
	byTenant   map[string]*tenantQueue
}

// Before orders by the heads.
func (pq *priorityQueue) Before(o *priorityQueue) bool {
	return pq.queues.First().Before(o.queues.First())
}

// tenantRow holds the waiters of one tenant in a lane. It has a turn as long as somebody is in it.
type tenantQueue struct {
	heap.Place
	of         *priorityQueue
	tenant     string
	head, tail *waiter
	turn       uint64
}

// Before orders by turn, and then by the arrival of the head.
func (tq *tenantQueue) Before(o *tenantQueue) bool {
	return tq.turn < o.turn || tq.turn == o.turn && tq.head.seq < o.head.seq
}

type waiter struct {
	place         *Reservation
	view          *Limiter
	level         int          // of priority, 0 the highest
	seq           uint64       // of arrival
	queue         *tenantQueue // nil while its limits are looked for again, and afterwards
	prev, next    *waiter
	ready         chan struct{} // gets a value when there is something to look at: it has been admitted or turned away, or what follows
	admitted      bool
	limitsChanged bool         // its limits have changed: choose again, and come back to the same place
	store         *sharedQuota // to be asked for permits
	deadline      time.Duration
	err           error
}

// tenant is one integration's place in the round robin, while it has waiters.
type tenant struct {
	waiting int
	turn    [priorities]uint64 // the last that it had
}

// levels of priority: High, Normal, Low.
const priorities = 3

// passes is how many calls may pass a waiting one of lower priority before it is its turn.
const maxPasses = 15

// enlist counts w among those who wait.
func (s *scheduler) enlist(w *waiter) {
	s.seq++
	w.seq = s.seq
	name := w.place.Tenant
	t := s.tenants[name]
	if t == nil {
		t = new(tenant)
		if s.tenants == nil {
			s.tenants = make(map[string]*tenant)
		}
		s.tenants[name] = t
	}
	t.waiting++
	s.waiting.Add(1)
}

// delist is the end of w's wait.
func (s *scheduler) delist(w *waiter) {
	s.waiting.Add(-1)
	name := w.place.Tenant
	if t := s.tenants[name]; t != nil {
		if t.waiting--; t.waiting == 0 {
			delete(s.tenants, name)
		}
	}
}

// pick returns the lane whose head is next: of the highest priority, unless a lower one has been passed
// often enough.
func (s *scheduler) nextHead() *priorityQueue {
	for level := priorities - 1; level > 0; level-- {
		if s.passed[level] >= maxPasses && s.heads[level].Len() > 0 {
			return s.heads[level].First()
		}
	}
	for level := range s.heads {
		if h := &s.heads[level]; h.Len() > 0 {
			return h.First()
		}
	}
	return nil
}

// leaves takes w, the head of a row, out of the line, because it goes now: its tenant has had its turn, and those of lower
// priority who wait have been passed.
func (s *scheduler) dequeue(w *waiter) {
	tq := w.queue
	level, t := w.level, s.tenants[tq.tenant]
	s.lastTurn[level] = max(s.lastTurn[level], tq.turn)
	t.turn[level] = max(t.turn[level], tq.turn)
	s.nextTurn(tq)
	s.remove(w)
	s.passed[level] = 0
	for lower := level + 1; lower < priorities; lower++ {
		if s.heads[lower].Len() > 0 {
			s.passed[lower]++
		}
	}
}

// pump admits whom it can and sets the timer for the next.
func (s *scheduler) pump(now time.Duration) {
	if s.waiting.Load() == 0 {
		if s.timer != nil {
			s.timer.Stop()
			s.timer = nil
		}
		return
	}
	next := s.everyone.until
	if next <= now {
		s.refresh(&s.everyone, now)
		next = s.admitHeads(now)
	}
	if s.waiting.Load() == 0 || next == never || s.timer != nil && s.wake == next {
		return
	}
	s.wake = next
	if s.timer == nil {
		s.timer = time.AfterFunc(next-now, s.onTimer)
	} else {
		s.timer.Reset(next - now)
	}
}

func (s *scheduler) onTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.timer == nil || now < s.wake {
		return // it was set to another time while this one was on its way
	}
	s.timer = nil
	s.pump(now)
}

// admitHeads looks at the heads of the queues in their order. A head that has to wait claims what it
// needs, so that nobody behind it takes that. It returns when the next head could go.
func (s *scheduler) admitHeads(now time.Duration) time.Duration {
	next := never
	s.round++
	for pq := s.nextHead(); pq != nil; pq = s.nextHead() {
		if !s.ramp.open(now) {
			next = min(next, s.ramp.next)
			break
		}
		w := pq.queues.First().head
		at, common := s.readyAt(w, now)
		if at <= now {
			lacking := w.place.lacking(now)
			if len(lacking) == 0 {
				s.dequeue(w)
				s.take(w.place, pq.queue.key.scopes, now)
				w.admitted = true
				w.signal()
				continue
			}
			w.store = lacking[0]
			w.store.asking = now + quotaTimeout + quotaTimeout/5
			at = w.store.asking
			w.signal()
		}
		s.claim(w, at-now)
		next = min(next, at)
		if common > now { // everybody waits for what this one waits for
			next = min(next, common)
			break
		}
		s.heads[pq.level].Remove(pq)
		s.deferred = append(s.deferred, pq)
	}
	for i, pq := range s.deferred {
		s.place(pq)
		s.deferred[i] = nil
	}
	s.deferred = s.deferred[:0]
	return next
}

// readyAt returns when w can go, as far as the clock tells, and when that has come which every queue waits for, 0
// when there is no such thing; never is what does not come by the clock.
func (s *scheduler) readyAt(w *waiter, now time.Duration) (at, common time.Duration) {
	r := w.place
	at = now
	groups := &w.queue.of.queue.key.scopes
	for _, sc := range groups {
		switch {
		case sc == nil:
		case sc.until > now:
			at = max(at, sc.until)
		default:
			s.refresh(sc, now)
		}
	}
	look := func(tier *tier, everybody bool) {
		wait := tier.waitBehind(now, r.cost(), s.round)
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
	w.queue.of.queue.eachTier(func(tier *tier) { look(tier, tier.queues == len(s.queues)) })
	for _, sc := range groups {
		if sc != nil {
			sc.eachTier(func(tier *tier) { look(tier, false) })
		}
	}
	s.everyone.eachTier(func(tier *tier) { look(tier, true) })
	return at, common
}

// claim keeps from those behind w what it needs and what would not be there again when it can go, in wait: a place in
// flight only when that is all that it waits for.
func (s *scheduler) claim(w *waiter, wait time.Duration) {
	n := w.place.cost()
	byClock := wait > 0 && wait < never/2
	f := func(t *tier) {
		if byClock && (t.slots != nil || t.limit.Per <= wait) {
			return
		}
		t.claim(s.round)
		t.claimed += t.cost(n)
	}
	w.queue.of.queue.eachTier(f)
	for _, sc := range w.queue.of.queue.key.scopes {
		if sc != nil {
			sc.eachTier(f)
		}
	}
	s.everyone.eachTier(f)
}
