package belaytest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/oauth"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func respond(status int, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{
		StatusCode:    status,
		Header:        h,
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// twice runs work while it is recorded, then again from the file with other credentials, and returns the file.
func twice(
	t *testing.T,
	real http.RoundTripper,
	work func(t *testing.T, rt http.RoundTripper, secret string) any,
) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tape")
	var want any
	t.Run("record", func(t *testing.T) {
		want = work(t, belaytest.Cassette{Path: path, Record: true, Real: real}.Open(t), secret)
	})
	data, err := os.ReadFile(path + ".yaml")
	require.NoError(t, err)
	t.Run("play", func(t *testing.T) {
		require.Equal(
			t,
			want,
			work(
				t,
				belaytest.Cassette{
					Path: path,
					Real: roundTrip(func(*http.Request) (*http.Response, error) { panic("nothing is sent") }),
				}.Open(
					t,
				),
				"dummy",
			),
		)
	})
	for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
		require.NotContains(t, string(data), form)
	}
	return string(data)
}

// Lists whose cursors look like secrets, tokens of OAuth2, redirects, uploads: what real drivers do plays back.
func TestCassettePlaysWhatDriversDo(t *testing.T) {
	t.Run("cursors", func(t *testing.T) {
		rt := roundTrip(func(req *http.Request) (*http.Response, error) {
			at := strings.Count(req.URL.Query().Get("pageToken"), "x")
			next := strings.Repeat("x", at+1) + "-a-long-cursor"
			if at == 4 {
				next = ""
			}
			return respond(200, fmt.Sprintf(`{"files":[{"id":%d}],"nextPageToken":%q}`, at, next)), nil
		})
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, secret string) any {
			c, err := belay.New(
				"https://p.test",
				belay.WithTransport(rt),
				belay.WithAuth(belay.Bearer(belay.NewSecret(secret))),
			)
			require.NoError(t, err)
			var ids []int
			for f, err := range belay.Items[struct{ ID int }](
				t.Context(), c, "/files", belay.CursorPages{Items: "files", Cursor: "nextPageToken", Param: "pageToken"},
			) {
				require.NoError(t, err)
				ids = append(ids, f.ID)
			}
			return ids
		})
	})
	t.Run("OAuth2", func(t *testing.T) {
		rt := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/token" {
				return respond(
					200,
					fmt.Sprintf(
						`{"access_token":%q,"refresh_token":"r-%s","token_type":"Bearer","expires_in":3600}`,
						secret,
						secret,
					),
				), nil
			}
			return respond(200, `{"got":"`+req.Header.Get("Authorization")[:7]+`"}`), nil
		})
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, secret string) any {
			app, err := oauth.New(
				oauth.Config{
					TokenURL:     "https://p.test/token",
					ClientID:     "app",
					ClientSecret: belay.NewSecret("c-" + secret),
					Transport:    rt,
				},
			)
			require.NoError(t, err)
			c, err := belay.New("https://p.test", belay.WithTransport(rt), belay.WithAuth(app.ClientCredentials("")))
			require.NoError(t, err)
			got, err := belay.Get[map[string]string](t.Context(), c, "/me")
			require.NoError(t, err)
			return got
		})
	})
	t.Run("redirects, headers of one's own, values that stand in paths", func(t *testing.T) {
		rt := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/a" {
				return respond(302, "{}", "Location", "/tenants/acme-42/b?token=x-"+secret), nil
			}
			return respond(200, `{"active":true,"n":2022,"since":"2022-06-28"}`), nil
		})
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, _ string) any {
			c, err := belay.New(
				"https://p.test",
				belay.WithTransport(rt),
				belay.WithHeader("Notion-Version", "2022-06-28"),
				belay.WithHeader("X-Tenant", "acme-42"),
				belay.WithHeader("X-Debug", "true"),
			)
			require.NoError(t, err)
			got, err := belay.Get[map[string]any](t.Context(), c, "/a")
			require.NoError(t, err)
			again, err := belay.Post[map[string]any](t.Context(), c, "/query", map[string]string{"since": "2022-06-28"})
			require.NoError(t, err)
			return []any{got, again}
		})
	})
	t.Run("uploads, lines of JSON, bodies that begin oddly", func(t *testing.T) {
		rt := roundTrip(func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			switch req.URL.Path {
			case "/lines":
				return respond(
					200,
					fmt.Sprintf("{\"token\":%q}\n{\"b\":2}\n{\"c\":3}\n", secret),
					"Content-Type",
					"application/x-ndjson",
				), nil
			case "/odd":
				return respond(200, "\n\n[1]"), nil
			}
			return respond(200, fmt.Sprintf(`{"size":%d}`, len(body)/1000)), nil
		})
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, secret string) any {
			c, err := belay.New("https://p.test", belay.WithTransport(rt))
			require.NoError(t, err)
			var out []any
			for range 2 {
				got, err := belay.Post[map[string]int](
					t.Context(),
					c,
					"/up",
					belay.Multipart(url.Values{"client_secret": {secret}, "name": {"a b"}}, belay.File{
						Field: "f", Name: "f.bin",
						Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 5000))), nil },
					}),
				)
				require.NoError(t, err)
				out = append(out, got)
			}
			lines, err := belay.Post[[]byte](t.Context(), c, "/lines", nil)
			require.NoError(t, err)
			odd, err := belay.Post[[]int](t.Context(), c, "/odd", map[string]string{})
			require.NoError(t, err)
			return append(
				out,
				strings.Count(string(lines), "\n"),
				strings.HasSuffix(string(lines), "{\"b\":2}\n{\"c\":3}\n"),
				odd,
			)
		})
	})
	t.Run("errors keep their codes, HEAD its length, and an answer is the caller's to change", func(t *testing.T) {
		rt := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodHead {
				r := respond(200, "", "Content-Length", "1234")
				r.ContentLength = 1234
				return r, nil
			}
			return respond(400, `{"error":{"code":"rate_limited","message":"rate_limited: slow"}}`, "Retry-After", "7"), nil
		})
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, _ string) any {
			head, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "https://p.test/", nil)
			require.NoError(t, err)
			resp, err := rt.RoundTrip(head)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://p.test/?ids=1;2", nil)
			require.NoError(t, err)
			second, err := rt.RoundTrip(get)
			require.NoError(t, err)
			body, err := io.ReadAll(second.Body)
			require.NoError(t, err)
			require.NoError(t, second.Body.Close())
			was := second.Header.Get("Retry-After")
			second.Header.Set("Retry-After", "changed")
			return []any{resp.ContentLength, string(body), was, second.StatusCode}
		})
	})
	t.Run("many at once", func(t *testing.T) {
		rt := roundTrip(
			func(req *http.Request) (*http.Response, error) { return respond(413, `{}`), nil },
		) // which does not read the body
		twice(t, rt, func(t *testing.T, rt http.RoundTripper, _ string) any {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					req, err := http.NewRequestWithContext(
						context.Background(),
						http.MethodPost,
						"https://p.test/"+fmt.Sprint(i),
						strings.NewReader(strings.Repeat(fmt.Sprint(i), 1000)),
					)
					if err != nil {
						panic(err)
					}
					resp, err := rt.RoundTrip(req)
					if err != nil {
						panic(err)
					}
					_ = resp.Body.Close()
				})
			}
			wg.Wait()
			return nil
		})
	})
}

