package belay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
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
		other := newClient(t, testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil }))
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

// The breaker, half open: who probes, and what a probe's end means.
func TestBreakerProbes(t *testing.T) {
	t.Parallel()
	policy := belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1, Cooldown: 10 * time.Second, MaxCooldown: 25 * time.Second})
	once := belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})
	testkit.Bubble(t, "cooldown doubles up to its bound", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(t, rt, policy, once)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		err := get(ctx, c, "/", belay.Patience(time.Hour), belay.MaxAttempts(1))
		require.ErrorIs(t, err, belay.ErrTransient) // the first attempt opened it and was the last
		require.ErrorIs(t, get(ctx, c, "/"), belay.ErrCircuitOpen)
		wait, _ := belay.RetryAfter(get(ctx, c, "/"))
		require.Equal(t, 10*time.Second, wait)
		err = get(ctx, c, "/", belay.Patience(time.Hour))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, []time.Duration{0, 10 * time.Second, 30 * time.Second, 55 * time.Second, 80 * time.Second}, rt.At)
	})
	testkit.Bubble(t, "Retry-After on a 503 extends the open time", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503, "Retry-After", "40"), nil })
		c := newClient(t, rt, policy, once, belay.Without(belay.LayerLimits))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrTransient)
		time.Sleep(20 * time.Second)
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		wait, _ := belay.RetryAfter(err)
		require.Equal(t, 20*time.Second, wait)
	})
	testkit.Bubble(t, "an unsafe write is never the probe while another call waits", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(500), nil
			}
			time.Sleep(time.Second)
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = get(t.Context(), c, "/")
		write := testkit.After(time.Second, func() error { return post(t.Context(), c, "/", belay.Patience(time.Hour)) })
		read := testkit.After(2*time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		late := testkit.After(10*time.Second, func() error { return post(t.Context(), c, "/") })
		_, err := write()
		require.NoError(t, err)
		_, err = read()
		require.NoError(t, err)
		took, err := late()
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		require.Zero(t, took)
		require.Equal(t, []string{"GET /", "GET /", "POST /"}, rt.Log)
	})
	testkit.Bubble(t, "a write probes when nobody else waits", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = get(t.Context(), c, "/")
		require.NoError(t, post(t.Context(), c, "/", belay.Patience(time.Hour)))
		require.NoError(t, get(t.Context(), c, "/"))
	})
	testkit.Bubble(t, "a probe that its caller cancels is neutral, and the next one probes", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			switch n {
			case 1:
				return testkit.Reply(500), nil
			case 2:
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = get(t.Context(), c, "/")
		ctx, cancel := context.WithCancel(t.Context())
		probe := testkit.After(time.Second, func() error { return get(ctx, c, "/", belay.Patience(time.Hour)) })
		next := testkit.After(2*time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		busy := testkit.After(11*time.Second, func() error { return get(t.Context(), c, "/") })
		_, err := busy()
		require.ErrorIs(t, err, belay.ErrCircuitOpen, "a probe is out")
		time.Sleep(4 * time.Second)
		cancel()
		took, err := probe()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 14*time.Second, took)
		took, err = next()
		require.NoError(t, err)
		require.Equal(t, 13*time.Second, took)
	})
	testkit.Bubble(t, "whose turn it was but who gave up passes it on", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once, belay.WithRateLimit(belay.Every(1, 20*time.Second)))
		_ = get(t.Context(), c, "/") // takes the permit until 20 s
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		first := testkit.After(time.Second, func() error { return get(ctx, c, "/", belay.Patience(time.Hour)) })
		second := testkit.After(2*time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		_, err := first()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		took, err := second()
		require.NoError(t, err)
		require.Less(t, took, 20*time.Second)
	})
	testkit.Bubble(t, "a probe that is answered closes the circuit, whatever the answer", func(t *testing.T) {
		for _, status := range []int{404, 401, 429, 200} {
			rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
				if n == 1 {
					return testkit.Reply(500), nil
				}
				return testkit.Reply(status), nil
			})
			breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
			require.NoError(t, err)
			c := newClient(t, rt, belay.WithBreaker(breaker), once)
			_ = get(t.Context(), c, "/")
			state, left := breaker.State()
			require.Equal(t, "open", state.String())
			require.Equal(t, 5*time.Second, left)
			time.Sleep(5 * time.Second)
			state, _ = breaker.State()
			require.Equal(t, belay.BreakerHalfOpen, state)
			_ = get(t.Context(), c, "/")
			state, _ = breaker.State()
			require.Equal(t, belay.BreakerClosed, state, status)
		}
	})
	testkit.Bubble(t, "patience ends", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(t, rt, policy, once)
		_ = get(t.Context(), c, "/")
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(3*time.Second)) })()
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.Zero(t, took, "the next probe would come too late")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		took, err = testkit.After(0, func() error { return get(ctx, c, "/", belay.Patience(time.Hour)) })()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.Zero(t, took)
		// It parks for the next probe, which another call makes and which fails; then there is no time left.
		waiting := testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(12*time.Second)) })
		probe := testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(11*time.Second)) })
		took, err = waiting()
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.LessOrEqual(t, took, 12*time.Second)
		_, err = probe()
		require.ErrorIs(t, err, belay.ErrUnavailable)
	})
	testkit.Bubble(t, "those who park are bounded", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once, belay.WithMaxQueue(2))
		_ = get(t.Context(), c, "/")
		a := testkit.After(time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		b := testkit.After(time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		_, err := testkit.After(2*time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })()
		require.ErrorIs(t, err, belay.ErrQueueFull)
		_, err = a()
		require.NoError(t, err)
		_, err = b()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "half of twenty calls open it too", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n%2 == 0 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, once)
		for n := 1; n <= 20; n++ {
			require.NotErrorIs(t, get(t.Context(), c, "/"), belay.ErrCircuitOpen, n)
		}
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrCircuitOpen)
	})
	testkit.Bubble(t, "neutral failures never open it", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			return testkit.Reply([]int{400, 401, 403, 404, 409, 422, 429}[n%7]), nil
		})
		c := newClient(t, rt, once, belay.Without(belay.LayerLimits))
		for range 100 {
			require.NotErrorIs(t, get(t.Context(), c, "/"), belay.ErrCircuitOpen)
		}
	})
	testkit.Bubble(t, "a result from before the circuit opened does not close or open it again", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			switch n {
			case 1: // slow, and fails when the circuit is half open
				time.Sleep(12 * time.Second)
				return testkit.Reply(500), nil
			case 2:
				return testkit.Reply(500), nil
			}
			time.Sleep(5 * time.Second)
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		slow := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		bad := testkit.After(time.Second, func() error { return get(t.Context(), c, "/") })
		probe := testkit.After(11*time.Second, func() error { return get(t.Context(), c, "/") })
		_, _ = slow()
		_, _ = bad()
		_, err := probe()
		require.NoError(t, err)
		require.NoError(t, get(t.Context(), c, "/"))
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
		for _, limit := range []belay.Limit{belay.PerMinute(1), belay.PerMinute(1).Bucket(1), belay.PerMinute(1).Fixed(), belay.PerMinute(10_000)} {
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
	testkit.Bubble(t, "patience bounds the wait in line", func(t *testing.T) {
		release := make(chan struct{})
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			<-release
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithMaxInFlight(1))
		first := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		took, err := testkit.After(time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(5*time.Second)) })()
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
		for _, limit := range []belay.Limit{belay.PerHour(1), belay.PerHour(1).Bucket(1), belay.PerHour(1).Fixed(), belay.PerHour(5000)} {
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
			c, err := parent.With(belay.WithIntegration(fmt.Sprint(i)), belay.WithRateLimit(belay.PerSecond(4)), belay.WithHeader("X-Tenant", fmt.Sprint(i)))
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
	testkit.Bubble(t, "a 429 within a known limit makes it wait longer for what may still be on the way", func(t *testing.T) {
		// The partner counts a call when it begins to answer, a second after it arrived.
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(5, 5*time.Second)}, Latency: 900 * time.Millisecond, Jitter: 200 * time.Millisecond})
		c := newClient(t, p, belay.WithRateLimit(belay.Every(5, 5*time.Second)))
		require.Empty(t, testkit.Work(5, 200, func(int) error { return get(t.Context(), c, "/") }))
		require.Less(t, p.Count(429), 20)
	})
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	hang := func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	testkit.Bubble(t, "an attempt's is not the caller's", func(t *testing.T) {
		rt := testkit.Script(hang)
		c := newClient(t, rt, belay.WithAttemptTimeout(2*time.Second), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.ErrorContains(t, err, "attempt timed out after 2s")
		require.Len(t, rt.Log, 2)
		var timeout interface{ Timeout() bool }
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	})
	testkit.Bubble(t, "the total one covers waits", func(t *testing.T) {
		rt := testkit.Script(hang)
		c := newClient(t, rt, belay.WithAttemptTimeout(2*time.Second), belay.WithTimeout(5*time.Second))
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
		require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, belay.ErrTransient), err)
		require.LessOrEqual(t, took, 5*time.Second)
	})
	testkit.Bubble(t, "a stream has it for each Read", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: -1, Request: req, Body: &drip{ctx: req.Context(), every: 2 * time.Second, n: 10}}, nil
		})
		c := newClient(t, rt, belay.WithAttemptTimeout(3*time.Second), belay.WithMaxInFlight(1), belay.WithMaxQueue(0))
		do := func() (*http.Response, error) {
			req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
			require.NoError(t, err)
			return c.Do(req)
		}
		resp, err := do()
		require.NoError(t, err)
		_, err = do()
		require.ErrorIs(t, err, belay.ErrQueueFull, "the stream holds its place")
		time.Sleep(time.Minute) // the caller's own time is nobody's timeout
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err, "20 s of drips, none of them late")
		require.Len(t, data, 10)
		resp2, err := do()
		require.NoError(t, err, "its place is free at the end, before Close")
		require.NoError(t, resp.Body.Close())
		require.NoError(t, resp2.Body.Close())

		slow, err := c.With(belay.WithAttemptTimeout(time.Second))
		require.NoError(t, err)
		req, err := slow.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err = slow.Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorContains(t, err, "attempt timed out after 1s")
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "the total one ends with the body, not with Do", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: -1, Request: req, Body: &drip{ctx: req.Context(), every: time.Second, n: 3}}, nil
		})
		c := newClient(t, rt, belay.WithTimeout(10*time.Second))
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Len(t, data, 3)
		resp, err = c.Do(req)
		require.NoError(t, err)
		time.Sleep(11 * time.Second)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, resp.Body.Close())
	})
}

