package limiter

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// Limit is one configured limit.
type Limit struct {
	N        int                      // permits in Per, or calls in flight at a time; positive
	Per      time.Duration            // the window; positive, except that InFlight ignores it
	Kind     LimitKind                // how the limit counts; zero means Sliding
	Burst    int                      // permits that a Bucket holds; positive for a Bucket, otherwise ignored
	Headroom float64                  // the share that is used, above 0 and at most 1; 0 means all
	When     func(*http.Request) bool // selects the requests that count; nil means all
	Quota    Quota                    // the store of several processes; nil means that this process counts alone
	Fallback Fallback                 // applies while the store fails
}

// LimitKind is the way in which a limit counts.
type LimitKind uint8

const (
	// Sliding allows N permits in any stretch of Per.
	Sliding LimitKind = iota
	// Bucket holds Burst permits and refills N in Per.
	Bucket
	// Fixed allows N permits in each window of Per. A window opens with the first call after the previous
	// window has ended.
	Fixed
	// InFlight allows N calls at a time.
	InFlight
)

// Fallback is the share of a shared limit that this process may use while the store fails, above 0 and at
// most 1, or one of the constants. Zero means the whole limit.
type Fallback float64

const (
	// FailClosed admits no call while the store fails.
	FailClosed Fallback = -1
	// FailOpen admits every call while the store fails, as if there were no limit.
	FailOpen Fallback = 2
	// DefaultFallback is a quarter of the limit.
	DefaultFallback Fallback = 0.25
)

// String returns the limit as "100 per 10s", "2 per 1s, burst 40" or "10 in flight".
func (l Limit) String() string {
	if l.Kind == InFlight {
		return fmt.Sprintf("%d in flight", l.N)
	}
	s := fmt.Sprintf("%d per %s", l.N, l.Per)
	switch l.Kind {
	case Bucket:
		s += fmt.Sprintf(", burst %d", l.Burst)
	case Fixed:
		s += ", fixed"
	}
	if l.Headroom != 0 {
		s += fmt.Sprintf(", headroom %.2g", l.Headroom)
	}
	if l.Quota != nil {
		s += ", shared"
	}
	return s
}

// Check returns an error that joins one error for each field that is out of range, or nil. It checks N, Per,
// Burst and Headroom.
func (l Limit) Check() error {
	var errs []error
	if l.N <= 0 {
		errs = append(errs, fmt.Errorf("limit %s: the number of calls is %d, must be positive", l, l.N))
	}
	if l.N > maxPermits || l.Kind == Bucket && l.Burst > maxPermits {
		errs = append(errs, fmt.Errorf("limit %s: more than 2^53 permits cannot be counted", l))
	}
	if l.Per <= 0 && l.Kind != InFlight {
		errs = append(errs, fmt.Errorf("limit %s: the time is %s, must be positive", l, l.Per))
	}
	if l.Kind == Bucket && l.Burst <= 0 {
		errs = append(errs, fmt.Errorf("limit %s: Bucket(%d): burst must be positive", l, l.Burst))
	}
	if l.Headroom != 0 && !(l.Headroom > 0 && l.Headroom <= 1) || math.IsNaN(l.Headroom) {
		errs = append(errs, fmt.Errorf("limit %s: Headroom must be above 0 and at most 1", l))
	}
	return errors.Join(errs...)
}

// maxPermits is the most permits that a limit may have: what a float64 counts one by one.
const maxPermits = 1 << 53

// same reports whether l and o surely limit the same calls in the same way. Limits with a condition are never
// the same, because functions cannot be compared. Limits with a store are the same only if the stores can be
// compared and are equal.
func (l Limit) same(o Limit) bool {
	if l.When != nil || o.When != nil {
		return false
	}
	if l.Quota != nil || o.Quota != nil {
		if l.Quota == nil || o.Quota == nil ||
			!reflect.ValueOf(l.Quota).Comparable() || !reflect.ValueOf(o.Quota).Comparable() || l.Quota != o.Quota {
			return false
		}
	}
	return l.N == o.N && l.Per == o.Per && l.Kind == o.Kind && l.Burst == o.Burst &&
		l.Headroom == o.Headroom && l.Fallback == o.Fallback
}

// tier returns a new tier that counts l from zero. Times are durations since base. The window of a shared
// limit is asked only while the store fails, so it has the fallback's share.
func (l Limit) tier(base time.Time) *tier {
	t := &tier{limit: l}
	switch {
	case l.Kind == InFlight:
		t.slots = window.NewSlots(l.N)
		t.inFlight = t.slots
	case l.Quota != nil:
		t.shared = &sharedQuota{tier: t, quota: l.Quota, fallback: l.Fallback}
		own := l
		if l.Fallback > 0 && l.Fallback <= 1 {
			if own.Headroom == 0 {
				own.Headroom = 1
			}
			own.Headroom *= float64(l.Fallback)
		}
		t.Window = own.window(base)
	default:
		t.Window = l.window(base)
	}
	return t
}

// window returns a new window for l, reduced to the share of Headroom. At least one permit remains.
func (l Limit) window(base time.Time) window.Window {
	n, burst := l.N, l.Burst
	if l.Headroom > 0 {
		n, burst = max(1, int(float64(n)*l.Headroom)), max(1, int(float64(burst)*l.Headroom))
	}
	switch l.Kind {
	case Bucket:
		return window.NewBucket(n, l.Per, burst, base)
	case Fixed:
		return window.NewFixed(n, l.Per)
	}
	return slidingWindow(n, l.Per)
}

// slidingWindow returns a sliding window of n permits in per. Large limits are counted by slices of time, to
// bound the memory.
func slidingWindow(n int, per time.Duration) window.Window {
	if n > window.Largest {
		return window.NewBuckets(n, per)
	}
	return window.NewSliding(n, per)
}
