package belay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An exchange that goes back to the pool takes nothing of what happened to the next call.
func TestRecycledCallsAreBlank(t *testing.T) {
	n, failures := 0, 0
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		if n++; n <= failures {
			if n%2 == 0 {
				return nil, errors.New("reset")
			}
			return answer(503, "{}")(req)
		}
		return answer(200, "{}")(req)
	})
	kinds := map[string][]Option{
		"plain":      nil,
		"auth":       {WithAuth(Bearer(NewSecret("token")))},
		"timeout":    {WithTimeout(1e9)},
		"no limits":  {Without(LayerLimits)},
		"no retry":   {Without(LayerRetry)},
		"observed":   {WithObserver(ObserverFunc(func(context.Context, Event) {}))},
		"classifier": {WithClassifier(func(a *Attempt) Verdict { return Classify(a) })},
		"keys":       {WithIdempotencyKeys("")},
		"slow":       {WithRateLimit(Every(1, 1e9))},
		"patient":    nil,
	}
	for name, opts := range kinds {
		for _, fail := range []int{0, 1, 2, 8} {
			synctest.Test(t, func(t *testing.T) {
				c := clientOf(t, rt, opts...)
				n, failures = 0, fail
				for _, how := range []string{"do", "http", "typed", "none"} {
					ctx := t.Context()
					if name == "patient" {
						ctx = CallContext(ctx, Patience(1e12))
					}
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://partner.test/", nil)
					require.NoError(t, err)
					var resp *http.Response
					switch how {
					case "do":
						resp, err = c.Do(req)
					case "http":
						resp, err = c.HTTPClient().Do(req)
					case "typed":
						_, err = Get[map[string]any](ctx, c, "/")
					default:
						_, err = Get[None](ctx, c, "/")
					}
					if resp != nil {
						_ = resp.Body.Close()
					}
					_ = err // a failed call is left to the collector
					x := exchanges.Get().(*exchange)
					v := reflect.ValueOf(&x.hot).Elem()
					for i := range v.NumField() {
						if field := v.Type().Field(i).Name; !v.Field(i).IsZero() {
							t.Fatalf("%s, %d failures, by %s: %s is kept", name, fail, how, field)
						}
					}
					if x.spare != nil {
						require.True(t, reflect.ValueOf(x.spare).Elem().IsZero(), fmt.Sprint(name, how))
					}
					require.False(t, x.place.Returning, fmt.Sprint(name, how))
					require.Nil(t, x.place.Request)
					require.Nil(t, x.place.Notices)
					require.True(t, x.place.Free())
					*x = exchange{}
					exchanges.Put(x)
				}
			})
		}
	}
}

// A ticket that has held a store's permits owes it none in the next call.
func TestRecycledTicketsOweNoStore(t *testing.T) {
	refused := errors.New("refused")
	dials := func(*http.Request) (*http.Response, error) { return nil, &net.OpError{Op: "dial", Err: refused} }
	gives := quotaFunc(func(context.Context, int) (time.Duration, error) { return 0, nil })
	for range 20 { // the pool may keep what it gets for itself
		synctest.Test(t, func(t *testing.T) {
			b := clientOf(t, transportFunc(dials), WithRateLimit(PerSecond(1000)), Without(LayerRetry))
			_, err := b.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
			n := 0
			a := clientOf(t, transportFunc(func(req *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return dials(req)
				}
				return answer(200, "{}")(req)
			}), WithRateLimit(PerSecond(1000).Shared(gives)), Without(LayerRetry))
			_, err = a.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
			resp, err := a.HTTPClient().Get("https://partner.test/") // with the permit that the first gave back
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			_, err = b.HTTPClient().Get("https://partner.test/")
			require.ErrorIs(t, err, refused)
		})
	}
}

type quotaFunc func(ctx context.Context, n int) (time.Duration, error)

func (q quotaFunc) Take(ctx context.Context, n int) (time.Duration, error) { return q(ctx, n) }

// A request with a context of its own, and what belongs to it, comes back unchanged.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(200, "ok"), WithTimeout(time.Minute), WithEnabled(func() bool { return true }))
	req := httptest.NewRequest(http.MethodGet, "https://partner.test/x", nil)
	req.RequestURI, req.Header, req.Method = "", nil, ""
	resp, err := c.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "ok", string(data))
	n, err := resp.Body.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, resp.Body.Close(), "closing twice is no harm")
	require.Zero(t, c.limiter.Status().Limits[0].Used)

	bad := CallContext(t.Context(), Cost(-1))
	req, err = http.NewRequestWithContext(bad, http.MethodPost, "https://partner.test/x", strings.NewReader("x"))
	require.NoError(t, err)
	_, err = c.Do(req)
	require.ErrorContains(t, err, "Cost: -1")
	_, err = c.Transport().RoundTrip(req)
	require.ErrorContains(t, err, "Cost: -1")
	require.Equal(t, ErrInvalid.Error(), "belay: invalid")
}

