package limiter

import (
	"cmp"
	"maps"
	"slices"
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
	scopes scopeKeys
}

// priorityQueue holds the waiters of a queue at one level. It has a tenantQueue for each tenant, and orders
// them by turn.
type priorityQueue struct {
	heap.Place          // in the heads of in
	in         *heads   // scheduler.ready or those of home; nil while it has no waiters or is being looked at
	home       *blocker // what its head waits for, or waited for until it became ready; nil for nothing
	reserves   []*tier  // of which it has reserved permits
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
		if s.levels[lower] > 0 {
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
	s.admitReady(now)
	if s.timed.Len() == 0 {
		return
	}
	next := s.timed.First().at
	if s.timer != nil && s.next == next {
		return
	}
	s.next = next
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
	if s.timer == nil || now < s.next {
		return // the timer was stopped or reset after it had fired
	}
	s.timer = nil
	s.pump(now)
}

// admitReady looks at the queues that may go, in their order, and admits their heads or makes them wait for what
// blocks them.
func (s *scheduler) admitReady(now time.Duration) {
	for {
		for s.timed.Len() > 0 && s.timed.First().at <= now {
			s.wake(s.timed.First())
		}
		pq := s.first(&s.ready)
		if pq == nil {
			return
		}
		s.looks++
		s.ready.remove(pq)
		w := pq.queues.First().head
		b, at := s.blockerOf(pq, w, now)
		if b == nil {
			lacking := w.place.lacking(now)
			if len(lacking) == 0 {
				s.admitHead(pq, w, now)
				continue
			}
			w.store = lacking[0]
			w.store.asking = now + quotaTimeout + quotaTimeout/5
			b, at = &w.store.tier.blocker, w.store.asking
			w.signal()
		}
		s.block(pq, b, now, at)
	}
}

// admitHead admits w, the head of pq. What is left of pq waits where it came from, until it is its turn again.
func (s *scheduler) admitHead(pq *priorityQueue, w *waiter, now time.Duration) {
	home := pq.home
	s.dequeue(w)
	s.take(w.place, s.scopesOf(w.place), now)
	w.admitted = true
	w.signal()
	if home == nil || pq.queues.Len() == 0 {
		return // dequeue has made it ready, or has removed it
	}
	s.ready.remove(pq)
	pq.home = home
	home.push(pq)
	if home.queued++; home.inFlight != nil {
		s.slotQueues.Add(1)
	}
	s.wake(home)
}

// blockerOf returns what w, the head of pq, waits for the longest, and until when, or nil if it can go now. The time
// is never if only an answer, not the clock, can free a limit.
func (s *scheduler) blockerOf(pq *priorityQueue, w *waiter, now time.Duration) (by *blocker, at time.Duration) {
	r := w.place
	until := func(b *blocker, t time.Duration) {
		if t > now && (by == nil || t > at) {
			by, at = b, t
		}
	}
	look := func(t *tier) {
		switch d := s.waitFor(t, pq, r.cost(), now); d {
		case 0:
		case never:
			until(&t.blocker, never)
		default:
			until(&t.blocker, now+d)
		}
	}
	for i, t := range r.tiers.tiers {
		if r.taken>>i&1 != 0 {
			look(t)
		}
	}
	for _, sc := range s.scopesOf(r) {
		if sc == nil {
			continue
		}
		if sc.until > now {
			until(&sc.pausing, sc.until)
		} else {
			s.refresh(sc, now)
		}
		if !sc.ramp.open(now) {
			until(&sc.easing, sc.ramp.next)
		}
		for _, t := range sc.tiers {
			look(t)
		}
	}
	return by, at
}

// eachWaiter calls f for each waiter in a queue, in order of arrival. f may move the waiter or remove it.
func (s *scheduler) eachWaiter(f func(*waiter)) { inOrder(slices.Collect(maps.Values(s.queues)), f) }

// inOrder calls f for each waiter in the queues, in order of arrival. f may move the waiter or remove it.
func inOrder(queues []*queue, f func(*waiter)) {
	var all []*waiter
	for _, q := range queues {
		for i := range q.levels {
			for _, tq := range q.levels[i].queues.All() {
				for w := tq.head; w != nil; w = w.next {
					all = append(all, w)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b *waiter) int { return cmp.Compare(a.seq, b.seq) })
	for _, w := range all {
		f(w)
	}
}

// turnAway ends the wait of w if a pause until the given time is longer than w may wait, just as a new call
// would be refused.
func (s *scheduler) turnAway(w *waiter, until time.Duration) {
	by, wait := w.place, until-s.now()
	if (by.MaxPause <= 0 || wait <= by.MaxPause) && (by.Patience <= 0 || wait <= by.Patience) && until <= w.deadline {
		return
	}
	s.remove(w)
	w.err = &Refusal{Reason: WaitTooLong, What: "paused by the partner", Wait: wait}
	w.signal()
}
