package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
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

// A queue is held until each reason is taken back, other queues are not, and what users pause by River stays paused.
func TestPauses(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran sync.Map
		cfg := config(func(_ context.Context, job *river.Job[work]) error { ran.Store(job.Args.Name, true); return nil })
		for _, name := range []string{"crm", "pay", "later"} {
			cfg.River.Queues[name] = river.QueueConfig{MaxWorkers: 2}
		}
		c := opened(t, dsn, cfg)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(c.Pause(t.Context(), "later", "before anybody works on it"))
		must(c.Start(t.Context()))
		must(c.Pause(t.Context(), "crm", "a"))
		must(c.Pause(t.Context(), "crm", "b"))
		must(c.Pause(t.Context(), "crm", "b"))
		eventually(t, "the queue pay", func() bool { return c.QueuePause(t.Context(), "pay", nil) == nil }) // the user's own
		time.Sleep(300 * time.Millisecond)
		for _, name := range []string{"crm", "pay", "later", "default"} {
			insert(t, c, work{Name: name}, &river.InsertOpts{Queue: name})
		}
		names := func() (all string) {
			for _, name := range []string{"crm", "default", "later", "pay"} {
				if _, ok := ran.Load(name); ok {
					all += name + " "
				}
			}
			return all
		}
		eventually(t, "default", func() bool { return names() == "default " })
		must(c.Resume(t.Context(), "crm", "a"))
		must(c.Resume(t.Context(), "crm", "never"))
		time.Sleep(300 * time.Millisecond)
		if got := names(); got != "default " {
			t.Error(got)
		}
		reasons, err := c.Paused(t.Context())
		must(err)
		if fmt.Sprint(reasons) != "map[crm:[b] later:[before anybody works on it]]" {
			t.Error(reasons)
		}
		must(c.Resume(t.Context(), "crm", "b"))
		eventually(t, "crm", func() bool { return names() == "crm default " })
		must(c.Resume(t.Context(), "later", "before anybody works on it"))
		eventually(t, "later", func() bool { return names() == "crm default later " })
		must(c.QueueResume(t.Context(), "pay", nil))
		eventually(t, "pay", func() bool { return names() == "crm default later pay " })
		if c.Pause(t.Context(), "", "x") == nil || c.Resume(t.Context(), "x", "") == nil {
			t.Error("no error")
		}
	})
}

// A deploy: no task begins, those that run end, the next process goes on.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran atomic.Int32
		slow := func(context.Context, *river.Job[work]) error {
			time.Sleep(300 * time.Millisecond)
			ran.Add(1)
			return nil
		}
		first := started(t, dsn, config(slow))
		for i := range 20 {
			insert(t, first, work{N: i}, nil)
		}
		eventually(t, "it works", func() bool { return ran.Load() > 0 })
		running, err := first.Drain(t.Context(), 10*time.Second)
		if err != nil || len(running) > 0 {
			t.Fatal(running, err)
		}
		done := ran.Load()
		if done == 20 {
			t.Fatal("nothing is left")
		}
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := started(t, dsn, config(slow))
		if err := next.VerifyWorkers(t.Context(), 1, 10*time.Second); err != nil {
			t.Error(err)
		}
		if err := next.VerifyWorkers(t.Context(), 5, 0); err == nil || !strings.Contains(err.Error(), "wanted 5") {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond)
		if ran.Load() != done {
			t.Error("not held")
		}
		if err := next.Resume(t.Context(), "*", "drain"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all", func() bool { return ran.Load() == 20 })
		running, err = next.Drain(t.Context(), time.Second)
		if err != nil || len(running) > 0 {
			t.Error(running, err)
		}
	})
}

