package belay_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Outcomes that a caller may have expected are not logged as errors: only faults of the partner or the credential are.
func TestLogLevels(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][2]string{
		200: {"DEBUG", "DEBUG"}, 404: {"INFO", "INFO"}, 409: {"INFO", "INFO"}, 410: {"INFO", "INFO"}, 400: {"WARN", "WARN"}, 422: {"WARN", "WARN"},
		401: {"WARN", "ERROR"}, 403: {"WARN", "ERROR"}, 429: {"WARN", "ERROR"}, 500: {"WARN", "ERROR"},
		0: {"INFO", "INFO"}, // cancelled
	} {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		c, err := belay.New("https://partner.test", belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if status == 0 {
					cancel()
					return nil, req.Context().Err()
				}
				return testkit.Reply(status), nil
			})))
		require.NoError(t, err)
		_, err = belay.Get[belay.None](ctx, c, "/")
		require.Equal(t, status == 200, err == nil)
		cancel()
		var got [2]string
		for i, what := range []string{"attempt", "call"} {
			found := regexp.MustCompile(`level=(\w+) msg="belay: ` + what + `"`).FindStringSubmatch(log.String())
			require.NotNil(t, found, log.String())
			got[i] = found[1]
		}
		require.Equal(t, want, got, status)
	}
	// A partner that hangs.
	testkit.Bubble(t, "hangs", func(t *testing.T) {
		var log bytes.Buffer
		c, err := belay.New("https://partner.test", belay.WithTimeout(time.Second), belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})))
		require.NoError(t, err)
		require.Error(t, get(t.Context(), c, "/"))
		require.Contains(t, log.String(), `level=WARN msg="belay: attempt"`)
		require.Contains(t, log.String(), `level=WARN msg="belay: call"`)
	})
	// A call that is not sent, as it would wait for too long.
	var log bytes.Buffer
	c, err := belay.New("https://partner.test", belay.WithRateLimit(belay.PerHour(1)), belay.WithMaxWait(1),
		belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil })))
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), c, "/"))
	require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrWaitTooLong)
	require.Contains(t, log.String(), `level=WARN msg="belay: call"`)
	require.NotContains(t, log.String(), "level=ERROR")
}
