package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
)

// Limit is a limit that the partner is known to have. Make one with [PerSecond], [PerMinute], [PerHour],
// [PerDay] or [Every]; [NewLimiter] refuses the zero value.
//
// Which kind to choose:
//
//	Every(100, 10*time.Second)              at most 100 in any 10 seconds: safe for every partner, and
//	                                        for many of them exactly their limit
//	PerSecond(2).Bucket(40)                 40 at once, refilled at 2 a second (Shopify, AWS)
//	PerMinute(60).Fixed()                   60, and 60 more when the window that the first call opened is over
//
// A sliding window never exceeds either of the others with the same numbers. The others only make more use of
// them.
type Limit struct {
	spec limiter.Limit
	err  error // of a method that was called with bad input
}

// PerSecond returns a limit of n calls in any second.
func PerSecond(n int) Limit { return Every(n, time.Second) }

// PerMinute returns a limit of n calls in any minute.
func PerMinute(n int) Limit { return Every(n, time.Minute) }

// PerHour returns a limit of n calls in any hour.
func PerHour(n int) Limit { return Every(n, time.Hour) }

// PerDay returns a limit of n calls in any 24 hours.
func PerDay(n int) Limit { return Every(n, 24*time.Hour) }

// Every returns a limit of n calls in any stretch of per: a sliding window. Both must be positive. Up to
// 4,096 calls are counted one by one. Above that the window moves in 504 to 1,008 steps, and may admit fewer
// calls than n, never more.
func Every(n int, per time.Duration) Limit { return Limit{spec: limiter.Limit{N: n, Per: per}} }

// Bucket returns l as a token bucket that holds burst calls and refills at the rate of l. In a stretch of
// time it admits the calls refilled in that time and burst more, so "60 per minute, burst 60" may admit 119
// in the first minute. Burst must be positive.
func (l Limit) Bucket(burst int) Limit {
	l.spec.Kind, l.spec.Burst = limiter.Bucket, burst
	return l
}

// Fixed returns l as a fixed window. A window opens with the first call after the window before it has ended,
// as a counter with an expiry does. For windows that follow the partner's clock, use the sliding window: it
// cannot exceed them.
func (l Limit) Fixed() Limit {
	l.spec.Kind = limiter.Fixed
	return l
}

// Headroom returns l reduced to the share f, above 0 and at most 1. It leaves the rest to others that spend
// from the same limit: PerMinute(600).Headroom(0.8) is 480 a minute. Of a bucket it reduces the burst too. At
// least one call remains. A second Headroom multiplies the first.
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

// When returns l for only those requests that match. Match runs on the caller's goroutine, outside locks, and
// must not change the request. Nil matches all.
func (l Limit) When(match func(*http.Request) bool) Limit {
	l.spec.When = match
	return l
}

// Shared returns l as a limit of several processes, which q counts in a store of theirs. While the store
// fails or does not answer within half a second, this process uses a quarter of the limit, unless
// [Limit.FailClosed], [Limit.FailOpen] or [Limit.FallbackShare] says otherwise. Nil is an error.
func (l Limit) Shared(q Quota) Limit {
	if q == nil {
		return l.wrong("Shared: the quota is nil")
	}
	if l.spec.Quota = q; l.spec.Fallback == 0 {
		l.spec.Fallback = limiter.DefaultFallback
	}
	return l
}

// FailClosed returns l as a shared limit that admits nothing while its store fails. On a limit that is not
// shared it is an error.
func (l Limit) FailClosed() Limit {
	l.spec.Fallback = limiter.FailClosed
	return l
}

// FailOpen returns l as a shared limit that admits every call while its store fails, as if there were no
// limit. On a limit that is not shared it is an error.
func (l Limit) FailOpen() Limit {
	l.spec.Fallback = limiter.FailOpen
	return l
}

// FallbackShare returns l as a shared limit of which this process uses the share f by itself while its store
// fails, above 0 and at most 1. On a limit that is not shared it is an error.
func (l Limit) FallbackShare(f float64) Limit {
	if !(f > 0 && f <= 1) {
		return l.wrong("FallbackShare(%v) must be above 0 and at most 1", f)
	}
	l.spec.Fallback = limiter.Fallback(f)
	return l
}

// wrong returns l with an error for bad input, which check returns later.
func (l Limit) wrong(format string, args ...any) Limit {
	l.err = errors.Join(l.err, fmt.Errorf("limit %s: "+format, append([]any{l}, args...)...))
	return l
}

// String returns the limit as "100 per 10s", or "2 per 1s, burst 40".
func (l Limit) String() string { return l.spec.String() }

// check returns an error that joins one for each value of l that is out of range, or nil.
func (l Limit) check() error {
	var faults errkit.List
	faults.Add(l.err)
	faults.Add(l.spec.Check())
	faults.If(l.spec.Fallback != 0 && l.spec.Quota == nil && l.err == nil,
		"limit %s: FailClosed, FailOpen and FallbackShare are for shared limits", l)
	return faults.Err()
}

// Quota is a limit that several processes share, counted in a store of theirs. Only the head of a queue asks,
// one at a time, so the store is asked no more often than calls go.
type Quota interface {
	// Take takes n permits and returns 0, or takes none and returns how long to wait before asking again,
	// above zero. It must honor ctx and be safe for concurrent use. An error means that the store cannot say;
	// the limit's fallback applies then.
	Take(ctx context.Context, n int) (wait time.Duration, err error)
}

// Priority says which of the waiting calls goes first. It is a [CallOption]:
//
//	rec, err := belay.Get[Record](ctx, c, "/records/{id}", belay.PathValue("id", id), belay.High)
//
// A call goes before all that wait with a lower priority. But when fifteen calls have gone before a lower
// priority, one call of that priority is next, so that an import makes progress even while many users call.
// Calls of the same priority take turns between the integrations (see [WithIntegration]), and go by arrival
// within one.
type Priority int8

const (
	// Low is for work that no user waits for.
	Low Priority = iota - 1
	// Normal is the default.
	Normal
	// High is for calls that a user waits for.
	High
)

// String returns "low", "normal" or "high".
func (p Priority) String() string { return [...]string{"high", "normal", "low"}[p.level()] }

// level returns the priority as the limiter counts it, 0 for the highest.
func (p Priority) level() int { return 1 - int(max(Low, min(High, p))) }

// AdaptivePolicy says how limits that are not configured are found. With the zero value, the default, quotas
// that the headers of answers advertise are honored, and limits are inferred from refusals. Together with
// configured limits, both can only slow calls down.
type AdaptivePolicy struct {
	// Off turns both off: a refusal only begins a pause.
	Off bool
	// Floor is the smallest number of calls in a window that is ever inferred. Zero means 1, negative is an
	// error.
	Floor int
	// Ceiling is the largest. Zero means no bound, negative or below Floor is an error.
	Ceiling int
}

func (p AdaptivePolicy) check() error {
	var faults errkit.List
	faults.If(p.Floor < 0, "AdaptivePolicy.Floor is %d, must not be negative", p.Floor)
	faults.If(p.Ceiling < 0 || p.Ceiling > 0 && p.Ceiling < p.Floor,
		"AdaptivePolicy.Ceiling is %d, must not be negative or below Floor", p.Ceiling)
	return faults.Err()
}
