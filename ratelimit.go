package belay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/hint"
	"github.com/belay-go/belay/internal/window"
)

// Limit is a limit that the partner is known to have. Make one with [PerSecond], [PerMinute],
// [PerHour], [PerDay] or [Every]; the zero value is refused by [NewLimiter].
//
// Which kind?
//
//	Every(100, 10*time.Second)              at most 100 in any 10 seconds: right for every partner, and
//	                                        for many exactly right
//	PerSecond(2).Bucket(40)                 40 at once, refilled at 2 a second (Shopify, AWS)
//	PerMinute(60).Fixed()                   60, and 60 more when the window that the first call opened is over
//
// A sliding window never exceeds either of the others with the same numbers; the others only use more of them.
type Limit struct {
	n        int
	per      time.Duration
	kind     limitKind
	burst    int
	headroom float64
	when     func(*http.Request) bool
	quota    Quota
	fallback Fallback
}

type limitKind uint8

const (
	slidingLimit limitKind = iota
	bucketLimit
	fixedLimit
	slotLimit
)

// PerSecond allows n calls in any second.
func PerSecond(n int) Limit { return Every(n, time.Second) }

// PerMinute allows n calls in any minute.
func PerMinute(n int) Limit { return Every(n, time.Minute) }

// PerHour allows n calls in any hour.
func PerHour(n int) Limit { return Every(n, time.Hour) }

// PerDay allows n calls in any 24 hours.
func PerDay(n int) Limit { return Every(n, 24*time.Hour) }

// Every allows n calls in any stretch of per: a sliding window. Both must be positive. Up to 4,096
// calls are counted one by one; above that the window moves in 512 to 1,024 steps, on the strict side.
func Every(n int, per time.Duration) Limit { return Limit{n: n, per: per} }

// Bucket makes l a token bucket that holds burst calls and refills at l's pace. In a stretch of time it
// lets through what was refilled and burst more, so "60 per minute, burst 60" may pass 119 in the first
// minute. Burst must be positive.
func (l Limit) Bucket(burst int) Limit {
	l.kind, l.burst = bucketLimit, burst
	return l
}

// Fixed makes l a fixed window of the kind that opens with the first call after the one before it has
// ended, as a counter with an expiry does. For windows that follow the partner's clock use the sliding
// window: it cannot exceed them.
func (l Limit) Fixed() Limit {
	l.kind = fixedLimit
	return l
}

// Headroom uses only the share f of the limit, above 0 and at most 1, and leaves the rest to others who
// spend from it: PerMinute(600).Headroom(0.8) is 480 a minute. Of a bucket it
// takes its share of the burst too. At least one call remains.
func (l Limit) Headroom(f float64) Limit {
	if !(f > 0 && f <= 1) {
		f = math.NaN() // zero means that Headroom was not called
	}
	if l.headroom != 0 {
		f *= l.headroom
	}
	l.headroom = f
	return l
}

// When makes l count only the requests that match. Match runs on the caller's goroutine, outside locks;
// it must not change the request. Nil matches all.
func (l Limit) When(match func(*http.Request) bool) Limit {
	l.when = match
	return l
}

// Shared makes l a limit of several processes, which q counts in a store of theirs. While the store fails
// or does not answer within half a second, the fallback holds, which is FallbackLocal unless
// [Limit.Fallback] says otherwise. Nil is an error.
func (l Limit) Shared(q Quota) Limit {
	if l.quota = q; q == nil {
		l.quota = noQuota{}
	}
	if l.fallback == 0 {
		l.fallback = FallbackLocal
	}
	return l
}

// Fallback says what holds while the store of a shared limit fails: one of the constants, or the share of
// the limit that this process may use then, above 0 and at most 1.
func (l Limit) Fallback(f Fallback) Limit {
	if l.fallback = f; f == 0 {
		l.fallback = Fallback(math.NaN()) // zero means that Fallback was not called
	}
	return l
}