// drip is a body that yields a byte every so often.
type drip struct {
	ctx   context.Context
	every time.Duration
	n     int
}

func (d *drip) Read(p []byte) (int, error) {
	if d.n == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(d.every):
		d.n--
		p[0] = '.'
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (d *drip) Close() error { return nil }

func TestRetries(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "a refusal later returns the answer before it", func(t *testing.T) {
		on := true
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			on = false
			return testkit.Reply(503), nil
		})
		c := newClient(t, rt, belay.WithEnabled(func() bool { return on }))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrDisabled)
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorContains(t, err, "503")
		on = true
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.Equal(t, 503, resp.StatusCode)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "{}", string(data))
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "the circuit that opens meanwhile is named beside the failure", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return nil, io.EOF })
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		require.ErrorIs(t, err, io.EOF)
		require.Len(t, rt.Log, 2)
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.Greater(t, wait, 3*time.Second)
	})
	testkit.Bubble(t, "a cancel in backoff keeps the cause", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			return testkit.Reply(503, "Retry-After", "30", "X-Request-Id", "req_7"), nil
		})
		c := newClient(t, rt)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		call := testkit.After(0, func() error { return get(ctx, c, "/") })
		time.Sleep(time.Second)
		cancel(why)
		took, err := call()
		require.Equal(t, time.Second, took)
		require.ErrorIs(t, err, why)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, belay.ClassCanceled, e.Class)
		require.Equal(t, "req_7", e.RequestID)
		require.Equal(t, 503, e.StatusCode)
	})
	testkit.Bubble(t, "the budget ends retries, and successes fill it again", func(t *testing.T) {
		fail := true
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			if fail {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		budget := belay.NewRetryBudget(10)
		c := newClient(t, rt, belay.Without(belay.LayerBreaker), belay.WithRetry(belay.RetryPolicy{Budget: budget}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrRetryBudget)
		require.ErrorIs(t, err, belay.ErrTransient)
		require.Len(t, rt.Log, 3)
		require.Zero(t, budget.Tokens())
		fail = false
		for range 4 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		require.Equal(t, 4, budget.Tokens())
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "RetryIf narrows, and never sends a write twice", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(404), nil })
		c := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{RetryIf: func(a *belay.Attempt, v belay.Verdict) bool { return a.Response.StatusCode == 404 }}))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrNotFound)
		require.Len(t, rt.Log, 4)
		require.ErrorIs(t, post(t.Context(), c, "/"), belay.ErrNotFound)
		require.Len(t, rt.Log, 5)
		require.Error(t, post(t.Context(), c, "/", belay.Idempotent()))
		require.Len(t, rt.Log, 9)
	})
	testkit.Bubble(t, "a key lets a write be sent again, with one key", func(t *testing.T) {
		var keys []string
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			keys = append(keys, req.Header.Get("X-Idem")+req.Header.Get("Idempotency-Key"))
			return testkit.Reply(500), nil
		})
		c := newClient(t, rt, belay.Without(belay.LayerBreaker))
		_ = post(t.Context(), c, "/", belay.IdempotencyKey("k1"))
		require.Equal(t, []string{"k1", "k1", "k1", "k1"}, keys)
		keyed, err := c.With(belay.WithIdempotencyKeys("x-idem"))
		require.NoError(t, err)
		keys = nil
		_ = post(t.Context(), keyed, "/", belay.IdempotencyKey("k2"), belay.MaxAttempts(2))
		_ = get(t.Context(), keyed, "/", belay.MaxAttempts(1))
		require.Equal(t, []string{"k2", "k2", ""}, keys)
	})
	testkit.Bubble(t, "a patient probe spends no attempt", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n < 12 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		budget := belay.NewRetryBudget(20)
		c := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, Budget: budget}), belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}))
		var info belay.Info
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(time.Hour), belay.Into(&info)))
		require.Equal(t, 12, info.Attempts)
		require.Greater(t, info.Waited, time.Minute)
	})
	testkit.Bubble(t, "a skewed clock changes nothing", func(t *testing.T) {
		for _, skew := range []time.Duration{-time.Hour, 3 * time.Second, time.Hour} {
			p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Fixed(1, 10*time.Second)}, Tell: belaytest.TellDate, Skew: skew})
			c := newClient(t, p)
			require.NoError(t, get(t.Context(), c, "/"))
			took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
			require.NoError(t, err)
			require.InDelta(t, 10, took.Seconds(), 1.1, "to the second")
			require.Empty(t, p.TooEarly())
		}
	})
}

