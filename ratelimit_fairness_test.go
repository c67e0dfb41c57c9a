package belay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
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

// One customer's 10,000 queued calls delay a single call of another by one turn of each customer that waits.
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

// One customer's pause or queue does not make another's call fail for want of time.
func TestNoisyNeighbour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") == "Bearer token of a" {
				return testkit.Reply(429, "Retry-After", "30"), nil
			}
			return testkit.Reply(200), nil
		})
		root := newClient(t, rt, belay.WithRateLimit(belay.PerSecond(10)))
		a, err := root.With(belay.WithAuth(belay.Bearer(belay.NewSecret("token of a"))))
		require.NoError(t, err)
		b, err := root.With(belay.WithAuth(belay.Bearer(belay.NewSecret("token of b"))))
		require.NoError(t, err)
		slow, err := root.With(belay.WithRateLimit(belay.PerMinute(1)))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		_ = get(ctx, a, "/", belay.MaxAttempts(1))
		for range 200 {
			wg.Go(func() { _ = get(ctx, a, "/") })
			wg.Go(func() { _ = get(ctx, slow, "/") })
		}
		time.Sleep(2 * time.Second)
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		require.NoError(t, get(short, b, "/"))
		cancel()
		wg.Wait()
	})
}

// Nobody behind a waiter takes from a shared limit what that one needs.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		isBig := func(req *http.Request) bool { return req.Method == http.MethodPut }
		l, err := belay.NewLimiter(belay.PerSecond(4), belay.PerSecond(100).When(isBig))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		small := httptest.NewRequest(http.MethodGet, "/", nil)
		var wg sync.WaitGroup
		for range 8 { // enough small ones to take every permit as it comes
			wg.Go(func() {
				for {
					ticket := belay.Ticket{Request: small}
					if l.Acquire(ctx, &ticket) != nil {
						return
					}
					l.Release(&ticket, belay.Outcome{Sent: true})
				}
			})
		}
		time.Sleep(5 * time.Second)
		start := time.Now()
		big := belay.Ticket{Request: httptest.NewRequest(http.MethodPut, "/", nil), Cost: 4}
		require.NoError(t, l.Acquire(t.Context(), &big))
		require.LessOrEqual(t, time.Since(start), 3*time.Second)
		l.Release(&big, belay.Outcome{Sent: true})
		cancel()
		wg.Wait()
	})
}
