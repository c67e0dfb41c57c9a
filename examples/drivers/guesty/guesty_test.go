package guesty_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/driver"
	"github.com/belay-go/belay/examples/drivers/guesty"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// fake is as much of Guesty as the driver uses.
type fake struct {
	*http.ServeMux
	mu           sync.Mutex
	listings     []map[string]any
	reservations []map[string]any
	merged       map[string]string
	calls        int
}

func newFake(listings, reservations int) *fake {
	f := &fake{ServeMux: http.NewServeMux(), merged: make(map[string]string)}
	for i := range listings {
		f.listings = append(f.listings, map[string]any{"_id": fmt.Sprint("l", i), "pictures": []any{map[string]any{"original": fmt.Sprint("https://img.example/", i)}}})
	}
	for i := range reservations {
		f.reservations = append(f.reservations, map[string]any{
			"_id": fmt.Sprint("r", i), "listingId": "l0", "status": "confirmed", "createdAt": "2026-01-01T00:00:00.000Z",
		})
	}
	page := func(w http.ResponseWriter, r *http.Request, all []map[string]any, old bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls++
		skip, _ := strconv.Atoi(r.URL.Query().Get("skip"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		to := min(skip+limit, len(all))
		items := []map[string]any{}
		for _, one := range all[min(skip, len(all)):to] {
			one = cloned(one)
			if one["status"] != nil {
				if one["checkIn"], one["checkOut"] = "2026-01-15T14:00:00.000Z", "2026-01-17T10:00:00.000Z"; !old {
					one["checkIn"], one["checkOut"] = "2026-01-15", "2026-01-17"
				}
			}
			items = append(items, one)
		}
		answer := map[string]any{"results": items, "count": len(all), "limit": limit, "skip": skip}
		if !old {
			answer = map[string]any{"results": items, "pagination": map[string]any{"hasMore": to < len(all)}}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
	f.HandleFunc("GET /v1/listings", func(w http.ResponseWriter, r *http.Request) { page(w, r, f.listings, true) })
	f.HandleFunc("GET /v1/reservations", func(w http.ResponseWriter, r *http.Request) { page(w, r, f.reservations, true) })
	f.HandleFunc("GET /v1/reservations-v3/search", func(w http.ResponseWriter, r *http.Request) { page(w, r, f.reservations, false) })
	f.HandleFunc("GET /v1/listings/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		id := r.PathValue("id")
		if to := f.merged[id]; to != "" {
			id = to
		}
		i := slices.IndexFunc(f.listings, func(one map[string]any) bool { return one["_id"] == id })
		if i < 0 {
			w.WriteHeader(http.StatusGone)
			return
		}
		_ = json.NewEncoder(w).Encode(f.listings[i])
	})
	return f
}

func cloned(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

const secret = "guesty-canary-a1b2c3d4"

func factory(t testing.TB, rt http.RoundTripper, auth belay.Authenticator, rollout driver.Rollout) *driver.Factory[*guesty.Driver] {
	t.Helper()
	r, err := driver.NewRegistry(func(context.Context, string, string) (driver.Settings, error) {
		return driver.Settings{Auth: auth}, nil
	},
		belay.WithTransport(rt))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	f, err := guesty.Register(r, rollout)
	require.NoError(t, err)
	return f
}

func open(t testing.TB, rt http.RoundTripper, version string) *guesty.Driver {
	t.Helper()
	d, err := factory(t, rt, belay.Bearer(belay.NewSecret(secret)), driver.Rollout{Stable: version}).Open(t.Context(), "account-1")
	require.NoError(t, err)
	return d
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, version := range []string{guesty.V1, guesty.V2} {
		t.Run(version, func(t *testing.T) {
			belaytest.Conformance(t, belaytest.Subject{
				Fake:    func() http.Handler { return newFake(230, 250) },
				Open:    func(t testing.TB, rt http.RoundTripper) driver.Driver { return open(t, rt, version) },
				Secret:  secret,
				Records: map[string]int{"listings": 230, "reservations": 250},
			})
		})
	}
}

// Both adapters say the same; a rollout goes from one customer to all, and each has the version that it should.
func TestRollout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1, 120)
		var all [][]guesty.Reservation
		for _, version := range []string{guesty.V1, guesty.V2} {
			var got []guesty.Reservation
			for one, err := range open(t, belaytest.Handler(f), version).Reservations(t.Context()) {
				require.NoError(t, err)
				got = append(got, one)
			}
			all = append(all, got)
		}
		require.Len(t, all[0], 120)
		require.Equal(t, all[0], all[1])
		require.Equal(t, "2026-01-15", all[0][0].CheckIn)

		customers := factory(t, belaytest.Handler(f), belay.Bearer(belay.NewSecret(secret)), guesty.Rollout("first"))
		at := func(percent float64) (n int) {
			rollout := guesty.Rollout("first")
			rollout.Percent = percent
			require.NoError(t, customers.SetRollout(rollout))
			for i := range 1000 {
				if rollout.Version(fmt.Sprint("customer-", i)) == guesty.V2 {
					n++
				}
			}
			require.Equal(t, guesty.V2, rollout.Version("first"))
			return n
		}
		require.Zero(t, at(0))
		ten, half := at(10), at(50)
		require.InDelta(t, 100, ten, 40)
		require.InDelta(t, 500, half, 80)
		require.Equal(t, 1000, at(100))
	})
}

