package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
)

// Limiter admits calls so that no limit is exceeded. All its limits are taken at once or none, by one
// line of waiters: in order of arrival, but a call whose limits are free may pass one that waits for
// another limit, as long as it takes nothing that the other needs. It counts a call from when it is
// sent until the window after its answer (at the latest, the window after it was sent and 100 ms), as
// the partner counted it somewhere between the two.
//
// Most users hand limits to [WithRateLimit] and never see a Limiter. Make one with [NewLimiter] and
// share it by [WithLimiter] when several clients spend from the same quota. The zero value admits nothing. It
// is safe for concurrent use.
type Limiter struct {
	line     *line
	parent   *Limiter // whose limits are taken too; nil for none
	maxQueue int

	own atomic.Pointer[[]*tier] // changed under the line's lock
	set atomic.Pointer[tierSet]
}

// tierSet is what a limiter enforces, its parents' limits first. It does not change.
type tierSet struct {
	tiers       []*tier
	generation  uint64
	conditional bool        // some limit counts only some requests
	shared      bool        // some limit is counted by a store
	plain       *plainTiers // nil where it is not
}

const defaultMaxQueue = 10_000

// NewLimiter returns a limiter that enforces all of limits together. Without limits it keeps to what the
// partner says. The error joins one for each limit that is out of range.
func NewLimiter(limits ...Limit) (*Limiter, error) {
	l := &Limiter{line: newLine(), maxQueue: defaultMaxQueue}
	return l, l.start(limits)
}

// with returns a limiter on the same line, that takes l's limits and these.
func (l *Limiter) with(limits ...Limit) (*Limiter, error) {
	view := &Limiter{line: l.line, parent: l, maxQueue: l.maxQueue}
	return view, view.start(limits)
}

func (l *Limiter) start(limits []Limit) error {
	if err := l.checkLimits(limits); err != nil {
		return err
	}
	own := make([]*tier, len(limits))
	for i, limit := range limits {
		own[i] = limit.tier(l.line.base)
	}
	l.own.Store(&own)
	return nil
}

func (l *Limiter) checkLimits(limits []Limit) error {
	var errs []error
	for _, limit := range limits {
		errs = append(errs, limit.check())
	}
	n := len(limits)
	for p := l.parent; p != nil; p = p.parent {
		n += len(*p.own.Load())
	}
	if n > maxTiers {
		errs = append(errs, fmt.Errorf("%d limits, at most %d", n, maxTiers))
	}
	return errors.Join(errs...)
}

// current returns the limits that hold now.
func (l *Limiter) current() *tierSet {
	if s := l.set.Load(); s != nil && s.generation == l.line.generation.Load() {
		return s
	}
	l.line.mu.Lock()
	defer l.line.mu.Unlock()
	return l.gather()
}

// gather collects the limits, under the line's lock.
func (l *Limiter) gather() *tierSet {
	s := &tierSet{generation: l.line.generation.Load()}
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
		s.conditional = s.conditional || t.limit.when != nil
		s.shared = s.shared || t.shared != nil
	}
	s.plain = plainOf(s)
	l.set.Store(s)
	return s
}

// maxTiers is how many limits one call can be under.
const maxTiers = 64

// fewTiers is how many a ticket has room for by itself.
const fewTiers = 4

// Ticket is one attempt's place under the limits. Fill in the exported fields, hand it to
// [Limiter.Acquire] by pointer, and give it back with [Limiter.Release]. It may be used again after
// that. A Ticket is not safe for concurrent use.
type Ticket struct {
	// Request is what the limits' When functions look at; nil matches no limit that has one.
	Request *http.Request
	// Cost is how many permits the attempt takes of each limit; 0 means 1.
	Cost int
	// Priority says who goes first; the zero value is Normal.
	Priority Priority
	// Tenant is on whose behalf the attempt is made; tenants take turns. Empty is a tenant like others.
	Tenant string

	by     *caller // nil outside a client
	tiers  *tierSet
	grants []grant          // of the groups' tiers
	logged int64            // its mark in the log, 0 when it is not there
	quotas []headers.Quota  // that the answer told of
	taken  uint64           // the limits that it is under
	stored uint64           // of those, the ones whose permits a store gave
	marks  [fewTiers]int64  // what each of them knows it by
	more   *[maxTiers]int64 // where they are more
	sent   time.Duration
	state  ticketState
	tight  bool // some limit gains by knowing when it was counted
}

// caller is what a client tells its limiter of a call, and learns from it.
type caller struct {
	who       uint64 // whom a pause of ScopeCredential concerns; 0 pauses all
	method    string // and route: whom a pause of ScopeRoute concerns; an empty route pauses all
	route     string
	ask       bool          // for news, and for left
	patience  time.Duration // the longest wait, 0 for none but the context's
	maxPause  time.Duration // the longest pause to sit out, 0 for none but the context's
	returning bool          // waited before, so it does not count against the queue's bound

	waited time.Duration // what Acquire took
	left   int           // permits that the tightest limit had left, -1 without limits
	news   []Event       // LimitNear and Resumed, without the call
}

