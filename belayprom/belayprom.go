package belayprom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belay-go/belay"
)

// Config configures [New]. The zero value is valid.
type Config struct {
	// Endpoints is the most endpoints that each partner has as a label. Zero means 200; negative is an error.
	Endpoints int
	// Integrations is the most integrations that are labels. Zero, the default, means that no metric has the label
	// "integration": with thousands of customers it would make as many time series. Negative is an error.
	Integrations int
	// Buckets are the upper bounds in seconds of the classic histogram of durations. Nil means 0.005 to 60; they must
	// rise.
	Buckets []float64
	// ConstLabels are labels of every metric, such as the name of the service. Nil means none.
	ConstLabels prometheus.Labels
}

const (
	defaultEndpoints = 200
	mostPartners     = 500
	mostTypes        = 100 // of events of a partner, and of its imports
	mostChecks       = 2000
	other            = "other"
)

var defaultBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// Metrics counts events. Create it with [New]. It is safe for concurrent use.
type Metrics struct {
	integrations int
	endpoints    int
	made         time.Time

	vecs []prometheus.Collector

	calls, attempts, retries, timeouts, waits, pauses *prometheus.CounterVec
	duration                                          *prometheus.HistogramVec
	circuits, tokens, pages, items                    *prometheus.CounterVec
	received, rejected, handled                       *prometheus.CounterVec
	handling                                          *prometheus.HistogramVec
	records, importRuns, schemas, kept                *prometheus.CounterVec

	labels labels
	series seriesOf // of calls and attempts, without a search by label

	states       state
	sources      sources
	runs         runs
	refreshEnds  refreshEnds
	pauseEnds    pauseEnds
	endpointEnds endpointEnds
}

// New returns metrics that count nothing yet. Register them: prometheus.MustRegister(metrics). A value out of range is
// an error that names the field.
func New(cfg Config) (*Metrics, error) {
	switch {
	case cfg.Endpoints < 0:
		return nil, fmt.Errorf("belayprom: Config.Endpoints is %d, must not be negative", cfg.Endpoints)
	case cfg.Integrations < 0:
		return nil, fmt.Errorf("belayprom: Config.Integrations is %d, must not be negative", cfg.Integrations)
	case !rises(cfg.Buckets):
		return nil, fmt.Errorf("belayprom: Config.Buckets are %v, must rise", cfg.Buckets)
	}
	m := &Metrics{endpoints: cfg.Endpoints, integrations: cfg.Integrations, made: time.Now()}
	if m.endpoints == 0 {
		m.endpoints = defaultEndpoints
	}
	buckets := cfg.Buckets
	if buckets == nil {
		buckets = defaultBuckets
	}
	own := func(names ...string) []string {
		if m.integrations > 0 {
			return append(names, "integration")
		}
		return names
	}
	counter := func(name, help string, names ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: cfg.ConstLabels}, own(names...))
		m.vecs = append(m.vecs, v)
		return v
	}
	histogram := func(name, help string, names ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: cfg.ConstLabels, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, own(names...))
		m.vecs = append(m.vecs, v)
		return v
	}
	m.calls = counter("integration_api_calls_total", "Calls that have ended, retries included in one.",
		"partner", "endpoint", "method", "status_code", "class")
	m.duration = histogram("integration_api_call_duration_seconds", "Duration of calls, waits included.", "partner", "endpoint", "method")
	m.attempts = counter("integration_api_attempts_total", "Requests that were sent.",
		"partner", "endpoint", "method", "status_code", "class")
	m.timeouts = counter("integration_api_timeouts_total", "Requests that had no answer in time.", "partner", "endpoint", "method")
	m.retries = counter("integration_api_retries_total", "Requests that are sent again, by the reason.", "partner", "endpoint", "reason")
	m.waits = counter("integration_api_wait_seconds_total", "Time that calls have waited, by the cause.", "partner", "cause")
	m.pauses = counter("integration_api_pauses_total", "Pauses that the partner has asked for.", "partner", "scope")
	m.circuits = counter("integration_api_circuit_changes_total", "Circuits that have opened or closed.", "partner", "state")
	m.tokens = counter("integration_token_refreshes_total", "Refreshes of tokens: ok, failed or revoked.", "partner", "result")
	m.pages = counter("integration_api_pages_total", "Pages of lists that have come.", "partner", "endpoint")
	m.items = counter("integration_api_page_items_total", "Items on the pages of lists.", "partner", "endpoint")
	m.received = counter("integration_webhook_received_total",
		"Events of deliveries that were accepted: stored, or repeated if all of the delivery were known already.",
		"partner", "type", "result")
	m.rejected = counter("integration_webhook_rejected_total", "Deliveries that were refused, by the reason.", "partner", "reason")
	m.handled = counter("integration_webhook_handled_total", "Attempts to handle an event: ok, failed or dead.",
		"partner", "type", "result")
	m.handling = histogram("integration_webhook_duration_seconds", "Duration of the attempts to handle an event.", "partner", "type")
	m.records = counter("integration_import_records_total",
		"Records of imports: saved, added, updated, deleted, rejected or unchanged.", "partner", "import", "change")
	m.importRuns = counter("integration_import_runs_total", "Imports that have ended: ok or failed.", "partner", "import", "result")
	m.schemas = counter("integration_schema_changes_total", "Differences from the expected fields that were seen first.", "partner")
	m.kept = counter("integration_api_kept_answers_total", "Calls that got a kept answer: fresh, or stale after a failure.",
		"partner", "result")
	m.labels.most = map[kind]int{
		partners: mostPartners, endpoints: m.endpoints, types: mostTypes, integrations: m.integrations, checks: mostChecks,
	}
	m.sources.init(cfg.ConstLabels)
	m.states.init(cfg.ConstLabels, m.integrations > 0)
	return m, nil
}

