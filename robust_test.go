package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// Patience outlives an outage that is too quiet to open the circuit.
func TestPatienceAtLowTraffic(t *testing.T) {
	t.Parallel()
	for _, kind := range []belaytest.Kind{belaytest.Unavailable, belaytest.Refuse, belaytest.Reset} {
		synctest.Test(t, func(t *testing.T) {
			p := belaytest.New(belaytest.Config{Outages: []belaytest.Outage{{For: 30 * time.Second, Kind: kind}}})
			c := newClient(t, p)
			require.NoError(t, get(t.Context(), c, "/", belay.Patience(2*time.Minute)))
			require.Less(t, len(p.Log()), 12)
			require.GreaterOrEqual(t, p.Log()[len(p.Log())-1].At.Sub(p.Log()[0].At), 30*time.Second)
		})
	}
}

// A policy that wraps a transport by itself has no origin to keep a credential for.
func TestWrapSendsNoCredential(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("Authorization")+req.Header.Get("X-Secret"))
		return stub{}.RoundTrip(req)
	})
	hc := &http.Client{Transport: belay.Chain(rt, belay.RetryPolicy{}.Wrap)}
	ctx := belay.CallContext(t.Context(), belay.Auth(belay.Bearer(belay.NewSecret("token"))), belay.Header("X-Secret", "s"))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://anywhere.test/", nil)
	require.NoError(t, err)
	resp, err := hc.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, []string{""}, got)
}

// A partner that says the query back in a redirect does not take a query credential elsewhere.
func TestRedirectThatEchoesTheQuery(t *testing.T) {
	t.Parallel()
	var urls []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		urls = append(urls, req.URL.String())
		if len(urls) == 1 {
			return testkit.Reply(302, "Location", "https://other.test"+req.URL.RequestURI()), nil
		}
		return testkit.Reply(200), nil
	})
	c := newClient(t, rt, belay.WithAuth(belay.APIKeyQuery("api_key", belay.NewSecret("s3cr3t"))), belay.WithRedirects(belay.RedirectAny))
	require.NoError(t, get(t.Context(), c, "/x", belay.Query("q", "1")))
	require.Equal(t, []string{"https://partner.test/x?q=1&api_key=s3cr3t", "https://other.test/x?q=1"}, urls)
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

// A secret that a long message would cut in two is not shown in part.
func TestEchoCutInTwo(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		resp := testkit.Reply(400)
		resp.Body = io.NopCloser(strings.NewReader(`{"message":"` + strings.Repeat("x", 290) + req.Header.Get("X-Api-Key") + `"}`))
		return resp, nil
	})
	c := newClient(t, rt, belay.WithAuth(belay.APIKey("X-Api-Key", belay.NewSecret("s3cr3t-token-abcdefgh"))))
	require.NotContains(t, get(t.Context(), c, "/").Error(), "s3cr3t")
}

type authFunc func(context.Context) (belay.Credential, error)

func (f authFunc) Credential(ctx context.Context) (belay.Credential, error) { return f(ctx) }

// An authenticator of a type that can be compared may hold what cannot.
func TestAuthenticatorThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	type named struct {
		belay.Authenticator
		name string
	}
	inner := authFunc(func(ctx context.Context) (belay.Credential, error) {
		return belay.Bearer(belay.NewSecret("token")).Credential(ctx)
	})
	synctest.Test(t, func(t *testing.T) {
		p := belaytest.New(belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(1, time.Second)}, Latency: time.Millisecond})
		c := newClient(t, p, belay.WithMaxInFlight(1), belay.WithAuth(named{inner, "a"}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 100}))
		require.Empty(t, testkit.Work(2, 6, func(int) error { return get(t.Context(), c, "/") }))
	})
}

