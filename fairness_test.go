package belay_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// enqueue lets n goroutines wait at l with the ticket that make returns, and tells done when each went.
func enqueue(t *testing.T, wg *sync.WaitGroup, l *belay.Limiter, n int, ticket func() *belay.Ticket, done func()) {
	for range n {
		wg.Go(func() {
			k := ticket()
			if err := l.Acquire(t.Context(), k); err != nil {
				return // the test is over
			}
			done()
			l.Release(k, belay.Outcome{Sent: true})
		})
	}
	synctest.Wait()
}

// One customer's 10,000 queued calls delay another's single one by one turn of each who waits.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval = 100 * time.Millisecond
		l, err := belay.NewLimiter(belay.Every(1, interval))
		require.NoError(t, err)
		var wg sync.WaitGroup
		var big, others atomic.Int32
		enqueue(t, &wg, l, 10_000, func() *belay.Ticket { return &belay.Ticket{Tenant: "big"} }, func() { big.Add(1) })
		time.Sleep(10 * time.Second)
		require.InDelta(t, 100, big.Load(), 2)
		// A single one, alone beside the big one: it has the next turn, or the one after.
		start := time.Now()
		one := &belay.Ticket{Tenant: "small"}
		require.NoError(t, l.Acquire(t.Context(), one))
		require.LessOrEqual(t, time.Since(start), 2*interval)
		l.Release(one, belay.Outcome{Sent: true})
		// 999 of them: each has had its turn when the big one has had one or two.
		before := big.Load()
		for i := range 999 {
			enqueue(t, &wg, l, 1, func() *belay.Ticket { return &belay.Ticket{Tenant: fmt.Sprint(i)} }, func() { others.Add(1) })
		}
		time.Sleep(1001 * interval)
		require.EqualValues(t, 999, others.Load())
		require.LessOrEqual(t, big.Load()-before, int32(3))
		// All of its own places are taken, nobody else's.
		require.ErrorIs(t, l.Acquire(t.Context(), &belay.Ticket{Tenant: "big", Cost: 1_000_000}), belay.ErrInvalid)
		require.NoError(t, l.SetLimits(belay.PerSecond(1_000_000)))
		wg.Wait()
		require.EqualValues(t, 10_000, big.Load())
	})
}

// A queue that one tenant has filled is full for it alone.
func TestQueueIsFullForOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{})
		c := newClient(t, p, belay.WithRateLimit(belay.PerSecond(1)), belay.WithMaxQueue(3), belay.WithIntegration("a"))
		other, err := c.With(belay.WithIntegration("b"))
		require.NoError(t, err)
		require.NoError(t, get(t.Context(), c, "/"))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = get(t.Context(), c, "/") })
		}
		synctest.Wait()
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrQueueFull)
		require.NoError(t, get(t.Context(), other, "/"))
		wg.Wait()
	})
}

// High passes Low and Normal, Normal passes Low, and of those passed one goes at the latest after fifteen.
func TestPriorities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval = 100 * time.Millisecond
		l, err := belay.NewLimiter(belay.Every(1, interval))
		require.NoError(t, err)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []belay.Priority
		add := func(p belay.Priority, n int) {
			enqueue(t, &wg, l, n, func() *belay.Ticket { return &belay.Ticket{Priority: p} }, func() {
				mu.Lock()
				order = append(order, p)
				mu.Unlock()
			})
		}
		add(belay.Low, 1000)
		time.Sleep(time.Second)
		start := time.Now()
		click := &belay.Ticket{Priority: belay.High}
		require.NoError(t, l.Acquire(t.Context(), click))
		require.LessOrEqual(t, time.Since(start), interval, "a click waits for one interval")
		l.Release(click, belay.Outcome{Sent: true})
		mu.Lock()
		order = nil
		mu.Unlock()
		add(belay.Normal, 100)
		add(belay.High, 200)
		time.Sleep(340 * interval)
		mu.Lock()
		got := order
		mu.Unlock()
		passed := map[belay.Priority]int{}
		seen := map[belay.Priority]int{}
		for _, p := range got {
			for lower := p - 1; lower >= belay.Low; lower-- {
				passed[lower]++
			}
			passed[p] = 0
			seen[p]++
			if seen[belay.High] < 200 {
				require.LessOrEqual(t, passed[belay.Normal], 16)
			}
			require.LessOrEqual(t, passed[belay.Low], 17, "low ones go at least once in eighteen turns")
		}
		require.Equal(t, 200, seen[belay.High])
		require.Equal(t, 100, seen[belay.Normal])
		require.NoError(t, l.SetLimits(belay.PerSecond(1_000_000)))
		wg.Wait()
	})
}

