package belay_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// serve starts a real server and a client for it.
func serve(t *testing.T, h http.HandlerFunc, opts ...belay.Option) *belay.Client {
	t.Helper()
	s := httptest.NewServer(h)
	c, err := belay.New(s.URL, append([]belay.Option{belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: time.Millisecond})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()); s.Close() })
	return c
}

func TestOptionsOutOfRangeAreOneErrorThatNamesEach(t *testing.T) {
	t.Parallel()
	_, err := belay.New("ftp://partner.test",
		belay.WithMaxInFlight(0), belay.WithMaxQueue(-1), belay.WithTimeout(-time.Second), belay.WithAttemptTimeout(-1),
		belay.WithRateLimit(belay.PerSecond(0)), belay.WithRateLimit(belay.Every(5, -1)), belay.WithRateLimit(belay.Limit{}),
		belay.WithRateLimit(belay.PerSecond(5).Bucket(0)), belay.WithRateLimit(belay.PerSecond(5).Headroom(1.5)),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: -1, BaseDelay: -2, MaxDelay: -3, MaxRetryAfter: -4}),
		belay.WithRetry(belay.RetryPolicy{BaseDelay: 2 * time.Second, MaxDelay: time.Second}),
		belay.WithBreakerPolicy(belay.BreakerPolicy{
			FailureRatio: math.NaN(), MinCalls: -1, Window: -1, Cooldown: -1, MaxCooldown: -2, Probes: -1,
		}),
		belay.WithLimiter(nil), belay.WithBreaker(nil), belay.WithBreaker(new(belay.Breaker)), belay.WithTransport(nil), belay.WithObserver(nil),
		belay.WithCallMiddleware(nil), belay.WithAttemptMiddleware(nil), belay.Without(99), belay.WithName(""), belay.WithIntegration("a\nb"),
		belay.WithHeader("Bad Name", "x"), belay.WithHeader("X-A", "a\r\nX-B: c"), belay.WithUserAgent("a\nb"),
		belay.WithIdempotencyKeys("bad header"), belay.WithTrustedOrigins("nonsense"), belay.WithRedirects(9), belay.WithMaxResponseBytes(0),
		belay.WithBaseURL("https://u:hunter2@partner.test"), belay.WithAuth(belay.Bearer(belay.Secret{})),
		belay.WithAuth(belay.Bearer(belay.NewSecret("hunter2\n"))), belay.WithAuth(belay.APIKey("", belay.NewSecret("hunter2"))),
		belay.WithAuth(belay.APIKey("a b", belay.NewSecret("hunter2"))), belay.WithAuth(belay.Basic("a:b", belay.NewSecret("hunter2"))), nil,
	)
	require.ErrorIs(t, err, belay.ErrInvalid)
	text := err.Error()
	t.Log(text)
	for _, want := range []string{
		"New: the base URL's scheme is \"ftp\"", "WithMaxInFlight: 0", "WithMaxQueue: -1", "WithTimeout: -1s", "WithAttemptTimeout: -1ns",
		"number of calls is 0", "time is -1ns", "Bucket(0)", "Headroom(1.5) must be", "MaxAttempts is -1", "BaseDelay is -2ns", "MaxDelay is -3ns",
		"MaxRetryAfter is -4ns", "MaxDelay is 1s, must not be below BaseDelay", "FailureRatio is NaN", "MinCalls is -1", "Window is -1ns",
		"Cooldown is -1ns", "MaxCooldown is -2ns", "Probes is -1", "WithLimiter", "WithBreaker", "WithTransport", "WithObserver: observer 0",
		"WithCallMiddleware", "WithAttemptMiddleware", "layer 99", "WithName", "WithIntegration", `"Bad Name"`, "X-A", "User-Agent",
		"WithIdempotencyKeys", "WithTrustedOrigins", "policy 9", "WithMaxResponseBytes: 0", "WithBaseURL", "Bearer: the secret is empty",
		"control character at byte 7", "APIKey: the name", `"a b"`, `the user "a:b"`, "option ",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "hunter2")
	require.NotContains(t, text, "\n")

	for _, base := range []string{"", "partner.test", "https://", "https://partner.test/?x=1", "https://partner.test/#f", "http://[::1", "https://u:p@partner.test"} {
		_, err := belay.New(base)
		require.ErrorContains(t, err, "base URL", base)
	}
	_, err = belay.NewLimiter(belay.PerSecond(-1), belay.PerMinute(0))
	require.ErrorContains(t, err, "-1")
	require.ErrorContains(t, err, "is 0")
	_, err = belay.NewLimiter(make([]belay.Limit, 0, 1)...)
	require.NoError(t, err)
	many := make([]belay.Limit, 65)
	for i := range many {
		many[i] = belay.PerSecond(1)
	}
	_, err = belay.NewLimiter(many...)
	require.ErrorContains(t, err, "at most 64")
	_, err = belay.NewBreaker(belay.BreakerPolicy{Probes: 1001})
	require.ErrorContains(t, err, "1001")
	_, err = belay.RetryPolicy{MaxAttempts: -1}.Wrap(nil).RoundTrip(httptest.NewRequest(http.MethodPost, "https://partner.test", strings.NewReader("x")))
	require.ErrorContains(t, err, "MaxAttempts is -1")
}

func TestNilIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	var none *belay.Client
	_, err := none.Do(httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	require.ErrorContains(t, err, "client is nil")
	_, err = none.NewRequest(t.Context(), "GET", "/", nil)
	require.ErrorContains(t, err, "client is nil")
	_, err = belay.Get[belay.None](t.Context(), none, "/")
	require.ErrorContains(t, err, "client is nil")
	_, err = none.With()
	require.ErrorContains(t, err, "client is nil")
	require.ErrorContains(t, none.Close(), "client is nil")
	_, err = none.HTTPClient().Get("https://partner.test")
	require.ErrorContains(t, err, "client is nil")

	c, err := belay.New("https://partner.test", belay.WithTransport(stub{}))
	require.NoError(t, err)
	_, err = c.Do(nil)
	require.ErrorContains(t, err, "request is nil")
	_, err = c.Do(&http.Request{})
	require.ErrorContains(t, err, "URL is nil")
	_, err = c.Transport().RoundTrip(nil)
	require.ErrorContains(t, err, "request is nil")
	var ctx context.Context
	_, err = belay.Get[belay.None](ctx, c, "/")
	require.ErrorContains(t, err, "context is nil")
	_, err = c.NewRequest(ctx, "GET", "/", nil)
	require.ErrorContains(t, err, "context is nil")
	resp, err := c.Transport().RoundTrip(&http.Request{URL: &url.URL{Scheme: "https", Host: "partner.test"}}) // no header map, no method
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	l, err := belay.NewLimiter()
	require.NoError(t, err)
	require.ErrorContains(t, l.Acquire(ctx, new(belay.Ticket)), "nil")
	require.ErrorContains(t, l.Acquire(t.Context(), nil), "nil")
	require.ErrorContains(t, l.Acquire(t.Context(), &belay.Ticket{Cost: -1}), "-1")
	l.Release(nil, belay.Outcome{})
	l.Release(new(belay.Ticket), belay.Outcome{})
	var twice belay.Ticket
	require.NoError(t, l.Acquire(t.Context(), &twice))
	require.ErrorContains(t, l.Acquire(t.Context(), &twice), "in use")
	l.Release(&twice, belay.Outcome{Sent: true})
	l.Release(&twice, belay.Outcome{Sent: true})
	require.NoError(t, l.Acquire(t.Context(), &twice))
}

