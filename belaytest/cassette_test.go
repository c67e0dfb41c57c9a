package belaytest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

const secret = "s3cr3t-canary-0123456789"

// chatty is a partner that says back whatever it is sent, in headers, links, JSON and forms.
func chatty(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Link", fmt.Sprintf("<http://%s/things?page=2&cursor=abc>; rel=\"next\"", r.Host))
		w.Header().Set("Set-Cookie", "session="+secret)
		w.Header().Set("X-Request-Id", "req-1")
		fmt.Fprintf(
			w,
			`{"page":%q,"access_token":%q,"echo":%q,"nested":[{"apiKey":"%s2"}],"plain":%q}`,
			r.URL.Query().
				Get("page"),
			secret,
			r.Header.Get("Authorization")+r.Header.Get("X-Odd")+r.URL.RawQuery,
			secret,
			string(body),
		)
	}))
	t.Cleanup(s.Close)
	return s
}

type page struct {
	Page, Echo, Plain string
}

// exchange is what a driver's test does with a client.
func exchange(t *testing.T, base string, rt http.RoundTripper) (got []string) {
	t.Helper()
	client, err := belay.New(
		base,
		belay.WithTransport(rt),
		belay.WithAuth(belay.Bearer(belay.NewSecret(secret))),
		belay.WithHeader("X-Odd", "odd-"+secret),
	)
	require.NoError(t, err)
	for i := range 3 {
		p, err := belay.Get[page](
			t.Context(),
			client,
			"/things",
			belay.Query("page", fmt.Sprint(i)),
			belay.Query("sig", secret),
		)
		require.NoError(t, err)
		got = append(got, p.Page)
	}
	p, err := belay.Post[page](t.Context(), client, "/things", map[string]string{"name": "Ada", "password": secret})
	require.NoError(t, err)
	return append(got, p.Page, fmt.Sprint(strings.Contains(p.Plain, "Ada")))
}

// What was recorded plays back the same without a partner, and the file holds no secret in any form.
func TestCassette(t *testing.T) {
	server := chatty(t)
	path := filepath.Join(t.TempDir(), "deep", "things")
	var want []string
	t.Run("record", func(t *testing.T) {
		want = exchange(t, server.URL, belaytest.Cassette{Path: path, Record: true}.Open(t))
		require.Equal(t, []string{"0", "1", "2", "", "true"}, want)
	})
	data, err := os.ReadFile(path + ".yaml")
	require.NoError(t, err)
	require.NotContains(t, string(data), secret)
	require.NotContains(t, string(data), "s3cr3t")
	for _, kept := range []string{"req-1", "page=2&sig=MASKED-", `"name":"Ada"`, `rel="next"`, "cursor=MASKED-"} {
		require.Contains(t, string(data), kept)
	}
	base := server.URL
	server.Close()
	t.Run("play", func(t *testing.T) {
		rt := belaytest.Cassette{Path: path}.Open(t)
		require.Equal(t, want, exchange(t, base, rt))
		client, err := belay.New(base, belay.WithTransport(rt), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		require.NoError(t, err)
		_, err = belay.Get[page](t.Context(), client, "/others", belay.Query("q", "x"))
		require.ErrorContains(t, err, "nothing (more) is recorded")
		require.ErrorContains(t, err, "/others?q=MASKED-")
	})
}

// A redactor of one's own, and names that are kept.
func TestCassetteRedactor(t *testing.T) {
	server := chatty(t)
	path := filepath.Join(t.TempDir(), "things")
	c := belaytest.Cassette{
		Path:        path,
		KeepParams:  []string{"CURSOR"},
		KeepHeaders: []string{"x-odd"},
		Redact: func(_, body string) string {
			return strings.ReplaceAll(body, "Ada", "somebody")
		},
	}
	call := func(t *testing.T, c belaytest.Cassette) {
		client, err := belay.New(server.URL, belay.WithTransport(c.Open(t)), belay.WithHeader("X-Odd", "kept"))
		require.NoError(t, err)
		_, err = belay.Post[page](
			t.Context(),
			client,
			"/things",
			map[string]string{"name": "Ada"},
			belay.Query("cursor", "abc"),
		)
		require.NoError(t, err)
	}
	t.Run("record", func(t *testing.T) {
		c := c
		c.Record = true
		call(t, c)
	})
	t.Run("play", func(t *testing.T) { call(t, c) })
	data, err := os.ReadFile(path + ".yaml")
	require.NoError(t, err)
	require.NotContains(t, string(data), "Ada")
	require.Contains(t, string(data), "cursor=abc")
	require.Contains(t, string(data), "kept")
}

// ExampleCassette records with Record on, once, and plays back from then on.
func ExampleCassette() {
	test := func(t testing.TB) {
		rt := belaytest.Cassette{Path: "testdata/stars", Record: os.Getenv("RECORD") != ""}.Open(t)
		client, err := belay.New("https://api.github.com", belay.WithTransport(rt))
		if err != nil {
			t.Fatal(err)
		}
		repo, err := belay.Get[struct{ Name string }](
			context.Background(),
			client,
			"/repos/{owner}/{repo}",
			belay.PathValue("owner", "golang"),
			belay.PathValue("repo", "go"),
		)
		fmt.Println(repo.Name, err)
	}
	test(&testing.T{})
	// Output: go <nil>
}