// Refusals of one credential leave the other 999 at full pace.
func TestOneCredentialsRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const tenants = 1000
		var served, refused atomic.Int32
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") == "Bearer 0" {
				refused.Add(1)
				return testkit.Reply(429, "Retry-After", "30"), nil
			}
			served.Add(1)
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithRateLimit(belay.PerSecond(100)), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2}))
		var wg sync.WaitGroup
		start := time.Now()
		for i := range tenants {
			d, err := c.With(belay.WithIntegration(fmt.Sprint(i)), belay.WithAuth(belay.Bearer(belay.NewSecret(fmt.Sprint(i)))))
			require.NoError(t, err)
			calls := 3
			if i == 0 {
				calls = 15
			}
			for range calls {
				wg.Go(func() {
					if err := get(t.Context(), d, "/"); err != nil && i != 0 {
						t.Error(i, err)
					}
					if i == tenants-1 && time.Since(start) > 33*time.Second {
						t.Error("slow", time.Since(start))
					}
				})
			}
		}
		wg.Wait()
		require.EqualValues(t, (tenants-1)*3, served.Load())
		require.Positive(t, refused.Load())
		require.EqualValues(t, 30, refused.Load())
		require.GreaterOrEqual(t, time.Since(start), 9*time.Minute, "those in flight together, then one each half minute")
	})
}

// A limit can be changed while calls wait: they go by the new one at once, and what was sent before counts.
func TestSetLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := belay.NewLimiter(belay.PerMinute(1))
		require.NoError(t, err)
		var wg sync.WaitGroup
		var went atomic.Int32
		enqueue(t, &wg, l, 21, func() *belay.Ticket { return new(belay.Ticket) }, func() { went.Add(1) })
		require.EqualValues(t, 1, went.Load())
		require.NoError(t, l.SetLimits(belay.Every(10, 10*time.Second)))
		synctest.Wait()
		require.EqualValues(t, 10, went.Load(), "one had gone already")
		time.Sleep(10*time.Second + 100*time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 20, went.Load())
		require.NoError(t, l.SetLimits()) // none
		synctest.Wait()
		require.EqualValues(t, 21, went.Load())
		require.NoError(t, l.SetLimits(belay.Every(10, 10*time.Second)))
		require.ErrorIs(t, l.SetLimits(belay.PerSecond(0)), belay.ErrInvalid)
		require.Len(t, l.Status().Limits, 1, "nothing has changed")
		wg.Wait()
		var none *belay.Limiter
		require.ErrorIs(t, none.SetLimits(), belay.ErrInvalid)
		require.Zero(t, none.Status())
	})
	synctest.Test(t, func(t *testing.T) {
		// Lowered while calls wait, and a call that asks for more than the new limit.
		l, err := belay.NewLimiter(belay.Every(5, time.Second))
		require.NoError(t, err)
		require.NoError(t, l.Acquire(t.Context(), &belay.Ticket{Cost: 5}))
		big := make(chan error, 1)
		go func() { big <- l.Acquire(t.Context(), &belay.Ticket{Cost: 3}) }()
		synctest.Wait()
		require.NoError(t, l.SetLimits(belay.Every(2, time.Second)))
		require.ErrorIs(t, <-big, belay.ErrInvalid)
		require.Zero(t, l.Status().Waiting)
		start := time.Now()
		require.NoError(t, l.Acquire(t.Context(), new(belay.Ticket)))
		require.GreaterOrEqual(t, time.Since(start), time.Second, "the five count")
	})
	synctest.Test(t, func(t *testing.T) {
		// A derived client's own limits, and its parent's that change under it.
		p := belaytest.New(belaytest.Config{})
		c := newClient(t, p, belay.WithRateLimit(belay.PerSecond(1)))
		d, err := c.With(belay.WithRateLimit(belay.PerSecond(100)))
		require.NoError(t, err)
		require.Len(t, d.Limiter().Status().Limits, 3)
		require.NoError(t, c.Limiter().SetLimits(belay.PerSecond(50), belay.PerHour(1000)))
		require.Len(t, d.Limiter().Status().Limits, 4)
		require.Len(t, c.Limiter().Status().Limits, 3)
		require.NoError(t, get(t.Context(), d, "/"))
		require.Equal(t, 1, c.Limiter().Status().Limits[0].Used)
	})
}

