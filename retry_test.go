package belay_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

func TestRetries(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "a refusal later returns the answer before it", func(t *testing.T) {
		on := true
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			on = false
			return testkit.Reply(503), nil
		})
		c := newClient(t, rt, belay.WithEnabled(func() bool { return on }))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrDisabled)
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorContains(t, err, "503")
		on = true
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.Equal(t, 503, resp.StatusCode)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "{}", string(data))
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "the circuit that opens meanwhile is named beside the failure", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return nil, io.EOF })
		c := newClient(t, rt, belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 2, Cooldown: 10 * time.Second}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		require.ErrorIs(t, err, belay.ErrCircuitOpen)
		require.ErrorIs(t, err, io.EOF)
		require.Len(t, rt.Log, 2)
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.Greater(t, wait, 3*time.Second)
	})
	testkit.Bubble(t, "a cancel in backoff keeps the cause", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			return testkit.Reply(503, "Retry-After", "30", "X-Request-Id", "req_7"), nil
		})
		c := newClient(t, rt)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		call := testkit.After(0, func() error { return get(ctx, c, "/") })
		time.Sleep(time.Second)
		cancel(why)
		took, err := call()
		require.Equal(t, time.Second, took)
		require.ErrorIs(t, err, why)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, belay.ClassCanceled, e.Class)
		require.Equal(t, "req_7", e.RequestID)
		require.Equal(t, 503, e.StatusCode)
	})
	testkit.Bubble(t, "the budget ends retries, and successes fill it again", func(t *testing.T) {
		fail := true
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			if fail {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		budget := belay.NewRetryBudget(10)
		c := newClient(t, rt, belay.Without(belay.LayerBreaker), belay.WithRetry(belay.RetryPolicy{Budget: budget}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrRetryBudget)
		require.ErrorIs(t, err, belay.ErrTransient)
		require.Len(t, rt.Log, 3)
		require.Zero(t, budget.Tokens())
		fail = false
		for range 4 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		require.Equal(t, 4, budget.Tokens())
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "RetryIf narrows, and never sends a write twice", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(404), nil })
		c := newClient(
			t,
			rt,
			belay.WithRetry(
				belay.RetryPolicy{RetryIf: func(a *belay.Attempt, v belay.Verdict) bool { return a.Response.StatusCode == 404 }},
			),
		)
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrNotFound)
		require.Len(t, rt.Log, 4)
		require.ErrorIs(t, post(t.Context(), c, "/"), belay.ErrNotFound)
		require.Len(t, rt.Log, 5)
		require.Error(t, post(t.Context(), c, "/", belay.Idempotent()))
		require.Len(t, rt.Log, 9)
	})
	testkit.Bubble(t, "a key lets a write be sent again, with one key", func(t *testing.T) {
		var keys []string
		rt := testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
			keys = append(keys, req.Header.Get("X-Idem")+req.Header.Get("Idempotency-Key"))
			return testkit.Reply(500), nil
		})
		c := newClient(t, rt, belay.Without(belay.LayerBreaker))
		_ = post(t.Context(), c, "/", belay.IdempotencyKey("k1"))
		require.Equal(t, []string{"k1", "k1", "k1", "k1"}, keys)
		keyed, err := c.With(belay.WithIdempotencyKeys("x-idem"))
		require.NoError(t, err)
		keys = nil
		_ = post(t.Context(), keyed, "/", belay.IdempotencyKey("k2"), belay.MaxAttempts(2))
		_ = get(t.Context(), keyed, "/", belay.MaxAttempts(1))
		require.Equal(t, []string{"k2", "k2", ""}, keys)
	})
	testkit.Bubble(t, "a patient probe spends no attempt", func(t *testing.T) {
		rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
			if n < 12 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		budget := belay.NewRetryBudget(20)
		c := newClient(
			t,
			rt,
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, Budget: budget}),
			belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1}),
		)
		var info belay.Info
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(time.Hour), belay.Into(&info)))
		require.Equal(t, 12, info.Attempts)
		require.Greater(t, info.Waited, 5*time.Second)
	})
	testkit.Bubble(t, "a skewed clock changes nothing", func(t *testing.T) {
		for _, skew := range []time.Duration{-time.Hour, 3 * time.Second, time.Hour} {
			p := belaytest.New(
				belaytest.Config{
					Limits: []belaytest.Limit{belaytest.Fixed(1, 10*time.Second)},
					Tell:   belaytest.TellDate,
					Skew:   skew,
				},
			)
			c := newClient(t, p)
			require.NoError(t, get(t.Context(), c, "/"))
			took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
			require.NoError(t, err)
			require.InDelta(t, 10, took.Seconds(), 1.1, "to the second")
			require.Empty(t, p.TooEarly())
		}
	})
}

