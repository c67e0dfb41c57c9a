package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// A pause concerns those in the verdict's scope, and nobody else.
func TestPauseScopes(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "429 is one credential's", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "30"), nil
			}
			return testkit.Reply(200), nil
		})
		parent := newClient(t, rt)
		tenant := func(name string) *belay.Client {
			c, err := parent.With(belay.WithIntegration(name), belay.WithAuth(belay.Bearer(belay.NewSecret("token of "+name))))
			require.NoError(t, err)
			return c
		}
		a, b := tenant("a"), tenant("b")
		first := testkit.After(0, func() error { return get(t.Context(), a, "/") })
		second := testkit.After(time.Second, func() error { return get(t.Context(), a, "/") })
		other := testkit.After(time.Second, func() error { return get(t.Context(), b, "/") })
		took, err := other()
		require.NoError(t, err)
		require.Zero(t, took, "the other customer goes on")
		took, err = second()
		require.NoError(t, err)
		require.Equal(t, 29*time.Second, took)
		took, err = first()
		require.NoError(t, err)
		require.Equal(t, 30*time.Second, took)
	})
	testkit.Bubble(t, "503 with Retry-After is everybody's, those who wait already too", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				time.Sleep(time.Second)
				return testkit.Reply(503, "Retry-After", "10"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithMaxInFlight(1))
		first := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		waiting := testkit.After(500*time.Millisecond, func() error { return get(t.Context(), c, "/") })
		took, err := waiting()
		require.NoError(t, err)
		require.Equal(t, 10500*time.Millisecond, took)
		_, err = first()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "route", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				time.Sleep(time.Second)
				return testkit.Reply(429, "Retry-After", "10"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithMaxInFlight(1), belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
			v := belay.Classify(a)
			v.Scope = belay.ScopeRoute
			return v
		}))
		id := func(s string) belay.CallOption { return belay.PathValue("id", s) }
		first := testkit.After(0, func() error { return get(t.Context(), c, "/a/{id}", id("1")) })
		same := testkit.After(100*time.Millisecond, func() error { return get(t.Context(), c, "/a/{id}", id("2")) })
		other := testkit.After(200*time.Millisecond, func() error { return get(t.Context(), c, "/b/{id}", id("1")) })
		canceled, cancel := context.WithCancel(t.Context())
		gone := testkit.After(300*time.Millisecond, func() error { return get(canceled, c, "/a/{id}", id("3")) })
		time.Sleep(2 * time.Second)
		cancel()
		took, err := gone()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1700*time.Millisecond, took)
		took, err = other()
		require.NoError(t, err)
		require.Equal(t, 800*time.Millisecond, took, "as soon as the place in flight is free")
		took, err = same()
		require.NoError(t, err)
		require.Equal(t, 10900*time.Millisecond, took)
		_, err = first()
		require.NoError(t, err)
		require.Len(t, rt.Log, 4)
	})
	testkit.Bubble(t, "call", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "10"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
			v := belay.Classify(a)
			v.Scope = belay.ScopeCall
			return v
		}))
		first := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		took, err := testkit.After(time.Second, func() error { return get(t.Context(), c, "/") })()
		require.NoError(t, err)
		require.Zero(t, took)
		took, err = first()
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, took)
	})
	testkit.Bubble(t, "a pause beyond the cap is refused at once, or sat out with patience", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "600"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt)
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrRateLimited)
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.Equal(t, 10*time.Minute, wait)
		time.Sleep(time.Minute)
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.ErrorContains(t, err, "paused by the partner for 9m0s")
		require.Zero(t, took)
		wait, _ = belay.RetryAfter(err)
		require.Equal(t, 9*time.Minute, wait)
		took, err = testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(8*time.Minute)) })()
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.Zero(t, took)
		took, err = testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })()
		require.NoError(t, err)
		require.Equal(t, 9*time.Minute, took)
	})
	testkit.Bubble(t, "patience is the call's own, whatever the call before it would have sat out", func(t *testing.T) {
		c := newClient(t, testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "600"), nil
			}
			return testkit.Reply(200), nil
		}))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrRateLimited)
		other := newClient(
			t,
			testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil }),
		)
		for range 20 {
			resp, err := other.HTTPClient().Get("https://partner.test/")
			require.NoError(t, err)
			_ = resp.Body.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			err = get(ctx, c, "/", belay.Patience(time.Hour))
			require.ErrorIs(t, err, context.Canceled, "it waits")
		}
	})
	testkit.Bubble(t, "patience sits out a Retry-After above the cap in the call itself", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(429, "Retry-After", "600"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt)
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(time.Hour)))
		require.Equal(t, []time.Duration{0, 10 * time.Minute}, rt.At)
	})
}