// store is a shared quota in memory.
type store struct {
	asked, atOnce, most atomic.Int32
	take                func(ctx context.Context, n int) (time.Duration, error)
}

func (s *store) Take(ctx context.Context, n int) (time.Duration, error) {
	s.asked.Add(1)
	if at := s.atOnce.Add(1); at > s.most.Load() {
		s.most.Store(at)
	}
	defer s.atOnce.Add(-1)
	return s.take(ctx, n)
}

// A shared limit: only the head asks, and a store that is slow or dead is bounded in time.
func TestSharedQuota(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, s *store, limit belay.Limit, workers, calls int) (took time.Duration, failed []error, p *belaytest.Partner) {
		p = belaytest.New(belaytest.Config{Latency: 5 * time.Millisecond})
		c := newClient(t, p, belay.WithRateLimit(limit.Shared(s)))
		start := time.Now()
		failed = testkit.Work(workers, calls, func(int) error { return get(t.Context(), c, "/") })
		return time.Since(start), failed, p
	}
	testkit.Bubble(t, "two processes keep to one limit", func(t *testing.T) {
		shared, err := belay.NewLimiter(belay.Every(100, 10*time.Second))
		require.NoError(t, err)
		take := func(_ context.Context, n int) (time.Duration, error) {
			time.Sleep(2 * time.Millisecond) // on the way to the store
			ctx, cancel := context.WithTimeout(t.Context(), 0)
			defer cancel()
			_ = ctx
			k := &belay.Ticket{Cost: n}
			if s := shared.Status(); s.Limits[0].NextFree > 0 {
				return s.Limits[0].NextFree, nil
			}
			if err := shared.Acquire(t.Context(), k); err != nil {
				return 0, err
			}
			shared.Release(k, belay.Outcome{Sent: true})
			return 0, nil
		}
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(101, 10*time.Second-200*time.Millisecond)}, Latency: 5 * time.Millisecond})
		var wg sync.WaitGroup
		start := time.Now()
		for range 2 {
			s := &store{take: take}
			c := newClient(t, p, belay.WithRateLimit(belay.Every(100, 10*time.Second).Shared(s)))
			wg.Go(func() {
				if failed := testkit.Work(8, 250, func(int) error { return get(t.Context(), c, "/") }); len(failed) > 0 {
					t.Error(failed)
				}
				if s.most.Load() != 1 {
					t.Error("asked at once:", s.most.Load())
				}
			})
		}
		wg.Wait()
		require.Zero(t, p.Count(429))
		require.InDelta(t, 40, time.Since(start).Seconds(), 2)
	})
	dead := func() *store {
		return &store{take: func(context.Context, int) (time.Duration, error) { return 0, fmt.Errorf("connection refused") }}
	}
	testkit.Bubble(t, "a dead store: a share of the limit", func(t *testing.T) {
		s := dead()
		took, failed, _ := run(t, s, belay.PerSecond(40), 8, 105)
		require.Empty(t, failed)
		require.InDelta(t, 10, took.Seconds(), 1.5, "ten a second, a quarter of 40")
		require.LessOrEqual(t, s.asked.Load(), int32(7))
	})
	testkit.Bubble(t, "a dead store, open", func(t *testing.T) {
		took, failed, _ := run(t, dead(), belay.PerSecond(40).Shared(dead()).FailOpen(), 8, 400)
		require.Empty(t, failed)
		require.Less(t, took, time.Second)
	})
	testkit.Bubble(t, "a dead store, closed", func(t *testing.T) {
		s := dead()
		c := newClient(t, belaytest.New(belaytest.Config{}), belay.WithRateLimit(belay.PerSecond(40).Shared(s).FailClosed()), belay.WithMaxWait(10*time.Second))
		start := time.Now()
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrWaitTooLong)
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		require.LessOrEqual(t, s.asked.Load(), int32(6))
		s.take = func(context.Context, int) (time.Duration, error) { return 0, nil }
		require.NoError(t, get(t.Context(), c, "/"), "it is back")
	})
	testkit.Bubble(t, "a store that hangs and does not look at its context", func(t *testing.T) {
		release := make(chan struct{})
		s := &store{take: func(context.Context, int) (time.Duration, error) { <-release; return 0, nil }}
		took, failed, _ := run(t, s, belay.PerSecond(40), 4, 20)
		require.Empty(t, failed)
		require.Less(t, took, 5*time.Second)
		close(release)
	})
	testkit.Bubble(t, "one that panics, and one that wants a wait of years", func(t *testing.T) {
		s := &store{take: func(context.Context, int) (time.Duration, error) { panic("store") }}
		_, failed, _ := run(t, s, belay.PerSecond(40), 4, 20)
		require.Empty(t, failed)
		asked := 0
		s = &store{take: func(context.Context, int) (time.Duration, error) {
			if asked++; asked == 1 {
				return 1000 * time.Hour, nil
			}
			return 0, nil
		}}
		took, failed, _ := run(t, s, belay.PerSecond(40), 1, 2)
		require.Empty(t, failed)
		require.LessOrEqual(t, took, time.Minute+time.Second)
	})
	testkit.Bubble(t, "the one who asks gives up", func(t *testing.T) {
		first := true
		s := &store{}
		s.take = func(ctx context.Context, _ int) (time.Duration, error) {
			if first {
				first = false
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, nil
		}
		c := newClient(t, belaytest.New(belaytest.Config{}), belay.WithRateLimit(belay.PerSecond(40).Shared(s)))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		gone, done := make(chan error, 1), make(chan error, 1)
		go func() { gone <- get(ctx, c, "/") }()
		synctest.Wait()
		go func() { done <- get(t.Context(), c, "/") }()
		require.ErrorIs(t, <-gone, context.DeadlineExceeded)
		start := time.Now()
		require.NoError(t, <-done)
		require.Zero(t, time.Since(start), "the next one asks at once")
		require.EqualValues(t, 2, s.asked.Load())
	})
	_, err := belay.NewLimiter(belay.PerSecond(1).Shared(nil))
	require.ErrorContains(t, err, "the quota is nil")
	_, err = belay.NewLimiter(belay.PerSecond(1).Shared(dead()).FallbackShare(1.5))
	require.ErrorContains(t, err, "1.5")
	_, err = belay.NewLimiter(belay.PerSecond(1).Shared(dead()).FallbackShare(0))
	require.ErrorContains(t, err, "Fallback")
	_, err = belay.NewLimiter(belay.PerSecond(1).FallbackShare(0.5))
	require.ErrorContains(t, err, "shared")
}
