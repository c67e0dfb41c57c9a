package stripe_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
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
	"github.com/belay-go/belay/examples/drivers/stripe"
	"github.com/belay-go/belay/webhook"
)

// fake is as much of Stripe as the driver uses.
type fake struct {
	*http.ServeMux
	mu        sync.Mutex
	answers   map[string]string // by idempotency key
	customers []stripe.Customer
	events    []map[string]any  // the newest first
	statuses  map[string]string // by customer
	pushed    int               // changes of them
}

func newFake(customers, transactions int) *fake {
	f := &fake{ServeMux: http.NewServeMux(), answers: make(map[string]string), statuses: make(map[string]string)}
	for i := range customers {
		f.customers = append(f.customers, stripe.Customer{ID: fmt.Sprint("cus_", i), Email: fmt.Sprint("a", i, "@example.com"), Metadata: map[string]string{}})
	}
	f.HandleFunc("GET /v1/balance", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"object": "balance"}`) })
	f.HandleFunc("GET /v1/customers", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		page(w, r, f.customers, func(c stripe.Customer) string { return c.ID })
	})
	f.HandleFunc("GET /v1/customers/search", func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("page"))
		to := min(from+10, customers)
		next, _ := json.Marshal(strconv.Itoa(to))
		if to == customers {
			next = []byte("null")
		}
		data, _ := json.Marshal(f.customers[from:to])
		fmt.Fprintf(w, `{"object": "search_result", "data": %s, "has_more": %t, "next_page": %s}`, data, to < customers, next)
	})
	f.HandleFunc("GET /v1/customers/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"id": %q, "deleted": %t}`, r.PathValue("id"), r.PathValue("id") == "cus_gone")
	})
	f.HandleFunc("GET /v1/balance_transactions", func(w http.ResponseWriter, r *http.Request) {
		var all []map[string]any
		for i := range transactions {
			all = append(all, map[string]any{"id": fmt.Sprint("txn_", i), "amount": 100 * i, "currency": "eur", "status": "available", "created": 1_700_000_000 - i})
		}
		page(w, r, all, func(t map[string]any) string { return t["id"].(string) })
	})
	f.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		since, _ := strconv.ParseInt(r.URL.Query().Get("created[gte]"), 10, 64)
		var all []map[string]any
		for _, e := range f.events {
			prefix := strings.TrimSuffix(r.URL.Query().Get("type"), "*")
			if e["created"].(int64) >= since && strings.HasPrefix(e["type"].(string), prefix) {
				all = append(all, e)
			}
		}
		page(w, r, all, func(e map[string]any) string { return e["id"].(string) })
	})
	once := func(do func(r *http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			key := r.Header.Get("Idempotency-Key")
			if key == "" || r.ParseForm() != nil || r.Header.Get("Stripe-Version") == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if f.answers[key] == "" {
				f.answers[key] = do(r)
			}
			fmt.Fprint(w, f.answers[key])
		}
	}
	f.HandleFunc("POST /v1/customers", once(func(r *http.Request) string {
		c := stripe.Customer{ID: fmt.Sprint("cus_", len(f.customers)), Email: r.PostForm.Get("email"), Metadata: map[string]string{"plan": r.PostForm.Get("metadata[plan]")}}
		f.customers = append(f.customers, c)
		data, _ := json.Marshal(c)
		return string(data)
	}))
	f.HandleFunc("POST /v1/customers/{id}", once(func(r *http.Request) string {
		if now := r.PostForm.Get("metadata[status]"); f.statuses[r.PathValue("id")] != now {
			f.statuses[r.PathValue("id")] = now
			f.pushed++
		}
		return `{"id": "` + r.PathValue("id") + `"}`
	}))
	return f
}

