package belay_test

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// byTheClock is a partner whose windows follow the clock, told by headers alone. round is the unit of the time to
// the end of a window, which is rounded up.
type byTheClock struct {
	limit      int
	per, round time.Duration

	mu      sync.Mutex
	window  int64
	used    int
	refused int
}

func (p *byTheClock) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(10 * time.Millisecond)
	p.mu.Lock()
	now := time.Now().UnixNano()
	if w := now / int64(p.per); w != p.window {
		p.window, p.used = w, 0
	}
	status := 200
	if p.used++; p.used > p.limit {
		status, p.used = 429, p.limit
		p.refused++
	}
	left, end := p.limit-p.used, time.Duration((p.window+1)*int64(p.per)-now)
	p.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	return testkit.Reply(status, "X-RateLimit-Limit", strconv.Itoa(p.limit), "X-RateLimit-Remaining", strconv.Itoa(left),
		"X-RateLimit-Reset", strconv.Itoa(int((end+p.round-1)/p.round*p.round/time.Second))), nil
}

// Windows that follow the clock, told by headers: no call is refused, wherever in a window the work begins.
func TestWindowsThatFollowTheClock(t *testing.T) {
	t.Parallel()
	for _, per := range []time.Duration{10 * time.Second, time.Minute, 15 * time.Minute, time.Hour} {
		for at := range 12 {
			testkit.Bubble(t, fmt.Sprint(per, " from ", at, "/12"), func(t *testing.T) {
				now := time.Now().UnixNano()
				time.Sleep(time.Duration(-now%int64(per)) + per + time.Duration(at)*per/12)
				p := &byTheClock{limit: 60, per: per, round: time.Second}
				c := newClient(t, p)
				require.Empty(t, testkit.Work(8, 200, func(int) error {
					return get(t.Context(), c, "/", belay.Patience(4*time.Hour))
				}))
				require.Zero(t, p.refused)
			})
		}
	}
}

// Headers that tell what is left of a second and of a minute, and no limit: the client throttles ahead of a refusal.
func TestRemainingWithoutALimit(t *testing.T) {
	t.Parallel()
	for _, already := range []int{0, 3, 8} {
		testkit.Bubble(t, fmt.Sprint(already), func(t *testing.T) {
			var mu sync.Mutex
			var second, minute []time.Time
			for range already {
				second, minute = append(second, time.Now()), append(minute, time.Now())
			}
			refused := 0
			drop := func(all []time.Time, per time.Duration) []time.Time {
				for len(all) > 0 && time.Since(all[0]) >= per {
					all = all[1:]
				}
				return all
			}
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				second, minute = drop(second, time.Second), drop(minute, time.Minute)
				status := 200
				if len(second) >= 10 || len(minute) >= 100 {
					status = 429
					refused++
				} else {
					second, minute = append(second, time.Now()), append(minute, time.Now())
				}
				return testkit.Reply(status, "X-RateLimit-Remaining-Second", strconv.Itoa(10-len(second)),
					"X-RateLimit-Remaining-Minute", strconv.Itoa(100-len(minute))), nil
			})
			c := newClient(t, rt)
			began := time.Now()
			require.NoError(t, get(t.Context(), c, "/"))
			require.Empty(
				t,
				testkit.Work(4, 300, func(int) error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) }),
			)
			require.LessOrEqual(t, refused, 1)
			require.Less(t, time.Since(began), 200*time.Second)
		})
	}
}

