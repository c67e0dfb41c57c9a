package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a checker until the end of the test's bubble.
func run(t *testing.T, c *watch.Checker) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
}

func states(c *watch.Checker) string {
	var b strings.Builder
	for _, s := range c.Status() {
		fmt.Fprintf(&b, "%s %s %d;", s.Name, s.State, s.Failures)
	}
	return b.String()
}

// A check is down after three failed probes in a row, not after two, and up after one that succeeds.
func TestThreeInARow(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		var fails atomic.Bool
		var probed atomic.Int64
		c, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "crm", Probe: func(context.Context) error {
			probed.Add(1)
			time.Sleep(30 * time.Millisecond)
			if fails.Load() {
				return errors.New("refused: token=canary12345")
			}
			return nil
		}})
		require.NoError(t, err)
		require.Equal(t, "crm unknown 0;", states(c))
		run(t, c)
		time.Sleep(10 * time.Second)
		require.Equal(t, "crm up 0;", states(c))
		s := c.Status()[0]
		require.Equal(t, 30*time.Millisecond, s.Latency)
		require.Equal(t, "crm", s.Partner)
		began := time.Now()
		fails.Store(true)
		for c.Status()[0].Failures < 2 {
			time.Sleep(time.Second)
		}
		require.Equal(t, "crm up 2;", states(c))
		require.InDelta(t, 110, time.Since(began).Seconds(), 25, "about a minute between two")
		for c.Status()[0].Failures < 3 {
			time.Sleep(time.Second)
		}
		s = c.Status()[0]
		require.Equal(t, watch.Down, s.State)
		require.WithinDuration(t, time.Now(), s.Since, 2*time.Second)
		require.NotContains(t, s.Error, "canary")
		require.Contains(t, s.Error, "refused")
		fails.Store(false)
		time.Sleep(70 * time.Second)
		require.Equal(t, "crm up 0;", states(c))
		before := probed.Load()
		time.Sleep(time.Hour)
		require.InDelta(t, 60, probed.Load()-before, 3)
	})
}

// What probes do that say nothing of the partner, or do not come back, harms nobody.
func TestProbesThatSayNothing(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		hold := make(chan struct{})
		var hung, others atomic.Int64
		c, err := watch.NewChecker(watch.CheckerConfig{Interval: 10 * time.Second, Timeout: time.Second},
			watch.Check{Name: "a/hangs", Probe: func(context.Context) error { hung.Add(1); <-hold; return nil }},
			watch.Check{Name: "a/other", Probe: func(context.Context) error { others.Add(1); return nil }},
			watch.Check{Name: "b/panics", Probe: func(context.Context) error { panic("password=canary123") }},
			watch.Check{Name: "c/ends", Probe: func(context.Context) error { runtime.Goexit(); return nil }},
			watch.Check{Name: "d/busy", Probe: func(context.Context) error { return &belay.Error{Err: belay.ErrWaitTooLong} }},
			watch.Check{Name: "e/off", Probe: func(context.Context) error { return belay.ErrDisabled }},
			watch.Check{Name: "f/slow", Probe: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		)
		require.NoError(t, err)
		run(t, c)
		time.Sleep(5 * time.Minute)
		require.EqualValues(t, 1, hung.Load(), "it is not probed again before it comes back")
		require.InDelta(t, 30, others.Load(), 3)
		for _, s := range c.Status() {
			require.NotContains(t, s.Error, "canary")
			switch s.Name {
			case "a/hangs":
				require.Equal(t, watch.Down, s.State)
				require.InDelta(t, 30, s.Failures, 3, "it fails each time that it is due")
				require.Equal(t, "the probe did not end in time", s.Error)
			case "a/other":
				require.Equal(t, watch.Up, s.State)
			case "d/busy":
				require.Equal(t, watch.Unknown, s.State)
			case "e/off":
				require.Equal(t, watch.Disabled, s.State)
			default:
				require.Equal(t, watch.Down, s.State, s.Name)
			}
		}
		close(hold)
		time.Sleep(time.Minute)
		require.Greater(t, hung.Load(), int64(3))
		require.Equal(t, watch.Up, c.Status()[0].State)
		require.True(t, c.Remove("a/hangs"))
		require.False(t, c.Remove("a/hangs"))
		was := hung.Load()
		time.Sleep(time.Minute)
		require.Equal(t, was, hung.Load())
		require.NoError(t, c.Add(watch.Check{Name: "new", Probe: func(context.Context) error { return nil }}))
		time.Sleep(2 * time.Second)
		require.Contains(t, states(c), "new up 0;")
		require.Error(t, c.Run(t.Context()), "a second Run")
	})
}