// Bodies of every kind are sent, and sent again.
func TestBodies(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		contentType := req.Header.Get("Content-Type")
		if strings.HasPrefix(contentType, "multipart/") {
			boundary := contentType[strings.LastIndexByte(contentType, '=')+1:]
			data = bytes.ReplaceAll(data, []byte(boundary), []byte("B"))
			contentType = "multipart"
		}
		got = append(got, fmt.Sprintf("%s %d %s", contentType, req.ContentLength, data))
		return testkit.Reply(500), nil
	})
	c := newClient(t, rt, belay.Without(belay.LayerBreaker), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}))
	open := func(s string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
	}
	seeker := strings.NewReader("skipped read")
	_, _ = seeker.Seek(8, io.SeekStart)
	for _, b := range []struct {
		body any
		want string
		once bool
	}{
		{map[string]int{"a": 1}, `application/json 7 {"a":1}`, false},
		{url.Values{"a": {"1", "2"}}, "application/x-www-form-urlencoded 7 a=1&a=2", false},
		{[]byte("raw"), "application/octet-stream 3 raw", false},
		{bytes.NewBufferString("buffer"), "application/octet-stream 6 buffer", false},
		{bytes.NewReader([]byte("reader")), "application/octet-stream 6 reader", false},
		{seeker, "application/octet-stream 4 read", false},
		{io.LimitReader(strings.NewReader("once"), 9), "application/octet-stream -1 once", true},
		{belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("once"))), "text/plain -1 once", true},
		{belay.StreamBody("text/csv", -1, open("a,b")), "text/csv -1 a,b", false},
		{belay.BytesBody("text/plain", []byte("b")), "text/plain 1 b", false},
		{belay.BytesBody("text/plain", nil), "text/plain 0 ", false},
		{belay.Multipart(url.Values{"b": {"2"}, "a": {"1"}}, belay.File{Field: "f", Name: "x.txt", Open: open("content")}), "multipart -1 --B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n2\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: application/octet-stream\r\n\r\ncontent\r\n--B--\r\n", false},
	} {
		got = nil
		_, err := belay.Put[belay.None](t.Context(), c, "/", b.body)
		require.Error(t, err)
		if b.once {
			require.ErrorIs(t, err, belay.ErrNotReplayable)
			require.Equal(t, []string{b.want}, got)
		} else {
			require.Equal(t, []string{b.want, b.want}, got)
		}
	}
}

