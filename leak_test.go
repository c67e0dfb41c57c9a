package belay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// world is the partner and everybody else: the partner redirects to elsewhere; any other host
// answers 500 and echoes all that it was sent, as a hostile one would.
type world struct {
	partner  string // origin
	code     int    // of the redirect
	to       string
	visitors []string // what other origins received, as text
	authed   int      // requests with the credential that the partner received
}

func dump(req *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %v ", req.Method, req.URL, req.Header)
	if req.Body != nil {
		data, _ := io.ReadAll(req.Body)
		_ = req.Body.Close()
		b.Write(data)
	}
	return b.String()
}

func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	text := dump(req)
	resp := &http.Response{Header: http.Header{"Content-Type": {"application/json"}}, Request: req}
	say := func(status int, v any) *http.Response {
		data, _ := json.Marshal(v)
		resp.StatusCode, resp.Body, resp.ContentLength = status, io.NopCloser(bytes.NewReader(data)), int64(len(data))
		return resp
	}
	if req.URL.Scheme+"://"+req.URL.Host != w.partner {
		w.visitors = append(w.visitors, text)
		return say(
			500,
			map[string]any{"message": "got " + text, "code": text, "errors": map[string]string{"field": text}},
		), nil
	}
	if testkit.Seen(text) {
		w.authed++
	}
	if req.URL.Path == "/broken" {
		return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: errors.New("failed with " + text)}
	}
	if req.URL.Path == "/echo" {
		return say(
			400,
			map[string]any{"message": "got " + text, "code": text, "errors": map[string]string{"field": text}},
		), nil
	}
	resp.Header.Set("Location", w.to)
	return say(w.code, map[string]string{}), nil
}

// sinks are all the places where something may be seen. It returns those in which the credential was.
func leaks(w *world, log string, events []belay.Event, resp *http.Response, err error) (where []string) {
	check := func(name, text string) {
		if testkit.Seen(text) {
			where = append(where, name+": "+text)
		}
	}
	check("log", log)
	for _, v := range w.visitors {
		check("other origin", v)
	}
	for _, e := range events {
		check("event", fmt.Sprintf("%v %+v %#v", e, e, e))
		data, _ := json.Marshal(e)
		check("event as JSON", string(data))
	}
	if resp != nil {
		check("response's request", fmt.Sprintf("%v %v", resp.Request.URL, resp.Request.Header))
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		check("error", fmt.Sprintf("%s %v %+v %#v %q", e, e, e, e, e))
	}
	if err != nil {
		data, _ := json.Marshal(err)
		check("error as JSON", string(data))
		var own *belay.Error
		if errors.As(err, &own) {
			check("fields", fmt.Sprint(own.Fields, own.Code, own.Message, own.RequestID, own.URL))
			check("slog", own.LogValue().String())
		}
	}
	return where
}