var nobody caller

func (t *Ticket) caller() *caller {
	if t.by == nil {
		return &nobody
	}
	return t.by
}

type ticketState uint8

const (
	ticketFree    ticketState = iota
	ticketTaken               // counts against every limit
	ticketSettled             // answered, but still in flight
)

func (t *Ticket) mark(i int) *int64 {
	if i < len(t.marks) {
		return &t.marks[i]
	}
	if t.more == nil {
		t.more = new([maxTiers]int64)
	}
	return &t.more[i]
}

func (t *Ticket) cost() int { return max(1, t.Cost) }

// Outcome is what [Limiter.Release] learns of an attempt.
type Outcome struct {
	// Verdict is the attempt's. A RateLimited one pauses everybody in its scope, and so does a Transient
	// one that says how long to wait.
	Verdict Verdict
	// Response is the answer whose headers may tell of quotas; nil tells nothing. Its body is not touched.
	Response *http.Response
	// Sent is false when the attempt certainly never reached the partner: its permits go back.
	Sent bool
}

// Acquire waits until every limit admits the attempt, then takes all of them at once. It returns
//   - nil: the attempt may be sent now, and Release must follow;
//   - an error that is ErrWaitTooLong and context.DeadlineExceeded, at once, when its turn would come
//     after the context's deadline;
//   - ErrQueueFull when too many wait already;
//   - ErrInvalid when the cost is above a limit, so that its turn would never come;
//   - the context's error. A cancelled call leaves nothing behind.
func (l *Limiter) Acquire(ctx context.Context, t *Ticket) error {
	if ctx == nil || t == nil {
		return invalid("Acquire: the context or the ticket is nil")
	}
	if l == nil || l.line == nil {
		return invalid("Acquire: the limiter was not made by NewLimiter")
	}
	if t.state != ticketFree {
		return invalid("Acquire: the ticket is in use; Release it first")
	}
	if t.Cost >= 0 && ctx.Err() == nil && l.admitPlain(t) {
		return nil
	}
	return l.acquire(ctx, t)
}

// acquire is Acquire the long way.
func (l *Limiter) acquire(ctx context.Context, t *Ticket) error {
	if t.Cost < 0 {
		return invalid("Acquire: cost %d is negative", t.Cost)
	}
	if ctx.Err() != nil {
		return fault.Context(ctx)
	}
	if err := l.choose(t); err != nil {
		return err
	}
	return l.line.acquire(ctx, l, t)
}

// choose finds the limits that t is under.
func (l *Limiter) choose(t *Ticket) error {
	set := l.current()
	if t.tiers = set; !set.conditional && t.Cost <= 1 {
		t.taken = 1<<len(set.tiers) - 1
		return nil
	}
	t.taken = 0
	for i, tier := range set.tiers {
		if tier.limit.when == nil || t.Request != nil && tier.limit.when(t.Request) {
			t.taken |= 1 << i
		}
	}
	return t.fits()
}

// fits returns an error when t's cost is above one of its limits.
func (t *Ticket) fits() error {
	for i, tier := range t.tiers.tiers {
		if tier.slots == nil && tier.shared == nil && t.cost() > tier.Limit() && (tier.limit.when == nil || t.taken>>i&1 != 0) {
			return invalid("cost %d is above the limit %s: it would wait for ever", t.cost(), tier.limit)
		}
	}
	return nil
}

// Release reports what became of the attempt and gives back its place in flight. Release of a ticket
// that holds nothing does nothing.
func (l *Limiter) Release(t *Ticket, o Outcome) {
	if l == nil || t == nil || t.state == ticketFree {
		return
	}
	if o.Response != nil {
		t.read(l.line, o.Response)
	}
	l.line.settle(t, &o.Verdict, o.Sent, o.Response != nil || o.Verdict.Class == ClassOK)
	l.line.leave(t)
}

// SetLimits replaces the limits that l was made with; those of the limiters around it, and the bound on
// calls in flight, stay. Calls that wait go by the new ones at once, and what was sent before counts against them.
// An error names each limit that is out of range, and nothing changes then.
func (l *Limiter) SetLimits(limits ...Limit) error {
	if l == nil || l.line == nil {
		return invalid("SetLimits: the limiter was not made by NewLimiter")
	}
	if err := l.checkLimits(limits); err != nil {
		return invalid("SetLimits: %w", err)
	}
	ln := l.line
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	before := slices.Clone(*l.own.Load())
	var own []*tier
	for _, limit := range limits {
		own = append(own, ln.successor(before, limit, now))
	}
	for _, t := range before {
		if t != nil && t.slots != nil {
			own = append(own, t)
		}
	}
	l.own.Store(&own)
	ln.generation.Add(1)
	ln.eachWaiter(ln.move)
	ln.pump(now)
	return nil
}
