package belay_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// What may not stand in a URL is escaped, wherever the URL comes from.
func TestURLsAreEscaped(t *testing.T) {
	t.Parallel()
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		w.Header().Set("Content-Type", "application/json")
		switch len(asked) {
		case 1:
			_, _ = io.WriteString(w, `{"d":[{"id":1}],"next":"/lists/ä b?name=Jörg Müller&page[size]=2&done=%20x"}`)
		default:
			_, _ = io.WriteString(w, `{"d":[{"id":2}]}`)
		}
	})
	c := serve(t, mux.ServeHTTP)
	ids, err := collect(belay.Items[thing](t.Context(), c, "/lists", belay.NextURLPages{Items: "d", URL: "next"}))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, ids)
	require.NoError(t, get(t.Context(), c, "/é?q=a b&c=ü"))
	require.NoError(t, get(t.Context(), c, "/x?q={v}", belay.PathValue("v", "ö ?&")))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	base, err := c.NewRequest(t.Context(), "GET", "/raw", nil)
	require.NoError(t, err)
	req.URL = base.URL
	req.URL.RawQuery = "q=ß ß"
	resp, err := c.HTTPClient().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "q=ß ß", req.URL.RawQuery, "the caller's request is as it was")
	require.Equal(t, []string{
		"/lists", "/lists/%C3%A4%20b?name=J%C3%B6rg%20M%C3%BCller&page[size]=2&done=%20x", "/%C3%A9?q=a%20b&c=%C3%BC",
		"/x?q=%C3%B6+%3F%26", "/raw?q=%C3%9F%20%C3%9F",
	}, asked)
}

// A header is sent, or refused with its reason; none is dropped in silence.
func TestHeadersThatNetHTTPDrops(t *testing.T) {
	t.Parallel()
	var host, auth string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { host, auth = r.Host, r.Header.Get("Authorization") })
	require.NoError(t, get(t.Context(), c, "/", belay.Header("host", "eu7.partner.test")))
	require.Equal(t, "eu7.partner.test", host)
	h, err := c.With(belay.WithHeader("Host", "eu8.partner.test"))
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), h, "/"))
	require.Equal(t, "eu8.partner.test", host)
	for _, name := range []string{"Content-Length", "transfer-encoding", "Trailer"} {
		require.ErrorIs(t, get(t.Context(), c, "/", belay.Header(name, "5")), belay.ErrInvalid)
		_, err := c.With(belay.WithHeader(name, "5"))
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	require.NoError(t, get(t.Context(), c, "/", belay.Header("Authorization", "own")))
	require.Equal(t, "own", auth)
	a, err := c.With(belay.WithAuth(belay.Bearer(belay.NewSecret("token"))))
	require.NoError(t, err)
	err = get(t.Context(), a, "/", belay.Header("authorization", "own-canary"))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, "Auth")
	require.NotContains(t, err.Error(), "canary")
	require.NoError(t, get(t.Context(), a, "/", belay.Header("Authorization", "own"), belay.Auth(nil)))
	require.Equal(t, "own", auth)
	_, err = a.With(belay.WithHeader("Authorization", "own-canary"))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.NotContains(t, err.Error(), "canary")
}

// A header stands beside a credential that goes elsewhere, and not beside one of its own name.
func TestHeadersBesideCredentials(t *testing.T) {
	t.Parallel()
	var got http.Header
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	secret := belay.NewSecret("key-canary")
	rotating, err := belay.NewRotating(belay.APIKey("X-Api-Key", secret))
	require.NoError(t, err)
	for name, a := range map[string]belay.Authenticator{
		"APIKey": belay.APIKey("X-Api-Key", secret), "APIKeyQuery": belay.APIKeyQuery("key", secret), "Rotating": rotating,
	} {
		k, err := c.With(belay.WithAuth(a), belay.WithHeader("Authorization", "Basic eDp5"))
		require.NoError(t, err, name)
		require.NoError(t, get(t.Context(), k, "/"), name)
		require.Equal(t, "Basic eDp5", got.Get("Authorization"), name)
		require.NoError(t, get(t.Context(), k, "/", belay.Header("Authorization", "own")), name)
		require.Equal(t, "own", got.Get("Authorization"), name)
		if name == "APIKeyQuery" {
			continue
		}
		_, err = k.With(belay.WithHeader("x-api-key", "other"))
		require.ErrorContains(t, err, "X-Api-Key stands beside", name)
		require.ErrorContains(t, get(t.Context(), k, "/", belay.Header("X-API-Key", "other")), "X-Api-Key", name)
	}
	for _, host := range []string{"a b", "a/b", "a\tb", "u@h", "h?x", "", "hö.test"} {
		require.ErrorIs(t, get(t.Context(), c, "/", belay.Header("Host", host)), belay.ErrInvalid, host)
		if _, err := c.With(belay.WithHeader("Host", host)); host != "" {
			require.ErrorIs(t, err, belay.ErrInvalid, host)
		}
	}
	require.NoError(t, get(t.Context(), c, "/", belay.Header("Host", "[::1]:8080")))
}

