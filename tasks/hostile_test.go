package tasks_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/tasks"
)

// Several processes and a few resources: never two writers of one at once, and no task runs twice.
func TestWritersOfManyProcesses(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const keys, n, clients = 3, 400, 4
		var writing [keys]atomic.Int32
		var overlaps, runs atomic.Int32
		cfg := func() tasks.Config {
			cfg := config(nil)
			cfg.Shared, cfg.MaxDepth = true, -1
			cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 4}
			river.AddWorker(cfg.River.Workers, river.WorkFunc(func(_ context.Context, job *river.Job[write]) error {
				k := job.Args.N % keys
				if writing[k].Add(1) > 1 {
					overlaps.Add(1)
				}
				time.Sleep(time.Duration(job.Args.N%3) * time.Millisecond)
				writing[k].Add(-1)
				runs.Add(1)
				return nil
			}))
			return cfg
		}
		var c *tasks.Client[*sql.Tx]
		for range clients {
			c = started(t, dsn, cfg())
		}
		for i := range n {
			insert(t, c, write{fmt.Sprint("key", i%keys), i}, nil)
		}
		for deadline := time.Now().Add(3 * time.Minute); count(t, c, "select count(*) from river_job where state = 'completed'") < n; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(count(t, c, "select count(*) from river_job where state = 'completed'"))
			}
		}
		if overlaps.Load() > 0 || runs.Load() != n {
			t.Errorf("%d overlaps, %d runs of %d tasks", overlaps.Load(), runs.Load(), n)
		}
	})
}

// Errors, panics and cancellations with a NUL or a credential: the one harms no other task, and the other is stored and logged
// nowhere.
func TestHostileErrors(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const secret = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
		var out safeBuffer
		cfg := config(func(_ context.Context, job *river.Job[work]) error {
			text := "no\x00body: Authorization: " + secret
			switch job.Args.Name {
			case "error":
				return errors.New(text)
			case "cancel":
				return river.JobCancel(errors.New(text))
			case "panic":
				panic(text)
			case "snooze":
				return failure(belay.ClassRateLimited, 429, time.Hour)
			}
			return nil
		})
		cfg.River.Logger = slog.New(slog.NewTextHandler(&out, nil))
		c := started(t, dsn, cfg)
		ids := make(map[string]int64)
		for _, name := range []string{"error", "cancel", "panic", "well", "well too"} {
			ids[name] = insert(t, c, work{Name: name}, &river.InsertOpts{MaxAttempts: 1})
		}
		for name, id := range ids {
			eventually(t, name, func() bool { return job(t, c, id).FinalizedAt != nil })
			row := job(t, c, id)
			if all := fmt.Sprintf("%+v %s", row, row.Metadata); strings.Contains(all, "eyJhbGci") {
				t.Errorf("%s: the credential is stored", name)
			}
			if well := strings.HasPrefix(name, "well"); well != (row.State == rivertype.JobStateCompleted) {
				t.Error(name, row.State)
			}
		}
		if strings.Contains(out.String(), "eyJhbGci") {
			t.Error("the credential is logged")
		}
	})
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Names and keys that a database or River does not take.
func TestHostileNames(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		cfg := config(nil)
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[of]) error { return nil }))
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[write]) error { return nil }))
		river.AddWorker(cfg.River.Workers, tasks.EventWorker(func(context.Context, inbox.Item) error { return nil }))
		c := started(t, dsn, cfg)
		for _, name := range []string{"a\x00b", "\xff\xfe", "Ä' OR 1=1 --", strings.Repeat("x", 1000)} {
			id := insert(t, c, of{Name: strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), ""), N: 1}, nil)
			eventually(t, name, func() bool { return job(t, c, id).State == rivertype.JobStateCompleted })
		}
		if _, err := c.Insert(t.Context(), write{strings.Repeat("x", 1001), 1}, nil); err == nil || !strings.Contains(err.Error(), "WritesTo has 1001 bytes") {
			t.Error(err)
		}
		in, err := tasks.Inbox(c, tasks.Events{})
		if err != nil {
			t.Fatal(err)
		}
		for i, partner := range []string{"CRM", "acme.com", "crm_", "ünïcode", "\x00", "my-crm"} {
			d := belay.Delivery{ID: "d\x00", Partner: partner, Integration: "a\x00b", Events: []belay.WebhookEvent{{ID: fmt.Sprint("e\x00", i), Type: "t\x00"}}, Body: []byte{0, 1, 2}}
			if stored, err := in.Put(t.Context(), d); err != nil || !stored {
				t.Errorf("%q: %v", partner, err)
			}
		}
		for name, want := range map[string]string{"CRM": "crm", "acme.com": "acme_com", "crm_": "crm", "--": "events", "my-crm": "my-crm", "a--b": "a_b", strings.Repeat("a.", 100): strings.Repeat("a_", 31) + "a"} {
			if got := tasks.QueueName(name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		// The same events in other orders, from several receivers at once.
		var all sync.WaitGroup
		var failed, stored atomic.Int32
		for range 6 {
			all.Go(func() {
				var ids []string
				for _, i := range rand.Perm(20) {
					ids = append(ids, fmt.Sprint("shared", i))
				}
				ok, err := in.Put(t.Context(), delivery(ids...))
				if err != nil {
					failed.Add(1)
					t.Log(err)
				}
				if ok {
					stored.Add(1)
				}
			})
		}
		all.Wait()
		if failed.Load() > 0 || stored.Load() != 1 {
			t.Error(failed.Load(), stored.Load())
		}
	})
}

