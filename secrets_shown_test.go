package belay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// everyText is all that can be printed of an error.
func everyText(err error) string {
	text := testkit.Verbs(err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += testkit.Verbs(e)
	}
	var e *belay.Error
	if errors.As(err, &e) {
		plain := *e
		text += testkit.Verbs(plain)
		for _, v := range []any{e, plain, []belay.Error{plain}, map[string]any{"e": plain}} {
			data, _ := json.Marshal(v)
			text += string(data) + fmt.Sprintf("%v %+v %s", v, v, v)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", e, "b", plain)
		text += log.String()
	}
	return text
}

// What is printed by value, in a struct or by any verb shows no body and no header.
func TestValuesThatArePrinted(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(400, "application/json", `{"message":"wrong","hidden":"body-canary"}`), nil
	})
	c := newClient(t, rt, belay.WithHeader("X-Api-Key", "header-canary"), belay.WithIntegration("acme"))
	err := get(t.Context(), c, "/")
	require.NotContains(t, everyText(err), "canary")
	require.Contains(t, everyText(err), "wrong")
	holder := struct{ C *belay.Client }{c}
	for _, v := range []any{c, holder, &holder, []*belay.Client{c}} {
		require.NotContains(t, testkit.Verbs(v), "canary")
	}
	require.Equal(t, "belay.Client(partner.test, acme, https://partner.test:443)", fmt.Sprint(c))
	var none *belay.Client
	require.Equal(t, "belay.Client(nil)", fmt.Sprint(none))
	var no *belay.Error
	_ = testkit.Verbs(no)
}

// Errors that are made outside an attempt repeat no secret either, and input errors no query and no value.
func TestSecretsOutsideAttempts(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-canary-1"
	auth := belay.WithAuth(belay.Bearer(belay.NewSecret(secret)))
	n := 0
	answers := func(first, then *http.Response) http.RoundTripper {
		return testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return first, nil
			}
			return then, nil
		})
	}
	raw := func(status int, body string, header ...string) *http.Response {
		r := testkit.Reply(status, header...)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		return r
	}
	cut := raw(200, "", "Etag", `"1"`)
	cut.Body = io.NopCloser(io.MultiReader(strings.NewReader("AAAA"), breaking{}))
	once := func() io.Reader { return io.MultiReader(strings.NewReader("x")) }
	for name, run := range map[string]func(t *testing.T) error{
		"Download's range": func(t *testing.T) error {
			c := newClient(t, answers(cut, raw(206, "BB", "Etag", `"1"`, "Content-Range", "bytes 9-10/"+secret)), auth)
			_, err := belay.Download(t.Context(), c, "/f", io.Discard)
			return err
		},
		"a next link's host": func(t *testing.T) error {
			c := newClient(t, answers(raw(200, `{"d":[{"id":1}],"next":"https://`+secret+`.evil.test/"}`), nil), auth)
			_, err := collect(belay.Items[thing](t.Context(), c, "/", belay.NextURLPages{Items: "d", URL: "next"}))
			return err
		},
		"Await's link": func(t *testing.T) error {
			c := newClient(t, answers(raw(202, "", "Location", "https://"+secret+".evil.test/"), nil), auth)
			_, err := belay.Await[belay.None](t.Context(), c, "POST", "/", nil)
			return err
		},
		"Await's answer": func(t *testing.T) error {
			c := newClient(t, answers(raw(200, "no json", "Content-Type", "text/"+secret), nil), auth)
			_, err := belay.Await[thing](t.Context(), c, "GET", "/", nil)
			return err
		},
		"a content type": func(t *testing.T) error {
			c := newClient(t, answers(raw(200, "no json", "Content-Type", strings.Repeat("x", 90)+secret), nil), auth)
			_, err := belay.Get[thing](t.Context(), c, "/")
			return err
		},
		"a message that is cut": func(t *testing.T) error {
			c := newClient(t, answers(raw(400, `{"message":"`+strings.Repeat("x", 290)+` `+secret+`"}`), nil), auth)
			return get(t.Context(), c, "/")
		},
		"a message with escapes": func(t *testing.T) error {
			c := newClient(t, answers(raw(400, `{"message":"`+strings.Repeat("x", 290)+` s3cr3t\u002Dcanary\u002d1"}`), nil), auth)
			return get(t.Context(), c, "/")
		},
		"a Location": func(t *testing.T) error {
			c := newClient(t, answers(raw(302, "", "Location", "https://h:port/?token="+secret), nil))
			return get(t.Context(), c, "/")
		},
		"path values of a redirect": func(t *testing.T) error {
			c := newClient(t, answers(raw(307, "", "Location", "/things/"+secret+"/x"), nil))
			_, err := belay.Put[belay.None](t.Context(), c, "/things/{id}", once(), belay.PathValue("id", secret))
			return err
		},
		"and of a write": func(t *testing.T) error {
			c := newClient(t, answers(raw(301, "", "Location", "/v2/things/"+secret), nil))
			_, err := belay.Put[belay.None](t.Context(), c, "/things/{id}", nil, belay.PathValue("id", secret))
			return err
		},
		"a template": func(t *testing.T) error {
			_, err := newClient(t, stub{}).NewRequest(t.Context(), "GET", "/"+secret+"/{id}?q="+secret, nil)
			return err
		},
		"a bad escape": func(t *testing.T) error {
			return get(t.Context(), newClient(t, stub{}), "/{id}/%zz?q="+secret, belay.PathValue("id", secret))
		},
		"a value that is missing": func(t *testing.T) error { return get(t.Context(), newClient(t, stub{}), "/{id}?q="+secret) },
		"a name that is missing": func(t *testing.T) error {
			return get(t.Context(), newClient(t, stub{}), "/?q="+secret, belay.PathValue("id", secret))
		},
		"a list at a URL": func(t *testing.T) error {
			_, err := collect(belay.Items[thing](t.Context(), newClient(t, stub{}), "https://h/?q="+secret, cursors2))
			return err
		},
		"a cursor of another list": func(t *testing.T) error {
			_, err := collect(belay.Items[thing](t.Context(), newClient(t, stub{}), "/", belay.OffsetPages{Limit: 1},
				belay.StartAt("https://h/?q="+secret)))
			return err
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			n = 0
			err := run(t)
			require.Error(t, err)
			text := everyText(err)
			require.NotContains(t, text, "canary")
			require.NotContains(t, text, "s3cr3t")
		})
	}
}

