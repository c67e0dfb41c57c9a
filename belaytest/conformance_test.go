package belaytest_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/driver"
)

// fakeCRM is a partner with 25 contacts and 25 payments, ten a page, and statuses.
type fakeCRM struct {
	*http.ServeMux
	mu     sync.Mutex
	keys   map[string]bool
	status map[string]string
	pushed int
}

func newFakeCRM() http.Handler {
	f := &fakeCRM{ServeMux: http.NewServeMux(), keys: make(map[string]bool), status: make(map[string]string)}
	f.HandleFunc("GET /me", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id": "me"}`) })
	list := func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		since, _ := strconv.Atoi(r.URL.Query().Get("since"))
		var items []map[string]any
		for i := max(from, since); i < min(from+10, 25); i++ {
			items = append(items, map[string]any{"id": fmt.Sprint("r", i), "amount": 100 + i, "currency": "EUR"})
		}
		page := map[string]any{"items": items}
		if from+10 < 25 {
			page["next"] = strconv.Itoa(from + 10)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page)
	}
	f.HandleFunc("GET /contacts", list)
	f.HandleFunc("GET /payments", list)
	f.HandleFunc("POST /contacts/{id}/status", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if key := r.Header.Get("Idempotency-Key"); key == "" || !f.keys[key] {
			var to struct{ Status string }
			_ = json.NewDecoder(r.Body).Decode(&to)
			f.keys[key], f.status[r.PathValue("id")] = true, to.Status
			f.pushed++
		}
		fmt.Fprint(w, `{}`)
	})
	f.HandleFunc("GET /contacts/{id}/status", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]string{"status": f.status[r.PathValue("id")]})
	})
	return f
}

const canary = "canary-credential-7f3a"

// crm is a driver that does the right thing, unless it is broken in one way.
type crm struct {
	client *belay.Client
	rt     http.RoundTripper
	broken string
	secret string // only of the one that shows it
}

func openCRM(broken string) func(testing.TB, http.RoundTripper) driver.Driver {
	return func(t testing.TB, rt http.RoundTripper) driver.Driver {
		opts := []belay.Option{belay.WithName("crm"), belay.WithTransport(rt), belay.WithAuth(belay.Bearer(belay.NewSecret(canary)))}
		switch broken {
		case "no retry":
			opts = append(opts, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}), belay.Without(belay.LayerRetry))
		case "follows everywhere":
			opts = append(opts, belay.WithRedirects(belay.RedirectSameOrigin))
		}
		c, err := belay.New("https://crm.test", opts...)
		if err != nil {
			t.Fatal(err)
		}
		d := &crm{client: c, rt: rt, broken: broken}
		if broken == "shows its secret" {
			d.secret = canary
		}
		return d
	}
}

func (c *crm) Name() string {
	if c.broken == "no name" {
		return ""
	}
	return "crm"
}

func (c *crm) Check(ctx context.Context) error {
	switch c.broken {
	case "writes to check":
		_, err := belay.Post[belay.None](ctx, c.client, "/contacts/{id}/status", nil, belay.PathValue("id", "r1"))
		return err
	case "swallows":
		_, _ = belay.Get[belay.None](ctx, c.client, "/me")
		return nil
	case "hammers":
		for range 50 { // without Belay, whose circuit would open
			_ = c.bare(ctx)
		}
		_, err := belay.Get[belay.None](ctx, c.client, "/me")
		return err
	case "ignores its context":
		ctx = context.Background()
		bounded, cancel := context.WithTimeout(ctx, 2*time.Hour)
		defer cancel()
		ctx = bounded
	case "follows everywhere":
		return c.bare(ctx)
	case "takes a wrong path":
		_, err := belay.Get[belay.None](ctx, c.client, "/mee")
		return err
	}
	_, err := belay.Get[belay.None](ctx, c.client, "/me")
	return err
}

// bare calls without Belay, and takes its credential wherever a redirect leads.
func (c *crm) bare(ctx context.Context) error {
	for address := "https://crm.test/me"; ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+canary)
		resp, err := c.rt.RoundTrip(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if address = resp.Header.Get("Location"); address == "" {
			return nil
		}
	}
}

var crmPages = belay.CursorPages{Items: "items", Cursor: "next", Param: "cursor"}