// What an import's Save does wrong is not hidden by its budget, and Progress within it does not wait for itself.
func TestHostileSave(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		partner := newCRM(t, 95)
		var c *tasks.Client[*sql.Tx]
		c = opened(t, dsn, importConfig(func(ctx context.Context, job *river.Job[importArgs]) error {
			im := contactsOf(partner.URL)
			save := im.Save
			im.Key = job.Args.Mode
			if job.Args.Mode == "fails" {
				im.Calls, im.Rest, im.Job.BatchSize = 3, 10*time.Millisecond, 1000
			}
			im.Save = func(ctx context.Context, tx *sql.Tx, b importer.Batch[contact]) error {
				if job.Args.Mode == "fails" {
					return errors.New("the store fails")
				}
				time.Sleep(20 * time.Millisecond)
				if err := tasks.Progress(ctx, int64(len(b.Records)), 95); err != nil {
					return err
				}
				return save(ctx, tx, b)
			}
			_, err := tasks.RunImport(ctx, c, im)
			return err
		}))
		contactsTable(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for mode, want := range map[string]rivertype.JobState{"fails": rivertype.JobStateDiscarded, "progress": rivertype.JobStateCompleted} {
			id := insert(t, c, importArgs{mode}, &river.InsertOpts{MaxAttempts: 1})
			eventually(t, mode, func() bool { return job(t, c, id).FinalizedAt != nil })
			if row := job(t, c, id); row.State != want {
				t.Error(mode, row.State, row.Errors)
			}
		}
	})
}

// Schedules that are held go on although tasks wait for another day.
func TestHoldEnds(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		cfg := config(func(context.Context, *river.Job[work]) error { return nil })
		river.AddWorker(cfg.River.Workers, river.WorkFunc(func(context.Context, *river.Job[tick]) error { return nil }))
		cfg.Schedules = []tasks.Schedule{{Name: "held", Every: time.Second, Args: func(at time.Time) (river.JobArgs, *river.InsertOpts) { return tick{"held", at.Unix()}, nil }}}
		c := opened(t, dsn, cfg)
		insertWork(t, c, 0, 40)
		for i := range 5 {
			insert(t, c, work{N: 100 + i}, &river.InsertOpts{ScheduledAt: time.Now().Add(24 * time.Hour)})
		}
		if _, err := c.Recover(t.Context(), "default", tasks.RecoverHoldSchedules); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the schedule", func() bool { return count(t, c, "select count(*) from river_job where kind = 'tick'") > 0 })
	})
}
