package belayprom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayprom"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/watch"
)

// durations are the times in the rules: of "for:", and of ranges and offsets.
var durations = regexp.MustCompile(`(for: |\[|offset )(\d+)([mh])`)

// sixtieth returns the rules with all times divided by sixty.
func sixtieth(rules string) string {
	return durations.ReplaceAllStringFunc(rules, func(s string) string {
		m := durations.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		if m[3] == "h" {
			n *= 60
		}
		return m[1] + strconv.Itoa(n) + "s"
	})
}

// partner is a fake one: it answers by a function of the number of the call and of the time since it began.
func partner(t *testing.T, name string, m *belayprom.Metrics, answer func(n int, since time.Duration) *http.Response, opts ...belay.Option) *belay.Client {
	t.Helper()
	n, began := 0, time.Now()
	var mu sync.Mutex
	c, err := belay.New("https://"+strings.ToLower(name)+".example", append([]belay.Option{
		belay.WithName(name), belay.WithObserver(m), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			n++
			at := n
			mu.Unlock()
			if resp := answer(at, time.Since(began)); resp != nil {
				resp.Request = req
				return resp, nil
			}
			return nil, errors.New("connection refused")
		})),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Add(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func answered(status int, kv ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i+1 < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}"))}
}

// A real Prometheus scrapes the metrics of partners that have one fault each, under the name of the alert that it is made
// for, with the rules' times divided by sixty: each alert fires for its partner, and no other does.
func TestPrometheus(t *testing.T) {
	server, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: prometheus is not installed")
	}
	if os.Getenv("BELAY_PROMETHEUS") == "" {
		t.Skip("BELAY_PROMETHEUS is not set: it takes two minutes")
	}
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer func() { cancel(); all.Wait() }()
	every := func(d time.Duration, f func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				f()
				select {
				case <-ctx.Done():
				case <-time.After(d):
				}
			}
		})
	}
	get := func(c *belay.Client) func() {
		return func() { _, _ = belay.Get[belay.None](ctx, c, "/x") }
	}
	tell := func(e belay.Event) { m.Observe(ctx, e) }
	noBreaker := belay.Without(belay.LayerBreaker, belay.LayerLimits)

	// Every so often a call fails, as at any partner.
	every(50*time.Millisecond, get(partner(t, "Well", m, func(n int, _ time.Duration) *http.Response {
		if n%200 == 0 {
			return answered(503)
		}
		return answered(200)
	})))
	every(100*time.Millisecond, get(partner(t, "PartnerServerErrors", m, func(int, time.Duration) *http.Response { return answered(503) }, noBreaker)))
	every(100*time.Millisecond, get(partner(t, "PartnerNoAnswer", m, func(int, time.Duration) *http.Response { return nil }, noBreaker)))
	every(100*time.Millisecond, get(partner(t, "PartnerRateLimited", m, func(int, time.Duration) *http.Response { return answered(429) }, noBreaker)))
	every(time.Second, get(partner(t, "PartnerCredentialRefused", m, func(_ int, since time.Duration) *http.Response {
		if since > 15*time.Second && since < 20*time.Second { // five in a row, and no more
			return answered(401)
		}
		return answered(200)
	})))
	every(10*time.Millisecond, get(partner(t, "PartnerManyCredentialsRefused", m, func(n int, _ time.Duration) *http.Response {
		if n%300 < 2 {
			return answered(401)
		}
		return answered(200)
	})))
	every(200*time.Millisecond, get(partner(t, "PartnerForbidden", m, func(_ int, since time.Duration) *http.Response {
		if since > 30*time.Second {
			return answered(403)
		}
		return answered(200)
	})))
	every(100*time.Millisecond, func() {
		tell(belay.CallDone{
			Call: belay.CallInfo{Partner: "PartnerUnusableAnswers", Route: "/x"}, StatusCode: 200,
			Verdict: belay.Verdict{Class: belay.ClassData},
		})
		tell(belay.CallDone{Call: belay.CallInfo{Partner: "PartnerSlow", Route: "/x"}, StatusCode: 200, Duration: 6 * time.Second})
	})
	down := func(int, time.Duration) *http.Response { return nil }
	cooldown := belay.WithBreakerPolicy(belay.BreakerPolicy{Cooldown: time.Minute})
	every(time.Second, get(partner(t, "PartnerRouteCircuitOpen", m, down, cooldown)))
	whole := partner(t, "PartnerCircuitOpen", m, down, cooldown)
	n := 0
	every(100*time.Millisecond, func() { // on all its routes
		n++
		_, _ = belay.Get[belay.None](ctx, whole, fmt.Sprint("/x", n%5))
	})
	every(time.Minute, get(partner(t, "PartnerBan", m, func(int, time.Duration) *http.Response { return answered(429, "Retry-After", "86400") })))
	every(200*time.Millisecond, get(partner(t, "PartnerLimitTightened", m, func(n int, _ time.Duration) *http.Response {
		return answered(200, "RateLimit-Policy", `"default";q=300;w=60`, "RateLimit", fmt.Sprintf(`"default";r=%d;t=30`, 200))
	}, belay.WithRateLimit(belay.PerMinute(600)))))
	checker, err := watch.NewChecker(watch.CheckerConfig{Interval: time.Second, Timeout: 5 * time.Second},
		watch.Check{Name: "PartnerProbeFailed", Probe: func(context.Context) error { return errors.New("no") }},
		watch.Check{Name: "PartnerProbeSlow", Probe: func(ctx context.Context) error { time.Sleep(3100 * time.Millisecond); return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AddChecker(checker); err != nil {
		t.Fatal(err)
	}
	all.Go(func() { _ = checker.Run(ctx) })
	every(5*time.Second, func() { tell(belay.TokenRevoked{Partner: "PartnerTokenRevoked", Err: errors.New("no")}) })
	every(time.Second, func() { tell(belay.TokenRefreshFailed{Partner: "PartnerTokenFailing", Err: errors.New("no")}) })
	tell(belay.TokenLoaded{
		Partner: "PartnerRefreshTokenEnding", Obtained: time.Now().Add(-30 * 24 * time.Hour), RefreshExpiry: time.Now().Add(6 * 24 * time.Hour),
	})
	tell(belay.TokenRefreshed{Partner: "Well", RefreshExpiry: time.Now().Add(60 * 24 * time.Hour)})
	every(100*time.Millisecond, func() {
		for range 9 {
			tell(belay.EventHandled{Partner: "WebhooksFailing", Type: "x"})
			tell(belay.EventHandled{Partner: "Well", Type: "x"})
		}
		tell(belay.EventHandled{Partner: "WebhooksFailing", Type: "x", Err: errors.New("no")})
	})
	tell(belay.Deprecated{Call: belay.CallInfo{Partner: "PartnerEndpointEnding", Route: "/v1/x"}, Sunset: time.Now().Add(80 * 24 * time.Hour)})
	tell(belay.Deprecated{Call: belay.CallInfo{Partner: "Well", Route: "/v1/x"}, Sunset: time.Now().Add(180 * 24 * time.Hour)})
	every(5*time.Second, func() { tell(belay.SchemaChanged{Partner: "SchemaChanged", Difference: "missing id"}) })
	every(2*time.Second, func() {
		tell(belay.ImportProgress{Partner: "ImportRejecting", Import: "people", Read: 100, Saved: 94, Rejected: 6, Ended: true})
		tell(belay.ImportProgress{Partner: "Well", Import: "people", Read: 1000, Saved: 995, Rejected: 5, Ended: true})
	})
	every(5*time.Second, func() {
		tell(belay.ImportProgress{Partner: "ImportFailed", Import: "people", Ended: true, Err: errors.New("no")})
	})
	for name, received := range map[string]time.Duration{"InboxDeep": 0, "InboxOld": 20 * time.Minute} {
		store := inbox.NewMemory()
		n := 1
		if received == 0 {
			n = 5001
		}
		for i := range n {
			if err := store.Add(ctx, []*inbox.Item{{ID: fmt.Sprint(i), Partner: name, Received: time.Now().Add(-received), Body: []byte("{}")}}); err != nil {
				t.Fatal(err)
			}
		}
		w, err := inbox.Start(store, func(ctx context.Context, _ inbox.Item) error { return nil }, inbox.Config{
			Ready: func(string, string) (bool, time.Time) { return false, time.Now().Add(time.Minute) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Shutdown(context.Background()) }()
		if err := m.AddInbox(name, w); err != nil {
			t.Fatal(err)
		}
	}

	if err := m.SetQueues(func(context.Context) ([]belayprom.Queue, int, error) {
		return []belayprom.Queue{
			{Queue: "QueueDeep", Waiting: 5001, Due: 5001},
			{Queue: "QueueOld", Waiting: 1, Due: 1, Oldest: 20 * time.Minute},
			{Queue: "held", Waiting: 1, Due: 1, Oldest: 20 * time.Minute, Paused: []string{"user"}},
		}, 0, nil
	}); err != nil {
		t.Fatal(err)
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	app := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer app.Close()
	rules, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rules.yaml": sixtieth(string(rules)),
		"prometheus.yaml": fmt.Sprintf(`global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules.yaml]
scrape_configs: [{job_name: belay, scrape_timeout: 400ms, static_configs: [{targets: [%q]}]}]
`, strings.TrimPrefix(app.URL, "http://")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	cmd := exec.Command(server, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:"+port)
	cmd.Dir = dir
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Signal(os.Interrupt); <-ended }()

	_, names := rulesWithoutTexts(t)
	fired := make(map[string]bool)
	for until := time.Now().Add(120 * time.Second); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		for _, a := range firing(t, port) {
			of := a["partner"] + a["inbox"] + a["queue"]
			if of == "" {
				of = "NoWorkers" // the one rule without a label
			}
			many := of == "PartnerManyCredentialsRefused" && a["alertname"] == "PartnerCredentialRefused" // it is that, too
			if a["alertname"] != of && !many {
				t.Errorf("%s fires for %s: %v", a["alertname"], of, a)
			}
			fired[a["alertname"]] = true
		}
		if t.Failed() || len(fired) == len(names) && time.Until(until) < 30*time.Second { // and a while to see no other
			break
		}
	}
	for _, name := range names {
		if !fired[name] {
			t.Errorf("%s has not fired", name)
		}
	}
	if t.Failed() {
		t.Log(text(t, m))
		t.Log(log.String())
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	defer s.Close()
	return s.URL[strings.LastIndex(s.URL, ":")+1:]
}

// firing returns the labels of the alerts that fire; none while the server does not answer yet.
func firing(t *testing.T, port string) (alerts []map[string]string) {
	t.Helper()
	resp, err := http.Get("http://127.0.0.1:" + port + "/api/v1/alerts")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var out struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if resp.StatusCode != 200 || json.NewDecoder(resp.Body).Decode(&out) != nil {
		return nil
	}
	for _, a := range out.Data.Alerts {
		if a.State == "firing" {
			alerts = append(alerts, a.Labels)
		}
	}
	slices.SortFunc(alerts, func(a, b map[string]string) int { return strings.Compare(a["alertname"], b["alertname"]) })
	return alerts
}
