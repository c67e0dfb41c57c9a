package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

// What was not made by its constructor says so, and nothing panics.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	var zero belay.Client
	_, err := zero.Do(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "make one with New")
	_, err = zero.HTTPClient().Get("https://partner.test")
	require.ErrorContains(t, err, "make one with New")
	_, err = zero.Transport().RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "make one with New")
	var l belay.Limiter
	require.ErrorContains(t, l.Acquire(t.Context(), new(belay.Ticket)), "NewLimiter")
	l.Release(new(belay.Ticket), belay.Outcome{})
	_, err = l.Wrap(nil).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "NewLimiter")
	_, err = belay.New("https://partner.test", belay.WithLimiter(&l))
	require.ErrorContains(t, err, "NewLimiter")
	var b belay.Breaker
	_, err = b.Wrap(nil).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "NewBreaker")
	var none context.Context
	require.NotNil(t, belay.CallContext(none, belay.Idempotent()))
	rt := belay.Chain(stub{}, nil, func(http.RoundTripper) http.RoundTripper { return nil })
	_, err = rt.RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorContains(t, err, "a middleware returned nil")
}

// A typed call does not hang on an upgraded connection; a status that is none is no success.
func TestStatusesThatAreNone(t *testing.T) {
	t.Parallel()
	closed := false
	status := 101
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: closing{strings.NewReader("{}"), &closed}}, nil
	})
	c := newClient(t, rt)
	_, err := belay.Get[map[string]any](t.Context(), c, "/")
	require.ErrorIs(t, err, belay.ErrData)
	require.True(t, closed)
	status = 0
	_, err = belay.Get[map[string]any](t.Context(), newClient(t, rt, belay.WithClassifier(belay.Classify)), "/")
	require.ErrorIs(t, err, belay.ErrData)
}

// A layer that is left out comes back with an option that configures it; limits that would not count are an error.
func TestWithoutAndBack(t *testing.T) {
	t.Parallel()
	all := belay.Without(belay.LayerRetry, belay.LayerBreaker, belay.LayerTimeout, belay.LayerLimits)
	_, err := belay.New("https://partner.test", all, belay.WithRateLimit(belay.PerSecond(1)))
	require.ErrorContains(t, err, "would not count")
	n := 0
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { n++; return testkit.Reply(500), nil })
	c := newClient(t, rt, all)
	_ = get(t.Context(), c, "/")
	require.Equal(t, 1, n)
	back, err := c.With(belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}), belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2}), belay.WithAttemptTimeout(time.Second))
	require.NoError(t, err)
	n = 0
	_ = get(t.Context(), back, "/")
	require.Equal(t, 2, n)
	require.ErrorIs(t, get(t.Context(), back, "/"), belay.ErrCircuitOpen)
}

// A body that cannot be sent is closed all the same, and named.
func TestBodiesThatAreNotSent(t *testing.T) {
	t.Parallel()
	closed := false
	c := newClient(t, stub{})
	_, err := belay.Post[belay.None](t.Context(), c, "/{id}", closing{strings.NewReader("x"), &closed})
	require.ErrorContains(t, err, `belay: partner.test: POST https://partner.test/{id}: the path "/{id}" needs PathValue("id", …)`)
	require.True(t, closed)
	_, err = belay.Get[belay.None](t.Context(), c, "https://evil.test/next?token=abc")
	require.ErrorContains(t, err, "evil.test")
	require.NotContains(t, err.Error(), "abc")
	_, err = belay.Post[belay.None](t.Context(), c, "/", belay.Multipart(nil, belay.File{Field: "f", ContentType: "a\r\nb", Open: func() (io.ReadCloser, error) { return http.NoBody, nil }}))
	require.ErrorContains(t, err, "line break")
	for _, nothing := range []io.Reader{(*strings.Reader)(nil), (*closingReader)(nil)} {
		_, err = belay.Post[belay.None](t.Context(), c, "/", belay.ReaderBody("text/plain", nothing))
		require.ErrorContains(t, err, "reader is nil")
	}
}

type closingReader struct{}

func (*closingReader) Read([]byte) (int, error) { return 0, io.EOF }

// No URL of a transport's error is shown, however deep it stands; a redactor's panic is contained.
func TestDeepURLAndPanickingRedactor(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost {
			return testkit.Reply(422), nil
		}
		return nil, fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: req.URL.String(), Err: io.EOF})
	})
	c := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond, Budget: belay.NewRetryBudget(4)}),
		belay.WithRedactor(func(string, []byte) string { panic("redactor") }), belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) {})))
	err := get(t.Context(), c, "/x", belay.Query("ssn", "123-45-6789"))
	require.ErrorIs(t, err, belay.ErrRetryBudget)
	require.ErrorIs(t, err, io.EOF)
	require.NotContains(t, err.Error(), "123-45")
	require.ErrorContains(t, err, "middleware: EOF; retry budget spent")
	require.ErrorIs(t, post(t.Context(), c, "/"), belay.ErrInvalid)
}

// A body of exactly the bound is whole.
func TestBodyOfExactlyTheBound(t *testing.T) {
	t.Parallel()
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		resp := testkit.Reply(200)
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader("12345678")), -1
		return resp, nil
	}), belay.WithMaxResponseBytes(8))
	data, err := belay.Get[[]byte](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, "12345678", string(data))
	less, err := c.With(belay.WithMaxResponseBytes(7))
	require.NoError(t, err)
	_, err = belay.Get[[]byte](t.Context(), less, "/")
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)
	resp, err := less.HTTPClient().Get("https://partner.test/")
	require.NoError(t, err)
	data, err = io.ReadAll(resp.Body)
	require.NoError(t, err, "under another SDK a response stays a response")
	require.Len(t, data, 8)
}

// A redirect that wants a body again that is gone, and waits that end by the caller's cancel.
func TestRedirectOfOneShotBody(t *testing.T) {
	t.Parallel()
	c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, req.Body)
		return testkit.Reply(307, "Location", "/elsewhere"), nil
	}))
	_, err := belay.Post[map[string]any](t.Context(), c, "/", belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("x"))))
	require.ErrorIs(t, err, belay.ErrNotReplayable)
	require.ErrorContains(t, err, "/elsewhere")
}

func TestParkedCallIsCancelled(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "parked", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
		_ = get(t.Context(), c, "/")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		call := testkit.After(0, func() error { return get(ctx, c, "/", belay.Patience(time.Hour)) })
		time.Sleep(time.Second)
		cancel(why)
		took, err := call()
		require.Equal(t, time.Second, took)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
	})
}
