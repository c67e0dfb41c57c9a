package window

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// event is a permit that was taken: when it was sent, counted by the partner, and answered.
type event struct{ sent, stamped, answered time.Duration }

// drive takes permits as fast as w allows, with the partner counting each somewhere between sending and
// answer, and returns them in the order in which the partner counted them.
func drive(w Window, n int, slack time.Duration, rng *rand.Rand) []event {
	var out []event
	type open struct {
		event
		mark int64
	}
	var flying []open
	now := time.Duration(0)
	land := func(until time.Duration) {
		for i := 0; i < len(flying); i++ {
			if f := flying[i]; f.answered <= until {
				if rng.IntN(20) == 0 {
					w.Refund(f.mark, f.answered, 1) // it never got out
				} else {
					w.Settle(f.mark, min(f.answered, f.sent+slack), 1)
					out = append(out, f.event)
				}
				flying = append(flying[:i], flying[i+1:]...)
				i--
			}
		}
	}
	for len(out)+len(flying) < n {
		if wait := w.Wait(now, 1); wait > 0 {
			// Something may land sooner than the window itself moves.
			next := now + wait
			for _, f := range flying {
				next = min(next, max(f.answered, now+1))
			}
			now = next
			land(now)
			continue
		}
		up, down := time.Duration(rng.Int64N(int64(slack/2))), time.Duration(rng.Int64N(int64(slack/2)))
		e := event{now, now + up, now + up + down}
		flying = append(flying, open{e, w.Take(now, now+slack, 1)})
		if rng.IntN(3) == 0 {
			now += time.Duration(rng.Int64N(int64(5 * time.Millisecond)))
			land(now)
		}
	}
	land(now + time.Hour)
	return out
}

// Whatever the latencies, the partner never counts more than its limit in any window.
func TestNeverOverTheLimit(t *testing.T) {
	for _, c := range []struct {
		n   int
		per time.Duration
	}{
		{1, 100 * time.Millisecond},
		{10, time.Second},
		{100, 10 * time.Second},
		{500, time.Second},
		{3, 50 * time.Millisecond},
	} {
		for name, w := range map[string]func() Window{
			"sliding": func() Window { return NewSliding(c.n, c.per) },
			"buckets": func() Window { return NewBuckets(c.n, c.per) },
		} {
			for seed := range uint64(5) {
				events := drive(w(), 5*c.n+20, 100*time.Millisecond, rand.New(rand.NewPCG(seed, 1)))
				stamps := make([]time.Duration, 0, len(events))
				for _, e := range events {
					stamps = append(stamps, e.stamped)
				}
				sortDurations(stamps)
				for i := c.n; i < len(stamps); i++ {
					require.GreaterOrEqual(
						t,
						stamps[i]-stamps[i-c.n],
						c.per,
						"%s %d/%s seed %d: %d permits in less than a window",
						name,
						c.n,
						c.per,
						seed,
						c.n+1,
					)
				}
			}
		}
		for seed := range uint64(5) {
			events := drive(NewFixed(c.n, c.per), 5*c.n+20, 20*time.Millisecond, rand.New(rand.NewPCG(seed, 2)))
			stamps := make([]time.Duration, 0, len(events))
			for _, e := range events {
				stamps = append(stamps, e.stamped)
			}
			sortDurations(stamps)
			opened, used := time.Duration(-1<<40), 0
			for _, s := range stamps {
				if s-opened >= c.per {
					opened, used = s, 0
				}
				used++
				require.LessOrEqual(t, used, c.n, "fixed %d/%s seed %d", c.n, c.per, seed)
			}
		}
	}
}

func sortDurations(d []time.Duration) {
	for i := 1; i < len(d); i++ {
		for j := i; j > 0 && d[j] < d[j-1]; j-- {
			d[j], d[j-1] = d[j-1], d[j]
		}
	}
}

