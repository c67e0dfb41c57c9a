package limiter

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A waiter that is admitted in the moment it gives up gives everything back.
func TestCancelledWhileAdmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept, gone := 0, 0
		for range 200 {
			l, err := New(Every(1, time.Hour), Every(1, time.Hour).Bucket(1))
			require.NoError(t, err)
			l, err = l.With(
				Limit{N: 1, Kind: InFlight},
				Limit{N: 1, Per: time.Hour, When: func(*http.Request) bool { return false }},
			)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			tiers := l.current().tiers
			ticket := &Reservation{tiers: l.current(), taken: 7}
			w := &waiter{place: ticket, view: l, ready: make(chan struct{}, 1)}
			l.sched.take(ticket, scopes{}, l.sched.now())
			w.admitted = true
			w.signal()
			cancel()
			if err := l.sched.wait(ctx, ticket, w); err == nil {
				kept++
				require.Zero(t, tiers[0].Left(l.sched.now()))
			} else {
				gone++
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, 1, tiers[0].Left(l.sched.now()))
				require.Equal(t, 1, tiers[1].Left(l.sched.now()))
				require.True(t, tiers[2].slots.Free(1))
				require.Equal(t, free, ticket.state)
			}
		}
		require.Positive(t, kept)
		require.Positive(t, gone)
	})
}

// A 429 within a known limit, answered later than the slack, doubles the slack up to the answer.
func TestSlackDoubles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := New(PerSecond(10))
		require.NoError(t, err)
		refused := func(after time.Duration) {
			ticket := &Reservation{}
			require.NoError(t, acquire(t.Context(), l, ticket))
			time.Sleep(after)
			release(l, ticket, Outcome{Kind: Throttled, Scope: ScopeCall})
		}
		refused(50 * time.Millisecond)
		require.Equal(t, 100*time.Millisecond, l.sched.slack, "the answer came within it")
		refused(time.Second)
		require.Equal(t, 200*time.Millisecond, l.sched.slack)
		refused(300 * time.Millisecond)
		require.Equal(t, 300*time.Millisecond, l.sched.slack, "no further than the answer")
	})
}
