package tasks_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/tasks"
)

func failure(class belay.Class, status int, wait time.Duration) error {
	return &belay.Error{Verdict: belay.Verdict{Class: class, RetryAfter: wait}, StatusCode: status}
}

// The error decides.
func TestDecide(t *testing.T) {
	t.Parallel()
	renew := &belay.Error{Verdict: belay.Verdict{Class: belay.ClassAuth, Renew: true}, StatusCode: 401}
	for _, c := range []struct {
		err     error
		attempt int
		want    tasks.Decision
	}{
		{errors.New("x"), 1, tasks.Decision{Action: tasks.Retry, Class: "other"}},
		{context.DeadlineExceeded, 2, tasks.Decision{Action: tasks.RetryAfter, Wait: time.Minute, Class: "timeout"}},
		{failure(belay.ClassRateLimited, 429, 7*time.Second), 1, tasks.Decision{Action: tasks.Snooze, Wait: 7 * time.Second, Class: "rate_limited"}},
		{failure(belay.ClassTransient, 503, time.Hour), 3, tasks.Decision{Action: tasks.Snooze, Wait: time.Hour, Class: "transient"}},
		{failure(belay.ClassRefused, 0, 0), 1, tasks.Decision{Action: tasks.Snooze, Wait: 30 * time.Second, Class: "refused"}},
		{failure(belay.ClassTransient, 500, 0), 1, tasks.Decision{Action: tasks.RetryAfter, Wait: time.Minute, Class: "transient"}},
		{failure(belay.ClassTransient, 500, 0), 4, tasks.Decision{Action: tasks.RetryAfter, Wait: 8 * time.Minute, Class: "transient"}},
		{failure(belay.ClassTransient, 500, 0), 99, tasks.Decision{Action: tasks.RetryAfter, Wait: 30 * time.Minute, Class: "transient"}},
		{failure(belay.ClassTransient, 0, 0), 1, tasks.Decision{Action: tasks.RetryAfter, Wait: 30 * time.Second, Class: "transient"}},
		{failure(belay.ClassTransient, 0, 0), 9, tasks.Decision{Action: tasks.RetryAfter, Wait: 15 * time.Minute, Class: "transient"}},
		{failure(belay.ClassRateLimited, 429, 0), 1, tasks.Decision{Action: tasks.RetryAfter, Wait: time.Minute, Class: "rate_limited"}},
		{renew, 1, tasks.Decision{Action: tasks.RetryAfter, Wait: 5 * time.Second, Class: "auth"}},
		{renew, 2, tasks.Decision{Action: tasks.RetryAfter, Wait: 5 * time.Second, Class: "auth"}},
		{failure(belay.ClassAuth, 403, 0), 1, tasks.Decision{Action: tasks.Cancel, Class: "auth"}},
		{failure(belay.ClassClient, 404, 0), 1, tasks.Decision{Action: tasks.Cancel, Class: "client"}},
		{fmt.Errorf("wrapped: %w", failure(belay.ClassData, 200, 0)), 1, tasks.Decision{Action: tasks.Cancel, Class: "data"}},
	} {
		if got := tasks.Decide(c.err, &rivertype.JobRow{Attempt: c.attempt}); got != c.want {
			t.Errorf("%v, attempt %d: %+v, want %+v", c.err, c.attempt, got, c.want)
		}
	}
}

