package belay_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// odd is a partner of which nothing is known: answer decides, under a lock, 25 ms after the call was sent.
type odd struct {
	mu                 sync.Mutex
	start              time.Time
	sent               int // calls
	inFlight, most     int
	refused, succeeded int
	answer             func(o *odd, now time.Duration, req *http.Request) *http.Response
}

func (o *odd) RoundTrip(req *http.Request) (*http.Response, error) {
	o.mu.Lock()
	o.inFlight++
	o.most = max(o.most, o.inFlight)
	o.mu.Unlock()
	time.Sleep(25 * time.Millisecond)
	o.mu.Lock()
	o.sent++
	resp := o.answer(o, time.Since(o.start), req)
	if resp.StatusCode == http.StatusTooManyRequests {
		o.refused++
	} else {
		o.succeeded++
	}
	o.mu.Unlock()
	time.Sleep(25 * time.Millisecond)
	o.mu.Lock()
	o.inFlight--
	o.mu.Unlock()
	return resp, nil
}

func refuse(retryAfter string) *http.Response {
	if retryAfter == "" {
		return testkit.Reply(http.StatusTooManyRequests)
	}
	return testkit.Reply(http.StatusTooManyRequests, "Retry-After", retryAfter)
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
		{"one refusal of two thousand, Retry-After 30, when more went through before", 2000, once(1500, "30"), 60 * time.Second, 1},
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
			failed := testkit.Work(8, c.calls, func(int) error { return get(t.Context(), client, "/", belay.Patience(time.Hour)) })
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

func atRandom(in int, retryAfter string, until time.Duration) func() func(*odd, time.Duration, *http.Request) *http.Response {
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

func sliding(n int, per time.Duration) func() func(*odd, time.Duration, *http.Request) *http.Response {
	return func() func(*odd, time.Duration, *http.Request) *http.Response {
		var stamps []time.Duration
		return func(_ *odd, now time.Duration, _ *http.Request) *http.Response {
			for len(stamps) > 0 && now-stamps[0] >= per {
				stamps = stamps[1:]
			}
			if len(stamps) >= n {
				return refuse(fmt.Sprint(int((stamps[0]+per-now)/time.Second) + 1))
			}
			stamps = append(stamps, now)
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

// Headers that say something odd slow nothing down for longer than they are true.
func TestOddHeaders(t *testing.T) {
	t.Parallel()
	quota := func(limit, left, reset any) *http.Response {
		return testkit.Reply(200, "X-RateLimit-Limit", fmt.Sprint(limit), "X-RateLimit-Remaining", fmt.Sprint(left), "X-RateLimit-Reset", fmt.Sprint(reset))
	}
	for _, c := range []struct {
		name   string
		calls  int
		answer func(*odd, time.Duration, *http.Request) *http.Response
		within time.Duration
	}{
		{"not every call counts", 300, func(*odd, time.Duration, *http.Request) *http.Response { return quota(60, 59, 3600) }, 5 * time.Second},
		{"always the same, with a reset of 0", 500, func(*odd, time.Duration, *http.Request) *http.Response { return quota(100, 99, 0) }, 5 * time.Second},
		{"always the same, with a reset in the past", 500, func(*odd, time.Duration, *http.Request) *http.Response { return quota(100, 99, 946684000) }, 5 * time.Second},
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
