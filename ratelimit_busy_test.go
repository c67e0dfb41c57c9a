package belay_test

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// leaky is a partner behind nginx's limit_req: rate a second, with a burst; what comes faster gets a plain 503.
type leaky struct {
	rate, burst float64

	mu            sync.Mutex
	excess        float64
	last          time.Time
	sent, refused int
}

func (p *leaky) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(10 * time.Millisecond)
	p.mu.Lock()
	now := time.Now()
	p.excess = max(0, p.excess-now.Sub(p.last).Seconds()*p.rate)
	p.last = now
	status := 200
	if p.sent++; p.excess > p.burst {
		status = 503
		p.refused++
	} else {
		p.excess++
	}
	p.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	return testkit.Reply(status), nil
}

// A 503 that comes with the pace and goes with it is learned from like a 429.
func TestPlain503ForCallsTooFast(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{10, 20} {
		testkit.Bubble(t, "", func(t *testing.T) {
			p := &leaky{rate: rate, burst: 5}
			c := newClient(t, p)
			began := time.Now()
			n := int(rate * 120)
			failed := testkit.Work(8, n, func(int) error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
			require.True(t, len(failed) == 0, "%d failed", len(failed))
			t.Logf("%.0f/s: %d of %d refused, %.2f times the optimum", rate, p.refused, p.sent,
				time.Since(began).Seconds()/120)
			require.LessOrEqual(t, float64(p.refused), 0.08*float64(p.sent))
			require.Less(t, time.Since(began), 4*time.Minute)
		})
	}
}

// So it is for a customer's own host, whose calls have a credential.
func TestPlain503OfACustomersHost(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		p := &leaky{rate: 20, burst: 5}
		c, err := newClient(t, p).With(belay.WithBaseURL("https://acme.partner.test"), belay.WithIntegration("acme"),
			belay.WithAuth(belay.Bearer(belay.NewSecret("token"))))
		require.NoError(t, err)
		began := time.Now()
		failed := testkit.Work(8, 2400, func(int) error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
		require.True(t, len(failed) == 0, "%d failed", len(failed))
		t.Logf("%d of %d refused, %.2f times the optimum", p.refused, p.sent, time.Since(began).Seconds()/120)
		require.LessOrEqual(t, float64(p.refused), 0.08*float64(p.sent))
		require.Less(t, time.Since(began), 4*time.Minute)
	})
}

// Failures at random, which do not follow the pace, slow calls down for a while at most.
func Test503sAtRandom(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if rng.IntN(20) == 0 {
				return testkit.Reply(503), nil
			}
			return testkit.Reply(200), nil
		})
		took := func(opts ...belay.Option) time.Duration {
			c := newClient(t, rt, opts...)
			began := time.Now()
			require.Empty(t, testkit.Work(8, 40_000, func(int) error {
				return get(t.Context(), c, "/", belay.Patience(time.Hour))
			}))
			return time.Since(began)
		}
		off := took(belay.WithAdaptiveLimit(belay.AdaptivePolicy{Off: true}))
		on := took()
		t.Log(off, on)
		require.Less(t, on, off+2*time.Minute)
	})
}