// noQuota is a nil one, which check refuses.
type noQuota struct{ Quota }

// String returns the limit as "100 per 10s", or "2 per 1s, burst 40".
func (l Limit) String() string {
	if l.kind == slotLimit {
		return fmt.Sprintf("%d in flight", l.n)
	}
	s := fmt.Sprintf("%d per %s", l.n, l.per)
	switch l.kind {
	case bucketLimit:
		s += fmt.Sprintf(", burst %d", l.burst)
	case fixedLimit:
		s += ", fixed"
	}
	if l.headroom != 0 {
		s += fmt.Sprintf(", headroom %.2g", l.headroom)
	}
	if l.quota != nil {
		s += ", shared"
	}
	return s
}

func (l Limit) check() error {
	var errs []error
	if l.n <= 0 {
		errs = append(errs, fmt.Errorf("limit %s: the number of calls is %d, must be positive", l, l.n))
	}
	if l.per <= 0 && l.kind != slotLimit {
		errs = append(errs, fmt.Errorf("limit %s: the time is %s, must be positive", l, l.per))
	}
	if l.kind == bucketLimit && l.burst <= 0 {
		errs = append(errs, fmt.Errorf("limit %s: Bucket(%d): burst must be positive", l, l.burst))
	}
	if math.IsNaN(l.headroom) {
		errs = append(errs, fmt.Errorf("limit %s: Headroom must be above 0 and at most 1", l))
	}
	if _, none := l.quota.(noQuota); none {
		errs = append(errs, fmt.Errorf("limit %s: Shared: the quota is nil", l))
	}
	if f := l.fallback; f != 0 && f != FallbackClosed && f != FallbackOpen && !(f > 0 && f <= 1) {
		errs = append(errs, fmt.Errorf("limit %s: Fallback(%v) must be above 0 and at most 1, or a constant", l, float64(f)))
	} else if f != 0 && l.quota == nil {
		errs = append(errs, fmt.Errorf("limit %s: Fallback(%v) is for shared limits", l, float64(f)))
	}
	return errors.Join(errs...)
}

// tier returns the counter of l.
func (l Limit) tier(base time.Time) *tier {
	t := &tier{limit: l}
	switch {
	case l.kind == slotLimit:
		t.slots = window.NewSlots(l.n)
	case l.quota != nil:
		t.shared = &sharedQuota{quota: l.quota, fallback: l.fallback}
		own := l
		if l.fallback > 0 && l.fallback <= 1 {
			own = l.Headroom(float64(l.fallback))
		}
		t.Window = own.window(base)
	default:
		t.Window = l.window(base)
	}
	return t
}

func (l Limit) window(base time.Time) window.Window {
	n, burst := l.n, l.burst
	if l.headroom > 0 {
		n, burst = max(1, int(float64(n)*l.headroom)), max(1, int(float64(burst)*l.headroom))
	}
	switch {
	case l.kind == bucketLimit:
		return window.NewBucket(n, l.per, burst, base)
	case l.kind == fixedLimit:
		return window.NewFixed(n, l.per)
	}
	return limitWindow(n, l.per)
}

// limitWindow is a sliding window of n permits in per.
func limitWindow(n int, per time.Duration) window.Window {
	if n > window.Largest {
		return window.NewBuckets(n, per)
	}
	return window.NewSliding(n, per)
}

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
	conditional bool // some limit counts only some requests
	shared      bool // some limit is counted by a store
	// Where neither is so, the same as two lists, for the successful path: windows as in tiers, nil
	// where that is slots.
	windows []window.Window
	slots   []*window.Slots
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
	if !s.conditional && !s.shared {
		s.windows = make([]window.Window, len(s.tiers))
		for i, t := range s.tiers {
			if t.slots != nil {
				s.slots = append(s.slots, t.slots)
			} else {
				s.windows[i] = t.Window
			}
		}
	}
	l.set.Store(s)
	return s
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

