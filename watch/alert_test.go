package watch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/watch"
	"github.com/belay-go/belay/webhook"
)

func anAlert() watch.Alert {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return watch.Alert{
		ID: "a1", Kind: "outage", Rule: "unavailable", Severity: watch.P1, Partner: "crm", What: "4 of 4 calls",
		Since: since, LastSuccess: since.Add(-time.Minute), Cause: "It is down.", Action: "Wait.", Also: []string{"probe_failed"},
		Runbook: "https://runbooks.example/unavailable",
	}
}

// received runs f with a transport that answers 503 and then 200, and returns the requests with their bodies.
func received(t *testing.T, f func(belay.Option)) (reqs []*http.Request, bodies []string) {
	testkit.Bubble(t, "", func(t *testing.T) {
		f(belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(req.Body)
			require.NoError(t, err)
			reqs, bodies = append(reqs, req), append(bodies, string(body))
			if len(reqs) == 1 {
				return testkit.Reply(503), nil
			}
			return testkit.Reply(200), nil
		})))
	})
	return reqs, bodies
}

// A webhook of an alert is signed as package webhook verifies it, and is sent again after a failure.
func TestWebhookSink(t *testing.T) {
	secret := belay.NewSecret("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
	reqs, bodies := received(t, func(with belay.Option) {
		sink, err := watch.WebhookSink("https://ops.example/alerts", secret, with)
		require.NoError(t, err)
		require.NoError(t, sink.Send(context.Background(), anAlert()))
	})
	require.Len(t, reqs, 2)
	require.Equal(t, "https://ops.example/alerts", reqs[1].URL.String())
	require.Equal(t, reqs[0].Header["Webhook-Id"], reqs[1].Header["Webhook-Id"])
	var a watch.Alert
	require.JSONEq(t, `{"id":"a1","kind":"outage","rule":"unavailable","severity":"P1","partner":"crm","what":"4 of 4 calls",
		"also":["probe_failed"],"since":"2026-03-01T12:00:00Z","last_success":"2026-03-01T11:59:00Z","cause":"It is down.",
		"action":"Wait.","runbook":"https://runbooks.example/unavailable"}`, bodies[1])
	require.NoError(t, json.Unmarshal([]byte(bodies[1]), &a))
	require.Equal(t, anAlert(), a)
	testkit.Bubble(t, "verified", func(t *testing.T) { // at the same time by the bubble's clock
		verifier, err := webhook.NewVerifier(webhook.StandardWebhooks(), secret)
		require.NoError(t, err)
		d, err := verifier.Verify(reqs[1].Header, []byte(bodies[1]))
		require.NoError(t, err)
		require.Equal(t, "a1-firing-P1", d.ID)
	})
	for _, bad := range []string{"", "whsec_", "whsec_!"} {
		_, err := watch.WebhookSink("https://ops.example", belay.NewSecret(bad))
		require.Error(t, err)
	}
	_, err := watch.WebhookSink("nonsense", secret)
	require.ErrorContains(t, err, "WebhookSink")
}

// Alertmanager gets alerts by its API v2, again each minute, and the end.
func TestAlertmanagerSink(t *testing.T) {
	reqs, bodies := received(t, func(with belay.Option) {
		sink, err := watch.AlertmanagerSink("http://127.0.0.1:9093", with)
		require.NoError(t, err)
		require.Equal(t, time.Minute, sink.Repeat())
		require.NoError(t, sink.Send(context.Background(), anAlert()))
		over := anAlert()
		over.Resolved = over.Since.Add(time.Hour)
		require.NoError(t, sink.Send(context.Background(), over))
	})
	require.Equal(t, "/api/v2/alerts", reqs[2].URL.Path)
	var sent []struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
	}
	require.NoError(t, json.Unmarshal([]byte(bodies[1]), &sent))
	require.Equal(t, map[string]string{"alertname": "Belay_outage", "partner": "crm", "severity": "P1", "belay_id": "a1"}, sent[0].Labels)
	require.Equal(t, "https://runbooks.example/unavailable", sent[0].Annotations["runbook_url"])
	require.Equal(t, "P1", sent[0].Annotations["severity"])
	require.Greater(t, sent[0].EndsAt.Year(), 1999)
	require.NoError(t, json.Unmarshal([]byte(bodies[2]), &sent))
	require.Equal(t, anAlert().Since.Add(time.Hour), sent[0].EndsAt)
}