func rises(buckets []float64) bool {
	for i, b := range buckets {
		if b != b || i > 0 && b <= buckets[i-1] {
			return false
		}
	}
	return true
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range m.vecs {
		v.Describe(ch)
	}
	m.states.describe(ch)
	m.sources.describe(ch)
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.vecs {
		v.Collect(ch)
	}
	m.states.collect(ch, m)
	m.sources.collect(ch, m)
}

// Observe implements [belay.Observer].
func (m *Metrics) Observe(_ context.Context, e belay.Event) {
	switch e := e.(type) {
	case belay.CallDone:
		m.callDone(&e)
	case belay.AttemptDone:
		m.attemptDone(&e)
	case belay.Retrying:
		partner, endpoint := m.place(&e.Call)
		m.retries.WithLabelValues(m.with(e.Call.Integration, partner, endpoint, e.Verdict.Class.String())...).Inc()
	case belay.Deprecated:
		partner, endpoint := m.place(&e.Call)
		m.endpointEnds.note(partner, endpoint, &e)
	case belay.Paused:
		m.inc(m.pauses, e.Call.Partner, e.Call.Integration, e.Scope.String())
		m.pauseEnds.note(m.labels.get(partners, "", e.Call.Partner), &e)
	case belay.Resumed:
		m.pauseEnds.resumed(m.labels.get(partners, "", e.Call.Partner), &e)
	case belay.CircuitChanged:
		m.inc(m.circuits, e.Call.Partner, e.Call.Integration, e.State.String())
	case belay.PageRead:
		partner, endpoint := m.place(&e.Call)
		values := m.with(e.Call.Integration, partner, endpoint)
		m.pages.WithLabelValues(values...).Inc()
		m.items.WithLabelValues(values...).Add(float64(e.Items))
	case belay.TokenLoaded:
		m.refreshEnds.note(m.labels.get(partners, "", e.Partner), e.Integration, e.RefreshExpiry, e.Obtained)
	case belay.TokenRefreshed:
		m.inc(m.tokens, e.Partner, e.Integration, "ok")
		m.refreshEnds.note(m.labels.get(partners, "", e.Partner), e.Integration, e.RefreshExpiry, time.Now())
	case belay.TokenRefreshFailed:
		m.inc(m.tokens, e.Partner, e.Integration, "failed")
	case belay.TokenRevoked:
		m.inc(m.tokens, e.Partner, e.Integration, "revoked")
		m.refreshEnds.forget(m.labels.get(partners, "", e.Partner), e.Integration)
	case belay.DeliveryReceived:
		m.webhookReceived(&e)
	case belay.DeliveryRejected:
		m.inc(m.rejected, e.Partner, e.Integration, e.Reason)
	case belay.EventHandled:
		m.eventHandled(&e)
	case belay.ImportProgress:
		m.imported(&e)
	case belay.SchemaChanged:
		m.schemas.WithLabelValues(m.with(e.Integration, m.labels.get(partners, "", e.Partner))...).Inc()
	}
}

