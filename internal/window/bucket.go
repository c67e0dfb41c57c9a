package window

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Bucket is a token bucket: it fills at n permits per per and holds at most burst of them.
//
// The partner's bucket may begin to fill later than this one, as it counts a call later than it was sent.
// So what it fills in that time is never used.
type Bucket struct {
	lim   *rate.Limiter
	base  time.Time
	burst int
	spare float64
	full  time.Duration // when it was last seen full; what it would have held since is lost
}

// lag is how much later than it was sent the partner may count a call.
const lag = 100 * time.Millisecond

// NewBucket returns a full bucket; n, per and burst are positive, and base is the time that durations count from.
func NewBucket(n int, per time.Duration, burst int, base time.Time) *Bucket {
	fill := float64(n) / per.Seconds()
	return &Bucket{lim: rate.NewLimiter(rate.Limit(fill), burst), base: base, burst: burst, spare: fill * lag.Seconds(), full: -1}
}

// enough forgives what floating point loses.
const enough = 1e-6

// Wait implements Window.
func (b *Bucket) Wait(now time.Duration, n int) time.Duration {
	need := max(float64(n), min(float64(n)+b.spare, float64(b.burst)))
	missing := need - b.lim.TokensAt(b.base.Add(now))
	if missing <= enough {
		return 0
	}
	return time.Duration(math.Ceil(missing / float64(b.lim.Limit()) * float64(time.Second)))
}

// Take implements Window.
func (b *Bucket) Take(now, _ time.Duration, n int) int64 {
	if b.lim.TokensAt(b.base.Add(now)) >= float64(b.burst) {
		b.full = now
	}
	if t := b.base.Add(now); !b.lim.AllowN(t, n) {
		b.lim.ReserveN(t, n) // short by less than enough
	}
	return ^int64(now)
}

// Settle does nothing: a bucket fills by the clock.
func (b *Bucket) Settle(int64, time.Duration, int) {}

// Refund implements Window. A negative number puts tokens back; a reservation's Cancel would not, once
// its time has come.
//
// A bucket that has been full since would have been as full without the permits: they are lost.
func (b *Bucket) Refund(mark int64, now time.Duration, n int) {
	if taken := time.Duration(^mark); taken >= b.full && b.lim.TokensAt(b.base.Add(now)) < float64(b.burst) {
		b.lim.AllowN(b.base.Add(now), -n)
	}
}

// Left implements Window.
func (b *Bucket) Left(now time.Duration) int {
	return max(0, int(b.lim.TokensAt(b.base.Add(now))+enough))
}

// Limit implements Window.
func (b *Bucket) Limit() int { return b.burst }
