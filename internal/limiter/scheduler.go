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
type line struct {
	// Every call writes these, under mu but for mu itself.
	mu     sync.Mutex
	latest time.Duration // at which somebody was let through at once
	log    window.Log    // of what was sent, to learn limits by
	_      [56]byte      // so that what is only read does not travel between processors with them

	base       time.Time     // what the durations count from
	epoch      int64         // as nanoseconds since 1970
	slack      time.Duration // how long after sending the partner may count a call
	waiting    atomic.Int32  // changed under mu
	struck     atomic.Bool   // some group has strikes
	paced      bool          // a breaker needs the pace
	stirred    atomic.Bool   // the partner has said something, or been down; changed under mu
	generation atomic.Uint64 // of the limits; SetLimits begins another
	groups     map[uint64]*group
	all        group // what the partner has said to everybody
	ramp       ramp

	queues  map[queueKey]*queue
	lanes   [priorities]heap.Heap[*lane] // those of the queues, by priority
	aside   []*lane                      // of them, those that have to wait, during a round
	turn    [priorities]uint64           // of the last that went
	passed  [priorities]int              // calls of higher priority that went since one of this did
	tenants map[string]*tenant           // those that have waiters
	seq     uint64
	round   uint64 // of looking at the heads; see tier.claim
	timer   *time.Timer
	wake    time.Duration // when the timer fires

	routes  int // of the groups, those of a route
	policy  Policy
	ignored atomic.Int64 // headers that were malformed
}

const (
	never       = time.Duration(math.MaxInt64)
	firstSlack  = 100 * time.Millisecond
	longestHold = time.Hour // a pause is asked again after that, whatever the partner said
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
	near          bool          // its use has been told as close to the limit
	needed        bool          // somebody had to wait for it
	heard         time.Duration // when the partner last told of it
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
		t.needed = true
	}
	if t.source == Advertised && wait > longestHold && wait != never {
		return max(0, t.heard+longestHold-now) // then one call asks whether it still holds
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

func newLine() *line {
	now := time.Now()
	return &line{base: now, epoch: now.UnixNano(), slack: firstSlack}
}

func (ln *line) now() time.Duration { return time.Since(ln.base) }

// acquire is Limiter.Acquire after its checks.
func (ln *line) acquire(ctx context.Context, l *Limiter, t *Reservation) error {
	// The clock is read before the lock, which is held for less; who comes in between has a later one.
	now := ln.now()
	ln.mu.Lock()
	now = max(now, ln.latest)
	ln.latest = now
	for t.tiers.generation != ln.generation.Load() { // SetLimits came in between
		ln.mu.Unlock()
		if err := l.choose(t); err != nil {
			return err
		}
		ln.mu.Lock()
		now = ln.now()
	}
	if ln.waiting.Load() == 0 && ln.all.until <= now && ln.admit(t, now) {
		ln.mu.Unlock()
		return nil
	}
	w, err := ln.join(ctx, l, t, now)
	ln.mu.Unlock()
	if w == nil {
		return err
	}
	err = ln.wait(ctx, t, w)
	t.Waited = ln.now() - now
	return err
}

// note writes down that t goes.
func (ln *line) note(t *Reservation, now time.Duration, n int) {
	t.logged = ln.log.Note(now, t.Who, n)
	if ln.paced {
		ln.ramp.note(now)
	}
	if t.Observed {
		ln.look(t, now)
	}
}

// admit takes every tier of t and reports true, or takes none. Nobody waits.
func (ln *line) admit(t *Reservation, now time.Duration) bool {
	if !ln.ramp.open(now) {
		return false
	}
	n := t.cost()
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 != 0 && tier.waitFor(now, n, 0) > 0 {
			return false
		}
	}
	if t.tiers.shared && len(t.lacking(now)) > 0 {
		return false
	}
	if ln.refresh(&ln.all, now); !ln.all.admits(now, n) {
		return false
	}
	gs := ln.groupsOf(t)
	for _, g := range gs {
		if g == nil {
			continue
		}
		if ln.refresh(g, now); g.until > now || !g.admits(now, n) {
			return false
		}
	}
	ln.take(t, gs, now)
	return true
}

