package tasks_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/tasks"
)

// TestFigures measures, on this machine, what docs/tasks.md says: how fast tasks are inserted, how soon they begin, and what ten
// queues cost that have nothing to do. Times are told, not judged.
func TestFigures(t *testing.T) {
	if os.Getenv("BELAY_FIGURES") == "" {
		t.Skip("SKIPPED: BELAY_FIGURES is not set")
	}
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		begun := make(map[int]time.Time)
		cfg := tasks.Config{MaxDepth: -1, River: river.Config{
			Workers: workers(func(_ context.Context, job *river.Job[work]) error {
				mu.Lock()
				defer mu.Unlock()
				begun[job.Args.N] = time.Now()
				return nil
			}), Queues: make(map[string]river.QueueConfig),
		}}
		for i := range 10 {
			cfg.River.Queues[fmt.Sprint("queue", i)] = river.QueueConfig{MaxWorkers: 10}
		}
		c := opened(t, dsn, cfg)
		insertMany := func(fast bool) time.Duration {
			var params []river.InsertManyParams
			for i := range 1000 {
				params = append(params, river.InsertManyParams{Args: work{N: i}, InsertOpts: &river.InsertOpts{Queue: "bulk"}})
			}
			began := time.Now()
			for range 20 {
				var err error
				if fast {
					_, err = c.InsertManyFast(t.Context(), params)
				} else {
					_, err = c.InsertMany(t.Context(), params)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began)
		}
		t.Logf("insert in bulk: %.0f/s, fast %.0f/s", 20_000/insertMany(false).Seconds(), 20_000/insertMany(true).Seconds())
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		cpu, at := usage(t), time.Now()
		time.Sleep(10 * time.Second)
		t.Logf("idle, ten queues: %.1f %% of a core", 100*(usage(t)-cpu).Seconds()/time.Since(at).Seconds())
		const n = 300
		inserted := make([]time.Time, n)
		for i := range n {
			inserted[i] = time.Now()
			insert(t, c, work{N: i}, &river.InsertOpts{Queue: fmt.Sprint("queue", i%10)})
			time.Sleep(time.Duration(17+i%13) * time.Millisecond)
		}
		eventually(t, "all", func() bool { mu.Lock(); defer mu.Unlock(); return len(begun) == n })
		waits := make([]time.Duration, n)
		for i := range n {
			waits[i] = begun[i].Sub(inserted[i])
		}
		slices.Sort(waits)
		t.Logf("insert to start: p50 %s, p95 %s, most %s", waits[n/2], waits[n*95/100], waits[n-1])
	})
}

// usage returns the CPU time of this process.
func usage(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
