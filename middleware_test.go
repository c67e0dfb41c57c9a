package belay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// Middlewares of the user's may send twice, change the request, answer by themselves.
func TestCallMiddleware(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "sends twice", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) { return testkit.Reply(200 + n), nil })
		twice := func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				if err != nil {
					return nil, err
				}
				_ = resp.Body.Close()
				return next.RoundTrip(req.Clone(req.Context()))
			})
		}
		c := newClient(t, rt, belay.WithCallMiddleware(twice), belay.WithTimeout(time.Minute))
		var info belay.Info
		_, err := belay.Get[map[string]any](t.Context(), c, "/", belay.Into(&info))
		require.NoError(t, err)
		require.Equal(t, 202, info.StatusCode)
		require.Equal(t, 2, info.Attempts)
	})
	testkit.Bubble(t, "answers by itself, or not at all", func(t *testing.T) {
		answer := testkit.Reply(200)
		own := func(http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return answer, nil })
		}
		c := newClient(t, stub{}, belay.WithCallMiddleware(own))
		got, err := belay.Get[map[string]any](t.Context(), c, "/")
		require.NoError(t, err)
		require.Empty(t, got)
		answer = nil
		_, err = belay.Get[map[string]any](t.Context(), c, "/")
		require.ErrorContains(t, err, "neither response nor error")
	})
	testkit.Bubble(t, "goes elsewhere", func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			require.Empty(t, req.Header.Get("Authorization"))
			return testkit.Reply(200), nil
		})
		away := func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				clone := req.Clone(req.Context())
				clone.URL.Host = "elsewhere.test"
				return next.RoundTrip(clone)
			})
		}
		c := newClient(t, rt, belay.WithCallMiddleware(away), belay.WithAuth(belay.Bearer(belay.NewSecret("token"))))
		require.NoError(t, get(t.Context(), c, "/"))
	})
}

// A middleware's answer is taken for what it is.
func TestMiddlewareAnswers(t *testing.T) {
	t.Parallel()
	inner := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/bad" {
			return testkit.Reply(503), nil
		}
		resp := testkit.Reply(200)
		resp.Body = io.NopCloser(strings.NewReader(fmt.Sprintf("%q", req.URL.Query().Get("n"))))
		return resp, nil
	})
	text := func(status int, s string) *http.Response {
		resp := testkit.Reply(status)
		resp.Body = io.NopCloser(strings.NewReader(s))
		return resp
	}
	for name, c := range map[string]struct {
		path string
		mw   func(next http.RoundTripper, req *http.Request) (*http.Response, error)
		want string
		is   error
	}{
		"a fallback": {"/bad", func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil && resp.StatusCode == 503 {
				_ = resp.Body.Close()
				return text(200, `"kept"`), nil
			}
			return resp, err
		}, "kept", nil},
		"its own failure": {
			"/", func(http.RoundTripper, *http.Request) (*http.Response, error) { return text(503, "{}"), nil },
			"", belay.ErrTransient,
		},
		"another body": {"/", func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
				resp.Body = io.NopCloser(strings.NewReader(`"plain"`))
			}
			return resp, err
		}, "plain", nil},
		"the first of two at once": {"/", func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
			answers := make([]*http.Response, 2)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					clone := req.Clone(req.Context())
					clone.URL.RawQuery = fmt.Sprint("n=", i)
					answers[i], _ = next.RoundTrip(clone)
				})
			}
			wg.Wait()
			_ = answers[1].Body.Close()
			return answers[0], nil
		}, "0", nil},
		"an error of its own": {
			"/", func(http.RoundTripper, *http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED },
			"", belay.ErrTransient,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(
				t,
				inner,
				belay.WithTimeout(time.Minute),
				belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
				belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
					return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) { return c.mw(next, req) })
				}),
			)
			got, err := belay.Get[string](t.Context(), client, c.path)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			req, err := client.NewRequest(t.Context(), http.MethodGet, c.path, nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%q", c.want), string(data))
			require.NoError(t, resp.Body.Close())
		})
	}
}

// The policies alone, around any transport, in any order.
func TestWraps(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "all", func(t *testing.T) {
		p := belaytest.New(belaytest.Config{
			Limits: []belaytest.Limit{
				belaytest.Sliding(10, time.Second),
			}, ErrorRate: 0.1, ResetRate: 0.1, Latency: time.Millisecond, Seed: 3,
			Outages: []belaytest.Outage{{From: 5 * time.Second, For: 2 * time.Second, Kind: belaytest.Refuse}},
		})
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
		require.NoError(t, err)
		limiter, err := belay.NewLimiter(belay.PerSecond(10))
		require.NoError(t, err)
		hc := &http.Client{
			Transport: belay.Chain(
				p,
				belay.RetryPolicy{MaxAttempts: 8, BaseDelay: time.Second}.Wrap,
				breaker.Wrap,
				limiter.Wrap,
			),
		}
		failed := testkit.Work(4, 200, func(int) error {
			resp, err := hc.Get("https://partner.test/")
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				err = resp.Body.Close()
			}
			return err
		})
		require.Zero(t, p.Count(429))
		for _, err := range failed {
			require.ErrorIs(t, err, belay.ErrCircuitOpen, "only the outage itself may lose calls without patience")
		}
	})
	testkit.Bubble(t, "breaker", func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
		require.NoError(t, err)
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(500), nil })
		hc := &http.Client{Transport: breaker.Wrap(rt)}
		resp, err := hc.Get("https://partner.test/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		_, err = hc.Get("https://partner.test/")
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, time.Second, e.RetryAfter)
	})
}

// lists is a context that cannot be compared.
type lists struct {
	context.Context
	_ []int
}

func TestContextsNeedNotBeComparable(t *testing.T) {
	t.Parallel()
	through := func(next http.RoundTripper) http.RoundTripper { return next }
	c := newClient(
		t,
		testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil }),
		belay.WithCallMiddleware(through),
		belay.WithAuth(belay.Bearer(belay.NewSecret("a token"))),
	)
	require.NoError(t, get(lists{Context: t.Context()}, c, "/"))
}
