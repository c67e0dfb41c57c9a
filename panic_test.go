package belay_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

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
		c, err := belay.New(
			"https://partner.test",
			belay.WithTransport(rt),
			belay.WithMaxInFlight(1),
			belay.WithMaxQueue(0),
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
			belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) { panic("observer") })),
		)
		require.NoError(t, err)
		for range 3 {
			require.PanicsWithValue(t, "below", func() { _, _ = belay.Get[belay.None](t.Context(), c, "/") })
		}
		panics = false
		_, err = belay.Get[belay.None](t.Context(), c, "/")
		require.NoError(t, err, "the place in flight came back, and a panic is neutral for the breaker")
	})
}

// blob is an answer whose body the classifier does not read.
func blob(status int) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {"application/octet-stream"}},
		Body:          io.NopCloser(strings.NewReader("xyz")),
		ContentLength: 3,
	}
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
		"RetryIf": {
			503,
			[]belay.Option{belay.WithRetry(belay.RetryPolicy{
				RetryIf: func(*belay.Attempt, belay.Verdict) bool { panic("mine") },
			})},
		},
		"a call middleware": {200, []belay.Option{belay.WithCallMiddleware(func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { panic("mine") })
		})}},
		"an attempt middleware": {200, []belay.Option{belay.WithAttemptMiddleware(func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { panic("mine") })
		})}},
		"an attempt middleware, on the second attempt": {
			503, []belay.Option{belay.WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
				n := 0
				return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					if n++; n%2 == 0 {
						panic("mine")
					}
					return next.RoundTrip(req)
				})
			})},
		},
		"a middleware, after the answer": {
			200, []belay.Option{belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					_, _ = next.RoundTrip(req)
					panic("mine")
				})
			})},
		},
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
		c, err := belay.New(
			"https://partner.test",
			belay.WithMaxInFlight(1),
			belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				_ = req.Body.Close()
				resp := blob(307)
				resp.Header.Set("Location", "/next")
				return resp, nil
			})),
		)
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

// Limits, gates and transports that panic or refuse give back what the call held.
func TestWhatACallHeldComesBack(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "a panic while it is its turn to probe", func(t *testing.T) {
		var down, bad atomic.Bool
		down.Store(true)
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if down.Load() {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(
			t,
			rt,
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithRateLimit(belay.PerSecond(100).When(func(*http.Request) bool {
				if bad.Load() {
					panic("in When")
				}
				return true
			})),
		)
		_ = get(t.Context(), c, "/")
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { _ = recover() }()
			_ = get(t.Context(), c, "/", belay.Patience(time.Minute))
		})
		time.Sleep(time.Second)
		bad.Store(true)
		wg.Wait()
		bad.Store(false)
		down.Store(false)
		require.NoError(t, get(t.Context(), c, "/"))
	})
	testkit.Bubble(t, "the kill switch, while it waited", func(t *testing.T) {
		var off atomic.Bool
		p := belaytest.New(belaytest.Config{})
		c := newClient(t, p, belay.WithEnabled(func() bool { return !off.Load() }), belay.WithRateLimit(belay.PerMinute(1)))
		require.NoError(t, get(t.Context(), c, "/"))
		waiting := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		time.Sleep(time.Second)
		off.Store(true)
		_, err := waiting()
		require.ErrorIs(t, err, belay.ErrDisabled)
		require.Len(t, p.Log(), 1)
		off.Store(false)
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
		require.NoError(t, err)
		require.Zero(t, took, "its permit came back")
	})
	testkit.Bubble(t, "a probe that was not sent is neutral", func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
		require.NoError(t, err)
		fail := false
		sign := credential(func(*http.Request) error {
			if fail {
				return errors.New("cannot sign")
			}
			return nil
		})
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		c := newClient(
			t,
			rt,
			belay.WithBreaker(breaker),
			belay.WithAuth(sign),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
		)
		_ = get(t.Context(), c, "/")
		time.Sleep(6 * time.Second)
		fail = true
		require.ErrorContains(t, get(t.Context(), c, "/"), "cannot sign")
		state, _ := breaker.State()
		require.Equal(t, belay.BreakerHalfOpen, state)
		fail = false
		require.NotErrorIs(t, get(t.Context(), c, "/"), belay.ErrCircuitOpen, "another may probe")
	})
}

type credential func(*http.Request) error

func (f credential) Credential(context.Context) (belay.Credential, error) { return f, nil }

func (f credential) Apply(req *http.Request) error { return f(req) }
