package belay_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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

// Headers that say something odd slow nothing down for longer than they are true.
func TestOddHeaders(t *testing.T) {
	t.Parallel()
	quota := func(limit, left, reset any) *http.Response {
		return testkit.Reply(
			200,
			"X-RateLimit-Limit",
			fmt.Sprint(limit),
			"X-RateLimit-Remaining",
			fmt.Sprint(left),
			"X-RateLimit-Reset",
			fmt.Sprint(reset),
		)
	}
	for _, c := range []struct {
		name   string
		calls  int
		answer func(*odd, time.Duration, *http.Request) *http.Response
		within time.Duration
	}{
		{
			"not every call counts", 300,
			func(*odd, time.Duration, *http.Request) *http.Response { return quota(60, 59, 3600) }, 5 * time.Second,
		},
		{
			"always the same, with a reset of 0", 500,
			func(*odd, time.Duration, *http.Request) *http.Response { return quota(100, 99, 0) }, 5 * time.Second,
		},
		{
			"always the same, with a reset in the past", 500,
			func(*odd, time.Duration, *http.Request) *http.Response { return quota(100, 99, 946684000) }, 5 * time.Second,
		},
		{"used up once, for ten months, and never again", 20, func(o *odd, _ time.Duration, _ *http.Request) *http.Response {
			if o.sent == 1 {
				return quota(100, 0, 300*24*3600)
			}
			return quota(100, 99, 60)
		}, 61 * time.Minute},
		{"two quotas by one name", 300, func(_ *odd, _ time.Duration, req *http.Request) *http.Response {
			if req.URL.Path == "/few" {
				return quota(15, 14, 900)
			}
			return quota(900, 800, 900)
		}, 5 * time.Second},
		{"10 a second beside what is told", 200, func() func(*odd, time.Duration, *http.Request) *http.Response {
			limited := sliding(10, time.Second)()
			return func(o *odd, now time.Duration, req *http.Request) *http.Response {
				resp := limited(o, now, req)
				resp.Header.Set("X-RateLimit-Limit", "5000")
				resp.Header.Set("X-RateLimit-Remaining", fmt.Sprint(5000-o.succeeded))
				resp.Header.Set("X-RateLimit-Reset", "3600")
				return resp
			}
		}(), 25 * time.Second},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			o := &odd{start: time.Now(), answer: c.answer}
			client := newClient(t, o)
			failed := testkit.Work(8, c.calls, func(i int) error {
				path := "/many"
				if i%30 == 29 {
					path = "/few"
				}
				return get(t.Context(), client, path, belay.Patience(24*time.Hour))
			})
			t.Logf("took %s, %d refusals", time.Since(o.start), o.refused)
			require.Empty(t, failed)
			require.LessOrEqual(t, time.Since(o.start), c.within)
			require.LessOrEqual(t, o.refused, 10)
		})
	}
}

// told returns what the client knows from headers.
func told(c *belay.Client) (limits []string) {
	for _, l := range c.Limiter().Status().Limits {
		if l.Source == belay.LimitAdvertised {
			limits = append(limits, fmt.Sprintf("%s: %d of %d", l.Limit, l.Used, l.Max))
		}
	}
	return limits
}

