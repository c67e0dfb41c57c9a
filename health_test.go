package belay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/oauth"
)

// Health follows the client's own traffic, for each integration apart.
func TestHealth(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "states", func(t *testing.T) {
		status, on := 200, true
		rt := testkit.RoundTrip(
			func(*http.Request) (*http.Response, error) { return testkit.Reply(status, "Retry-After", "0"), nil },
		)
		parent := newClient(
			t,
			rt,
			belay.WithName("crm"),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithEnabled(func() bool { return on }),
		)
		c, err := parent.With(belay.WithIntegration("acme"))
		require.NoError(t, err)
		state := func(want belay.HealthState) belay.Health {
			t.Helper()
			h := c.Health()
			require.Equal(t, want, h.State, "%+v", h)
			return h
		}
		require.Zero(t, state(belay.HealthUnknown).LastSuccess)
		began := time.Now()
		require.NoError(t, get(t.Context(), c, "/"))
		require.True(t, state(belay.HealthUp).LastSuccess.Equal(began))
		time.Sleep(time.Minute)
		status = 404
		require.Error(t, get(t.Context(), c, "/"))
		require.True(t, state(belay.HealthUp).LastSuccess.Equal(began.Add(time.Minute)), "an answer")
		status = 503
		require.Error(t, get(t.Context(), c, "/"))
		h := state(belay.HealthDegraded)
		require.Equal(
			t,
			[]any{1, 503, belay.ClassTransient, "crm", "acme"},
			[]any{h.Failures, h.StatusCode, h.Failure.Class, h.Partner, h.Integration},
		)
		for range 5 {
			require.Error(t, get(t.Context(), c, "/"))
		}
		h = state(belay.HealthDown)
		require.Equal(t, belay.BreakerOpen, h.Circuit)
		require.Positive(t, h.OpenFor)
		time.Sleep(time.Minute)
		status = 200
		require.NoError(t, get(t.Context(), c, "/"))
		h = state(belay.HealthUp)
		require.Zero(t, h.Failures)
		require.Equal(t, 503, h.StatusCode, "the last failure is still known")
		status = 401
		require.Error(t, get(t.Context(), c, "/"))
		state(belay.HealthDown)
		status = 429
		require.Error(t, get(t.Context(), c, "/"))
		state(belay.HealthDegraded)
		// The caller's own cancel says nothing of the partner.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, get(ctx, c, "/"))
		require.Equal(t, 2, state(belay.HealthDegraded).Failures)
		on = false
		state(belay.HealthDisabled)
		require.Error(t, get(t.Context(), c, "/"))
		on = true
		require.Equal(t, 2, state(belay.HealthDegraded).Failures)
		time.Sleep(time.Minute) // the pause is over
		// Its parent has seen none of this but the circuit.
		require.Equal(t, belay.HealthUnknown, parent.Health().State)
		var none *belay.Client
		require.Equal(t, belay.HealthUnknown, none.Health().State)
		without := newClient(t, rt, belay.Without(belay.LayerLimits, belay.LayerBreaker))
		status = 200
		require.NoError(t, get(t.Context(), without, "/"))
		require.Equal(t, belay.HealthUp, without.Health().State)
		require.Equal(t, "disabled", belay.HealthDisabled.String())
	})
	testkit.Bubble(t, "one refusal among many answers", func(t *testing.T) {
		status := 200
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(status), nil }))
		for range 100 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		status = 401
		require.Error(t, get(t.Context(), c, "/"))
		require.Equal(t, belay.HealthUp, c.Health().State)
		for range 9 {
			require.Error(t, get(t.Context(), c, "/"))
		}
		require.Equal(t, belay.HealthDown, c.Health().State)
	})
	testkit.Bubble(t, "a credential that cannot be had", func(t *testing.T) {
		i := testkit.NewIssuer(time.Hour)
		i.Revoked = true
		o := app(t, i)
		require.NoError(t, o.Put(t.Context(), "acme", oauth.Token{
			Access: belay.NewSecret(
				"access-0-secret",
			), Refresh: belay.NewSecret("refresh-0-secret"), Expiry: time.Now().Add(-time.Hour),
		}))
		c := newClient(t, i, belay.WithAuth(o.RefreshToken("acme")))
		require.Error(t, get(t.Context(), c, "/"))
		h := c.Health()
		require.Equal(t, belay.HealthDown, h.State)
		require.Contains(t, h.Failure.Message, "connect again")
		data, err := json.Marshal(h)
		require.NoError(t, err)
		require.Contains(t, string(data), `"state":"down"`)
		require.Contains(t, string(data), `"code":"invalid_grant"`)
	})
}

// What an alert or a status page reads.
func ExampleClient_Health() {
	partner := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(401), nil })
	client, err := belay.New(
		"https://partner.test",
		belay.WithTransport(partner),
		belay.WithRateLimit(belay.PerSecond(10)),
	)
	if err != nil {
		panic(err)
	}
	_, _ = belay.Get[belay.None](context.Background(), client, "/contacts")
	h := client.Health()
	fmt.Println(h.State, h.Failure.Class, h.StatusCode, h.Circuit)
	// Output: down auth 401 closed
}
