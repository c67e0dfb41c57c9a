package belay

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Waiters go in order of arrival.
func TestArrivalOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLimiter(Every(1, time.Second))
		require.NoError(t, err)
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				var ticket Ticket
				if l.Acquire(t.Context(), &ticket) == nil {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					l.Release(&ticket, Outcome{Sent: true})
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		for i, n := range order {
			require.Equal(t, i, n)
		}
		require.Len(t, order, 20)
	})
}

// The backoff is drawn evenly below a bound that doubles up to MaxDelay.
func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const calls = 300
		sums := make([]time.Duration, 6)
		most := make([]time.Duration, 6)
		for range calls {
			var last time.Time
			n := 0
			rt := transportFunc(func(*http.Request) (*http.Response, error) {
				if n > 0 {
					wait := time.Since(last)
					sums[n] += wait
					most[n] = max(most[n], wait)
				}
				n++
				last = time.Now()
				return nil, context.DeadlineExceeded
			})
			c := clientOf(t, rt, Without(LayerBreaker), WithRetry(RetryPolicy{MaxAttempts: 6, BaseDelay: time.Second, MaxDelay: 4 * time.Second}))
			_, err := Get[None](t.Context(), c, "/")
			require.ErrorIs(t, err, ErrTransient)
		}
		for i, bound := range []time.Duration{1, 2, 4, 4, 4} {
			bound *= time.Second
			require.LessOrEqual(t, most[i+1], bound)
			require.Greater(t, most[i+1], bound*9/10)
			require.InDelta(t, bound.Seconds()/2, (sums[i+1] / calls).Seconds(), bound.Seconds()/8, "evenly")
		}
	})
}

// What a retry cost comes back with its success; a first-try success adds one.
func TestBudgetComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := transportFunc(func(req *http.Request) (*http.Response, error) {
			if n++; n == 1 || n == 2 {
				return answer(500, "")(req)
			}
			return answer(200, "")(req)
		})
		b := NewRetryBudget(100)
		c := clientOf(t, rt, WithRetry(RetryPolicy{Budget: b}))
		_, err := Get[None](t.Context(), c, "/")
		require.NoError(t, err)
		require.Equal(t, 95, b.Tokens(), "the last retry's five came back, the first one's did not")
		_, err = Get[None](t.Context(), c, "/")
		require.NoError(t, err)
		require.Equal(t, 96, b.Tokens())
	})
}

// Headroom leaves its share to others, of a burst too.
func TestHeadroomHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for limit, want := range map[int]Limit{8: PerMinute(10).Headroom(0.8), 5: PerMinute(10).Bucket(10).Headroom(0.5), 3: PerMinute(10).Fixed().Headroom(0.3)} {
			l, err := NewLimiter(want)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			n := 0
			for {
				var ticket Ticket
				if l.Acquire(ctx, &ticket) != nil {
					break
				}
				l.Release(&ticket, Outcome{Sent: true})
				n++
			}
			cancel()
			require.Equal(t, limit, n, want)
		}
	})
}

// ReadOnly lets a search by POST be retried.
func TestReadOnlyIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := transportFunc(func(req *http.Request) (*http.Response, error) { n++; return answer(503, "")(req) })
		c := clientOf(t, rt, Without(LayerBreaker))
		_, err := Post[None](t.Context(), c, "/search", None{}, ReadOnly())
		require.ErrorIs(t, err, ErrTransient)
		require.Equal(t, 4, n)
	})
}

// Defaults that follow from others.
func TestDerivedDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, time.Minute, BreakerPolicy{}.withDefaults(time.Second).Window)
	require.Equal(t, 90*time.Second, BreakerPolicy{}.withDefaults(30*time.Second).Window)
	require.Equal(t, time.Second, BreakerPolicy{MaxCooldown: time.Second}.withDefaults(0).Cooldown)
	require.Equal(t, 2*time.Minute, BreakerPolicy{Cooldown: 2 * time.Minute}.withDefaults(0).MaxCooldown)
	require.Equal(t, 100*time.Millisecond, RetryPolicy{MaxDelay: 100 * time.Millisecond}.withDefaults().BaseDelay)
	c, err := New("https://partner.test", WithMaxInFlight(23))
	require.NoError(t, err)
	require.Equal(t, 23, c.shared.transport.(*http.Transport).MaxIdleConnsPerHost)
	require.True(t, c.shared.transport.(*http.Transport).ForceAttemptHTTP2)
	require.NotNil(t, c.shared.transport.(*http.Transport).Proxy)
}

// A write that waited in line while the circuit opened does not take the probe from a read that is parked.
func TestWriteInLineDoesNotProbeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []string
		rt := transportFunc(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			sent = append(sent, req.Method)
			n := len(sent)
			mu.Unlock()
			if n == 1 {
				time.Sleep(time.Second)
				return answer(500, "")(req)
			}
			return answer(200, "")(req)
		})
		c := clientOf(t, rt, WithRateLimit(Every(1, 10*time.Second)), WithBreakerPolicy(BreakerPolicy{Failures: 1, Cooldown: 9 * time.Second}),
			WithRetry(RetryPolicy{MaxAttempts: 1}))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = Get[None](t.Context(), c, "/") })
		wg.Go(func() {
			time.Sleep(time.Second / 2) // before the answer that opens the circuit: it waits in line for the limit
			_, _ = Post[None](t.Context(), c, "/", None{}, Patience(time.Hour))
		})
		wg.Go(func() {
			time.Sleep(2 * time.Second) // after it: it parks
			_, _ = Get[None](t.Context(), c, "/", Patience(time.Hour))
		})
		wg.Wait()
		require.Equal(t, []string{"GET", "GET", "POST"}, sent)
	})
}

// Redirects to a trusted origin are within the origin.
func TestRedirectToTrustedOrigin(t *testing.T) {
	t.Parallel()
	var got []string
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.URL.Host+" "+req.Header.Get("Authorization"))
		if req.URL.Host == "partner.test" {
			resp, err := answer(302, "")(req)
			resp.Header.Set("Location", "https://files.partner.test/x")
			return resp, err
		}
		return answer(200, "{}")(req)
	})
	c := clientOf(t, rt, WithTrustedOrigins("https://files.partner.test"), WithAuth(Bearer(NewSecret("token"))))
	_, err := Get[None](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, []string{"partner.test Bearer token", "files.partner.test Bearer token"}, got)
}

// A body is closed also where a call that is over before it is sent meets no limiter.
func TestCancelledCallClosesItsBody(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(200, "{}"), Without(LayerLimits))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var closed, eof atomic.Int32
	_, err := Post[None](ctx, c, "/", ReaderBody("text/plain", &tracked{strings.NewReader("x"), &closed, &eof}))
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, closed.Load())
}
