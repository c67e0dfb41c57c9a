package belay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

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
	return errors.Join(errs...)
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
	case n > window.Largest:
		return window.NewBuckets(n, l.per)
	}
	return window.NewSliding(n, l.per)
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
	tiers    []*tier
	maxQueue int

	conditional bool // some limit counts only some requests
}

const defaultMaxQueue = 10_000

// NewLimiter returns a limiter that enforces all of limits together. Without limits it only pauses when
// the partner says so. The error joins one for each limit that is out of range.
func NewLimiter(limits ...Limit) (*Limiter, error) {
	l := &Limiter{line: newLine(), maxQueue: defaultMaxQueue}
	return l.with(limits...)
}

// with returns a limiter on the same line, that takes l's limits and these.
func (l *Limiter) with(limits ...Limit) (*Limiter, error) {
	view := &Limiter{line: l.line, maxQueue: l.maxQueue, conditional: l.conditional}
	view.tiers = append(make([]*tier, 0, len(l.tiers)+len(limits)), l.tiers...)
	var errs []error
	for _, limit := range limits {
		if err := limit.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		t := &tier{limit: limit}
		if limit.kind == slotLimit {
			t.slots = window.NewSlots(limit.n)
		} else {
			t.Window = limit.window(l.line.base)
		}
		view.tiers = append(view.tiers, t)
		view.conditional = view.conditional || limit.when != nil
	}
	if len(view.tiers) > maxTiers {
		errs = append(errs, fmt.Errorf("%d limits, at most %d", len(view.tiers), maxTiers))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return view, nil
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

	by    *caller          // nil outside a client
	taken uint64           // the limits that it is under
	marks [4]int64         // what each of them knows it by
	more  *[maxTiers]int64 // for limits beyond the fourth
	sent  time.Duration
	state ticketState
	tight bool // some limit gains by knowing when it was counted
}

// caller is what a client tells its limiter of a call, and learns from it.
type caller struct {
	credential any    // whom a pause of ScopeCredential concerns; nil pauses all
	method     string // and route: whom a pause of ScopeRoute concerns; an empty route pauses all
	route      string
	patience   time.Duration // the longest wait, 0 for none but the context's
	maxPause   time.Duration // the longest pause to sit out, 0 for none but the context's
	returning  bool          // waited before, so it does not count against the queue's bound

	waited time.Duration // what Acquire took
	left   int           // permits that the tightest limit had left, -1 without limits; where asked for
	ask    bool          // for left
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
	if l.conditional || t.Cost > 1 {
		if err := l.choose(t); err != nil {
			return err
		}
	} else {
		t.taken = 1<<len(l.tiers) - 1
	}
	return l.line.acquire(ctx, l, t)
}

// choose finds the limits that t is under.
func (l *Limiter) choose(t *Ticket) error {
	t.taken = 0
	for i, tier := range l.tiers {
		if tier.limit.when != nil && (t.Request == nil || !tier.limit.when(t.Request)) {
			continue
		}
		if tier.slots == nil && t.cost() > tier.Limit() {
			return invalid("cost %d is above the limit %s: it would wait for ever", t.cost(), tier.limit)
		}
		t.taken |= 1 << i
	}
	return nil
}

// Release reports what became of the attempt and gives back its place in flight. Release of a ticket
// that holds nothing does nothing.
func (l *Limiter) Release(t *Ticket, o Outcome) {
	if l == nil || t == nil || t.state == ticketFree {
		return
	}
	l.line.settle(l, t, &o.Verdict, o.Sent)
	l.line.leave(l, t)
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
