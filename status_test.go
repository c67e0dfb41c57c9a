package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// Status says of each limit how much is used, who waits, and when the next is free.
func TestStatus(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "status", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Latency: 10 * time.Millisecond})
		c := newClient(t, p, belay.WithRateLimit(belay.Every(2, 10*time.Second), belay.PerHour(100).When(belay.Writes)))
		for range 2 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = get(t.Context(), c, "/") })
		}
		synctest.Wait()
		s := c.Limiter().Status()
		require.Equal(t, 3, s.Waiting)
		require.Len(t, s.Limits, 3)
		first := s.Limits[0]
		require.Equal(t, "2 per 10s", first.Limit)
		require.Equal(t, belay.LimitConfigured, first.Source)
		require.Equal(t, []int{2, 2, 3}, []int{first.Used, first.Max, first.Waiting})
		require.InDelta(t, 10, first.NextFree.Seconds(), 0.2)
		require.Equal(t, []int{0, 100, 0}, []int{s.Limits[1].Used, s.Limits[1].Max, s.Limits[1].Waiting})
		require.Zero(t, s.Limits[1].NextFree)
		require.Equal(t, "10 in flight", s.Limits[2].Limit)
		wg.Wait()
	})
	testkit.Bubble(t, "paused", func(t *testing.T) {
		c := newClient(t, answers(429, 200), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		require.Error(t, get(t.Context(), c, "/"))
		require.InDelta(t, 0.5, c.Limiter().Status().PausedFor.Seconds(), 0.01)
		d, err := c.With(belay.WithAuth(belay.Bearer(belay.NewSecret("x"))))
		require.NoError(t, err)
		require.Zero(t, d.Limiter().Status().Paused)
	})
	var c *belay.Client
	require.Nil(t, c.Limiter())
	require.Nil(t, newClient(t, answers(200), belay.Without(belay.LayerLimits)).Limiter())
	require.Equal(t, "advertised", belay.LimitAdvertised.String())
	require.Equal(t, "low normal high", fmt.Sprint(belay.Low, belay.Normal, belay.High))
}

// answers answers with the statuses, and then with the last for ever.
func answers(statuses ...int) http.RoundTripper {
	return testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
		return testkit.Reply(statuses[min(n, len(statuses))-1]), nil
	})
}

// Events tell when four fifths of a limit are in use, and when a pause begins and ends, and why.
func TestLimitEvents(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "events", func(t *testing.T) {
		var events []string
		log := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			switch e := e.(type) {
			case belay.LimitNear:
				require.Equal(t, "GET", e.Call.Method)
				events = append(events, fmt.Sprintf("near %s (%s): %d of %d", e.Limit, e.Source, e.Used, e.Max))
			case belay.Paused:
				events = append(events, fmt.Sprintf("paused %s %s: %s", e.Scope, e.For, e.Verdict.Message))
			case belay.Resumed:
				events = append(events, fmt.Sprintf("resumed %s after %s: %s", e.Scope, e.After, e.Verdict.Message))
			}
		})
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 10 {
				resp := testkit.Reply(429, "Retry-After", "3", "Content-Type", "application/json")
				resp.Body = io.NopCloser(strings.NewReader(`{"message":"slow down"}`))
				return resp, nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithRateLimit(belay.Every(10, time.Minute)), belay.WithObserver(log), belay.WithAuth(belay.Bearer(belay.NewSecret("x"))))
		for range 12 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, []string{
			"near 10 per 1m0s (configured): 8 of 10",
			"paused credential 3s: slow down",
			"resumed credential after 3s: slow down",
		}, events[:3])
	})
}

// ErrWaitTooLong says which limit, and for how long.
func TestWaitTooLongNamesTheLimit(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "deadline", func(t *testing.T) {
		c := newClient(t, answers(200), belay.WithRateLimit(belay.PerSecond(10), belay.PerMinute(1)))
		require.NoError(t, get(t.Context(), c, "/"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := get(ctx, c, "/")
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "1 per 1m0s")
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.InDelta(t, 60, wait.Seconds(), 0.2)
	})
	testkit.Bubble(t, "WithMaxWait", func(t *testing.T) {
		c := newClient(t, answers(200), belay.WithRateLimit(belay.PerMinute(1)), belay.WithMaxWait(2*time.Second))
		require.NoError(t, get(t.Context(), c, "/"))
		start := time.Now()
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrWaitTooLong)
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(2*time.Minute)), "the call's own goes before it")
		_, err := belay.New("https://partner.test", belay.WithMaxWait(-1))
		require.ErrorContains(t, err, "WithMaxWait: -1ns")
	})
	testkit.Bubble(t, "told", func(t *testing.T) {
		// What the partner said itself is waited for as long as Retry-After is, no longer.
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return testkit.Reply(200, "X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "3600"), nil
		}))
		require.NoError(t, get(t.Context(), c, "/"))
		start := time.Now()
		err := get(t.Context(), c, "/")
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.ErrorContains(t, err, "advertised")
	})
}

