package belay_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

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
	resp, err := c.Transport().
		RoundTrip(&http.Request{URL: &url.URL{Scheme: "https", Host: "partner.test"}})
		// no header map, no method
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

// Headers: the caller's key stays, the client's User-Agent and Accept are sent.
func TestHeadersOfCallAndClient(t *testing.T) {
	t.Parallel()
	var got http.Header
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = req.Header.Clone()
		return testkit.Reply(200), nil
	})
	c := newClient(
		t,
		rt,
		belay.WithIdempotencyKeys(""),
		belay.WithUserAgent("acme/1"),
		belay.WithHeader("Accept", "application/vnd.acme+json"),
	)
	require.NoError(t, post(t.Context(), c, "/", belay.Header("Idempotency-Key", "order-1")))
	require.Equal(t, "order-1", got.Get("Idempotency-Key"))
	require.Equal(t, "acme/1", got.Get("User-Agent"))
	require.Equal(t, "application/vnd.acme+json", got.Get("Accept"))
	require.NoError(t, post(t.Context(), c, "/"))
	require.Len(t, got.Get("Idempotency-Key"), 36)
}

// A budget of calls bounds what a piece of work sends, retries among them, and sends nothing by halves.
func TestCallBudget(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "an import of 301 calls", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{ErrorRate: 0.1, Seed: 1})
		c := newClient(t, p)
		ctx := belay.BudgetContext(t.Context(), 300)
		failed := testkit.Work(8, 301, func(int) error { return get(ctx, c, "/") })
		require.NotEmpty(t, failed)
		require.Len(t, p.Log(), 300)
		for _, err := range failed {
			require.ErrorIs(t, err, belay.ErrCallBudget)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
		}
		require.NoError(t, get(t.Context(), c, "/", belay.MaxAttempts(9)), "others are not concerned")
	})
	testkit.Bubble(t, "inside another, and none", func(t *testing.T) {
		sent := 0
		c := newClient(
			t,
			testkit.RoundTrip(func(*http.Request) (*http.Response, error) { sent++; return testkit.Reply(200), nil }),
		)
		outer := belay.BudgetContext(t.Context(), 3)
		inner := belay.BudgetContext(outer, 2)
		for range 5 {
			_ = get(inner, c, "/")
		}
		require.Equal(t, 2, sent)
		for range 5 {
			_ = get(outer, c, "/")
		}
		require.Equal(t, 3, sent)
		require.ErrorIs(t, get(belay.BudgetContext(t.Context(), 0), c, "/"), belay.ErrCallBudget)
		require.ErrorIs(t, get(belay.BudgetContext(t.Context(), -1), c, "/"), belay.ErrCallBudget)
	})
	testkit.Bubble(t, "what was not sent does not count", func(t *testing.T) {
		n := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n <= 2 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
			return testkit.Reply(200), nil
		}), belay.WithRateLimit(belay.PerMinute(2)))
		ctx := belay.BudgetContext(t.Context(), 2)
		require.NoError(t, get(ctx, c, "/"))
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.NoError(t, get(soon, c, "/"))
		err := get(soon, c, "/")
		require.True(t, errors.Is(err, belay.ErrCallBudget), err)
	})
}

// A detached context has the values of the other, and neither its end nor its call options.
func TestDetachedContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	cancel()
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil }))
	wrong := belay.CallContext(ctx, belay.Cost(-1))
	require.ErrorIs(t, get(wrong, c, "/"), belay.ErrInvalid)
	detached := belay.DetachedContext(wrong)
	require.NoError(t, detached.Err())
	require.Equal(t, "value", detached.Value(key{}))
	require.NoError(t, get(detached, c, "/"))
	var none context.Context
	require.NotNil(t, belay.DetachedContext(none))
}