// A multipart body of which all parts are known has a length.
func TestLengthOfMultipart(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(name, []byte("0123456789"), 0o600))
	inMemory := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("0123456789")), nil }
	for what, c := range map[string]struct {
		files []belay.File
		known bool
		fails bool
	}{
		"no file":    {nil, true, false},
		"a size":     {[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 10}}, true, false},
		"a file":     {[]belay.File{{Field: "f", Name: "n", Open: func() (io.ReadCloser, error) { return os.Open(name) }}}, true, false},
		"no size":    {[]belay.File{{Field: "f", Name: "n", Open: inMemory}}, false, false},
		"one of two": {[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 10}, {Field: "g", Name: "m", Open: inMemory}}, false, false},
		"both": {
			[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 10}, {Field: "g", Name: "m", Open: func() (io.ReadCloser, error) { return os.Open(name) }}},
			true, false,
		},
		"another size": {[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 9}}, true, true},
		"a larger one": {[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 11}}, true, true},
		"two that make up for each other": {
			[]belay.File{{Field: "f", Name: "n", Open: inMemory, Size: 9}, {Field: "g", Name: "m", Open: inMemory, Size: 11}}, true, true,
		},
	} {
		t.Run(what, func(t *testing.T) {
			var length atomic.Int64
			var whole atomic.Bool
			cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
				length.Store(r.ContentLength)
				err := r.ParseMultipartForm(1 << 20)
				if c.fails {
					whole.Store(err == nil)
					return // a partner that finds nothing wrong with it
				}
				if err != nil || r.FormValue("a") != "b" || len(r.MultipartForm.File) != len(c.files) {
					w.WriteHeader(400)
				}
			}, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
			_, err := belay.Post[belay.None](t.Context(), cl, "/", belay.Multipart(url.Values{"a": {"b"}}, c.files...))
			if c.fails {
				require.ErrorIs(t, err, belay.ErrInvalid)
				require.ErrorContains(t, err, "said to be")
				require.False(t, whole.Load())
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.known, length.Load() > 0)
		})
	}
	for _, content := range []string{"0123456789a", "012345678", strings.Repeat("0", 5000)} {
		cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
			data, err := io.ReadAll(r.Body)
			assert.False(t, err == nil && len(data) == 10)
		})
		_, err := belay.Post[belay.None](t.Context(), cl, "/", belay.StreamBody("text/plain", 10, func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}))
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	_, err := belay.Post[belay.None](t.Context(), newClient(t, stub{}), "/",
		belay.Multipart(nil, belay.File{Field: "f", Open: inMemory, Size: -1}))
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// A proxy that does not connect is no failure of the partner; and what it refused was never sent.
func TestProxiesThatRefuse(t *testing.T) {
	t.Parallel()
	for _, status := range []int{407, 502} {
		for _, own := range []bool{true, false} {
			t.Run(fmt.Sprint(status, own), func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				asked := make(chan string, 100)
				go func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							close(asked)
							return
						}
						if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
							asked <- req.Method
						}
						_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
						_ = conn.Close()
					}
				}()
				at, err := url.Parse("http://" + l.Addr().String())
				require.NoError(t, err)
				opts := []belay.Option{belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: 1})}
				var proxied *http.Transport
				if own {
					opts = append(opts, belay.WithTransport(proxiedBy(at)))
				} else {
					proxied = &http.Transport{Proxy: http.ProxyURL(at)}
					opts = append(opts, belay.WithTransport(proxied))
				}
				c, err := belay.New("https://partner.test", opts...)
				require.NoError(t, err)
				_, err = belay.Post[belay.None](t.Context(), c, "/", map[string]int{"a": 1})
				var e *belay.Error
				require.ErrorAs(t, err, &e)
				require.True(t, e.Unsent())
				require.NoError(t, l.Close())
				n := 0
				for method := range asked {
					require.Equal(t, "CONNECT", method)
					n++
				}
				if status == 407 {
					require.Equal(t, belay.ClassClient, e.Class)
					require.Equal(t, 1, n, "not repeated")
					require.ErrorContains(t, err, "proxy")
					return
				}
				require.Equal(t, belay.ClassTransient, e.Class)
				require.Equal(t, 2, n, "a write that was not sent is sent again")
			})
		}
	}
}

