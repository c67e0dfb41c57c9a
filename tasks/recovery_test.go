package tasks_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/tasks"
)

// full is an import of everything, of which only the newest of an integration matters; look is a look at a status.
type (
	full struct {
		Integration string `json:"integration"`
		N           int    `json:"n"`
	}
	look struct{ N int }
)

func (full) Kind() string                { return "full_import" }
func (f full) LatestKey() string         { return f.Integration }
func (full) ExpiresAfter() time.Duration { return 5 * time.Minute }
func (look) Kind() string                { return "look" }
func (look) ExpiresAfter() time.Duration { return time.Minute }
func backlogOf(n int) (all []river.JobArgs) {
	for i := range n {
		switch i % 4 {
		case 0:
			all = append(all, full{fmt.Sprint("customer ", i%40), i})
		case 1, 2:
			all = append(all, look{i})
		default:
			all = append(all, work{Name: "event", N: i})
		}
	}
	return all
}

// A backlog that is hours old: each way to deal with it empties the queue, imports run once for each integration, and no event
// is lost.
func TestRecover(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 400
	}
	each(t, func(t *testing.T, dsn string) {
		for how, want := range map[tasks.Recovery]struct{ canceled, refreshed, imports, looks int }{
			tasks.RecoverRefresh:       {n/4 - 10 + n/2, 10, 10, 0},
			tasks.RecoverSkipStale:     {n/4 + n/2, 0, 0, 0}, // all imports have expired, too
			tasks.RecoverHoldSchedules: {0, 0, 0, 0},
		} {
			var events, imports, looks, ticks atomic.Int64
			cfg := config(func(context.Context, *river.Job[work]) error { events.Add(1); return nil })
			river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[full]) error { imports.Add(1); return nil }))
			river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[look]) error { looks.Add(1); return nil }))
			cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 100}
			cfg.River.Queues["ticks"] = river.QueueConfig{MaxWorkers: 1}
			river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[tick]) error { ticks.Add(1); return nil }))
			cfg.MaxDepth = -1
			cfg.Schedules = []tasks.Schedule{
				{Name: "held", Every: time.Second, Args: func(at time.Time) (river.JobArgs, *river.InsertOpts) { return tick{"held", at.Unix()}, nil }},
				{Name: "not held", Every: time.Second, Args: func(at time.Time) (river.JobArgs, *river.InsertOpts) {
					return tick{"not held", at.Unix()}, &river.InsertOpts{Queue: "ticks"}
				}},
			}
			c := opened(t, dsn, cfg)
			var params []river.InsertManyParams
			for _, args := range backlogOf(n) {
				params = append(params, river.InsertManyParams{Args: args})
			}
			if _, err := c.InsertMany(t.Context(), params); err != nil {
				t.Fatal(err)
			}
			for field, hours := range map[string]int64{"tasks_expires": 36_000_000, "tasks_inserted": 36_000_000_000_000} { // ten hours ago
				old := "update river_job set metadata = jsonb_set(metadata, '$.%[1]s', cast(metadata ->> '%[1]s' as integer) - %[2]d) where metadata ->> '%[1]s' is not null"
				if dsn[0] == 'p' {
					old = "update river_job set metadata = metadata || jsonb_build_object('%[1]s', cast(metadata ->> '%[1]s' as bigint) - %[2]d) where metadata ->> '%[1]s' is not null"
				}
				if _, err := c.DB().Exec(fmt.Sprintf(old, field, hours)); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			got, err := c.Recover(t.Context(), "default", how)
			if err != nil || got.Waiting != n || got.Canceled != want.canceled || got.Refreshed != want.refreshed {
				t.Fatalf("%d: %+v, %v", how, got, err)
			}
			recovered := time.Since(began)
			if how == tasks.RecoverHoldSchedules {
				if err := c.Pause(t.Context(), "default", "test"); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if how == tasks.RecoverHoldSchedules {
				eventually(t, "the other schedule", func() bool { return ticks.Load() > 0 })
				if n := count(t, c, "select count(*) from river_job where kind = 'tick' and queue = 'default'"); n != 0 {
					t.Errorf("%d tasks of a schedule that is held", n)
				}
				if err := c.Resume(t.Context(), "default", "test"); err != nil {
					t.Fatal(err)
				}
			}
			left := "select count(*) from river_job where state in ('available', 'running', 'scheduled', 'retryable') and kind <> 'tick'"
			eventually(t, "an empty queue", func() bool { time.Sleep(20 * time.Millisecond); return count(t, c, left) == 0 })
			t.Logf("way %d: %d tasks, %d canceled in %s, empty after %s", how, n, got.Canceled, recovered.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			if events.Load() != int64(n/4) || imports.Load() != int64(want.imports) || looks.Load() != int64(want.looks) {
				t.Errorf("%d: %d events, %d imports, %d looks", how, events.Load(), imports.Load(), looks.Load())
			}
			if how == tasks.RecoverHoldSchedules {
				eventually(t, "the schedule goes on", func() bool {
					return count(t, c, "select count(*) from river_job where kind = 'tick' and queue = 'default'") > 0
				})
			}
			if n := count(t, c, "select count(*) from river_job where state = 'discarded'"); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			if err := c.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, table := range []string{"river_job", "tasks_newest"} {
				if _, err := c.DB().Exec("delete from " + table); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

type tick struct {
	Name string `json:"name"`
	At   int64  `json:"at"`
}

func (tick) Kind() string { return "tick" }

// Nobody works: that is told, health shows it, and a process that receives helps out in an emergency.
func TestWatch(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var ran atomic.Int64
		alerts := make(chan tasks.Alert, 9)
		cfg := config(func(context.Context, *river.Job[work]) error { ran.Add(1); return nil })
		cfg.Alert = func(_ context.Context, a tasks.Alert) { alerts <- a }
		c := opened(t, dsn, cfg)
		var params []river.InsertManyParams
		for i := range 60 {
			params = append(params, river.InsertManyParams{Args: work{N: i}})
		}
		if _, err := c.InsertMany(t.Context(), params); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- c.Watch(ctx, tasks.Watch{
				Every: 20 * time.Millisecond, NoWorkers: 300 * time.Millisecond,
				Emergency: true, EmergencyWaiting: 50, EmergencyAge: 600 * time.Millisecond,
			})
		}()
		if a := <-alerts; a.Class != "no_workers" || ran.Load() > 0 {
			t.Error(a, ran.Load())
		}
		eventually(t, "help", func() bool { return ran.Load() >= 50 })
		eventually(t, "the end of it", func() bool {
			s, err := c.Status(t.Context())
			return err == nil && len(s.Processes) == 0
		})
		n := ran.Load()
		if n < 55 {
			t.Error(n)
		}
		insert(t, c, work{N: 100}, nil)
		if a := <-alerts; a.Class != "no_workers" { // again, as somebody has worked meanwhile
			t.Error(a)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for ms, want := range map[int]tasks.Health{100: tasks.HealthOK, 16_000: tasks.HealthLate, 61_000: tasks.HealthNoWorkers} {
			now := "unixepoch('subsec') * 1000"
			if dsn[0] == 'p' {
				now = "extract(epoch from clock_timestamp()) * 1000"
			}
			if _, err := c.DB().Exec(fmt.Sprintf("update tasks_clients set seen = cast(%s as bigint) - %d", now, ms)); err != nil {
				t.Fatal(err)
			}
			s, err := c.Status(t.Context())
			if err != nil || s.Health() != want {
				t.Error(ms, s.Health(), s.IdleFor, err)
			}
		}
		for _, w := range []tasks.Watch{{Every: -1}, {NoWorkers: -1}, {EmergencyWaiting: -1}, {EmergencyAge: -1}} {
			if c.Watch(t.Context(), w) == nil {
				t.Error("no error", w)
			}
		}
		if got := c.Numbers("default")(); got.Pending != 60-int(n)+1 {
			t.Errorf("%+v, %d have run", got, n)
		}
	})
}
