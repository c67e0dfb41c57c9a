package belay

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