// Calls that wait already are turned away by a pause that is too long, as calls that come later are.
func TestPauseTurnsAwayWhoWaits(t *testing.T) {
	t.Parallel()
	for _, scope := range []belay.Scope{belay.ScopePartner, belay.ScopeRoute} {
		synctest.Test(t, func(t *testing.T) {
			rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return testkit.Reply(429, "Retry-After", "3600"), nil
			})
			c := newClient(t, rt, belay.WithMaxInFlight(1), belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
				v := belay.Classify(a)
				v.Scope = scope
				return v
			}))
			first := testkit.After(0, func() error { return get(t.Context(), c, "/a") })
			waiting := testkit.After(time.Millisecond, func() error { return get(t.Context(), c, "/a") })
			patient := testkit.After(
				2*time.Millisecond,
				func() error { return get(t.Context(), c, "/a", belay.Patience(2*time.Hour), belay.MaxAttempts(1)) },
			)
			took, err := waiting()
			require.ErrorIs(t, err, belay.ErrWaitTooLong)
			require.Less(t, took, 2*time.Second)
			_, err = first()
			require.ErrorIs(t, err, belay.ErrRateLimited)
			took, err = patient()
			require.ErrorIs(t, err, belay.ErrRateLimited)
			require.Greater(t, took, time.Hour)
		})
	}
}

// An authenticator of a type that can be compared may hold what cannot.
func TestAuthenticatorThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	type named struct {
		belay.Authenticator
		name string
	}
	inner := authFunc(func(ctx context.Context) (belay.Credential, error) {
		return belay.Bearer(belay.NewSecret("token")).Credential(ctx)
	})
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(
			belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(1, time.Second)}, Latency: time.Millisecond},
		)
		c := newClient(
			t,
			p,
			belay.WithMaxInFlight(1),
			belay.WithAuth(named{inner, "a"}),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 100}),
		)
		require.Empty(t, testkit.Work(2, 6, func(int) error { return get(t.Context(), c, "/") }))
	})
}