// The probes of one partner never run beside each other, those of several do; and none takes the place of a user's call.
func TestProbesAreOneAtATime(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		var mu sync.Mutex
		at, most, all, mostOfAll := map[string]int{}, 0, 0, 0
		var checks []watch.Check
		for i := range 40 {
			partner := fmt.Sprint("p", i%4)
			checks = append(checks, watch.Check{Name: fmt.Sprint(partner, "/", i), Probe: func(ctx context.Context) error {
				mu.Lock()
				at[partner]++
				all++
				most, mostOfAll = max(most, at[partner]), max(mostOfAll, all)
				mu.Unlock()
				time.Sleep(200 * time.Millisecond)
				mu.Lock()
				at[partner]--
				all--
				mu.Unlock()
				return nil
			}})
		}
		c, err := watch.NewChecker(watch.CheckerConfig{}, checks...)
		require.NoError(t, err)
		run(t, c)
		time.Sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, most)
		require.Greater(t, mostOfAll, 1)
		require.LessOrEqual(t, mostOfAll, 4)
		require.Equal(t, 40, strings.Count(states(c), " up 0;"))
	})
	testkit.Bubble(t, "beside users", func(t *testing.T) {
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		client, err := belay.New("https://partner.test", belay.WithTransport(rt), belay.WithRateLimit(belay.Every(1, 10*time.Second)))
		require.NoError(t, err)
		probe := func(ctx context.Context) error {
			_, err := belay.Get[belay.None](ctx, client, "/me")
			return err
		}
		c, err := watch.NewChecker(watch.CheckerConfig{Interval: 5 * time.Second}, watch.Check{Name: "p", Probe: probe})
		require.NoError(t, err)
		run(t, c)
		began := time.Now()
		for range 20 { // users call as fast as the limit allows
			_, err := belay.Get[belay.None](t.Context(), client, "/users")
			require.NoError(t, err)
		}
		require.LessOrEqual(t, time.Since(began), 210*time.Second, "a probe had one place at most")
		require.NotEqual(t, watch.Down, c.Status()[0].State, c.Status()[0].Error)
	})
}

// CheckAll asks each of many customers, under the limit of places that they share.
func TestCheckAllOfMany(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		client, err := belay.New("https://crm.example", belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(500 * time.Millisecond)
			return testkit.Reply(200), nil
		})))
		require.NoError(t, err)
		c, err := watch.NewChecker(watch.CheckerConfig{})
		require.NoError(t, err)
		for i := range 300 {
			of, err := client.With(belay.WithIntegration(fmt.Sprint("customer-", i)))
			require.NoError(t, err)
			require.NoError(t, c.Add(watch.Check{Name: fmt.Sprint("crm/customer-", i), Probe: func(ctx context.Context) error {
				_, err := belay.Get[belay.None](ctx, of, "/me")
				return err
			}}))
		}
		began := time.Now()
		require.NoError(t, c.CheckAll(t.Context()))
		require.Less(t, time.Since(began), time.Minute)
	})
}

// CheckAll is a test of the credentials at the start.
func TestCheckAll(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		c, err := watch.NewChecker(watch.CheckerConfig{},
			watch.Check{Name: "good", Probe: func(context.Context) error { return nil }},
			watch.Check{Name: "bad", Probe: func(context.Context) error { return errors.New("not authenticated") }},
			watch.Check{Name: "slow", Probe: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		)
		require.NoError(t, err)
		err = c.CheckAll(t.Context())
		require.ErrorContains(t, err, "bad: not authenticated")
		require.ErrorContains(t, err, "slow: ")
		require.NotContains(t, err.Error(), "good")
		require.Equal(t, "bad unknown 1;good up 0;slow unknown 1;", states(c))
	})
}

