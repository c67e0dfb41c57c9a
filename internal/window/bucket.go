package window

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Bucket is a token bucket: it gains n tokens per per and holds at most burst of them.
//
// The partner counts a call later than it was sent, so its bucket may begin to refill later than this one.
// The tokens that this bucket gains in that time (lag) are therefore never used.
type Bucket struct {
	lim   *rate.Limiter
	base  time.Time
	burst int
	spare float64       // tokens gained in lag
	full  time.Duration // when Take last saw it full; tokens gained while full are lost
}

// lag is the longest time after its sending at which the partner may count a call.
const lag = 100 * time.Millisecond

// NewBucket returns a full bucket. N, per and burst are positive; base is the time that durations count from.
func NewBucket(n int, per time.Duration, burst int, base time.Time) *Bucket {
	fill := float64(n) / per.Seconds()
	return &Bucket{
		lim: rate.NewLimiter(rate.Limit(fill), burst), base: base, burst: burst, spare: fill * lag.Seconds(), full: -1,
	}
}

// enough is the number of tokens by which floating point may be wrong.
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
		b.lim.ReserveN(t, n) // AllowN also refuses if less than enough is missing
	}
	return ^int64(now)
}

// Settle does nothing, because a bucket refills by the clock.
func (b *Bucket) Settle(int64, time.Duration, int) {}

// Refund implements Window. AllowN with a negative number puts tokens back. Cancel of a reservation would
// not, once the reservation's time has come.
//
// Permits that were taken before the bucket was last full are lost: without them, the bucket would have been
// full too.
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
