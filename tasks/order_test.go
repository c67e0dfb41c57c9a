package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/tasks"
)

// write is a task that writes to a resource.
type write struct {
	Resource string `json:"resource"`
	N        int    `json:"n"`
}

func (write) Kind() string       { return "write" }
func (w write) WritesTo() string { return w.Resource }

// One task writes to a resource at a time, and others are not held up; one that dies leaves nothing behind.
func TestWriters(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		var order []int
		var now, most, others atomic.Int32
		cfg := config(nil)
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(_ context.Context, job *river.Job[write]) error {
			if job.Args.Resource != "a" {
				others.Add(1)
				return nil
			}
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, job.Args.N)
			if job.Args.N == 2 {
				return river.JobCancel(errors.New("no"))
			}
			return nil
		}))
		c := opened(t, dsn, cfg)
		// as left by a process that was killed: the writer's task does not run
		dead := insert(t, c, write{"b", 0}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
		if _, err := c.DB().Exec("insert into tasks_writers (key, job, run) values ('a', $1, 1)", dead); err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for i := range 6 {
			ids = append(ids, insert(t, c, write{"a", i}, nil))
		}
		began := time.Now()
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			insert(t, c, write{fmt.Sprint("other", i), i}, nil)
		}
		for _, id := range ids {
			eventually(t, "the end", func() bool { return job(t, c, id).FinalizedAt != nil })
			if row := job(t, c, id); row.Attempt != 1 {
				t.Error(row.Attempt)
			}
		}
		if most.Load() != 1 || others.Load() != 6 {
			t.Error(most.Load(), others.Load())
		}
		took := time.Since(began)
		t.Logf("six tasks of 100 ms in %s, order %v", took.Round(10*time.Millisecond), order)
		if took > 15*time.Second { // those that wait are woken: else they would wait for up to half a minute
			t.Error("they were not woken")
		}
		if n := count(t, c, "select count(*) from tasks_writers where key = 'a'"); n != 0 {
			t.Error("a writer is left")
		}
	})
}

// of is a task of a company.
type of struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

func (of) Kind() string      { return "of" }
func (o of) Company() string { return o.Name }

// Companies take turns: nobody waits for the thousand tasks of another one.
func TestTurns(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		var done []string
		cfg := config(nil)
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(_ context.Context, job *river.Job[of]) error {
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			done = append(done, job.Args.Name)
			return nil
		}))
		c := opened(t, dsn, cfg)
		flood, few := 1500, 20
		if testing.Short() {
			flood = 300
		}
		many := func(name string, n, priority int) {
			t.Helper()
			var params []river.InsertManyParams
			for i := range n {
				params = append(params, river.InsertManyParams{Args: of{name, i}, InsertOpts: &river.InsertOpts{Priority: priority}})
			}
			if _, err := c.InsertMany(t.Context(), params); err != nil {
				t.Fatal(err)
			}
		}
		many("flood", flood, tasks.PriorityNormal)
		many("second flood", flood, tasks.PriorityNormal)
		many("small", few, tasks.PriorityNormal)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all", func() bool { mu.Lock(); defer mu.Unlock(); return len(done) == 2*flood+few })
		last, at := make(map[string]int), make(map[string]int)
		for i, name := range done {
			last[name] = i
			if at[name]++; i == len(done)/2 {
				t.Logf("after half: %v", at)
				if at["second flood"] < flood/10 {
					t.Errorf("the second flood has had %d of %d turns", at["second flood"], i)
				}
			}
		}
		t.Logf("the last of the small company was the %dth of %d", last["small"], len(done))
		if last["small"] > flood {
			t.Errorf("the small company waited for %d tasks", last["small"])
		}
	})
}

// The tasks of a tree, with what each has done.
func TestTree(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var c *tasks.Client[*sql.Tx]
		goOn := make(chan struct{})
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			for i := range int64(3) {
				if err := tasks.Progress(ctx, i+1, 3); err != nil {
					return err
				}
			}
			if job.Args.N < 3 { // master, companies, integrations, resources
				for i := range 3 {
					name := fmt.Sprint(job.Args.Name, ".", i)
					if _, err := c.Insert(ctx, work{Name: name, N: job.Args.N + 1}, nil); err != nil {
						return err
					}
				}
				return nil
			}
			if job.Args.Name == "m.1.1.1" {
				return failure(1, 0, 0) // one resource fails
			}
			if job.Args.Name == "m.2.2.2" {
				<-goOn
			}
			return nil
		})
		cfg.Decide = func(error, *rivertype.JobRow) tasks.Decision {
			return tasks.Decision{Action: tasks.Cancel, Class: "data"}
		}
		c = opened(t, dsn, cfg)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		insert(t, c, work{Name: "another", N: 3}, nil)
		root := insert(t, c, work{Name: "m"}, nil)
		tree := func() tasks.Tree {
			t.Helper()
			tree, err := c.Tree(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			return tree
		}
		eventually(t, "all but one", func() bool { now := tree(); return now.Completed == 38 && now.Failed == 1 && now.Total == 120 })
		if now := tree(); now.Running != 1 || now.Ended() || now.Total != 120 || now.Done < 117 {
			t.Errorf("%+v", now)
		}
		close(goOn)
		eventually(t, "the end", func() bool { return tree().Ended() })
		now := tree()
		if now.Done != 120 || now.Failed != 1 || now.Completed != 39 || len(now.Kinds) != 1 || now.Kinds[0].Completed != 39 {
			t.Errorf("%+v", now)
		}
		leaf := count(t, c, "select max(id) from river_job")
		if same, err := c.Tree(t.Context(), int64(leaf)); err != nil || same.Root != root || same.Completed != 39 {
			t.Errorf("%+v, %v", same, err)
		}
		if _, err := c.Tree(t.Context(), 1<<40); !errors.Is(err, rivertype.ErrNotFound) {
			t.Error(err)
		}
	})
}

// Many short tasks for one resource, inserted at once, run one behind the other, and what was put off for another reason is not
// woken by a writer's end.
func TestWritersThatAreShort(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		runs := make(map[int]int)
		cfg := config(nil)
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(_ context.Context, job *river.Job[write]) error {
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if runs[job.Args.N]++; job.Args.N == 3 {
				return failure(belay.ClassRateLimited, 429, time.Hour)
			}
			return nil
		}))
		c := started(t, dsn, cfg)
		var params []river.InsertManyParams
		for i := range 30 {
			params = append(params, river.InsertManyParams{Args: write{"a", i}})
		}
		if _, err := c.InsertMany(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all but one", func() bool {
			return count(t, c, "select count(*) from river_job where state = 'completed'") == 29
		})
		for i := range 10 { // further writers
			id := insert(t, c, write{"a", 100 + i}, nil)
			eventually(t, "the next", func() bool { return job(t, c, id).FinalizedAt != nil })
		}
		if n := runs[3]; n != 1 {
			t.Errorf("the task that waits for an hour ran %d times", n)
		}
	})
}