// A body is closed also where a call that is over before it is sent meets no limiter.
func TestCancelledCallClosesItsBody(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(200, "{}"), Without(LayerLimits))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var closed, eof atomic.Int32
	_, err := Post[None](ctx, c, "/", ReaderBody("text/plain", &tracked{strings.NewReader("x"), &closed, &eof}))
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, closed.Load())
}

// A redirect elsewhere whose answer is read whole, bounded, and one that breaks off.
func TestRedirectElsewhere(t *testing.T) {
	t.Parallel()
	body := io.Reader(strings.NewReader(`{"a":1}`))
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "partner.test" {
			return &http.Response{
				StatusCode: 302,
				Header:     http.Header{"Location": {"https://files.test/x"}},
				Body:       http.NoBody,
				Request:    req,
			}, nil
		}
		return &http.Response{
			StatusCode:    200,
			Header:        http.Header{},
			Body:          io.NopCloser(body),
			ContentLength: -1,
			Request:       req,
		}, nil
	})
	c := clientOf(t, rt, WithRedirects(RedirectAny), WithMaxResponseBytes(1<<20))
	got, err := Get[map[string]int](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, 1, got["a"])
	body = io.MultiReader(strings.NewReader(`{"a":`), &tail{nil, io.ErrUnexpectedEOF})
	_, err = Get[map[string]int](t.Context(), c, "/")
	require.ErrorIs(t, err, ErrTransient)
	body = zeros{}
	_, err = Get[map[string]int](t.Context(), c, "/")
	require.ErrorIs(t, err, ErrBodyTooLarge)
	same := &stack{set: &settings{}}
	req := httptest.NewRequest(http.MethodGet, "https://a.test/", nil)
	require.NoError(t, same.checkRedirect(req, []*http.Request{req}))
	require.Error(
		t,
		same.checkRedirect(httptest.NewRequest(http.MethodGet, "https://b.test/", nil), []*http.Request{req}),
	)
}

// Redirects to a trusted origin are within the origin.
func TestRedirectToTrustedOrigin(t *testing.T) {
	t.Parallel()
	var got []string
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.URL.Host+" "+req.Header.Get("Authorization"))
		if req.URL.Host == "partner.test" {
			resp, err := answer(302, "")(req)
			resp.Header.Set("Location", "https://files.partner.test/x")
			return resp, err
		}
		return answer(200, "{}")(req)
	})
	c := clientOf(t, rt, WithTrustedOrigins("https://files.partner.test"), WithAuth(Bearer(NewSecret("token"))))
	_, err := Get[None](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, []string{"partner.test Bearer token", "files.partner.test Bearer token"}, got)
}

func TestSmallParts(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/a/b", joinPath("/a", "b"))
	require.Equal(t, "/a/b", joinPath("/a/", "/b"))
	require.Equal(t, "/a/b", joinPath("/a/", "b"))
	require.Equal(t, "/a", joinPath("/a", ""))
	require.Nil(t, mustBody(t, (*Body)(nil)))
	require.NotNil(t, mustBody(t, &Body{open: func() (io.ReadCloser, error) { return http.NoBody, nil }}))

	c := clientOf(t, answer(200, `{"a":1}`))
	for _, send := range []func() (map[string]int, error){
		func() (map[string]int, error) { return Put[map[string]int](t.Context(), c, "/", nil) },
		func() (map[string]int, error) { return Patch[map[string]int](t.Context(), c, "/", nil) },
		func() (map[string]int, error) { return Delete[map[string]int](t.Context(), c, "/") },
	} {
		got, err := send()
		require.NoError(t, err)
		require.Equal(t, 1, got["a"])
	}
	none := clientOf(t, answer(204, ""))
	got, err := Get[map[string]int](t.Context(), none, "/")
	require.NoError(t, err)
	require.Nil(t, got)
	again, err := c.With(Without(LayerRetry), Without(LayerBreaker, LayerLimits, LayerTimeout))
	require.NoError(t, err)
	require.Nil(t, again.limiter)
	require.Nil(t, again.set.retry)
	require.Nil(t, again.set.breaker)
	require.Zero(t, again.set.attemptTimeout)
	_, err = Get[None](t.Context(), again, "/")
	require.NoError(t, err)
	_, err = c.With(WithRateLimit(make([]Limit, 70)...))
	require.Error(t, err)
	limits := make([]Limit, 70)
	for i := range limits {
		limits[i] = PerSecond(1)
	}
	_, err = c.With(WithRateLimit(limits...))
	require.ErrorContains(t, err, "at most 64")
}

// Where the program has replaced net/http's default transport, Belay goes by it. Not parallel: the default is
// every test's.
func TestDefaultTransportOfAnotherKind(t *testing.T) {
	old := http.DefaultTransport
	http.DefaultTransport = answer(200, "")
	defer func() { http.DefaultTransport = old }()
	require.Equal(t, 7, newTransport(7).MaxIdleConnsPerHost)
	resp, err := Chain(nil).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}

func mustBody(t *testing.T, v any) *Body {
	t.Helper()
	b, err := bodyOf(v)
	require.NoError(t, err)
	return b
}
