package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
)

// A Stop whose context ends puts back what runs, without an attempt.
func TestStopPutsBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		began := make(chan bool, 1)
		c := started(t, dsn, config(func(ctx context.Context, _ *river.Job[work]) error {
			began <- true
			<-ctx.Done()
			return fmt.Errorf("wrapped: %w", ctx.Err())
		}))
		id := insert(t, c, work{}, &river.InsertOpts{MaxAttempts: 1})
		<-began
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if row := job(t, c, id); row.State != rivertype.JobStateAvailable || row.Attempt != 0 || len(row.Errors) > 0 {
			t.Error(row.State, row.Attempt, row.Errors)
		}
	})
}

// A client that is opened beside a transaction that has written a task neither waits for it nor holds up others.
func TestOpenBesideATransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		if strings.HasPrefix(dsn, "sqlite:") {
			t.Skip("it has one writer")
		}
		c := opened(t, dsn, config(nil))
		tx, err := c.DB().Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := c.InsertTx(t.Context(), tx, work{}, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		other, err := tasks.Open(ctx, dsn, tasks.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_ = other.Close()
	})
}

// A process that works alone on a file does not begin beside those that share it, nor they beside it.
func TestAloneBesideShared(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + t.TempDir() + "/tasks.db"
	alone := config(func(context.Context, *river.Job[work]) error { return nil })
	shared := alone
	shared.Shared = true
	for name, pair := range map[string][2]tasks.Config{"shared first": {shared, alone}, "alone first": {alone, shared}} {
		first, second := opened(t, dsn, pair[0]), opened(t, dsn, pair[1])
		if err := first.Start(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		if err := second.Start(t.Context()); !errors.Is(err, tasks.ErrLocked) || !strings.Contains(err.Error(), "process") {
			t.Error(name, err)
		}
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(name, err)
		}
	}
	a, b := opened(t, dsn, shared), opened(t, dsn, shared)
	if err := errors.Join(a.Start(t.Context()), b.Start(t.Context())); err != nil {
		t.Error(err)
	}
}

// Tables of a newer version are refused by name.
func TestNewerTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		c := opened(t, dsn, tasks.Config{})
		if _, err := c.DB().Exec("insert into tasks_schema (version) values (99)"); err != nil {
			t.Fatal(err)
		}
		if _, err := tasks.Open(t.Context(), dsn, tasks.Config{}); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Error(err)
		}
	})
}

// After a drain only the processes that come after it are the new ones.
func TestVerifyAfterDrain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.Shared = true
		old := started(t, dsn, cfg)
		if _, err := old.Drain(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := old.VerifyWorkers(t.Context(), 1, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "0 processes work") {
			t.Error("the old one counts:", err)
		}
		started(t, dsn, cfg)
		if err := old.VerifyWorkers(t.Context(), 1, 10*time.Second); err != nil {
			t.Error(err)
		}
		if err := old.Resume(t.Context(), "*", "drain"); err != nil {
			t.Fatal(err)
		}
		if err := old.VerifyWorkers(t.Context(), 2, 10*time.Second); err != nil {
			t.Error("both count again:", err)
		}
	})
}

// New works over pgx: inserts and completions in the user's own transactions, and what runs, fails and is looked at.
func TestNewOverPgx(t *testing.T) {
	t.Parallel()
	if os.Getenv("BELAY_POSTGRES") == "" {
		t.Skip("BELAY_POSTGRES is not set")
	}
	dsn := pgserver.Database(t)
	opened(t, dsn, tasks.Config{}) // migrates
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var c *tasks.Client[pgx.Tx]
	cfg := config(func(ctx context.Context, job *river.Job[work]) error {
		if job.Args.Name == "panics" {
			panic("no")
		}
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := c.InsertTx(ctx, tx, period{int64(job.Args.N)}, nil); err != nil {
			return err
		}
		if err := tasks.CompleteTx(ctx, tx, job); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[period]) error { return nil }))
	if c, err = tasks.New[pgx.Tx](t.Context(), riverpgxv5.New(pool), db, belaysql.Postgres, cfg); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	for name, want := range map[string]rivertype.JobState{"does": rivertype.JobStateCompleted, "panics": rivertype.JobStateCancelled} {
		r, err := c.Insert(t.Context(), work{Name: name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, name, func() bool {
			row, err := c.JobGet(t.Context(), r.Job.ID)
			return err == nil && row.State == want
		})
		tree, err := c.Tree(t.Context(), r.Job.ID)
		if err != nil || name == "does" && tree.Waiting+tree.Running+tree.Completed != 2 {
			t.Errorf("%s: %+v %v", name, tree, err)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || len(s.Processes) != 1 {
		t.Errorf("%+v %v", s, err)
	}
}