// A redirect to another origin takes no header of the client's or the call's with it, in whatever part of the URL the
// partner repeats it.
func TestRedirectsThatEcho(t *testing.T) {
	t.Parallel()
	const secret = "header-canary-1"
	for name, to := range map[string]string{
		"a pair":              "/f?token=" + secret,
		"a bare query":        "/f?" + secret,
		"a fragment":          "/f#" + secret,
		"a path":              "/" + secret + "/f",
		"escaped":             "/f?a=" + url.QueryEscape("x="+url.QueryEscape("sid="+secret)),
		"a path, escaped":     "/%68eader-canary-1/f",
		"a bad escape":        "/f?t=" + secret[:6] + "%2D" + secret[7:] + "%zz",
		"escaped three times": "/f?a=" + url.QueryEscape(url.QueryEscape(url.QueryEscape("k="+secret+"/"))),
		"a user":              "SECRET",
		"a path, part of it":  "/x%2F" + secret + "/f",
		"in another value":    "/f?u=https%3A%2F%2Fx%2F" + secret,
		"two, and a good one": "/f?good=1&a=" + secret + "&b=" + secret,
	} {
		for how, opts := range map[string]struct {
			client []belay.Option
			call   []belay.CallOption
		}{
			"WithHeader":       {[]belay.Option{belay.WithHeader("X-Custom", secret)}, nil},
			"Header":           {nil, []belay.CallOption{belay.Header("X-Custom", secret)}},
			"Header of a sort": {nil, []belay.CallOption{belay.Header("Cookie", "a=b; sid="+secret)}},
			"a token in pairs": {nil, []belay.CallOption{belay.Header("Authorization", `Token token="`+secret+`", nonce="x"`)}},
			"a credential":     {[]belay.Option{belay.WithAuth(belay.APIKey("X-Api-Key", belay.NewSecret(secret)))}, nil},
		} {
			testkit.Bubble(t, name+", "+how, func(t *testing.T) {
				to := strings.ReplaceAll(to, "SECRET", "//u:"+secret+"@files.test/")
				var visited []string
				rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					if req.URL.Host == "partner.test" {
						if strings.HasPrefix(to, "//") {
							return testkit.Reply(302, "Location", "https:"+to), nil
						}
						return testkit.Reply(302, "Location", "https://files.test"+to), nil
					}
					visited = append(visited, req.URL.String()+"#"+req.URL.Fragment+fmt.Sprint(req.Header))
					return testkit.Reply(200), nil
				})
				c := newClient(t, rt, append(opts.client, belay.WithRedirects(belay.RedirectAny))...)
				if len(opts.call) == 0 { // the same under HTTPClient
					resp, err := c.HTTPClient().Get("https://partner.test/")
					if err == nil {
						_ = resp.Body.Close()
					}
					require.NotContains(t, everyText(err)+fmt.Sprint(visited), "canary")
					require.NotContains(t, fmt.Sprint(visited), "Authorization")
					visited = nil
				}
				err := get(t.Context(), c, "/", opts.call...)
				if strings.Contains(name, "path") {
					require.Error(t, err)
					require.NotContains(t, everyText(err), "canary")
					require.Empty(t, visited)
					return
				}
				require.NoError(t, err)
				require.Len(t, visited, 1)
				require.NotContains(t, visited[0], "canary")
				require.NotContains(t, visited[0], "Authorization")
				if strings.Contains(name, "good") {
					require.Contains(t, visited[0], "good=1")
				}
			})
		}
	}
	// A key of base64 has a plus sign in it, which is a blank in a query.
	for _, to := range []string{
		"/aBc+Canary%2F77Xyz=/f", "/aBc%2BCanary/77Xyz=/f", "/f?t=aBc+Canary%2F77Xyz%3D", "/f#aBc+Canary%2F77Xyz=",
		"/f?t=aBc%2BCanary%2F77Xyz%3D%", "/f?t=" + url.QueryEscape(url.PathEscape("aBc+Canary/77Xyz=")),
	} {
		testkit.Bubble(t, to, func(t *testing.T) {
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if req.URL.Host == "partner.test" {
					return testkit.Reply(302, "Location", "https://files.test"+to), nil
				}
				assert.NotContains(t, req.URL.String()+"#"+req.URL.Fragment, "Canary")
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithRedirects(belay.RedirectAny), belay.WithAuth(belay.Bearer(belay.NewSecret("aBc+Canary/77Xyz="))))
			_ = get(t.Context(), c, "/")
			if resp, err := c.HTTPClient().Get("https://partner.test/"); err == nil {
				_ = resp.Body.Close()
			}
		})
	}
	// A later hop hides what an earlier one sent.
	testkit.Bubble(t, "two hops", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			switch {
			case req.URL.Path == "/a":
				return testkit.Reply(302, "Location", "/b"), nil
			case req.URL.Path == "/b":
				return testkit.Reply(302, "Location", "https://files.test/c"), nil
			}
			return testkit.Raw(400, "application/json", `{"message":"seen token-canary-0 and token-canary-1"}`), nil
		})
		k := 0
		auth := signedAnew(func() string { k++; return fmt.Sprintf("token-canary-%d", k-1) })
		c := newClient(t, rt, belay.WithRedirects(belay.RedirectAny), belay.WithAuth(belay.Sign(auth)))
		err := get(t.Context(), c, "/a")
		require.ErrorContains(t, err, "seen")
		require.NotContains(t, everyText(err), "canary")
	})
}