// A fixed window recovers from calls that were answered after its end.
func TestFixedWindowRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			time.Sleep(150 * time.Millisecond)
			return testkit.Reply(200), nil
		})
		c := newClient(t, p, belay.WithRateLimit(belay.Every(5, 100*time.Millisecond).Fixed()), belay.WithMaxInFlight(20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Empty(t, testkit.Work(20, 40, func(int) error { return get(ctx, c, "/") }))
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
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithRateLimit(belay.PerSecond(100).When(func(*http.Request) bool {
				if bad.Load() {
					panic("in When")
				}
				return true
			})))
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
		c := newClient(t, rt, belay.WithBreaker(breaker), belay.WithAuth(sign), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
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
func (f credential) Apply(req *http.Request) error                        { return f(req) }

// Several probes: those that succeeded count towards closing, and nobody spins meanwhile.
func TestSeveralProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			switch {
			case n == 1:
				return testkit.Reply(500), nil
			case n == 3:
				time.Sleep(10 * time.Second)
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1, Probes: 2}), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithRateLimit(belay.PerSecond(1000).When(func(*http.Request) bool { asked++; return true })))
		_ = get(t.Context(), c, "/")
		time.Sleep(6 * time.Second)
		require.NoError(t, get(t.Context(), c, "/"))
		slow := testkit.After(0, func() error { return get(t.Context(), c, "/") })
		parked := testkit.After(time.Second, func() error { return get(t.Context(), c, "/", belay.Patience(time.Minute)) })
		took, err := parked()
		require.NoError(t, err)
		require.Equal(t, 9*time.Second, took)
		_, err = slow()
		require.NoError(t, err)
		require.Less(t, asked, 10)
	})
}

// What the caller got wrong does not count against the partner.
func TestCallersOwnFaults(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { _, _ = io.Copy(io.Discard, req.Body) }))
	defer s.Close()
	breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
	require.NoError(t, err)
	c, err := belay.New(s.URL, belay.WithBreaker(breaker))
	require.NoError(t, err)
	defer c.Close()
	req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	req.Header.Set("X-Note", "a\nb")
	var e *belay.Error
	_, err = c.Do(req)
	require.ErrorAs(t, err, &e)
	require.Equal(t, belay.ClassClient, e.Class)
	for name, body := range map[string]belay.Body{
		"fails": belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) { return io.NopCloser(&failingReader{}), nil }),
		"short": belay.StreamBody("text/plain", 100, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }),
	} {
		_, err := belay.Put[belay.None](t.Context(), c, "/", body)
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, belay.ClassClient, e.Class, "%s: %v", name, err)
		require.Equal(t, 1, e.Attempts, name)
	}
	state, _ := breaker.State()
	require.Equal(t, belay.BreakerClosed, state)
}

type failingReader struct{ n int }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.n++; r.n > 1 {
		return 0, errors.New("disk on fire")
	}
	return copy(p, "begin"), nil
}

// One customer's pause or queue does not make another's call fail for want of time.
func TestNoisyNeighbour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") == "Bearer token of a" {
				return testkit.Reply(429, "Retry-After", "30"), nil
			}
			return testkit.Reply(200), nil
		})
		root := newClient(t, rt, belay.WithRateLimit(belay.PerSecond(10)))
		a, err := root.With(belay.WithAuth(belay.Bearer(belay.NewSecret("token of a"))))
		require.NoError(t, err)
		b, err := root.With(belay.WithAuth(belay.Bearer(belay.NewSecret("token of b"))))
		require.NoError(t, err)
		slow, err := root.With(belay.WithRateLimit(belay.PerMinute(1)))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		_ = get(ctx, a, "/", belay.MaxAttempts(1))
		for range 200 {
			wg.Go(func() { _ = get(ctx, a, "/") })
			wg.Go(func() { _ = get(ctx, slow, "/") })
		}
		time.Sleep(2 * time.Second)
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		require.NoError(t, get(short, b, "/"))
		cancel()
		wg.Wait()
	})
}