// Photos count, and nothing else of a listing; what was merged goes on under its new id; a list that does not fit into
// the budget of calls is an error.
func TestListResources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(120, 3)
		d := open(t, belaytest.Handler(f), guesty.V2)
		all, err := d.ListResources(t.Context(), "listings", "")
		require.NoError(t, err)
		f.listings = f.listings[2:] // l0 and l1
		f.merged["l0"] = "l50"
		f.listings[0]["title"] = "another"
		f.listings[1]["pictures"] = []any{map[string]any{"original": "https://img.example/new"}}
		delta, err := d.ListResources(t.Context(), "listings", all.Mark)
		require.NoError(t, err)
		require.Equal(t, driver.Delta{Updated: []string{"l3"}, Deleted: []string{"l1"}, Merged: map[string]string{"l0": "l50"}, Mark: delta.Mark}, delta)

		ids := guesty.IDs{}
		ids.Add(delta.Merged)
		ids.Add(map[string]string{"l50": "l60"})
		require.Equal(t, "l60", ids.Now("l0"))
		require.Equal(t, "l7", ids.Now("l7"))
		ids.Add(map[string]string{"l60": "l0"})
		require.NotEmpty(t, ids.Now("l0"), "a circle")

		_, err = d.ListResources(t.Context(), "unicorns", "")
		require.ErrorContains(t, err, `"unicorns" is not known`)

		large := newFake(0, 31_000)
		_, err = open(t, belaytest.Handler(large), guesty.V1).ListResources(t.Context(), "reservations", "")
		require.ErrorIs(t, err, belay.ErrCallBudget)
		require.Equal(t, 301, large.calls)
	})
}

// One token for all integrations and all processes of a key, kept over restarts; the sixth in a day is not asked for.
func TestTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens := 0
		mux := http.NewServeMux()
		mux.HandleFunc("POST /oauth2/token", func(w http.ResponseWriter, r *http.Request) {
			tokens++
			if r.FormValue("scope") != "open-api" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_secret") != "s" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, `{"token_type": "Bearer", "expires_in": 86400, "access_token": "at-%d", "scope": "open-api"}`, tokens)
		})
		f := newFake(1, 1)
		mux.Handle("/v1/", f)
		store := oauth.NewMemoryStore() // stands for one that is shared
		_, err := guesty.NewApp("id", belay.NewSecret("s"), nil, nil)
		require.Error(t, err)
		for range 3 { // three processes, each opened anew
			app, err := guesty.NewApp("id", belay.NewSecret("s"), store, belaytest.Handler(mux))
			require.NoError(t, err)
			d, err := factory(t, belaytest.Handler(mux), app.ClientCredentials("key-1"), driver.Rollout{Stable: guesty.V1}).Open(t.Context(), "a")
			require.NoError(t, err)
			require.Contains(t, driver.Abilities(d), "Authenticator")
			require.NoError(t, d.Authenticate(t.Context()))
			require.NoError(t, app.Close())
		}
		require.Equal(t, 1, tokens)
		app, err := guesty.NewApp("id", belay.NewSecret("wrong"), oauth.NewMemoryStore(), belaytest.Handler(mux))
		require.NoError(t, err)
		defer app.Close()
		d, err := factory(t, belaytest.Handler(mux), app.ClientCredentials("key-2"), driver.Rollout{Stable: guesty.V1}).Open(t.Context(), "b")
		require.NoError(t, err)
		require.ErrorIs(t, d.Authenticate(t.Context()), belay.ErrAuth)
	})
}

// Each account has the three tiers for itself: 15 calls in a second, 120 in a minute, 5,000 in an hour.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		of := factory(t, belaytest.Handler(newFake(1, 1)), belay.Bearer(belay.NewSecret(secret)), driver.Rollout{Stable: guesty.V1})
		account := func(name string) *guesty.Driver {
			d, err := of.Open(t.Context(), name)
			require.NoError(t, err)
			return d
		}
		took := func(n int, d *guesty.Driver) time.Duration {
			began := time.Now()
			for range n {
				require.NoError(t, d.Check(belay.PatienceContext(t.Context(), 2*time.Hour)))
			}
			return time.Since(began)
		}
		for calls, least := range map[int]time.Duration{15: 0, 16: time.Second, 120: 7 * time.Second, 121: time.Minute, 5001: time.Hour} {
			spent := took(calls, account(fmt.Sprint("account-", calls)))
			require.GreaterOrEqual(t, spent, least, calls)
			require.Less(t, spent, least+least/3+time.Second, calls)
		}
		require.Less(t, took(15, account("another")), time.Second, "its limits are its own")
	})
}

var record = flag.Bool("record", false, "record the cassette from the fake: make cassettes")

// The driver plays what was recorded, without a network and without the fake.
func TestCassette(t *testing.T) {
	d := open(t, belaytest.Cassette{
		Path: "testdata/cassettes/fake", Record: *record, Real: belaytest.Handler(newFake(3, 120)), Secrets: []belay.Secret{belay.NewSecret(secret)}, MaxAge: -1,
	}.Open(t), guesty.V2)
	require.NoError(t, d.Check(t.Context()))
	for _, kind := range []string{"listings", "reservations"} {
		all, err := d.ListResources(t.Context(), kind, "")
		require.NoError(t, err)
		require.Len(t, all.Updated, map[string]int{"listings": 3, "reservations": 120}[kind])
	}
	_, err := d.Listing(t.Context(), "gone")
	require.ErrorIs(t, err, belay.ErrNotFound)
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	key := belay.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	v, err := guesty.NewVerifier(key)
	require.NoError(t, err)
	req, err := webhook.SignTest(webhook.Svix(), key, belay.WebhookEvent{ID: "msg_1", Data: []byte(`{"event": "listing.updated"}`)})
	require.NoError(t, err)
	d, err := v.VerifyRequest(req)
	require.NoError(t, err)
	require.Equal(t, "msg_1", d.Events[0].ID)
}
