package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// What fails is held, and the rest is never refused: a route, an integration, an integration on one route, a method,
// an origin.
func TestOnlyTheFailingPartIsHeld(t *testing.T) {
	t.Parallel()
	type call struct{ integration, method, route string }
	bad := map[string]func(call, *http.Request) bool{
		"a route": func(c call, _ *http.Request) bool { return c.route == "/reports" },
		"a method of a route": func(c call, _ *http.Request) bool {
			return c.route == "/reports" && c.method == "POST"
		},
		"an integration": func(c call, _ *http.Request) bool { return c.integration == "a" },
		"an integration on one route": func(c call, _ *http.Request) bool {
			return c.integration == "a" && c.route == "/reports"
		},
		"an origin": func(_ call, req *http.Request) bool { return req.URL.Host == "c.partner.test" },
	}
	for name, fails := range bad {
		for _, raw := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprint(name, " raw ", raw), func(t *testing.T) {
				sent := map[call]int{}
				rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
					c := call{req.Header.Get("Integration"), req.Method, req.URL.Path}
					if fails(c, req) {
						sent[c]++
						return testkit.Reply(500), nil
					}
					return testkit.Reply(200), nil
				})
				root := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
				refused := map[call]int{}
				for range 12 {
					for _, integration := range []string{"a", "b", "c"} {
						opts := []belay.Option{
							belay.WithIntegration(integration), belay.WithHeader("Integration", integration),
						}
						if integration == "c" {
							opts = append(opts, belay.WithBaseURL("https://c.partner.test"))
						}
						c, err := root.With(opts...)
						require.NoError(t, err)
						for _, route := range []string{"/reports", "/records"} {
							for _, method := range []string{"GET", "POST"} {
								var err error
								if raw {
									req, _ := c.NewRequest(t.Context(), method, route, nil)
									var resp *http.Response
									if resp, err = c.Do(req); err == nil {
										err = resp.Body.Close()
									}
								} else {
									_, err = belay.Send[belay.None](t.Context(), c, method, route, nil)
								}
								is := call{integration, method, route}
								if errors.Is(err, belay.ErrCircuitOpen) {
									refused[is]++
								} else if err == nil {
									require.Zero(t, sent[is])
								}
							}
						}
					}
				}
				for is := range refused {
					require.Positive(t, sent[is], "%v was refused and does not fail", is)
				}
				most := 0
				for is, n := range sent {
					require.LessOrEqual(t, n, 5)
					require.Positive(t, refused[is], is)
					most = max(most, n)
				}
				require.LessOrEqual(t, most, 5)
			})
		}
	}
}

// In quiet hours two calls of one customer are answered 500, and nobody else has called: the others are not refused.
func TestOneCustomersFailuresInQuietHours(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.Header.Get("Integration") == "bad" {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		root := newClient(t, rt)
		client := func(name string) *belay.Client {
			c, err := root.With(belay.WithIntegration(name), belay.WithHeader("Integration", name))
			require.NoError(t, err)
			return c
		}
		for range 2 {
			require.ErrorIs(t, get(t.Context(), client("bad"), "/records"), belay.ErrUnavailable)
		}
		status := root.Health().Circuits
		require.Len(t, status, 1)
		require.Equal(t, []string{"https://partner.test", "GET /records", "bad"},
			[]string{status[0].Origin, status[0].Route, status[0].Integration})
		require.NoError(t, get(t.Context(), client("good"), "/records"))
	})
}

// A whole outage under mixed traffic is found to be one within five failures.
func TestMixedFailuresOpenTheOrigin(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		root := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		for i := range 20 {
			c, err := root.With(belay.WithIntegration(fmt.Sprint(i % 7)))
			require.NoError(t, err)
			_ = get(t.Context(), c, fmt.Sprintf("/route%d", i%3))
		}
		require.Len(t, rt.Log, 5)
		status := root.Health().Circuits
		require.Len(t, status, 1)
		require.Equal(t, "https://partner.test", status[0].Origin)
		require.Empty(t, status[0].Route+status[0].Integration)
		require.Equal(t, belay.HealthDown, root.Health().State)
	})
}

// The narrower circuits give way to the wider one, and those who wait there go on in their order.
func TestWaitersMoveToTheWiderCircuit(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var order arrivals
		var up atomic.Bool
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if !up.Load() {
				return testkit.Reply(503), nil
			}
			order.note(req)
			return testkit.Reply(200), nil
		})
		root := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}), belay.Without(belay.LayerLimits),
			belay.WithBreakerPolicy(belay.BreakerPolicy{Cooldown: 10 * time.Second}))
		a, err := root.With(belay.WithIntegration("a"))
		require.NoError(t, err)
		b, err := root.With(belay.WithIntegration("b"))
		require.NoError(t, err)
		for range 5 {
			_ = get(t.Context(), a, "/x")
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				require.NoError(t, get(t.Context(), a, fmt.Sprintf("/x?%d", i), belay.Patience(time.Hour), belay.MaxAttempts(4)))
			})
			synctest.Wait()
		}
		require.Error(t, get(t.Context(), b, "/y")) // the sixth failure, on another route and for another integration
		require.Empty(t, root.Health().Circuits[0].Route)
		require.ErrorIs(t, get(t.Context(), b, "/z"), belay.ErrCircuitOpen)
		synctest.Wait()
		require.Equal(t, 50, root.Health().Circuits[0].Waiting)
		up.Store(true)
		wg.Wait()
		order.check(t, 50)
		require.Empty(t, root.Health().Circuits)
	})
}