// What partners tell in headers becomes a limit that the client keeps to.
func TestToldLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		header []string
		want   []string
	}{
		{"nothing", nil, nil},
		{"GitHub", []string{
			"X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4999",
			"X-RateLimit-Reset", "946688400", "X-RateLimit-Resource", "core",
		}, []string{"5000 per 1h0m0s, fixed: 1 of 5000"}},
		{"HubSpot", []string{
			"X-HubSpot-RateLimit-Daily", "250000", "X-HubSpot-RateLimit-Daily-Remaining", "249991",
			"X-HubSpot-RateLimit-Interval-Milliseconds", "10000",
			"X-HubSpot-RateLimit-Max", "100", "X-HubSpot-RateLimit-Remaining", "99",
			"X-HubSpot-RateLimit-Secondly", "10", "X-HubSpot-RateLimit-Secondly-Remaining", "9",
		}, []string{"10 per 1s: 1 of 10", "100 per 10s: 1 of 100", "250000 per 24h0m0s: 9 of 250000"}},
		{"Guesty", []string{
			"X-RateLimit-Limit-Second", "15", "X-RateLimit-Limit-Minute", "120", "X-RateLimit-Limit-Hour", "5000",
			"X-RateLimit-Remaining-Second", "14", "X-RateLimit-Remaining-Minute", "20",
		}, []string{"120 per 1m0s: 100 of 120", "15 per 1s: 1 of 15"}},
		{"Shopify", []string{"X-Shopify-Shop-Api-Call-Limit", "39/40"}, []string{"40 per 20s: 39 of 40"}},
		{"Salesforce", []string{"Sforce-Limit-Info", "api-usage=18/5000"}, []string{"5000 per 24h0m0s: 18 of 5000"}},
		{"OpenAI", []string{
			"x-ratelimit-limit-requests", "500", "x-ratelimit-remaining-requests", "499", "x-ratelimit-reset-requests", "1m0s",
			"x-ratelimit-limit-tokens", "9", "x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "6m0s",
		}, []string{"500 per 1m0s, fixed: 1 of 500"}},
		{
			"IETF, now",
			[]string{"RateLimit-Policy", `"burst";q=100;w=60,"daily";q=1000;w=86400`, "RateLimit", `"burst";r=50;t=30`},
			[]string{"100 per 1m0s, fixed: 50 of 100"},
		},
		{
			"IETF, -07",
			[]string{"RateLimit", "limit=100, remaining=50, reset=5", "RateLimit-Policy", "100;w=60"},
			[]string{"100 per 1m0s, fixed: 50 of 100"},
		},
		{
			"IETF, three fields",
			[]string{"RateLimit-Limit", "100, 100;w=10", "RateLimit-Remaining", "50", "RateLimit-Reset", "5"},
			[]string{"100 per 10s, fixed: 50 of 100"},
		},
		{
			"from a cache",
			[]string{"X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "60", "Age", "5"},
			nil,
		},
		{
			"an unknown partner's",
			[]string{"Acme-RateLimit-Limit", "100", "Acme-RateLimit-Remaining", "99", "Acme-RateLimit-Reset", "60"},
			[]string{"100 per 1m0s, fixed: 1 of 100"},
		},
		// What makes no sense is not believed.
		{
			"more left than there is",
			[]string{"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "11", "X-RateLimit-Reset", "60"},
			nil,
		},
		{"no limit at all", []string{"X-RateLimit-Limit", "0", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "60"}, nil},
		{"negative", []string{"X-RateLimit-Limit", "-5", "X-RateLimit-Remaining", "-1", "X-RateLimit-Reset", "60"}, nil},
		{
			"a century ahead",
			[]string{"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "99999999999"},
			nil,
		},
		{"half of it", []string{"X-RateLimit-Limit", "10"}, nil},
		{
			"a header of 64 KiB",
			[]string{"X-RateLimit-Limit", strings.Repeat("1", 64<<10), "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "60"},
			nil,
		},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			client := newClient(
				t,
				testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200, c.header...), nil }),
			)
			require.NoError(t, get(t.Context(), client, "/"))
			require.ElementsMatch(t, c.want, told(client))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_ = get(ctx, client, "/") // no wait without end
			if c.want == nil && len(c.header) > 0 && c.name != "from a cache" && c.name != "half of it" {
				require.Positive(t, client.Limiter().Status().Ignored, "counted")
			}
		})
	}
}

