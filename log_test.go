package belay_test

import (
	"bytes"
	"context"
	"errors"
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
		200: {"DEBUG", "DEBUG"}, 404: {"INFO", "INFO"}, 409: {"INFO", "INFO"},
		410: {"INFO", "INFO"}, 400: {"INFO", "WARN"}, 422: {"INFO", "WARN"},
		401: {"INFO", "ERROR"}, 403: {"INFO", "ERROR"}, 429: {"INFO", "ERROR"}, 500: {"INFO", "ERROR"},
		0: {"INFO", "INFO"}, // canceled
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
		c, err := belay.New(
			"https://partner.test",
			belay.WithTimeout(time.Second),
			belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})),
		)
		require.NoError(t, err)
		require.Error(t, get(t.Context(), c, "/"))
		require.Contains(t, log.String(), `level=INFO msg="belay: attempt"`)
		require.Contains(t, log.String(), `level=ERROR msg="belay: call"`)
	})
	// A call that is not sent, as it would wait for too long.
	var log bytes.Buffer
	c, err := belay.New(
		"https://partner.test",
		belay.WithRateLimit(belay.PerHour(1)),
		belay.WithMaxWait(1),
		belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		belay.WithTransport(
			testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil }),
		),
	)
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), c, "/"))
	require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrWaitTooLong)
	require.Contains(t, log.String(), `level=WARN msg="belay: call"`)
	require.NotContains(t, log.String(), "level=ERROR")
}

// Events of webhooks and of credentials are logged at the level that they deserve, with the action to take.
func TestLogOfWebhooksAndCredentials(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := belay.NewLogObserver(
		slog.New(
			slog.NewTextHandler(
				&out,
				&slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				}},
			),
		),
	)
	trouble, when := errors.New("trouble"), time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	for _, e := range []belay.Event{
		belay.DeliveryReceived{
			Partner: "stripe", Integration: "main", ID: "d1", Events: 2, Stored: true, Bytes: 10, Duration: time.Second,
		},
		belay.DeliveryRejected{Partner: "stripe", Integration: "main", Status: 401, Reason: "signature", Err: trouble},
		belay.EventHandled{
			Partner: "stripe", ID: "e1", Type: "paid", Attempt: 1, Age: time.Second, Duration: time.Millisecond,
		},
		belay.EventHandled{Partner: "stripe", ID: "e1", Type: "paid", Attempt: 2, Retry: time.Minute, Err: trouble},
		belay.EventHandled{Partner: "stripe", ID: "e1", Type: "paid", Attempt: 3, DeadLettered: true, Err: trouble},
		belay.TokenRefreshed{Partner: "crm", Integration: "acme", Expiry: when},
		belay.TokenRefreshFailed{Partner: "crm", Integration: "acme", LastWorked: when, Action: "wait", Err: trouble},
		belay.TokenRevoked{Partner: "crm", Integration: "acme", LastWorked: when, Action: "connect again", Err: trouble},
		belay.TokenRevoked{Partner: "crm", Action: "connect again"},
		belay.CredentialRotated{Integration: "acme", Was: when},
		belay.RotationRolledBack{Integration: "acme", Action: "check the key", Err: trouble},
	} {
		o.Observe(t.Context(), e)
	}
	require.Equal(
		t,
		`level=DEBUG msg="belay: webhook received" partner=stripe integration=main id=d1 events=2 stored=true bytes=10 duration_ms=1000
level=WARN msg="belay: webhook rejected" partner=stripe integration=main status=401 reason=signature error=trouble
level=DEBUG msg="belay: webhook handled" partner=stripe id=e1 type=paid attempt=1 age_ms=1000 duration_ms=1
level=WARN msg="belay: webhook failed" partner=stripe id=e1 type=paid attempt=2 age_ms=0 duration_ms=0 retry_ms=60000 error=trouble
level=ERROR msg="belay: webhook is a dead letter" partner=stripe id=e1 type=paid attempt=3 age_ms=0 duration_ms=0 error=trouble
level=INFO msg="belay: token refreshed" partner=crm integration=acme expiry=2026-11-28T00:00:00.000Z
level=WARN msg="belay: token refresh failed" partner=crm integration=acme last_worked=2026-11-28T00:00:00.000Z action=wait error=trouble
level=ERROR msg="belay: token revoked" partner=crm integration=acme last_worked=2026-11-28T00:00:00.000Z action="connect again" error=trouble
level=ERROR msg="belay: token revoked" partner=crm action="connect again"
level=INFO msg="belay: credential rotated" integration=acme was=2026-11-28T00:00:00.000Z
level=ERROR msg="belay: rotation rolled back" integration=acme action="check the key" error=trouble
`,
		out.String(),
	)
	belay.NewLogObserver(nil).Observe(t.Context(), belay.CredentialRotated{}) // writes nothing
}