func job(t testing.TB, c *tasks.Client[*sql.Tx], id int64) *rivertype.JobRow {
	t.Helper()
	row, err := c.JobGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func insert(t testing.TB, c *tasks.Client[*sql.Tx], args river.JobArgs, opts *river.InsertOpts) int64 {
	t.Helper()
	r, err := c.Insert(t.Context(), args, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r.Job.ID
}

// What becomes of a task, in the database, by its error.
func TestOutcomes(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		var alerts []string
		runs := make(map[string]int)
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			mu.Lock()
			defer mu.Unlock()
			runs[job.Args.Name]++
			n := runs[job.Args.Name]
			switch name := job.Args.Name; {
			case name == "wait" && n < 4:
				return failure(belay.ClassRateLimited, 429, 20*time.Millisecond)
			case name == "refused":
				return failure(belay.ClassRefused, 0, time.Hour)
			case name == "down":
				return failure(belay.ClassTransient, 503, 0)
			case name == "client":
				return failure(belay.ClassClient, 422, 0)
			case name == "data":
				return failure(belay.ClassData, 200, 0)
			case name == "panic":
				panic("no")
			case name == "own":
				return river.JobCancel(errors.New("own"))
			case name == "last":
				return errors.New("id 123456 is gone")
			}
			return nil
		})
		cfg.Alert = func(_ context.Context, a tasks.Alert) {
			mu.Lock()
			defer mu.Unlock()
			alerts = append(alerts, fmt.Sprint(a.Kind, " ", a.Class))
		}
		c := started(t, dsn, cfg)
		ids := make(map[string]int64)
		for _, name := range []string{"well", "wait", "refused", "down", "client", "data", "panic", "own"} {
			ids[name] = insert(t, c, work{Name: name}, &river.InsertOpts{MaxAttempts: 2})
		}
		ids["last"] = insert(t, c, work{Name: "last"}, &river.InsertOpts{MaxAttempts: 1})
		for name, want := range map[string]struct {
			state   rivertype.JobState
			attempt int
			class   string
		}{
			"well":    {rivertype.JobStateCompleted, 1, ""},
			"wait":    {rivertype.JobStateCompleted, 1, "rate_limited"},
			"refused": {rivertype.JobStateScheduled, 0, "refused"},
			"down":    {rivertype.JobStateRetryable, 1, "transient"},
			"client":  {rivertype.JobStateCancelled, 1, "client"},
			"data":    {rivertype.JobStateCancelled, 1, "data"},
			"panic":   {rivertype.JobStateCancelled, 1, "panic"},
			"own":     {rivertype.JobStateCancelled, 1, ""},
			"last":    {rivertype.JobStateDiscarded, 1, "other"},
		} {
			eventually(t, name, func() bool { return job(t, c, ids[name]).State == want.state })
			row := job(t, c, ids[name])
			var st struct {
				Class string `json:"tasks_class"`
				Stack string `json:"tasks_stack"`
			}
			_ = json.Unmarshal(row.Metadata, &st)
			if row.Attempt != want.attempt || st.Class != want.class {
				t.Errorf("%s: attempt %d, class %q: %s", name, row.Attempt, st.Class, row.Metadata)
			}
			switch name {
			case "refused":
				if in := time.Until(row.ScheduledAt); in < 59*time.Minute || in > time.Hour {
					t.Error("refused, and tried again in", in)
				}
			case "down":
				if in := time.Until(row.ScheduledAt); in < 55*time.Second || in > time.Minute {
					t.Error("down, and tried again in", in)
				}
			case "panic":
				if !strings.Contains(st.Stack, "TestOutcomes") || len(row.Errors) != 1 || !strings.Contains(row.Errors[0].Error, "no") {
					t.Errorf("%q %v", st.Stack, row.Errors)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(alerts) != 4 || runs["wait"] != 4 {
			t.Error(alerts, runs)
		}
	})
}

type expiring struct{ N int }

func (expiring) Kind() string { return "expiring" }

func (e expiring) ExpiresAfter() time.Duration {
	if e.N == 0 {
		return 100 * time.Millisecond
	}
	return time.Hour
}

type latest struct{ N int }

func (latest) Kind() string      { return "latest" }
func (latest) LatestKey() string { return "all" }

// A task that has waited for too long, and one of which a newer run has succeeded, are not run.
func TestStaleTasks(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran atomic.Int32
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.River.Queues = map[string]river.QueueConfig{"default": {MaxWorkers: 1}}
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[expiring]) error { ran.Add(1); return nil }))
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(_ context.Context, job *river.Job[latest]) error { ran.Add(100); return nil }))
		c := opened(t, dsn, cfg)
		old := insert(t, c, expiring{}, nil)
		first := insert(t, c, latest{1}, &river.InsertOpts{Priority: 4})
		second := insert(t, c, latest{2}, nil)
		time.Sleep(150 * time.Millisecond)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		fresh := insert(t, c, expiring{1}, nil)
		for id, want := range map[int64]string{old: "expired", fresh: "", second: "", first: "newer run"} {
			eventually(t, want, func() bool { return job(t, c, id).FinalizedAt != nil })
			row := job(t, c, id)
			if want == "" && row.State != rivertype.JobStateCompleted || want != "" && (row.State != rivertype.JobStateCancelled || !strings.Contains(row.Errors[0].Error, want)) {
				t.Errorf("%d: %s %v, want %q", id, row.State, row.Errors, want)
			}
		}
		if ran.Load() != 101 {
			t.Error(ran.Load())
		}
	})
}