// An alert that becomes worse is another one for Alertmanager, and the former one ends.
func TestAlertmanagerSeverity(t *testing.T) {
	_, bodies := received(t, func(with belay.Option) {
		sink, err := watch.AlertmanagerSink("http://127.0.0.1:9093", with)
		require.NoError(t, err)
		a := anAlert()
		a.Severity = watch.P2
		require.NoError(t, sink.Send(context.Background(), a))
		a.Severity = watch.P1
		require.NoError(t, sink.Send(context.Background(), a))
		require.NoError(t, sink.Send(context.Background(), a))
	})
	var got []string
	bubble := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when virtual time begins
	for _, body := range bodies {
		if body == "" {
			continue
		}
		var sent []struct {
			Labels map[string]string
			EndsAt time.Time
		}
		require.NoError(t, json.Unmarshal([]byte(body), &sent))
		for _, one := range sent {
			got = append(got, fmt.Sprint(one.Labels["severity"], " ", one.EndsAt.Sub(bubble) > 2*time.Minute))
		}
		got = append(got, "")
	}
	require.Equal(t, []string{"P2 true", "", "P1 true", "P2 false", "", "P1 true", ""}, got[len(got)-7:])
}

func TestRepeatedAlerts(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		again := &repeated{}
		w := newWorld(t, func(c *watch.RulesConfig) { c.Sinks = []watch.Sink{again} })
		time.Sleep(time.Minute)
		w.of("acme", 401, "/a")
		time.Sleep(10*time.Minute + time.Second)
		require.InDelta(t, 11, len(again.rules()), 1)
	})
}

type repeated struct{ told }

func (*repeated) Repeat() time.Duration { return time.Minute }

func TestLogSink(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sink := watch.LogSink(slog.New(slog.NewTextHandler(&out, nil)))
	require.NoError(t, sink.Send(t.Context(), anAlert()))
	require.Contains(t, out.String(), `level=ERROR msg="belay: alert" rule=unavailable severity=P1 partner=crm`)
	over := anAlert()
	over.Resolved = over.Since.Add(time.Hour)
	require.NoError(t, sink.Send(t.Context(), over))
	require.Contains(t, out.String(), `level=INFO msg="belay: alert resolved"`)
	require.Equal(t, "P1 resolved after 1h0m0s unavailable: crm: 4 of 4 calls", over.String())
}

// A client's own events make the status: a partner that fails, recovers, and limits that are stated.
func TestStatusOfAClient(t *testing.T) {
	testkit.Bubble(t, "", func(t *testing.T) {
		h := new(watch.History)
		status := 200
		c, err := belay.New("https://crm.example", belay.WithName("crm"), belay.WithObserver(h),
			belay.WithRateLimit(belay.PerMinute(600)), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				time.Sleep(100 * time.Millisecond)
				return testkit.Reply(status, "Content-Type", "application/json"), nil
			})))
		require.NoError(t, err)
		require.NoError(t, h.Add(c))
		one, err := c.With(belay.WithIntegration("acme"))
		require.NoError(t, err)
		require.Equal(t, belay.HealthUnknown, h.Status()[0].State, "it is listed before its first call")
		call := func(n int) {
			for range n {
				_, _ = belay.Get[belay.None](t.Context(), one, "/things/{id}", belay.PathValue("id", "7"))
				time.Sleep(time.Second)
			}
		}
		call(300)
		p := h.Status()[0]
		require.Equal(t, belay.HealthUp, p.State)
		require.InDelta(t, 272, p.Recent.OK, 30)
		require.InDelta(t, 0.1, p.P50.Seconds(), 0.03)
		require.Empty(t, p.Why)
		require.Equal(t, "/things/{id}", p.Routes[0].Endpoint)
		require.Equal(t, "acme", p.Integrations[0].Integration)
		require.Contains(t, []string{"600 per 1m0s", "600 per minute"}, p.Limits[0].Limit)
		status = 503
		began := time.Now()
		call(60)
		p = h.Status()[0]
		require.True(t, p.State == belay.HealthDown || p.State == belay.HealthDegraded, "%v", p.State)
		require.WithinDuration(t, began, p.Since, time.Minute+time.Second)
		require.Contains(t, p.Why, "circuit")
		require.NotEmpty(t, p.Error)
		require.Less(t, p.Recent.Success(), 0.95)
		status = 200
		time.Sleep(5 * time.Minute)
		call(300)
		p = h.Status()[0]
		require.Equal(t, belay.HealthUp, p.State, "%+v", p.Why)
		require.Equal(t, p.Minutes[59].Counts.OK > 0, true)
	})
}