func signedAnew(next func() string) func(*http.Request, []byte) error {
	return func(req *http.Request, _ []byte) error {
		req.Header.Set("X-Signature", next())
		return nil
	}
}

// A credential is hidden wherever an authenticator or the caller puts it.
func TestCredentialsInURLs(t *testing.T) {
	t.Parallel()
	const secret = "url-canary-1"
	sign := func(change func(*url.URL)) belay.Option {
		return belay.WithAuth(belay.Sign(func(req *http.Request, _ []byte) error {
			change(req.URL)
			return nil
		}))
	}
	for name, c := range map[string]struct {
		opts []belay.Option
		call []belay.CallOption
		path string
	}{
		"a signed path":         {[]belay.Option{sign(func(u *url.URL) { u.Path = "/" + secret + u.Path })}, nil, "/x"},
		"a bare query":          {[]belay.Option{sign(func(u *url.URL) { u.RawQuery = secret })}, nil, "/x"},
		"a query of semicolons": {[]belay.Option{sign(func(u *url.URL) { u.RawQuery = "a=1;key=" + secret })}, nil, "/x"},
		"the caller's query":    {nil, []belay.CallOption{belay.Query("api_key", secret)}, "/x"},
		"the caller's path":     {nil, nil, "/x?token=" + secret},
		"a header of a kind":    {[]belay.Option{belay.WithHeader("X-Passw", secret)}, nil, "/x"},
		"a path value":          {nil, []belay.CallOption{belay.PathValue("token", secret)}, "/x/{token}"},
		"behind a fixed prefix": {[]belay.Option{sign(func(u *url.URL) { u.Path = "/bot" + secret + u.Path })}, nil, "/x"},
		"half a pair that is there": {
			[]belay.Option{sign(func(u *url.URL) { u.RawQuery += "&key=" + secret })},
			nil,
			"/x?mykey=" + secret + "2",
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				return testkit.Raw(400, "application/json", `{"message":"not `+secret+`"}`), nil
			})
			err := get(t.Context(), newClient(t, rt, c.opts...), c.path, c.call...)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "canary")
		})
	}
}