// A task knows its parent, and its correlation id goes on to its children and to the partner.
func TestParents(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		got := make(chan string, 2)
		var c *tasks.Client[*sql.Tx]
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			got <- belay.CorrelationID(ctx)
			if job.Args.N == 0 {
				_, err := c.Insert(ctx, work{N: 1}, nil)
				return err
			}
			return nil
		})
		c = started(t, dsn, cfg)
		ctx := belay.CallContext(t.Context(), belay.Correlation("req-42"))
		r, err := c.Insert(ctx, work{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := <-got, <-got; a != "req-42" || b != "req-42" {
			t.Error(a, b)
		}
		list, err := c.JobList(t.Context(), river.NewJobListParams().Kinds("work").OrderBy(river.JobListOrderByID, river.SortOrderDesc))
		if err != nil {
			t.Fatal(err)
		}
		var st struct {
			Parent int64 `json:"tasks_parent"`
		}
		_ = json.Unmarshal(list.Jobs[0].Metadata, &st)
		if st.Parent != r.Job.ID {
			t.Errorf("%s", list.Jobs[0].Metadata)
		}
	})
}

// TestWorkChild is not a test: it is a process that works until it is killed.
func TestWorkChild(t *testing.T) {
	dsn := os.Getenv("BELAY_TASKS_DSN")
	if dsn == "" {
		t.Skip("run by TestKilledWorkers")
	}
	cfg := config(func(ctx context.Context, job *river.Job[work]) error {
		if job.Args.Name == "hang" {
			fmt.Println("hangs")
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	cfg.Shared = os.Getenv("BELAY_TASKS_SHARED") != ""
	c := started(t, dsn, cfg)
	_ = c
	select {}
}

// A process that is killed: its task runs again, without an attempt spent, at once after a restart with SQLite, and within
// twelve seconds in another process with PostgreSQL.
func TestKilledWorkers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		inserter := opened(t, dsn, tasks.Config{River: river.Config{Workers: workers(nil)}})
		id := insert(t, inserter, work{Name: "hang"}, &river.InsertOpts{MaxAttempts: 1})
		child := exec.Command(os.Args[0], "-test.run", "^TestWorkChild$", "-test.timeout", "60s")
		child.Env = append(os.Environ(), "BELAY_TASKS_DSN="+dsn)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the child works", func() bool { return job(t, inserter, id).State == rivertype.JobStateRunning })
		sqlite := strings.HasPrefix(dsn, "sqlite:")
		ran := make(chan struct{}, 1)
		next := opened(t, dsn, config(func(context.Context, *river.Job[work]) error { ran <- struct{}{}; return nil }))
		if sqlite {
			err := next.Start(t.Context())
			if !errors.Is(err, tasks.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("held by process ", child.Process.Pid)) {
				t.Error(err)
			}
		} else if err := next.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = child.Process.Kill()
		_ = child.Wait()
		began := time.Now()
		if sqlite {
			if err := next.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-ran:
		case <-time.After(time.Minute):
			t.Fatal("it does not run again")
		}
		took := time.Since(began)
		t.Logf("ran again after %s", took.Round(time.Millisecond))
		if sqlite && took > time.Second || took > 12*time.Second {
			t.Error("too late")
		}
		eventually(t, "completed", func() bool { return job(t, next, id).State == rivertype.JobStateCompleted })
		if row := job(t, next, id); row.Attempt != 1 || len(row.Errors) > 0 {
			t.Errorf("attempt %d, %v", row.Attempt, row.Errors)
		}
	})
}