// Patience outlives an outage that is too quiet to open the circuit.
func TestPatienceAtLowTraffic(t *testing.T) {
	t.Parallel()
	for _, kind := range []belaytest.Kind{belaytest.Unavailable, belaytest.Refuse, belaytest.Reset} {
		synctest.Test(t, func(t *testing.T) {
			p := belaytest.New(belaytest.Config{Outages: []belaytest.Outage{{For: 30 * time.Second, Kind: kind}}})
			c := newClient(t, p)
			require.NoError(t, get(t.Context(), c, "/", belay.Patience(2*time.Minute)))
			require.LessOrEqual(t, len(p.Log()), map[belaytest.Kind]int{belaytest.Refuse: 40}[kind]+26)
			require.GreaterOrEqual(t, p.Log()[len(p.Log())-1].At.Sub(p.Log()[0].At), 30*time.Second)
		})
	}
}

// A broken transport does not make a write unsafe, nor does an earlier answer stand in a later error.
func TestOneAttemptsTroubleStaysItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return nil, nil })
		c := newClient(
			t,
			rt,
			belay.WithRetry(belay.RetryPolicy{RetryIf: func(*belay.Attempt, belay.Verdict) bool { return true }}),
		)
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

// The backoff is drawn evenly below a bound that doubles up to MaxDelay.
func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const calls = 300
		sums := make([]time.Duration, 6)
		most := make([]time.Duration, 6)
		for range calls {
			var last time.Time
			n := 0
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if n > 0 {
					wait := time.Since(last)
					sums[n] += wait
					most[n] = max(most[n], wait)
				}
				n++
				last = time.Now()
				return nil, context.DeadlineExceeded
			})
			c := newClient(
				t,
				rt,
				belay.Without(belay.LayerBreaker),
				belay.WithRetry(belay.RetryPolicy{MaxAttempts: 6, BaseDelay: time.Second, MaxDelay: 4 * time.Second}),
			)
			_, err := belay.Get[belay.None](t.Context(), c, "/")
			require.ErrorIs(t, err, belay.ErrTransient)
		}
		for i, bound := range []time.Duration{1, 2, 4, 4, 4} {
			bound *= time.Second
			require.LessOrEqual(t, most[i+1], bound)
			require.Greater(t, most[i+1], bound*9/10)
			require.InDelta(t, bound.Seconds()/2, (sums[i+1] / calls).Seconds(), bound.Seconds()/8, "evenly")
		}
	})
}

// What a retry cost comes back with its success; a first-try success adds one.
func TestBudgetComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if n++; n == 1 || n == 2 {
				return testkit.Reply(500), nil
			}
			return testkit.Reply(200), nil
		})
		b := belay.NewRetryBudget(100)
		c := newClient(t, rt, belay.WithRetry(belay.RetryPolicy{Budget: b}))
		_, err := belay.Get[belay.None](t.Context(), c, "/")
		require.NoError(t, err)
		require.Equal(t, 95, b.Tokens(), "the last retry's five came back, the first one's did not")
		_, err = belay.Get[belay.None](t.Context(), c, "/")
		require.NoError(t, err)
		require.Equal(t, 96, b.Tokens())
	})
}

// ReadOnly lets a search by POST be retried.
func TestReadOnlyIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) { n++; return testkit.Reply(503), nil })
		c := newClient(t, rt, belay.Without(belay.LayerBreaker))
		_, err := belay.Post[belay.None](t.Context(), c, "/search", belay.None{}, belay.ReadOnly())
		require.ErrorIs(t, err, belay.ErrTransient)
		require.Equal(t, 4, n)
	})
}
