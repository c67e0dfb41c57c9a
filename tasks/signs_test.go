package tasks_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
)

// A process whose connections are all in use for longer than DeadAfter still gives signs of life: nobody takes its tasks.
func TestSignsDoNotStandInLine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		var runs atomic.Int32
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			runs.Add(1)
			time.Sleep(7 * time.Second)
			return nil
		})
		cfg.Heartbeat, cfg.DeadAfter, cfg.Shared = 300*time.Millisecond, 3*time.Second, true
		c := started(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		eventually(t, "it runs", func() bool { return runs.Load() == 1 })
		other := started(t, dsn, cfg)
		conns := 20
		if strings.HasPrefix(dsn, "sqlite:") {
			conns = 1
		}
		var held []*sql.Conn
		for range conns {
			conn, err := c.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		time.Sleep(5 * time.Second)
		row := job(t, other, id)
		for _, conn := range held {
			_ = conn.Close()
		}
		if row.State != rivertype.JobStateRunning || strings.Contains(string(row.Metadata), "requeues") {
			t.Errorf("taken from a process that lives: %s, %s", row.State, row.Metadata)
		}
		eventually(t, "the end", func() bool { return job(t, other, id).FinalizedAt != nil })
		if row := job(t, other, id); runs.Load() != 1 || row.Attempt != 1 || row.State != rivertype.JobStateCompleted {
			t.Errorf("%d runs, attempt %d, %s", runs.Load(), row.Attempt, row.State)
		}
	})
}

// A server that takes no writes for longer than DeadAfter, but answers reads: all processes are silent then, and none takes
// another one's tasks when it is back.
func TestSilentTogether(t *testing.T) {
	t.Parallel()
	if os.Getenv("BELAY_POSTGRES") == "" {
		t.Skip("SKIPPED: BELAY_POSTGRES is not set")
	}
	dsn := pgserver.Start(t).DSN()
	var runs atomic.Int32
	cfg := config(func(context.Context, *river.Job[work]) error {
		runs.Add(1)
		time.Sleep(14 * time.Second)
		return nil
	})
	cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 1}
	cfg.Heartbeat, cfg.DeadAfter = 200*time.Millisecond, 2*time.Second
	a, b := started(t, dsn, cfg), started(t, dsn, cfg)
	insertWork(t, a, 0, 2)
	eventually(t, "both work", func() bool { return runs.Load() == 2 })
	requeued := func() int {
		return count(t, b, "select count(*) from river_job where cast(metadata as text) like '%tasks_requeues%'")
	}
	for range 3 {
		for _, statement := range []string{"alter system set default_transaction_read_only = on", "alter system reset default_transaction_read_only"} {
			for _, do := range []string{statement, "select pg_reload_conf()"} {
				if _, err := b.DB().Exec(do); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2500 * time.Millisecond)
		}
	}
	if n := requeued(); n > 0 {
		t.Errorf("%d requeued", n)
	}
	eventually(t, "the end", func() bool { return count(t, b, "select count(*) from river_job where state = 'completed'") == 2 })
	if n := requeued(); n > 0 || runs.Load() != 2 {
		t.Errorf("%d requeued, %d runs", n, runs.Load())
	}
}

// A client that is closed gives no sign of life, whatever still runs in it, though the database stays its user's, and keeps
// no connection.
func TestClosedIsSilent(t *testing.T) {
	t.Parallel()
	if os.Getenv("BELAY_POSTGRES") == "" {
		t.Skip("SKIPPED: BELAY_POSTGRES is not set")
	}
	dsn := pgserver.Database(t)
	looker := opened(t, dsn, tasks.Config{}) // migrates
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
	cfg := config(func(context.Context, *river.Job[work]) error { return nil })
	cfg.Heartbeat, cfg.DeadAfter = 100*time.Millisecond, 400*time.Millisecond
	c, err := tasks.New[pgx.Tx](t.Context(), riverpgxv5.New(pool), db, belaysql.Postgres, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := c.ID()
	seen := func() int {
		return count(t, looker, "select coalesce(max(seen), 0) from tasks_clients where id = '"+id+"'")
	}
	first := seen()
	eventually(t, "signs", func() bool { return seen() > first })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	last := seen()
	time.Sleep(500 * time.Millisecond)
	if now := seen(); now != last {
		t.Error("a sign of a client that is closed")
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if n := db.Stats().InUse; n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}