// move brings a waiter under the limits that hold now, in its old place. Where it takes the user's functions to tell
// which those are, it does that itself, outside the lock.
func (ln *line) move(w *waiter) {
	ln.unlink(w)
	set, t := w.view.gather(), w.ticket
	if set.conditional {
		w.moved = true
		w.signal()
		return
	}
	t.tiers = set
	if w.err = t.fits(); w.err != nil {
		ln.remove(w)
		w.signal()
		return
	}
	t.taken = 1<<len(set.tiers) - 1
	ln.enqueue(w)
}

// successor returns the tier of a limit that takes the place of those before: the same where nothing has
// changed, otherwise one that has counted what was sent.
func (ln *line) successor(before []*tier, l Limit, now time.Duration) *tier {
	for i, have := range before {
		if have != nil && have.slots == nil && have.limit.same(l) {
			before[i] = nil
			return have
		}
	}
	t := l.tier(ln.base)
	if l.when != nil {
		return t
	}
	per := l.per
	if l.kind == bucketLimit {
		per = min(24*time.Hour, l.per*time.Duration(1+l.burst/l.n))
	}
	ln.recount(t.Window, 0, per, now)
	return t
}

// same reports whether both limit the same in the same way, as far as can be told.
func (l Limit) same(o Limit) bool {
	if l.when != nil || o.when != nil {
		return false
	}
	if l.quota != nil || o.quota != nil {
		if l.quota == nil || o.quota == nil || !reflect.ValueOf(l.quota).Comparable() || !reflect.ValueOf(o.quota).Comparable() || l.quota != o.quota {
			return false
		}
	}
	return l.n == o.n && l.per == o.per && l.kind == o.kind && l.burst == o.burst && l.headroom == o.headroom && l.fallback == o.fallback
}

// maxTiers is how many limits one call can be under.
const maxTiers = 64

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
	quotas []hint.Quota     // that the answer told of
	taken  uint64           // the limits that it is under
	marks  [4]int64         // what each of them knows it by
	more   *[maxTiers]int64 // for limits beyond the fourth
	sent   time.Duration
	state  ticketState
	tight  bool   // some limit gains by knowing when it was counted
	stored uint64 // the limits whose permits a store gave
}

// caller is what a client tells its limiter of a call, and learns from it.
type caller struct {
	who       uint64 // whom a pause of ScopeCredential concerns; 0 pauses all
	method    string // and route: whom a pause of ScopeRoute concerns; an empty route pauses all
	route     string
	patience  time.Duration // the longest wait, 0 for none but the context's
	maxPause  time.Duration // the longest pause to sit out, 0 for none but the context's
	returning bool          // waited before, so it does not count against the queue's bound

	waited time.Duration // what Acquire took
	ask    bool          // for the following
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
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if t.state != ticketFree {
		return invalid("Acquire: the ticket is in use; Release it first")
	}
	if t.Cost < 0 {
		return invalid("Acquire: cost %d is negative", t.Cost)
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
	l.line.settle(t, &o.Verdict, o.Sent)
	l.line.leave(t)
}

// Wrap returns a RoundTripper that sends through next within the limits, and holds each call's place
// until its body is closed or read to the end. Nil means http.DefaultTransport.
func (l *Limiter) Wrap(next http.RoundTripper) http.RoundTripper {
	if l == nil || l.line == nil {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			closeBody(req)
			return nil, invalid("the limiter was not made by NewLimiter")
		})
	}
	return newStack(next, &settings{limiter: l})
}

// Reads matches requests that only read, for [Limit.When]: GET, HEAD, OPTIONS, and those that [ReadOnly] says so of.
func Reads(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return optionsOf(req.Context()).readOnly
}

// Writes matches all requests that Reads does not, for [Limit.When].
func Writes(req *http.Request) bool { return !Reads(req) }