// A partner that is down holds its queue, and no other, and costs no attempts; it goes on by itself.
func TestGates(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var down atomic.Bool
		var calls, wasted, others atomic.Int32
		client, err := belay.New("https://crm.test", belay.WithName("crm"), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithTransport(roundTrip(func(req *http.Request) (*http.Response, error) {
				calls.Add(1)
				if down.Load() {
					wasted.Add(1)
					return nil, errors.New("connection refused")
				}
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			if job.Queue == "default" {
				others.Add(1)
				return nil
			}
			_, err := belay.Get[belay.None](ctx, client, "/x"+job.Args.Name)
			return err
		})
		cfg.River.Queues["crm"] = river.QueueConfig{MaxWorkers: 20}
		cfg.Gates = map[string]tasks.Gate{"crm": tasks.ClientGate(client), "default": tasks.GateFunc(func() (bool, string) { panic("no") })}
		cfg.Decide = func(err error, job *rivertype.JobRow) tasks.Decision {
			d := tasks.Decide(err, job)
			d.Wait = min(d.Wait, 100*time.Millisecond) // test time
			return d
		}
		c := started(t, dsn, cfg)
		down.Store(true)
		const n = 100
		ids := make([]int64, n)
		for i := range n {
			ids[i] = insert(t, c, work{Name: fmt.Sprint(i % 7)}, &river.InsertOpts{Queue: "crm"})
		}
		eventually(t, "the queue is held", func() bool {
			reasons, err := c.Paused(t.Context())
			return err == nil && len(reasons["crm"]) == 1
		})
		time.Sleep(2 * time.Second)
		for range 20 {
			insert(t, c, work{}, nil)
		}
		eventually(t, "the others", func() bool { return others.Load() == 20 })
		down.Store(false)
		began := time.Now()
		for _, id := range ids {
			eventually(t, "all", func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
		}
		spent := 0
		for _, id := range ids {
			if job(t, c, id).Attempt > 1 {
				spent++
			}
		}
		t.Logf("%d requests wasted, %d tasks spent an attempt, all done %s after the end", wasted.Load(), spent, time.Since(began).Round(10*time.Millisecond))
		if wasted.Load() > 60 || spent > 40 {
			t.Fail()
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A process that is killed while its gate holds a queue does not hold it for ever.
func TestGatesOfTheDead(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran atomic.Int32
		cfg := config(func(context.Context, *river.Job[work]) error { ran.Add(1); return nil })
		cfg.Heartbeat, cfg.DeadAfter = 100*time.Millisecond, 300*time.Millisecond
		cfg.River.Queues["held"] = river.QueueConfig{MaxWorkers: 1}
		cfg.Gates = map[string]tasks.Gate{"held": tasks.GateFunc(func() (bool, string) { return false, "down" })}
		c := started(t, dsn, cfg)
		holds := func() bool {
			reasons, err := c.Paused(t.Context())
			return err == nil && len(reasons["held"]) == 1
		}
		eventually(t, "the gate holds", holds)
		if _, err := c.DB().Exec("delete from tasks_pauses where queue = 'held'"); err != nil { // as if it was taken for dead
			t.Fatal(err)
		}
		eventually(t, "the gate holds again", holds)
		if err := c.Pause(t.Context(), "default", "own"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DB().Exec("insert into tasks_pauses (queue, reason, at, owner) values ('default', 'gate: x', 0, 'gone')"); err != nil {
			t.Fatal(err)
		}
		insert(t, c, work{}, nil)
		eventually(t, "the reason of the dead one is gone", func() bool {
			reasons, err := c.Paused(t.Context())
			return err == nil && fmt.Sprint(reasons["default"]) == "[own]"
		})
		if ran.Load() != 0 {
			t.Error("the own reason was lifted")
		}
		if err := c.Resume(t.Context(), "default", "own"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it goes on", func() bool { return ran.Load() == 1 })
	})
}

// Above its bound a queue takes no more, until nine tenths wait; other queues do.
func TestDepth(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.MaxDepth, cfg.Depths = 100, map[string]int{"free": -1, "small": 2}
		c := opened(t, dsn, cfg)
		many := func(n int, queue string) error {
			var params []river.InsertManyParams
			for i := range n {
				params = append(params, river.InsertManyParams{Args: work{N: i}, InsertOpts: &river.InsertOpts{Queue: queue}})
			}
			_, err := c.InsertManyFast(t.Context(), params)
			return err
		}
		for i, step := range []struct {
			n     int
			queue string
			full  bool
		}{{100, "a", false}, {1, "a", true}, {1, "b", false}, {150, "c", true}, {100, "c", false}, {300, "free", false}, {300, "free", false}, {2, "small", false}, {1, "small", true}} {
			var full *tasks.QueueFullError
			if err := many(step.n, step.queue); errors.As(err, &full) != step.full {
				t.Error(i, err)
			}
		}
		remove := func(n int) {
			if _, err := c.DB().Exec("delete from river_job where id in (select id from river_job where queue = 'a' limit $1)", n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond)
		}
		remove(5)
		if err := many(1, "a"); err == nil {
			t.Error("95 wait: it stays full")
		}
		remove(10)
		if err := many(1, "a"); err != nil {
			t.Error(err)
		}
		// In a transaction of the user's, too; with one connection it does not wait for itself.
		tx, err := c.DB().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.InsertTx(t.Context(), tx, work{}, &river.InsertOpts{Queue: "small"})
		_ = tx.Rollback()
		if !errors.As(err, new(*tasks.QueueFullError)) {
			t.Error(err)
		}
	})
}

// Thousands of dead letters are grouped by what differs in kind, and replayed once, at a pace; a live twin is told.
func TestDeadLetters(t *testing.T) {
	n := 5040
	if testing.Short() {
		n = 240
	}
	each(t, func(t *testing.T, dsn string) {
		var mended atomic.Bool
		var ran atomic.Int32
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			if mended.Load() {
				ran.Add(1)
				return nil
			}
			return fmt.Errorf("reason %s: record %d of %q is gone", strings.Repeat("x", job.Args.N%12+1), job.Args.N*7919, fmt.Sprint("customer ", job.Args.N))
		})
		cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 100}
		cfg.MaxDepth = -1
		c := started(t, dsn, cfg)
		half := n / 24
		var params []river.InsertManyParams
		for i := range n {
			params = append(params, river.InsertManyParams{Args: work{N: i}, InsertOpts: &river.InsertOpts{MaxAttempts: 1}})
		}
		if _, err := c.InsertManyFast(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all are dead", func() bool {
			groups, err := c.DeadGroups(t.Context(), tasks.DeadFilter{})
			total := 0
			for _, g := range groups {
				total += g.Count
			}
			return err == nil && total == n
		})
		groups, err := c.DeadGroups(t.Context(), tasks.DeadFilter{Since: time.Now().Add(-24 * time.Hour)})
		if err != nil || len(groups) != 12 {
			t.Fatal(len(groups), err)
		}
		for _, g := range groups {
			if g.Count != n/12 || g.Kind != "work" || g.Class != "other" || g.Last.IsZero() || time.Since(g.Last) > time.Minute || !strings.Contains(g.Example, "is gone") {
				t.Errorf("%+v", g)
			}
		}
		if groups, err := c.DeadGroups(t.Context(), tasks.DeadFilter{Until: time.Now().Add(-time.Hour)}); len(groups) != 0 || err != nil {
			t.Error(groups, err)
		}
		one := tasks.DeadFilter{Fingerprint: groups[0].Fingerprint}
		var first tasks.Dead
		for d, err := range c.DeadLetters(t.Context(), one) {
			if err != nil {
				t.Fatal(err)
			}
			first = d
			break
		}
		if len(first.Attempts) != 1 || first.Queue != "default" || !strings.Contains(string(first.Args), `"n":`) || first.At.IsZero() {
			t.Errorf("%+v", first)
		}
		mended.Store(true)
		dry, err := c.Replay(t.Context(), one, tasks.Replay{DryRun: true, Limit: half})
		if err != nil || dry.Matched != half || dry.Replayed != 0 {
			t.Error(dry, err)
		}
		began := time.Now()
		got, err := c.Replay(t.Context(), one, tasks.Replay{PerSecond: 50, Limit: half})
		if took := time.Since(began); err != nil || got.Replayed != half || took < time.Duration(half-1)*20*time.Millisecond {
			t.Error(got, err, took)
		}
		eventually(t, "half", func() bool { return ran.Load() == int32(half) })
		if got, err := c.Replay(t.Context(), one, tasks.Replay{}); err != nil || got.Replayed != half {
			t.Error(got, err)
		}
		eventually(t, "all", func() bool { return ran.Load() == int32(2*half) })
		if got, err := c.Replay(t.Context(), one, tasks.Replay{}); err != nil || got.Matched != 0 {
			t.Error("replayed twice", got, err)
		}
		removed, err := c.Discard(t.Context(), tasks.DeadFilter{Fingerprint: groups[1].Fingerprint})
		if err != nil || removed != int64(n/12) {
			t.Error(removed, err)
		}
		// A live twin.
		mended.Store(false)
		unique := &river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByArgs: true}}
		dead := insert(t, c, work{Name: "unique"}, unique)
		eventually(t, "dead", func() bool { return job(t, c, dead).State == rivertype.JobStateDiscarded })
		if err := c.Pause(t.Context(), "default", "test"); err != nil {
			t.Fatal(err)
		}
		twin := insert(t, c, work{Name: "unique"}, unique)
		if twin == dead {
			t.Fatal("no twin")
		}
		fingerprint := deadOf(t, c, dead).Fingerprint
		filter := tasks.DeadFilter{Fingerprint: fingerprint, Since: time.Now().Add(-time.Minute)}
		dry, err = c.Replay(t.Context(), filter, tasks.Replay{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err = c.Replay(t.Context(), filter, tasks.Replay{})
		if !slices.Equal(dry.Conflicts, got.Conflicts) || dry.Matched-len(dry.Conflicts) != got.Replayed {
			t.Errorf("the dry run: %+v, the real one: %+v", dry, got)
		}
		conflict := false
		for _, id := range got.Conflicts {
			conflict = conflict || id == dead
		}
		if err != nil || !conflict {
			t.Error(got, err)
		}
		for _, bad := range []tasks.Replay{{PerSecond: -1}, {Limit: -1}} {
			if _, err := c.Replay(t.Context(), one, bad); err == nil {
				t.Error(bad)
			}
		}
	})
}

