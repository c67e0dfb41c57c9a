package limiter

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Each refusal has a text of its own.
func TestRefusalTexts(t *testing.T) {
	t.Parallel()
	require.EqualError(t, &Refusal{Reason: QueueFull}, "queue full")
	require.EqualError(t, &Refusal{Reason: AboveLimit, What: "1 per 1s", Cost: 2}, "cost 2 is above the limit 1 per 1s")
	require.EqualError(
		t,
		&Refusal{Reason: WaitTooLong, What: "paused by the partner", Wait: time.Second},
		"paused by the partner for 1s",
	)
}

// A view has its own limits after its parent's, and leads back to the limiter that all views derive from.
func TestViews(t *testing.T) {
	t.Parallel()
	l := limiterOf(t, PerSecond(10))
	view, err := l.With(Limit{N: 1, Kind: InFlight})
	require.NoError(t, err)
	again, err := view.With(PerMinute(5))
	require.NoError(t, err)
	require.Same(t, l, again.Root())
	var names []string
	for _, limit := range again.Status().Limits {
		names = append(names, limit.Limit)
	}
	require.Equal(t, []string{"10 per 1s", "1 in flight", "5 per 1m0s"}, names)
	_, err = view.With(Limit{})
	require.ErrorContains(t, err, "must be positive")
}

// Slots that are detached stay taken until they are released; a reservation that is free releases nothing.
func TestDetach(t *testing.T) {
	t.Parallel()
	l := limiterOf(t, Limit{N: 1, Kind: InFlight})
	var r Reservation
	require.NoError(t, acquire(t.Context(), l, &r))
	require.True(t, r.Taken())
	require.Zero(t, l.Settle(&r, Outcome{Answered: true}))
	slots := l.Detach(&r)
	require.True(t, r.Free())
	l.Release(&r)
	require.Equal(t, 1, l.Status().Limits[0].Used)
	require.False(t, l.TryAcquire(&Reservation{}))
	slots.Release()
	require.Zero(t, l.Status().Limits[0].Used)
	(&Slots{}).Release()
}

// SetLimits may bring slots too: they are counted from then on.
func TestSetLimitsOfSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		send(t, l, &Reservation{})
		require.NoError(t, l.SetLimits(Limit{N: 1, Kind: InFlight}))
		var r Reservation
		require.NoError(t, acquire(t.Context(), l, &r))
		require.Equal(t, 1, l.Status().Limits[0].Used)
		release(l, &r, Outcome{Answered: true})
		require.Zero(t, l.Status().Limits[0].Used)
	})
}

// Scopes of routes are forgotten when the partner has nothing more to say to them.
func TestRouteScopesAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		for i := range 3 {
			r := &Reservation{Ask: Ask{Method: "GET", Route: string(rune('a' + i))}}
			require.NoError(t, acquire(t.Context(), l, r))
			release(l, r, Outcome{Kind: Throttled, Wait: time.Second, Scope: ScopeRoute})
		}
		require.Equal(t, 3, l.sched.routeScopes)
		time.Sleep(2 * time.Second)
		l.sched.mu.Lock()
		l.sched.forget(l.sched.now())
		l.sched.mu.Unlock()
		require.Zero(t, l.sched.routeScopes)
		require.Empty(t, l.sched.scopes)
	})
}
