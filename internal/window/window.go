// Package window counts permits against one limit: a sliding window, a fixed window or a token bucket.
//
// Times are durations since some base. None of the types is safe for concurrent use: the line of
// waiters that asks them holds a lock, and asks all of them under it.
package window

import (
	"sync/atomic"
	"time"
)

// Window is one limit.
type Window interface {
	// Wait returns how long n permits have to wait, zero when they could be taken now. It is exact when
	// nobody takes or gives back a permit meanwhile.
	Wait(now time.Duration, n int) time.Duration
	// Take takes n permits, whether or not they are free, and returns a mark to name them by. The partner
	// will have counted them by latest. A negative mark needs no Settle: so much is free that it would
	// gain nothing.
	Take(now, latest time.Duration, n int) (mark int64)
	// Settle says that the partner counted the permits no later than at, which is not after the latest of Take.
	Settle(mark int64, at time.Duration, n int)
	// Refund gives back permits that the partner never saw.
	Refund(mark int64, now time.Duration, n int)
	// Left returns how many permits are free, at least zero.
	Left(now time.Duration) int
	// Limit returns the most that can be taken at once.
	Limit() int
}

// busy says whether a window is worth settling for: it was more than half full not long ago. Bursts
// come back, so what was busy once counts as busy for two windows more.
type busy struct{ until time.Duration }

func (b *busy) note(now, slack, per time.Duration, used, limit int) bool {
	if 2*used > limit {
		b.until = now + 2*per
	}
	return now < b.until || slack > per/8
}

// Slots bounds how many permits are out at once. Unlike the others it may be given back to without the lock.
type Slots struct {
	max   int64 // changed only while nobody asks
	taken int64 // ever, under the lock; so that only giving back needs an atomic write
	given atomic.Int64
}

// NewSlots returns n slots.
func NewSlots(n int) *Slots { return &Slots{max: int64(n)} }

// Free reports whether n more can be taken.
func (s *Slots) Free(n int) bool { return s.taken-s.given.Load()+int64(n) <= s.max }

// Resize changes how many there are.
func (s *Slots) Resize(n int) { s.max = int64(n) }

// Used returns how many are out.
func (s *Slots) Used() int { return int(s.taken - s.given.Load()) }

// Take takes a slot.
func (s *Slots) Take() { s.taken++ }

// Give gives a slot back. It is safe for concurrent use.
func (s *Slots) Give() { s.given.Add(1) }