// Limits above what 32 bits hold are counted right; numbers beyond sense are refused by name.
func TestHugeLimits(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "bytes as cost", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		c := newClient(t, rt, belay.WithRateLimit(belay.PerDay(10<<30)))
		began := time.Now()
		for range 5 {
			require.NoError(t, get(t.Context(), c, "/", belay.Cost(2<<30)))
		}
		require.Zero(t, time.Since(began))
		require.Equal(t, 10<<30, c.Limiter().Status().Limits[0].Used)
		require.NoError(t, get(t.Context(), c, "/", belay.Cost(1)))
		require.GreaterOrEqual(t, time.Since(began), 24*time.Hour)
	})
	for name, limit := range map[string]belay.Limit{
		"PerSecond(MaxInt)":       belay.PerSecond(math.MaxInt),
		"PerDay(MaxInt)":          belay.PerDay(math.MaxInt),
		"fixed":                   belay.PerSecond(math.MaxInt).Fixed(),
		"bucket":                  belay.PerSecond(math.MaxInt).Bucket(math.MaxInt),
		"Headroom(1)":             belay.PerSecond(math.MaxInt).Headroom(1),
		"Headroom(1) of a few":    belay.PerSecond(3).Headroom(1),
		"Headroom(0.5) of a few":  belay.PerSecond(6).Headroom(0.5),
		"a limit of four billion": belay.PerSecond(1 << 32),
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
			c, err := belay.New("https://partner.test", belay.WithTransport(rt), belay.WithRateLimit(limit))
			if err != nil {
				require.ErrorIs(t, err, belay.ErrInvalid)
				require.ErrorContains(t, err, "limit")
				return
			}
			began := time.Now()
			for range 3 {
				require.NoError(t, get(t.Context(), c, "/"))
			}
			require.Zero(t, time.Since(began))
			require.Equal(t, 3, c.Limiter().Status().Limits[0].Used)
		})
	}
	for name, opt := range map[string]belay.Option{
		"BaseDelay": belay.WithRetry(belay.RetryPolicy{BaseDelay: math.MaxInt64}),
		"MaxDelay":  belay.WithRetry(belay.RetryPolicy{MaxDelay: math.MaxInt64}),
		"Window":    belay.WithBreakerPolicy(belay.BreakerPolicy{Window: math.MaxInt64}),
		"Cooldown":  belay.WithBreakerPolicy(belay.BreakerPolicy{Cooldown: math.MaxInt64}),
	} {
		_, err := belay.New("https://partner.test", opt)
		require.ErrorIs(t, err, belay.ErrInvalid, name)
		require.ErrorContains(t, err, name)
	}
	testkit.Bubble(t, "more failures than 32 bits hold", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1 << 32, FailureRatio: -1}))
		for range 100 {
			require.NotErrorIs(t, get(t.Context(), c, "/", belay.MaxAttempts(1)), belay.ErrCircuitOpen)
		}
	})
}

// AdaptivePolicy.Off reads no header.
func TestAdaptiveOffReadsNothing(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			return testkit.Reply(
				200,
				"X-RateLimit-Limit",
				"garbage",
				"X-RateLimit-Remaining",
				"0",
				"X-RateLimit-Reset",
				"9",
			), nil
		})
		c := newClient(t, rt, belay.WithAdaptiveLimit(belay.AdaptivePolicy{Off: true}))
		require.NoError(t, get(t.Context(), c, "/"))
		require.Zero(t, c.Limiter().Status().Ignored)
	})
}

// A refusal within a configured limit, for what another process has spent, is a short step aside.
func TestForeignRefusal(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"", "1"} {
		testkit.Bubble(t, "after "+after, func(t *testing.T) {
			rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
				if n == 60 {
					if after == "" {
						return testkit.Reply(429), nil
					}
					return testkit.Reply(429, "Retry-After", after), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithRateLimit(belay.PerSecond(10)))
			began := time.Now()
			require.Empty(t, testkit.Work(4, 290, func(int) error { return get(t.Context(), c, "/") }))
			require.Less(t, time.Since(began), 31*time.Second)
		})
	}
	testkit.Bubble(t, "but a configured limit that is too high is found out", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(5, time.Second)}})
		c := newClient(t, p, belay.WithRateLimit(belay.PerSecond(20)))
		require.Empty(t, testkit.Work(4, 500, func(int) error { return get(t.Context(), c, "/") }))
		require.Less(t, p.Count(429), 20)
	})
}
