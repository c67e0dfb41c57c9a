package tasks_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/tasks"
)

// ledgered returns the configuration of a process that notes each task in a table: those with an even number in the
// transaction that completes them, and the others before they end.
func ledgered(shared bool) tasks.Config {
	var c *tasks.Client[*sql.Tx]
	cfg := config(func(ctx context.Context, job *river.Job[work]) error {
		if lasts, err := time.ParseDuration(job.Args.Name); err == nil {
			time.Sleep(lasts)
		}
		if job.Args.N%2 == 1 {
			_, err := c.DB().ExecContext(ctx, "insert into ledger (n) values ($1)", job.Args.N)
			return err
		}
		tx, err := c.DB().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, "insert into ledger (n) values ($1)", job.Args.N); err != nil {
			return err
		}
		if err := tasks.CompleteTx(ctx, tx, job); err != nil {
			return err
		}
		return tx.Commit()
	})
	cfg.River.Queues["default"] = river.QueueConfig{MaxWorkers: 50}
	cfg.MaxDepth, cfg.Shared = -1, shared
	cfg.MaxRequeues = 100 // a task may be under the hand of each process that is killed
	setClient = func(made *tasks.Client[*sql.Tx]) { c = made }
	return cfg
}

var setClient func(*tasks.Client[*sql.Tx])

// TestLedgerChild is not a test: it is a process that works until it is killed.
func TestLedgerChild(t *testing.T) {
	dsn := os.Getenv("BELAY_LEDGER_DSN")
	if dsn == "" {
		t.Skip("run by TestTwentyKills")
	}
	c := opened(t, dsn, ledgered(os.Getenv("BELAY_LEDGER_SHARED") != ""))
	setClient(c)
	for c.Start(t.Context()) != nil { // the one before has not ended
		time.Sleep(5 * time.Millisecond)
	}
	select {}
}

// Tasks that were inserted and acknowledged, while the processes that work on them are killed twenty times: none is lost, none
// is done twice that completes in its transaction, and none spends an attempt.
func TestTwentyKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	n := 20_000
	if s := os.Getenv("BELAY_LEDGER_N"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	each(t, func(t *testing.T, dsn string) {
		sqlite := strings.HasPrefix(dsn, "sqlite:")
		cfg := tasks.Config{River: river.Config{Workers: workers(nil)}, MaxDepth: -1}
		c := opened(t, dsn, cfg)
		if _, err := c.DB().Exec("create table ledger (n bigint not null)"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var params []river.InsertManyParams
		for i := range n {
			params = append(params, river.InsertManyParams{Args: work{N: i}})
			if len(params) == 1000 {
				if _, err := c.InsertManyFast(t.Context(), params); err != nil {
					t.Fatal(err)
				}
				params = nil
			}
		}
		t.Logf("%d tasks inserted, %.0f a second", n, float64(n)/time.Since(began).Seconds())
		done := make(chan struct{})
		var mu sync.Mutex
		kills := 0
		var all sync.WaitGroup
		processes := 1
		if !sqlite {
			processes = 2
		}
		for i := range processes {
			all.Go(func() {
				for {
					child := exec.Command(os.Args[0], "-test.run", "^TestLedgerChild$", "-test.timeout", "300s")
					child.Env = append(os.Environ(), "BELAY_LEDGER_DSN="+dsn)
					if err := child.Start(); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					enough := kills >= 20
					kills++
					at := kills
					mu.Unlock()
					if enough {
						<-done
					} else {
						time.Sleep(time.Duration(600+(at*337+i*191)%700) * time.Millisecond)
					}
					_ = child.Process.Kill()
					_ = child.Wait()
					if enough {
						return
					}
				}
			})
		}
		count := func(query string) (x int) {
			if err := c.DB().QueryRow(query).Scan(&x); err != nil {
				t.Error(err)
			}
			return x
		}
		for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			if count("select count(*) from river_job where state = 'completed'") == n {
				break
			}
		}
		close(done)
		all.Wait()
		completed := count("select count(*) from river_job where state = 'completed'")
		lost := n - count("select count(distinct n) from ledger")
		twice := count("select count(*) from (select n from ledger where n % 2 = 0 group by n having count(*) > 1) as twice")
		again := count("select count(*) from (select n from ledger where n % 2 = 1 group by n having count(*) > 1) as again")
		spent := count("select count(*) from river_job where attempt > 1")
		t.Logf("%d kills in %s: %d of %d completed, %d lost, %d done twice in their transaction, %d outside of one, %d attempts spent",
			min(kills, 20), time.Since(began).Round(time.Second), completed, n, lost, twice, again, spent)
		if completed < n {
			rows, err := c.DB().Query("select id, cast(state as text), attempt, cast(metadata as text), cast(attempted_at as text) from river_job where state <> 'completed' limit 5")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var id, attempt int64
				var state, metadata, at string
				if err := rows.Scan(&id, &state, &attempt, &metadata, &at); err != nil {
					t.Fatal(err)
				}
				t.Errorf("task %d is %s, attempt %d, begun at %s: %s", id, state, attempt, at, metadata)
			}
		}
		if completed != n || lost != 0 || twice != 0 || spent != 0 || kills < 20 {
			t.Fail()
		}
	})
}

// ledgerChild starts a process that works until it is killed.
func ledgerChild(t testing.TB, dsn string, shared bool) (kill func()) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestLedgerChild$", "-test.timeout", "300s")
	child.Env = append(os.Environ(), "BELAY_LEDGER_DSN="+dsn)
	if shared {
		child.Env = append(child.Env, "BELAY_LEDGER_SHARED=1")
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}
}

