package belay_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// A known limit is never exceeded in any window, and next to nothing is lost to be safe.
func TestKnownLimitIsKeptExactly(t *testing.T) {
	type limits struct {
		name    string
		ours    []belay.Limit
		theirs  []belaytest.Limit
		n       int
		optimum time.Duration
		within  float64
		seeds   uint64
	}
	for _, l := range []limits{
		{
			"sliding 100/10s",
			[]belay.Limit{belay.Every(100, 10*time.Second)},
			[]belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			2000, 190 * time.Second, 1.01, 11,
		},
		{
			"10/s and 300/min",
			[]belay.Limit{belay.PerSecond(10), belay.PerMinute(300)},
			[]belaytest.Limit{belaytest.Sliding(10, time.Second), belaytest.Sliding(300, time.Minute)},
			2000, 389 * time.Second, 1.01, 11,
		},
		{
			"fixed 100/10s",
			[]belay.Limit{belay.Every(100, 10*time.Second).Fixed()},
			[]belaytest.Limit{belaytest.Fixed(100, 10*time.Second)},
			2000, 190 * time.Second, 1.01, 11,
		},
		{
			"buckets 5000/min",
			[]belay.Limit{belay.PerMinute(5000)},
			[]belaytest.Limit{belaytest.Sliding(5000, time.Minute)},
			10500, 120 * time.Second, 1.06, 1, // slow to simulate
		},
	} {
		for seed := range l.seeds {
			t.Run(fmt.Sprintf("%s seed %d", l.name, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := belaytest.New(belaytest.Config{
						Limits: l.theirs, Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Seed: seed,
					})
					c, err := belay.New("https://partner.test", belay.WithTransport(p), belay.WithRateLimit(l.ours...), belay.WithMaxInFlight(64))
					require.NoError(t, err)
					start := time.Now()
					failed := testkit.Work(64, l.n, func(int) error {
						_, err := belay.Get[belay.None](t.Context(), c, "/things")
						return err
					})
					took := time.Since(start)
					require.Empty(t, failed)
					require.Zero(t, p.Count(429), "429s")
					require.Len(t, p.Log(), l.n)
					require.LessOrEqual(t, took.Seconds(), l.optimum.Seconds()*l.within, "took %s, optimum %s", took, l.optimum)
				})
			})
		}
	}
}

// An outage costs a handful of requests, patient calls survive it, and afterwards they come as a ramp.
func TestOutageIsOutlived(t *testing.T) {
	t.Parallel()
	for _, kind := range []belaytest.Kind{belaytest.Unavailable, belaytest.Refuse, belaytest.Reset, belaytest.Hang} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const from, lasts, pace = 30 * time.Second, 60 * time.Second, 20
				p := belaytest.New(belaytest.Config{
					Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond,
					Outages: []belaytest.Outage{{From: from, For: lasts, Kind: kind}},
				})
				c, err := belay.New("https://partner.test", belay.WithTransport(p), belay.WithAttemptTimeout(5*time.Second))
				require.NoError(t, err)
				var wg sync.WaitGroup
				var mu sync.Mutex
				var failed []error
				tick := time.NewTicker(time.Second / pace)
				defer tick.Stop()
				for range 3000 {
					<-tick.C
					wg.Go(func() {
						if _, err := belay.Get[belay.None](t.Context(), c, "/things", belay.Patience(10*time.Minute)); err != nil {
							mu.Lock()
							failed = append(failed, err)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				require.Empty(t, failed)
				wasted := 0
				for _, r := range p.Log() {
					if r.Status != 200 {
						wasted++
					}
				}
				t.Logf("wasted %d, peak afterwards %d/s", wasted, p.Peak(time.Second, from+lasts))
				require.LessOrEqual(t, wasted, 20)
				require.LessOrEqual(t, p.Peak(time.Second, from+lasts), 2*pace)
				require.Len(t, p.Log(), 3000+wasted)
			})
		})
	}
}

// A thousand cancelled waiters leave nothing behind.
func TestCancelledWaitersLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, limit := range []belay.Limit{belay.PerSecond(10).Bucket(1), belay.Every(1, 100*time.Millisecond), belay.Every(1, 100*time.Millisecond).Fixed()} {
		synctest.Test(t, func(t *testing.T) {
			l, err := belay.NewLimiter(limit)
			require.NoError(t, err)
			var first belay.Ticket
			require.NoError(t, l.Acquire(t.Context(), &first))
			l.Release(&first, belay.Outcome{Sent: true})
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					if err := l.Acquire(ctx, new(belay.Ticket)); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			cancel()
			wg.Wait()
			start := time.Now()
			var next belay.Ticket
			require.NoError(t, l.Acquire(t.Context(), &next))
			require.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
			l.Release(&next, belay.Outcome{Sent: true})
		})
	}
}