// The handler answers for people, for load balancers and as application/health+json.
func TestHandler(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		var down atomic.Bool
		probe := func(context.Context) error {
			time.Sleep(20 * time.Millisecond)
			if down.Load() {
				return errors.New("<script>alert(1)</script>")
			}
			return nil
		}
		c, err := watch.NewChecker(watch.CheckerConfig{Failures: 1},
			watch.Check{Name: "crm", Probe: probe}, watch.Check{Name: "pay", Probe: func(context.Context) error { return nil }, Critical: true})
		require.NoError(t, err)
		ask := func(h http.Handler, method, accept string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, "/healthz", nil)
			r.Header.Set("Accept", accept)
			h.ServeHTTP(w, r)
			return w
		}
		require.Equal(t, 503, ask(c.Ready(), "GET", "").Code, "nothing is known of what is critical")
		require.NoError(t, c.CheckAll(t.Context()))
		var got struct {
			Status   string
			Services map[string]struct {
				Status    string
				LatencyMs int
				Error     string
			}
			Timestamp time.Time
		}
		w := ask(c.Handler(), "GET", "")
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, 200, w.Code)
		require.Equal(t, "up", got.Status)
		require.Equal(t, 20, got.Services["crm"].LatencyMs)
		require.Equal(t, "up", got.Services["pay"].Status)
		require.True(t, got.Timestamp.Equal(time.Now()))
		require.Equal(t, 200, ask(c.Ready(), "GET", "").Code)

		down.Store(true)
		require.Error(t, c.CheckAll(t.Context()))
		w = ask(c.Handler(), "GET", "")
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, 200, w.Code, "it is not critical")
		require.Equal(t, "degraded", got.Status)
		require.Equal(t, "down", got.Services["crm"].Status)
		require.NotContains(t, w.Body.String(), "<script>")
		w = ask(c.Handler(), "GET", "text/html, application/health+json;q=0.9")
		require.Equal(t, "application/health+json", w.Header().Get("Content-Type"))
		require.Contains(t, w.Body.String(), `"status":"warn"`)
		require.Contains(t, w.Body.String(), `"crm:responseTime":[{"componentType":"component","observedValue":20,"observedUnit":"ms","status":"fail"`)
		require.Equal(t, 200, ask(c.Ready(), "GET", "").Code)

		require.True(t, c.Remove("crm"))
		require.NoError(t, c.Add(watch.Check{Name: "crm", Probe: probe, Critical: true}))
		require.Error(t, c.CheckAll(t.Context()))
		for _, h := range []http.Handler{c.Handler(), c.Ready()} {
			require.Equal(t, 503, ask(h, "GET", "").Code)
			w := ask(h, "HEAD", "")
			require.Equal(t, 503, w.Code)
			require.Empty(t, w.Body.String())
			require.Equal(t, 405, ask(h, "POST", "").Code)
		}
		require.Equal(t, 200, ask(c.Live(), "GET", "").Code)
	})
}

// What is wrong is refused by its name.
func TestBadInput(t *testing.T) {
	probe := func(context.Context) error { return nil }
	for _, cfg := range []watch.CheckerConfig{{Interval: -1}, {Timeout: -1}, {Failures: -1}} {
		_, err := watch.NewChecker(cfg)
		require.Error(t, err)
	}
	for _, check := range []watch.Check{
		{Probe: probe}, {Name: "a\nb", Probe: probe}, {Name: strings.Repeat("x", 10<<10), Probe: probe}, {Name: "x"},
	} {
		_, err := watch.NewChecker(watch.CheckerConfig{}, check)
		require.Error(t, err)
		require.Less(t, len(err.Error()), 200)
	}
	_, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "x", Probe: probe}, watch.Check{Name: "x", Probe: probe})
	require.ErrorContains(t, err, `"x" already`)
}

// A probe asks the partner, whatever answers are kept.
func TestProbesUseNoKeptAnswers(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		var down atomic.Bool
		cache, err := belay.NewMemoryCache(1<<20, 100)
		require.NoError(t, err)
		client, err := belay.New("https://crm.test", belay.WithCache(cache, belay.CachePolicy{TTL: time.Hour}),
			belay.WithStaleIfError(cache, time.Hour),
			belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if down.Load() {
					return testkit.Reply(503), nil
				}
				return testkit.Reply(200, "Content-Type", "application/json"), nil
			})))
		require.NoError(t, err)
		probe := func(ctx context.Context) error {
			_, err := belay.Get[map[string]any](ctx, client, "/me")
			return err
		}
		require.NoError(t, probe(t.Context()))
		c, err := watch.NewChecker(watch.CheckerConfig{}, watch.Check{Name: "crm", Probe: probe})
		require.NoError(t, err)
		require.NoError(t, c.CheckAll(t.Context()))
		down.Store(true)
		require.Error(t, c.CheckAll(t.Context()))
		require.NoError(t, probe(t.Context()), "users have the kept answer meanwhile")
	})
}
