package limiter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The ramp grows after its hold, starts again its quiet time on a failure, and ends when nobody waits for it.
func TestRamp(t *testing.T) {
	t.Parallel()
	var r ramp
	for now := time.Duration(0); now < 30*time.Second; now += 100 * time.Millisecond {
		r.note(now)
	}
	now := 30 * time.Second
	r.outage(now)
	require.InDelta(t, 10, r.before, 0.5)
	now = 90 * time.Second
	r.start(now, 60*time.Second, 0)
	require.InDelta(t, 19, r.rate, 1)
	first := r.rate
	grant := func(until time.Duration) (n int) {
		for now < until {
			if r.open(now) {
				r.note(now)
				n++
			}
			now += time.Millisecond
		}
		return n
	}
	require.InDelta(t, first*75, grant(165*time.Second), 75*1.2)
	require.Equal(t, first, r.rate, "it holds until steady traffic has caught up")
	grant(166 * time.Second)
	require.InDelta(t, 1.5*first, r.rate, 0.01)
	r.disturbed(now)
	grant(175*time.Second + 500*time.Millisecond)
	require.InDelta(t, 1.5*first, r.rate, 0.01)
	grant(177 * time.Second)
	require.InDelta(t, 2.25*first, r.rate, 0.01)
	require.Positive(t, r.wait(now, 100))
	now += 11 * time.Second
	require.True(t, r.open(now))
	require.Zero(t, r.rate)
	require.Zero(t, r.wait(now, 100))
}

// A circuit that opens again while calls are eased in does not take the eased pace for the usual one.
func TestRampsDoNotCompound(t *testing.T) {
	t.Parallel()
	var r ramp
	now := time.Duration(0)
	for ; now < 30*time.Second; now += 50 * time.Millisecond {
		r.note(now)
	}
	for range 3 {
		r.outage(now)
		require.InDelta(t, 20, r.before, 1)
		now += 20 * time.Second
		r.start(now, 20*time.Second, 0)
		for until := now + 12*time.Second; now < until; now += time.Millisecond {
			if r.open(now) {
				r.note(now)
			}
		}
	}
}
