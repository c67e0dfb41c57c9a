package belay_test

import (
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

// A partner with a host for each customer: what one host does, the others do not feel.
func TestHostsAreIsolated(t *testing.T) {
	t.Parallel()
	hosts := func(t *testing.T, rt http.RoundTripper, opts ...belay.Option) (root, a, b *belay.Client) {
		root = newClient(t, rt, opts...)
		var err error
		a, err = root.With(belay.WithBaseURL("https://a.partner.test"), belay.WithIntegration("a"))
		require.NoError(t, err)
		b, err = root.With(belay.WithBaseURL("https://b.partner.test"), belay.WithIntegration("b"))
		require.NoError(t, err)
		return root, a, b
	}
	testkit.Bubble(t, "a dead host opens its own circuit", func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.URL.Host == "a.partner.test" {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		root, a, b := hosts(t, rt)
		for i := range 8 {
			_ = get(t.Context(), a, fmt.Sprintf("/%d", i%3))
			require.NoError(t, get(t.Context(), b, "/0"))
			require.NoError(t, get(t.Context(), root, "/0"))
		}
		require.Equal(t, belay.HealthDown, a.Health().State)
		require.Equal(t, belay.HealthUp, b.Health().State)
		require.Equal(t, belay.HealthUp, root.Health().State)
		require.Equal(t, "https://a.partner.test", root.Health().Circuits[0].Origin, "the root shows every origin")
	})
	testkit.Bubble(t, "calls that hang on one host take no places of another", func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.URL.Host == "a.partner.test" {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return testkit.Reply(200), nil
		})
		root, a, b := hosts(t, rt, belay.WithMaxInFlight(3), belay.Without(belay.LayerBreaker))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _ = get(t.Context(), a, "/", belay.MaxAttempts(1)) })
		}
		synctest.Wait()
		began := time.Now()
		require.NoError(t, get(t.Context(), b, "/"))
		require.NoError(t, get(t.Context(), root, "/"))
		require.Zero(t, time.Since(began))
		require.Equal(t, 3, a.Health().Limiter.Limits[0].Used)
		require.Zero(t, b.Health().Limiter.Limits[0].Used)
		// Another client of the same host shares its places.
		c, err := b.With(belay.WithBaseURL("https://a.partner.test/other"))
		require.NoError(t, err)
		require.Equal(t, 3, c.Health().Limiter.Limits[0].Used)
		back, err := a.With(belay.WithBaseURL("https://partner.test"))
		require.NoError(t, err)
		require.Zero(t, back.Health().Limiter.Limits[0].Used)
		wg.Wait()
	})
	for name, status := range map[string]int{"503": 503, "429 without credential": 429} {
		testkit.Bubble(t, "Retry-After of one host pauses that host: "+name, func(t *testing.T) {
			rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
				if req.URL.Host == "a.partner.test" && n == 1 {
					return testkit.Reply(status, "Retry-After", "8"), nil
				}
				return testkit.Reply(200), nil
			})
			root, a, b := hosts(t, rt)
			call := testkit.After(0, func() error { return get(t.Context(), a, "/") })
			synctest.Wait()
			began := time.Now()
			require.NoError(t, get(t.Context(), b, "/"))
			require.NoError(t, get(t.Context(), root, "/"))
			require.Zero(t, time.Since(began))
			took, err := call()
			require.NoError(t, err)
			require.GreaterOrEqual(t, took, 8*time.Second)
		})
	}
	testkit.Bubble(t, "a configured limit stays the partner's", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		_, a, b := hosts(t, rt, belay.WithRateLimit(belay.PerMinute(1)))
		require.NoError(t, get(t.Context(), a, "/"))
		began := time.Now()
		require.NoError(t, get(t.Context(), b, "/"))
		require.Greater(t, time.Since(began), 59*time.Second)
		require.NoError(t, b.Limiter().SetLimits(belay.PerMinute(100)))
		require.NoError(t, get(t.Context(), a, "/"))
	})
	testkit.Bubble(t, "the ramp after an outage is for the host that was out", func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.URL.Host == "a.partner.test" && down.Load() {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		_, a, b := hosts(t, rt)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { require.NoError(t, get(t.Context(), a, "/", belay.Patience(time.Hour))) })
		}
		time.Sleep(time.Minute)
		down.Store(false)
		time.Sleep(7 * time.Second)
		began := time.Now()
		for range 200 {
			require.NoError(t, get(t.Context(), b, "/"))
		}
		require.Zero(t, time.Since(began))
		wg.Wait()
	})
}