func TestNoCredentialLeaks(t *testing.T) {
	t.Parallel()
	secret := belay.NewSecret(testkit.Canary)
	auths := map[string]belay.Authenticator{
		"Bearer": belay.Bearer(secret), "APIKey": belay.APIKey("X-Api-Key", secret),
		"APIKeyQuery": belay.APIKeyQuery(
			"api_key",
			secret,
		), "Basic": belay.Basic("user", secret), "Basic user": belay.Basic("", secret),
		"own": ownAuth{}, "own by URL": ownAuth{query: true},
	}
	maps.Copy(auths, laterAuths(t))
	targets := map[string]string{
		"other host": "https://evil.test/", "other port": "https://partner.test:8443/", "to http": "http://partner.test/",
		"subdomain": "https://sub.partner.test/", "parent": "https://test/", "user": "https://u:p@partner.test.evil/",
	}
	var n atomic.Int32
	for authName, auth := range auths {
		t.Run(authName, func(t *testing.T) {
			t.Parallel()
			for _, code := range []int{301, 302, 303, 307, 308, 400, 0} {
				for targetName, to := range targets {
					for _, policy := range []belay.RedirectPolicy{belay.RedirectSameOrigin, belay.RedirectNone, belay.RedirectAny} {
						if targetName != "other host" && (code < 300 || code >= 400 || policy == belay.RedirectNone) {
							continue // nobody goes there
						}
						for _, how := range []string{"Get", "Post", "Do", "HTTPClient", "Transport"} {
							n.Add(1)
							name := fmt.Sprintf("%d/%s/policy %d/%s", code, targetName, policy, how)
							w := &world{partner: "https://partner.test", code: code, to: to}
							if where := exercise(t, w, auth, policy, how); len(where) > 0 {
								t.Fatalf("%s: leaks into %s", name, where)
							}
							require.NotZero(t, w.authed, "%s: the partner itself got no credential", name)
							if policy == belay.RedirectAny && code/100 == 3 && how != "Transport" && !(how == "Post" && code != 303) {
								require.NotEmpty(t, w.visitors, "%s: the redirect was not followed", name)
							} else if policy != belay.RedirectAny {
								require.Empty(t, w.visitors, name)
							}
						}
					}
				}
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d combinations", n.Load()) })
}

// exercise makes one call and returns where the credential was seen.
func exercise(
	t *testing.T,
	w *world,
	auth belay.Authenticator,
	policy belay.RedirectPolicy,
	how string,
	more ...belay.Option,
) []string {
	var log bytes.Buffer
	var events []belay.Event
	options := append([]belay.Option{
		belay.WithTransport(
			w,
		), belay.WithAuth(auth), belay.WithRedirects(policy), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		belay.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) { events = append(events, e) })),
	}, more...)
	c, err := belay.New(w.partner, options...)
	require.NoError(t, err)
	path := map[int]string{400: "/echo", 0: "/broken"}[w.code]
	if path == "" {
		path = "/things"
	}
	ctx := t.Context()
	var resp *http.Response
	switch how {
	case "Get":
		_, err = belay.Get[map[string]any](ctx, c, path)
	case "Post":
		_, err = belay.Post[map[string]any](ctx, c, path, map[string]string{"name": "value"})
	default:
		req, rerr := c.NewRequest(ctx, http.MethodGet, path, nil)
		require.NoError(t, rerr)
		switch how {
		case "Do":
			resp, err = c.Do(req)
		case "HTTPClient":
			resp, err = c.HTTPClient().Do(req)
		case "Transport":
			resp, err = c.Transport().RoundTrip(req)
		}
	}
	if resp != nil {
		_ = resp.Body.Close()
	}
	health, herr := json.Marshal(c.Health())
	require.NoError(t, herr)
	fmt.Fprintf(&log, "%v %+v %#v %s %+v", c, c, auth, health, c.Health())
	return leaks(w, log.String(), events, resp, err)
}

// ownAuth is an authenticator of the user's, of which nothing is known.
type ownAuth struct{ query bool }

func (a ownAuth) Credential(context.Context) (belay.Credential, error) { return a, nil }

func (a ownAuth) Apply(req *http.Request) error {
	if a.query {
		u := *req.URL
		u.RawQuery = url.Values{"sig": {testkit.Canary}}.Encode()
		req.URL = &u
	} else {
		req.Header["X-Own"] = []string{testkit.Canary}
	}
	return nil
}

// A credential that the caller put onto the request itself is not repeated either.
func TestOwnHeaderIsNotRepeated(t *testing.T) {
	t.Parallel()
	w := &world{partner: "https://partner.test", code: 400}
	c, err := belay.New(w.partner, belay.WithTransport(w))
	require.NoError(t, err)
	for _, header := range []string{"Authorization", "X-Api-Key", "Cookie"} {
		_, err = belay.Get[belay.None](t.Context(), c, "/echo", belay.Header(header, "Token "+testkit.Canary))
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.Empty(t, leaks(w, "", nil, nil, err))
		require.ErrorContains(t, err, "REDACTED")
	}
}

// The matrix would notice a leak: here is a client that has one.
func TestLeakMatrixNotices(t *testing.T) {
	t.Parallel()
	leaky := func(next http.RoundTripper) http.RoundTripper {
		return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			clone := req.Clone(req.Context())
			clone.Header.Set("X-Copy", testkit.Canary)
			return next.RoundTrip(clone)
		})
	}
	w := &world{partner: "https://partner.test", code: 302, to: "https://evil.test/"}
	where := exercise(
		t,
		w,
		belay.Bearer(belay.NewSecret("another")),
		belay.RedirectAny,
		"Get",
		belay.WithAttemptMiddleware(leaky),
	)
	require.NotEmpty(t, where)
}

