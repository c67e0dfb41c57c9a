//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay"
)

const (
	integrations = 1000
	callEvery    = 10 * time.Second // of each integration
	callDeadline = 10 * time.Second
	tookStep     = 10 * time.Millisecond
)

// hosts are the partner at a thousand hosts. The last digit of a host's number says how it behaves.
type hosts struct {
	last [integrations]atomic.Int64 // when a limited host last took a call
}

func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	var n int
	if _, err := fmt.Sscanf(req.URL.Hostname(), "h%d.example", &n); err != nil {
		return nil, err
	}
	ctx := req.Context()
	status, header := http.StatusOK, http.Header(nil)
	switch {
	case n%10 == 0 && n/10%2 == 0: // dead
		if err := pass(ctx, time.Millisecond); err != nil {
			return nil, err
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case n%10 == 0: // dead in another way
		status = http.StatusServiceUnavailable
	case n%10 == 1: // hangs
		<-ctx.Done()
		return nil, ctx.Err()
	case n%10 == 2: // one call in 20 s
		now := time.Now().UnixNano()
		if last := h.last[n].Load(); last != 0 && now-last < int64(20*time.Second) {
			status, header = http.StatusTooManyRequests, http.Header{"Retry-After": {"5"}}
		} else {
			h.last[n].Store(now)
		}
	}
	if err := pass(ctx, 100*time.Millisecond); err != nil {
		return nil, err
	}
	return reply(req, status, header), nil
}

func healthy(n int) bool { return n%10 > 2 }

// thousand is one way to run a thousand integrations.
type thousand struct {
	name        string
	options     []belay.Option
	integration func(n int) []belay.Option // options of each, besides base URL and name
	onlyHealthy bool
}

// hourOutcome is the outcome of a run.
type hourOutcome struct {
	calls, healthy, completed int
	median, slow              time.Duration // of the calls that completed; slow is the 99th percentile
	early, late               uint64        // bytes of heap in use after 5 minutes, and at the end
	cpu                       time.Duration
}

func (v thousand) run(t *testing.T, lasts time.Duration) (k hourOutcome) {
	c, err := belay.New("https://partner.test", append(v.options, belay.WithTransport(&hosts{}))...)
	if err != nil {
		t.Fatal(err)
	}
	began, cpu := time.Now(), cpuTime()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var took [callDeadline/tookStep + 1]int // the calls that completed, by how long they took
	for n := range integrations {
		if v.onlyHealthy && !healthy(n) {
			continue
		}
		opts := []belay.Option{
			belay.WithBaseURL(fmt.Sprintf("https://h%d.example", n)), belay.WithIntegration(fmt.Sprint(n)),
		}
		if v.integration != nil {
			opts = append(opts, v.integration(n)...)
		}
		mine, err := c.With(opts...)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			first := began.Add(callEvery * time.Duration(n) / integrations)
			for at := first; at.Sub(began) < lasts; at = at.Add(callEvery) {
				time.Sleep(time.Until(at))
				started := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), callDeadline)
				_, err := belay.Get[belay.None](ctx, mine, "/things")
				cancel()
				mu.Lock()
				if k.calls++; healthy(n) {
					if k.healthy++; err == nil {
						k.completed++
						took[min(time.Since(started), callDeadline)/tookStep]++
					}
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(5 * time.Minute)
	k.early = heapInUse()
	time.Sleep(lasts - 5*time.Minute - time.Second)
	k.late = heapInUse()
	wg.Wait()
	runtime.KeepAlive(c)
	k.cpu = cpuTime() - cpu
	k.median, k.slow = percentile(took[:], k.completed, 50), percentile(took[:], k.completed, 99)
	return k
}

// percentile returns the time that p percent of all calls took at most, rounded to tookStep.
func percentile(took []int, all, p int) time.Duration {
	seen := 0
	for i, n := range took {
		if seen += n; all > 0 && seen*100 >= all*p {
			return time.Duration(i) * tookStep
		}
	}
	return 0
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// With -v it prints what a thousand integrations at a thousand hosts do to one another for an hour: 10 % are
// dead, 10 % hang and 10 % are limited. Every kind of client runs with the healthy ones alone too.
func TestThousandIntegrations(t *testing.T) {
	lasts := time.Hour
	if testing.Short() {
		lasts = 10 * time.Minute
	}
	token := func(n int) belay.Option {
		return belay.WithAuth(belay.Bearer(belay.NewSecret(fmt.Sprintf("token %d", n))))
	}
	tokens := func(n int) []belay.Option { return []belay.Option{token(n)} }
	many := []belay.Option{belay.WithMaxInFlight(integrations)}
	for _, v := range []thousand{
		{name: "derived"},
		{name: "and own credentials", integration: tokens},
		{name: "and 1,000 in flight", integration: tokens, options: many},
		{name: "and own breakers", options: many, integration: func(n int) []belay.Option {
			return []belay.Option{token(n), belay.WithBreakerPolicy(belay.BreakerPolicy{})}
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			var all, alone hourOutcome
			synctest.Test(t, func(t *testing.T) { all = v.run(t, lasts) })
			v.onlyHealthy = true
			synctest.Test(t, func(t *testing.T) { alone = v.run(t, lasts) })
			t.Log("thousand: " + v.name + ", all:           " + all.String())
			t.Log("thousand: " + v.name + ", healthy alone: " + alone.String())
			t.Logf("thousand: %s: CPU per call is %.2f times that of the healthy alone", v.name,
				all.cpu.Seconds()/float64(all.calls)*float64(alone.calls)/alone.cpu.Seconds())
		})
	}
}

func (k hourOutcome) String() string {
	return fmt.Sprintf("%6d calls, %6.2f %% of the healthy completed in %5.2f s (99 %%: %5.2f s), "+
		"heap %.1f MB, later %.1f MB, %.1f µs of CPU per call",
		k.calls, 100*float64(k.completed)/float64(k.healthy), k.median.Seconds(), k.slow.Seconds(),
		float64(k.early)/1e6, float64(k.late)/1e6, k.cpu.Seconds()*1e6/float64(k.calls))
}
