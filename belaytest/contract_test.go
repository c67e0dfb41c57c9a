package belaytest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// A change of the partner is told for what it is: what breaks fails, what is new is logged, and values are nobody's
// business.
func TestContract(t *testing.T) {
	t.Parallel()
	const before = `{"id": 7, "name": "Ada", "tags": [{"id": 1, "label": "x"}], "owner": {"mail": "a@example.com"}, "by": {"cus_123456789": {"n": 1}}, "phone": null}`
	for name, c := range map[string]struct {
		status      int
		body        string
		limit       string // "" is 100, "-" none
		broken, new string
		optional    []string
	}{
		"nothing":                {body: `{"id": 8, "name": "Bob", "tags": [{"id": 2, "label": "y"}], "owner": {"mail": "b@example.com"}, "by": {"cus_987654321": {"n": 2}}, "phone": null}`},
		"a field is gone":        {body: strings.Replace(before, `"name": "Ada", `, "", 1), broken: "/me: the field name is gone"},
		"one within is gone":     {body: strings.Replace(before, `"label": "x"`, `"x": 1`, 1), broken: "/me: the field tags[].label is gone", new: "/me: the field tags[].x, number"},
		"an object is gone":      {body: strings.Replace(before, `"owner": {"mail": "a@example.com"}, `, "", 1), broken: "/me: the field owner is gone"},
		"it may be missing":      {body: strings.Replace(before, `"owner": {"mail": "a@example.com"}, `, "", 1), optional: []string{"owner"}},
		"an array is empty":      {body: strings.Replace(before, `[{"id": 1, "label": "x"}]`, "[]", 1)},
		"a kind is another":      {body: strings.Replace(before, `"id": 7`, `"id": "7"`, 1), broken: "/me: the field id is text, was number"},
		"a null for an object":   {body: strings.Replace(before, `{"mail": "a@example.com"}`, "null", 1), broken: "/me: the field owner is null, was object"},
		"a field is new":         {body: strings.Replace(before, `"id": 7`, `"id": 7, "extra": true`, 1), new: "/me: the field extra, bool"},
		"a status is another":    {status: 404, body: `{"message": "no"}`, broken: "/me: the status is 404, was 200"},
		"a limit is lower":       {body: before, limit: "90", broken: "/me: the header X-Ratelimit-Limit says 90, said 100"},
		"a limit is higher":      {body: before, limit: "200", new: "/me: the header X-Ratelimit-Limit says 200, said 100"},
		"the header is gone":     {body: before, limit: "-", broken: "/me: the header X-Ratelimit-Limit is gone"},
		"a null has a value":     {body: strings.Replace(before, `"phone": null`, `"phone": "1"`, 1), new: "/me: the field phone is text, was null"},
		"a map has other names":  {body: strings.Replace(before, "cus_123456789", "cus_1a2b3c4d5e6f", 1)},
		"a map's value is other": {body: strings.Replace(before, `{"n": 1}`, `{"n": "1"}`, 1), broken: "/me: the field by.{}.n is text, was number"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, limit := 200, before, "100"
			client, err := belay.New("https://partner.test", belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
				belay.WithTransport(belaytest.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					if limit != "-" {
						w.Header().Set("X-RateLimit-Limit", limit)
					}
					w.Header().Set("X-RateLimit-Remaining", r.URL.Path)
					w.WriteHeader(status)
					_, _ = w.Write([]byte(body))
				}))))
			require.NoError(t, err)
			contract := belaytest.Contract{Path: filepath.Join(t.TempDir(), "contracts", "crm.json"), Calls: []string{"/me"}, Optional: c.optional}
			require.Empty(t, contract.Check(t, client)) // writes it
			data, err := os.ReadFile(contract.Path)
			require.NoError(t, err)
			require.NotContains(t, string(data), "Ada")
			require.NotContains(t, string(data), "cus_")

			body = c.body
			if c.status != 0 {
				status = c.status
			}
			if c.limit != "" {
				limit = c.limit
			}
			found := &findings{TB: t}
			r := contract.Check(found, client)
			require.Equal(t, c.broken, strings.Join(r.Broken, "; "))
			require.Equal(t, c.new, strings.Join(r.New, "; "))
			require.Equal(t, c.broken != "", len(found.texts) > 0)
		})
	}
}

// Limits in the forms of partners are compared as numbers, and an update keeps what a field has been.
func TestContractOfSeveralDays(t *testing.T) {
	t.Parallel()
	limits := []string{"X-Shopify-Shop-Api-Call-Limit: 3/40", "Sforce-Limit-Info: api-usage=18/5000", `RateLimit-Policy: "default";q=100;w=60`, "X-DayLimit-Remaining: 7"}
	body := `{"phone": null}`
	client, err := belay.New("https://partner.test", belay.WithTransport(belaytest.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, line := range limits {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		_, _ = w.Write([]byte(body))
	}))))
	require.NoError(t, err)
	contract := belaytest.Contract{Path: filepath.Join(t.TempDir(), "crm.json"), Calls: []string{"/me"}}
	contract.Check(t, client)
	limits = []string{"X-Shopify-Shop-Api-Call-Limit: 9/40", "Sforce-Limit-Info: api-usage=19/5000", `RateLimit-Policy: "default";q=100;w=60`, "X-DayLimit-Remaining: 6"}
	require.Empty(t, contract.Check(t, client), "another day")
	limits = []string{"X-Shopify-Shop-Api-Call-Limit: 9/20", "Sforce-Limit-Info: api-usage=19/4000", `RateLimit-Policy: "default";q=50;w=60`}
	require.Equal(t, []string{
		"/me: the header Ratelimit-Policy says 50, said 100", "/me: the header Sforce-Limit-Info says 4000, said 5000",
		"/me: the header X-Daylimit-Remaining is gone", "/me: the header X-Shopify-Shop-Api-Call-Limit says 20, said 40",
	}, contract.Check(&findings{TB: t}, client).Broken)

	body = `{"phone": "1"}`
	contract.Update = true
	contract.Check(t, client)
	contract.Update = false
	for _, body = range []string{`{"phone": null}`, `{"phone": "2"}`} {
		require.Empty(t, contract.Check(t, client))
	}
}

func TestContractBadInput(t *testing.T) {
	t.Parallel()
	client, err := belay.New("https://partner.test", belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		belay.WithTransport(belaytest.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "crm.json")
	found := &findings{TB: t}
	belaytest.Contract{Path: path, Calls: []string{"/me"}}.Check(found, client)
	require.Contains(t, found.texts[0], "is no JSON")
	f := &fatal{TB: t}
	func() {
		defer func() { _ = recover() }()
		belaytest.Contract{}.Check(&fatalNow{f}, client)
	}()
	require.Contains(t, f.text, "Path or Calls is empty")
}

// On a build server a missing file fails, since it would be missing each time.
func TestContractIsMissing(t *testing.T) {
	client, err := belay.New("https://partner.test", belay.WithTransport(belaytest.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{}"))
	}))))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "crm.json")
	belaytest.CI.Store(true)
	defer belaytest.CI.Store(false)
	found := &findings{TB: t}
	belaytest.Contract{Path: path, Calls: []string{"/me"}}.Check(found, client)
	require.Len(t, found.texts, 1)
	require.Contains(t, found.texts[0], "is missing")
	require.NoFileExists(t, path)
}

// fatalNow is a fatal whose Fatal is one, too.
type fatalNow struct{ *fatal }

func (f *fatalNow) Fatal(args ...any) { f.Fatalf("%v", args...) }