func deadOf(t testing.TB, c *tasks.Client[*sql.Tx], id int64) tasks.Dead {
	t.Helper()
	for d, err := range c.DeadLetters(t.Context(), tasks.DeadFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.ID == id {
			return d
		}
	}
	t.Fatal("not dead")
	return tasks.Dead{}
}

// period is the arguments of a schedule's task.
type period struct {
	At int64 `json:"at"`
}

func (period) Kind() string { return "period" }

func scheduled(dsn string, every time.Duration) tasks.Config {
	cfg := config(func(context.Context, *river.Job[work]) error { return nil })
	river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[period]) error { return nil }))
	cfg.Shared = true
	cfg.Schedules = []tasks.Schedule{{Name: "all", Every: every, CatchUp: 10, Args: func(at time.Time) (river.JobArgs, *river.InsertOpts) {
		return period{at.Unix()}, nil
	}}}
	return cfg
}

// TestScheduleChild is not a test: it is a process that inserts by schedule until it is killed.
func TestScheduleChild(t *testing.T) {
	dsn := os.Getenv("BELAY_SCHEDULE_DSN")
	if dsn == "" {
		t.Skip("run by TestSchedules")
	}
	started(t, dsn, scheduled(dsn, time.Second))
	select {}
}

// Each period has one task, with two processes that are killed again and again.
func TestSchedules(t *testing.T) {
	t.Parallel() // it waits most of the time
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		c := opened(t, dsn, scheduled(dsn, time.Second)) // not started: it has made the tables, and looks
		began := time.Now()
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				for n := 0; time.Since(began) < 12*time.Second; n++ {
					child := exec.Command(os.Args[0], "-test.run", "^TestScheduleChild$", "-test.timeout", "60s")
					child.Env = append(os.Environ(), "BELAY_SCHEDULE_DSN="+dsn)
					if err := child.Start(); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Duration(1500+700*((i+n)%3)) * time.Millisecond)
					_ = child.Process.Kill()
					_ = child.Wait()
				}
			})
		}
		all.Wait()
		started(t, dsn, scheduled(dsn, time.Second)) // makes up what was missed
		first, end := began.Unix()+1, time.Now().Unix()
		var seen map[int64]int
		eventually(t, "all periods", func() bool {
			time.Sleep(50 * time.Millisecond)
			seen = periods(t, c, dsn)
			for at := first; at < end; at++ {
				if seen[at] == 0 {
					return false
				}
			}
			return true
		})
		doubled := 0
		for _, n := range seen {
			if n > 1 {
				doubled++
			}
		}
		t.Logf("%d periods, 0 missed, %d doubled", len(seen), doubled)
		if doubled > 0 {
			t.Fail()
		}
	})
}

