package belay_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

func TestOptionsOutOfRangeAreOneErrorThatNamesEach(t *testing.T) {
	t.Parallel()
	_, err := belay.New(
		"ftp://partner.test",
		belay.WithMaxInFlight(0),
		belay.WithMaxQueue(-1),
		belay.WithTimeout(-time.Second),
		belay.WithAttemptTimeout(-1),
		belay.WithRateLimit(
			belay.PerSecond(0),
		),
		belay.WithRateLimit(belay.Every(5, -1)),
		belay.WithRateLimit(belay.Limit{}),
		belay.WithRateLimit(belay.PerSecond(5).Bucket(0)),
		belay.WithRateLimit(belay.PerSecond(5).Headroom(1.5)),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: -1, BaseDelay: -2, MaxDelay: -3, MaxRetryAfter: -4}),
		belay.WithRetry(belay.RetryPolicy{BaseDelay: 2 * time.Second, MaxDelay: time.Second}),
		belay.WithBreakerPolicy(belay.BreakerPolicy{
			FailureRatio: math.NaN(), MinCalls: -1, Window: -1, Cooldown: -1, MaxCooldown: -2, Probes: -1,
		}),
		belay.WithLimiter(
			nil,
		),
		belay.WithBreaker(nil),
		belay.WithBreaker(new(belay.Breaker)),
		belay.WithTransport(nil),
		belay.WithObserver(nil),
		belay.WithCallMiddleware(
			nil,
		),
		belay.WithAttemptMiddleware(nil),
		belay.Without(99),
		belay.WithName(""),
		belay.WithIntegration("a\nb"),
		belay.WithHeader("Bad Name", "x"),
		belay.WithHeader("X-A", "a\r\nX-B: c"),
		belay.WithUserAgent("a\nb"),
		belay.WithIdempotencyKeys(
			"bad header",
		),
		belay.WithTrustedOrigins("nonsense"),
		belay.WithRedirects(9),
		belay.WithMaxResponseBytes(0),
		belay.WithBaseURL("https://u:hunter2@partner.test"),
		belay.WithAuth(belay.Bearer(belay.Secret{})),
		belay.WithAuth(
			belay.Bearer(belay.NewSecret("hunter2\n")),
		),
		belay.WithAuth(belay.APIKey("", belay.NewSecret("hunter2"))),
		belay.WithAuth(
			belay.APIKey("a b", belay.NewSecret("hunter2")),
		),
		belay.WithAuth(belay.Basic("a:b", belay.NewSecret("hunter2"))),
		nil,
	)
	require.ErrorIs(t, err, belay.ErrInvalid)
	text := err.Error()
	t.Log(text)
	for _, want := range []string{
		"New: the base URL's scheme is \"ftp\"", "WithMaxInFlight: 0",
		"WithMaxQueue: -1", "WithTimeout: -1s", "WithAttemptTimeout: -1ns",
		"number of calls is 0", "time is -1ns", "Bucket(0)", "Headroom(1.5) must be",
		"MaxAttempts is -1", "BaseDelay is -2ns", "MaxDelay is -3ns",
		"MaxRetryAfter is -4ns", "MaxDelay is 1s, must not be below BaseDelay",
		"FailureRatio is NaN", "MinCalls is -1", "Window is -1ns",
		"Cooldown is -1ns", "MaxCooldown is -2ns", "Probes is -1", "WithLimiter",
		"WithBreaker", "WithTransport", "WithObserver: observer 0",
		"WithCallMiddleware", "WithAttemptMiddleware", "layer 99",
		"WithName", "WithIntegration", `"Bad Name"`, "X-A", "User-Agent",
		"WithIdempotencyKeys", "WithTrustedOrigins", "policy 9",
		"WithMaxResponseBytes: 0", "WithBaseURL", "Bearer: the secret is empty",
		"control character at byte 7", "APIKey: the name", `"a b"`, "the user has a colon", "option ",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "hunter2")
	require.NotContains(t, text, "\n")

	for _, base := range []string{
		"", "partner.test", "https://", "https://partner.test/?x=1",
		"https://partner.test/#f", "http://[::1", "https://u:p@partner.test",
	} {
		_, err := belay.New(base)
		require.ErrorContains(t, err, "base URL", base)
	}
	_, err = belay.NewLimiter(belay.PerSecond(-1), belay.PerMinute(0))
	require.ErrorContains(t, err, "-1")
	require.ErrorContains(t, err, "is 0")
	_, err = belay.NewLimiter(make([]belay.Limit, 0, 1)...)
	require.NoError(t, err)
	many := make([]belay.Limit, 65)
	for i := range many {
		many[i] = belay.PerSecond(1)
	}
	_, err = belay.NewLimiter(many...)
	require.ErrorContains(t, err, "at most 64")
	_, err = belay.NewBreaker(belay.BreakerPolicy{Probes: 1001})
	require.ErrorContains(t, err, "1001")
	_, err = belay.RetryPolicy{
		MaxAttempts: -1,
	}.Wrap(nil).
		RoundTrip(httptest.NewRequest(http.MethodPost, "https://partner.test", strings.NewReader("x")))
	require.ErrorContains(t, err, "MaxAttempts is -1")
}

