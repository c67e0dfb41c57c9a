package tasks_test

import (
	"context"
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// A process whose connections are all in use for longer than DeadAfter still gives signs of life: nobody takes its tasks.
func TestSignsDoNotStandInLine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		var runs atomic.Int32
		cfg := config(func(ctx context.Context, job *river.Job[work]) error {
			runs.Add(1)
			time.Sleep(4 * time.Second)
			return nil
		})
		cfg.Heartbeat, cfg.DeadAfter, cfg.Shared = 200*time.Millisecond, time.Second, true
		c := started(t, dsn, cfg)
		id := insert(t, c, work{}, nil)
		eventually(t, "it runs", func() bool { return runs.Load() == 1 })
		other := started(t, dsn, cfg)
		conns := 20
		if strings.HasPrefix(dsn, "sqlite:") {
			conns = 1
		}
		var held []*sql.Conn
		for range conns {
			conn, err := c.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		time.Sleep(3 * time.Second)
		row := job(t, other, id)
		for _, conn := range held {
			_ = conn.Close()
		}
		if row.State != rivertype.JobStateRunning || strings.Contains(string(row.Metadata), "requeues") {
			t.Errorf("taken from a process that lives: %s, %s", row.State, row.Metadata)
		}
		eventually(t, "the end", func() bool { return job(t, other, id).FinalizedAt != nil })
		if row := job(t, other, id); runs.Load() != 1 || row.Attempt != 1 || row.State != rivertype.JobStateCompleted {
			t.Errorf("%d runs, attempt %d, %s", runs.Load(), row.Attempt, row.State)
		}
	})
}