// A leader that has died leaves its place to another process as soon as it is taken for dead, and not when its term ends.
func TestDeadLeader(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.Heartbeat, cfg.DeadAfter, cfg.Shared = 100*time.Millisecond, 300*time.Millisecond, true
		c := opened(t, dsn, cfg)
		for _, statement := range []string{
			fmt.Sprint("insert into tasks_clients (id, seen) values ('dead', ", time.Now().UnixMilli(), ")"),
			"insert into river_leader (elected_at, expires_at, leader_id) values ('2026-01-01 00:00:00', '2126-01-01 00:00:00', 'dead')",
		} {
			if _, err := c.DB().Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another leader", func() bool {
			return count(t, c, "select count(*) from river_leader where leader_id <> 'dead'") == 1
		})
	})
}

// A task that kills its process each time becomes a dead letter.
func TestRequeuesAreBounded(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var alerts atomic.Int32
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.MaxRequeues, cfg.Alert = 2, func(context.Context, tasks.Alert) { alerts.Add(1) }
		cfg.Heartbeat, cfg.DeadAfter = 100*time.Millisecond, 300*time.Millisecond
		c := opened(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		db := c.DB()
		dead := "'[\"gone\"]'"
		stamp := "strftime('%Y-%m-%d %H:%M:%f', 'now')"
		if !strings.HasPrefix(dsn, "sqlite:") {
			dead, stamp = "array['gone']", "now()"
		}
		if _, err := db.Exec("insert into tasks_clients (id, seen) values ('gone', $1)", time.Now().Add(-time.Minute).UnixMilli()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("insert into river_queue (name, updated_at, paused_at) values ('default', " + stamp + ", " + stamp + ")"); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := db.Exec("update river_job set state = 'running', attempt = 1, attempted_at = " + stamp + ", attempted_by = " + dead); err != nil {
				t.Fatal(err)
			}
			want := rivertype.JobStateAvailable
			if i == 2 {
				want = rivertype.JobStateDiscarded
			}
			eventually(t, string(want), func() bool { return job(t, c, id).State == want })
		}
		row := job(t, c, id)
		if len(row.Errors) != 1 || row.Errors[0].Error != "the process of the task died too often" || !strings.Contains(string(row.Metadata), `"requeued"`) {
			t.Errorf("%v %s", row.Errors, row.Metadata)
		}
		eventually(t, "an alert", func() bool { return alerts.Load() == 1 })
	})
}

// A process that stood still, and whose task runs elsewhere, does not complete it for the other one.
func TestZombies(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		began, goOn := make(chan struct{}), make(chan struct{})
		cfg := config(func(ctx context.Context, _ *river.Job[work]) error {
			close(began)
			<-goOn
			return nil
		})
		cfg.Heartbeat, cfg.DeadAfter = 100*time.Millisecond, 400*time.Millisecond
		c := started(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		<-began
		stamp, later := "strftime('%Y-%m-%d %H:%M:%f', 'now')", "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 second')"
		if !strings.HasPrefix(dsn, "sqlite:") {
			stamp, later = "now()", "now() + interval '1 second'"
		}
		tasks.StandStill(c, time.Second) // as if it had been stopped, and another process had taken its task
		if _, err := c.DB().Exec("update river_job set attempted_at = " + later); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		time.Sleep(500 * time.Millisecond)
		if row := job(t, c, id); row.State != rivertype.JobStateRunning {
			t.Fatal("completed by the wrong process")
		}
		if _, err := c.DB().Exec("update river_job set state = 'discarded', finalized_at = " + stamp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if row := job(t, c, id); row.State != rivertype.JobStateDiscarded {
			t.Error(row.State)
		}
	})
}

