package belayprom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayprom"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func reply(status int, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// text returns the metrics as Prometheus reads them.
func text(t testing.TB, m *belayprom.Metrics) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, x := range f.GetMetric() {
			labels := make([]string, 0, len(x.GetLabel()))
			for _, l := range x.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := x.GetCounter().GetValue() + x.GetGauge().GetValue() + float64(x.GetHistogram().GetSampleCount())
			fmt.Fprintf(&b, "%s{%s} %g\n", f.GetName(), strings.Join(labels, ","), value)
		}
	}
	return b.String()
}

func contains(t testing.TB, all string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(all, line+"\n") {
			t.Errorf("there is no %s in\n%s", line, all)
		}
	}
}

// The events of calls become the metrics that the page of the package names.
func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
		n := 0
		c := must[*belay.Client](t)(belay.New("https://api.crm.test", belay.WithName("crm"), belay.WithObserver(m),
			belay.WithRateLimit(belay.PerMinute(600)), belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
				switch n++; {
				case req.URL.Path == "/limited" && n == 2:
					return reply(429, "Retry-After", "3"), nil
				case req.URL.Path == "/broken", strings.HasPrefix(req.URL.Path, "/bot123"):
					return reply(500), nil
				case req.URL.Path == "/slow":
					<-req.Context().Done()
					return nil, req.Context().Err()
				case req.URL.Path == "/gone":
					return reply(404), nil
				}
				return reply(200), nil
			}))))
		if err := m.Add(c); err != nil {
			t.Fatal(err)
		}
		get := func(path string, opts ...belay.CallOption) {
			_, _ = belay.Get[belay.None](t.Context(), c, path, opts...)
		}
		get("/things/{id}", belay.PathValue("id", "7"))
		get("/limited")
		get("/gone")
		get("/broken", belay.MaxAttempts(2))
		get("/slow", belay.MaxAttempts(1))
		if resp, err := c.HTTPClient().Get("https://api.crm.test/users/ada@example.test/123?token=canary"); err == nil {
			_ = resp.Body.Close()
		}
		for range 5 { // a route with a credential in it, until its circuit opens
			get("/bot123456:AAHcanary/getMe", belay.MaxAttempts(1))
		}
		all := text(t, m)
		contains(t, all,
			"integration_api_circuit_open{integration=,origin=https://api.crm.test,partner=crm,route=GET /{id}/getMe} 1",
			"integration_api_calls_total{class=ok,endpoint=/things/{id},method=GET,partner=crm,status_code=200} 1",
			"integration_api_calls_total{class=ok,endpoint=/users/{id}/{id},method=GET,partner=crm,status_code=200} 1",
			"integration_api_calls_total{class=client,endpoint=/gone,method=GET,partner=crm,status_code=404} 1",
			"integration_api_calls_total{class=transient,endpoint=/broken,method=GET,partner=crm,status_code=500} 1",
			"integration_api_calls_total{class=transient,endpoint=/slow,method=GET,partner=crm,status_code=timeout} 1",
			"integration_api_attempts_total{class=transient,endpoint=/broken,method=GET,partner=crm,status_code=500} 2",
			"integration_api_attempts_total{class=rate_limited,endpoint=/limited,method=GET,partner=crm,status_code=429} 1",
			"integration_api_retries_total{endpoint=/limited,partner=crm,reason=rate_limited} 1",
			"integration_api_retries_total{endpoint=/broken,partner=crm,reason=transient} 1",
			"integration_api_timeouts_total{endpoint=/slow,method=GET,partner=crm} 1",
			"integration_api_call_duration_seconds{endpoint=/limited,method=GET,partner=crm} 1",
			"integration_api_limit_max{integration=,limit=600 per 1m0s,partner=crm,scope=partner,source=configured} 600",
			"integration_api_calls_waiting{integration=,partner=crm} 0",
		)
		for _, never := range []string{"canary", "ada@", "/123", "?", "status_code=none"} {
			if strings.Contains(all, never) {
				t.Errorf("%s in\n%s", never, all)
			}
		}
		if problems, err := testutil.CollectAndLint(m); err != nil || len(problems) > 0 {
			t.Error(err, problems)
		}
	})
}