// ObserveCall implements [belay.DoneObserver].
func (m *Metrics) ObserveCall(_ context.Context, e *belay.CallDone) { m.callDone(e) }

// ObserveAttempt implements [belay.DoneObserver].
func (m *Metrics) ObserveAttempt(_ context.Context, e *belay.AttemptDone) { m.attemptDone(e) }

func (m *Metrics) attemptDone(e *belay.AttemptDone) {
	s := m.seriesOf(&e.Call, e.StatusCode, e.Verdict.Class, e.TimedOut)
	s.attempts.Inc()
	s.minute.add(m.seconds())
	if e.TimedOut {
		m.timeouts.WithLabelValues(m.with(e.Call.Integration, s.partner, s.endpoint, s.method)...).Inc()
	}
}

func (m *Metrics) callDone(e *belay.CallDone) {
	if e.Kept {
		result := "fresh"
		if e.Stale {
			result = "stale"
		}
		m.inc(m.kept, e.Call.Partner, e.Call.Integration, result)
		if !e.Stale && e.Attempts == 0 {
			return // the partner was not asked
		}
	}
	s := m.seriesOf(&e.Call, e.StatusCode, e.Verdict.Class, e.TimedOut)
	s.calls.Inc()
	s.duration.Observe(e.Duration.Seconds())
	if e.Waits == (belay.Waits{}) {
		return
	}
	for cause, d := range map[string]time.Duration{
		"backoff": e.Waits.Backoff, "queue": e.Waits.Queue, "circuit": e.Waits.Circuit, "credential": e.Waits.Credential,
	} {
		if d > 0 {
			m.waits.WithLabelValues(m.with(e.Call.Integration, s.partner, cause)...).Add(d.Seconds())
		}
	}
}

func (m *Metrics) eventHandled(e *belay.EventHandled) {
	partner := m.labels.get(partners, "", e.Partner)
	typ := m.labels.get(types, partner, e.Type)
	result := "ok"
	switch {
	case e.DeadLettered:
		result = "dead"
	case e.Err != nil:
		result = "failed"
	}
	m.handled.WithLabelValues(m.with(e.Integration, partner, typ, result)...).Inc()
	m.handling.WithLabelValues(m.with(e.Integration, partner, typ)...).Observe(e.Duration.Seconds())
}

func (m *Metrics) webhookReceived(e *belay.DeliveryReceived) {
	result := "repeated"
	if e.Stored {
		result = "stored"
	}
	partner := m.labels.get(partners, "", e.Partner)
	for _, typ := range e.Types {
		m.received.WithLabelValues(m.with(e.Integration, partner, m.labels.get(types, partner, typ), result)...).Inc()
	}
}

func (m *Metrics) inc(v *prometheus.CounterVec, partner, integration, value string) {
	v.WithLabelValues(m.with(integration, m.labels.get(partners, "", partner), value)...).Inc()
}

// with returns label values with the integration behind them, if integrations are labels.
func (m *Metrics) with(integration string, values ...string) []string {
	if m.integrations == 0 {
		return values
	}
	return append(slices.Clip(values), m.labels.get(integrations, "", integration))
}

// place returns the labels of a call's partner and endpoint.
func (m *Metrics) place(call *belay.CallInfo) (partner, endpoint string) {
	partner = m.labels.get(partners, "", call.Partner)
	return partner, m.labels.get(endpoints, partner, call.Endpoint())
}

// errNil is the error of Add for a client that is nil.
var errNil = errors.New("belayprom: Add: the client is nil")