// The line of waiters.
func TestLine(t *testing.T) {
	t.Parallel()
	isWrite := func(req *http.Request) bool { return req.Method == http.MethodPost }
	testkit.Bubble(t, "a read passes a stuck write, which does not starve", func(t *testing.T) {
		l, err := belay.NewLimiter(belay.PerSecond(2), belay.Every(1, 10*time.Second).When(isWrite))
		require.NoError(t, err)
		read, write := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRequest(http.MethodPost, "/", nil)
		acquire := func(req *http.Request) error {
			ticket := belay.Ticket{Request: req}
			err := l.Acquire(t.Context(), &ticket)
			l.Release(&ticket, belay.Outcome{Sent: true})
			return err
		}
		require.NoError(t, acquire(write))
		stuck := testkit.After(0, func() error { return acquire(write) })
		var reads atomic.Int32
		stop := testkit.After(time.Second, func() error {
			for reads.Load() < 60 {
				if err := acquire(read); err != nil {
					return err
				}
				reads.Add(1)
			}
			return nil
		})
		took, err := stuck()
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, took, "reads took nothing that the write needs")
		require.Greater(t, int(reads.Load()), 8, "and were not held up by it")
		_, err = stop()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "a wait that would outlast the deadline is refused at once", func(t *testing.T) {
		for _, limit := range []belay.Limit{
			belay.PerMinute(1), belay.PerMinute(1).Bucket(1), belay.PerMinute(1).Fixed(), belay.PerMinute(10_000),
		} {
			c := newClient(t, stub{}, belay.WithRateLimit(limit))
			cost := belay.Cost(1)
			if limit.String() == "10000 per 1m0s" {
				cost = belay.Cost(10_000)
			}
			require.NoError(t, get(t.Context(), c, "/", cost))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			took, err := testkit.After(0, func() error { return get(ctx, c, "/", cost) })()
			cancel()
			require.ErrorIs(t, err, belay.ErrWaitTooLong, limit)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, limit.String())
			require.Zero(t, took)
			ctx, cancel = context.WithTimeout(t.Context(), 70*time.Second)
			queued := testkit.After(0, func() error { return get(ctx, c, "/", cost) })
			took, err = testkit.After(time.Second, func() error { return get(ctx, c, "/", cost) })()
			require.ErrorIs(t, err, belay.ErrWaitTooLong, "the one before it counts too")
			require.Zero(t, took)
			_, err = queued()
			require.NoError(t, err)
			cancel()
		}
	})
	testkit.Bubble(t, "the queue is bounded", func(t *testing.T) {
		c := newClient(t, stub{}, belay.WithRateLimit(belay.PerSecond(1)), belay.WithMaxQueue(1))
		require.NoError(t, get(t.Context(), c, "/"))
		waiting := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		_, err := testkit.After(time.Millisecond, func() error { return get(t.Context(), c, "/") })()
		require.ErrorIs(t, err, belay.ErrQueueFull)
		require.ErrorIs(t, err, belay.ErrUnavailable)
		_, err = waiting()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "patience bounds the wait in the queue", func(t *testing.T) {
		release := make(chan struct{})
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			<-release
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithMaxInFlight(1))
		first := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		took, err := testkit.After(
			time.Second,
			func() error { return get(t.Context(), c, "/", belay.Patience(5*time.Second)) },
		)()
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.Equal(t, 5*time.Second, took)
		close(release)
		_, err = first()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "what never got out gives its place back", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n <= 4 {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return testkit.Reply(200), nil
		})
		for _, limit := range []belay.Limit{
			belay.PerHour(1), belay.PerHour(1).Bucket(1), belay.PerHour(1).Fixed(), belay.PerHour(5000),
		} {
			rt.Log = nil
			c := newClient(t, rt, belay.WithRateLimit(limit), belay.Without(belay.LayerBreaker))
			cost := belay.Cost(1)
			if limit.String() == "5000 per 1h0m0s" {
				cost = belay.Cost(5000)
			}
			require.ErrorIs(t, get(t.Context(), c, "/", cost), belay.ErrTransient, limit)
			took, err := testkit.After(0, func() error { return get(t.Context(), c, "/", cost) })()
			require.NoError(t, err)
			require.Zero(t, took, limit)
		}
	})
	testkit.Bubble(t, "a tenant's limit is taken together with its parent's", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Latency: 10 * time.Millisecond})
		parent := newClient(t, p, belay.WithRateLimit(belay.PerSecond(10)))
		var wg sync.WaitGroup
		for i := range 3 {
			c, err := parent.With(
				belay.WithIntegration(fmt.Sprint(i)),
				belay.WithRateLimit(belay.PerSecond(4)),
				belay.WithHeader("X-Tenant", fmt.Sprint(i)),
			)
			require.NoError(t, err)
			for range 40 {
				wg.Go(func() {
					if err := get(t.Context(), c, "/"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		require.LessOrEqual(t, p.Peak(time.Second, 0), 10)
		byTenant := map[string][]time.Time{}
		for _, r := range p.Log() {
			id := r.Header.Get("X-Tenant")
			byTenant[id] = append(byTenant[id], r.At)
		}
		for id, at := range byTenant {
			require.Len(t, at, 40)
			for i := 4; i < len(at); i++ {
				require.GreaterOrEqual(t, at[i].Sub(at[i-4]), time.Second, id)
			}
		}
	})
	testkit.Bubble(t, "clients that share a limiter share its limits", func(t *testing.T) {
		l, err := belay.NewLimiter(belay.PerSecond(5))
		require.NoError(t, err)
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(5, time.Second)}})
		a, b := newClient(t, p, belay.WithLimiter(l)), newClient(t, p, belay.WithLimiter(l), belay.WithMaxInFlight(2))
		require.Empty(t, testkit.Work(8, 40, func(i int) error {
			if i%2 == 0 {
				return get(t.Context(), a, "/")
			}
			return get(t.Context(), b, "/")
		}))
		require.Zero(t, p.Count(429))
	})
	testkit.Bubble(t, "a derived client may have fewer in flight", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Latency: time.Second, Limits: []belaytest.Limit{belaytest.Concurrent(2)}})
		c, err := newClient(t, p).With(belay.WithMaxInFlight(2))
		require.NoError(t, err)
		require.Empty(t, testkit.Work(8, 20, func(int) error { return get(t.Context(), c, "/") }))
		require.Zero(t, p.Count(429))
	})
	testkit.Bubble(
		t,
		"a 429 within a known limit makes it wait longer for what may still be on the way",
		func(t *testing.T) {
			// The partner counts a call when it begins to answer, a second after it arrived.
			p := belaytest.New(
				belaytest.Config{
					Limits:  []belaytest.Limit{belaytest.Sliding(5, 5*time.Second)},
					Latency: 900 * time.Millisecond,
					Jitter:  200 * time.Millisecond,
				},
			)
			c := newClient(t, p, belay.WithRateLimit(belay.Every(5, 5*time.Second)))
			require.Empty(t, testkit.Work(5, 200, func(int) error { return get(t.Context(), c, "/") }))
			require.Less(t, p.Count(429), 20)
		},
	)
}