// Four attempts at a real server use one connection.
func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Repeat("x", 50<<10))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c, err := belay.New(s.URL, belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Nanosecond}))
	require.NoError(t, err)
	var info belay.Info
	require.ErrorIs(t, get(t.Context(), c, "/", belay.Into(&info)), belay.ErrTransient)
	require.Equal(t, 4, info.Attempts)
	require.EqualValues(t, 1, conns.Load())
	require.NoError(t, c.Close())
}

// Middlewares of the user's may send twice, change the request, answer by themselves.
func TestCallMiddleware(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "sends twice", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) { return testkit.Reply(200 + n), nil })
		twice := func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				if err != nil {
					return nil, err
				}
				_ = resp.Body.Close()
				return next.RoundTrip(req.Clone(req.Context()))
			})
		}
		c := newClient(t, rt, belay.WithCallMiddleware(twice), belay.WithTimeout(time.Minute))
		var info belay.Info
		_, err := belay.Get[map[string]any](t.Context(), c, "/", belay.Into(&info))
		require.NoError(t, err)
		require.Equal(t, 202, info.StatusCode)
		require.Equal(t, 2, info.Attempts)
	})
	testkit.Bubble(t, "answers by itself, or not at all", func(t *testing.T) {
		answer := testkit.Reply(200)
		own := func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return answer, nil })
		}
		c := newClient(t, stub{}, belay.WithCallMiddleware(own))
		got, err := belay.Get[map[string]any](t.Context(), c, "/")
		require.NoError(t, err)
		require.Empty(t, got)
		answer = nil
		_, err = belay.Get[map[string]any](t.Context(), c, "/")
		require.ErrorContains(t, err, "neither response nor error")
	})
	testkit.Bubble(t, "goes elsewhere", func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			require.Empty(t, req.Header.Get("Authorization"))
			return testkit.Reply(200), nil
		})
		away := func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				clone := req.Clone(req.Context())
				clone.URL.Host = "elsewhere.test"
				return next.RoundTrip(clone)
			})
		}
		c := newClient(t, rt, belay.WithCallMiddleware(away), belay.WithAuth(belay.Bearer(belay.NewSecret("token"))))
		require.NoError(t, get(t.Context(), c, "/"))
	})
}