func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	type config struct {
		Token  belay.Secret
		hidden belay.Secret
	}
	s := belay.NewSecret(testkit.Canary)
	c := config{s, s}
	data, err := json.Marshal(c)
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "config", c, "pointer", &c)
	for _, text := range []string{
		testkit.Verbs(s), testkit.Verbs(c), testkit.Verbs(&c), testkit.Verbs([]any{s, c}),
		string(data), log.String(), fmt.Sprint(&c), c.hidden.String(),
	} {
		require.False(t, testkit.Seen(text), text)
	}
	require.Contains(t, string(data), "REDACTED")
	require.Equal(t, testkit.Canary, s.Reveal())
	var back belay.Secret
	require.NoError(t, json.Unmarshal([]byte(`"from config"`), &back))
	require.Equal(t, "from config", back.Reveal())
	require.Empty(t, belay.Secret{}.Reveal())
}

// A credential goes to the partner's origin and to trusted ones, and to no other.
func TestCredentialsStayWithThePartner(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.URL.Host+" "+req.Header.Get("Authorization"))
		return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
	})
	c, err := belay.New(
		"https://partner.test",
		belay.WithTransport(rt),
		belay.WithAuth(belay.Bearer(belay.NewSecret("tok1"))),
		belay.WithTrustedOrigins("https://files.partner.test"),
	)
	require.NoError(t, err)
	for _, u := range []string{
		"https://partner.test/a", "https://PARTNER.test:443/a",
		"https://files.partner.test/a", "https://evil.test/a", "http://partner.test/a",
	} {
		resp, err := c.HTTPClient().Get(u)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.Equal(t, []string{
		"partner.test Bearer tok1", "PARTNER.test:443 Bearer tok1",
		"files.partner.test Bearer tok1", "evil.test ", "partner.test ",
	}, got)
	req, err := http.NewRequest(http.MethodGet, "https://evil.test/a", nil)
	require.NoError(t, err)
	_, err = c.Do(req)
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, "evil.test")
	_, err = c.NewRequest(t.Context(), http.MethodGet, "https://evil.test/next?page=2", nil)
	require.ErrorIs(t, err, belay.ErrInvalid)
	next, err := c.NewRequest(t.Context(), http.MethodGet, "https://files.partner.test/next?page=2", nil)
	require.NoError(t, err)
	require.Equal(t, "https://files.partner.test/next?page=2", next.URL.String())

	// Plain http to anywhere but loopback is refused.
	_, err = belay.New("http://partner.test", belay.WithAuth(belay.Bearer(belay.NewSecret("tok1"))))
	require.ErrorContains(t, err, "WithAuth")
	_, err = belay.New(
		"http://partner.test",
		belay.WithAuth(belay.Bearer(belay.NewSecret("tok1"))),
		belay.WithInsecureCredentials(),
	)
	require.NoError(t, err)
	_, err = belay.New("http://127.0.0.1:8080", belay.WithAuth(belay.Bearer(belay.NewSecret("tok1"))))
	require.NoError(t, err)
	insecure, err := belay.New("http://partner.test", belay.WithTransport(rt))
	require.NoError(t, err)
	_, err = belay.Get[belay.None](t.Context(), insecure, "/a", belay.Auth(belay.Bearer(belay.NewSecret("tok1"))))
	require.ErrorContains(t, err, "WithInsecureCredentials")
}
