package belay_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// opened counts the bodies that a stream has open.
type opened struct {
	io.Reader
	n      *int
	closed bool
}

func (o *opened) Close() error {
	if !o.closed {
		*o.n--
	}
	o.closed = true
	return nil
}

func counted(n *int) belay.Body {
	return belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) {
		*n++
		return &opened{strings.NewReader("text"), n, false}, nil
	})
}

// blob is an answer whose body the classifier does not read.
func blob(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/octet-stream"}}, Body: io.NopCloser(strings.NewReader("xyz")), ContentLength: 3}
}

type panickyRefresher struct{ turning }

func (*panickyRefresher) Reject(context.Context, belay.Credential) bool { panic("mine") }

// Whatever of the user's panics, after it the place in flight is free, and the request's body closed.
func TestPanicsHoldNothing(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		status int
		opts   []belay.Option
	}{
		"RetryIf": {503, []belay.Option{belay.WithRetry(belay.RetryPolicy{RetryIf: func(*belay.Attempt, belay.Verdict) bool { panic("mine") }})}},
		"a call middleware": {200, []belay.Option{belay.WithCallMiddleware(func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { panic("mine") })
		})}},
		"an attempt middleware": {200, []belay.Option{belay.WithAttemptMiddleware(func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { panic("mine") })
		})}},
		"an attempt middleware, on the second attempt": {503, []belay.Option{belay.WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
			n := 0
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if n++; n%2 == 0 {
					panic("mine")
				}
				return next.RoundTrip(req)
			})
		})}},
		"a middleware, after the answer": {200, []belay.Option{belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				_, _ = next.RoundTrip(req)
				panic("mine")
			})
		})}},
		"RetryIf under a middleware": {503, []belay.Option{
			belay.WithRetry(belay.RetryPolicy{RetryIf: func(*belay.Attempt, belay.Verdict) bool { panic("mine") }}),
			belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper { return next }),
		}},
		"Reject":     {401, []belay.Option{belay.WithAuth(&panickyRefresher{})}},
		"Cost":       {200, []belay.Option{belay.WithCost(func(*http.Request) int { panic("mine") })}},
		"classifier": {500, []belay.Option{belay.WithClassifier(func(*belay.Attempt) belay.Verdict { panic("mine") })}},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			bodies := 0
			c, err := belay.New("https://partner.test", append([]belay.Option{
				belay.WithMaxInFlight(1), belay.Without(belay.LayerBreaker),
				belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					_ = req.Body.Close()
					return blob(x.status), nil
				})),
			}, x.opts...)...)
			require.NoError(t, err)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				require.PanicsWithValue(t, "mine", func() { _, _ = belay.Put[belay.None](ctx, c, "/", counted(&bodies)) })
				cancel()
			}
			require.Zero(t, bodies)
		})
	}
}

// Nor does a stream that panics when it is opened again, for a redirect.
func TestPanicOnARedirectHoldsNothing(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "open", func(t *testing.T) {
		c, err := belay.New("https://partner.test", belay.WithMaxInFlight(1), belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			_ = req.Body.Close()
			resp := blob(307)
			resp.Header.Set("Location", "/next")
			return resp, nil
		})))
		require.NoError(t, err)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			n := 0
			require.PanicsWithValue(t, "mine", func() {
				_, _ = belay.Put[belay.None](ctx, c, "/", belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) {
					if n++; n > 1 {
						panic("mine")
					}
					return io.NopCloser(strings.NewReader("text")), nil
				}))
			})
			cancel()
		}
	})
}

// A redirect that is not followed leaves no body open: net/http opens another before it asks.
func TestRefusedRedirectsHoldNothing(t *testing.T) {
	t.Parallel()
	for _, policy := range []belay.RedirectPolicy{belay.RedirectSameOrigin, belay.RedirectNone, belay.RedirectAny} {
		bodies := 0
		c, err := belay.New("https://partner.test", belay.WithRedirects(policy), belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			_ = req.Body.Close()
			return testkit.Reply(307, "Location", "https://elsewhere.test/"), nil
		})))
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
		c, err := belay.New("https://partner.test", belay.WithIdempotencyKeys(header), belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if header == "" {
				header = "Idempotency-Key"
			}
			keys = append(keys, req.Header.Get(header))
			if len(keys)%3 != 0 {
				return testkit.Reply(307, "Location", "/next"), nil
			}
			return testkit.Reply(200), nil
		})))
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

// turning is another token for each attempt.
type turning struct{ n int }

func (a *turning) Credential(ctx context.Context) (belay.Credential, error) {
	a.n++
	return belay.Bearer(belay.NewSecret("secret-token-" + string(rune('a'+a.n)))).Credential(ctx)
}

// A credential of an attempt before is not shown either, where a middleware stands between.
func TestEarlierSecretsBehindMiddlewares(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "echo", func(t *testing.T) {
		through := belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })
		for _, also := range [][]belay.Option{nil, {through}} {
			first := true
			c, err := belay.New("https://partner.test", append(also, belay.WithAuth(&turning{}),
				belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					if first {
						first = false
						return testkit.Reply(503, "X-Request-Id", req.Header.Get("Authorization")), nil
					}
					<-req.Context().Done()
					return nil, req.Context().Err()
				})))...)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err = belay.Get[belay.None](ctx, c, "/")
			cancel()
			require.Error(t, err)
			require.NotContains(t, err.Error(), "secret-token")
			require.NotContains(t, err.Error(), "\n")
		}
	})
}

// An answer that a classifier has read beyond the bound on bytes holds its place until it is closed, by whomever.
func TestPeekBeyondTheBoundHoldsThePlace(t *testing.T) {
	t.Parallel()
	open, most := 0, 0
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		open++
		most = max(most, open)
		resp := testkit.Reply(200, "Content-Type", "text/plain")
		resp.Body = &opened{Reader: strings.NewReader(strings.Repeat("x", 20)), n: &open}
		return resp, nil
	}), belay.WithMaxInFlight(1), belay.WithMaxQueue(0), belay.WithMaxResponseBytes(10), belay.Without(belay.LayerTimeout),
		belay.WithClassifier(func(a *belay.Attempt) belay.Verdict { a.Peek(); return belay.Classify(a) }))
	for range 3 {
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		if resp, err := c.Do(req); err == nil {
			defer func() { _ = resp.Body.Close() }()
			_, err = io.ReadAll(resp.Body)
			require.ErrorIs(t, err, belay.ErrBodyTooLarge)
		}
	}
	require.Equal(t, 1, most)
	require.Zero(t, open)
}