// What Wait says is what it takes.
func TestWaitIsExact(t *testing.T) {
	base := time.Now()
	for name, fresh := range map[string]func() Window{
		"sliding": func() Window { return NewSliding(10, time.Second) },
		"fixed":   func() Window { return NewFixed(10, time.Second) },
		"bucket":  func() Window { return NewBucket(10, time.Second, 10, base) },
		"buckets": func() Window { return NewBuckets(10, time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			full := func() Window {
				w := fresh()
				require.Equal(t, 10, w.Limit())
				require.Zero(t, w.Wait(0, 10))
				require.Equal(t, 10, w.Left(0))
				w.Settle(w.Take(0, 0, 10), 0, 10)
				require.Zero(t, w.Left(0))
				return w
			}
			for _, n := range []int{1, 5, 10, 15, 25} {
				wait := full().Wait(0, n)
				require.Positive(t, wait)
				if n <= 10 {
					require.Positive(t, full().Wait(wait-2*time.Millisecond, n), n)
					require.Zero(t, full().Wait(wait, n), n)
				}
			}
			w := full()
			later := w.Wait(0, 10)
			mark := w.Take(later, later, 4)
			require.Equal(t, 6, w.Left(later))
			w.Refund(mark, later, 4)
			require.Equal(t, 10, w.Left(later))
		})
	}
}

// Permits that are given back in the middle are free at once, and cost no memory for ever.
func TestRefunds(t *testing.T) {
	s := NewSliding(100, time.Hour)
	now := time.Duration(0)
	for i := range 100_000 {
		now += time.Millisecond
		require.Zero(t, s.Wait(now, 1), i)
		mark := s.Take(now, now+100*time.Millisecond, 1)
		if i > 50 {
			if i%2 == 0 {
				s.Refund(mark, now, 1)
				s.Refund(mark, now, 1) // twice is once
			} else {
				s.Refund(mark, now, 1)
			}
		}
		if i == 50 {
			require.Equal(t, 49, s.Left(now))
		}
		if s.Left(now) < 49 {
			break // the strict side: holes beyond the limit stay counted
		}
	}
	require.LessOrEqual(t, len(s.ring), 512)
	require.GreaterOrEqual(t, s.Left(now+2*time.Hour), 100)

	b := NewBuckets(10_000, time.Minute)
	old := b.Take(0, 0, 10)
	require.Equal(t, 10_000, b.Left(3*time.Minute))
	b.Refund(old, 3*time.Minute, 10)
	b.Settle(old, 3*time.Minute, 10)
	require.Equal(t, 10_000, b.Left(3*time.Minute))
}

func TestSlots(t *testing.T) {
	s := NewSlots(2)
	s.Take()
	require.True(t, s.Free(1))
	require.False(t, s.Free(2))
	s.Take()
	require.False(t, s.Free(1))
	s.Give()
	require.True(t, s.Free(1))
}

// A bucket never lets more through than it held and was refilled.
func TestBucketPace(t *testing.T) {
	b := NewBucket(10, time.Second, 5, time.Now())
	now, n := time.Duration(0), 0
	for now <= 10*time.Second {
		if wait := b.Wait(now, 1); wait > 0 {
			now += wait
			continue
		}
		b.Take(now, now, 1)
		n++
	}
	require.InDelta(t, 105, n, 1)
}

func ExampleSliding() {
	s := NewSliding(2, time.Second)
	for now := time.Duration(0); now < 2*time.Second; now += 400 * time.Millisecond {
		wait := s.Wait(now, 1)
		fmt.Print(wait, " ")
		if wait == 0 {
			s.Settle(s.Take(now, now, 1), now, 1)
		}
	}
	// Output: 0s 0s 200ms 0s 0s
}

// What a window costs in memory: eight bytes a permit, and never more than 8 KiB above 4,096 permits.
func TestMemory(t *testing.T) {
	s := NewSliding(Largest, time.Minute)
	for i := range 3 * Largest { // full, and on
		now := time.Duration(i) * time.Minute / Largest
		require.Zero(t, s.Wait(now, 1))
		s.Settle(s.Take(now, now, 1), now, 1)
	}
	require.LessOrEqual(t, 8*cap(s.ring), 8*Largest)
	require.LessOrEqual(t, unsafe.Sizeof(Buckets[uint32]{}), uintptr(8<<10))
	require.NotNil(t, NewBuckets(250_000, 24*time.Hour))
}

// A permit of a window that is always full but one.
func BenchmarkSliding4096(b *testing.B) {
	s := NewSliding(Largest, time.Minute)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += time.Minute/Largest + 1
		if s.Wait(now, 1) > 0 {
			b.Fatal("not free")
		}
		s.Settle(s.Take(now, now, 1), now, 1)
	}
}

func BenchmarkBuckets(b *testing.B) {
	s := NewBuckets(250_000, 24*time.Hour)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 24*time.Hour/249_000 + 1
		if s.Wait(now, 1) > 0 {
			b.Fatal("not free")
		}
		s.Settle(s.Take(now, now, 1), now, 1)
	}
}
