// Package window counts permits against one limit: a sliding window, a fixed window, a token bucket, or a
// window that the partner advertises. It also counts slots for calls in flight, and logs the permits that
// were taken.
//
// Times are durations since some base. None of the types is safe for concurrent use, except [Slots.Give]: the
// scheduler of package limiter calls all of them under its mutex.
package window

import (
	"sync/atomic"
	"time"
)

// Window counts permits against one limit.
type Window interface {
	// Wait returns how long n permits have to wait, zero if they can be taken now. It is exact if no permit is
	// taken or given back meanwhile.
	Wait(now time.Duration, n int) time.Duration
	// Take takes n permits, whether or not they are free, and returns a mark that identifies them. The partner
	// will have counted them by latest. A negative mark needs no Settle, because Settle would gain nothing,
	// for example if many permits are free.
	Take(now, latest time.Duration, n int) (mark int64)
	// Settle records that the partner counted the permits no later than at, which is not after the latest of
	// Take.
	Settle(mark int64, at time.Duration, n int)
	// Refund gives back permits that the partner never saw.
	Refund(mark int64, now time.Duration, n int)
	// Left returns the number of permits that are free, at least zero.
	Left(now time.Duration) int
	// Limit returns the most that can be taken at once.
	Limit() int
}

// busy decides whether a window is worth settling: it is if it was more than half full not long ago. Bursts
// come back, so a window that was busy once counts as busy for two windows more.
type busy struct{ until time.Duration }

// note records that used of limit permits are taken at now. Slack is the longest delay after which the
// partner counts a permit. It reports whether the permits are worth settling: the window is busy, or slack is
// more than an eighth of per.
func (b *busy) note(now, slack, per time.Duration, used, limit int) bool {
	if 2*used > limit {
		b.until = now + 2*per
	}
	return now < b.until || slack > per/8
}

// Slots bounds the number of permits that are taken at once. Unlike the permits of a window, a slot may be
// given back without the lock.
type Slots struct {
	max   int64        // changed only under the lock
	taken int64        // slots taken so far, under the lock; so only Give needs an atomic write
	given atomic.Int64 // slots given back so far
}

// NewSlots returns n slots.
func NewSlots(n int) *Slots { return &Slots{max: int64(n)} }

// Free reports whether n more slots can be taken.
func (s *Slots) Free(n int) bool { return s.taken-s.given.Load()+int64(n) <= s.max }

// Resize changes the number of slots to n.
func (s *Slots) Resize(n int) { s.max = int64(n) }

// Used returns the number of slots that are taken.
func (s *Slots) Used() int { return int(s.taken - s.given.Load()) }

// Take takes a slot.
func (s *Slots) Take() { s.taken++ }

// Give gives a slot back. It is safe for concurrent use.
func (s *Slots) Give() { s.given.Add(1) }
