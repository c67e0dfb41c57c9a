package belay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Whatever happens at random (failures by host, route and integration of every kind, hangs, refusals, panics of the
// transport and of authenticators, limits that change, priorities, cancels, deadlines in the past), every call ends,
// and once the partner is well nothing is held: no place in flight, no waiter, no circuit, no goroutine.
func TestModelOfTrouble(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) { model(t, seed) })
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}

func model(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	rnd := func(k int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(k) }
	healthy := false
	badRoute := map[string]bool{}
	allBad := false
	mode := 0
	seen := map[string]int{} // writes
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		d := time.Duration(rnd(200)) * time.Millisecond
		select {
		case <-time.After(d):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		mu.Lock()
		bad := !healthy && (allBad || badRoute[req.URL.Path] || badRoute[req.URL.Host] || badRoute[req.Header.Get("I")])
		m := mode
		if id := req.Header.Get("W"); id != "" {
			seen[id]++
		}
		if !healthy && r.IntN(30) == 0 {
			mu.Unlock()
			panic("transport")
		}
		mu.Unlock()
		if bad {
			switch m {
			case 0:
				return testkit.Reply(500), nil
			case 1:
				return testkit.Reply(503, "Retry-After", strconv.Itoa(1+rnd(20))), nil
			case 2:
				return nil, errors.New("refused")
			case 3:
				<-req.Context().Done()
				return nil, req.Context().Err()
			default:
				return testkit.Reply(429, "Retry-After", strconv.Itoa(1+rnd(5))), nil
			}
		}
		return testkit.Reply(200), nil
	})
	opts := []belay.Option{
		belay.WithBreakerPolicy(belay.BreakerPolicy{Failures: 1 + r.IntN(4), Probes: 1 + r.IntN(3)}),
		belay.WithAttemptTimeout(time.Duration(1+r.IntN(5)) * time.Second),
		belay.WithMaxInFlight(1 + r.IntN(6)),
	}
	if r.IntN(3) == 0 {
		opts = append(opts, belay.WithMaxQueue(1+r.IntN(20)))
	}
	lim, err := belay.NewLimiter(belay.PerSecond(1 + r.IntN(50)))
	if err != nil {
		t.Fatal(err)
	}
	if r.IntN(2) == 0 {
		opts = append(opts, belay.WithLimiter(lim))
	}
	if r.IntN(3) == 0 {
		opts = append(opts, belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return testkit.RoundTrip(func(q *http.Request) (*http.Response, error) {
				time.Sleep(time.Duration(rnd(10)) * time.Millisecond)
				return next.RoundTrip(q)
			})
		}))
	}
	root := newClient(t, rt, opts...)
	var cs []*belay.Client
	cs = append(cs, root)
	for i := range 3 {
		name := fmt.Sprint("i", i)
		o := []belay.Option{belay.WithIntegration(name), belay.WithHeader("I", name)}
		if r.IntN(3) == 0 {
			o = append(o, belay.WithRateLimit(belay.PerSecond(1+r.IntN(5))))
		}
		if r.IntN(3) == 0 {
			o = append(o, belay.WithBaseURL("https://other.test"))
		}
		if r.IntN(3) == 0 {
			o = append(o, belay.WithMaxInFlight(1+r.IntN(2)))
		}
		if r.IntN(3) == 0 {
			o = append(o, belay.WithAuth(authFunc(func(ctx context.Context) (belay.Credential, error) {
				mu.Lock()
				ok := healthy
				mu.Unlock()
				switch k := rnd(20); {
				case ok:
				case k == 0:
					panic("auth")
				case k == 1:
					return nil, errors.New("no token")
				case k < 6:
					time.Sleep(time.Duration(k) * time.Second)
				}
				return belay.Bearer(belay.NewSecret("secret-token")).Credential(ctx)
			})))
		}
		c, err := root.With(o...)
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	var wg sync.WaitGroup
	done, total := 0, 0
	call := func(k int) {
		c := cs[rnd(len(cs))]
		route := "/r" + string(rune('a'+rnd(3)))
		ctx, cancel := context.WithCancel(t.Context())
		if rnd(3) == 0 {
			ctx, cancel = context.WithTimeout(t.Context(), time.Duration(rnd(20000)-100)*time.Millisecond)
		}
		defer cancel()
		if rnd(4) == 0 {
			time.AfterFunc(time.Duration(rnd(10000))*time.Millisecond, cancel)
		}
		o := []belay.CallOption{[]belay.Priority{belay.Low, belay.Normal, belay.High}[rnd(3)]}
		if rnd(2) == 0 {
			o = append(o, belay.Patience(time.Duration(1+rnd(600))*time.Second))
		}
		if rnd(5) == 0 {
			o = append(o, belay.MaxAttempts(1))
		}
		defer func() {
			_ = recover()
			mu.Lock()
			done++
			mu.Unlock()
		}()
		if rnd(3) == 0 {
			_ = post(ctx, c, route, append(o, belay.Header("W", fmt.Sprint(k)))...)
		} else {
			_ = get(ctx, c, route, o...)
		}
	}
	for range 4 + r.IntN(10) {
		mu.Lock()
		mode = r.IntN(5)
		allBad = r.IntN(3) == 0
		for _, k := range []string{"/ra", "/rb", "/rc", "i0", "i1", "i2", "partner.test", "other.test"} {
			badRoute[k] = r.IntN(4) == 0
		}
		mu.Unlock()
		for range rnd(25) {
			total++
			k := total
			wg.Go(func() { call(k) })
		}
		if rnd(4) == 0 {
			if err := root.Limiter().SetLimits(belay.PerSecond(1 + rnd(40))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(rnd(5000)) * time.Millisecond)
	}
	mu.Lock()
	healthy = true
	mu.Unlock()
	_ = root.Limiter().SetLimits(belay.PerSecond(100))
	time.Sleep(40 * time.Minute)
	mu.Lock()
	d := done
	mu.Unlock()
	if d != total {
		t.Fatalf("seed %d: %d of %d ended; %+v", seed, d, total, root.Health())
	}
	for range 3 {
		for _, c := range cs {
			for _, p := range []string{"/ra", "/rb", "/rc"} {
				if err := get(t.Context(), c, p, belay.Patience(time.Hour)); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				if err := post(t.Context(), c, p, belay.Patience(time.Hour)); err != nil {
					t.Errorf("seed %d: post %v", seed, err)
				}
			}
		}
		time.Sleep(10 * time.Second)
	}
	synctest.Wait()
	for _, c := range cs {
		h := c.Health()
		st := c.Limiter().Status()
		if len(h.Circuits) > 0 {
			t.Errorf("seed %d: circuits %+v", seed, h.Circuits)
		}
		if st.Waiting != 0 {
			t.Errorf("seed %d: waiting %+v", seed, st)
		}
		time.Sleep(2 * time.Second)
		st = c.Limiter().Status()
		for _, l := range st.Limits {
			if l.Used != 0 && strings.Contains(l.Limit, "in flight") {
				t.Errorf("seed %d: used %+v", seed, l)
			}
		}
	}
	wg.Wait()
}
