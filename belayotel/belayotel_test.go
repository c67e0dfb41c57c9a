package belayotel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayotel"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answer(status int, kv ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}"))}
}

func newTracer(t testing.TB, cfg belayotel.Config) (*belayotel.Tracer, *tracetest.InMemoryExporter, *sdkmetric.ManualReader) {
	t.Helper()
	spans, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.TraceContext{}
	}
	tracer, err := belayotel.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tracer, spans, reader
}

// tree writes spans as an indented tree, the earlier first.
func tree(spans tracetest.SpanStubs) string {
	children := make(map[trace.SpanID]tracetest.SpanStubs)
	known := make(map[trace.SpanID]bool)
	for _, s := range spans {
		known[s.SpanContext.SpanID()] = true
	}
	for _, s := range spans {
		parent := s.Parent.SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		children[parent] = append(children[parent], s)
	}
	var b strings.Builder
	var write func(trace.SpanID, string)
	write = func(id trace.SpanID, indent string) {
		of := children[id]
		sort.SliceStable(of, func(i, j int) bool { return of[i].StartTime.Before(of[j].StartTime) })
		for _, s := range of {
			fmt.Fprintf(&b, "%s%s (%s)", indent, s.Name, s.SpanKind)
			for _, a := range s.Attributes {
				switch a.Key {
				case "http.response.status_code", "error.type", "http.request.resend_count", "belay.attempts", "server.address", "belay.waited_ms":
					fmt.Fprintf(&b, " %s=%s", a.Key, a.Value.Emit())
				}
			}
			for _, e := range s.Events {
				fmt.Fprintf(&b, " [%s]", e.Name)
			}
			b.WriteString("\n")
			write(s.SpanContext.SpanID(), indent+"  ")
		}
	}
	write(trace.SpanID{}, "")
	return b.String()
}

// A call with two retries and a redirect is one tree; what the partner gets is the context of the attempt.
func TestSpanTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer, spans, reader := newTracer(t, belayotel.Config{})
		var sent []string
		n := 0
		c, err := belay.New("https://crm.example", belay.WithName("crm"), belay.WithObserver(tracer),
			belay.WithAuth(belay.Bearer(belay.NewSecret("canary-12345"))), belay.WithRedirects(belay.RedirectAny),
			belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
				time.Sleep(10 * time.Millisecond)
				sent = append(sent, req.URL.Host+" "+req.Header.Get("Traceparent"))
				switch n++; n {
				case 1:
					return answer(503), nil
				case 2:
					return nil, errors.New("connection reset")
				case 3:
					return answer(302, "Location", "/things/new-place"), nil
				case 4:
					return answer(302, "Location", "https://elsewhere.example/x"), nil
				}
				return answer(200), nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := belay.Get[belay.None](t.Context(), c, "/things/{id}?key=canary-67890", belay.PathValue("id", "mail@example.com")); err != nil {
			t.Fatal(err)
		}
		got := tree(spans.GetSpans())
		want := `crm GET /things/{id} (internal) belay.attempts=3 belay.waited_ms=N [retrying] [retrying]
  GET /things/{id} (client) server.address=crm.example http.response.status_code=503 error.type=503
  GET /things/{id} (client) server.address=crm.example http.request.resend_count=1 error.type=transient
  GET /things/{id} (client) server.address=crm.example http.request.resend_count=2 http.response.status_code=302
  crm GET /things/{id} (internal)
    GET /things/{id} (client) server.address=crm.example http.response.status_code=302
`
		shown := got
		if i := strings.Index(shown, "waited_ms="); i >= 0 {
			end := i + strings.IndexByte(shown[i:], ' ')
			shown = shown[:i] + "waited_ms=N" + shown[end:]
		}
		if !strings.HasPrefix(shown, want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		ids := make(map[string]bool)
		for _, s := range spans.GetSpans() {
			ids["00-"+s.SpanContext.TraceID().String()+"-"+s.SpanContext.SpanID().String()+"-01"] = true
			for _, a := range s.Attributes {
				if text := a.Value.Emit(); strings.Contains(text, "canary") || strings.Contains(text, "mail@") {
					t.Errorf("%s has %s=%s", s.Name, a.Key, text)
				}
			}
		}
		for i, line := range sent {
			host, parent, _ := strings.Cut(line, " ")
			if own := host == "crm.example"; own != ids[parent] || !own && parent != "" {
				t.Errorf("request %d to %s had traceparent %q", i+1, host, parent)
			}
		}
		var rm metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &rm); err != nil {
			t.Fatal(err)
		}
		counts := make(map[string]uint64)
		for _, m := range rm.ScopeMetrics[0].Metrics {
			for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				counts[m.Name] += p.Count
			}
		}
		if counts["http.client.request.duration"] < 4 || counts["belay.call.duration"] != 2 {
			t.Errorf("%v", counts)
		}
	})
}