// Those who wait already are turned away by a pause that is too long, as those who come then are.
func TestPauseTurnsAwayWhoWaits(t *testing.T) {
	t.Parallel()
	for _, scope := range []belay.Scope{belay.ScopePartner, belay.ScopeRoute} {
		synctest.Test(t, func(t *testing.T) {
			rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return testkit.Reply(429, "Retry-After", "3600"), nil
			})
			c := newClient(t, rt, belay.WithMaxInFlight(1), belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
				v := belay.Classify(a)
				v.Scope = scope
				return v
			}))
			first := testkit.After(0, func() error { return get(t.Context(), c, "/a") })
			waiting := testkit.After(time.Millisecond, func() error { return get(t.Context(), c, "/a") })
			patient := testkit.After(2*time.Millisecond, func() error { return get(t.Context(), c, "/a", belay.Patience(2*time.Hour), belay.MaxAttempts(1)) })
			took, err := waiting()
			require.ErrorIs(t, err, belay.ErrWaitTooLong)
			require.Less(t, took, 2*time.Second)
			_, err = first()
			require.ErrorIs(t, err, belay.ErrRateLimited)
			took, err = patient()
			require.ErrorIs(t, err, belay.ErrRateLimited)
			require.Greater(t, took, time.Hour)
		})
	}
}

// Nobody behind a waiter takes from a shared limit what that one needs.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		isBig := func(req *http.Request) bool { return req.Method == http.MethodPut }
		l, err := belay.NewLimiter(belay.PerSecond(4), belay.PerSecond(100).When(isBig))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		small := httptest.NewRequest(http.MethodGet, "/", nil)
		var wg sync.WaitGroup
		for range 8 { // enough small ones to take every permit as it comes
			wg.Go(func() {
				for {
					ticket := belay.Ticket{Request: small}
					if l.Acquire(ctx, &ticket) != nil {
						return
					}
					l.Release(&ticket, belay.Outcome{Sent: true})
				}
			})
		}
		time.Sleep(5 * time.Second)
		start := time.Now()
		big := belay.Ticket{Request: httptest.NewRequest(http.MethodPut, "/", nil), Cost: 4}
		require.NoError(t, l.Acquire(t.Context(), &big))
		require.LessOrEqual(t, time.Since(start), 3*time.Second)
		l.Release(&big, belay.Outcome{Sent: true})
		cancel()
		wg.Wait()
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
		"its own failure": {"/", func(http.RoundTripper, *http.Request) (*http.Response, error) { return text(503, "{}"), nil }, "", belay.ErrTransient},
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
		"an error of its own": {"/", func(http.RoundTripper, *http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }, "", belay.ErrTransient},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, inner, belay.WithTimeout(time.Minute), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}), belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) { return c.mw(next, req) })
			}))
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

// Headers: the caller's key stays, the client's User-Agent and Accept are sent.
func TestHeadersOfCallAndClient(t *testing.T) {
	t.Parallel()
	var got http.Header
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = req.Header.Clone()
		return testkit.Reply(200), nil
	})
	c := newClient(t, rt, belay.WithIdempotencyKeys(""), belay.WithUserAgent("acme/1"), belay.WithHeader("Accept", "application/vnd.acme+json"))
	require.NoError(t, post(t.Context(), c, "/", belay.Header("Idempotency-Key", "order-1")))
	require.Equal(t, "order-1", got.Get("Idempotency-Key"))
	require.Equal(t, "acme/1", got.Get("User-Agent"))
	require.Equal(t, "application/vnd.acme+json", got.Get("Accept"))
	require.NoError(t, post(t.Context(), c, "/"))
	require.Len(t, got.Get("Idempotency-Key"), 36)
}