// A thousand canceled waiters leave nothing behind.
func TestCancelledWaitersLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, limit := range []belay.Limit{
		belay.PerSecond(10).Bucket(1), belay.Every(1, 100*time.Millisecond), belay.Every(1, 100*time.Millisecond).Fixed(),
	} {
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

// Status says of each limit how much is used, how many calls wait, and when the next is free.
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
			return testkit.Reply(
				200,
				"X-RateLimit-Limit",
				"10",
				"X-RateLimit-Remaining",
				"0",
				"X-RateLimit-Reset",
				"3600",
			), nil
		}))
		require.NoError(t, get(t.Context(), c, "/"))
		start := time.Now()
		err := get(t.Context(), c, "/")
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.ErrorContains(t, err, "advertised")
	})
}

// Costs: by the call, by the client, and above a limit.
func TestCosts(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "costs", func(t *testing.T) {
		c := newClient(
			t,
			answers(200),
			belay.WithRateLimit(belay.Every(10, time.Minute)),
			belay.WithCost(func(req *http.Request) int {
				if req.Method == http.MethodPut {
					return 4
				}
				return 0
			}),
		)
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
		c := newClient(
			t,
			answers(200),
			belay.WithRateLimit(belay.PerMinute(2).When(belay.Reads), belay.PerMinute(3).When(belay.Writes)),
		)
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

// A cost that no window can ever admit is an error, not an endless wait.
func TestCostAboveLimit(t *testing.T) {
	t.Parallel()
	c, err := belay.New("https://partner.test", belay.WithTransport(stub{}), belay.WithRateLimit(belay.PerSecond(10)))
	require.NoError(t, err)
	_, err = belay.Get[belay.None](t.Context(), c, "/", belay.Cost(11))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, "cost 11 is above the limit 10 per 1s")
}

// A fixed window recovers from calls that were answered after its end.
func TestFixedWindowRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			time.Sleep(150 * time.Millisecond)
			return testkit.Reply(200), nil
		})
		c := newClient(t, p, belay.WithRateLimit(belay.Every(5, 100*time.Millisecond).Fixed()), belay.WithMaxInFlight(20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Empty(t, testkit.Work(20, 40, func(int) error { return get(ctx, c, "/") }))
	})
}