// What a partner may send, and what must come of it: a typed error, soon, and never a panic.
func TestHostileAnswers(t *testing.T) {
	big := strings.Repeat("x", 64<<10)
	type answer struct {
		name   string
		h      http.HandlerFunc
		is     error
		text   string
		number int // attempts, 0 for any
	}
	for _, a := range []answer{
		{"HTML for JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>login</html>")
		}, belay.ErrData, "text/html", 1},
		{"empty for JSON", func(http.ResponseWriter, *http.Request) {}, belay.ErrData, "empty body", 1},
		{"half a JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":`) }, belay.ErrData, "JSON", 1},
		{"another JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":{}}`) }, belay.ErrData, "JSON", 1},
		{"breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"id":"1"`)
		}, belay.ErrTransient, "unexpected EOF", 4},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 64 {
				_, _ = z.Write(make([]byte, 1<<20))
			}
			_ = z.Close()
		}, belay.ErrBodyTooLarge, "1048576", 1},
		{"endless error body", func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			for req.Context().Err() == nil {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, belay.ErrInvalid, "400", 1},
		{"endless success", func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, belay.ErrBodyTooLarge, "1048576", 1},
		{"error body that hangs", func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"half`)
			_ = http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}, belay.ErrConflict, "409", 1},
		{"header of 64 KiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", big)
			w.Header().Set("X-Request-Id", big)
			w.WriteHeader(http.StatusTooManyRequests)
		}, belay.ErrRateLimited, "429", 4},
		{"error in odd JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":{"error":{"error":{"error":[1,[2]]}}},"errors":[null,1,"no",{"field":7}],"message":{}}`)
		}, belay.ErrNotFound, "404", 1},
		{"redirect loop", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusFound)
		}, nil, "10 redirects", 0},
		{"redirect nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz")
			w.WriteHeader(http.StatusFound)
		}, nil, "Location", 0},
		{"closed", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, belay.ErrTransient, "EOF", 4},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, a.h, belay.WithMaxResponseBytes(1<<20), belay.Without(belay.LayerLimits))
			start := time.Now()
			_, err := belay.Get[struct{ ID string }](t.Context(), c, "/things")
			require.Less(t, time.Since(start), 10*time.Second)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, a.text)
			if a.is != nil {
				require.ErrorIs(t, err, a.is)
			}
			if a.number > 0 {
				require.Equal(t, a.number, e.Attempts)
			}
			require.LessOrEqual(t, len(e.Body), 64<<10)
			require.Less(t, len(err.Error()), 2000)
		})
	}
}

// The same for streams that the caller reads.
func TestStreamIsBoundedAfterDecompression(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 2<<20))
		_ = z.Close()
	}, belay.WithMaxResponseBytes(1<<20))
	req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)
	require.EqualValues(t, 1<<20, n)
	require.NoError(t, resp.Body.Close())

	unbounded, err := c.With(belay.WithMaxResponseBytes(-1))
	require.NoError(t, err)
	resp, err = unbounded.Do(req)
	require.NoError(t, err)
	n, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, n)
	require.NoError(t, resp.Body.Close())
}

// Transports that break the contract cannot break the client.
func TestBrokenTransports(t *testing.T) {
	t.Parallel()
	closed := 0
	for name, rt := range map[string]testkit.RoundTrip{
		"neither": func(*http.Request) (*http.Response, error) { return nil, nil },
		"both": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: closer{&closed}}, errors.New("both")
		},
		"no body": func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 404}, nil },
		"never reads": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 500, Body: io.NopCloser(nothing{})}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := belay.New("https://partner.test", belay.WithTransport(rt))
				require.NoError(t, err)
				_, err = belay.Get[map[string]any](t.Context(), c, "/")
				require.Error(t, err)
				req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
				require.NoError(t, err)
				resp, err := c.HTTPClient().Do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
			})
		})
	}
	require.Positive(t, closed)
}

type closer struct{ n *int }

func (closer) Read([]byte) (int, error) { return 0, io.EOF }
func (c closer) Close() error           { *c.n++; return nil }

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// A panic below or in a callback frees what the attempt held; one in an observer is contained.
func TestPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		panics := true
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if panics {
				panic("below")
			}
			return stub{}.RoundTrip(req)
		})
		c, err := belay.New("https://partner.test", belay.WithTransport(rt), belay.WithMaxInFlight(1), belay.WithMaxQueue(0),
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
			belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) { panic("observer") })))
		require.NoError(t, err)
		for range 3 {
			require.PanicsWithValue(t, "below", func() { _, _ = belay.Get[belay.None](t.Context(), c, "/") })
		}
		panics = false
		_, err = belay.Get[belay.None](t.Context(), c, "/")
		require.NoError(t, err, "the place in flight came back, and a panic is neutral for the breaker")
	})
}

func TestPathsAndBodiesThatCannotBeSent(t *testing.T) {
	t.Parallel()
	var got string
	c, err := belay.New("https://partner.test/v2/", belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = req.Method + " " + req.URL.String()
		return stub{}.RoundTrip(req)
	})))
	require.NoError(t, err)
	get := func(path string, opts ...belay.CallOption) error {
		got = ""
		_, err := belay.Get[belay.None](t.Context(), c, path, opts...)
		return err
	}
	v := belay.PathValue
	require.NoError(t, get("/a/{id}/b?x=1", v("id", "1/2 ü?%"), belay.Query("q", "a b"), belay.Query("q", "c")))
	require.Equal(t, "GET https://partner.test/v2/a/1%2F2%20%C3%BC%3F%25/b?x=1&q=a+b&q=c", got)
	require.NoError(t, get("a"))
	require.Equal(t, "GET https://partner.test/v2/a", got)
	require.NoError(t, get(""))
	require.Equal(t, "GET https://partner.test/v2/", got)
	for _, bad := range []struct {
		path, text string
		opts       []belay.CallOption
	}{
		{"/a/{id}", `PathValue("id"`, nil},
		{"/a/{id", "needs PathValue", []belay.CallOption{v("id", "1")}},
		{"/a", "no {id}", []belay.CallOption{v("id", "1")}},
		{"/a/{id}", "another path", []belay.CallOption{v("id", "")}},
		{"/a/{id}", "another path", []belay.CallOption{v("id", "..")}},
		{"/a%zz", "badly escaped", nil},
		{"https://evil.test/a", "evil.test", nil},
		{"http://[::1/://", "cannot be parsed", nil},
		{"/a", "Header", []belay.CallOption{belay.Header("X-A", "1\n2")}},
		{"/a", "Cost: -1", []belay.CallOption{belay.Cost(-1)}},
		{"/a", "IdempotencyKey", []belay.CallOption{belay.IdempotencyKey("")}},
		{"/a", "IdempotencyKey", []belay.CallOption{belay.IdempotencyKey("a\nb")}},
		{"/a", "Patience: -1s", []belay.CallOption{belay.Patience(-time.Second)}},
		{"/a", "MaxAttempts: -1", []belay.CallOption{belay.MaxAttempts(-1)}},
		{"/a", "Auth: Bearer", []belay.CallOption{belay.Auth(belay.Bearer(belay.Secret{}))}},
	} {
		err := get(bad.path, bad.opts...)
		require.ErrorIs(t, err, belay.ErrInvalid, bad.path)
		require.ErrorContains(t, err, bad.text)
		require.Empty(t, got, "nothing was sent")
	}
	for _, bad := range []struct {
		body any
		text string
	}{
		{make(chan int), "JSON"},
		{strict{}, "name is missing"},
		{belay.ReaderBody("text/plain", nil), "reader is nil"},
		{belay.StreamBody("text/plain", -1, nil), "is nil"},
		{belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) { return nil, errors.New("no disk") }), "no disk"},
		{belay.Multipart(nil, belay.File{Field: "f", Name: "n"}), `"n"`},
		{belay.Multipart(nil, belay.File{Open: func() (io.ReadCloser, error) { return nil, errors.New("no file") }}), "no file"},
	} {
		got = ""
		_, err := belay.Post[belay.None](t.Context(), c, "/a", bad.body)
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, bad.text)
		require.Empty(t, got)
	}
	_, err = belay.Send[belay.None](t.Context(), c, "BAD METHOD", "/a", nil)
	require.ErrorContains(t, err, "BAD METHOD")
	_, err = belay.Send[belay.None](t.Context(), c, "", "/a", belay.Body{})
	require.NoError(t, err)
	require.Equal(t, "GET https://partner.test/v2/a", got)
}

type strict struct{ Name string }

func (s strict) Validate() error {
	if s.Name == "" {
		return errors.New("name is missing")
	}
	return nil
}

// A cost that no window can ever admit is an error, not an endless wait.
func TestCostAboveLimit(t *testing.T) {
	t.Parallel()
	c, err := belay.New("https://partner.test", belay.WithTransport(stub{}), belay.WithRateLimit(belay.PerSecond(10)))
	require.NoError(t, err)
	_, err = belay.Get[belay.None](t.Context(), c, "/", belay.Cost(11))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, "cost 11 is above the limit 10 per 1s")
}
