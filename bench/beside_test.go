//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay"
)

// instant answers the calls to healthy hosts at once, and the others as hosts does.
type instant struct{ hosts }

func (h *instant) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Host, "ok") {
		return stub{}.RoundTrip(req)
	}
	return h.hosts.RoundTrip(req)
}

// neighborhood is a partner with a host for each of a thousand integrations, of which 300 may be in trouble.
type neighborhood struct {
	healthy []*belay.Client
	next    int
	cancel  context.CancelFunc
	wait    sync.WaitGroup
}

func newNeighborhood(t *testing.T, troubled bool) *neighborhood {
	t.Helper()
	c, err := belay.New("https://partner.test", belay.WithTransport(&instant{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &neighborhood{cancel: cancel}
	t.Cleanup(k.close)
	for n := range integrations {
		host := fmt.Sprintf("https://h%d.example", n)
		if healthy(n) {
			host = fmt.Sprintf("https://ok%d.example", n)
		}
		mine, err := c.With(belay.WithBaseURL(host), belay.WithIntegration(fmt.Sprint(n)))
		switch {
		case err != nil:
			t.Fatal(err)
		case healthy(n):
			k.healthy = append(k.healthy, mine)
		case troubled: // some calls each, which wait, try and hang for as long as the measurement takes
			for range 4 {
				k.wait.Go(func() {
					for ctx.Err() == nil {
						ctx, cancel := context.WithTimeout(ctx, callDeadline)
						_, _ = belay.Get[belay.None](ctx, mine, "/things", belay.Patience(callDeadline))
						<-ctx.Done()
						cancel()
					}
				})
			}
		}
	}
	if !troubled {
		return k
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		open := 0
		for _, s := range c.Health().Circuits {
			if s.State != belay.BreakerClosed {
				open++
			}
		}
		if open >= 100 { // the dead
			return k
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("only %d circuits are open after a minute", open)
		}
	}
}

func (k *neighborhood) close() {
	k.cancel()
	k.wait.Wait()
}

// calls makes calls to the healthy hosts in turn, and returns the processor time of each.
func (k *neighborhood) calls(t *testing.T, n int) float64 {
	cpu := cpuTime()
	for range n {
		if _, err := belay.Get[belay.None](t.Context(), k.healthy[k.next], "/things"); err != nil {
			t.Fatal(err)
		}
		k.next = (k.next + 1) % len(k.healthy)
	}
	return float64(cpuTime()-cpu) / float64(n)
}

// With -v it prints the processor time of a call to a healthy host, beside 300 hosts in trouble and without them. What
// the calls to those cost in the same time is part of it.
func TestBesideTrouble(t *testing.T) {
	rounds, calls := 15, 20_000
	if testing.Short() {
		rounds, calls = 3, 2_000
	}
	measure := func(k *neighborhood, rounds int) (each []float64) {
		k.calls(t, calls/10)
		for range rounds {
			each = append(each, k.calls(t, calls))
		}
		return each
	}
	for _, heap := range heaps {
		keep := heap.make()
		alone := newNeighborhood(t, false)
		before := measure(alone, rounds)
		beside := newNeighborhood(t, true)
		with := measure(beside, 2*rounds)
		began, cpu := time.Now(), cpuTime()
		time.Sleep(2 * time.Second)
		own := float64(cpuTime()-cpu) / float64(time.Since(began)) * 100
		beside.close()
		a, b := median(with)/1000, median(append(before, measure(alone, rounds)...))/1000
		keep()
		t.Logf("thousand: %s, call to a healthy host: %.2f µs beside 300 in trouble, %.2f µs alone, %.2f times; "+
			"the others use %.1f %% of a processor", heap.name, a, b, a/b, own)
	}
}
