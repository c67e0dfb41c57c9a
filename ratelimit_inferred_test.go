package belay_test

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// Off is off: headers tell nothing, and a refusal only pauses.
func TestAdaptiveOff(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "off", func(t *testing.T) {
		p := belaytest.New(
			belaytest.Config{
				Limits:  []belaytest.Limit{belaytest.Sliding(10, time.Second)},
				Headers: true,
				Latency: time.Millisecond,
			},
		)
		c := newClient(t, p, belay.WithAdaptiveLimit(belay.AdaptivePolicy{Off: true}))
		require.Empty(t, testkit.Work(4, 50, func(int) error { return get(t.Context(), c, "/") }))
		require.Len(t, c.Limiter().Status().Limits, 1, "in flight")
		require.Greater(t, p.Count(429), 4)
	})
	testkit.Bubble(t, "floor and ceiling", func(t *testing.T) {
		p := belaytest.New(
			belaytest.Config{
				Limits:  []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
				Latency: 10 * time.Millisecond,
			},
		)
		c := newClient(t, p, belay.WithAdaptiveLimit(belay.AdaptivePolicy{Ceiling: 50}))
		start := time.Now()
		require.Empty(t, testkit.Work(8, 300, func(int) error { return get(t.Context(), c, "/") }))
		require.Greater(t, time.Since(start), 39*time.Second)
	})
	for _, p := range []belay.AdaptivePolicy{{Floor: -1}, {Ceiling: -1}, {Floor: 5, Ceiling: 4}} {
		_, err := belay.New("https://partner.test", belay.WithAdaptiveLimit(p))
		require.ErrorContains(t, err, "WithAdaptiveLimit: AdaptivePolicy.")
	}
}

// A partner that refuses in a way that no limit explains slows the work down, but not for good.
func TestOddPartners(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		calls    int
		answer   func() func(*odd, time.Duration, *http.Request) *http.Response
		within   time.Duration
		refusals int
	}{
		{"one refusal of two thousand, without a word", 2000, once(20, ""), 20 * time.Second, 1},
		{"one refusal of two thousand, Retry-After 1", 2000, once(200, "1"), 20 * time.Second, 1},
		{
			"one refusal of two thousand, Retry-After 30, when more went through before",
			2000, once(1500, "30"), 60 * time.Second, 1,
		},
		{"one in twenty at random, without a word", 500, atRandom(20, "", 0), 60 * time.Second, 45},
		{"one in twenty at random, Retry-After 1", 500, atRandom(20, "1", 0), 20 * time.Minute, 45},
		{"one in twenty at random for a minute, then none", 5000, atRandom(20, "1", time.Minute), 25 * time.Minute, 60},
		{"a bucket of 40, 2 a second", 500, bucketOf(40, 2), 250 * time.Second, 60},
		{"three at a time", 500, atOnce(3), 60 * time.Second, 60},
		{"1 a second for a minute, then no limit", 3000, untilThen(1, time.Minute), 15 * time.Minute, 20},
		{"7 in 3 seconds", 200, sliding(7, 3*time.Second), 150 * time.Second, 60},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			o := &odd{start: time.Now(), answer: c.answer()}
			// Where others take every place that comes free, one call may be refused more than four times.
			client := newClient(t, o, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 15}))
			failed := testkit.Work(
				8,
				c.calls,
				func(int) error { return get(t.Context(), client, "/", belay.Patience(time.Hour)) },
			)
			took := time.Since(o.start)
			t.Logf("took %s, %d refusals, %v", took, o.refused, client.Limiter().Status().Limits[1:])
			require.Empty(t, failed)
			require.LessOrEqual(t, took, c.within)
			require.LessOrEqual(t, o.refused, c.refusals)
		})
	}
}

func once(at int, retryAfter string) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		return func(o *odd, _ time.Duration, _ *http.Request) *http.Response {
			if o.sent == at {
				return refuse(retryAfter)
			}
			return testkit.Reply(200)
		}
	}
}

func atRandom(
	in int,
	retryAfter string,
	until time.Duration,
) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		rng := rand.New(rand.NewPCG(1, 2))
		return func(_ *odd, now time.Duration, _ *http.Request) *http.Response {
			if rng.IntN(in) == 0 && (until == 0 || now < until) {
				return refuse(retryAfter)
			}
			return testkit.Reply(200)
		}
	}
}

func bucketOf(size, fill float64) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		tokens, last := size, time.Duration(0)
		return func(_ *odd, now time.Duration, _ *http.Request) *http.Response {
			tokens, last = min(size, tokens+(now-last).Seconds()*fill), now
			if tokens < 1 {
				return refuse("1")
			}
			tokens--
			return testkit.Reply(200)
		}
	}
}

func atOnce(n int) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		return func(o *odd, _ time.Duration, _ *http.Request) *http.Response {
			if o.inFlight > n {
				return refuse("")
			}
			return testkit.Reply(200)
		}
	}
}

func untilThen(n int, until time.Duration) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		limited := sliding(n, time.Second)()
		return func(o *odd, now time.Duration, req *http.Request) *http.Response {
			if now < until {
				return limited(o, now, req)
			}
			return testkit.Reply(200)
		}
	}
}

// A partner that takes nothing at all is asked by one call at a time, at growing distances.
func TestAlwaysRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &odd{start: time.Now(), answer: func(*odd, time.Duration, *http.Request) *http.Response { return refuse("") }}
		client := newClient(t, o)
		failed := testkit.Work(8, 20, func(int) error { return get(t.Context(), client, "/") })
		require.Len(t, failed, 20)
		require.Greater(t, time.Since(o.start), 5*time.Minute)
		require.LessOrEqual(t, o.most, 8)
	})
}
