package limiter

import (
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// queue holds the waiters that are under the same limits: the same tiers of one view, and the same scopes.
// The scheduler checks only the first waiter of each priorityQueue, because the others need the same limits
// and come later.
type queue struct {
	key    queueKey
	levels [priorities]priorityQueue
	size   int
	cost   int // permits that its waiters need, in all
}

// queueKey identifies a queue. taken has a bit for each of the tiers that apply.
type queueKey struct {
	tiers  *tierSet
	taken  uint64
	scopes scopePair
}

// priorityQueue holds the waiters of a queue at one level. It has a tenantQueue for each tenant, and orders
// them by turn.
type priorityQueue struct {
	heap.Place // in scheduler.heads, while it has waiters
	queue      *queue
	level      int
	queues     heap.Heap[*tenantQueue]
	byTenant   map[string]*tenantQueue
}

// Before orders priority queues by their first tenant queues.
func (pq *priorityQueue) Before(o *priorityQueue) bool {
	return pq.queues.First().Before(o.queues.First())
}

// tenantQueue holds the waiters of one tenant in a priorityQueue, in order of arrival. It exists, and has a
// turn, while it has waiters.
type tenantQueue struct {
	heap.Place
	of         *priorityQueue
	tenant     string
	head, tail *waiter
	turn       uint64
}

// Before orders by turn, then by the arrival of the head.
func (tq *tenantQueue) Before(o *tenantQueue) bool {
	return tq.turn < o.turn || tq.turn == o.turn && tq.head.seq < o.head.seq
}

// waiter is one call that waits.
type waiter struct {
	place      *Reservation
	view       *Limiter
	level      int          // priority, 0 is the highest
	seq        uint64       // order of arrival
	queue      *tenantQueue // nil while its limits are chosen again, and after its wait
	prev, next *waiter
	// ready gets a value when admitted, limitsChanged, store or err has changed, and the waiter has to act.
	ready         chan struct{}
	admitted      bool
	limitsChanged bool          // choose the limits again, and return to the same place
	store         *sharedQuota  // the store to ask for permits; nil for none
	deadline      time.Duration // of its context; never if there is none
	err           error         // the wait is over, and this is why
}

// tenant is the state of one tenant in the round robin. It exists while the tenant has waiters.
type tenant struct {
	waiting int
	turn    [priorities]uint64 // of each level, the turn that was served last
}

// priorities is the number of levels: high, normal, low.
const priorities = 3

// maxPasses is the number of calls of higher priority that may pass the waiters of a level before one of
// these is next.
const maxPasses = 15

// enlist adds w to the count of waiters and gives it its order of arrival.
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

// delist removes w from the count of waiters.
func (s *scheduler) delist(w *waiter) {
	s.waiting.Add(-1)
	name := w.place.Tenant
	if t := s.tenants[name]; t != nil {
		if t.waiting--; t.waiting == 0 {
			delete(s.tenants, name)
		}
	}
}

// nextHead returns the priorityQueue whose head is checked next, or nil if there is none. The highest level
// comes first, unless a lower level has been passed maxPasses times.
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

// dequeue removes w, the head of a tenantQueue, because it is admitted. Its tenant has had its turn, and the
// waiters of lower levels have been passed once more.
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

// pump admits the waiters that can go, and sets the timer for the next one.
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

// onTimer runs pump when the timer fires.
func (s *scheduler) onTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.timer == nil || now < s.wake {
		return // the timer was stopped or reset after it had fired
	}
	s.timer = nil
	s.pump(now)
}

// admitHeads checks the heads of the queues in their order and admits those that can go. A head that has to
// wait claims the permits it needs, so that no later waiter takes them. It returns the earliest time at which
// a head could go, or never if only an answer can free a limit.
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
		if common > now { // a limit shared by every queue is used up, so no later head can go
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

// readyAt returns the earliest time at which w could be admitted, and the earliest time at which the limits
// shared by every queue have room for w (0 if they have room now). Either is never if only an answer, not the
// clock, can free a limit.
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

// claim reserves, for the rest of this round, the permits that w needs, so that later waiters cannot starve
// it. Permits that will be replenished within wait are not reserved. An in-flight slot is reserved only if w
// waits for nothing else.
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