// Whatever shape a body has, what looks like a secret in it is not written.
func TestCassetteMasksBodies(t *testing.T) {
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
		return b.String()
	}
	quoted, err := json.Marshal(`{"access_token":"` + secret + `"}`)
	require.NoError(t, err)
	for name, r := range map[string]func() *http.Response{
		"a list":    func() *http.Response { return respond(200, `{"tokens":["`+secret+`"]}`) },
		"an object": func() *http.Response { return respond(200, `{"secret":{"value":"`+secret+`"}}`) },
		"upper case": func() *http.Response {
			return respond(200, `{"token":"`+secret+`"}`, "Content-Type", "application/JSON")
		},
		"no type": func() *http.Response { return respond(200, `{"token":"`+secret+`"}`, "Content-Type", "") },
		"plain text": func() *http.Response {
			return respond(200, `access_token=`+secret+`&x=1`, "Content-Type", "text/plain")
		},
		"semicolons": func() *http.Response {
			return respond(200, `x=1;access_token=`+secret, "Content-Type", "application/x-www-form-urlencoded")
		},
		"lines":        func() *http.Response { return respond(200, "{}\n{\"token\":\""+secret+"\"}\n") },
		"cut short":    func() *http.Response { return respond(200, `{"token":"`+secret+`"`) },
		"malformed":    func() *http.Response { return respond(200, `{"token":"`+secret+`",}`) },
		"JSON in JSON": func() *http.Response { return respond(200, `{"payload":`+string(quoted)+`}`) },
		"compressed": func() *http.Response {
			return respond(200, zipped(`{"token":"`+secret+`"}`), "Content-Encoding", "gzip")
		},
		"a cookie echoed": func() *http.Response {
			return respond(200, `{"echo":"`+secret+`"}`, "Set-Cookie", "sid="+secret+"; Path=/")
		},
		"a jwt, a credential": func() *http.Response {
			return respond(200, `{"jwt":"`+secret+`","credentials":{"a":"`+secret+`"}}`)
		},
		"escaped in JSON": func() *http.Response {
			return respond(200, `{"token":"`+secret+`","echo":"`+strings.ReplaceAll(secret, "-", `\u002d`)+`"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tape")
			t.Run("record", func(t *testing.T) {
				rt := belaytest.Cassette{
					Path:   path,
					Record: true,
					Real:   roundTrip(func(*http.Request) (*http.Response, error) { return r(), nil }),
				}.Open(
					t,
				)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://user-"+secret+":p@p.test/", nil)
				require.NoError(t, err)
				resp, err := rt.RoundTrip(req)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
			})
			data, err := os.ReadFile(path + ".yaml")
			require.NoError(t, err)
			require.NotContains(t, string(data), secret)
			require.NotContains(t, string(data), strings.ReplaceAll(secret, "-", `\u002d`))
			require.Contains(t, string(data), "MASKED-")
		})
	}
}