// completes waits until n tasks are completed: as long as some are, however slow the machine is.
func completes(t testing.TB, c *tasks.Client[*sql.Tx], n int) {
	t.Helper()
	for have := -1; have < n; {
		before := have
		eventually(t, fmt.Sprintf("more than %d of %d are completed", before, n), func() bool {
			time.Sleep(20 * time.Millisecond)
			have = count(t, c, "select count(*) from river_job where state = 'completed'")
			return have > before
		})
	}
}

func ledger(t testing.TB, dsn string) *tasks.Client[*sql.Tx] {
	t.Helper()
	c := opened(t, dsn, tasks.Config{River: river.Config{Workers: workers(nil)}, MaxDepth: -1})
	if _, err := c.DB().Exec("create table ledger (n bigint not null)"); err != nil {
		t.Fatal(err)
	}
	return c
}

func insertWork(t testing.TB, c *tasks.Client[*sql.Tx], from, to int) {
	t.Helper()
	var params []river.InsertManyParams
	for i := from; i < to; i++ {
		params = append(params, river.InsertManyParams{Args: work{N: i}})
	}
	if _, err := c.InsertManyFast(t.Context(), params); err != nil {
		t.Fatal(err)
	}
}

// Five processes on one server, three on one file: each task runs once.
func TestManyProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		c := ledger(t, dsn)
		const n = 10_000
		processes := 5
		if strings.HasPrefix(dsn, "sqlite:") {
			processes = 3
		}
		for range processes {
			t.Cleanup(ledgerChild(t, dsn, true))
		}
		if err := c.VerifyWorkers(t.Context(), processes, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i := range n / 1000 {
			insertWork(t, c, 1000*i, 1000*(i+1))
		}
		completes(t, c, n)
		rows, distinct := count(t, c, "select count(*) from ledger"), count(t, c, "select count(distinct n) from ledger")
		t.Logf("%d processes, %d tasks in %s: %d runs, %d of them distinct", processes, n, time.Since(began).Round(10*time.Millisecond), rows, distinct)
		if rows != n || distinct != n {
			t.Fail()
			whyTwice(t, c)
		}
	})
}

// whyTwice tells of the tasks that ran more than once.
func whyTwice(t testing.TB, c *tasks.Client[*sql.Tx]) {
	t.Helper()
	rows, err := c.DB().Query("select n from ledger group by n having count(*) > 1 limit 5")
	if err != nil {
		t.Fatal(err)
	}
	var twice []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		twice = append(twice, n)
	}
	_ = rows.Close() // SQLite has one connection
	params := river.NewJobListParams().First(10_000)
	for {
		list, err := c.JobList(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range list.Jobs {
			var args work
			if err := json.Unmarshal(row.EncodedArgs, &args); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(twice, int64(args.N)) {
				t.Logf("%d: task %d, %s, attempt %d by %v at %s, ended %s, %v, %s", args.N, row.ID, row.State, row.Attempt, row.AttemptedBy, row.AttemptedAt, row.FinalizedAt, row.Errors, row.Metadata)
			}
		}
		if len(list.Jobs) < 10_000 {
			return
		}
		params = params.After(list.LastCursor)
	}
}

// A deploy while tasks keep coming: the old processes are drained and end, new ones come, and nothing is lost or spends an attempt.
func TestDeploy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	each(t, func(t *testing.T, dsn string) {
		c := ledger(t, dsn)
		kill := ledgerChild(t, dsn, false)
		defer func() { kill() }()
		if err := c.VerifyWorkers(t.Context(), 1, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		feed, stop := context.WithCancel(t.Context())
		defer stop()
		inserted := 0
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for ; feed.Err() == nil; inserted += 20 {
				insertWork(t, c, inserted, inserted+20)
				time.Sleep(20 * time.Millisecond)
			}
		})
		for deploy := range 3 {
			time.Sleep(700 * time.Millisecond)
			began := time.Now()
			running, err := c.Drain(t.Context(), 10*time.Second)
			if err != nil || len(running) > 0 {
				t.Fatal(running, err)
			}
			drained := time.Since(began)
			if err := c.VerifyWorkers(t.Context(), 1, 0); err == nil {
				t.Error("the old process is taken for a new one")
			}
			kill() // nothing runs
			done := count(t, c, "select count(*) from ledger")
			kill = ledgerChild(t, dsn, false)
			if err := c.VerifyWorkers(t.Context(), 1, time.Minute); err != nil {
				t.Fatal(err)
			}
			if n := count(t, c, "select count(*) from ledger"); n != done {
				t.Errorf("%d tasks ran while the queues were held", n-done)
			}
			if err := c.Resume(t.Context(), "*", "drain"); err != nil {
				t.Fatal(err)
			}
			t.Logf("deploy %d: drained in %s", deploy, drained.Round(time.Millisecond))
		}
		stop()
		feeding.Wait()
		completes(t, c, inserted)
		rows, distinct := count(t, c, "select count(*) from ledger"), count(t, c, "select count(distinct n) from ledger")
		spent := count(t, c, "select count(*) from river_job where attempt > 1")
		t.Logf("%d tasks: %d runs, %d of them distinct, %d attempts spent", inserted, rows, distinct, spent)
		if rows != inserted || distinct != inserted || spent != 0 {
			t.Fail()
		}
	})
}
