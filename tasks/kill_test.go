package tasks_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
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
		if completed != n || lost != 0 || twice != 0 || spent != 0 || kills < 20 {
			t.Fail()
		}
	})
}
