package limiter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
)

// DefaultMaxQueue is the default of Limiter.MaxQueue: the largest number of waiting calls of one tenant.
const DefaultMaxQueue = 10_000

// maxTiers is the largest number of limits for one call. Reservation.taken has one bit for each of them.
const maxTiers = 64

// inlineTiers is the number of tiers whose marks a Reservation stores without another allocation. It is also
// the largest number of tiers on the fast path.
const inlineTiers = 4

// Limiter is a view of a scheduler: its own limits, enforced together with its parent's. It is safe for
// concurrent use, except that MaxQueue must be assigned before the first use.
type Limiter struct {
	// MaxQueue is the largest number of waiting calls of one tenant. All tenants together may have ten times
	// as many. Zero or less refuses every wait.
	MaxQueue int

	sched  *scheduler
	parent *Limiter // its limits are enforced too; nil for none
	origin uint64   // if it is not 0, the view has the parent's limits, but slots in flight of this origin's own

	own atomic.Pointer[[]*tier] // the limits of this view; changed under the scheduler's mutex
	set atomic.Pointer[tierSet] // cached by gather; out of date when its generation is
}

// tierSet is the set of limits that a limiter enforces, each as a tier, and those of its parents first. It is
// immutable.
type tierSet struct {
	tiers       []*tier
	generation  uint64
	conditional bool       // some limit counts only some requests
	shared      bool       // some limit is counted by a store
	fast        *fastTiers // for the fast path; nil if the fast path cannot serve these tiers
}

// New returns a limiter with a scheduler of its own. The error joins one error for each limit that is out of
// range, and one for more than 64 limits.
func New(limits ...Limit) (*Limiter, error) {
	l := &Limiter{sched: newScheduler(), MaxQueue: DefaultMaxQueue}
	return l, l.start(limits)
}

// With returns a view on the same scheduler that enforces l's limits and the given ones. It copies MaxQueue.
// The errors are those of New; l's limits count as well.
func (l *Limiter) With(limits ...Limit) (*Limiter, error) {
	view := &Limiter{sched: l.sched, parent: l, MaxQueue: l.MaxQueue}
	return view, view.start(limits)
}

