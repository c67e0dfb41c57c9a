package belay_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// The state is of the last minutes, not of the last answer: one failure among many is no trouble, and one success among
// failures is no recovery.
func TestHealthOfTheLastMinutes(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		status := 200
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(status), nil }),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}), belay.Without(belay.LayerBreaker))
		call := func(as, n int) belay.HealthState {
			status = as
			for range n {
				_ = get(t.Context(), c, "/x")
			}
			return c.Health().State
		}
		require.Equal(t, belay.HealthUp, call(200, 100))
		require.Equal(t, belay.HealthUp, call(503, 2), "two among a hundred")
		require.Equal(t, belay.HealthDegraded, call(503, 1), "three in a row")
		require.Equal(t, belay.HealthUp, call(200, 1))
		require.Equal(t, belay.HealthUp, call(404, 20), "its answers find fault with the request")
		h := c.Health()
		require.Equal(t, []int{124, 3}, []int{h.Attempts, h.Failed})
		time.Sleep(5 * time.Minute)
		for range 10 { // every other one fails
			call(503, 1)
			require.NotEqual(t, belay.HealthDown, call(200, 1))
		}
		require.Equal(t, belay.HealthDegraded, c.Health().State)
		time.Sleep(2 * time.Minute)
		require.Equal(t, belay.HealthDegraded, call(200, 1), "it is not over")
		require.Equal(t, belay.HealthUp, call(200, 100))
		time.Sleep(6 * time.Minute)
		require.Equal(t, belay.HealthUp, c.Health().State)
		require.Zero(t, c.Health().Attempts)
		require.Equal(t, belay.HealthDegraded, call(503, 1), "alone")
	})
}