// Nothing is sent on if it is switched off, and integrations are left out if they are.
func TestSwitches(t *testing.T) {
	t.Parallel()
	tracer, spans, _ := newTracer(t, belayotel.Config{NoPropagation: true, NoIntegrations: true})
	c, err := belay.New("https://crm.example", belay.WithObserver(tracer), belay.WithIntegration("customer-7"),
		belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Traceparent") != "" {
				t.Error("the trace context is sent on")
			}
			return answer(200), nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 { // raw paths
		req, err := c.NewRequest(t.Context(), "GET", fmt.Sprintf("/things/%d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	names := make(map[string]bool)
	for _, s := range spans.GetSpans() {
		names[s.Name] = true
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.Emit(), "customer-7") {
				t.Fatalf("%v", a)
			}
		}
	}
	if len(names) != 2 {
		t.Errorf("%d names of spans", len(names))
	}
}

// Whatever paths are typed, a partner has a bounded number of endpoints.
func TestEndpointsAreBounded(t *testing.T) {
	t.Parallel()
	tracer, spans, _ := newTracer(t, belayotel.Config{})
	c, err := belay.New("https://crm.example", belay.WithObserver(tracer),
		belay.WithTransport(roundTrip(func(*http.Request) (*http.Response, error) { return answer(200), nil })))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		word := string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676)})
		if _, err := belay.Get[belay.None](t.Context(), c, "/"+word); err != nil {
			t.Fatal(err)
		}
	}
	names := make(map[string]bool)
	for _, s := range spans.GetSpans() {
		names[s.Name] = true
	}
	if len(names) != 2*201 || !names["GET other"] {
		t.Errorf("%d names of spans", len(names))
	}
}

// A call with belayotel costs no more than with otelhttp, which has no span of the call.
func BenchmarkSpans(b *testing.B) {
	stub := roundTrip(func(*http.Request) (*http.Response, error) { return answer(200), nil })
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()))
	run := func(name string, opts ...belay.Option) {
		c, err := belay.New("https://crm.example", append([]belay.Option{belay.WithTransport(stub)}, opts...)...)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := belay.Get[belay.None](context.Background(), c, "/things/{id}", belay.PathValue("id", "7")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("none")
	tracer, err := belayotel.New(belayotel.Config{
		TracerProvider: provider, MeterProvider: metricnoop.NewMeterProvider(), Propagator: propagation.TraceContext{},
	})
	if err != nil {
		b.Fatal(err)
	}
	run("belayotel", belay.WithObserver(tracer))
	run("otelhttp", belay.WithAttemptMiddleware(func(rt http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(rt, otelhttp.WithTracerProvider(provider), otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
			otelhttp.WithPropagators(propagation.TraceContext{}))
	}))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	tracer, err = belayotel.New(belayotel.Config{TracerProvider: provider, MeterProvider: meters, Propagator: propagation.TraceContext{}})
	if err != nil {
		b.Fatal(err)
	}
	run("belayotel with metrics", belay.WithObserver(tracer))
	run("otelhttp with metrics", belay.WithAttemptMiddleware(func(rt http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(rt, otelhttp.WithTracerProvider(provider), otelhttp.WithMeterProvider(meters),
			otelhttp.WithPropagators(propagation.TraceContext{}))
	}))
}

// The span of a call has its correlation id, and an event for an endpoint that ends.
func TestCorrelationAndDeprecated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer, spans, _ := newTracer(t, belayotel.Config{})
		c, err := belay.New("https://crm.example", belay.WithName("crm"), belay.WithObserver(tracer),
			belay.WithTransport(roundTrip(func(*http.Request) (*http.Response, error) {
				return answer(200, "Sunset", "Wed, 31 Dec 2031 23:59:59 GMT"), nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := belay.Get[belay.None](t.Context(), c, "/x", belay.Correlation("req-42")); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range spans.GetSpans() {
			for _, a := range s.Attributes {
				found = found || a.Key == "belay.correlation_id" && a.Value.AsString() == "req-42"
			}
			for _, e := range s.Events {
				if e.Name == "deprecated" && e.Attributes[0].Value.AsString() != "2031-12-31T23:59:59Z" {
					t.Error(e.Attributes)
				}
			}
		}
		if got := tree(spans.GetSpans()); !found || !strings.Contains(got, "[deprecated]") {
			t.Error(found, got)
		}
	})
}
