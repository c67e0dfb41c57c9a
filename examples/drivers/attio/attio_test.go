package attio_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/examples/drivers/attio"
	"github.com/belay-go/belay/webhook"
)

// fake is as much of Attio as the driver uses.
type fake struct {
	*http.ServeMux
	mu      sync.Mutex
	records map[string][]*record // by object, in the order of their creation
	merged  map[string]string
	made    int
	pushed  int
	active  bool
}

type record struct {
	id     string
	values map[string]any
}

func (r *record) json() map[string]any {
	return map[string]any{
		"id":         map[string]string{"workspace_id": "w", "object_id": "o", "record_id": r.id},
		"created_at": "2026-01-02T03:04:05.123000000Z", "values": r.values,
	}
}

func newFake(people int) *fake {
	f := &fake{ServeMux: http.NewServeMux(), records: make(map[string][]*record), merged: make(map[string]string), active: true}
	for i := range people {
		f.records["people"] = append(f.records["people"], &record{fmt.Sprint("p", i), map[string]any{"name": fmt.Sprint("name ", i)}})
	}
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	missing := map[string]any{"status_code": 404, "type": "invalid_request_error", "code": "not_found", "message": "there is none"}
	f.HandleFunc("GET /v2/self", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"active": f.active}) })
	f.HandleFunc("POST /v2/objects/{object}/records/query", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var body struct{ Limit, Offset int }
		_ = json.NewDecoder(r.Body).Decode(&body)
		all := f.records[r.PathValue("object")]
		page := []map[string]any{}
		for _, one := range all[min(body.Offset, len(all)):min(body.Offset+body.Limit, len(all))] {
			page = append(page, one.json())
		}
		reply(w, 200, map[string]any{"data": page})
	})
	find := func(object, id string) *record {
		if to := f.merged[id]; to != "" {
			id = to
		}
		i := slices.IndexFunc(f.records[object], func(one *record) bool { return one.id == id })
		if i < 0 {
			return nil
		}
		return f.records[object][i]
	}
	f.HandleFunc("GET /v2/objects/{object}/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if one := find(r.PathValue("object"), r.PathValue("id")); one != nil {
			reply(w, 200, map[string]any{"data": one.json()})
			return
		}
		reply(w, 404, missing)
	})
	f.HandleFunc("PUT /v2/objects/{object}/records", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var body struct {
			Data struct{ Values map[string]any }
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		object, by := r.PathValue("object"), r.URL.Query().Get("matching_attribute")
		for _, one := range f.records[object] {
			if fmt.Sprint(one.values[by]) == fmt.Sprint(body.Data.Values[by]) {
				for name, value := range body.Data.Values {
					one.values[name] = value
				}
				reply(w, 200, map[string]any{"data": one.json()})
				return
			}
		}
		f.made++
		one := &record{fmt.Sprint(object, f.made), body.Data.Values}
		f.records[object] = append(f.records[object], one)
		reply(w, 200, map[string]any{"data": one.json()})
	})
	f.HandleFunc("PATCH /v2/objects/people/records/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var body struct {
			Data struct{ Values map[string]any }
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		one := find("people", r.PathValue("id"))
		if one.values["status"] != body.Data.Values["status"] {
			f.pushed++
		}
		one.values["status"] = body.Data.Values["status"]
		reply(w, 200, map[string]any{"data": one.json()})
	})
	return f
}

const secret = "attio-canary-0f9e8d7c6b5a"

func open(t testing.TB, rt http.RoundTripper, labels map[string]string) *attio.Driver {
	t.Helper()
	r, err := driver.NewRegistry(func(context.Context, string, string) (driver.Settings, error) {
		return driver.Settings{Auth: belay.Bearer(belay.NewSecret(secret)), Labels: labels}, nil
	}, belay.WithTransport(rt))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	f, err := attio.Register(r)
	require.NoError(t, err)
	d, err := f.Open(t.Context(), "workspace-1")
	require.NoError(t, err)
	return d
}

func TestConformance(t *testing.T) {
	t.Parallel()
	belaytest.Conformance(t, belaytest.Subject{
		Fake:    func() http.Handler { return newFake(250) },
		Open:    func(t testing.TB, rt http.RoundTripper) driver.Driver { return open(t, rt, nil) },
		Secret:  secret,
		Records: map[string]int{"people": 250}, StatusID: "p1", Status: "won", Another: "lost",
		Pushed: func(h http.Handler) int { f := h.(*fake); f.mu.Lock(); defer f.mu.Unlock(); return f.pushed },
	})
}

