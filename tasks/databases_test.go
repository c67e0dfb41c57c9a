package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// each runs f on an empty SQLite and, with BELAY_POSTGRES=1, at the same time on an empty PostgreSQL.
func each(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		f(t, "sqlite:"+filepath.Join(t.TempDir(), "belay.db"))
	})
	t.Run("Postgres", func(t *testing.T) {
		if os.Getenv("BELAY_POSTGRES") == "" {
			t.Skip("SKIPPED: BELAY_POSTGRES is not set")
		}
		t.Parallel()
		f(t, pgserver.Database(t))
	})
}

// work is the arguments of a task whose work is a function.
type work struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

func (work) Kind() string { return "work" }

type workFunc func(ctx context.Context, job *river.Job[work]) error

func workers(f workFunc) *river.Workers {
	w := river.NewWorkers()
	river.AddWorker(w, river.WorkFunc(func(ctx context.Context, job *river.Job[work]) error { return f(ctx, job) }))
	return w
}

// config is one queue with five workers, which looks often.
func config(f workFunc) tasks.Config {
	return tasks.Config{River: river.Config{
		Workers: workers(f), Queues: map[string]river.QueueConfig{"default": {MaxWorkers: 5}},
		FetchPollInterval: 50 * time.Millisecond,
	}}
}

func opened(t testing.TB, dsn string, cfg tasks.Config) *tasks.Client[*sql.Tx] {
	t.Helper()
	c, err := tasks.Open(t.Context(), dsn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(c.Stop(ctx), c.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func started(t testing.TB, dsn string, cfg tasks.Config) *tasks.Client[*sql.Tx] {
	t.Helper()
	c := opened(t, dsn, cfg)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until f is true, as long as a slow machine may need for it.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not yet: " + what)
		}
	}
}