// Users' own plugins, middleware, hooks, error handlers and policies of River go on.
func TestRiversOwn(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var own ownPlugin
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			if job.Args.Name == "fails" {
				return errors.New("no")
			}
			return nil
		})
		cfg.River.Plugins = []rivertype.Plugin{&own}
		cfg.River.ErrorHandler = &own
		cfg.River.RetryPolicy = &own
		c := started(t, dsn, cfg)
		a, b := insert(t, c, work{}, nil), insert(t, c, work{Name: "fails"}, nil)
		eventually(t, "both", func() bool {
			return job(t, c, a).State == rivertype.JobStateCompleted && job(t, c, b).State == rivertype.JobStateRetryable
		})
		if in := time.Until(job(t, c, b).ScheduledAt); in < 41*time.Minute || in > 42*time.Minute {
			t.Error(in)
		}
		if own.inserted.Load() != 2 || own.worked.Load() != 2 || own.failed.Load() != 1 {
			t.Error(own.inserted.Load(), own.worked.Load(), own.failed.Load())
		}
	})
}

type ownPlugin struct {
	river.PluginDefaults
	inserted, worked, failed atomic.Int32
}

func (o *ownPlugin) InsertBegin(context.Context, *rivertype.JobInsertParams) error {
	o.inserted.Add(1)
	return nil
}

func (o *ownPlugin) Work(ctx context.Context, _ *rivertype.JobRow, do func(context.Context) error) error {
	o.worked.Add(1)
	return do(ctx)
}

func (o *ownPlugin) HandleError(context.Context, *rivertype.JobRow, error) *river.ErrorHandlerResult {
	o.failed.Add(1)
	return nil
}

func (o *ownPlugin) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}

func (o *ownPlugin) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(42 * time.Minute) }

func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for dsn, want := range map[string]string{
		"mysql://x":                       `begins neither with "sqlite:" nor with "postgres://"`,
		"":                                `begins neither`,
		"sqlite:":                         "must be the path of a file",
		"sqlite:x?mode=ro":                "must be the path of a file",
		"sqlite::memory:":                 "must be the path of a file",
		"sqlite:" + dir + "/missing/x.db": "no such file",
		"postgres://u:hunter2@[bad":       "the DSN is not one of PostgreSQL",
		"postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1": "tasks: Open:",
	} {
		_, err := tasks.Open(t.Context(), dsn, tasks.Config{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	for want, cfg := range map[string]tasks.Config{
		"Config.MaxSnoozes is -1":                           {MaxSnoozes: -1},
		`Config.River.Schema is "x"`:                        {River: river.Config{Schema: "x"}},
		"Config.MaxRequeues is -1":                          {MaxRequeues: -1},
		"Config.DeadAfter is 1s, must be at least twice He": {Heartbeat: time.Second, DeadAfter: time.Second},
		"Config.Heartbeat is -1s":                           {Heartbeat: -time.Second},
	} {
		_, err := tasks.Open(t.Context(), "sqlite:"+filepath.Join(dir, "x.db"), cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := tasks.New[*sql.Tx](t.Context(), nil, nil, 0, tasks.Config{}); err == nil {
		t.Error("no driver")
	}
	var out bytes.Buffer
	c := opened(t, "sqlite:"+filepath.Join(dir, "y.db"), tasks.Config{River: river.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}})
	if _, err := c.DB().Exec("update river_migration set version = version + 100 where version = (select max(version) from river_migration)"); err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.Open(t.Context(), "sqlite:"+filepath.Join(dir, "y.db"), tasks.Config{}); err == nil || !strings.Contains(err.Error(), "may be newer than this package: migration 108 not found") {
		t.Error(err)
	}
}