func TestAssertPerson(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		f.merged["old"] = "p1"
		d := open(t, belaytest.Handler(f), nil)
		p := attio.Person{Email: "Ada@Example.COM", Name: "Ada", Phone: "030 901820", Country: "DE", Company: "example.com", Owner: "old"}
		var ids []string
		for range 2 { // the same record
			got, err := d.AssertPerson(t.Context(), p)
			require.NoError(t, err)
			ids = append(ids, got.ID.Record)
		}
		require.Equal(t, ids[0], ids[1])
		require.Len(t, f.records["companies"], 1)
		values := f.records["people"][2].values
		require.Equal(t, []any{"Ada@example.com"}, values["email_addresses"])
		require.Equal(t, []any{"+4930901820"}, values["phone_numbers"])
		require.Equal(t, "p1", values["owner"].(map[string]any)["target_record_id"], "the one that the owner was merged into")

		before := f.made
		for want, bad := range map[string]attio.Person{
			"Person.Email":   {Email: "nobody"},
			"no e-mail":      {Email: "Ada <ada@example.com>"},
			"no domain":      {Email: "ada@localhost"},
			"Person.Phone":   {Email: "a@example.com", Phone: "12", Country: "DE"},
			"Person.Company": {Email: "a@example.com", Company: "not a domain"},
		} {
			_, err := d.AssertPerson(t.Context(), bad)
			require.ErrorIs(t, err, belay.ErrInvalid, want)
			require.ErrorContains(t, err, want)
		}
		_, err := d.AssertPerson(t.Context(), attio.Person{Email: "a@example.com", Owner: "gone"})
		require.ErrorIs(t, err, belay.ErrNotFound)
		require.ErrorContains(t, err, "Person.Owner gone")
		require.Equal(t, before, f.made, "nothing was written")

		off := open(t, belaytest.Handler(f), map[string]string{"writes": "off"})
		_, err = off.AssertPerson(t.Context(), p)
		require.ErrorIs(t, err, attio.ErrReadOnly)
		require.ErrorIs(t, off.PushStatus(t.Context(), "p1", "x"), attio.ErrReadOnly)
		require.NoError(t, off.Check(t.Context()))
		require.Equal(t, belay.HealthUp, off.Health().State)
		f.active = false
		require.ErrorIs(t, off.Check(t.Context()), belay.ErrAuth)
	})
}

// What was added, changed, deleted or merged, in pages.
func TestListResources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(230)
		d := open(t, belaytest.Handler(f), nil)
		all, err := d.ListResources(t.Context(), "people", "")
		require.NoError(t, err)
		require.Len(t, all.Updated, 230)
		f.records["people"] = append(f.records["people"][3:], &record{"new", map[string]any{}}) // without p0, p1, p2
		f.records["people"][10].values["name"] = "another"
		f.merged["p1"] = "p99"
		delta, err := d.ListResources(t.Context(), "people", all.Mark)
		require.NoError(t, err)
		require.Equal(t, []string{"new"}, delta.Added)
		require.Equal(t, []string{"p13"}, delta.Updated)
		require.Equal(t, []string{"p0", "p2"}, delta.Deleted)
		require.Equal(t, map[string]string{"p1": "p99"}, delta.Merged)
		none, err := d.ListResources(t.Context(), "people", delta.Mark)
		require.NoError(t, err)
		require.Empty(t, append(none.Added, append(none.Updated, none.Deleted...)...))
		_, err = d.ListResources(t.Context(), "people", "x")
		require.ErrorContains(t, err, "the mark is not one of a Snapshot")
	})
}

// Reads go at 100 a second and writes at 25, and a query by POST is a read. A limit that Attio states as a date is
// kept.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1)
		limited := false
		d := open(t, rt(func(req *http.Request) (*http.Response, error) {
			if limited {
				limited = false
				resp, err := belaytest.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", time.Now().Add(3*time.Second).UTC().Format(http.TimeFormat))
					w.WriteHeader(429)
				})).RoundTrip(req)
				return resp, err
			}
			return belaytest.Handler(f).RoundTrip(req)
		}), nil)
		took := func(n int, call func() error) time.Duration {
			began := time.Now()
			for range n {
				require.NoError(t, call())
			}
			return time.Since(began)
		}
		query := func() error {
			for _, err := range d.Query(t.Context(), "people", nil) {
				return err
			}
			return nil
		}
		require.Less(t, took(100, query), time.Second)
		require.GreaterOrEqual(t, took(101, query), time.Second)
		time.Sleep(time.Minute)
		write := func() error { return d.PushStatus(t.Context(), "p0", "x") }
		require.Less(t, took(25, write), time.Second)
		require.GreaterOrEqual(t, took(26, write), time.Second)
		time.Sleep(time.Minute)
		limited = true
		waited := took(1, query)
		require.True(t, waited > 2*time.Second && waited < 5*time.Second, waited)
	})
}

type rt func(*http.Request) (*http.Response, error)

func (f rt) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

var recording = flag.Bool("record", false, "record the cassette from the fake: make cassettes")

// The driver plays what was recorded, without a network and without the fake.
func TestCassette(t *testing.T) {
	d := open(t, belaytest.Cassette{
		Path: "testdata/cassettes/fake", Record: *recording, Real: belaytest.Handler(newFake(120)), Secrets: []belay.Secret{belay.NewSecret(secret)}, MaxAge: -1,
	}.Open(t), nil)
	require.NoError(t, d.Check(t.Context()))
	all, err := d.ListResources(t.Context(), "people", "")
	require.NoError(t, err)
	require.Len(t, all.Updated, 120)
	_, err = d.AssertPerson(t.Context(), attio.Person{Email: "ada@example.com", Company: "example.com", Owner: "p7"})
	require.NoError(t, err)
	_, err = d.Get(t.Context(), "people", "gone")
	require.ErrorIs(t, err, belay.ErrNotFound)
	require.NoError(t, d.PushStatus(t.Context(), "p1", "won"))
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	key := belay.NewSecret(strings.Repeat("k", 32))
	v, err := attio.NewVerifier(key)
	require.NoError(t, err)
	body := `{"webhook_id": "w", "events": [{"event_type": "record.updated", "id": {"record_id": "r1"}}]}`
	req, err := webhook.SignTest(webhook.Attio(), key, belay.WebhookEvent{ID: "d1", Data: []byte(body)})
	require.NoError(t, err)
	d, err := v.VerifyRequest(req)
	require.NoError(t, err)
	require.NotEmpty(t, d.Events)
}
