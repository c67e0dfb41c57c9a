package window

import (
	"math"
	"time"
)

// Largest is the largest limit that is counted permit by permit. A larger limit is counted by slices of time,
// see [Buckets].
const Largest = 4096

// Sliding allows max permits in any period of per. For each permit it keeps the latest time at which the
// partner may have counted it. Permits leave in the order in which they were taken.
type Sliding struct {
	max int
	per time.Duration
	// ring[i&mask] is the latest time of permit i, for head <= i < tail.
	ring       []int64
	head, tail int64
	refunded   int // of these permits, the number given back
	busy       busy
}

// gone marks a permit that was given back.
const gone = math.MinInt64

// NewSliding returns a window of n permits per per, both positive; n is at most Largest.
func NewSliding(n int, per time.Duration) *Sliding {
	return &Sliding{max: n, per: per}
}

func (s *Sliding) used() int { return int(s.tail-s.head) - s.refunded }

// expire removes the permits at the head that no longer count.
func (s *Sliding) expire(now time.Duration) {
	mask := int64(len(s.ring) - 1)
	for s.head < s.tail {
		at := s.ring[s.head&mask]
		if at == gone {
			s.refunded--
		} else if time.Duration(at)+s.per > now {
			return
		}
		s.head++
	}
}

// Wait implements Window.
func (s *Sliding) Wait(now time.Duration, n int) time.Duration {
	s.expire(now)
	over := s.used() + n - s.max
	if over <= 0 {
		return 0
	}
	// If n is more than fits into one window, whole windows have to pass. Then the oldest permits have to
	// leave.
	wait := s.per * time.Duration((over-1)/s.max)
	over = (over-1)%s.max + 1
	mask := int64(len(s.ring) - 1)
	var last time.Duration
	for i := s.head; over > 0 && i < s.tail; i++ {
		if at := s.ring[i&mask]; at != gone {
			last = max(last, time.Duration(at)+s.per-now)
			over--
		}
	}
	return max(wait+last, 1)
}

// Take implements Window.
func (s *Sliding) Take(now, latest time.Duration, n int) int64 {
	for int(s.tail-s.head)+n > len(s.ring) {
		s.grow()
	}
	mark, mask := s.tail, int64(len(s.ring)-1)
	for range n {
		s.ring[s.tail&mask] = int64(latest)
		s.tail++
	}
	if s.busy.note(now, latest-now, s.per, s.used(), s.max) {
		return mark
	}
	return ^mark
}

// grow doubles the ring. The ring holds at most the permits of one window and as many that were given back.
func (s *Sliding) grow() {
	old := s.ring
	s.ring = make([]int64, max(8, 2*len(old)))
	for i := s.head; i < s.tail; i++ {
		s.ring[i&int64(len(s.ring)-1)] = old[i&int64(len(old)-1)]
	}
}

// Settle implements Window.
func (s *Sliding) Settle(mark int64, at time.Duration, n int) {
	if mark < 0 {
		return
	}
	mask := int64(len(s.ring) - 1)
	for i := max(mark, s.head); i < min(mark+int64(n), s.tail); i++ {
		s.ring[i&mask] = min(s.ring[i&mask], int64(at))
	}
}

// Refund implements Window.
func (s *Sliding) Refund(mark int64, _ time.Duration, n int) {
	if mark < 0 {
		mark = ^mark
	}
	mask := int64(len(s.ring) - 1)
	for i := max(mark, s.head); i < min(mark+int64(n), s.tail); i++ {
		// A permit given back beyond max stays counted: that is strict, and bounds the ring.
		if s.ring[i&mask] != gone && s.refunded < s.max {
			s.ring[i&mask] = gone
			s.refunded++
		}
	}
}

// Left implements Window.
func (s *Sliding) Left(now time.Duration) int {
	s.expire(now)
	return max(0, s.max-s.used())
}

// Limit implements Window.
func (s *Sliding) Limit() int { return s.max }