// ForOrigin returns a view on the same scheduler for the calls to another origin. It enforces l's limits, and counts
// the calls in flight of that origin by themselves. It copies MaxQueue. SetLimits changes l.
func (l *Limiter) ForOrigin(key uint64) *Limiter {
	view := &Limiter{sched: l.sched, parent: l, origin: key, MaxQueue: l.MaxQueue}
	view.own.Store(new([]*tier))
	return view
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
	var faults errkit.List
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

// current returns the tiers that l enforces now. It locks the scheduler's mutex only once for each generation
// of the limits.
func (l *Limiter) current() *tierSet {
	if s := l.set.Load(); s != nil && s.generation == l.sched.generation.Load() {
		return s
	}
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	return l.gather()
}

// gather returns the tiers of the present generation, and builds and caches them if necessary. The caller
// holds the scheduler's mutex.
func (l *Limiter) gather() *tierSet {
	s := &tierSet{generation: l.sched.generation.Load()}
	if have := l.set.Load(); have != nil && have.generation == s.generation {
		return have
	}
	if l.parent != nil {
		s.tiers = slices.Clone(l.parent.gather().tiers)
	}
	if l.origin != 0 {
		for i, t := range s.tiers {
			if t.slots != nil {
				s.tiers[i] = l.sched.slotsOf(t, l.origin)
			}
		}
	}
	s.tiers = append(s.tiers, *l.own.Load()...)
	if len(s.tiers) > maxTiers {
		s.tiers = s.tiers[len(s.tiers)-maxTiers:] // a parent has gained limits since: only the last ones are kept
	}
	for _, t := range s.tiers {
		s.conditional = s.conditional || t.limit.When != nil
		s.shared = s.shared || t.shared != nil
	}
	s.fast = fastTiersOf(s)
	l.set.Store(s)
	return s
}

// Acquire waits until every limit admits the reservation, then takes all of them at once. It returns nil, a
// [*Refusal], or the context's error, with "waiting in the queue" before it if the call has waited. A canceled
// call holds no permits and leaves no waiter behind.
func (l *Limiter) Acquire(ctx context.Context, r *Reservation) error {
	if ctx.Err() != nil {
		return errkit.Context(ctx)
	}
	if err := l.choose(r); err != nil {
		return err
	}
	return l.sched.acquire(ctx, l, r)
}

// choose selects the limits that apply to r. It returns a *Refusal if r's cost is above one of them. It runs
// the limits' When functions, so the caller must not hold the scheduler's mutex.
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

// Read takes the advertised quotas from the headers of the reservation's answer. Settle must follow, which
// applies them. Malformed headers are counted in Status.Ignored.
func (l *Limiter) Read(r *Reservation, h http.Header) {
	if len(h) == 0 || l.sched.blind.Load() {
		return
	}
	var ignored int
	if r.quotas, ignored = headers.Quotas(h, r.quotas); ignored > 0 {
		l.sched.ignored.Add(int64(ignored))
	}
}

// SettleFast settles an accepted attempt and reports true. It does nothing and reports false if some limit
// needs the outcome; Settle must follow then. It is small enough to be inlined, which saves 20 ns of an
// acquire's 90 (the acquire benchmark shows it).
func (l *Limiter) SettleFast(r *Reservation) bool {
	if r.state != taken || r.tight || len(r.grants)+len(r.quotas) > 0 || l.sched.throttled.Load() {
		return false
	}
	r.state = settled
	return true
}

// Settle records the outcome of an attempt. It returns the length of the pause that the outcome began, zero
// for none. The attempt's slots in flight stay taken until Release or Detach. On a reservation that is not
// taken it does nothing.
func (l *Limiter) Settle(r *Reservation, o Outcome) (paused time.Duration) {
	if r.state != taken || o.Kind == Accepted && l.SettleFast(r) {
		return 0
	}
	return l.sched.settleUp(r, &o)
}

// Release gives back the slots in flight of a settled attempt. On a reservation that is free it does nothing.
func (l *Limiter) Release(r *Reservation) {
	if r.state == free {
		return
	}
	r.state = free
	l.sched.giveSlots(r.tiers, r.taken)
}

// Restart makes the permits that r has taken count from now, because the attempt is sent later than it was
// admitted.
func (l *Limiter) Restart(r *Reservation) { l.sched.restart(r) }

// Repeated counts n more attempts against the limits of r, because the transport has sent the request again by itself.
// It takes their permits whether or not there is room.
func (l *Limiter) Repeated(r *Reservation, n int) { l.sched.repeated(r, n) }

// Sent returns the time at which r was admitted or restarted, in nanoseconds since 1970.
func (l *Limiter) Sent(r *Reservation) int64 { return l.sched.epoch + int64(r.sent) }

// Adapt sets the policy for limits that are not configured, for all views of the scheduler.
func (l *Limiter) Adapt(p Policy) {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.policy = p
	l.sched.blind.Store(p.Off)
}

// TrackPace makes the scheduler record the pace of calls, which the ramp after an outage needs. It is for
// limiters that hear of a circuit breaker.
func (l *Limiter) TrackPace() {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	l.sched.paced = true
}

// CircuitsChanged reports the beginning or the end of an outage of an origin or of a part of it. open is the number of
// outages that last now, and lasted the length of the one that has ended, 0 if one has begun. A report with a lower
// version than an earlier one counts for nothing. When outages begin, the scheduler keeps the pace of calls before.
// When they have ended, a ramp admits the calls to the origin slowly at first. If the pace before is not known, the
// tightest of l's limits stands for it.
func (l *Limiter) CircuitsChanged(origin string, version uint32, open int, lasted time.Duration) {
	key, set, s := l.OriginKey(origin), l.current(), l.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	sc := s.originScope(key, now)
	if int32(version-sc.circuits) <= 0 {
		return
	}
	sc.circuits = version
	if lasted == 0 {
		sc.ramp.outage(now)
	} else {
		s.signalled.Store(true)
		sc.ramp.start(now, lasted, s.knownPace(sc, set))
		s.wake(&sc.easing)
	}
	sc.ramp.outages = open
	s.pump(now)
}

// originScope returns the scope of an origin, and creates it if necessary.
func (s *scheduler) originScope(key uint64, now time.Duration) *scopeState {
	if key == 0 {
		return &s.everyone
	}
	return s.scope(key, ScopePartner, now)
}

// knownPace returns the calls per second that the tightest known limit of an origin allows, 0 if none is known.
func (s *scheduler) knownPace(sc *scopeState, set *tierSet) (least float64) {
	for _, tiers := range [][]*tier{set.tiers, sc.tiers} {
		for _, t := range tiers {
			if t.slots != nil || t.limit.When != nil || t.limit.Per <= 0 {
				continue
			}
			if pace := float64(t.Limit()) / t.limit.Per.Seconds(); least == 0 || pace < least {
				least = pace
			}
		}
	}
	return least
}

// Root returns the limiter from which all views of the scheduler are derived.
func (l *Limiter) Root() *Limiter {
	for l.parent != nil {
		l = l.parent
	}
	return l
}

// Policy says how limits are found that are not configured.
type Policy struct {
	// Off ignores advertised quotas and infers no limit: a refusal only begins a pause.
	Off bool
	// Floor and Ceiling bound the number of calls of an inferred limit. A Floor of zero or less means 1, a
	// Ceiling of zero or less means no bound.
	Floor   int
	Ceiling int
}

// bound returns n, but at least Floor and 1, and at most Ceiling.
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
	// QueueFull: too many calls wait already.
	QueueFull Reason = iota
	// WaitTooLong: the limit or the pause What requires a wait of Wait, which is longer than the call may
	// wait.
	WaitTooLong
	// Waited: the call has waited for Wait, which is all of its patience.
	Waited
	// AboveLimit: the call costs more than the limit What, so it could never be admitted.
	AboveLimit
)

// Refusal is the error for a call that is not admitted.
type Refusal struct {
	Reason Reason
	What   string // the limit or the pause, for the error text
	Wait   time.Duration
	Cost   int
}

// Error returns the reason as a text without a prefix.
func (r *Refusal) Error() string {
	switch r.Reason {
	case QueueFull:
		return "queue full"
	case AboveLimit:
		return fmt.Sprintf("cost %d is above the limit %s", r.Cost, r.What)
	}
	return fmt.Sprintf("%s for %s", r.What, r.Wait)
}