// page answers a list as Stripe does.
func page[T any](w http.ResponseWriter, r *http.Request, all []T, id func(T) string) {
	from := 0
	if after := r.URL.Query().Get("starting_after"); after != "" {
		from = slices.IndexFunc(all, func(one T) bool { return id(one) == after }) + 1
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	to := min(from+limit, len(all))
	data, _ := json.Marshal(append([]T{}, all[from:to]...))
	fmt.Fprintf(w, `{"object": "list", "data": %s, "has_more": %t}`, data, to < len(all))
}

const secret = "sk_test_canary4eC39HqLyjWDarj"

func open(t testing.TB, rt http.RoundTripper) *stripe.Driver {
	t.Helper()
	r, err := driver.NewRegistry(func(context.Context, string, string) (driver.Settings, error) {
		return driver.Settings{Auth: belay.Bearer(belay.NewSecret(secret))}, nil
	}, belay.WithTransport(rt))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	f, err := stripe.Register(r)
	require.NoError(t, err)
	d, err := f.Open(t.Context(), "acct_1")
	require.NoError(t, err)
	return d
}

func TestConformance(t *testing.T) {
	t.Parallel()
	belaytest.Conformance(t, belaytest.Subject{
		Fake:    func() http.Handler { return newFake(250, 230) },
		Open:    func(t testing.TB, rt http.RoundTripper) driver.Driver { return open(t, rt) },
		Secret:  secret,
		Records: map[string]int{"customers": 250}, Transactions: 230,
		StatusID: "cus_1", Status: "won", Another: "lost",
		Pushed: func(h http.Handler) int { f := h.(*fake); f.mu.Lock(); defer f.mu.Unlock(); return f.pushed },
	})
}

func TestDriver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(25, 3)
		d := open(t, belaytest.Handler(f))
		require.Equal(t, []string{"ResourceLister", "StatusPusher", "TransactionLister"}, driver.Abilities(d))

		var first stripe.Customer
		for range 3 { // once, by its key
			c, err := d.CreateCustomer(t.Context(), "order-7", stripe.Customer{Email: "new@example.com", Metadata: map[string]string{"plan": "pro"}})
			require.NoError(t, err)
			if first.ID == "" {
				first = c
			}
			require.Equal(t, first, c)
		}
		require.Len(t, f.customers, 26)
		_, err := d.Customer(t.Context(), "cus_gone")
		require.ErrorIs(t, err, belay.ErrNotFound)

		found := 0
		for _, err := range d.Search(t.Context(), "email:'a'") {
			require.NoError(t, err)
			found++
		}
		require.Equal(t, 25, found)

		all, err := d.ListResources(t.Context(), "customers", "")
		require.NoError(t, err)
		require.Len(t, all.Updated, 26)
		time.Sleep(time.Hour)
		for i, e := range []struct{ kind, id string }{ // the oldest first
			{"customer.created", "cus_a"},
			{"customer.updated", "cus_b"},
			{"customer.deleted", "cus_c"},
			{"customer.updated", "cus_c"},
			{"invoice.paid", "in_1"},
			{"customer.created", "cus_d"},
			{"customer.deleted", "cus_d"},
		} {
			f.events = append([]map[string]any{{
				"id": fmt.Sprint("evt_", i), "type": e.kind, "created": time.Now().Unix() + int64(i),
				"data": map[string]any{"object": map[string]any{"id": e.id}},
			}}, f.events...)
		}
		delta, err := d.ListResources(t.Context(), "customers", all.Mark)
		require.NoError(t, err)
		require.Equal(t, []string{"cus_a"}, delta.Added)
		require.ElementsMatch(t, []string{"cus_b", "cus_c"}, delta.Updated)
		require.Equal(t, []string{"cus_d"}, delta.Deleted)
		require.NotEqual(t, all.Mark, delta.Mark)
		_, err = d.ListResources(t.Context(), "customers", "1")
		require.ErrorIs(t, err, stripe.ErrMarkTooOld)
		_, err = d.ListResources(t.Context(), "customers", "x")
		require.ErrorContains(t, err, `the mark "x"`)
		_, err = d.ListResources(t.Context(), "unicorns", "")
		require.ErrorContains(t, err, `"unicorns" is not known`)

		for one, err := range d.ListTransactions(t.Context(), time.Time{}) {
			require.NoError(t, err)
			require.Equal(t, "EUR", one.Currency)
			require.False(t, one.Created.IsZero())
		}
	})
}

// mock is the address of Stripe's mock server, to record the cassette from: make cassettes.
var mock = flag.String("mock", "", "record the cassette from this address of stripe-mock")

// The driver plays what Stripe's mock server has answered, without a network.
func TestCassette(t *testing.T) {
	d := open(t, belaytest.Cassette{
		Path: "testdata/cassettes/stripe-mock", Record: *mock != "", Real: redirected(*mock), Secrets: []belay.Secret{belay.NewSecret(secret)}, MaxAge: -1,
	}.Open(t))
	require.NoError(t, d.Check(t.Context()))
	c, err := d.CreateCustomer(t.Context(), "key-1", stripe.Customer{Email: "a@example.com", Name: "A"})
	require.NoError(t, err)
	require.Equal(t, "a@example.com", c.Email)
	for _, kind := range []string{"customers", "products", "invoices"} {
		all, err := d.ListResources(t.Context(), kind, "")
		require.NoError(t, err)
		require.NotEmpty(t, all.Updated)
		_, err = d.ListResources(t.Context(), kind, all.Mark)
		require.NoError(t, err)
	}
	for one, err := range d.Search(t.Context(), "email:'a@example.com'") {
		require.NoError(t, err)
		require.NotEmpty(t, one.ID)
	}
	for one, err := range d.ListTransactions(t.Context(), time.Unix(1_700_000_000, 0)) {
		require.NoError(t, err)
		require.Len(t, one.Currency, 3)
	}
	require.NoError(t, d.PushStatus(t.Context(), "cus_1", "won"))
}

// redirected sends requests to an address, whatever their host.
type redirected string

func (to redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host = "http", string(to)
	return http.DefaultTransport.RoundTrip(out)
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	key := belay.NewSecret("whsec_test_0123456789abcdef")
	v, err := stripe.NewVerifier(key)
	require.NoError(t, err)
	req, err := webhook.SignTest(webhook.Stripe(), key, belay.WebhookEvent{ID: "evt_1", Data: []byte(`{"id": "evt_1", "type": "invoice.paid"}`)})
	require.NoError(t, err)
	d, err := v.VerifyRequest(req)
	require.NoError(t, err)
	require.Equal(t, "invoice.paid", d.Events[0].Type)
}