func (c *crm) ListResources(ctx context.Context, kind, mark string) (d driver.Delta, err error) {
	path := "/" + kind
	short := c.broken == "reads one page" || c.broken == "reads one page of payments" && kind == "payments"
	since := 0
	if mark != "" && c.broken != "forgets its mark" {
		since, _ = strconv.Atoi(mark)
	}
	path += fmt.Sprint("?since=", since)
	pages := 0
	for page, err := range belay.Pages[map[string]any](ctx, c.client, path, crmPages) {
		if err != nil {
			if c.broken == "shortens lists" {
				break
			}
			if c.broken == "takes anything" && errors.Is(err, belay.ErrData) {
				return driver.Delta{Mark: "25"}, nil
			}
			return d, err
		}
		for _, one := range page.Items {
			d.Updated = append(d.Updated, fmt.Sprint(one["id"]))
		}
		if pages++; short {
			break
		}
	}
	if d.Mark = "25"; c.broken == "has no mark" {
		d.Mark = ""
	}
	return d, nil
}

func (c *crm) ListTransactions(ctx context.Context, _ time.Time) iter.Seq2[driver.Transaction, error] {
	return func(yield func(driver.Transaction, error) bool) {
		for one, err := range belay.Items[struct {
			ID       string
			Amount   int64
			Currency string
		}](ctx, c.client, "/payments", crmPages) {
			if !yield(driver.Transaction{ID: one.ID, Amount: one.Amount, Currency: one.Currency}, err) || err != nil {
				return
			}
		}
	}
}

func (c *crm) PushStatus(ctx context.Context, id, status string) error {
	// The partner counts each push, so what it has already is not pushed, and a repetition has the key of its call.
	type state struct{ Status string }
	now, err := belay.Get[state](ctx, c.client, "/contacts/{id}/status", belay.PathValue("id", id))
	if err != nil || now.Status == status {
		return err
	}
	once := belay.IdempotencyKey(rand.Text())
	switch c.broken {
	case "pushes twice":
		once = belay.Idempotent()
	case "makes keys of statuses":
		once = belay.IdempotencyKey(id + "-" + status)
	}
	opts := []belay.CallOption{belay.PathValue("id", id), once}
	_, err = belay.Post[belay.None](ctx, c.client, "/contacts/{id}/status", map[string]string{"status": status}, opts...)
	return err
}

// Format prints nothing of it.
func (c *crm) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "crm "+c.secret) }

func subject(broken string) belaytest.Subject {
	return belaytest.Subject{
		Fake: newFakeCRM, Open: openCRM(broken), Secret: canary, Records: map[string]int{"contacts": 25}, Transactions: 25,
		StatusID: "r1", Status: "won", Another: "lost", Pushed: func(h http.Handler) int { f := h.(*fakeCRM); f.mu.Lock(); defer f.mu.Unlock(); return f.pushed },
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	belaytest.Conformance(t, subject(""))
}

// Each way to be broken is caught by the check that is made for it.
func TestConformanceCatches(t *testing.T) {
	t.Parallel()
	caught := make(map[string]bool)
	for broken, by := range map[string]string{
		"takes a wrong path":     "Works",
		"no name":                "Name",
		"writes to check":        "Check",
		"swallows":               "Refused",
		"no retry":               "Limited",
		"hammers":                "Unavailable",
		"ignores its context":    "Context",
		"takes anything":         "Garbage",
		"reads one page":         "Whole",
		"shortens lists":         "Cut",
		"has no mark":            "Delta",
		"forgets its mark":       "Delta",
		"pushes twice":           "Once",
		"makes keys of statuses": "Back",
		"shows its secret":       "Secret",
		"follows everywhere":     "Secret",
	} {
		t.Run(broken, func(t *testing.T) {
			for _, name := range []string{by} {
				found := &findings{TB: t}
				synctest.Test(t, func(t *testing.T) {
					found.TB = t
					belaytest.RunCheck(found, name, subject(broken))
				})
				require.NotEmpty(t, found.texts, "not caught by %s", name)
				t.Log(found.texts[0])
			}
			caught[by] = true
		})
	}
	for _, name := range belaytest.Checks() {
		require.True(t, caught[name] || name == "Concurrent", "nothing broken is made for %s", name)
	}
}

// Of several kinds of records each is checked, each time.
func TestConformanceOfKinds(t *testing.T) {
	t.Parallel()
	for range 50 {
		found := &findings{TB: t}
		synctest.Test(t, func(t *testing.T) {
			found.TB = t
			s := subject("reads one page of payments")
			s.Records = map[string]int{"contacts": 25, "payments": 25}
			belaytest.RunCheck(found, "Whole", s)
		})
		require.Len(t, found.texts, 1)
		require.Contains(t, found.texts[0], "ListResources payments")
	}
}

// findings is a test that notes what is wrong.
type findings struct {
	testing.TB
	mu    sync.Mutex
	texts []string
}

// Failed reports whether anything was found, since the test goes on.
func (f *findings) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.texts) > 0
}

func (f *findings) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts = append(f.texts, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
