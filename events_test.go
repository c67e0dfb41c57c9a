package belay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// What the caller gets is what the events tell.
func TestEventsTellWhatTheCallerGets(t *testing.T) {
	t.Parallel()
	var done []belay.CallDone
	see := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if d, ok := e.(belay.CallDone); ok {
			done = append(done, d)
		}
	})
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
		return testkit.Reply(200, "Content-Type", "text/html"), nil
	})
	_, err := belay.Get[[]string](t.Context(), newClient(t, rt, belay.WithObserver(see)), "/")
	require.ErrorIs(t, err, belay.ErrData)
	require.Len(t, done, 1)
	require.Equal(t, belay.ClassData, done[0].Verdict.Class)
	require.ErrorContains(t, done[0].Err, "does not fit")
}

// doneObserver notes copies of what it gets.
type doneObserver struct {
	events []belay.Event
	panics bool
}

func (o *doneObserver) Observe(_ context.Context, e belay.Event) { o.events = append(o.events, e) }

func (o *doneObserver) ObserveAttempt(_ context.Context, e *belay.AttemptDone) {
	o.events = append(o.events, *e)
	if o.panics {
		panic("attempt")
	}
}

func (o *doneObserver) ObserveCall(_ context.Context, e *belay.CallDone) {
	o.events = append(o.events, *e)
	if o.panics {
		panic("call")
	}
}

// Observers that take the two events of each call by pointer are told the same as others, in the same order, and those
// may keep what they are told.
func TestDoneObserver(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "done", func(t *testing.T) {
		first, second := &doneObserver{}, &doneObserver{panics: true}
		var kept []belay.Event
		n := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n%3 == 1 {
				return testkit.Reply(503, "X-Request-Id", fmt.Sprint("r", n)), nil
			}
			return testkit.Reply(200, "X-Request-Id", fmt.Sprint("r", n)), nil
		}), belay.WithObserver(first), belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			kept = append(kept, e)
		})), belay.WithObserver(second))
		for range 4 {
			_, _ = belay.Get[belay.None](t.Context(), c, "/things/{id}", belay.PathValue("id", "7"))
		}
		require.Equal(t, kept, first.events)
		require.Equal(t, kept, second.events)
		var attempts, calls int
		ids := make(map[string]bool)
		for _, e := range kept {
			switch e := e.(type) {
			case belay.AttemptDone:
				attempts++
				ids[e.RequestID] = true
				require.Equal(t, "/things/{id}", e.Call.Route)
			case belay.CallDone:
				calls++
				require.Equal(t, belay.ClassOK, e.Verdict.Class)
			}
		}
		require.Equal(t, []int{4, n, n}, []int{calls, attempts, len(ids)})
	})
}

// Events tell when four fifths of a limit are in use, and when a pause begins and ends, and why.
func TestLimitEvents(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "events", func(t *testing.T) {
		var events []string
		log := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			switch e := e.(type) {
			case belay.LimitNear:
				require.Equal(t, "GET", e.Call.Method)
				events = append(events, fmt.Sprintf("near %s (%s): %d of %d", e.Limit, e.Source, e.Used, e.Max))
			case belay.Paused:
				events = append(events, fmt.Sprintf("paused %s %s: %s", e.Scope, e.For, e.Verdict.Message))
			case belay.Resumed:
				events = append(events, fmt.Sprintf("resumed %s after %s: %s", e.Scope, e.After, e.Verdict.Message))
			}
		})
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 10 {
				resp := testkit.Reply(429, "Retry-After", "3", "Content-Type", "application/json")
				resp.Body = io.NopCloser(strings.NewReader(`{"message":"slow down"}`))
				return resp, nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(
			t,
			rt,
			belay.WithRateLimit(belay.Every(10, time.Minute)),
			belay.WithObserver(log),
			belay.WithAuth(belay.Bearer(belay.NewSecret("x"))),
		)
		for range 12 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, []string{
			"near 10 per 1m0s (configured): 8 of 10",
			"paused credential 3s: slow down",
			"resumed credential after 3s: slow down",
		}, events[:3])
	})
}