// Values stay values, whatever else the template holds.
func TestPathValuesStayEscaped(t *testing.T) {
	t.Parallel()
	var got string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = req.URL.RequestURI()
		return testkit.Reply(200), nil
	})
	c := newClient(t, rt)
	for template, want := range map[string]string{
		"/My Lists/{id}":       "/My%20Lists/..%2F..%2Fadmin&x=1",
		"/é/{id}":              "/%C3%A9/..%2F..%2Fadmin&x=1",
		"/search?q={id}":       "/search?q=..%2F..%2Fadmin%26x%3D1",
		"search?u=https://a.b": "/search?u=https://a.b",
	} {
		opts := []belay.CallOption{belay.PathValue("id", "../../admin&x=1")}
		if !strings.Contains(template, "{id}") {
			opts = nil
		}
		require.NoError(t, get(t.Context(), c, template, opts...))
		require.Equal(t, want, got)
	}
	_, err := c.NewRequest(t.Context(), http.MethodGet, "/a/{id}", nil)
	require.ErrorContains(t, err, "template")
}

// A redirect's hops share the total timeout, add up, and keep their verdicts.
func TestRedirectHops(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "loop", func(t *testing.T) {
		c := newClient(t, testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(302, "Location", "/x"), nil }))
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

// A broken transport does not make a write unsafe, nor does an earlier answer stand in a later error.
func TestOneAttemptsTroubleStaysItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return nil, nil })
		c := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{RetryIf: func(*belay.Attempt, belay.Verdict) bool { return true }}))
		require.Error(t, post(t.Context(), c, "/"))
		require.Len(t, rt.Log, 1)

		rt = testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			resp := testkit.Reply(503, "Content-Type", "application/json")
			resp.Body = io.NopCloser(strings.NewReader(`{"message":"old","request_id":"OLD"}`))
			if n == 2 {
				resp = testkit.Reply(200, "Content-Type", "text/html")
				resp.Body = io.NopCloser(strings.NewReader("<html>"))
			}
			return resp, nil
		})
		_, err := belay.Get[map[string]any](t.Context(), newClient(t, rt), "/")
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "<html>", string(e.Body))
		require.Empty(t, e.RequestID)
	})
}

// What the caller gets is what the events tell.
func TestEventsTellWhatTheCallerGets(t *testing.T) {
	t.Parallel()
	var done []belay.CallDone
	see := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if d, ok := e.(belay.CallDone); ok {
			done = append(done, d)
		}
	})
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
		return testkit.Reply(200, "Content-Type", "text/html"), nil
	})
	_, err := belay.Get[[]string](t.Context(), newClient(t, rt, belay.WithObserver(see)), "/")
	require.ErrorIs(t, err, belay.ErrData)
	require.Len(t, done, 1)
	require.Equal(t, belay.ClassData, done[0].Verdict.Class)
	require.ErrorContains(t, done[0].Err, "does not fit")
}

// Clients that share a breaker but not a limiter are all eased in.
func TestSharedBreakerEasesEverybodyIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		breaker, err := belay.NewBreaker(belay.BreakerPolicy{})
		require.NoError(t, err)
		p := belaytest.New(belaytest.Config{Outages: []belaytest.Outage{{From: 20 * time.Second, For: 8 * time.Second}}, Latency: time.Millisecond})
		a, b := newClient(t, p, belay.WithBreaker(breaker)), newClient(t, p, belay.WithBreaker(breaker))
		var wg sync.WaitGroup
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := range 600 {
			<-tick.C
			wg.Go(func() {
				c := a
				if i%2 == 0 {
					c = b
				}
				if err := get(t.Context(), c, "/", belay.Patience(time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, p.Peak(time.Second, 28*time.Second), 22) // two lines, each with its fence post
		log := p.Log()
		require.Less(t, log[len(log)-1].At.Sub(log[0].At), 70*time.Second)
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
	c := newClient(t, testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil }), belay.WithCallMiddleware(through),
		belay.WithAuth(belay.Bearer(belay.NewSecret("a token"))))
	require.NoError(t, get(lists{Context: t.Context()}, c, "/"))
}
