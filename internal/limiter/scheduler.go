package limiter

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/belay-go/belay/internal/heap"
	"github.com/belay-go/belay/internal/window"
)

// scheduler owns the state and the waiters of a limiter and all its views. A waiter is admitted when all its
// tiers have room, which is decided under one mutex. No call waits while it holds the mutex, and no callback
// runs under it. Waiters with the same tiers and scopes share a queue, so that only the heads of the queues
// have to be checked.
type scheduler struct {
	// Every call writes these fields. mu guards the two others.
	mu           sync.Mutex
	lastAdmitted time.Duration // the last time that an admission was based on, so that times never go back
	log          window.Log    // the calls that were sent, to infer limits from
	_            [56]byte      // padding: the fields below are mostly read, and share no cache line with those above

	base       time.Time              // times are durations since base
	epoch      int64                  // base in nanoseconds since 1970
	slack      time.Duration          // how long after sending the partner may count a call
	waiting    atomic.Int32           // changed under mu
	slotQueues atomic.Int32           // queues that wait for slots in flight; changed under mu
	throttled  atomic.Bool            // some scope has throttledInARow above 0
	paced      bool                   // the ramp needs the pace of calls
	signalled  atomic.Bool            // a quota, a pause or an outage has occurred; never cleared; changed under mu
	generation atomic.Uint64          // of the limits; SetLimits begins the next; changed under mu
	scopes     map[uint64]*scopeState // by the key of the origin, credential, route or tenant
	everyone   scopeState             // the scope of the calls to the first origin
	origin     string                 // the first origin that the scheduler heard of

	queues    map[queueKey]*queue
	byScope   map[uint64]map[*queue]struct{} // the queues whose waiters belong to a scope, by its key
	ready     heads                          // the queues whose heads have to be looked at; empty outside pump
	timed     heap.Heap[*blocker]            // what waiters wait for and that ends by the clock
	levels    [priorities]int                // priority queues that have waiters, by level
	waitingAt [priorities]int                // waiters in queues, by level
	lastTurn  [priorities]uint64             // of each level, the turn that was served last
	passed    [priorities]int                // calls of higher levels admitted since the last one of this level
	tenants   map[string]*tenant             // the tenants that have waiters
	seq       uint64                         // order of arrival of the last waiter
	looks     uint64                         // how often a head was looked at, for tests
	timer     *time.Timer
	next      time.Duration // when the timer fires

	tenantScopes    int // number of scopes that belong to a tenant
	routeScopes     int // number of scopes that belong to a route
	throttledScopes int // number of scopes whose throttledInARow is above 0
	policy          Policy
	blind           atomic.Bool  // policy.Off: no header is read
	ignored         atomic.Int64 // malformed headers
}

const (
	never        = time.Duration(math.MaxInt64)
	firstSlack   = 100 * time.Millisecond
	longestPause = time.Hour // a pause or an advertised wait is cut to this; then a call asks again
)

// tier counts one limit, by a window, by slots, or by a store.
type tier struct {
	window.Window               // nil if slots is not nil
	slots         *window.Slots // for a limit of calls in flight, otherwise nil
	shared        *sharedQuota  // the store that counts, or nil; the window is then asked only while the store fails
	limit         Limit
	source        Source
	blocker                                     // the queues that wait for it
	reserved      map[*priorityQueue]int        // permits reserved for heads that wait for something else
	byOrigin      map[uint64]weak.Pointer[tier] // of slots: the slots of other origins, see slotsOf
	reservedAll   int                           // their sum
	nearNotified  bool                          // a notice has said that it is nearly used up
	waitedFor     bool                          // a call has had to wait for it
	lastHeard     time.Duration                 // when the partner last advertised it
}

// waitFor returns how long n permits have to wait behind claimed others. It returns never if only an answer,
// not the clock, can free a permit, as with slots in flight.
func (t *tier) waitFor(now time.Duration, n, claimed int) time.Duration {
	switch {
	case t.slots != nil:
		if t.slots.Free(1 + claimed) {
			return 0
		}
		return never
	case t.shared != nil:
		return t.shared.waitFor(t.Window, now, n, claimed)
	}
	wait := t.Wait(now, t.cost(n)+claimed)
	if wait > 0 {
		t.waitedFor = true
	}
	if t.source == Advertised && wait > longestPause && wait != never {
		return max(0, t.lastHeard+longestPause-now) // then one call asks whether the quota still holds
	}
	return wait
}

