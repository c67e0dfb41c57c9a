package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/tasks"
)

// stuckSoon is a configuration with one worker, whose tasks are stuck after 200 ms and tried again at once.
func stuckSoon(f workFunc) tasks.Config {
	cfg := config(f)
	cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 1}
	cfg.River.JobTimeout, cfg.River.JobStuckThreshold = 100*time.Millisecond, 100*time.Millisecond
	cfg.Decide = func(err error, job *rivertype.JobRow) tasks.Decision {
		d := tasks.Decide(err, job)
		d.Wait = 0
		return d
	}
	return cfg
}

// A run that does not heed the end of its context is left to itself: its worker is free, the task is tried again, and what
// the old run wants to store is refused, also while the new one runs.
func TestStuck(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		hold, ended, second := make(chan bool), make(chan error, 2), make(chan bool)
		var c *tasks.Client[*sql.Tx]
		var handled atomic.Int32
		cfg := stuckSoon(func(ctx context.Context, job *river.Job[work]) error {
			switch {
			case job.Args.Name != "hangs":
				return nil
			case job.Attempt > 1:
				<-second
				return nil
			}
			for open := true; open; { // writes, as River reads
				select {
				case <-hold:
					open = false
				default:
					_ = river.MetadataSet(ctx, "mine", time.Now().UnixNano())
					runtime.Gosched()
				}
			}
			ended <- tasks.Progress(context.WithoutCancel(ctx), 1, 2)
			tx, err := c.DB().Begin()
			if err != nil {
				return err
			}
			ended <- tasks.CompleteTx(context.WithoutCancel(ctx), tx, job)
			_ = tx.Rollback()
			panic("late")
		})
		cfg.River.JobStuckHandler = func(context.Context, river.JobStuckHandlerParams) river.JobStuckHandlerResult {
			handled.Add(1)
			return river.JobStuckHandlerResult{AddWorkerSlot: true}
		}
		c = started(t, dsn, cfg)
		id := insert(t, c, work{Name: "hangs"}, nil)
		other := insert(t, c, work{Name: "other"}, &river.InsertOpts{Priority: 2})
		eventually(t, "it runs again", func() bool { row := job(t, c, id); return row.State == rivertype.JobStateRunning && row.Attempt == 2 })
		close(hold)
		for range 2 {
			if err := <-ended; !errors.Is(err, tasks.ErrLost) {
				t.Error("the old run:", err)
			}
		}
		if row := job(t, c, id); row.State != rivertype.JobStateRunning {
			t.Error("the new run:", row.State)
		}
		close(second)
		eventually(t, "it is done", func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
		eventually(t, "the other is done", func() bool { return job(t, c, other).State == rivertype.JobStateCompleted })
		row := job(t, c, id)
		if len(row.Errors) != 1 || !strings.Contains(row.Errors[0].Error, tasks.ErrStuck.Error()) || handled.Load() == 0 {
			t.Error(row.Errors, handled.Load())
		}
	})
}

// However often tasks are stuck, no more of them run at once than twice the workers, and those that heed their context
// never more than the workers.
func TestStuckIsBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		var now, most, good, mostGood atomic.Int32
		up := func(n, most *atomic.Int32) {
			at := n.Add(1)
			for have := most.Load(); at > have && !most.CompareAndSwap(have, at); have = most.Load() {
			}
		}
		cfg := stuckSoon(func(_ context.Context, job *river.Job[work]) error {
			up(&now, &most)
			defer now.Add(-1)
			if job.Args.Name == "hangs" && job.Attempt == 1 {
				time.Sleep(600 * time.Millisecond)
				return nil
			}
			up(&good, &mostGood)
			defer good.Add(-1)
			time.Sleep(20 * time.Millisecond)
			return nil
		})
		cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 2}
		c := started(t, dsn, cfg)
		var ids []int64
		for i := range 15 {
			name := "good"
			if i%3 == 0 {
				name = "hangs"
			}
			ids = append(ids, insert(t, c, work{N: i, Name: name}, nil))
		}
		for _, id := range ids {
			eventually(t, "all done", func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
		}
		if most.Load() > 4 || mostGood.Load() > 2 || most.Load() < 3 {
			t.Errorf("%d at once, %d of them good", most.Load(), mostGood.Load())
		}
	})
}

// A worker that ends its goroutine has failed, and one that panics tells its user's handler where.
func TestGoroutineEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		handler := new(traces)
		cfg := stuckSoon(func(_ context.Context, job *river.Job[work]) error {
			switch {
			case job.Args.Name == "panics":
				panicHere()
			case job.Attempt == 1:
				runtime.Goexit()
			}
			return nil
		})
		cfg.Decide = func(error, *rivertype.JobRow) tasks.Decision { return tasks.Decision{Action: tasks.RetryAfter} }
		cfg.River.ErrorHandler = handler
		c := started(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		eventually(t, "tried again", func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
		id = insert(t, c, work{Name: "panics"}, nil)
		eventually(t, "a dead letter", func() bool { return job(t, c, id).FinalizedAt != nil })
		if trace := handler.last(); !strings.Contains(trace, "panicHere") {
			t.Error(trace)
		}
	})
}

func panicHere() { panic("no") }

// traces is an error handler that remembers the stack of the last panic.
type traces struct {
	mu    sync.Mutex
	trace string
}

func (h *traces) HandleError(context.Context, *rivertype.JobRow, error) *river.ErrorHandlerResult {
	return nil
}

func (h *traces) HandlePanic(_ context.Context, _ *rivertype.JobRow, _ any, trace string) *river.ErrorHandlerResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trace = trace
	return nil
}

func (h *traces) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trace
}
