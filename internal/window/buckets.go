package window

import (
	"math"
	"math/bits"
	"time"
)

// Buckets is a sliding window for large limits. It counts permits by slices of time; a slice counts until its
// end has left the window.
//
// C counts the permits of one slice: uint32 as long as the limit fits, to save memory.
type Buckets[C uint32 | uint64] struct {
	// The fields that change with each permit come first, close together in memory. The last permits are in
	// last and fresh only, not yet in count, so that permits taken one after the other touch little memory.
	used   int   // permits in the window
	head   int64 // oldest slice that still counts
	pos    int64 // index of head in count
	newest int64 // newest slice with permits
	last   int64 // slice of the last permits
	fresh  C     // number of the last permits
	busy   busy

	max   int
	per   time.Duration
	shift uint             // a slice is 1<<shift nanoseconds
	count [2*buckets + 2]C // permits taken in each slice of the window, and of as much time to come
}

// buckets is the most slices of a window. With that many, a Buckets stays below 8 KiB (TestMemory is red
// otherwise).
const buckets = 1008

// NewBuckets returns a window of n permits per per, both positive.
func NewBuckets(n int, per time.Duration) Window {
	shift := uint(bits.Len64(uint64(per-1) / buckets))
	if n > math.MaxInt32 {
		return &Buckets[uint64]{max: n, per: per, shift: shift}
	}
	return &Buckets[uint32]{max: n, per: per, shift: shift}
}

// at returns the count of a slice, which must not be before head or further ahead than count reaches.
func (b *Buckets[C]) at(slice int64) *C {
	i := b.pos + slice - b.head
	if i >= int64(len(b.count)) {
		i -= int64(len(b.count))
	}
	return &b.count[i]
}

func (b *Buckets[C]) expire(now time.Duration) {
	// The slice in which the window begins still counts.
	if oldest := int64(max(0, now-b.per) >> b.shift); oldest > b.head {
		b.advance(oldest)
	}
}

// flush moves the last permits into count.
func (b *Buckets[C]) flush() {
	if b.fresh > 0 {
		*b.at(b.last) += b.fresh
		b.fresh = 0
	}
}

// advance removes the slices before oldest.
func (b *Buckets[C]) advance(oldest int64) {
	b.flush()
	for b.head < oldest && b.head <= b.newest {
		c := &b.count[b.pos]
		b.used -= int(*c)
		*c = 0
		b.head++
		if b.pos++; b.pos == int64(len(b.count)) {
			b.pos = 0
		}
	}
	b.head = max(b.head, oldest) // the slices between are empty
}

// Wait implements Window.
func (b *Buckets[C]) Wait(now time.Duration, n int) time.Duration {
	b.expire(now)
	over := b.used + n - b.max
	if over <= 0 {
		return 0
	}
	b.flush()
	wait := b.per * time.Duration((over-1)/b.max)
	over = (over-1)%b.max + 1
	i := b.head
	for ; over > 0 && i <= b.newest; i++ {
		over -= int(*b.at(i))
	}
	return max(wait+time.Duration(i<<b.shift)+b.per-now, 1)
}

// Take implements Window.
func (b *Buckets[C]) Take(now, latest time.Duration, n int) int64 {
	b.expire(now)
	// The slice is never further ahead than count reaches, which is one window.
	s := min(int64(latest>>b.shift), b.head+int64(len(b.count))-1)
	if s != b.last {
		b.flush()
		b.last, b.newest = s, max(b.newest, s)
	}
	b.fresh += C(n)
	b.used += n
	if b.busy.note(now, latest-now, b.per, b.used, b.max) {
		return s
	}
	return ^s
}

// Settle implements Window.
func (b *Buckets[C]) Settle(mark int64, at time.Duration, n int) {
	to := int64(at >> b.shift)
	b.flush()
	if mark < b.head || to >= mark || int(*b.at(mark)) < n {
		return
	}
	to = max(to, b.head)
	*b.at(mark) -= C(n)
	*b.at(to) += C(n)
}

// Refund implements Window.
func (b *Buckets[C]) Refund(mark int64, _ time.Duration, n int) {
	if mark < 0 {
		mark = ^mark
	}
	if mark < b.head {
		return
	}
	b.flush()
	if c := b.at(mark); int(*c) >= n {
		*c -= C(n)
		b.used -= n
	}
}

// Left implements Window.
func (b *Buckets[C]) Left(now time.Duration) int {
	b.expire(now)
	return max(0, b.max-b.used)
}

// Limit implements Window.
func (b *Buckets[C]) Limit() int { return b.max }
