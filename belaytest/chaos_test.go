package belaytest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

// A client lives through all that Chaos does, in virtual time: calls succeed in the end, and no write is done twice.
func TestChaos(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, seed uint64) (f belaytest.Faults, failed int) {
		synctest.Test(t, func(t *testing.T) {
			p := belaytest.New(belaytest.Config{HonourKeys: true, Latency: time.Millisecond, Seed: 1})
			rt := belaytest.Chaos{
				Real: p, Seed: seed, Timeouts: 0.03, Errors: 0.05, Limited: 0.03, Refused: 0.05, Resets: 0.05, Slow: 0.05, Truncated: 0.05, Garbage: 0.02,
			}.Open(t)
			c, err := belay.New("https://partner.test", belay.WithTransport(rt), belay.WithIdempotencyKeys(""), belay.WithAttemptTimeout(5*time.Second),
				belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1000}))
			require.NoError(t, err)
			for i := range 300 {
				_, err := belay.Post[map[string]any](t.Context(), c, "/things", map[string]int{"n": i})
				if err != nil {
					failed++
					require.True(t, errors.Is(err, belay.ErrData) || errors.Is(err, belay.ErrUnavailable), err)
				}
			}
			f = rt.Faults()
			require.Zero(t, p.WrittenTwice())
		})
		return f, failed
	}
	f, failed := run(t, 7)
	require.Less(t, failed, 15, "of 300")
	for _, name := range []string{"Timeouts", "Errors", "Limited", "Refused", "Resets", "Slow", "Truncated", "Garbage"} {
		require.Positive(t, f.Count[name], name)
	}
	again, _ := run(t, 7)
	require.Equal(t, f, again, "the same seed is the same trouble")
	other, _ := run(t, 8)
	require.NotEqual(t, f.Count, other.Count)
}

// Each fault is what it says.
func TestChaosFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg   belaytest.Chaos
		class belay.Class
		wait  time.Duration
		calls int // that have reached the partner
	}{
		"Timeouts":  {belaytest.Chaos{Timeouts: 1}, belay.ClassTransient, 0, 1},
		"Errors":    {belaytest.Chaos{Errors: 1}, belay.ClassTransient, 0, 0},
		"Limited":   {belaytest.Chaos{Limited: 1, Wait: 1500 * time.Millisecond}, belay.ClassRateLimited, 2 * time.Second, 0},
		"Refused":   {belaytest.Chaos{Refused: 1}, belay.ClassTransient, 0, 0},
		"Resets":    {belaytest.Chaos{Resets: 1}, belay.ClassTransient, 0, 1},
		"Slow":      {belaytest.Chaos{Slow: 1, Delay: time.Second}, belay.ClassOK, 0, 1},
		"Truncated": {belaytest.Chaos{Truncated: 1}, belay.ClassTransient, 0, 1},
		"Garbage":   {belaytest.Chaos{Garbage: 1}, belay.ClassData, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := belaytest.New(belaytest.Config{})
				c.cfg.Real = p
				client, err := belay.New("https://partner.test", belay.WithTransport(c.cfg.Open(t)), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}))
				require.NoError(t, err)
				began := time.Now()
				_, err = belay.Get[map[string]any](t.Context(), client, "/x")
				var e *belay.Error
				if errors.As(err, &e) {
					require.Equal(t, c.class, e.Class)
					require.Equal(t, c.wait, e.RetryAfter)
				} else {
					require.NoError(t, err)
					require.Equal(t, belay.ClassOK, c.class)
					require.Equal(t, c.cfg.Delay, time.Since(began))
				}
				require.Len(t, p.Log(), c.calls)
			})
		})
	}
}

// Production is not called by accident, and rates that make no sense fail the test.
func TestChaosBadInput(t *testing.T) {
	t.Parallel()
	real := func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
	rt := belaytest.Chaos{Real: roundTripFunc(real), Hosts: []string{"sandbox.partner.com"}}.Open(t)
	for url, allowed := range map[string]bool{
		"https://api.partner.com/": false, "https://Sandbox.partner.com:8443/": true, "http://127.0.0.1:8080/": true, "http://[::1]/": true,
		"http://localhost/": true, "https://x.test/": true, "https://evil.com/?x=sandbox.partner.com": false, "https://sandbox.partner.com.evil.com/": false,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := rt.RoundTrip(req)
		require.Equal(t, allowed, err == nil, url)
		if err == nil {
			_ = resp.Body.Close()
		} else {
			require.Contains(t, err.Error(), "Hosts")
		}
	}
	for want, c := range map[string]belaytest.Chaos{
		"Chaos.Errors is -0.1": {Errors: -0.1}, "Chaos.Slow is 2": {Slow: 2}, "1.2 together": {Slow: 0.6, Resets: 0.6}, "Wait is -1ns": {Wait: -1},
	} {
		f := &fatal{TB: t}
		func() {
			defer func() { _ = recover() }()
			c.Open(f)
		}()
		require.Contains(t, f.text, want)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// fatal is a test that notes what ends it.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = strings.TrimSpace(fmt.Sprintf(format, args...))
	panic(f.text)
}

func (f *fatal) Helper() {}
