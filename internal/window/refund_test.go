package window

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fixed window whose first permits are given back may have been opened by a later one, as late as that may count.
func TestFixedRefundOfTheFirst(t *testing.T) {
	const ms = time.Millisecond
	f := NewFixed(3, 4*time.Second)
	a := f.Take(0, 100*ms, 1)
	b := f.Take(250*ms, 350*ms, 1)
	f.Refund(a, 300*ms, 1)
	f.Take(500*ms, 600*ms, 1) // opens the partner's window, at up to 600 ms
	f.Refund(b, 550*ms, 1)
	require.Positive(t, f.Wait(4400*ms, 3), "the window may last until 4.6 s, and has one")
	require.Zero(t, f.Wait(8700*ms, 3))
}

// What is given back to a bucket that has been full since is lost: it never lets more through at once than it holds.
func TestBucketRefundAfterItWasFull(t *testing.T) {
	b := NewBucket(10, time.Second, 20, time.Now())
	mark := b.Take(0, 0, 10)
	now, n := 2*time.Second, 0 // full again
	drain := func() {
		for ; b.Wait(now, 1) == 0; n++ {
			b.Take(now, now, 1)
		}
	}
	drain()
	b.Refund(mark, now, 10)
	drain()
	require.Positive(t, n)
	require.LessOrEqual(t, n, 20)
}

// When the permit that opened a fixed window is given back and the next one is lost, the one after it opens the
// partner's.
func TestFixedLostAfterARefund(t *testing.T) {
	const s = time.Second
	f := NewFixed(2, 10*s)
	a := f.Take(0, s/10, 1)
	b := f.Take(0, s/10, 1)
	f.Refund(a, s/20, 1)
	f.Lost(b)
	require.Zero(t, f.Wait(9*s, 1))
	d := f.Take(9*s, 9*s+s/10, 1)
	f.Settle(d, 9*s, 1)
	at := 9 * s
	for f.Wait(at, 2) > 0 {
		at += f.Wait(at, 2)
	}
	require.GreaterOrEqual(t, at, 19*s)
}
