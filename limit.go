package belay

import (
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

// AdaptivePolicy says how a limit that nobody told is found out. The zero value is the default: quotas in
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
	var errs []error
	if p.Floor < 0 {
		errs = append(errs, fmt.Errorf("AdaptivePolicy.Floor is %d, must not be negative", p.Floor))
	}
	if p.Ceiling < 0 || p.Ceiling > 0 && p.Ceiling < p.Floor {
		errs = append(errs, fmt.Errorf("AdaptivePolicy.Ceiling is %d, must not be negative or below Floor", p.Ceiling))
	}
	return errors.Join(errs...)
}