// A 503 with a long Retry-After counts as an outage for the ramp: what waited does not come all at once.
func TestRampAfterALongPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var paused atomic.Bool
		p := belaytest.New(belaytest.Config{Latency: time.Millisecond})
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if paused.CompareAndSwap(true, false) {
				return testkit.Reply(503, "Retry-After", "30"), nil
			}
			return p.RoundTrip(req)
		})
		c := newClient(t, rt)
		var wg sync.WaitGroup
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := range 2000 {
			<-tick.C
			if i == 400 {
				paused.Store(true)
			}
			wg.Go(func() { require.NoError(t, get(t.Context(), c, "/", belay.Patience(time.Hour))) })
		}
		wg.Wait()
		require.LessOrEqual(t, p.Peak(time.Second, 21*time.Second), 40)
		log := p.Log()
		require.Less(t, log[len(log)-1].At.Sub(log[0].At), 105*time.Second, "and what waited has caught up")
	})
}

// A partner with a known limit is not held far below it after an outage of a client that has just begun.
func TestRampOfAYoungClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Latency: time.Millisecond, Outages: []belaytest.Outage{{For: 2 * time.Second}}})
		c := newClient(t, p, belay.WithRateLimit(belay.PerSecond(100)))
		began := time.Now()
		require.Empty(t, testkit.Work(20, 1000, func(int) error {
			return get(t.Context(), c, "/", belay.Patience(time.Hour))
		}))
		require.Less(t, time.Since(began), 14*time.Second)
	})
}

// Clients of different partners may share a breaker: each partner has circuits and a ramp of its own.
func TestBreakerOfSeveralPartners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
		require.NoError(t, err)
		var down atomic.Bool
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "one.test" && down.Load() {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		partner := func(name string) *belay.Client {
			c, err := belay.New("https://"+name+".test", belay.WithTransport(rt), belay.WithBreaker(breaker),
				belay.WithName(name), belay.WithMaxInFlight(1000))
			require.NoError(t, err)
			return c
		}
		one, two := partner("one"), partner("two")
		for range 30 { // three calls a second
			require.NoError(t, get(t.Context(), one, "/"))
			require.NoError(t, get(t.Context(), two, "/"))
			time.Sleep(time.Second / 3)
		}
		down.Store(true)
		for range 5 {
			require.ErrorIs(t, get(t.Context(), one, "/"), belay.ErrUnavailable)
			require.NoError(t, get(t.Context(), two, "/"))
		}
		require.Len(t, breaker.Circuits(), 1)
		require.Equal(t, "https://one.test", breaker.Circuits()[0].Origin)
		require.Equal(t, belay.HealthDown, one.Health().State)
		require.Equal(t, belay.HealthUp, two.Health().State)
		down.Store(false)
		time.Sleep(10 * time.Second)
		require.NoError(t, get(t.Context(), one, "/"))
		require.Empty(t, breaker.Circuits())
		start := time.Now()
		for range 100 { // far above the pace before: no ramp holds them, because this partner was up
			require.NoError(t, get(t.Context(), two, "/"))
		}
		require.Zero(t, time.Since(start))
		for range 10 {
			require.NoError(t, get(t.Context(), one, "/", belay.Patience(time.Minute)))
		}
		require.Positive(t, time.Since(start), "the partner that was down is eased in")
	})
}