// Tokens, webhooks, pages, pauses and circuits have metrics of their own.
func TestOtherEvents(t *testing.T) {
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{Integrations: 2}))
	call := belay.CallInfo{Partner: "crm", Integration: "one", Method: "GET", Route: "/l"}
	for _, e := range []belay.Event{
		belay.TokenRefreshed{Partner: "crm", Integration: "one"},
		belay.TokenRefreshFailed{Partner: "crm", Integration: "two"},
		belay.TokenRevoked{Partner: "crm", Integration: "three"}, // one more than are labels
		belay.DeliveryReceived{Partner: "crm", Integration: "one", Stored: true, Events: 3, Types: []string{"contact.created", "contact.created", "deal.won"}},
		belay.DeliveryReceived{Partner: "crm", Integration: "one", Events: 1, Types: []string{"deal.won"}},
		belay.DeliveryRejected{Partner: "crm", Integration: "one", Reason: "bad signature"},
		belay.EventHandled{Partner: "crm", Integration: "one", Type: "contact.created", Duration: time.Second},
		belay.EventHandled{Partner: "crm", Integration: "one", Type: "contact.created", Err: errors.New("x")},
		belay.EventHandled{Partner: "crm", Integration: "one", Type: "contact.created", Err: errors.New("x"), DeadLettered: true},
		belay.PageRead{Call: call, Number: 1, Items: 50},
		belay.PageRead{Call: call, Number: 2, Items: 7},
		belay.Paused{Call: call, Scope: belay.ScopeCredential, For: time.Second},
		belay.CircuitChanged{Call: call, State: belay.BreakerOpen},
		belay.AttemptDone{Call: call, StatusCode: 200},
		belay.CallDone{Call: call, StatusCode: 200, Kept: true}, // the partner was not asked
		belay.CallDone{Call: call, StatusCode: 200, Waits: belay.Waits{
			Queue: 2 * time.Second, Backoff: time.Second, Credential: 3 * time.Second, Circuit: 4 * time.Second,
		}},
	} {
		m.Observe(context.Background(), e)
	}
	contains(t, text(t, m),
		"integration_token_refreshes_total{integration=one,partner=crm,result=ok} 1",
		"integration_token_refreshes_total{integration=two,partner=crm,result=failed} 1",
		"integration_token_refreshes_total{integration=other,partner=crm,result=revoked} 1",
		"integration_webhook_received_total{integration=one,partner=crm,result=stored,type=contact.created} 2",
		"integration_webhook_received_total{integration=one,partner=crm,result=stored,type=deal.won} 1",
		"integration_webhook_received_total{integration=one,partner=crm,result=repeated,type=deal.won} 1",
		"integration_api_calls_total{class=ok,endpoint=/l,integration=one,method=GET,partner=crm,status_code=200} 1",
		"integration_api_kept_answers_total{integration=one,partner=crm,result=fresh} 1",
		"integration_webhook_rejected_total{integration=one,partner=crm,reason=bad signature} 1",
		"integration_webhook_handled_total{integration=one,partner=crm,result=ok,type=contact.created} 1",
		"integration_webhook_handled_total{integration=one,partner=crm,result=failed,type=contact.created} 1",
		"integration_webhook_handled_total{integration=one,partner=crm,result=dead,type=contact.created} 1",
		"integration_webhook_duration_seconds{integration=one,partner=crm,type=contact.created} 3",
		"integration_api_pages_total{endpoint=/l,integration=one,partner=crm} 2",
		"integration_api_page_items_total{endpoint=/l,integration=one,partner=crm} 57",
		"integration_api_pauses_total{integration=one,partner=crm,scope=credential} 1",
		"integration_api_circuit_changes_total{integration=one,partner=crm,state=open} 1",
		"integration_api_wait_seconds_total{cause=queue,integration=one,partner=crm} 2",
		"integration_api_wait_seconds_total{cause=backoff,integration=one,partner=crm} 1",
		"integration_api_wait_seconds_total{cause=credential,integration=one,partner=crm} 3",
		"integration_api_wait_seconds_total{cause=circuit,integration=one,partner=crm} 4",
		"integration_api_calls_per_minute{partner=crm} 1",
	)
}

// A million calls over a hundred thousand raw paths leave as many values of labels as are told, whoever makes the paths.
func TestLabelsAreBounded(t *testing.T) {
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{Endpoints: 50, Integrations: 10}))
	calls := 1_000_000
	if testing.Short() {
		calls = 100_000
	}
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := w; i < calls; i += 4 {
				word := words(i % 100_000)
				info := belay.CallInfo{
					Partner: fmt.Sprint("partner-", i%3), Integration: fmt.Sprint("customer ", i%1000), Method: word,
					URL: "https://h.test/" + word + "/things/" + fmt.Sprint(i),
				}
				if i%2 == 0 {
					info.Route = "/" + word
				}
				m.Observe(context.Background(), belay.AttemptDone{Call: info, StatusCode: 100 + i%900})
			}
		})
	}
	all.Wait()
	values := map[string][]string{}
	for line := range strings.Lines(text(t, m)) {
		name, rest, _ := strings.Cut(line, "{")
		if name != "integration_api_attempts_total" {
			continue
		}
		rest, _, _ = strings.Cut(rest, "} ")
		for pair := range strings.SplitSeq(rest, ",") {
			label, value, _ := strings.Cut(pair, "=")
			if !slices.Contains(values[label], value) {
				values[label] = append(values[label], value)
			}
		}
	}
	for label, most := range map[string]int{"endpoint": 3*50 + 1, "integration": 11, "method": 8, "status_code": 501, "partner": 3} {
		if n := len(values[label]); n == 0 || n > most {
			t.Errorf("%d values of %s, at most %d: %.300v", n, label, most, values[label])
		}
	}
}