// cost converts a call's cost to this tier's permits. In-flight tiers always charge 1. Advertised and
// inferred limits can be smaller than a single call, so the charge is capped at the limit; otherwise the call
// could never run.
func (t *tier) cost(n int) int {
	switch {
	case t.slots != nil:
		return 1
	case t.source != Configured:
		return min(n, t.Limit())
	}
	return n
}

func newScheduler() *scheduler {
	now := time.Now()
	return &scheduler{base: now, epoch: now.UnixNano(), slack: firstSlack}
}

func (s *scheduler) now() time.Duration { return time.Since(s.base) }

// acquire is Limiter.Acquire after its checks: it admits r at once, or waits.
func (s *scheduler) acquire(ctx context.Context, l *Limiter, r *Reservation) error {
	// The clock is read before the mutex is locked, so that the mutex is held for less time. A call that is
	// admitted in between has a later time, hence the max below.
	now := s.now()
	s.mu.Lock()
	now = max(now, s.lastAdmitted)
	s.lastAdmitted = now
	for r.tiers.generation != s.generation.Load() { // SetLimits came in between
		s.mu.Unlock()
		if err := l.choose(r); err != nil {
			return err
		}
		s.mu.Lock()
		now = s.now()
	}
	if s.admit(r, now) {
		s.mu.Unlock()
		return nil
	}
	w, err := s.join(ctx, l, r, now)
	s.mu.Unlock()
	if w == nil {
		return err
	}
	if r.Queued != nil {
		r.Queued()
	}
	err = s.wait(ctx, r, w)
	r.Waited = s.now() - now
	return err
}

// noteSent records that r is sent now with n permits: in the log, for the ramp and for an observer.
func (s *scheduler) noteSent(r *Reservation, now time.Duration, n int) {
	r.logged = s.log.Note(now, r.holder(), n)
	if s.paced {
		s.notePace(r, now)
	}
	if r.Observed {
		s.observe(r, now)
	}
}

// notePace counts r for the ramp of its origin.
func (s *scheduler) notePace(r *Reservation, now time.Duration) {
	if r.Origin == 0 {
		s.everyone.ramp.note(now)
	} else if sc := s.scopes[r.Origin]; sc != nil {
		sc.ramp.note(now)
	}
}

// admit takes every tier of r and reports true, or takes none and reports false. It passes no call that waits for
// something that r needs.
func (s *scheduler) admit(r *Reservation, now time.Duration) bool {
	n := r.cost()
	admits := func(t *tier) bool { return t.queued == 0 && t.waitFor(now, n, t.reservedAll) == 0 }
	for i, t := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && !admits(t) {
			return false
		}
	}
	if r.tiers.shared && len(r.lacking(now)) > 0 {
		return false
	}
	all := s.scopesOf(r)
	for _, sc := range all {
		if sc == nil {
			continue
		}
		if sc.until > now || sc.pausing.queued+sc.easing.queued > 0 || !sc.ramp.open(now) {
			return false
		}
		s.refresh(sc, now)
		for _, t := range sc.tiers {
			if !admits(t) {
				return false
			}
		}
	}
	s.take(r, all, now)
	return true
}

// take takes the permits of every tier of r and of its scopes gs, whether or not there is room.
func (s *scheduler) take(r *Reservation, all scopes, now time.Duration) {
	n := r.cost()
	r.sent, r.state, r.tight, r.stored = now, taken, false, 0
	for i, tier := range r.tiers.tiers {
		switch {
		case r.taken>>i&1 == 0:
		case tier.slots != nil:
			tier.slots.Take()
		default:
			if tier.shared != nil && tier.shared.spend(now, n) {
				r.stored |= 1 << i
			}
			mark := tier.Take(now, now+s.slack, n)
			*r.mark(i) = mark
			r.tight = r.tight || mark >= 0
		}
	}
	for _, sc := range all {
		if sc != nil {
			sc.take(r, now, s.slack)
		}
	}
	s.noteSent(r, now, n)
}

