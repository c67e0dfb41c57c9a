package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/cenkalti/backoff/v4"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
)

const (
	pages     = 100
	perPage   = 20
	pageTime  = 20 * time.Millisecond // the server makes one page at a time, so a calm run takes two seconds
	slowPage  = 80 * time.Millisecond // then a run outlives some tokens
	tokenLife = 2 * time.Second
	stormTime = 60 * time.Second // the most that a run may take
	calmFirst = 400 * time.Millisecond
)

// record is one record of the partner.
type record struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
	Note  string `json:"note"`
}

func recordOf(id int) record {
	return record{
		ID: id, Name: fmt.Sprintf("Customer %d", id), Email: fmt.Sprintf("customer%d@example.com", id),
		Note: strings.Repeat("x", 40),
	}
}

// records is a partner with pages of records. Every answer has about 2.4 kB.
type records struct {
	storm    storm
	turn     chan struct{} // held while a page is made
	requests atomic.Int64  // for pages
	issued   atomic.Int64

	mu   sync.Mutex
	ends map[string]time.Time // of tokens
}

func serveRecords(t *testing.T, s storm) (*records, *httptest.Server) {
	p := &records{storm: s, turn: make(chan struct{}, 1), ends: make(map[string]time.Time)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /records", p.page)
	mux.HandleFunc("POST /token", p.token)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return p, server
}

func (p *records) page(w http.ResponseWriter, req *http.Request) {
	p.requests.Add(1)
	if !p.allowed(req.Header.Get("Authorization")) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	n, err := strconv.Atoi(req.URL.Query().Get("page"))
	if err != nil || n < 0 || n >= pages {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	select {
	case p.turn <- struct{}{}:
	case <-req.Context().Done():
		return
	}
	if p.storm.secured {
		time.Sleep(slowPage)
	} else {
		time.Sleep(pageTime)
	}
	<-p.turn
	all := make([]record, perPage)
	for i := range all {
		all[i] = recordOf(n*perPage + i)
	}
	answer(w, all)
}

func (p *records) allowed(authorization string) bool {
	if !p.storm.secured {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.ends[strings.TrimPrefix(authorization, "Bearer ")])
}

func (p *records) token(w http.ResponseWriter, _ *http.Request) {
	token := fmt.Sprintf("token-%d", p.issued.Add(1))
	p.mu.Lock()
	p.ends[token] = time.Now().Add(tokenLife)
	p.mu.Unlock()
	answer(w, map[string]any{
		"access_token": token, "token_type": "bearer", "expires_in": int(tokenLife / time.Second),
	})
}

func answer(w http.ResponseWriter, v any) {
	data, _ := json.Marshal(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// storm is a fault that comes and goes while the pages are fetched.
type storm struct {
	name           string
	fault          func(ctx context.Context, f *faults, lasts time.Duration) error // nil for none
	lasts, every   time.Duration
	times          int           // 0 is until the run ends
	attemptTimeout time.Duration // 0 is what the stack has by default
	resets         bool          // the proxy ends connections with a reset
	secured        bool          // a page needs a token of /token
}

var storms = []storm{
	{name: "calm"},
	{
		name: "resets", lasts: 300 * time.Millisecond, every: 1500 * time.Millisecond, resets: true,
		fault: toxic(`{"name":"storm","type":"reset_peer","attributes":{"timeout":0}}`),
	},
	{name: "blips", lasts: 300 * time.Millisecond, every: 2 * time.Second, fault: down},
	{name: "refused", lasts: 2 * time.Second, every: 4 * time.Second, times: 2, fault: down},
	{
		name: "cut replies", lasts: 300 * time.Millisecond, every: 1500 * time.Millisecond,
		fault: toxic(`{"name":"storm","type":"limit_data","attributes":{"bytes":1200}}`),
	},
	{
		name: "black holes", lasts: time.Second, every: 4 * time.Second, attemptTimeout: time.Second,
		fault: toxic(`{"name":"storm","type":"timeout","attributes":{"timeout":0}}`),
	},
	{name: "expiring token", secured: true},
}

// toxic is a fault that is a toxic with the name storm.
func toxic(config string) func(context.Context, *faults, time.Duration) error {
	return func(ctx context.Context, f *faults, lasts time.Duration) error {
		if _, err := f.Toxics.AddToxicJson(strings.NewReader(config)); err != nil {
			return err
		}
		pause(ctx, lasts)
		return f.Toxics.RemoveToxic(context.Background(), "storm")
	}
}

// down is a fault that cuts open connections and refuses new ones.
func down(_ context.Context, f *faults, lasts time.Duration) error { return f.cut(lasts) }

// rage lets the fault come and go until ctx ends.
func (s storm) rage(ctx context.Context, f *faults) error {
	if s.fault == nil {
		return nil
	}
	pause(ctx, calmFirst)
	for n := 0; ctx.Err() == nil && (s.times == 0 || n < s.times); n++ {
		next := time.Now().Add(s.every)
		if err := s.fault(ctx, f, s.lasts); err != nil {
			return err
		}
		pause(ctx, time.Until(next))
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func stormProxy(t *testing.T, upstream string, resets bool) *faults {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "records", "127.0.0.1:0", upstream)
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	if resets {
		// Without effect of its own, but a connection that begins while it is there ends with a reset.
		_, err := p.Toxics.AddToxicJson(strings.NewReader(
			`{"name":"arm","type":"reset_peer","toxicity":0,"attributes":{"timeout":0}}`))
		require.NoError(t, err)
	}
	return &faults{Proxy: p, addr: p.Listen}
}

// rig is a way to call the partner: its client, and what it adds to the context of a call.
type rig struct {
	name    string
	client  func(t *testing.T, base string, s storm) *http.Client
	context func(context.Context) context.Context // nil adds nothing
}

var rigs = []rig{
	{name: "belay", client: belayClient},
	{
		name: "belay patience", client: belayClient,
		context: func(ctx context.Context) context.Context {
			return belay.CallContext(ctx, belay.Patience(2*time.Minute))
		},
	},
	{name: "retryablehttp", client: retryableClient},
	{name: "failsafe", client: failsafeClient},
	{name: "handmade", client: handMadeClient},
}

func belayClient(t *testing.T, base string, s storm) *http.Client {
	var options []belay.Option
	if s.attemptTimeout > 0 {
		options = append(options, belay.WithAttemptTimeout(s.attemptTimeout))
	}
	if s.secured {
		app, err := oauth.New(oauth.Config{
			TokenURL: base + "/token", ClientID: "storm", ClientSecret: belay.NewSecret("storm-secret"),
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = app.Close() })
		options = append(options, belay.WithAuth(app.ClientCredentials("")))
	}
	c, err := belay.New(base, options...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.HTTPClient()
}

func retryableClient(t *testing.T, base string, s storm) *http.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.RetryWaitMin = 500 * time.Millisecond
	c.HTTPClient.Timeout = s.attemptTimeout // its inner client makes one attempt
	t.Cleanup(c.HTTPClient.CloseIdleConnections)
	c.HTTPClient.Transport = s.credential(base, c.HTTPClient.Transport)
	return c.StandardClient()
}

func failsafeClient(t *testing.T, base string, s storm) *http.Client {
	policies := []failsafe.Policy[*http.Response]{
		failsafehttp.NewRetryPolicyBuilder().WithMaxAttempts(4).WithBackoff(500*time.Millisecond, 10*time.Second).Build(),
		circuitbreaker.NewBuilder[*http.Response]().WithFailureThreshold(5).WithDelay(5 * time.Second).Build(),
	}
	if s.attemptTimeout > 0 { // innermost, in the order that its documentation recommends
		policies = append(policies, timeout.New[*http.Response](s.attemptTimeout))
	}
	return &http.Client{Transport: failsafehttp.NewRoundTripper(s.credential(base, ownTransport(t)), policies...)}
}

// handMadeClient bounds the call as a whole: the stack has no timeout of an attempt.
func handMadeClient(t *testing.T, base string, s storm) *http.Client {
	return &http.Client{Timeout: s.attemptTimeout, Transport: &handMade{
		next: s.credential(base, ownTransport(t)),
		breaker: gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Timeout:     5 * time.Second,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
		}),
	}}
}

// ownTransport is a copy of net/http's own that keeps a connection for each worker.
func ownTransport(t *testing.T) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = workers
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// handMade is the usual hand-made stack: a retry loop around a breaker.
type handMade struct {
	next    http.RoundTripper
	breaker *gobreaker.TwoStepCircuitBreaker[any]
}

func (h *handMade) RoundTrip(req *http.Request) (*http.Response, error) {
	steps := backoff.NewExponentialBackOff(backoff.WithInitialInterval(500*time.Millisecond),
		backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	for attempt := 1; ; attempt++ {
		resp, err := h.attempt(req)
		again := err != nil || resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		if !again || attempt == 4 || req.Context().Err() != nil {
			return resp, err
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		pause(req.Context(), rand.N(steps.NextBackOff()))
		if err := req.Context().Err(); err != nil {
			return nil, err
		}
	}
}

func (h *handMade) attempt(req *http.Request) (*http.Response, error) {
	done, err := h.breaker.Allow()
	if err != nil {
		return nil, err
	}
	resp, err := h.next.RoundTrip(req)
	done(err)
	return resp, err
}

// credential adds the token to the attempts over next, if the partner wants one.
func (s storm) credential(base string, next http.RoundTripper) http.RoundTripper {
	if !s.secured {
		return next
	}
	return &bearer{next: next, tokenURL: base + "/token"}
}

// bearer sends a token, and gets another one after a 401.
type bearer struct {
	next     http.RoundTripper
	tokenURL string

	mu    sync.Mutex
	token string
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	b.mu.Lock()
	token := b.token
	b.mu.Unlock()
	resp, err := b.send(req, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if token, err = b.renew(req.Context(), token); err != nil {
		return nil, err
	}
	return b.send(req, token)
}

func (b *bearer) send(req *http.Request, token string) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(req)
}

// renew returns a token other than the refused one. One request at a time is enough for all calls.
func (b *bearer) renew(ctx context.Context, refused string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token != refused {
		return b.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.tokenURL, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return "", err
	}
	b.token = got.Token
	return b.token, nil
}

// harvest is what a run has brought in.
type harvest struct {
	records  int
	took     time.Duration
	lost     map[string]int // pages, by the reason
	requests int64          // for pages that arrived at the server
}

// fetchAll fetches every page once through client, with the storm around it.
func fetchAll(t *testing.T, s storm, r rig, client *http.Client, f *faults) harvest {
	ctx, cancel := context.WithTimeout(t.Context(), stormTime)
	defer cancel()
	raging, calm := context.WithCancel(ctx)
	var weather sync.WaitGroup
	weather.Go(func() {
		if err := s.rage(raging, f); err != nil {
			t.Errorf("%s: the storm ended early: %v", s.name, err)
		}
	})
	h := harvest{lost: make(map[string]int)}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < pages; n = next.Add(1) - 1 {
				call := ctx
				if r.context != nil {
					call = r.context(ctx)
				}
				err := fetch(call, client, "http://"+f.addr, int(n))
				mu.Lock()
				if err == nil {
					h.records += perPage
				} else {
					h.lost[reason(err)]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h.took = time.Since(start)
	calm()
	weather.Wait()
	return h
}

// fetch gets one page and reads it whole.
func fetch(ctx context.Context, client *http.Client, base string, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/records?page=%d", base, n), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	var got []record
	if err := json.Unmarshal(data, &got); err != nil {
		return err
	}
	if len(got) != perPage {
		return fmt.Errorf("%d records", len(got))
	}
	for i, r := range got {
		if r != recordOf(n*perPage+i) {
			return fmt.Errorf("record %d is %+v", n*perPage+i, r)
		}
	}
	return nil
}

var digits = regexp.MustCompile(`\d+`)

// reason is the text of err without what differs from page to page.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return digits.ReplaceAllString(err.Error(), "N")
}

// Every stack fetches the same pages through the same storms.
func TestStorms(t *testing.T) {
	results := make([][]harvest, len(storms))
	for i, s := range storms {
		t.Run(s.name, func(t *testing.T) {
			got := make([]harvest, len(rigs))
			results[i] = got
			var wg sync.WaitGroup
			for j, r := range rigs {
				partner, server := serveRecords(t, s)
				f := stormProxy(t, strings.TrimPrefix(server.URL, "http://"), s.resets)
				client := r.client(t, "http://"+f.addr, s)
				wg.Go(func() {
					got[j] = fetchAll(t, s, r, client, f)
					got[j].requests = partner.requests.Load()
				})
			}
			wg.Wait()
			// By itself Belay gets at least as many records as any other stack, and with patience all of them.
			best := 0
			for j, r := range rigs {
				if !strings.HasPrefix(r.name, "belay") {
					best = max(best, got[j].records)
				}
			}
			for j, r := range rigs {
				switch r.name {
				case "belay":
					require.GreaterOrEqual(t, got[j].records, best)
				case "belay patience":
					require.Equal(t, pages*perPage, got[j].records)
				}
				for _, why := range slices.Sorted(maps.Keys(got[j].lost)) {
					t.Logf("%-14s lost %d pages: %s", r.name, got[j].lost[why], why)
				}
			}
		})
	}
	var table strings.Builder
	fmt.Fprintf(&table, "records of %d, seconds, requests for pages that arrived\n%-14s", pages*perPage, "")
	for _, r := range rigs {
		fmt.Fprintf(&table, " %20s", r.name)
	}
	for i, s := range storms {
		fmt.Fprintf(&table, "\n%-14s", s.name)
		for _, h := range results[i] {
			fmt.Fprintf(&table, " %20s", fmt.Sprintf("%d %5.1fs %4d", h.records, h.took.Seconds(), h.requests))
		}
	}
	t.Log(table.String())
}
