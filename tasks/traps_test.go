package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
)

// What River does, or did, that would surprise. Each of these was met.
func TestTraps(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran atomic.Int64
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			ran.Add(1)
			if job.Args.Name == "dead" {
				return river.JobCancel(errors.New("no"))
			}
			return nil
		})
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[of]) error { return nil }))
		sqlite := dsn[0] == 's'
		c := started(t, dsn, cfg)
		done := func(id int64) func() bool {
			return func() bool { return job(t, c, id).FinalizedAt != nil }
		}

		// An id is not used again, not even the last one.
		last := insert(t, c, work{Name: "last"}, nil)
		eventually(t, "the last", done(last))
		if _, err := c.JobDelete(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if next := insert(t, c, work{Name: "next"}, nil); next <= last {
			t.Errorf("id %d after %d", next, last)
		}

		// Tasks that were canceled are unique, too, if all states count, and not by default.
		unique := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}}
		first := insert(t, c, work{Name: "dead", N: 1}, unique)
		eventually(t, "canceled", done(first))
		if again := insert(t, c, work{Name: "dead", N: 1}, unique); again != first {
			t.Error("inserted again")
		}

		// A time that has passed does not wait for the leader, which looks each five seconds.
		past := insert(t, c, work{Name: "past"}, &river.InsertOpts{ScheduledAt: time.Now().Add(-time.Hour)})
		if state := job(t, c, past).State; state == rivertype.JobStateScheduled {
			t.Error(state)
		}
		eventually(t, "the past", done(past))

		// A kind that this process does not know waits for one that does.
		unknown := insert(t, opened(t, dsn, tasks.Config{}), full{"x", 1}, nil)
		// Arguments that cannot be decoded harm no other task of their batch.
		bad := insert(t, c, work{Name: "bad"}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour), MaxAttempts: 1})
		broken := `update river_job set args = jsonb('{"n": "no number"}'), state = 'available', scheduled_at = created_at where id = $1`
		if !sqlite {
			broken = `update river_job set args = '{"n": "no number"}', state = 'available', scheduled_at = created_at where id = $1`
		}
		if _, err := c.DB().Exec(broken, bad); err != nil {
			t.Fatal(err)
		}
		good := insert(t, c, work{Name: "good"}, nil)
		eventually(t, "the good one", done(good))
		eventually(t, "the bad one", done(bad))
		found := false
		for d, err := range c.DeadLetters(t.Context(), tasks.DeadFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			found = found || d.ID == bad && strings.Contains(d.Error, "cannot unmarshal")
		}
		if !found {
			t.Error("what cannot be decoded is no dead letter with its reason", job(t, c, bad).Errors)
		}
		if row := job(t, c, unknown); row.State != rivertype.JobStateAvailable || row.Attempt != 0 {
			t.Error(row.State, row.Attempt)
		}

		// An insert within a transaction of the only connection does not wait for itself.
		tx, err := c.DB().Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		for i := range 20 {
			if _, err := c.InsertTx(t.Context(), tx, of{"company", i}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if n := count(t, c, "select count(*) from river_job where kind = 'of'"); n != 20 {
			t.Error(n)
		}
	})
}

// Dead letters stay when River cleans up, if their retention has no end.
func TestRetention(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(_ context.Context, job *river.Job[work]) error { return nil })
		cfg.River.DiscardedJobRetentionPeriod = -1
		c := opened(t, dsn, cfg)
		const n = 500
		insertWork(t, c, 0, 2*n)
		if _, err := c.DB().Exec(fmt.Sprintf(`update river_job set finalized_at = '2020-01-01 00:00:00.000',
			state = case when id %% 2 = 0 then 'discarded' else 'completed' end%s`, map[bool]string{true: "", false: "::river_job_state"}[dsn[0] == 's'])); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(3 * time.Minute); count(t, c, "select count(*) from river_job where state = 'completed'") > 0; time.Sleep(200 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing was removed")
			}
		}
		if left := count(t, c, "select count(*) from river_job where state = 'discarded'"); left != n {
			t.Errorf("%d of %d dead letters", left, n)
		}
	})
}

// A disk that is full: an insert is an error that says so, what was acknowledged is there, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	var ran atomic.Int64
	c := opened(t, "sqlite:"+t.TempDir()+"/belay.db", func() tasks.Config {
		cfg := config(func(context.Context, *river.Job[work]) error { ran.Add(1); return nil })
		cfg.MaxDepth = -1
		return cfg
	}())
	pages := count(t, c, "pragma page_count")
	count(t, c, fmt.Sprintf("pragma max_page_count = %d", pages+60)) // what SQLite does by itself on a full disk: SQLITE_FULL
	acknowledged := 0
	var err error
	for i := range 100_000 {
		if _, err = c.Insert(t.Context(), work{Name: strings.Repeat("x", 500), N: i}, nil); err != nil {
			break
		}
		acknowledged++
	}
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatal(err)
	}
	if n := count(t, c, "select count(*) from river_job"); n != acknowledged || n == 0 {
		t.Errorf("%d of %d", n, acknowledged)
	}
	count(t, c, fmt.Sprintf("pragma max_page_count = %d", pages+100_000))
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all", func() bool { return ran.Load() == int64(acknowledged) })
	t.Logf("%d tasks, then: %v", acknowledged, err)
}

// A database that is gone for a while: inserts are errors meanwhile, what was acknowledged is there, and all goes on by itself.
func TestServerIsGone(t *testing.T) {
	t.Parallel() // it waits most of the time
	if os.Getenv("BELAY_POSTGRES") == "" {
		t.Skip("SKIPPED: BELAY_POSTGRES is not set")
	}
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	server := pgserver.Start(t)
	var ran atomic.Int64
	var long atomic.Int64
	cfg := config(func(_ context.Context, job *river.Job[work]) error {
		ran.Add(1)
		if job.Args.Name == "long" && long.Add(1) <= 5 {
			time.Sleep(3 * time.Second)
		}
		time.Sleep(20 * time.Millisecond)
		return nil
	})
	c := started(t, server.DSN(), cfg)
	acknowledged, refused := 0, 0
	try := func(n int) {
		for i := range n {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Insert(ctx, work{N: i}, nil); err != nil {
				refused++
			} else {
				acknowledged++
			}
			cancel()
		}
	}
	try(100)
	// Some end while the server is away: River gives up writing their ends.
	for i := range 5 {
		insert(t, c, work{Name: "long", N: i}, nil)
	}
	acknowledged += 5
	eventually(t, "they run", func() bool { return long.Load() == 5 })
	server.Stop()
	try(5)
	if refused != 5 {
		t.Errorf("%d of 5 refused", refused)
	}
	time.Sleep(time.Minute)
	server.Run(t)
	eventually(t, "it is back", func() bool { try(1); return acknowledged > 100 })
	try(50)
	for deadline := time.Now().Add(3 * time.Minute); count(t, c, "select count(*) from river_job where state = 'completed'") < acknowledged; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not all are completed")
		}
	}
	t.Logf("%d acknowledged and done, %d refused, %d runs", acknowledged, refused, ran.Load())
}