// A blip of 300 ms, while several calls are in flight, fails none of them.
func TestBlipFailsNobody(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{1, 5, 8, 40} {
		testkit.Bubble(t, fmt.Sprint(parallel), func(t *testing.T) {
			began, blip := time.Now(), 300*time.Millisecond
			if parallel == 1 { // no circuit opens, and three backoffs together are shorter than this once in 200,000 times
				blip = 30 * time.Millisecond
			}
			rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
				if time.Since(began) < blip {
					return nil, errors.New("connection reset by peer")
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt)
			hc := c.HTTPClient()
			require.Empty(t, testkit.Work(parallel, parallel, func(int) error {
				resp, err := hc.Get("https://partner.test/")
				if err == nil {
					err = resp.Body.Close()
				}
				return err
			}))
			require.Less(t, time.Since(began), 3*time.Second)
		})
	}
}

// A call without retries, and a call in an outage that is older than the backoffs of a call, do not wait.
func TestWhoDoesNotWaitForTheCircuit(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		c := newClient(t, rt)
		for range 5 {
			_ = get(t.Context(), c, "/", belay.MaxAttempts(1))
		}
		began := time.Now()
		require.ErrorIs(t, get(t.Context(), c, "/", belay.MaxAttempts(1)), belay.ErrCircuitOpen)
		require.Zero(t, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, get(ctx, c, "/"), belay.ErrCircuitOpen, "its deadline comes before the probe")
		require.Zero(t, time.Since(began))
		require.Error(t, get(t.Context(), c, "/"))
		require.Less(t, time.Since(began), 8*time.Second)
		time.Sleep(10*time.Second - time.Since(began))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrTransient, "it is the probe")
		began = time.Now()
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrCircuitOpen)
		require.Zero(t, time.Since(began))
	})
}

// Patient calls go on in the order in which they came, those that probed in vain too.
func TestParkedCallsGoOnInOrder(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]belay.Option{
		nil, {belay.Without(belay.LayerLimits)}, {belay.WithRateLimit(belay.PerSecond(50))}, {belay.WithMaxInFlight(1)},
	} {
		testkit.Bubble(t, "", func(t *testing.T) {
			began := time.Now()
			var order arrivals
			rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
				if time.Since(began) < 20*time.Second {
					return testkit.Reply(503), nil
				}
				order.note(req)
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, opts...)
			for range 5 {
				_ = get(t.Context(), c, "/", belay.MaxAttempts(1))
			}
			var wg sync.WaitGroup
			for i := range 300 {
				wg.Go(func() {
					require.NoError(t, get(t.Context(), c, fmt.Sprintf("/?%d", i), belay.Patience(time.Hour)))
				})
				time.Sleep(10 * time.Millisecond)
			}
			wg.Wait()
			order.check(t, 300)
		})
	}
}

// arrivals notes the order in which numbered requests arrive.
type arrivals struct {
	mu    sync.Mutex
	order []int
}

func (a *arrivals) note(req *http.Request) {
	n, _ := strconv.Atoi(req.URL.RawQuery)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.order = append(a.order, n)
}

// check checks that n requests have arrived in their order. The one that comes first has probed. Requests that are
// sent at one instant may change places, as the scheduler likes: one pair of twenty at most.
func (a *arrivals) check(t *testing.T, n int) {
	require.Len(t, a.order, n)
	swapped := 0
	for i, first := range a.order[1:] {
		for _, then := range a.order[i+2:] {
			if then < first {
				swapped++
			}
		}
	}
	require.LessOrEqual(t, swapped, n*(n-1)/2/20, "%v", a.order)
}

// Calls that give up while they wait leave nothing behind, whichever circuit they wait for, and whenever they give up.
func TestCancelOfManyParkedCalls(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1, Cooldown: 5 * time.Minute}))
		_ = get(t.Context(), c, "/", belay.MaxAttempts(1))
		_ = post(t.Context(), c, "/", belay.MaxAttempts(1))
		var wg sync.WaitGroup
		for i := range 5_000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%7)*time.Hour/10)
			defer cancel()
			wg.Go(func() {
				if i%2 == 0 {
					_ = get(ctx, c, "/", belay.Patience(2*time.Hour))
				} else {
					_ = post(ctx, c, "/", belay.Patience(2*time.Hour))
				}
			})
		}
		synctest.Wait()
		require.Equal(t, 5_000, c.Health().Circuits[0].Waiting)
		wg.Wait()
		require.Zero(t, c.Health().Circuits[0].Waiting)
	})
}

// Origins that appear once, fail and go leave nothing behind.
func TestManyOriginsThatAppearOnce(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		root := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		heap := func() int {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		round := func(n, from int) {
			for i := range n {
				c, err := root.With(belay.WithBaseURL(fmt.Sprintf("https://h%d.partner.test", from+i)))
				require.NoError(t, err)
				_ = get(t.Context(), c, "/")
				rt.Log = nil
				rt.At = nil
			}
		}
		round(10_000, 0)
		before := heap()
		for i := range 3 {
			time.Sleep(2 * time.Minute)
			round(10_000, 10_000*(i+1))
		}
		require.Less(t, heap()-before, 2<<20)
	})
}
