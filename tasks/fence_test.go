package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/tasks"
)

// A process that stands still between the end of a task's work and the moment when this is stored, while the task is given to
// another one: however the work has ended, the other one's run stays as it is.
func TestEndsAreFenced(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, dsn string) {
		ends := map[string]error{
			"completed": nil, "failed": errors.New("no"), "canceled": river.JobCancel(errors.New("no")), "snoozed": river.JobSnooze(time.Hour),
		}
		taken := make(chan struct{})
		var c *tasks.Client[*sql.Tx]
		c = started(t, dsn, config(func(ctx context.Context, job *river.Job[work]) error {
			if job.Args.Name == "mine" {
				return nil
			}
			// A transaction that holds the task while its end waits to be stored.
			tx, err := c.DB().Begin()
			if err != nil {
				t.Error(err)
				return err
			}
			at, by := "strftime('%Y-%m-%d %H:%M:%f', 'now', '+9 seconds')", `jsonb('["other"]')`
			if !strings.HasPrefix(dsn, "sqlite:") {
				at, by = "now() + interval '9 seconds'", "array['other']"
			}
			if _, err := tx.Exec("update river_job set attempted_at = "+at+", attempted_by = "+by+" where id = $1", job.ID); err != nil {
				t.Error(err)
			}
			go func() {
				time.Sleep(700 * time.Millisecond) // River stores ends each quarter of a second
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				taken <- struct{}{}
			}()
			if job.Args.Name == "panicked" {
				panic("no")
			}
			return ends[job.Args.Name]
		}))
		for _, name := range []string{"completed", "failed", "canceled", "snoozed", "panicked", "discarded"} {
			opts := &river.InsertOpts{MaxAttempts: 25}
			if name == "discarded" {
				opts.MaxAttempts = 1
				ends[name] = errors.New("no")
			}
			id := insert(t, c, work{Name: name}, opts)
			<-taken
			mine := insert(t, c, work{Name: "mine"}, nil) // its end is stored behind the other one
			eventually(t, "mine", func() bool { return job(t, c, mine).State == rivertype.JobStateCompleted })
			row := job(t, c, id)
			if row.State != rivertype.JobStateRunning || len(row.AttemptedBy) != 1 || len(row.Errors) > 0 || strings.Contains(string(row.Metadata), "tasks_") {
				t.Errorf("%s: %s, %v, %v, %s", name, row.State, row.AttemptedBy, row.Errors, row.Metadata)
			}
			if strings.Contains(string(job(t, c, mine).Metadata), "tasks_run") {
				t.Error(string(job(t, c, mine).Metadata))
			}
			if _, err := c.DB().Exec("update river_job set state = 'completed', finalized_at = attempted_at where id = $1", id); err != nil {
				t.Fatal(err)
			}
		}
	})
}
