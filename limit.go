package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/limiter"
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
	spec limiter.Limit
	err  error // of a method that was called with bad input
}

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
func Every(n int, per time.Duration) Limit { return Limit{spec: limiter.Limit{N: n, Per: per}} }

// Bucket makes l a token bucket that holds burst calls and refills at l's pace. In a stretch of time it
// lets through what was refilled and burst more, so "60 per minute, burst 60" may pass 119 in the first
// minute. Burst must be positive.
func (l Limit) Bucket(burst int) Limit {
	l.spec.Kind, l.spec.Burst = limiter.Bucket, burst
	return l
}

// Fixed makes l a fixed window of the kind that opens with the first call after the one before it has
// ended, as a counter with an expiry does. For windows that follow the partner's clock use the sliding
// window: it cannot exceed them.
func (l Limit) Fixed() Limit {
	l.spec.Kind = limiter.Fixed
	return l
}

// Headroom uses only the share f of the limit, above 0 and at most 1, and leaves the rest to others who
// spend from it: PerMinute(600).Headroom(0.8) is 480 a minute. Of a bucket it
// takes its share of the burst too. At least one call remains.
func (l Limit) Headroom(f float64) Limit {
	if !(f > 0 && f <= 1) {
		return l.wrong("Headroom(%v) must be above 0 and at most 1", f)
	}
	if l.spec.Headroom != 0 {
		f *= l.spec.Headroom
	}
	l.spec.Headroom = f
	return l
}

// When makes l count only the requests that match. Match runs on the caller's goroutine, outside locks;
// it must not change the request. Nil matches all.
func (l Limit) When(match func(*http.Request) bool) Limit {
	l.spec.When = match
	return l
}

// Shared makes l a limit of several processes, which q counts in a store of theirs. While the store fails
// or does not answer within half a second, this process uses a quarter of the limit, unless [Limit.FailClosed],
// [Limit.FailOpen] or [Limit.FallbackShare] says otherwise. Nil is an error.
func (l Limit) Shared(q Quota) Limit {
	if q == nil {
		return l.wrong("Shared: the quota is nil")
	}
	if l.spec.Quota = q; l.spec.Fallback == 0 {
		l.spec.Fallback = limiter.DefaultFallback
	}
	return l
}

// FailClosed sends nothing while the store of a shared limit fails.
func (l Limit) FailClosed() Limit {
	l.spec.Fallback = limiter.FailClosed
	return l
}

// FailOpen sends as if there were no limit while the store of a shared limit fails.
func (l Limit) FailOpen() Limit {
	l.spec.Fallback = limiter.FailOpen
	return l
}

// FallbackShare says which share of a shared limit this process may use by itself while the store fails, above 0 and at most 1.
func (l Limit) FallbackShare(f float64) Limit {
	if !(f > 0 && f <= 1) {
		return l.wrong("FallbackShare(%v) must be above 0 and at most 1", f)
	}
	l.spec.Fallback = limiter.Fallback(f)
	return l
}

// wrong notes bad input, which check returns.
func (l Limit) wrong(format string, args ...any) Limit {
	l.err = errors.Join(l.err, fmt.Errorf("limit %s: "+format, append([]any{l}, args...)...))
	return l
}

// String returns the limit as "100 per 10s", or "2 per 1s, burst 40".
func (l Limit) String() string { return l.spec.String() }

// check returns what is out of range.
func (l Limit) check() error {
	var faults fault.List
	faults.Add(l.err)
	faults.Add(l.spec.Check())
	faults.If(l.spec.Fallback != 0 && l.spec.Quota == nil && l.err == nil, "limit %s: FailClosed, FailOpen and FallbackShare are for shared limits", l)
	return faults.Err()
}

// Quota is a limit that several processes share, counted in a store of theirs. Only the head of a queue
// asks, one at a time, so that a store is asked no more often than calls go.
type Quota interface {
	// Take takes n permits and returns 0, or takes none and returns how long to wait before asking again,
	// above zero. It must honor ctx, and be safe for concurrent use. An error means that the store cannot
	// say, which is when the limit's fallback holds.
	Take(ctx context.Context, n int) (wait time.Duration, err error)
}

// Priority says who goes first where calls have to wait for their turn. It is a [CallOption]:
//
//	rec, err := belay.Get[Record](ctx, c, "/records/{id}", belay.PathValue("id", id), belay.High)
//
// A call passes all that wait with a lower priority, but of those one goes at the latest after fifteen have
// passed it, so that an import still moves behind a crowd of users. Calls of the same priority
// take turns between the integrations (see [WithIntegration]), and within one go by arrival.
type Priority int8

const (
	// Low is for work that nobody waits for.
	Low Priority = iota - 1
	// Normal is what calls have that say nothing.
	Normal
	// High is for what a user waits for.
	High
)

// String returns "low", "normal" or "high".
func (p Priority) String() string { return [...]string{"high", "normal", "low"}[p.level()] }

// level is 0 for the highest.
func (p Priority) level() int { return 1 - int(max(Low, min(High, p))) }

// AdaptivePolicy says how a limit that nobody configured is found out. The zero value is the default: quotas in
// the answers' headers are kept to, and limits are inferred from refusals. Together with known limits
// both only ever slow down.
type AdaptivePolicy struct {
	// Off turns both off: a refusal only pauses.
	Off bool
	// Floor is the least number of calls in a window that is ever inferred. Zero means 1, negative is an error.
	Floor int
	// Ceiling is the most. Zero means no bound, negative or below Floor is an error.
	Ceiling int
}

func (p AdaptivePolicy) check() error {
	var faults fault.List
	faults.If(p.Floor < 0, "AdaptivePolicy.Floor is %d, must not be negative", p.Floor)
	faults.If(p.Ceiling < 0 || p.Ceiling > 0 && p.Ceiling < p.Floor, "AdaptivePolicy.Ceiling is %d, must not be negative or below Floor", p.Ceiling)
	return faults.Err()
}
