package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
)

// ordinary is a worker of River as its users write them.
type ordinary struct {
	river.WorkerDefaults[period]
	ran atomic.Int32
}

func (w *ordinary) Timeout(*river.Job[period]) time.Duration { return 10 * time.Second }
func (w *ordinary) NextRetry(*river.Job[period]) time.Time   { return time.Now().Add(77 * time.Minute) }

func (w *ordinary) Work(ctx context.Context, job *river.Job[period]) error {
	w.ran.Add(1)
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > 10*time.Second {
		return river.JobCancel(errors.New("the worker's own timeout is not there"))
	}
	if _, err := river.ClientFromContextSafely[*sql.Tx](ctx); err != nil {
		return river.JobCancel(err)
	}
	if err := river.RecordOutput(ctx, map[string]int{"n": int(job.Args.At)}); err != nil {
		return river.JobCancel(err)
	}
	if job.Args.At < 0 {
		return errors.New("no")
	}
	return nil
}

// Workers, hooks, middleware, periodic jobs and rivertest of River's users go on working.
func TestRiversParts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		var middle, began, ended, inserting atomic.Int32
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		own := &ordinary{}
		river.AddWorker(cfg.River.Workers, own)
		cfg.River.Middleware = []rivertype.Middleware{river.WorkerMiddlewareFunc(func(ctx context.Context, _ *rivertype.JobRow, do func(context.Context) error) error {
			middle.Add(1)
			return do(ctx)
		})}
		cfg.River.Hooks = []rivertype.Hook{
			river.HookWorkBeginFunc(func(context.Context, *rivertype.JobRow) error { began.Add(1); return nil }),
			river.HookWorkEndFunc(func(_ context.Context, _ *rivertype.JobRow, err error) error { ended.Add(1); return err }),
			river.HookInsertBeginFunc(func(context.Context, *rivertype.JobInsertParams) error { inserting.Add(1); return nil }),
		}
		cfg.River.PeriodicJobs = []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(time.Hour),
			func() (river.JobArgs, *river.InsertOpts) { return work{Name: "periodic"}, nil }, &river.PeriodicJobOpts{RunOnStart: true})}
		c := started(t, dsn, cfg)
		good, bad := insert(t, c, period{7}, nil), insert(t, c, period{-1}, nil)
		eventually(t, "both", func() bool {
			return job(t, c, good).State == rivertype.JobStateCompleted && job(t, c, bad).State == rivertype.JobStateRetryable
		})
		if out := string(job(t, c, good).Output()); out != `{"n": 7}` && out != `{"n":7}` {
			t.Errorf("output %s", out)
		}
		if in := time.Until(job(t, c, bad).ScheduledAt); in < 76*time.Minute || in > 78*time.Minute {
			t.Errorf("the worker's own NextRetry: in %s", in)
		}
		eventually(t, "the periodic job", func() bool {
			return count(t, c, "select count(*) from river_job where kind = 'work' and state = 'completed'") == 1
		})
		if middle.Load() != 3 || began.Load() != 3 || ended.Load() != 3 || inserting.Load() != 3 {
			t.Error(middle.Load(), began.Load(), ended.Load(), inserting.Load())
		}
		rivertest.RequireManyInserted(t.Context(), t, c.Driver(), []rivertest.ExpectedJob{{Args: period{}}, {Args: period{}}, {Args: work{}}})

		tx, err := c.DB().Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		result, err := rivertest.NewWorker(t, c.Driver(), &river.Config{}, own).Work(t.Context(), t, tx, period{3}, nil)
		if err != nil || result.EventKind != river.EventKindJobCompleted {
			t.Error(result, err)
		}
	})
}