// A budget of calls bounds what a piece of work sends, retries among them, and sends nothing by halves.
func TestCallBudget(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "an import of 301 calls", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{ErrorRate: 0.1, Seed: 1})
		c := newClient(t, p)
		ctx := belay.BudgetContext(t.Context(), 300)
		failed := testkit.Work(8, 301, func(int) error { return get(ctx, c, "/") })
		require.NotEmpty(t, failed)
		require.Len(t, p.Log(), 300)
		for _, err := range failed {
			require.ErrorIs(t, err, belay.ErrCallBudget)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
		}
		require.NoError(t, get(t.Context(), c, "/", belay.MaxAttempts(9)), "others are not concerned")
	})
	testkit.Bubble(t, "inside another, and none", func(t *testing.T) {
		sent := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { sent++; return testkit.Reply(200), nil }))
		outer := belay.BudgetContext(t.Context(), 3)
		inner := belay.BudgetContext(outer, 2)
		for range 5 {
			_ = get(inner, c, "/")
		}
		require.Equal(t, 2, sent)
		for range 5 {
			_ = get(outer, c, "/")
		}
		require.Equal(t, 3, sent)
		require.ErrorIs(t, get(belay.BudgetContext(t.Context(), 0), c, "/"), belay.ErrCallBudget)
		require.ErrorIs(t, get(belay.BudgetContext(t.Context(), -1), c, "/"), belay.ErrCallBudget)
	})
	testkit.Bubble(t, "what was not sent does not count", func(t *testing.T) {
		n := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n <= 2 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
			return testkit.Reply(200), nil
		}), belay.WithRateLimit(belay.PerMinute(2)))
		ctx := belay.BudgetContext(t.Context(), 2)
		require.NoError(t, get(ctx, c, "/"))
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.NoError(t, get(soon, c, "/"))
		err := get(soon, c, "/")
		require.True(t, errors.Is(err, belay.ErrCallBudget), err)
	})
}

// Costs: by the call, by the client, and above a limit.
func TestCosts(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "costs", func(t *testing.T) {
		c := newClient(t, answers(200), belay.WithRateLimit(belay.Every(10, time.Minute)), belay.WithCost(func(req *http.Request) int {
			if req.Method == http.MethodPut {
				return 4
			}
			return 0
		}))
		put := func(opts ...belay.CallOption) error {
			_, err := belay.Put[belay.None](t.Context(), c, "/", nil, opts...)
			return err
		}
		require.NoError(t, put())
		require.NoError(t, get(t.Context(), c, "/"))
		require.NoError(t, put(belay.Cost(3)))
		require.Equal(t, 8, c.Limiter().Status().Limits[0].Used)
		require.ErrorIs(t, put(belay.Cost(11)), belay.ErrInvalid)
		negative := newClient(t, answers(200), belay.WithCost(func(*http.Request) int { return -1 }))
		require.ErrorIs(t, get(t.Context(), negative, "/"), belay.ErrInvalid)
	})
	testkit.Bubble(t, "a search by POST is a read", func(t *testing.T) {
		c := newClient(t, answers(200), belay.WithRateLimit(belay.PerMinute(2).When(belay.Reads), belay.PerMinute(3).When(belay.Writes)))
		_, err := belay.Post[belay.None](t.Context(), c, "/search", map[string]int{"limit": 1}, belay.ReadOnly())
		require.NoError(t, err)
		_, err = belay.Post[belay.None](t.Context(), c, "/things", map[string]int{"limit": 1})
		require.NoError(t, err)
		s := c.Limiter().Status()
		require.Equal(t, []int{1, 1}, []int{s.Limits[0].Used, s.Limits[1].Used})
		ctx := belay.CallContext(t.Context(), belay.ReadOnly())
		req, err := c.NewRequest(ctx, http.MethodPost, "/search", []byte("x"))
		require.NoError(t, err)
		_, err = c.Do(req)
		require.NoError(t, err)
		require.Equal(t, 2, c.Limiter().Status().Limits[0].Used)
	})
	require.Error(t, get(t.Context(), newClient(t, answers(200)), "/", belay.Priority(7)))
}
