package belayotel

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/belay-go/belay"
)

// Config configures [New]. The zero value is valid: it uses OpenTelemetry's global providers and propagator.
type Config struct {
	// TracerProvider and MeterProvider make spans and metrics. Nil means the global ones; those of the packages noop turn
	// one of them off.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Propagator writes the trace context into requests to the partner's own origin. Nil means the global one.
	Propagator propagation.TextMapPropagator
	// NoPropagation sends no trace context to partners.
	NoPropagation bool
	// NoIntegrations leaves the names of customers' integrations out of spans. Metrics never have them.
	NoIntegrations bool
}

// Tracer is a [belay.Tracer]. Create it with [New]. It is safe for concurrent use. A partner has at most 200 endpoints as
// labels; each later one is "other".
type Tracer struct {
	tracer       trace.Tracer
	propagator   propagation.TextMapPropagator // nil sends nothing
	integrations bool
	attempts     metric.Float64Histogram
	calls        metric.Float64Histogram

	mu        sync.RWMutex
	places    map[place]*labels
	endpoints map[string]map[string]bool // those that are labels, by partner
}

const scope = "github.com/belay-go/belay/belayotel"

// New returns a tracer. The error is one of the meter.
func New(cfg Config) (*Tracer, error) {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = otel.GetTextMapPropagator()
	}
	if cfg.NoPropagation {
		cfg.Propagator = nil
	}
	t := &Tracer{
		tracer: cfg.TracerProvider.Tracer(scope), propagator: cfg.Propagator, integrations: !cfg.NoIntegrations,
		places: make(map[place]*labels), endpoints: make(map[string]map[string]bool),
	}
	meter := cfg.MeterProvider.Meter(scope)
	buckets := metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
	var err error
	if t.attempts, err = meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("Duration of HTTP client requests: each attempt is one.")); err != nil {
		return nil, err
	}
	t.calls, err = meter.Float64Histogram("belay.call.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("Duration of calls, with all their attempts and waits."))
	return t, err
}

// place is a route of a partner, as events name it.
type place struct{ partner, integration, method, route, url string }

// labels are what spans and metrics say of a place. They are made once.
type labels struct {
	call, attempt string // names of spans
	ofCall        []trace.SpanStartOption
	ofAttempt     []trace.SpanStartOption
	atEnd         [2]attribute.KeyValue // of an attempt: what no sampler needs
	metrics       []attribute.KeyValue
	mu            sync.RWMutex
	sets          map[outcome]metric.MeasurementOption
}

// outcome is how an attempt or a call ended, as metrics say.
type outcome struct {
	status int
	kind   string // error.type, empty for none
}

const (
	mostPlaces    = 2000
	mostOutcomes  = 200 // of a place
	mostEndpoints = 200 // of a partner; each later one is other
	other         = "other"
)

// labelsOf returns the labels of a call. Beyond mostPlaces they are made anew each time, under their endpoint.
func (t *Tracer) labelsOf(call *belay.CallInfo) *labels {
	key := place{call.Partner, "", call.Method, call.Route, call.URL}
	if t.integrations {
		key.integration = call.Integration
	}
	t.mu.RLock()
	l := t.places[key]
	t.mu.RUnlock()
	if l != nil {
		return l
	}
	l = newLabels(call, key.integration, t.endpoint(call))
	t.mu.Lock()
	defer t.mu.Unlock()
	if call.Route != "" && len(t.places) < mostPlaces { // raw paths are not kept
		t.places[key] = l
	}
	return l
}