// A quota of some requests only, GitHub's search, slows those down and no others.
func TestToldForARoute(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "search", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			resource, left := "core", "4000"
			if strings.HasPrefix(req.URL.Path, "/search") {
				resource, left = "search", "0"
			}
			reset := strconv.FormatInt(time.Now().Add(30*time.Second).Unix(), 10)
			return testkit.Reply(
				200,
				"X-RateLimit-Limit",
				"5000",
				"X-RateLimit-Remaining",
				left,
				"X-RateLimit-Reset",
				reset,
				"X-RateLimit-Resource",
				resource,
			), nil
		})
		c := newClient(t, rt, belay.WithAuth(belay.Bearer(belay.NewSecret("t"))))
		require.NoError(t, get(t.Context(), c, "/search/code"))
		start := time.Now()
		for range 20 {
			require.NoError(t, get(t.Context(), c, "/repos"))
		}
		require.Zero(t, time.Since(start))
		require.NoError(t, get(t.Context(), c, "/search/code"))
		require.InDelta(t, 30, time.Since(start).Seconds(), 1)
		// Raw requests say no route: what they tell of a resource is not known to concern others.
		raw := newClient(t, rt)
		req, err := raw.NewRequest(t.Context(), http.MethodGet, "/search/code", nil)
		require.NoError(t, err)
		_, err = raw.Do(req)
		require.NoError(t, err)
		require.Empty(t, told(raw))
	})
}

// A partner that names a new quota in every answer makes nothing grow.
func TestToldIsBounded(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "names", func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			n++
			return testkit.Reply(
				200,
				"RateLimit-Policy",
				fmt.Sprintf(`"p%d";q=100;w=60`, n),
				"RateLimit",
				fmt.Sprintf(`"p%d";r=50;t=30`, n),
			), nil
		})
		c := newClient(t, rt)
		for range 100 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		require.LessOrEqual(t, len(told(c)), 8)
		for i := range 5000 {
			require.NoError(t, get(t.Context(), c, "/{id}", belay.PathValue("id", strconv.Itoa(i))))
		}
		require.LessOrEqual(t, len(told(c)), 8)
	})
}

// A partner that advertises its fixed windows refuses few calls, and no call waits long beside calls that are given
// up.
func TestToldFixedWindows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			n, per := 5+2*int(seed), time.Duration(5+4*seed)*time.Second
			p := belaytest.New(belaytest.Config{
				Limits: []belaytest.Limit{belaytest.Fixed(n, per)}, Tell: belaytest.TellSeconds, Headers: true,
				Latency: 20 * time.Millisecond, Jitter: 50 * time.Millisecond, Work: 10 * time.Millisecond, Seed: seed,
			})
			c := newClient(t, p)
			const calls = 200
			start := time.Now()
			var next atomic.Int32
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for i := next.Add(1); i <= calls; i = next.Add(1) {
						patience := 10 * time.Hour
						if i%7 == 0 {
							patience = 60 * time.Millisecond
						}
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						if _, err := belay.Get[belay.None](ctx, c, "/"); err != nil && i%7 != 0 {
							t.Error(err)
						}
						cancel()
					}
				})
			}
			wg.Wait()
			require.LessOrEqual(t, p.Count(http.StatusTooManyRequests), 16, "%d per %v", n, per)
			require.LessOrEqual(t, time.Since(start), per*(calls/time.Duration(n)+1)*3/2, "%d per %v", n, per)
		})
	}
}

// Fixed windows of any length, advertised by the permits left and the reset, are kept to: each worker is refused
// once at most.
func TestToldWindowsOfAnyLength(t *testing.T) {
	t.Parallel()
	const workers, calls = 10, 200
	for _, seconds := range []int{1, 2, 3, 4, 6, 7, 11, 12, 17, 31, 45, 59, 62, 69} {
		synctest.Test(t, func(t *testing.T) {
			p := belaytest.New(belaytest.Config{
				Limits: []belaytest.Limit{
					belaytest.Fixed(10, time.Duration(seconds)*time.Second),
				}, Headers: true, Latency: 20 * time.Millisecond,
			})
			c := newClient(t, p, belay.WithRetry(belay.RetryPolicy{MaxRetryAfter: 10 * time.Minute}))
			var next atomic.Int32
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for next.Add(1) <= calls {
						if _, err := belay.Get[belay.None](t.Context(), c, "/"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.LessOrEqual(t, p.Count(http.StatusTooManyRequests), workers, "10 per %d s", seconds)
		})
	}
}