// Redirects keep method and body as RFC 9110 section 15.4 has it, within the origin.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{301: "GET ", 302: "GET ", 303: "GET ", 307: `POST {"a":"b"}`, 308: `POST {"a":"b"}`} {
		var got string
		c := serve(t, func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/new" {
				data, _ := io.ReadAll(req.Body)
				got = req.Method + " " + string(data)
				_, _ = io.WriteString(w, "{}")
				return
			}
			http.Redirect(w, req, "/new", code)
		}, belay.WithTimeout(time.Minute))
		var info belay.Info
		_, err := belay.Post[map[string]any](t.Context(), c, "/old", map[string]string{"a": "b"}, belay.Into(&info))
		require.NoError(t, err)
		require.Equal(t, want, got, code)
		req, err := c.NewRequest(t.Context(), http.MethodPost, "/old", map[string]string{"a": "b"})
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "{}", string(data))
		require.NoError(t, resp.Body.Close())
	}
}

// What With changes belongs to the derived client; the rest is shared.
func TestWith(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, fmt.Sprint(req.URL, " ", req.Header.Get("User-Agent"), " ", req.Header.Get("X-A")))
		return stub{}.RoundTrip(req)
	})
	parent := newClient(t, rt, belay.WithHeader("X-A", "parent"), belay.WithUserAgent("ua"))
	child, err := parent.With(belay.WithBaseURL("https://child.test/v1"), belay.WithHeader("X-A", ""), belay.WithName("crm"), belay.WithIntegration("acme"))
	require.NoError(t, err)
	for _, c := range []*belay.Client{parent, child, parent} {
		require.NoError(t, get(t.Context(), c, "/x"))
	}
	require.NoError(t, get(t.Context(), child, "/x", belay.Header("X-A", "call")))
	require.Equal(t, []string{
		"https://partner.test/x ua parent", "https://child.test/v1/x ua ", "https://partner.test/x ua parent",
		"https://child.test/v1/x ua call",
	}, got)
	require.NoError(t, child.Close())
	require.NoError(t, parent.Close())
	_, err = parent.With(belay.WithMaxInFlight(0))
	require.ErrorContains(t, err, "WithMaxInFlight: 0")
}

