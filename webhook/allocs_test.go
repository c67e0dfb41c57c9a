package webhook_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/webhook"
)

// Verifying a webhook allocates its events, and the text of their IDs and types.
func TestAllocationsOfVerify(t *testing.T) {
	if testkit.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	body := []byte(
		`{"id":"evt_1","event_id":"evt_1","type":"customer.created","created":1700000000,"data":"` + strings.Repeat(
			"x",
			900,
		) + `"}`,
	)
	for _, x := range []struct {
		scheme webhook.Scheme
		most   float64 // where the delivery stays with its function; one more where it does not
	}{{webhook.GitHub(), 0}, {webhook.Shopify(), 0}, {webhook.Stripe(), 1}, {webhook.Slack(), 1}} {
		req, err := webhook.SignTest(
			x.scheme,
			belay.NewSecret("secret"),
			belay.WebhookEvent{ID: "id", Type: "type", Data: body},
		)
		require.NoError(t, err)
		v, err := webhook.NewVerifier(x.scheme, belay.NewSecret("secret"))
		require.NoError(t, err)
		require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
			if d, err := v.Verify(req.Header, body); err != nil || d.Events[0].Data[0] != '{' {
				t.Fatal(err)
			}
		}), x.most, x.scheme.Name)
		require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
			var err error
			if kept, err = v.Verify(req.Header, body); err != nil {
				t.Fatal(err)
			}
		}), x.most+1, x.scheme.Name)
	}
}

var kept belay.Delivery
