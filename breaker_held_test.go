package belay_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// switched returns a partner that answers 500 while down is true, after the given time.
func switched(down *atomic.Bool, takes time.Duration) http.RoundTripper {
	return testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		time.Sleep(takes)
		if down.Load() {
			return testkit.Reply(500), nil
		}
		return testkit.Reply(200), nil
	})
}

// A call that may probe and cannot, because it waits for a limit or for its credential, does not keep the others from
// probing.
func TestWhoCannotProbeHoldsNobody(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	for name, opt := range map[string]belay.Option{
		"a limit of its own": belay.WithRateLimit(belay.PerHour(1)),
		"a credential that hangs": belay.WithAuth(authFunc(func(ctx context.Context) (belay.Credential, error) {
			if hang.Load() {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(time.Hour):
				}
			}
			return stamp{}, nil
		})),
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			hang.Store(false)
			var down atomic.Bool
			c := newClient(t, switched(&down, 0), belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2}))
			client := func(name string, opts ...belay.Option) *belay.Client {
				d, err := c.With(append(opts, belay.WithIntegration(name))...)
				require.NoError(t, err)
				return d
			}
			a, b, other := client("a", opt), client("b"), client("other")
			require.NoError(t, get(t.Context(), a, "/x")) // its limit is used up
			down.Store(true)
			for _, f := range []struct {
				c    *belay.Client
				path string
			}{{b, "/x"}, {other, "/y"}, {b, "/y"}, {other, "/x"}} {
				_ = get(t.Context(), f.c, f.path, belay.MaxAttempts(1))
			}
			require.Empty(t, c.Health().Circuits[0].Route+c.Health().Circuits[0].Integration)
			down.Store(false)
			var wg sync.WaitGroup
			wg.Go(func() { _ = get(t.Context(), a, "/x", belay.Patience(2*time.Hour)) })
			synctest.Wait()
			hang.Store(true)
			began := time.Now()
			require.NoError(t, get(t.Context(), b, "/x", belay.Patience(2*time.Hour)))
			require.Less(t, time.Since(began), 5*time.Second)
			wg.Wait()
		})
	}
}

// Each circuit that opens is told, and closes once, also those that give way to a wider one.
func TestCircuitsThatOpenAlsoClose(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var down atomic.Bool
		open := map[string]int{}
		c := newClient(t, switched(&down, 0), belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2}),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if e, ok := e.(belay.CircuitChanged); ok && e.State == belay.BreakerOpen {
					open[e.Route+" "+e.Integration]++
				} else if ok {
					open[e.Route+" "+e.Integration]--
					require.GreaterOrEqual(t, open[e.Route+" "+e.Integration], 0)
				}
			})))
		i, err := c.With(belay.WithIntegration("i"))
		require.NoError(t, err)
		j, err := c.With(belay.WithIntegration("j"))
		require.NoError(t, err)
		down.Store(true)
		for _, f := range []struct {
			c    *belay.Client
			path string
		}{{i, "/a"}, {j, "/a"}, {i, "/b"}} {
			_ = get(t.Context(), f.c, f.path, belay.MaxAttempts(1)) // GET /a opens, then the origin
		}
		require.Len(t, c.Health().Circuits, 1)
		down.Store(false)
		for range 10 {
			time.Sleep(time.Second)
			require.NoError(t, get(t.Context(), i, "/a", belay.Patience(time.Minute)))
		}
		require.Empty(t, c.Health().Circuits)
		for name, n := range open {
			require.Zero(t, n, name)
		}
	})
}

// A call that has waited keeps its place when its probe fails, also where the queue is full.
func TestProbeThatFailsKeepsItsPlace(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var down atomic.Bool
		c := newClient(t, switched(&down, 100*time.Millisecond), belay.WithMaxQueue(1),
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}))
		down.Store(true)
		_ = get(t.Context(), c, "/x", belay.MaxAttempts(1))
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, get(t.Context(), c, "/x", belay.Patience(time.Hour))) })
		for {
			time.Sleep(10 * time.Millisecond)
			if h := c.Health(); h.Circuits[0].Waiting == 0 && h.Circuits[0].State == belay.BreakerHalfOpen {
				break // its probe is in flight
			}
		}
		wg.Go(func() { require.NoError(t, get(t.Context(), c, "/x", belay.Patience(time.Hour))) })
		time.Sleep(time.Minute)
		down.Store(false)
		wg.Wait()
	})
}

// A closed circuit refuses nobody, although calls that waited for it are still on their way.
func TestClosedCircuitRefusesNobody(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var down, slow atomic.Bool
		c := newClient(t, switched(&down, 0), belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
			belay.WithCost(func(*http.Request) int {
				if slow.Load() {
					time.Sleep(10 * time.Millisecond)
				}
				return 1
			}))
		down.Store(true)
		_ = get(t.Context(), c, "/x", belay.MaxAttempts(1))
		down.Store(false)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { require.NoError(t, get(t.Context(), c, "/x", belay.Patience(time.Hour))) })
		}
		slow.Store(true)
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			if state := c.Health().Circuit; state == belay.BreakerClosed {
				require.NotErrorIs(t, get(t.Context(), c, "/x", belay.MaxAttempts(1)), belay.ErrCircuitOpen)
			}
		}
		wg.Wait()
	})
}
