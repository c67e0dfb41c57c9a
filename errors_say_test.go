package belay_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// An error says what to do.
func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "why a write was not sent again", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		c := newClient(t, rt)
		err := post(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorContains(t, err, "not retried: POST without a key (WithIdempotencyKeys, Idempotent)")
		require.NotContains(t, post(t.Context(), c, "/", belay.Idempotent()).Error(), "not retried")
		require.NotContains(t, post(t.Context(), c, "/", belay.MaxAttempts(1)).Error(), "not retried")
	})
	testkit.Bubble(t, "which limit a call waits for", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		c := newClient(t, rt, belay.WithMaxInFlight(2), belay.WithRateLimit(belay.PerSecond(1000)))
		for range 2 { // whose bodies are never closed
			req, err := c.NewRequest(t.Context(), "GET", "/", nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
		}
		first := testkit.After(0, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return get(ctx, c, "/")
		})
		_, err := first()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "2 of 2 in flight, full for 2s (are all bodies closed?)")
		err = get(t.Context(), c, "/", belay.Patience(time.Second))
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.ErrorContains(t, err, "2 of 2 in flight, full for 1s")
	})
	testkit.Bubble(t, "the fields of a 422", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			return testkit.JSONReply(422, map[string]any{
				"message": "Validation failed",
				"errors":  map[string]any{"email": []string{"is not an address"}, "name": []string{strings.Repeat("x", 500)}},
			}), nil
		})
		err := post(t.Context(), newClient(t, rt), "/")
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, "email: is not an address")
		require.Less(t, len(err.Error()), 400)
	})
	testkit.Bubble(t, "304", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(304), nil })
		_, err := belay.Get[map[string]any](t.Context(), newClient(t, rt), "/", belay.Header("If-None-Match", `"x"`))
		require.ErrorIs(t, err, belay.ErrNotModified)
		require.NotErrorIs(t, err, belay.ErrData)
		require.NotErrorIs(t, err, belay.ErrUnavailable)
	})
	testkit.Bubble(t, "a cancel is context.Canceled wherever it comes", func(t *testing.T) {
		why := errors.New("shutting down")
		hang := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, errors.New("stream error: CANCEL")
		})
		down := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(503), nil })
		for name, c := range map[string]*belay.Client{
			"in flight": newClient(t, hang),
			"in backoff": newClient(t, down, belay.Without(belay.LayerBreaker),
				belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Hour, MaxDelay: time.Hour})),
			"at the circuit": newClient(t, down, belay.WithPatience(time.Hour),
				belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1, Cooldown: time.Minute})),
			"in the queue": newClient(t, down, belay.WithRateLimit(belay.PerHour(1)), belay.WithPatience(2*time.Hour)),
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Second, func() { cancel(why) })
			err := get(ctx, c, "/")
			require.ErrorIs(t, err, context.Canceled, name)
			require.ErrorIs(t, err, why, name)
		}
	})
}

// One failed call is one line of warnings, and its CallDone has an error.
func TestOneLineForOneFailedCall(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 404, 422, 429, 500, 503} {
		testkit.Bubble(t, http.StatusText(status), func(t *testing.T) {
			rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(status), nil })
			var log bytes.Buffer
			diary := &testkit.Diary[belay.Event]{}
			c := newClient(t, rt, belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
				belay.WithObserver(belay.ObserverFunc(func(ctx context.Context, e belay.Event) {
					if done, ok := e.(belay.CallDone); ok {
						require.Error(t, done.Err)
						diary.Observe(ctx, e)
					}
				})))
			resp, err := c.HTTPClient().Get("https://partner.test/")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Len(t, diary.Kinds(), 1)
			lines := strings.Count(log.String(), "level=WARN msg=\"belay: call") + strings.Count(log.String(), "level=ERROR")
			warnings := strings.Count(log.String(), "level=WARN") + strings.Count(log.String(), "level=ERROR")
			paused := strings.Count(log.String(), "belay: paused") + strings.Count(log.String(), "belay: circuit")
			require.LessOrEqual(t, lines, 1)
			require.Equal(t, lines, warnings-paused, log.String())
		})
	}
}

// A 403 of one route is no outage, and a failure does not count for ever.
func TestHealthIsOfTheLastMinutes(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		status := 200
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(status), nil })
		c := newClient(t, rt)
		require.NoError(t, get(t.Context(), c, "/records"))
		status = 403
		require.ErrorIs(t, get(t.Context(), c, "/reports"), belay.ErrForbidden)
		require.Equal(t, belay.HealthDegraded, c.Health().State)
		time.Sleep(6 * time.Minute)
		require.Equal(t, belay.HealthUp, c.Health().State)
		status = 401
		require.ErrorIs(t, get(t.Context(), c, "/records"), belay.ErrAuth)
		require.Equal(t, belay.HealthDown, c.Health().State)
	})
}
