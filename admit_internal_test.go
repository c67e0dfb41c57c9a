package belay

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/limiter"
)

// More limits than a ticket has room for by itself.
func TestManyLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var limits []Limit
		for i := range 10 {
			limits = append(limits, Every(10+i, time.Second))
		}
		l, err := NewLimiter(limits...)
		require.NoError(t, err)
		start := time.Now()
		var ticket Ticket
		for range 30 {
			require.NoError(t, l.Acquire(t.Context(), &ticket))
			l.Release(&ticket, Outcome{Sent: true})
		}
		require.InDelta(t, 2, time.Since(start).Seconds(), 0.11)
		require.Equal(t, "10 per 1s", limits[0].String())
		require.Equal(t, "7 in flight", Limit{spec: limiter.Limit{N: 7, Kind: limiter.InFlight}}.String())
		require.InDelta(t, 0.4, PerSecond(10).Headroom(0.8).Headroom(0.5).spec.Headroom, 1e-9)
		require.Equal(t, 1, limiterOf(t, PerSecond(1).Headroom(0.1)).Status().Limits[0].Max)
		require.Equal(t, 24*time.Hour, PerDay(1).spec.Per)
	})
}

func limiterOf(t *testing.T, limits ...Limit) *Limiter {
	t.Helper()
	l, err := NewLimiter(limits...)
	require.NoError(t, err)
	return l
}

type odd struct{ err error }

func (o odd) Credential(context.Context) (Credential, error) { return o, nil }

func (o odd) Apply(*http.Request) error { return o.err }

// An authenticator that cannot be compared, and a credential that cannot be applied.
func TestOddAuthenticators(t *testing.T) {
	t.Parallel()
	type slice struct {
		odd
		_ []int
	}
	c := clientOf(t, answer(200, "{}"), WithAuth(slice{}))
	_, err := Get[None](t.Context(), c, "/")
	require.NoError(t, err)
	_, err = Get[None](t.Context(), c, "/", Auth(odd{errors.New("no key for the signature")}))
	require.ErrorContains(t, err, "no key for the signature")
	require.Zero(t, c.limiter.Status().Limits[0].Used)
}

// A write that waited in the queue while the circuit opened does not take the probe from a read that is parked.
func TestWriteInLineDoesNotProbeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []string
		rt := transportFunc(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			sent = append(sent, req.URL.RawQuery)
			n := len(sent)
			mu.Unlock()
			if n == 1 {
				time.Sleep(time.Second)
				return answer(500, "")(req)
			}
			return answer(200, "")(req)
		})
		c := clientOf(
			t,
			rt,
			WithRateLimit(Every(1, 10*time.Second)),
			WithBreakerPolicy(BreakerPolicy{Failures: 1, Cooldown: 9 * time.Second}),
			WithRetry(RetryPolicy{MaxAttempts: 1}),
		)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = Post[None](t.Context(), c, "/?safe", nil, Idempotent()) })
		wg.Go(func() {
			time.Sleep(time.Second / 2) // before the answer that opens the circuit: it waits in the queue for the limit
			_, _ = Post[None](t.Context(), c, "/?unsafe", nil, Patience(time.Hour))
		})
		wg.Go(func() {
			time.Sleep(2 * time.Second) // after it: it parks
			_, _ = Post[None](t.Context(), c, "/?safe", nil, Idempotent(), Patience(time.Hour))
		})
		wg.Wait()
		require.Equal(t, []string{"safe", "safe", "unsafe"}, sent)
	})
}

// Defaults that follow from others.
func TestDerivedDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, time.Minute, BreakerPolicy{}.withDefaults(time.Second).Window)
	require.Equal(t, 90*time.Second, BreakerPolicy{}.withDefaults(30*time.Second).Window)
	require.Equal(t, 100*time.Millisecond, BreakerPolicy{MaxCooldown: 100 * time.Millisecond}.withDefaults(0).Cooldown)
	require.Equal(t, 4*time.Second, BreakerPolicy{}.withDefaults(0).MaxCooldown)
	require.Equal(t, 2*time.Minute, BreakerPolicy{Cooldown: 2 * time.Minute}.withDefaults(0).MaxCooldown)
	require.Equal(t, 100*time.Millisecond, RetryPolicy{MaxDelay: 100 * time.Millisecond}.withDefaults().BaseDelay)
	c, err := New("https://partner.test", WithMaxInFlight(23))
	require.NoError(t, err)
	require.Equal(t, 23, c.shared.transport.(*http.Transport).MaxIdleConnsPerHost)
	require.True(t, c.shared.transport.(*http.Transport).ForceAttemptHTTP2)
	require.NotNil(t, c.shared.transport.(*http.Transport).Proxy)
}