// endpoint returns the endpoint of a call as a label.
func (t *Tracer) endpoint(call *belay.CallInfo) string {
	endpoint := call.Endpoint()
	t.mu.RLock()
	is := t.endpoints[call.Partner][endpoint]
	t.mu.RUnlock()
	if is {
		return endpoint
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch known := t.endpoints[call.Partner]; {
	case known[endpoint]:
	case len(known) >= mostEndpoints || known == nil && len(t.endpoints) >= mostPlaces:
		return other
	case known == nil:
		t.endpoints[call.Partner] = map[string]bool{endpoint: true}
	default:
		known[endpoint] = true
	}
	return endpoint
}

func newLabels(call *belay.CallInfo, integration, endpoint string) *labels {
	method := methodOf(call.Method)
	common := []attribute.KeyValue{
		attribute.String("http.request.method", method), attribute.String("url.template", endpoint),
	}
	if u, err := url.Parse(call.URL); err == nil && u.Host != "" {
		common = append(common, attribute.String("server.address", u.Hostname()))
		port := 443
		if u.Scheme == "http" {
			port = 80
		}
		if n, err := strconv.Atoi(u.Port()); err == nil {
			port = n
		}
		common = append(common, attribute.Int("server.port", port), attribute.String("url.scheme", u.Scheme))
		full := attribute.String("url.full", u.Scheme+"://"+u.Host+"/"+strings.TrimPrefix(endpoint, "/"))
		common = append(common, full)
	}
	partner := attribute.String("belay.partner", call.Partner)
	l := &labels{
		call: call.Partner + " " + method + " " + endpoint, attempt: method + " " + endpoint,
		sets: make(map[outcome]metric.MeasurementOption),
	}
	ofCall := []attribute.KeyValue{partner, common[0], common[1]}
	if integration != "" {
		ofCall = append(ofCall, attribute.String("belay.integration", integration))
	}
	l.ofCall = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(ofCall...)}
	l.ofAttempt = []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(common[2:len(common):len(common)], common[0])...),
	}
	l.atEnd = [...]attribute.KeyValue{partner, common[1]}
	l.metrics = []attribute.KeyValue{partner}
	for _, a := range common {
		if a.Key != "url.full" {
			l.metrics = append(l.metrics, a)
		}
	}
	return l
}

// methodOf returns a method as a span says it (RFC 9110; any other is _OTHER).
func methodOf(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	case "":
		return "GET"
	}
	return "_OTHER"
}

// of returns the attributes of an outcome.
func (l *labels) of(o outcome) metric.MeasurementOption {
	l.mu.RLock()
	set := l.sets[o]
	l.mu.RUnlock()
	if set != nil {
		return set
	}
	attrs := append([]attribute.KeyValue{}, l.metrics...)
	if o.status != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", o.status))
	}
	if o.kind != "" {
		attrs = append(attrs, attribute.String("error.type", o.kind))
	}
	set = metric.WithAttributeSet(attribute.NewSet(attrs...))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sets) < mostOutcomes {
		l.sets[o] = set
	}
	return set
}

// BeginCall implements [belay.Tracer].
func (t *Tracer) BeginCall(ctx context.Context, call belay.CallInfo) context.Context {
	l := t.labelsOf(&call)
	ctx, _ = t.tracer.Start(ctx, l.call, l.ofCall...)
	return ctx
}

// BeginAttempt implements [belay.Tracer].
func (t *Tracer) BeginAttempt(ctx context.Context, call belay.CallInfo, number int) (context.Context, http.Header) {
	l := t.labelsOf(&call)
	ctx, span := t.tracer.Start(ctx, l.attempt, l.ofAttempt...)
	if number > 1 {
		span.SetAttributes(attribute.Int("http.request.resend_count", number-1))
	}
	if t.propagator == nil {
		return ctx, nil
	}
	h := make(http.Header, 2)
	t.propagator.Inject(ctx, propagation.HeaderCarrier(h))
	return ctx, h
}

