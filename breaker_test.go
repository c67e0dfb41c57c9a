package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// The breaker, half open: which call probes, and what the end of a probe means.
func TestBreakerProbes(t *testing.T) {
	t.Parallel()
	policy := belay.WithBreakerPolicy(
		belay.BreakerPolicy{Failures: 1, Cooldown: 10 * time.Second, MaxCooldown: 15 * time.Second},
	)
	once := belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})
	testkit.Bubble(t, "the wait before a probe grows with the age of the outage, up to its bound", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(t, rt, policy, once)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		err := get(ctx, c, "/", belay.Patience(time.Hour), belay.MaxAttempts(1))
		require.ErrorIs(t, err, belay.ErrTransient) // the first attempt opened it and was the last
		require.ErrorIs(t, get(ctx, c, "/"), belay.ErrCircuitOpen)
		wait, _ := belay.RetryAfter(get(ctx, c, "/"))
		require.InDelta(t, 10-10./6, wait.Seconds(), 10./6)
		err = get(ctx, c, "/", belay.Patience(time.Hour))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		for i, at := range rt.At[1:] {
			longest := min(10*time.Second+rt.At[i]/5, 15*time.Second)
			require.GreaterOrEqual(t, at-rt.At[i], longest*3/4)
			require.LessOrEqual(t, at-rt.At[i], longest+time.Millisecond)
		}
		require.Greater(t, len(rt.At), 6)
	})
	testkit.Bubble(t, "Retry-After on a 503 extends the open time", func(t *testing.T) {
		rt := testkit.Script(
			func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503, "Retry-After", "40"), nil },
		)
		c := newClient(t, rt, policy, once, belay.Without(belay.LayerLimits))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrTransient)
		time.Sleep(20 * time.Second)
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		wait, _ := belay.RetryAfter(err)
		require.Equal(t, 20*time.Second, wait)
	})
	safe := func(ctx context.Context, c *belay.Client, opts ...belay.CallOption) error {
		return post(ctx, c, "/?safe", append(opts, belay.Idempotent())...)
	}
	testkit.Bubble(t, "an unsafe write is never the probe while another call waits", func(t *testing.T) {
		var sent []string
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			sent = append(sent, req.URL.RawQuery)
			if n == 1 {
				return testkit.Reply(500), nil
			}
			time.Sleep(5 * time.Second)
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = safe(t.Context(), c)
		write := testkit.After(time.Second, func() error { return post(t.Context(), c, "/", belay.Patience(time.Hour)) })
		other := testkit.After(2*time.Second, func() error { return safe(t.Context(), c, belay.Patience(time.Hour)) })
		late := testkit.After(10*time.Second, func() error { return post(t.Context(), c, "/") })
		_, err := write()
		require.NoError(t, err)
		_, err = other()
		require.NoError(t, err)
		took, err := late()
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		require.Zero(t, took)
		require.Equal(t, []string{"safe", "safe", ""}, sent)
	})
	testkit.Bubble(t, "a write probes when nobody else waits", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = safe(t.Context(), c)
		took, err := testkit.After(0, func() error { return post(t.Context(), c, "/", belay.Patience(time.Hour)) })()
		require.NoError(t, err)
		require.Greater(t, took, 6*time.Second)
		require.NoError(t, safe(t.Context(), c))
	})
	testkit.Bubble(t, "a probe that its caller cancels is neutral, and the next one probes", func(t *testing.T) {
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			switch n {
			case 1:
				return testkit.Reply(500), nil
			case 2: // a write that must not be sent twice has the whole attempt timeout as a probe
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, policy, once)
		_ = safe(t.Context(), c)
		ctx, cancel := context.WithCancel(t.Context())
		probe := testkit.After(time.Second, func() error { return post(ctx, c, "/", belay.Patience(time.Hour)) })
		next := testkit.After(10*time.Second+1, func() error { return post(t.Context(), c, "/", belay.Patience(time.Hour)) })
		busy := testkit.After(11*time.Second, func() error { return post(t.Context(), c, "/") })
		_, err := busy()
		require.ErrorIs(t, err, belay.ErrCircuitOpen, "a probe is out")
		time.Sleep(4 * time.Second)
		cancel()
		took, err := probe()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 14*time.Second, took)
		took, err = next()
		require.NoError(t, err)
		require.Equal(t, 5*time.Second-1, took)
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
			require.InDelta(t, 0.33, left.Seconds(), 0.07)
			time.Sleep(400 * time.Millisecond)
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
		_, err := testkit.After(
			2*time.Second,
			func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) },
		)()
		require.ErrorIs(t, err, belay.ErrQueueFull)
		_, err = a()
		require.NoError(t, err)
		_, err = b()
		require.NoError(t, err)
	})
	testkit.Bubble(t, "half of twenty calls open it too", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n%2 == 1 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, once)
		for n := 1; n <= 21; n++ { // the last failure is the eleventh
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

// Several probes: those that succeeded count towards closing, and nobody spins meanwhile.
func TestSeveralProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			switch {
			case n == 1:
				return testkit.Reply(500), nil
			case n == 3:
				time.Sleep(10 * time.Second)
			}
			return testkit.Reply(200), nil
		})
		c := newClient(
			t,
			rt,
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1, Probes: 2}),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithRateLimit(belay.PerSecond(1000).When(func(*http.Request) bool { asked++; return true })),
		)
		_ = get(t.Context(), c, "/")
		time.Sleep(6 * time.Second)
		require.NoError(t, get(t.Context(), c, "/"))
		slow := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		parked := testkit.After(time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Minute)) })
		took, err := parked()
		require.NoError(t, err)
		require.Equal(t, 9*time.Second, took)
		_, err = slow()
		require.NoError(t, err)
		require.Less(t, asked, 10)
	})
}

// A call that waits for the circuit ends with its context, and leaves nothing behind.
func TestParkedCallIsCancelled(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "parked", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(
			t,
			rt,
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		)
		_ = get(t.Context(), c, "/")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		call := testkit.After(0, func() error { return get(ctx, c, "/", belay.Patience(time.Hour)) })
		time.Sleep(time.Second)
		cancel(why)
		took, err := call()
		require.Equal(t, time.Second, took)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
	})
}

// Clients that share a breaker but not a limiter are all eased in.
func TestSharedBreakerEasesEverybodyIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
		require.NoError(t, err)
		p := belaytest.New(
			belaytest.Config{
				Outages: []belaytest.Outage{{From: 20 * time.Second, For: 8 * time.Second}},
				Latency: time.Millisecond,
			},
		)
		a, b := newClient(t, p, belay.WithBreaker(breaker)), newClient(t, p, belay.WithBreaker(breaker))
		var wg sync.WaitGroup
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := range 600 {
			<-tick.C
			wg.Go(func() {
				c := a
				if i%2 == 0 {
					c = b
				}
				if err := get(t.Context(), c, "/", belay.Patience(time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, p.Peak(time.Second, 28*time.Second), 22) // two lines, each with its fence post
		log := p.Log()
		require.Less(t, log[len(log)-1].At.Sub(log[0].At), 70*time.Second)
	})
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
				if kind != belaytest.Refuse { // which costs the partner nothing
					require.LessOrEqual(t, wasted, 40)
				}
				require.LessOrEqual(t, p.Peak(time.Second, from+lasts), 2*pace)
				require.Len(t, p.Log(), 3000+wasted)
			})
		})
	}
}
