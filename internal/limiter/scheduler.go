package limiter

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/heap"
	"github.com/belay-go/belay/internal/window"
)

// line is the one line of waiters of a limiter and all its views. A waiter goes when all its tiers
// admit it, which is decided under one mutex; nobody waits and no callback runs under it. Waiters with
// the same tiers stand in one queue, so that only the heads of the queues have to be looked at.
type scheduler struct {
	// Every call writes these, under mu but for mu itself.
	mu           sync.Mutex
	lastAdmitted time.Duration // at which somebody was let through at once
	log          window.Log    // of what was sent, to learn limits by
	_            [56]byte      // so that what is only read does not travel between processors with them

	base       time.Time     // what the durations count from
	epoch      int64         // as nanoseconds since 1970
	slack      time.Duration // how long after sending the partner may count a call
	waiting    atomic.Int32  // changed under mu
	throttled  atomic.Bool   // some group has strikes
	paced      bool          // a breaker needs the pace
	signalled  atomic.Bool   // the partner has said something, or been down; changed under mu
	generation atomic.Uint64 // of the limits; SetLimits begins another
	scopes     map[uint64]*scopeState
	everyone   scopeState // what the partner has said to everybody
	ramp       ramp

	queues   map[queueKey]*queue
	heads    [priorities]heap.Heap[*priorityQueue] // those of the queues, by priority
	deferred []*priorityQueue                      // of them, those that have to wait, during a round
	lastTurn [priorities]uint64                    // of the last that went
	passed   [priorities]int                       // calls of higher priority that went since one of this did
	tenants  map[string]*tenant                    // those that have waiters
	seq      uint64
	round    uint64 // of looking at the heads; see tier.claim
	timer    *time.Timer
	wake     time.Duration // when the timer fires

	routeScopes int // of the groups, those of a route
	policy      Policy
	ignored     atomic.Int64 // headers that were malformed
}

const (
	never        = time.Duration(math.MaxInt64)
	firstSlack   = 100 * time.Millisecond
	longestPause = time.Hour // a pause is asked again after that, whatever the partner said
)

type tier struct {
	window.Window               // nil when slots is not
	slots         *window.Slots // of calls in flight
	shared        *sharedQuota  // counted by a store; then the window is for when that fails
	limit         Limit
	source        Source
	queues        int           // whose waiters are under it
	claimed       int           // permits that earlier waiters need, in this round
	round         uint64        // of claimed
	nearTold      bool          // its use has been told as close to the limit
	waitedFor     bool          // somebody had to wait for it
	lastHeard     time.Duration // when the partner last told of it
}

func (t *tier) claim(round uint64) int {
	if t.round != round {
		t.round, t.claimed = round, 0
	}
	return t.claimed
}

// waitBehind is waitFor behind those that have a claim in this round. Where there cannot be room for both
// at once, it is the claim's turn that comes first.
func (t *tier) waitBehind(now time.Duration, n int, round uint64) time.Duration {
	claimed := t.claim(round)
	if claimed > 0 && t.slots == nil && t.cost(n)+claimed > t.Limit() {
		return never
	}
	return t.waitFor(now, n, claimed)
}

// waitFor returns how long n permits have to wait behind those that are claimed; never when that does
// not depend on the clock.
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
		return max(0, t.lastHeard+longestPause-now) // then one call asks whether it still holds
	}
	return wait
}

// cost is what n permits are in this tier: a call is one call in flight, whatever it costs; and what nobody set
// may turn out smaller than a call, which must go all the same.
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

// acquire is Limiter.Acquire after its checks.
func (s *scheduler) acquire(ctx context.Context, l *Limiter, r *Reservation) error {
	// The clock is read before the lock, which is held for less; who comes in between has a later one.
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
	if s.waiting.Load() == 0 && s.everyone.until <= now && s.admit(r, now) {
		s.mu.Unlock()
		return nil
	}
	w, err := s.join(ctx, l, r, now)
	s.mu.Unlock()
	if w == nil {
		return err
	}
	err = s.wait(ctx, r, w)
	r.Waited = s.now() - now
	return err
}

// note writes down that t goes.
func (s *scheduler) noteSent(r *Reservation, now time.Duration, n int) {
	r.logged = s.log.Note(now, r.Who, n)
	if s.paced {
		s.ramp.note(now)
	}
	if r.Observed {
		s.observe(r, now)
	}
}

// admit takes every tier of t and reports true, or takes none. Nobody waits.
func (s *scheduler) admit(r *Reservation, now time.Duration) bool {
	if !s.ramp.open(now) {
		return false
	}
	n := r.cost()
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.waitFor(now, n, 0) > 0 {
			return false
		}
	}
	if r.tiers.shared && len(r.lacking(now)) > 0 {
		return false
	}
	if s.refresh(&s.everyone, now); !s.everyone.admits(now, n) {
		return false
	}
	gs := s.scopesOf(r)
	for _, sc := range gs {
		if sc == nil {
			continue
		}
		if s.refresh(sc, now); sc.until > now || !sc.admits(now, n) {
			return false
		}
	}
	s.take(r, gs, now)
	return true
}

// take takes every tier of t and of its groups, whether or not there is room.
func (s *scheduler) take(r *Reservation, gs scopePair, now time.Duration) {
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
	s.everyone.take(r, now, s.slack)
	for _, sc := range gs {
		if sc != nil {
			sc.take(r, now, s.slack)
		}
	}
	s.noteSent(r, now, n)
}

// settleUp is Settle where the limits have to hear of it.
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

// count settles what t has taken: the partner has counted it by now, or, where it has not answered, perhaps never.
func (s *scheduler) count(r *Reservation, now time.Duration, answered bool) {
	at := min(now, r.sent+s.slack)
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.slots == nil {
			if f, ok := tier.Window.(*window.Fixed); ok && !answered {
				f.Lost(*r.mark(i))
			} else {
				tier.Settle(*r.mark(i), at, r.cost())
			}
		}
	}
	if !s.policy.Off {
		s.hearAdvertised(r, now)
	}
	r.settleGrants(true, at, now)
}

// undo gives back what t has taken, but for its place in flight: the partner never saw it.
func (s *scheduler) undo(r *Reservation, now time.Duration) {
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if r.stored>>i&1 != 0 {
			tier.shared.giveBack(now, r.sent, r.cost())
		}
		tier.Refund(*r.mark(i), now, r.cost())
	}
	r.settleGrants(false, now, now)
	if r.logged > 0 {
		s.log.Gone(r.logged, r.cost())
	}
}

// restart has what t has taken count from now, as the attempt goes later than it was admitted.
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
		r.logged = s.log.Note(now, r.Who, r.cost())
	}
}

// giveSlots gives back the slots among the tiers that were taken. It takes the mutex only when somebody waits: a waiter
// that comes meanwhile looks at the slots after it has been counted.
func (s *scheduler) giveSlots(set *tierSet, taken uint64) {
	if set.fast != nil { // all of its tiers were taken
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
	if s.waiting.Load() > 0 {
		s.advance()
	}
}

// advance lets go whom it can.
func (s *scheduler) advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump(s.now())
}

// refund undoes take, under the lock.
func (s *scheduler) refund(r *Reservation) {
	s.undo(r, s.now())
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && tier.slots != nil {
			tier.slots.Give()
		}
	}
	r.state = free
}