// The policies alone, around any transport, in any order.
func TestWraps(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "all", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(10, time.Second)}, ErrorRate: 0.1, ResetRate: 0.1, Latency: time.Millisecond, Seed: 3,
			Outages: []belaytest.Outage{{From: 5 * time.Second, For: 2 * time.Second, Kind: belaytest.Refuse}},
		})
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
		require.NoError(t, err)
		limiter, err := belay.NewLimiter(belay.PerSecond(10))
		require.NoError(t, err)
		hc := &http.Client{Transport: belay.Chain(p, belay.RetryPolicy{MaxAttempts: 8, BaseDelay: time.Second}.Wrap, breaker.Wrap, limiter.Wrap)}
		failed := testkit.Work(4, 200, func(int) error {
			resp, err := hc.Get("https://partner.test/")
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				err = resp.Body.Close()
			}
			return err
		})
		require.Zero(t, p.Count(429))
		for _, err := range failed {
			require.ErrorIs(t, err, belay.ErrCircuitOpen, "only the outage itself may lose calls without patience")
		}
	})
	testkit.Bubble(t, "breaker", func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
		require.NoError(t, err)
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		hc := &http.Client{Transport: breaker.Wrap(rt)}
		resp, err := hc.Get("https://partner.test/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		_, err = hc.Get("https://partner.test/")
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 5*time.Second, e.RetryAfter)
	})
}

type failing struct{ err error }

func (f failing) Credential(context.Context) (belay.Credential, error) { return nil, f.err }

// An authenticator that fails ends the call as ErrAuth, unless the caller gave up.
func TestAuthenticatorFails(t *testing.T) {
	t.Parallel()
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
	for _, why := range []error{nil, errors.New("the vault is sealed")} {
		c := newClient(t, rt, belay.WithAuth(failing{why}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		if why != nil {
			require.ErrorIs(t, err, why)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := get(ctx, newClient(t, rt, belay.WithAuth(failing{context.Canceled})), "/")
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, belay.ErrAuth)
	require.Empty(t, rt.Log)
}

// Request bodies are logged as their shape, or as the redactor says.
func TestRedactor(t *testing.T) {
	t.Parallel()
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(422), nil })
	var shown []string
	see := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if a, ok := e.(belay.AttemptDone); ok {
			shown = append(shown, a.RequestBody)
		}
	})
	c := newClient(t, rt, belay.WithObserver(see))
	own, err := c.With(belay.WithRedactor(func(contentType string, body []byte) string { return contentType + " " + string(body[:5]) }))
	require.NoError(t, err)
	_ = post(t.Context(), c, "/")
	_ = post(t.Context(), own, "/")
	_, _ = belay.Post[belay.None](t.Context(), c, "/", belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("x"))))
	require.Equal(t, []string{`{"a":string}`, `application/json {"a":`, ""}, shown)
}