// periods returns how many tasks there are for each period.
func periods(t testing.TB, c *tasks.Client[*sql.Tx], dsn string) map[int64]int {
	t.Helper()
	args := "args"
	if strings.HasPrefix(dsn, "sqlite:") {
		args = "json(args)"
	}
	rows, err := c.DB().Query("select " + args + " from river_job where kind = 'period'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := make(map[int64]int)
	for rows.Next() {
		var text []byte
		var at int64
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(strings.ReplaceAll(string(text), " ", ""), `{"at":%d}`, &at); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		seen[at]++
	}
	return seen
}

func TestScheduleBadInput(t *testing.T) {
	t.Parallel()
	args := func(time.Time) (river.JobArgs, *river.InsertOpts) { return work{}, nil }
	for want, s := range map[string]tasks.Schedule{
		"has no Name":              {Every: time.Second, Args: args},
		"Every is 1ms":             {Name: "x", Every: time.Millisecond, Args: args},
		"CatchUp is -1":            {Name: "x", Every: time.Second, CatchUp: -1, Args: args},
		"Args is nil":              {Name: "x", Every: time.Second},
		`Config.Gates["q"] is nil`: {},
	} {
		cfg := tasks.Config{Schedules: []tasks.Schedule{s}}
		if s.Every == 0 {
			cfg = tasks.Config{Gates: map[string]tasks.Gate{"q": nil}}
		}
		_, err := tasks.Open(t.Context(), "sqlite:"+t.TempDir()+"/x.db", cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Two processes that pause and resume a queue at the same time, by many reasons, leave it open when the last reason is
// taken back: none of them forgets that it has paused what another one has just resumed.
func TestPausesAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		cfg.Shared, cfg.Heartbeat = true, 200*time.Millisecond
		clients := []*tasks.Client[*sql.Tx]{started(t, dsn, cfg), started(t, dsn, cfg)}
		for round := range 15 {
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() {
					c, reason := clients[i%2], fmt.Sprint("reason ", i)
					for range 10 {
						if err := errors.Join(c.Pause(t.Context(), "default", reason), c.Resume(t.Context(), "default", reason)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			if t.Failed() {
				return
			}
			eventually(t, fmt.Sprint("open after round ", round), func() bool {
				q, err := clients[0].QueueGet(t.Context(), "default")
				return err == nil && q.PausedAt == nil
			})
		}
		id := insert(t, clients[0], work{}, nil)
		eventually(t, "it works", func() bool { return job(t, clients[0], id).FinalizedAt != nil })
	})
}
