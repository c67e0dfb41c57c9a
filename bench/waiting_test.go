//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belay-go/belay"
)

// crowd is a client with calls of other customers that wait.
type crowd struct {
	client *belay.Client // of a customer that has no limit of its own
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// crowds are the reasons why the others wait.
var crowds = []string{"own limit", "429"}

// strict answers at once. It refuses the customers whose token begins with "late", for longer than a run takes.
type strict struct{}

func (strict) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer late") {
		return reply(req, http.StatusTooManyRequests, http.Header{"Retry-After": {"3000"}}), nil
	}
	return stub{}.RoundTrip(req)
}

// longestSetup bounds the time until all others wait. A run that takes longer is skipped.
const longestSetup = 2 * time.Minute

// newCrowd returns a crowd in which each of n other customers has one call that waits.
func newCrowd(tb testing.TB, why string, n int) *crowd {
	tb.Helper()
	client, err := belay.New("https://partner.test", belay.WithTransport(strict{}), belay.WithMaxQueue(100_000))
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &crowd{cancel: cancel}
	tb.Cleanup(w.close)
	others := make([]*belay.Client, n)
	for i := range others {
		opts := []belay.Option{belay.WithIntegration(fmt.Sprintf("customer %d", i))}
		if why == "429" {
			opts = append(opts, belay.WithAuth(belay.Bearer(belay.NewSecret(fmt.Sprintf("late %d", i)))))
		} else {
			opts = append(opts, belay.WithRateLimit(belay.Every(1, 24*time.Hour)))
		}
		if others[i], err = client.With(opts...); err != nil {
			tb.Fatal(err)
		}
		// The first call spends the limit, or is told to wait.
		_, err := belay.Get[belay.None](ctx, others[i], "/things", belay.MaxAttempts(1))
		if err != nil && why != "429" {
			tb.Fatal(err)
		}
	}
	for _, c := range others {
		w.wait.Go(func() {
			_, err := belay.Get[belay.None](ctx, c, "/things", belay.MaxAttempts(1), belay.Patience(48*time.Hour))
			if ctx.Err() == nil {
				tb.Errorf("a call that should wait has ended: %v", err)
			}
		})
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		waiting := client.Limiter().Status().Waiting
		if waiting == n {
			break
		}
		if time.Since(began) > longestSetup {
			w.close()
			tb.Skipf("only %d of %d calls wait after %s", waiting, n, longestSetup)
		}
	}
	w.client, err = client.With(belay.WithIntegration("unrelated"))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := belay.Get[belay.None](ctx, w.client, "/things"); err != nil {
		w.close()
		tb.Skipf("waiting: %s, %d others: a call that none of it concerns fails: %v", why, n, err)
	}
	return w
}

func (w *crowd) close() {
	w.cancel()
	w.wait.Wait()
}

func (w *crowd) call(tb testing.TB) {
	if _, err := belay.Get[belay.None](context.Background(), w.client, "/things"); err != nil {
		tb.Fatal(err)
	}
}

// cpuTime returns the processor time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOthersWaiting measures a call of one customer while calls of others wait.
func BenchmarkOthersWaiting(b *testing.B) {
	for _, why := range crowds {
		for _, n := range []int{0, 100, 1000, 4000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", why, n), func(b *testing.B) {
				w := newCrowd(b, why, n)
				began := cpuTime()
				for b.Loop() {
					w.call(b)
				}
				b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
				w.close()
			})
		}
	}
}

// serviceHeap makes the process as large as a service. In the heap of a few megabytes of a benchmark, the collector runs
// every few hundred calls and walks the stack of every waiting goroutine each time, whoever holds it: that is most of
// what is measured then.
func serviceHeap() (keep func()) {
	heap := make([]byte, 128<<20)
	return func() { runtime.KeepAlive(heap) }
}

// heaps are the sizes of the process in which calls are measured.
var heaps = []struct {
	name string
	make func() (keep func())
}{
	{"128 MB heap", serviceHeap},
	{"small heap", func() func() { return func() {} }},
}

// With -v it prints the processor time of a call while calls of other customers wait.
func TestOthersWaiting(t *testing.T) {
	for _, heap := range heaps {
		for _, why := range crowds {
			for _, n := range []int{0, 100, 1000, 4000, 10000} {
				t.Run(fmt.Sprintf("%s %s %d", heap.name, why, n), func(t *testing.T) {
					if testing.Short() && n > 4000 {
						t.Skip("takes long to set up")
					}
					defer heap.make()()
					w := newCrowd(t, why, n)
					for range 20 {
						w.call(t)
					}
					calls, began, cpu := 0, time.Now(), cpuTime()
					for ; calls < 100 || time.Since(began) < 500*time.Millisecond; calls++ {
						w.call(t)
					}
					each := float64(cpuTime()-cpu) / float64(calls)
					took := float64(time.Since(began)) / float64(calls)
					w.close()
					t.Logf("waiting: %-11s %-10s %6d others %10.0f ns of CPU per call %10.0f ns in all",
						heap.name, why, n, each, took)
				})
			}
		}
	}
}