// settleUp is Limiter.Settle for an outcome that some limit needs.
func (s *scheduler) settleUp(r *Reservation, o *Outcome) (paused time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	r.state = settled
	if o.Kind == Unsent {
		s.undo(r, now)
	} else {
		s.count(r, now, o.Answered)
		paused = s.learn(r, o, now)
	}
	r.quotas = r.quotas[:0]
	s.pump(now)
	return paused
}

// count settles the permits of r: the partner has counted them by now or, without an answer, perhaps never.
func (s *scheduler) count(r *Reservation, now time.Duration, answered bool) {
	at := min(now, r.sent+s.slack)
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.slots == nil {
			if f, ok := tier.Window.(*window.Fixed); ok && !answered {
				f.Lost(*r.mark(i))
			} else {
				tier.Settle(*r.mark(i), at, r.cost())
			}
			s.wake(&tier.blocker)
		}
	}
	if !s.policy.Off {
		s.hearAdvertised(r, now)
	}
	s.settleGrants(r, true, at, now)
}

// undo gives back the permits of r, because the partner never saw the attempt. The slots of configured limits
// stay taken until Release.
func (s *scheduler) undo(r *Reservation, now time.Duration) {
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if r.stored>>i&1 != 0 {
			tier.shared.giveBack(now, r.sent, r.cost())
		}
		tier.Refund(*r.mark(i), now, r.cost())
		s.wake(&tier.blocker)
	}
	s.settleGrants(r, false, now, now)
	if r.logged > 0 {
		s.log.Gone(r.logged, r.cost())
	}
	if sc := s.scopesOf(r)[0]; s.paced && sc != nil {
		sc.ramp.pace.forget(now)
	}
}

// restart makes the permits of r count from now, because the attempt is sent later than it was admitted.
func (s *scheduler) restart(r *Reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := max(s.now(), s.lastAdmitted)
	s.lastAdmitted = now
	r.sent, r.tight = now, true
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.slots == nil {
			tier.Refund(*r.mark(i), now, r.cost())
			*r.mark(i) = tier.Take(now, now+s.slack, r.cost())
		}
	}
	for i := range r.grants {
		g := &r.grants[i]
		if g.tier.slots != nil {
			continue
		}
		g.tier.Refund(g.mark, now, g.n)
		g.mark = g.tier.Take(now, now+s.slack, g.n)
	}
	if r.logged > 0 {
		s.log.Gone(r.logged, r.cost())
		r.logged = s.log.Note(now, r.holder(), r.cost())
	}
}

// repeated is Limiter.Repeated.
func (s *scheduler) repeated(r *Reservation, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != taken {
		return
	}
	now := max(s.now(), s.lastAdmitted)
	s.lastAdmitted = now
	cost := n * r.cost()
	for i, t := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && t.slots == nil {
			t.Settle(t.Take(now, now+s.slack, cost), now, cost)
		}
	}
	for _, g := range r.grants {
		if g.tier.slots == nil {
			g.tier.Settle(g.tier.Take(now, now+s.slack, n*g.n), now, n*g.n)
		}
	}
	s.log.Note(now, r.holder(), cost)
}

// giveSlots gives back the slots of the taken tiers of set. It locks the mutex only if a call waits for slots. That
// misses no waiter: one that comes meanwhile is counted before it looks at the slots for the last time, see block.
func (s *scheduler) giveSlots(set *tierSet, taken uint64) {
	if set.fast != nil { // without conditions, so all of its tiers were taken
		for _, slots := range set.fast.slots {
			slots.Give()
		}
	} else {
		for i, tier := range set.tiers {
			if tier.slots != nil && taken>>i&1 != 0 {
				tier.slots.Give()
			}
		}
	}
	if s.slotQueues.Load() > 0 {
		s.slotsGiven(set, taken)
	}
}

// slotsGiven admits those who wait for slots of the taken tiers of set.
func (s *scheduler) slotsGiven(set *tierSet, taken uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, tier := range set.tiers {
		if tier.slots != nil && taken>>i&1 != 0 {
			s.wake(&tier.blocker)
		}
	}
	s.pump(s.now())
}

// refund undoes take, slots in flight included. The caller holds the mutex.
func (s *scheduler) refund(r *Reservation) {
	s.undo(r, s.now())
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.slots != nil {
			tier.slots.Give()
			s.wake(&tier.blocker)
		}
	}
	r.state = free
}