// proxiedBy is a transport as the library makes its own, with a proxy.
func proxiedBy(at *url.URL) http.RoundTripper {
	t := belay.NewTransportForTest()
	t.Proxy = http.ProxyURL(at)
	return t
}

// A session's cookies come back with later calls of the same client, and nowhere else.
func TestCookieJar(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("Cookie"))
		if req.URL.Path == "/echo" {
			return testkit.Raw(400, "application/json", `{"message":"bad `+req.Header.Get("Cookie")+`"}`), nil
		}
		return testkit.Reply(200, "Set-Cookie", "sid=cookie-canary; Path=/"), nil
	})
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	c := newClient(t, rt, belay.WithCookieJar(jar))
	require.NoError(t, get(t.Context(), c, "/login"))
	require.NoError(t, get(t.Context(), c, "/"))
	other, err := c.With(belay.WithCookieJar(nil))
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), other, "/"))
	require.Equal(t, []string{"", "sid=cookie-canary", ""}, got)
	err = get(t.Context(), c, "/echo")
	require.ErrorContains(t, err, "bad")
	require.NotContains(t, err.Error(), "canary")
}

// Ready JSON is sent as it is, and an error in JSON is read whatever its content type.
func TestReadyJSON(t *testing.T) {
	t.Parallel()
	var sent []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(req.Body)
		sent = append(sent, req.Header.Get("Content-Type")+" "+string(body))
		return testkit.Raw(422, "application/octet-stream", `{"code":"taken","message":"is taken"}`), nil
	})
	c := newClient(t, rt)
	for _, body := range []any{belay.JSONBody([]byte(`{"a":1}`)), `{"a":1}`, []byte(`{"a":1}`), bytes.NewBufferString(`{"a":1}`)} {
		_, err := belay.Post[belay.None](t.Context(), c, "/", body)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "taken", e.Code)
	}
	require.Equal(t, []string{
		`application/json {"a":1}`, `application/json "{\"a\":1}"`, `application/octet-stream {"a":1}`,
		`application/octet-stream {"a":1}`,
	}, sent)
	_, err := belay.Post[belay.None](t.Context(), c, "/", belay.JSONBody([]byte(`{"a":`)))
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// What may not stand in a query is escaped; what is escaped stays.
func TestQueriesThatAreNotWellFormed(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"a=b c": "a=b%20c", "a=ü": "a=%C3%BC", "a=%zz": "a=%25zz", "a=100%": "a=100%25", "a=%2": "a=%252", "a=%u00fc": "a=%25u00fc",
		`a={"b":1}|c`: `a={"b":1}|c`, "a[]=1&b=%20+x": "a[]=1&b=%20+x", "a=b;c": "a=b;c",
	} {
		testkit.Bubble(t, query, func(t *testing.T) {
			var asked []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if asked = append(asked, req.URL.RawQuery); len(asked) == 1 {
					data, _ := json.Marshal(map[string]any{"d": []int{1}, "next": "/l?" + query})
					return testkit.Raw(200, "application/json", string(data)), nil
				}
				return testkit.Raw(200, "application/json", `{"d":[2]}`), nil
			})
			for _, err := range belay.Items[int](t.Context(), newClient(t, rt), "/l", belay.NextURLPages{Items: "d", URL: "next"}) {
				require.NoError(t, err)
			}
			require.Equal(t, want, asked[1])
		})
	}
}

// A Host of the caller's is the partner's: a redirect to another origin is another host.
func TestHostStaysAtItsOrigin(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var hosts []string
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if hosts = append(hosts, req.URL.Host+" "+req.Host); len(hosts) == 1 {
				return testkit.Reply(302, "Location", "https://files.test/f"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithTrustedOrigins("https://files.test"))
		require.NoError(t, get(t.Context(), c, "/", belay.Header("Host", "virtual.test")))
		require.Equal(t, "partner.test virtual.test", hosts[0])
		require.NotContains(t, hosts[1], "virtual")
	})
}