// What the caller's own body and the base URL hold is not shown when the partner repeats it.
func TestSecretsOfTheCaller(t *testing.T) {
	t.Parallel()
	const hook, canary = "Xq3canaryXXXX9yZzXXXX7a1", "canary"
	echo := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		data, _ := io.ReadAll(req.Body)
		text, _ := json.Marshal(map[string]string{"message": "not " + string(data) + " at " + req.URL.String(), "code": "wrong"})
		return testkit.Raw(400, "application/json", string(text)), nil
	})
	for name, body := range map[string]any{
		"JSON":     map[string]any{"user": "ada", "password": "canary-1"},
		"nested":   map[string]any{"login": map[string]any{"Secrets": []string{"canary-1", "canary-2"}, "user": "ada"}},
		"a number": map[string]any{"user": "ada", "otp": 12345678},
		"a form":   url.Values{"user": {"ada"}, "client_secret": {"canary 1+%"}},
		"ready":    belay.BytesBody("application/problem+json; charset=utf-8", []byte(`{"user":"ada","accessToken":"canary-1"}`)),
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var log bytes.Buffer
			c := newClient(t, echo, belay.WithBaseURL("https://partner.test/services/"+hook+"/v1"),
				belay.WithObserver(belay.NewLogObserver(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))))
			for _, call := range []func() error{
				func() error { _, err := belay.Post[belay.None](t.Context(), c, "/login", body); return err },
				func() error {
					req, err := c.NewRequest(t.Context(), "POST", "/login", body)
					require.NoError(t, err)
					req.URL.RawQuery = "a=b" // a request of the user's own has no template
					resp, err := c.Do(req)
					if err == nil {
						_ = resp.Body.Close()
					}
					return err
				},
			} {
				err := call()
				require.ErrorContains(t, err, "ada")
				for _, text := range []string{everyText(err), log.String()} {
					require.NotContains(t, text, canary)
					require.NotContains(t, text, "12345678")
				}
				require.Contains(t, err.Error(), "/services/REDACTED/v1/login")
			}
		})
	}
	t.Run("cursors stay readable", func(t *testing.T) {
		c := newClient(t, echo)
		_, err := belay.Post[belay.None](t.Context(), c, "/search", map[string]any{"page_token": "page-two", "sort_key": "status"})
		require.ErrorContains(t, err, "page-two")
		require.ErrorContains(t, err, "status")
	})
	t.Run("a transport's text", func(t *testing.T) {
		c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("dial for %s: refused", req.URL)
		}))
		err := get(t.Context(), c, "/x", belay.Query("email", "canary@x.test"), belay.MaxAttempts(1))
		require.ErrorContains(t, err, "refused")
		require.NotContains(t, everyText(err), canary)
	})
	t.Run("Info", func(t *testing.T) {
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return testkit.Reply(200, "Set-Cookie", "sid=canary"), nil
		}))
		var info belay.Info
		require.NoError(t, get(t.Context(), c, "/x", belay.Into(&info)))
		data, err := json.Marshal(info)
		require.NoError(t, err)
		require.NotContains(t, testkit.Verbs(info)+testkit.Verbs(&info)+string(data), canary)
		require.Contains(t, fmt.Sprint(info), "200")
	})
	t.Run("arguments in the wrong place", func(t *testing.T) {
		const key = "Bearer sk-canary-12345678"
		for _, opt := range []belay.Option{
			belay.WithHeader(key, "Authorization"), belay.WithAuth(belay.APIKey(key, belay.NewSecret("X-Api-Key"))),
			belay.WithAuth(belay.Basic("user:canary", belay.NewSecret("x"))),
		} {
			_, err := belay.New("https://partner.test", opt)
			require.Error(t, err)
			require.NotContains(t, everyText(err), canary)
		}
		require.NotContains(t, everyText(get(t.Context(), newClient(t, stub{}), "/", belay.Header(key, "x"))), canary)
	})
}