// Observe implements [belay.Observer].
func (t *Tracer) Observe(ctx context.Context, e belay.Event) {
	switch e := e.(type) {
	case belay.AttemptDone:
		t.attemptDone(ctx, &e)
	case belay.CallDone:
		t.callDone(ctx, &e)
	case belay.Retrying:
		t.note(ctx, "retrying", e.Verdict, attribute.Int64("wait_ms", e.Wait.Milliseconds()))
	case belay.Paused:
		t.note(ctx, "paused", e.Verdict, attribute.Int64("for_ms", e.For.Milliseconds()), attribute.String("scope", e.Scope.String()))
	case belay.Deprecated:
		t.note(ctx, "deprecated", belay.Verdict{}, attribute.String("sunset", dateOf(e.Sunset)))
	case belay.CircuitChanged:
		t.note(ctx, "circuit "+e.State.String(), belay.Verdict{}, attribute.String("origin", e.Origin), attribute.String("of_route", e.Route))
	}
}

// ObserveCall implements [belay.DoneObserver].
func (t *Tracer) ObserveCall(ctx context.Context, e *belay.CallDone) { t.callDone(ctx, e) }

// ObserveAttempt implements [belay.DoneObserver].
func (t *Tracer) ObserveAttempt(ctx context.Context, e *belay.AttemptDone) { t.attemptDone(ctx, e) }

// note adds an event to the span of a call.
func (t *Tracer) note(ctx context.Context, name string, v belay.Verdict, attrs ...attribute.KeyValue) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if v.Class != belay.ClassOK {
		attrs = append(attrs, attribute.String("class", v.Class.String()))
	}
	span.AddEvent(name, trace.WithAttributes(attrs...))
}

// kindOf returns the error.type of an outcome: the status, "timeout", or the verdict's class; empty for a success.
func kindOf(v belay.Verdict, status int, timedOut bool) string {
	switch {
	case v.Class == belay.ClassOK:
		return ""
	case timedOut:
		return "timeout"
	case status >= 400:
		return strconv.Itoa(status)
	}
	return v.Class.String()
}

func (t *Tracer) attemptDone(ctx context.Context, e *belay.AttemptDone) {
	kind, l := kindOf(e.Verdict, e.StatusCode, e.TimedOut), t.labelsOf(&e.Call)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		var room [6]attribute.KeyValue // set at once: the SDK allocates for each time
		attrs := append(room[:0], l.atEnd[:]...)
		if e.StatusCode != 0 {
			attrs = append(attrs, attribute.Int("http.response.status_code", e.StatusCode))
		}
		if e.RequestID != "" {
			attrs = append(attrs, attribute.String("belay.request_id", e.RequestID))
		}
		end(span, attrs, kind, e.Err)
	}
	t.attempts.Record(ctx, e.Duration.Seconds(), l.of(outcome{e.StatusCode, kind}))
}

func (t *Tracer) callDone(ctx context.Context, e *belay.CallDone) {
	kind := kindOf(e.Verdict, e.StatusCode, e.TimedOut)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		var attrs []attribute.KeyValue // none for most calls
		if e.Call.Correlation != "" {
			attrs = append(attrs, attribute.String("belay.correlation_id", e.Call.Correlation))
		}
		if e.Attempts != 1 {
			attrs = append(attrs, attribute.Int("belay.attempts", e.Attempts))
		}
		if waited := e.Waits.Total(); waited > 0 {
			attrs = append(attrs, attribute.Int64("belay.waited_ms", int64(waited/time.Millisecond)))
		}
		switch {
		case e.Stale:
			attrs = append(attrs, attribute.String("belay.kept", "stale"))
		case e.Kept:
			attrs = append(attrs, attribute.String("belay.kept", "fresh"))
		}
		end(span, attrs, kind, e.Err)
	}
	t.calls.Record(ctx, e.Duration.Seconds(), t.labelsOf(&e.Call).of(outcome{e.StatusCode, kind}))
}

// end ends a span, as failed if there is an error.type.
func end(span trace.Span, attrs []attribute.KeyValue, kind string, err error) {
	if kind != "" {
		attrs = append(attrs, attribute.String("error.type", kind))
		text := kind
		if err != nil {
			text = err.Error()
		}
		span.SetStatus(codes.Error, text)
	}
	if len(attrs) > 0 {
		span.SetAttributes(attrs...)
	}
	span.End()
}

// dateOf returns a date as an attribute, empty for none.
func dateOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