// A layer that is left out comes back with an option that configures it; limits that would not count are an error.
func TestWithoutAndBack(t *testing.T) {
	t.Parallel()
	all := belay.Without(belay.LayerRetry, belay.LayerBreaker, belay.LayerTimeout, belay.LayerLimits)
	_, err := belay.New("https://partner.test", all, belay.WithRateLimit(belay.PerSecond(1)))
	require.ErrorContains(t, err, "would not count")
	n := 0
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { n++; return testkit.Reply(500), nil })
	c := newClient(t, rt, all)
	_ = get(t.Context(), c, "/")
	require.Equal(t, 1, n)
	back, err := c.With(
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}),
		belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2}),
		belay.WithAttemptTimeout(time.Second),
	)
	require.NoError(t, err)
	n = 0
	_ = get(t.Context(), back, "/")
	require.Equal(t, 2, n)
	require.ErrorIs(t, get(t.Context(), back, "/"), belay.ErrCircuitOpen)
}

// What With changes belongs to the derived client; the rest is shared.
func TestWith(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, fmt.Sprint(req.URL, " ", req.Header.Get("User-Agent"), " ", req.Header.Get("X-A")))
		return stub{}.RoundTrip(req)
	})
	parent := newClient(t, rt, belay.WithHeader("X-A", "parent"), belay.WithUserAgent("ua"))
	child, err := parent.With(
		belay.WithBaseURL("https://child.test/v1"),
		belay.WithHeader("X-A", ""),
		belay.WithName("crm"),
		belay.WithIntegration("acme"),
	)
	require.NoError(t, err)
	for _, c := range []*belay.Client{parent, child, parent} {
		require.NoError(t, get(t.Context(), c, "/x"))
	}
	require.NoError(t, get(t.Context(), child, "/x", belay.Header("X-A", "call")))
	require.Equal(t, []string{
		"https://partner.test/x ua parent", "https://child.test/v1/x ua ", "https://partner.test/x ua parent",
		"https://child.test/v1/x ua call",
	}, got)
	require.NoError(t, child.Close())
	require.NoError(t, parent.Close())
	_, err = parent.With(belay.WithMaxInFlight(0))
	require.ErrorContains(t, err, "WithMaxInFlight: 0")
}

// The error of a configuration with several faults is one line, in every package.
func TestFaultsOfAConfigurationAreOneLine(t *testing.T) {
	t.Parallel()
	wrong := belay.Every(-1, -time.Second)
	handle := func(context.Context, inbox.Item) error { return nil }
	for name, err := range map[string]error{
		"New": func() error {
			_, err := belay.New("https://x.test", belay.WithRateLimit(wrong, wrong), belay.WithTimeout(-1))
			return err
		}(),
		"NewLimiter": func() error { _, err := belay.NewLimiter(wrong, wrong); return err }(),
		"NewBreaker": func() error {
			_, err := belay.NewBreaker(belay.BreakerPolicy{MinCalls: -1, FailureRatio: 2})
			return err
		}(),
		"NewRotating": func() error {
			_, err := belay.NewRotating(nil, belay.RotationOverlap(-1))
			return err
		}(),
		"NewWebhookVerifier": func() error {
			_, err := belay.NewWebhookVerifier(belay.WebhookHMAC{MaxBytes: -1})
			return err
		}(),
		"NewVerifier": func() error { _, err := webhook.NewVerifier(webhook.Scheme{}); return err }(),
		"oauth.New":   func() error { _, err := oauth.New(oauth.Config{}); return err }(),
		"inbox.Start": func() error {
			_, err := inbox.Start(inbox.NewMemory(), handle, inbox.Config{Workers: -1, MaxPending: -1})
			return err
		}(),
	} {
		require.ErrorIs(t, err, belay.ErrInvalid, name)
		require.NotContains(t, err.Error(), "\n", name)
		require.Contains(t, err.Error(), "; ", name)
	}
}
