package belay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Redirects keep method and body as RFC 9110 section 15.4 has it, within the origin.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		301: "", 302: "", 303: "GET ", 307: `POST {"a":"b"}`, 308: `POST {"a":"b"}`,
	} {
		var got string
		c := serve(t, func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/new" {
				data, _ := io.ReadAll(req.Body)
				got = req.Method + " " + string(data)
				_, _ = io.WriteString(w, "{}")
				return
			}
			http.Redirect(w, req, "/new", code)
		}, belay.WithTimeout(time.Minute))
		_, err := belay.Post[map[string]any](t.Context(), c, "/old", map[string]string{"a": "b"})
		if want == "" {
			require.ErrorContains(t, err, "/new")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, got, code)
		req, err := c.NewRequest(t.Context(), http.MethodPost, "/old", map[string]string{"a": "b"})
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "{}", string(data))
		require.NoError(t, resp.Body.Close())
	}
}

// A write that clients would repeat as a GET is an error that says where the partner wanted it, and never a success.
func TestRedirectedWrites(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, code := range []int{300, 301, 302, 303, 305, 307, 308} {
			for _, policy := range []belay.RedirectPolicy{belay.RedirectSameOrigin, belay.RedirectNone, belay.RedirectAny} {
				for _, location := range []string{"/new?token=s3cret", ""} {
					testkit.Bubble(t, fmt.Sprint(method, code, policy, location), func(t *testing.T) {
						var at []string
						rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
							if req.URL.Path == "/new" {
								at = append(at, req.Method)
								return testkit.Reply(200), nil
							}
							resp := testkit.Reply(code, "Location", location)
							if location == "" {
								resp.Header.Del("Location")
							}
							return resp, nil
						})
						c := newClient(t, rt, belay.WithRedirects(policy))
						var info belay.Info
						_, err := belay.Send[belay.None](t.Context(), c, method, "/old", map[string]int{"a": 1}, belay.Into(&info))
						keeps, none := code == 307 || code == 308, policy == belay.RedirectNone
						switch {
						case location != "" && !none && (keeps || code == 303):
							require.NoError(t, err)
							require.Equal(t, []string{map[bool]string{true: method, false: "GET"}[keeps]}, at)
							require.Equal(t, "https://partner.test/new?token=s3cret", info.Location)
						case location != "" && none && code == 303:
							require.NoError(t, err)
							require.Empty(t, info.Location)
						default:
							var e *belay.Error
							require.ErrorAs(t, err, &e)
							require.Equal(t, code, e.StatusCode)
							require.Empty(t, at)
							require.NotErrorIs(t, err, belay.ErrUnavailable)
							require.NotContains(t, err.Error(), "s3cret")
							if location != "" && code != 300 && code != 305 {
								require.ErrorContains(t, err, "https://partner.test/new")
							}
						}
						at = nil
						req, err := c.NewRequest(t.Context(), method, "/old", map[string]int{"a": 1})
						require.NoError(t, err)
						resp, err := c.Do(req)
						if location != "" && !none && (code == 301 || code == 302) {
							require.ErrorContains(t, err, "https://partner.test/new")
							require.Empty(t, at)
							return
						}
						require.NoError(t, err)
						require.NoError(t, resp.Body.Close())
					})
				}
			}
		}
	}
	// Under an http.Client, for other SDKs, the rule of net/http stays.
	var at []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if at = append(at, req.Method); req.URL.Path == "/new" {
			return testkit.Reply(200), nil
		}
		return testkit.Reply(302, "Location", "/new"), nil
	})
	resp, err := newClient(t, rt).HTTPClient().Post("https://partner.test/old", "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, []string{"POST", "GET"}, at)
}

// Info says where redirects have led, for example to the record with which one was merged.
func TestInfoOfARedirect(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		switch req.URL.Host + req.URL.Path {
		case "partner.test/records/1":
			return testkit.Reply(301, "Location", "/records/2?a=b"), nil
		case "partner.test/records/2":
			return testkit.Reply(302, "Location", "https://files.test/r3?signature=s3cret#x"), nil
		}
		return testkit.Reply(200), nil
	})
	var info belay.Info
	c := newClient(t, rt, belay.WithRedirects(belay.RedirectAny))
	require.NoError(t, get(t.Context(), c, "/records/1", belay.Into(&info)))
	require.Equal(t, "https://files.test/r3", info.Location)
	require.NoError(t, get(t.Context(), c, "/records/4", belay.Into(&info)))
	require.Empty(t, info.Location)
}

