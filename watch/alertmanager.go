package watch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// AlertmanagerSink returns a sink that sends alerts to Prometheus' Alertmanager at baseURL, such as
// "http://alertmanager:9093", by its API v2. Open alerts are sent again each minute, as Prometheus does. Route them by
// the labels alertname ("Belay_" and the kind of cause), partner and severity. The options are those of the client that
// sends.
func AlertmanagerSink(baseURL string, opts ...belay.Option) (Repeater, error) {
	c, err := belay.New(baseURL, append([]belay.Option{belay.WithName("alertmanager")}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("watch: AlertmanagerSink: %w", err)
	}
	return &alertmanager{client: c, sent: make(map[string]Severity)}, nil
}

const mostGroups = 10_000

type alertmanager struct {
	client *belay.Client

	mu   sync.Mutex
	sent map[string]Severity // of the open alerts, by ID
}

func (*alertmanager) Repeat() time.Duration { return time.Minute }

// postable is an alert of Alertmanager's API v2.
type postable struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt,omitzero"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

func (m *alertmanager) Send(ctx context.Context, a Alert) error {
	now := postableOf(a, a.Severity)
	if now.EndsAt = a.Resolved; a.Resolved.IsZero() { // four times Repeat, as Prometheus: then it is over if nobody says otherwise
		now.EndsAt = time.Now().Add(4 * time.Minute)
	}
	all := []postable{now}
	m.mu.Lock()
	before := m.sent[a.ID]
	m.mu.Unlock()
	if before != 0 && before != a.Severity { // with another label it is another alert: that one ends
		old := postableOf(a, before)
		old.EndsAt = time.Now()
		all = append(all, old)
	}
	if _, err := belay.Post[belay.None](ctx, m.client, "/api/v2/alerts", all, belay.Idempotent()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sent) >= mostGroups { // of alerts whose end was not sent
		clear(m.sent)
	}
	if m.sent[a.ID] = a.Severity; !a.Resolved.IsZero() {
		delete(m.sent, a.ID)
	}
	return nil
}

func postableOf(a Alert, severity Severity) postable {
	p := postable{
		// The rule is no label: if it changes, it would be another alert.
		Labels: map[string]string{
			"alertname": "Belay_" + a.Kind, "partner": a.Partner, "severity": severity.String(), "belay_id": a.ID,
		},
		Annotations: map[string]string{
			"severity": severity.String(), "rule": a.Rule, "summary": a.What, "description": a.Cause + " " + a.Action,
			"also": strings.Join(a.Also, ", "), "integrations": strings.Join(a.Integrations, ", "),
		},
		StartsAt: a.Since,
	}
	if a.Runbook != "" {
		p.Annotations["runbook_url"] = a.Runbook
	}
	return p
}
