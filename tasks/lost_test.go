package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/tasks"
)

// elsewhere makes a running task that of another process, as if this one had been taken for dead.
func elsewhere(t testing.TB, dsn string, c *tasks.Client[*sql.Tx], id int64) {
	t.Helper()
	at, by := "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 seconds')", `jsonb('["other"]')`
	if !strings.HasPrefix(dsn, "sqlite:") {
		at, by = "now() + interval '1 second'", "array['other']"
	}
	if _, err := c.DB().Exec("update river_job set attempted_at = "+at+", attempted_by = "+by+" where id = $1", id); err != nil {
		t.Error(err)
	}
	tasks.StandStill(c, time.Minute)
}

// A task that runs elsewhere, or has run there, is not completed here: its work is rolled back.
func TestCompleteTxElsewhere(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		got := make(chan error, 1)
		var c *tasks.Client[*sql.Tx]
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			switch job.Args.Name {
			case "ran":
				if _, err := c.DB().ExecContext(ctx, "update river_job set state = 'completed', finalized_at = attempted_at where id = $1", job.ID); err != nil {
					return err
				}
			case "runs":
				elsewhere(t, dsn, c, job.ID)
			}
			tx, err := c.DB().BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			err = tasks.CompleteTx(ctx, tx, job)
			got <- err
			if err != nil {
				return err
			}
			return tx.Commit()
		})
		c = started(t, dsn, cfg)
		for name, want := range map[string]error{"mine": nil, "ran": tasks.ErrLost, "runs": tasks.ErrLost} {
			id := insert(t, c, work{Name: name}, nil)
			if err := <-got; !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
			if name == "runs" { // let it end there
				time.Sleep(300 * time.Millisecond)
				if row := job(t, c, id); row.State != rivertype.JobStateRunning {
					t.Error("the row of another process:", row.State)
				}
				if _, err := c.DB().Exec("update river_job set state = 'completed', finalized_at = attempted_at where id = $1", id); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A panic of a run whose task runs elsewhere does not end the other one's.
func TestPanicElsewhere(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		ran := make(chan bool, 1)
		var c *tasks.Client[*sql.Tx]
		c = started(t, dsn, config(func(_ context.Context, job *river.Job[work]) error {
			elsewhere(t, dsn, c, job.ID)
			ran <- true
			panic("no")
		}))
		id := insert(t, c, work{}, nil)
		<-ran
		time.Sleep(500 * time.Millisecond)
		if row := job(t, c, id); row.State != rivertype.JobStateRunning || len(row.Errors) > 0 {
			t.Error(row.State, row.Errors)
		}
		if _, err := c.DB().Exec("update river_job set state = 'completed', finalized_at = attempted_at where id = $1", id); err != nil {
			t.Fatal(err)
		}
	})
}

// A task that was taken from this process, and that nobody has begun, runs again without an attempt spent.
func TestLostSpendsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		got := make(chan error, 9)
		var c *tasks.Client[*sql.Tx]
		c = started(t, dsn, config(func(ctx context.Context, job *river.Job[work]) error {
			if len(got) > 0 {
				return nil
			}
			if err := c.Pause(ctx, "default", "nobody else"); err != nil {
				return err
			}
			if _, err := c.DB().Exec("update river_job set state = 'available', attempt = attempt - 1 where id = $1", job.ID); err != nil {
				return err
			}
			tasks.StandStill(c, time.Minute)
			err := tasks.Progress(ctx, 1, 2)
			got <- err
			return err
		}))
		id := insert(t, c, work{}, &river.InsertOpts{MaxAttempts: 1})
		eventually(t, "it has run", func() bool { return len(got) > 0 })
		if err := <-got; !errors.Is(err, tasks.ErrLost) {
			t.Fatal(err)
		}
		got <- nil
		eventually(t, "it waits", func() bool { return job(t, c, id).State == rivertype.JobStateAvailable })
		if err := c.Resume(t.Context(), "default", "nobody else"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has run again", func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
	})
}

// What is newer is told by the order of inserts, and not by the clocks of those who inserted.
func TestLatestUnderClocks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[latest]) error { return nil }))
		c := started(t, dsn, cfg)
		ahead := fmt.Sprintf(`{"tasks_inserted":%d}`, time.Now().Add(time.Hour).UnixNano())
		first := insert(t, c, latest{1}, &river.InsertOpts{Metadata: []byte(ahead)})
		eventually(t, "the first", func() bool { return job(t, c, first).State == rivertype.JobStateCompleted })
		second := insert(t, c, latest{2}, nil)
		eventually(t, "the second", func() bool { return job(t, c, second).FinalizedAt != nil })
		if row := job(t, c, second); row.State != rivertype.JobStateCompleted {
			t.Error(row.State, row.Errors)
		}
	})
}

// A queue that was paused by River's own method stays so, also if a process begins while it is held for a reason.
func TestOwnPauses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.Shared = true
		a, b := started(t, dsn, cfg), opened(t, dsn, cfg)
		eventually(t, "the queue", func() bool { _, err := a.QueueGet(t.Context(), "default"); return err == nil })
		if err := errors.Join(a.QueuePause(t.Context(), "default", nil), a.Pause(t.Context(), "default", "deploy"), b.Start(t.Context()),
			a.Resume(t.Context(), "default", "deploy")); err != nil {
			t.Fatal(err)
		}
		if q, err := a.QueueGet(t.Context(), "default"); err != nil || q.PausedAt == nil {
			t.Error("it goes on", err)
		}
	})
}

// A process that begins right after the clock has jumped takes nobody for dead.
func TestStartAfterJump(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		runs := make(chan int64, 10)
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			runs <- job.ID
			time.Sleep(2 * time.Second)
			return nil
		})
		cfg.Shared = true
		a, b := started(t, dsn, cfg), opened(t, dsn, cfg)
		id := insert(t, a, work{}, nil)
		<-runs
		if _, err := a.DB().Exec("update tasks_clients set seen = seen - 3600000"); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it ends", func() bool { return job(t, a, id).FinalizedAt != nil })
		if len(runs) > 0 {
			t.Error("it ran twice")
		}
	})
}
