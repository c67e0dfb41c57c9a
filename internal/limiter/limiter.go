package limiter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
)

// DefaultMaxQueue is how many calls of one tenant wait at most, where nothing else is said.
const DefaultMaxQueue = 10_000

// maxTiers is how many limits one call can be under.
const maxTiers = 64

// inlineTiers is how many tiers a reservation has room for in itself.
const inlineTiers = 4

// Limiter is a view of a scheduler: its own limits, taken together with its parent's. It is safe for concurrent use, but for
// MaxQueue, which is set before the first use.
type Limiter struct {
	// MaxQueue is how many calls of one tenant wait at most; of all tenants ten times as many. Zero refuses every wait.
	MaxQueue int

	sched  *scheduler
	parent *Limiter // whose limits are taken too; nil for none

	own atomic.Pointer[[]*tier] // changed under the scheduler's mutex
	set atomic.Pointer[tierSet]
}

// tierSet is what a limiter enforces, its parents' limits first. It does not change.
type tierSet struct {
	tiers       []*tier
	generation  uint64
	conditional bool       // some limit counts only some requests
	shared      bool       // some limit is counted by a store
	fast        *fastTiers // for the fast path; nil where there is none
}

// New returns a limiter with a scheduler of its own. The error joins one for each limit that is out of range.
func New(limits ...Limit) (*Limiter, error) {
	l := &Limiter{sched: newScheduler(), MaxQueue: DefaultMaxQueue}
	return l, l.start(limits)
}

// With returns a limiter on the same scheduler, that takes l's limits and these.
func (l *Limiter) With(limits ...Limit) (*Limiter, error) {
	view := &Limiter{sched: l.sched, parent: l, MaxQueue: l.MaxQueue}
	return view, view.start(limits)
}

func (l *Limiter) start(limits []Limit) error {
	if err := l.checkLimits(limits); err != nil {
		return err
	}
	own := make([]*tier, len(limits))
	for i, limit := range limits {
		own[i] = limit.tier(l.sched.base)
	}
	l.own.Store(&own)
	return nil
}

func (l *Limiter) checkLimits(limits []Limit) error {
	var faults fault.List
	for _, limit := range limits {
		faults.Add(limit.Check())
	}
	n := len(limits)
	for p := l.parent; p != nil; p = p.parent {
		n += len(*p.own.Load())
	}
	faults.If(n > maxTiers, "%d limits, at most %d", n, maxTiers)
	return faults.Err()
}

// current returns the limits that hold now.
func (l *Limiter) current() *tierSet {
	if s := l.set.Load(); s != nil && s.generation == l.sched.generation.Load() {
		return s
	}
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	return l.gather()
}

// gather collects the limits, under the scheduler's mutex.
func (l *Limiter) gather() *tierSet {
	s := &tierSet{generation: l.sched.generation.Load()}
	if have := l.set.Load(); have != nil && have.generation == s.generation {
		return have
	}
	if l.parent != nil {
		s.tiers = slices.Clone(l.parent.gather().tiers)
	}
	s.tiers = append(s.tiers, *l.own.Load()...)
	if len(s.tiers) > maxTiers {
		s.tiers = s.tiers[len(s.tiers)-maxTiers:] // a parent's limits have become more since
	}
	for _, t := range s.tiers {
		s.conditional = s.conditional || t.limit.When != nil
		s.shared = s.shared || t.shared != nil
	}
	s.fast = fastTiersOf(s)
	l.set.Store(s)
	return s
}

// Acquire waits until every limit admits the reservation, then takes all of them at once. It returns nil, a [*Refusal], or the
// context's error with "waiting in line". A canceled call leaves nothing behind.
func (l *Limiter) Acquire(ctx context.Context, r *Reservation) error {
	if ctx.Err() != nil {
		return fault.Context(ctx)
	}
	if err := l.choose(r); err != nil {
		return err
	}
	return l.sched.acquire(ctx, l, r)
}

// choose finds the limits that t is under.
func (l *Limiter) choose(r *Reservation) error {
	set := l.current()
	if r.tiers = set; !set.conditional && r.Cost <= 1 {
		r.taken = 1<<len(set.tiers) - 1
		return nil
	}
	r.taken = 0
	for i, tier := range set.tiers {
		if tier.limit.When == nil || r.Request != nil && tier.limit.When(r.Request) {
			r.taken |= 1 << i
		}
	}
	return r.fits()
}