// take takes every tier of t and of its groups, whether or not there is room.
func (ln *line) take(t *Reservation, gs groups, now time.Duration) {
	n := t.cost()
	t.sent, t.state, t.tight, t.stored = now, taken, false, 0
	for i, tier := range t.tiers.tiers {
		switch {
		case t.taken>>i&1 == 0:
		case tier.slots != nil:
			tier.slots.Take()
		default:
			if tier.shared != nil && tier.shared.spend(now, n) {
				t.stored |= 1 << i
			}
			mark := tier.Take(now, now+ln.slack, n)
			*t.mark(i) = mark
			t.tight = t.tight || mark >= 0
		}
	}
	ln.all.take(t, now, ln.slack)
	for _, g := range gs {
		if g != nil {
			g.take(t, now, ln.slack)
		}
	}
	ln.note(t, now, n)
}

// settleUp is Settle where the limits have to hear of it.
func (ln *line) settleUp(t *Reservation, o *Outcome) (paused time.Duration) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	t.state = settled
	if o.Kind == Unsent {
		ln.undo(t, now)
	} else {
		ln.count(t, now, o.Answered)
		paused = ln.learn(t, o, now)
	}
	t.quotas = t.quotas[:0]
	ln.pump(now)
	return paused
}

// count settles what t has taken: the partner has counted it by now, or, where it has not answered, perhaps never.
func (ln *line) count(t *Reservation, now time.Duration, answered bool) {
	at := min(now, t.sent+ln.slack)
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 != 0 && tier.slots == nil {
			if f, ok := tier.Window.(*window.Fixed); ok && !answered {
				f.Lost(*t.mark(i))
			} else {
				tier.Settle(*t.mark(i), at, t.cost())
			}
		}
	}
	if !ln.policy.Off {
		ln.hear(t, now)
	}
	t.settleGrants(true, at, now)
}

// undo gives back what t has taken, but for its place in flight: the partner never saw it.
func (ln *line) undo(t *Reservation, now time.Duration) {
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if t.stored>>i&1 != 0 {
			tier.shared.giveBack(now, t.sent, t.cost())
		}
		tier.Refund(*t.mark(i), now, t.cost())
	}
	t.settleGrants(false, now, now)
	if t.logged > 0 {
		ln.log.Gone(t.logged, t.cost())
	}
}

// restart has what t has taken count from now, as the attempt goes later than it was admitted.
func (ln *line) restart(t *Reservation) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := max(ln.now(), ln.latest)
	ln.latest = now
	t.sent, t.tight = now, true
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 != 0 && tier.slots == nil {
			tier.Refund(*t.mark(i), now, t.cost())
			*t.mark(i) = tier.Take(now, now+ln.slack, t.cost())
		}
	}
	for i := range t.grants {
		g := &t.grants[i]
		if g.tier.slots != nil {
			continue
		}
		g.tier.Refund(g.mark, now, g.n)
		g.mark = g.tier.Take(now, now+ln.slack, g.n)
	}
	if t.logged > 0 {
		ln.log.Gone(t.logged, t.cost())
		t.logged = ln.log.Note(now, t.Who, t.cost())
	}
}

// giveSlots gives back the slots among the tiers that were taken. It takes the mutex only when somebody waits: a waiter
// that comes meanwhile looks at the slots after it has been counted.
func (ln *line) giveSlots(set *tierSet, taken uint64) {
	if set.plain != nil { // all of its tiers were taken
		for _, s := range set.plain.slots {
			s.Give()
		}
	} else {
		for i, tier := range set.tiers {
			if tier.slots != nil && taken>>i&1 != 0 {
				tier.slots.Give()
			}
		}
	}
	if ln.waiting.Load() > 0 {
		ln.advance()
	}
}

// advance lets go whom it can.
func (ln *line) advance() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.pump(ln.now())
}

// refund undoes take, under the lock.
func (ln *line) refund(t *Reservation) {
	ln.undo(t, ln.now())
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 != 0 && tier.slots != nil {
			tier.slots.Give()
		}
	}
	t.state = free
}