// A redirect's hops share the total timeout, add up, and keep their verdicts.
func TestRedirectHops(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "loop", func(t *testing.T) {
		c := newClient(
			t,
			testkit.Script(
				func(int, *http.Request) (*http.Response, error) { return testkit.Reply(302, "Location", "/x"), nil },
			),
		)
		var info belay.Info
		err := get(t.Context(), c, "/x", belay.Into(&info))
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, belay.ClassClient, e.Class)
		require.Equal(t, 10, e.Attempts)
		require.Equal(t, 10, info.Attempts)
	})
	testkit.Bubble(t, "timeouts", func(t *testing.T) {
		slow := func(n int, req *http.Request) (*http.Response, error) {
			select {
			case <-time.After(900 * time.Millisecond):
				return testkit.Reply(302, "Location", "/x"), nil
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		c := newClient(t, testkit.Script(slow), belay.WithTimeout(2*time.Second))
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/x") })()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, took)
	})
	testkit.Bubble(t, "elsewhere", func(t *testing.T) {
		how := func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		rt := testkit.Script(func(n int, req *http.Request) (*http.Response, error) {
			if req.URL.Host == "partner.test" {
				return testkit.Reply(302, "Location", "https://files.test/x"), nil
			}
			return how(req)
		})
		c := newClient(t, rt, belay.WithRedirects(belay.RedirectAny), belay.WithAttemptTimeout(3*time.Second))
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/x") })()
		require.ErrorIs(t, err, belay.ErrTransient)
		require.Equal(t, 3*time.Second, took)
		how = func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
		}
		require.ErrorIs(t, get(t.Context(), c, "/x"), belay.ErrTransient)
	})
}

// The caller's own headers do not go with a redirect to another origin either.
func TestRedirectCarriesNoUnknownHeader(t *testing.T) {
	t.Parallel()
	var got http.Header
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "partner.test" {
			return testkit.Reply(302, "Location", "https://other.test/"), nil
		}
		got = req.Header
		return testkit.Reply(200), nil
	})
	c := newClient(t, rt, belay.WithRedirects(belay.RedirectAny))
	require.NoError(t, get(t.Context(), c, "/x", belay.Header("X-Custom", "mine"), belay.Header("Cookie", "c=1")))
	require.Equal(t, http.Header{"Accept": {"application/json"}, "User-Agent": {"belay (Go)"}}, got)
}

// A redirect with a body that can be read only once is an error that says so.
func TestRedirectOfOneShotBody(t *testing.T) {
	t.Parallel()
	c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, req.Body)
		return testkit.Reply(307, "Location", "/elsewhere"), nil
	}))
	_, err := belay.Post[map[string]any](
		t.Context(),
		c,
		"/",
		belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("x"))),
	)
	require.ErrorIs(t, err, belay.ErrNotReplayable)
	require.ErrorContains(t, err, "/elsewhere")
}

// A redirect that is not followed leaves no body open: net/http opens another before it asks.
func TestRefusedRedirectsHoldNothing(t *testing.T) {
	t.Parallel()
	for _, policy := range []belay.RedirectPolicy{belay.RedirectSameOrigin, belay.RedirectNone, belay.RedirectAny} {
		bodies := 0
		c, err := belay.New(
			"https://partner.test",
			belay.WithRedirects(policy),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				_ = req.Body.Close()
				return testkit.Reply(307, "Location", "https://elsewhere.test/"), nil
			})),
		)
		require.NoError(t, err)
		_, _ = belay.Put[belay.None](t.Context(), c, "/", counted(&bodies))
		require.Zero(t, bodies, policy)
		req, err := c.NewRequest(t.Context(), http.MethodPut, "/", counted(&bodies))
		require.NoError(t, err)
		if resp, err := c.HTTPClient().Do(req); err == nil {
			_ = resp.Body.Close()
		}
		require.Zero(t, bodies, policy)
	}
}

// All hops of a call have its patience together, and a write has one key on all of them.
func TestHopsAreOneCall(t *testing.T) {
	t.Parallel()
	through := belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })
	patience := func(t *testing.T, also ...belay.Option) {
		hops := 0
		c, err := belay.New("https://partner.test", append(also, belay.WithRateLimit(belay.Every(1, 50*time.Second)),
			belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if hops++; hops < 6 {
					return testkit.Reply(302, "Location", "/next"), nil
				}
				return testkit.Reply(200), nil
			})))...)
		require.NoError(t, err)
		var info belay.Info
		_, err = belay.Get[belay.None](t.Context(), c, "/", belay.Patience(165*time.Second), belay.Into(&info))
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.LessOrEqual(t, info.Waited, 165*time.Second)
		require.Equal(t, 4, hops, "50, 100 and 150 s")
	}
	testkit.Bubble(t, "patience", func(t *testing.T) { patience(t) })
	testkit.Bubble(t, "patience under a middleware", func(t *testing.T) { patience(t, through) })
	for _, header := range []string{"", "X-Write-Id"} {
		var keys []string
		c, err := belay.New(
			"https://partner.test",
			belay.WithIdempotencyKeys(header),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if header == "" {
					header = "Idempotency-Key"
				}
				keys = append(keys, req.Header.Get(header))
				if len(keys)%3 != 0 {
					return testkit.Reply(307, "Location", "/next"), nil
				}
				return testkit.Reply(200), nil
			})),
		)
		require.NoError(t, err)
		req, err := c.NewRequest(t.Context(), http.MethodPost, "/", []byte("x"))
		require.NoError(t, err)
		resp, err := c.HTTPClient().Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		_, err = belay.Post[belay.None](t.Context(), c, "/", []byte("x"))
		require.NoError(t, err)
		require.Len(t, keys, 6)
		require.NotEmpty(t, keys[0])
		require.Equal(t, []string{keys[0], keys[0], keys[0]}, keys[:3])
		require.Equal(t, []string{keys[3], keys[3], keys[3]}, keys[3:])
		require.NotEqual(t, keys[0], keys[3])
	}
}