// Read reads what the headers of the reservation's answer say of quotas. Settle must follow.
func (l *Limiter) Read(r *Reservation, h http.Header) {
	if len(h) == 0 {
		return
	}
	var ignored int
	if r.quotas, ignored = headers.Quotas(h, r.quotas); ignored > 0 {
		l.sched.ignored.Add(int64(ignored))
	}
}

// SettleFast is Settle for an attempt that was accepted, and reports true; or it does nothing, because some limit has to hear of
// the attempt. It is small enough to be inlined, which saves 20 ns of an acquire's 90 (the acquire benchmark shows it).
func (l *Limiter) SettleFast(r *Reservation) bool {
	if r.state != taken || r.tight || len(r.grants)+len(r.quotas) > 0 || l.sched.throttled.Load() {
		return false
	}
	r.state = settled
	return true
}

// Settle takes in what became of an attempt. Its slot in flight ends by Release. It returns how long a pause it began, zero for
// none.
func (l *Limiter) Settle(r *Reservation, o Outcome) (paused time.Duration) {
	if r.state != taken || o.Kind == Accepted && l.SettleFast(r) {
		return 0
	}
	return l.sched.settleUp(r, &o)
}

// Release ends a settled attempt's slot in flight. On a reservation that is free it does nothing.
func (l *Limiter) Release(r *Reservation) {
	if r.state == free {
		return
	}
	r.state = free
	l.sched.giveSlots(r.tiers, r.taken)
}

// Restart has the permits that t has taken count from now, because the attempt goes later than it was admitted.
func (l *Limiter) Restart(r *Reservation) { l.sched.restart(r) }

// Sent returns when t was admitted, in nanoseconds since 1970.
func (l *Limiter) Sent(r *Reservation) int64 { return l.sched.epoch + int64(r.sent) }

// Adapt sets how limits are found out that nobody configured, for all views of the scheduler.
func (l *Limiter) Adapt(p Policy) {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.policy = p
}

// TrackPace keeps count of the pace of calls, for the ramp after an outage. It is for limiters that are told of a circuit.
func (l *Limiter) TrackPace() {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.paced = true
}

// CircuitOpened says that an outage has begun.
func (l *Limiter) CircuitOpened() {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.ramp.outage(l.sched.now())
}

// CircuitClosed says that an outage is over, which has lasted that long: from now on calls come as a ramp.
func (l *Limiter) CircuitClosed(lasted time.Duration) {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.signalled.Store(true)
	l.sched.ramp.start(l.sched.now(), lasted)
}

// Root returns the limiter that all views of the scheduler derive from.
func (l *Limiter) Root() *Limiter {
	for l.parent != nil {
		l = l.parent
	}
	return l
}

// Policy says how limits are found out that nobody configured.
type Policy struct {
	// Off keeps to no advertised quota and infers no limit: a refusal only pauses.
	Off bool
	// Floor and Ceiling bound the number of calls of an inferred limit; zero means 1, and no bound.
	Floor   int
	Ceiling int
}

// bound returns n within floor and ceiling.
func (p Policy) bound(n int) int {
	n = max(n, p.Floor, 1)
	if p.Ceiling > 0 {
		n = min(n, p.Ceiling)
	}
	return n
}

// Reason says why a call is refused.
type Reason uint8

const (
	// QueueFull: too many wait already.
	QueueFull Reason = iota
	// WaitTooLong: What would make the call wait for Wait, which is longer than it may.
	WaitTooLong
	// Waited: the call has waited for Wait, which is all that it may.
	Waited
	// AboveLimit: the call costs more than the limit What, so that its turn would never come.
	AboveLimit
)

// Refusal is a call that is not admitted.
type Refusal struct {
	Reason Reason
	What   string
	Wait   time.Duration
	Cost   int
}

// Error returns the reason.
func (r *Refusal) Error() string {
	switch r.Reason {
	case QueueFull:
		return "queue full"
	case AboveLimit:
		return fmt.Sprintf("cost %d is above the limit %s", r.Cost, r.What)
	}
	return fmt.Sprintf("%s for %s", r.What, r.Wait)
}