// A call that was lost may never have been counted: then the next one opens the partner's fixed window.
func TestFixedWindowOpenedByALostCall(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "reset", func(t *testing.T) {
		start := time.Now()
		p := belaytest.New(belaytest.Config{
			Limits:  []belaytest.Limit{belaytest.Fixed(2, 10*time.Second)},
			Outages: []belaytest.Outage{{For: time.Second, Kind: belaytest.Reset}},
		})
		c, err := belay.New(
			"https://partner.test",
			belay.WithTransport(p),
			belay.WithRateLimit(belay.Every(2, 10*time.Second).Fixed()),
			belay.WithAdaptiveLimit(belay.AdaptivePolicy{Off: true}),
		)
		require.NoError(t, err)
		require.Error(t, get(t.Context(), c, "/", belay.MaxAttempts(1)))
		time.Sleep(9 * time.Second)
		for range 5 {
			require.NoError(t, get(t.Context(), c, "/", belay.MaxAttempts(1)))
			time.Sleep(time.Second)
		}
		require.Zero(t, p.Count(429))
		require.Less(t, time.Since(start), time.Minute, "it is not slower than it need be")
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
	run := func(
		t *testing.T, s *store, limit belay.Limit, workers, calls int,
	) (took time.Duration, failed []error, p *belaytest.Partner) {
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
		p := belaytest.New(
			belaytest.Config{
				Limits:  []belaytest.Limit{belaytest.Sliding(101, 10*time.Second-200*time.Millisecond)},
				Latency: 5 * time.Millisecond,
			},
		)
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
		return &store{
			take: func(context.Context, int) (time.Duration, error) { return 0, fmt.Errorf("connection refused") },
		}
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
		c := newClient(
			t,
			belaytest.New(belaytest.Config{}),
			belay.WithRateLimit(belay.PerSecond(40).Shared(s).FailClosed()),
			belay.WithMaxWait(10*time.Second),
		)
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

// Waiters go in order of arrival.
func TestArrivalOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := belay.NewLimiter(belay.Every(1, time.Second))
		require.NoError(t, err)
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				var ticket belay.Ticket
				if l.Acquire(t.Context(), &ticket) == nil {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					l.Release(&ticket, belay.Outcome{Sent: true})
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		for i, n := range order {
			require.Equal(t, i, n)
		}
		require.Len(t, order, 20)
	})
}

// Headroom leaves its share to others, of a burst too.
func TestHeadroomHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for limit, want := range map[int]belay.Limit{
			8: belay.PerMinute(10).Headroom(0.8),
			5: belay.PerMinute(10).Bucket(10).Headroom(0.5),
			3: belay.PerMinute(10).Fixed().Headroom(0.3),
		} {
			l, err := belay.NewLimiter(want)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			n := 0
			for {
				var ticket belay.Ticket
				if l.Acquire(ctx, &ticket) != nil {
					break
				}
				l.Release(&ticket, belay.Outcome{Sent: true})
				n++
			}
			cancel()
			require.Equal(t, limit, n, want)
		}
	})
}

// The status counts the calls that wait by their priority, and those in flight.
func TestStatusByPriority(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "status", func(t *testing.T) {
		release := make(chan struct{})
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			<-release
			return testkit.Reply(200), nil
		}), belay.WithMaxInFlight(2), belay.WithAttemptTimeout(time.Hour))
		var all sync.WaitGroup
		for _, p := range []belay.Priority{0, 0, belay.High, belay.Low, belay.Low, belay.Normal, belay.Low} {
			all.Go(func() { _ = get(t.Context(), c, "/x", p) })
			synctest.Wait()
		}
		s := c.Health().Limiter
		require.Equal(t, []int{2, 5, 1, 1, 3, 0}, []int{
			s.InFlight, s.Waiting, s.WaitingAt(belay.High), s.WaitingAt(belay.Normal), s.WaitingAt(belay.Low), s.WaitingAt(9),
		})
		close(release)
		all.Wait()
		s = c.Health().Limiter
		require.Equal(t, []int{0, 0, 0, 0, 0}, []int{
			s.InFlight, s.Waiting, s.WaitingAt(belay.High), s.WaitingAt(belay.Normal), s.WaitingAt(belay.Low),
		})
	})
}
