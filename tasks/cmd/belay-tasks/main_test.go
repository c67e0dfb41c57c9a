package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/internal/pgserver"
	"github.com/belay-go/belay/tasks"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

type slow struct{}

func (slow) Kind() string { return "slow" }

// each runs f on an empty SQLite and, with BELAY_POSTGRES=1, on an empty PostgreSQL.
func each(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { f(t, "sqlite:"+filepath.Join(t.TempDir(), "belay.db")) })
	t.Run("Postgres", func(t *testing.T) {
		if os.Getenv("BELAY_POSTGRES") == "" {
			t.Skip("SKIPPED: BELAY_POSTGRES is not set")
		}
		f(t, pgserver.Database(t))
	})
}

// A deploy, as a shell does it, beside a process that works on the same database.
func TestDeploy(t *testing.T) { each(t, deploy) }

func deploy(t *testing.T, dsn string) {
	workers := river.NewWorkers()
	goOn := make(chan struct{})
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, _ *river.Job[slow]) error { <-goOn; return nil }))
	c, err := tasks.Open(t.Context(), dsn, tasks.Config{River: river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{"crm": {MaxWorkers: 1}}, FetchPollInterval: 50 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Stop(ctx)
	}()
	for range 3 {
		if _, err := c.Insert(t.Context(), slow{}, &river.InsertOpts{Queue: "crm"}); err != nil {
			t.Fatal(err)
		}
	}
	belay := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(t.Context(), args, dsn, &out)
		return out.String(), err
	}
	status := func(want string) {
		t.Helper()
		var out string
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if out, err = belay("status"); err != nil {
				t.Fatal(err)
			}
			if regexp.MustCompile(want).MatchString(out) {
				return
			}
		}
		t.Fatalf("%s\nwant %s", out, want)
	}
	status(`crm +2 +2 +\d+s +1 +0 *\n\nprocesses: 1\n`)
	if _, err := belay("drain", "-wait", "300ms"); !errors.Is(err, errLate) || !strings.Contains(err.Error(), "map[crm:1]") {
		t.Error(err)
	}
	close(goOn)
	if out, err := belay("drain"); err != nil || out != "no task runs\n" {
		t.Error(out, err)
	}
	status(`crm +2 +2 +\d+s +0 +0 +drain *\n`)
	if _, err := belay("verify", "-wait", "0s"); !errors.Is(err, errLate) {
		t.Error("the old process is taken for a new one:", err)
	}
	if _, err := belay("resume"); err != nil {
		t.Error(err)
	}
	if _, err := belay("verify"); err != nil {
		t.Error(err)
	}
	if _, err := belay("verify", "-n", "2", "-wait", "0s"); !errors.Is(err, errLate) {
		t.Error(err)
	}
	status(`WAITING.*\n(?s:.*)processes: 1\n`)
}

// Dead letters are shown and replayed, and a queue is recovered, from a shell.
func TestRepair(t *testing.T) { each(t, repair) }

func repair(t *testing.T, dsn string) {
	workers := river.NewWorkers()
	var mended atomic.Bool
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, _ *river.Job[slow]) error {
		if mended.Load() {
			return nil
		}
		return errors.New("record 17 is gone")
	}))
	c, err := tasks.Open(t.Context(), dsn, tasks.Config{River: river.Config{Workers: workers, Queues: map[string]river.QueueConfig{"crm": {MaxWorkers: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Stop(context.Background()) }()
	for range 3 {
		if _, err := c.Insert(t.Context(), slow{}, &river.InsertOpts{Queue: "crm", MaxAttempts: 1}); err != nil {
			t.Fatal(err)
		}
	}
	belay := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		if err := run(t.Context(), args, dsn, &out); err != nil {
			t.Fatal(args, err)
		}
		return out.String()
	}
	var fingerprint string
	for fingerprint == "" {
		if found := regexp.MustCompile(`3 +slow +other +([0-9a-f]{16}) +\S+Z +record 17 is gone`).FindStringSubmatch(belay("dead")); found != nil {
			fingerprint = found[1]
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out := belay("replay", "-fingerprint", fingerprint); out != "3 would be replayed; do it with -run\n" {
		t.Error(out)
	}
	mended.Store(true)
	if out := belay("replay", "-fingerprint", fingerprint, "-per-second", "100", "-run"); !strings.HasPrefix(out, "3 of 3 are available again; 0 stay") {
		t.Error(out)
	}
	if out := belay("dead", "-kind", "slow"); strings.Contains(out, "slow") {
		t.Error(out)
	}
	if out := belay("recover", "-queue", "crm", "-how", "skip-stale"); !strings.HasSuffix(out, "0 were canceled, 0 begin anew\n") {
		t.Error(out)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"recover", "-queue", "crm", "-how", "x"}, dsn, &out); err == nil || !strings.Contains(err.Error(), `-how is "x"`) {
		t.Error(err)
	}
}

func TestBadInput(t *testing.T) {
	for want, args := range map[string][]string{
		`the command is "", must be`:     nil,
		`the command is "stop", must be`: {"stop"},
		"there is no database":           {"status"},
		"flag provided but not defined":  {"status", "-x"},
		"invalid value":                  {"drain", "-wait", "soon"},
		`begins neither with "sqlite:"`:  {"-db", "x", "status"},
		"no such file":                   {"-db", "sqlite:missing.db", "drain"},
		`"x" is no flag`:                 {"status", "x"},
	} {
		var out strings.Builder
		if err := run(t.Context(), args, "", &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}