// words returns another text without digits for each number.
func words(i int) string {
	b := []byte("aaaaa")
	for k := range b {
		b[k] += byte(i % 16)
		i /= 16
	}
	return string(b)
}

// Labels that Prometheus could not read, and names that are too long, are made such that it can.
func TestBadInput(t *testing.T) {
	for _, cfg := range []belayprom.Config{
		{Endpoints: -1}, {Integrations: -1}, {Buckets: []float64{1, 1}}, {Buckets: []float64{2, 1}}, {Buckets: []float64{math.NaN()}},
	} {
		if _, err := belayprom.New(cfg); err == nil {
			t.Errorf("%+v is no error", cfg)
		}
	}
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{Integrations: 100}))
	if m.Add(nil) == nil {
		t.Error("a nil client is no error")
	}
	for _, name := range []string{"<script>alert(1)</script>", strings.Repeat("ü", 5000), "\xff\x00", "", "a\nb"} {
		m.Observe(context.Background(), belay.CallDone{Call: belay.CallInfo{Partner: name, Integration: name, Route: name, Method: name}})
		m.Observe(context.Background(), belay.EventHandled{Partner: name, Type: name})
	}
	m.Observe(context.Background(), nil)
	for line := range strings.Lines(text(t, m)) {
		if len(line) > 1000 {
			t.Errorf("%d bytes", len(line))
		}
	}
	// Two clients of one name are one series.
	one := must[*belay.Client](t)(belay.New("https://a.test", belay.WithName("same"), belay.WithRateLimit(belay.PerSecond(5))))
	two := must[*belay.Client](t)(belay.New("https://b.test", belay.WithName("same"), belay.WithRateLimit(belay.PerSecond(5))))
	if err := m.Add(one, two, one); err != nil {
		t.Fatal(err)
	}
	contains(t, text(t, m), "integration_api_limit_max{integration=,limit=5 per 1s,partner=same,scope=partner,source=configured} 5")
}

// A call with metrics allocates two events more than one without.
func TestAllocations(t *testing.T) {
	allocs := func(opts ...belay.Option) float64 {
		c := must[*belay.Client](t)(belay.New("https://h.test", append(opts, belay.WithTransport(
			roundTrip(func(*http.Request) (*http.Response, error) { return reply(200), nil })))...))
		return testing.AllocsPerRun(1000, func() {
			if _, err := belay.Get[belay.None](t.Context(), c, "/things/{id}", belay.PathValue("id", "7")); err != nil {
				t.Fatal(err)
			}
		})
	}
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	if more := allocs(belay.WithObserver(m)) - allocs(); more > 0 {
		t.Errorf("%g allocations more", more)
	}
}

func BenchmarkCall(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "without", true: "with metrics"}[on], func(b *testing.B) {
			opts := []belay.Option{belay.WithTransport(
				roundTrip(func(*http.Request) (*http.Response, error) { return reply(200), nil }))}
			if on {
				opts = append(opts, belay.WithObserver(must[*belayprom.Metrics](b)(belayprom.New(belayprom.Config{}))))
			}
			c := must[*belay.Client](b)(belay.New("https://h.test", opts...))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = belay.Get[belay.None](b.Context(), c, "/things/{id}", belay.PathValue("id", "7"))
			}
		})
	}
}

// BenchmarkObserve is the part of BenchmarkCall that is not the core's events.
func BenchmarkObserve(b *testing.B) {
	m := must[*belayprom.Metrics](b)(belayprom.New(belayprom.Config{}))
	info := belay.CallInfo{Partner: "h.test", Method: "GET", Route: "/things/{id}", URL: "https://h.test/things/{id}"}
	for name, e := range map[string]belay.Event{
		"attempt": belay.AttemptDone{Call: info, StatusCode: 200, Number: 1, Duration: time.Millisecond},
		"call":    belay.CallDone{Call: info, StatusCode: 200, Attempts: 1, Duration: time.Millisecond},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				m.Observe(context.Background(), e)
			}
		})
	}
}

// Prometheus's own tool finds no fault with the text. It is skipped where the tool is not.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed")
	}
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	m.Observe(context.Background(), belay.CallDone{Call: belay.CallInfo{Partner: "crm", Route: "/x"}, StatusCode: 200})
	m.Observe(context.Background(), belay.EventHandled{Partner: "crm", Type: "x"})
	data, err := testutil.CollectAndFormat(m, expfmt.TypeTextPlain)
	if err != nil {
		t.Fatal(err)
	}
	check := exec.Command(tool, "check", "metrics")
	check.Stdin = strings.NewReader(string(data))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
