package tasks

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/errkit"
)

// beatOn sends signs of life until ctx ends, and requeues the tasks of processes that send none.
func (c *Client[TTx]) beatOn(ctx context.Context) {
	ticker := time.NewTicker(c.cfg.Heartbeat)
	defer ticker.Stop()
	pruned := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if now := time.Now(); now.Sub(pruned) >= time.Hour {
			pruned = now
			if _, err := c.store.Prune(ctx); err != nil && ctx.Err() == nil {
				c.log.WarnContext(ctx, "tasks: forgetting old keys", "error", err)
			}
		}
		once, cancel := context.WithTimeout(ctx, c.cfg.DeadAfter)
		err := c.sign(once)
		if err == nil {
			if err = c.requeue(once, false, false); err == nil {
				err = c.applyPauses(once)
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "tasks: signs of life", "error", err)
		}
		c.beat.missed(time.Now(), c.cfg.DeadAfter)
	}
}

// sign notes in the database that this process is alive.
func (c *Client[TTx]) sign(ctx context.Context) error {
	began := time.Now()
	seen, err := c.signAs(ctx, c.beat.id)
	if err == nil {
		c.beat.noted(began, seen, c.cfg.DeadAfter)
	}
	return err
}

// signAs notes that the process of an id is alive, and returns the database's time.
func (c *Client[TTx]) signAs(ctx context.Context, id string) (seen int64, err error) {
	err = c.db.QueryRowContext(ctx, c.d.sql(`insert into tasks_clients (id, seen) values ($1, {now})
		on conflict (id) do update set seen = excluded.seen returning seen`), id).Scan(&seen)
	return seen, err
}

// nobody is the id under which a process that ends leaves its last sign of life.
const nobody = ""

// recover is called before the first task: it notes that this process is alive, and requeues the tasks of those that
// are not.
func (c *Client[TTx]) recover(ctx context.Context) error {
	if err := c.sign(ctx); err != nil {
		return err
	}
	if _, err := c.db.ExecContext(ctx, "delete from tasks_pauses where owner = $1", c.beat.id); err != nil { // of a life before
		return err
	}
	if err := c.requeue(ctx, c.unlock != nil, true); err != nil {
		return err
	}
	return c.holdBeforeStart(ctx)
}

// leave notes that this process has ended by itself.
func (c *Client[TTx]) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, _ = c.signAs(ctx, nobody)
	_, _ = c.db.ExecContext(ctx, c.d.sql("delete from tasks_clients where id = $1 and not exists (select 1 from river_job where state = 'running' and {worker} = $1)"), c.beat.id)
}

// requeue makes the tasks of dead processes available again, without spending an attempt, and those that were requeued
// too often dead letters. With alone, no other process works on the database, so that all that run are of dead ones.
// With first, this one has not begun, so that those of its own id are of a life before.
func (c *Client[TTx]) requeue(ctx context.Context, alone, first bool) error {
	// Only processes that have sent signs are judged: one that uses River alone may work beside them. A sign of the future
	// is one from before the clock was set back.
	const silent = "select id from tasks_clients where abs(seen - $1) > {dead}"
	dead := `state = 'running' and {worker} in (` + silent + `)`
	seen, steady := c.beat.clock(c.cfg.DeadAfter)
	args := []any{seen}
	switch {
	case !alone && !steady:
		return nil
	case alone:
		dead, args = `state = 'running' and $1 <> ''`, []any{c.beat.id} // all; each condition has an argument $1
	case first:
		if err := c.requeueWhere(ctx, `state = 'running' and {worker} = $1`, []any{c.beat.id}); err != nil {
			return err
		}
	}
	if err := c.requeueWhere(ctx, dead, args); err != nil {
		return err
	}
	leader := `delete from river_leader where leader_id in (` + silent + `)`
	if alone {
		leader = `delete from river_leader where leader_id <> $1`
	}
	if _, err := c.db.ExecContext(ctx, c.d.sql(leader), args...); err != nil {
		return err
	}
	if err := c.releaseOfDead(ctx, alone); err != nil {
		return err
	}
	_, err := c.db.ExecContext(ctx, c.d.sql(`delete from tasks_clients where seen < {now} - 604800000
		and id not in (select coalesce({worker}, '') from river_job where state = 'running')`))
	return err
}

// requeueWhere requeues the tasks of a condition, whose argument is $1.
func (c *Client[TTx]) requeueWhere(ctx context.Context, dead string, args []any) error {
	more, bury := `jsonb_set(metadata, '$.tasks_requeues', {requeues} + 1)`, `jsonb_set(metadata, '$.tasks_class', 'requeued', '$.tasks_fingerprint', 'requeued',
		'$.tasks_error', 'the process died each time')`
	failed := c.d.failed("'the process of the task died too often'")
	if c.d.postgres() {
		more = `jsonb_set(metadata, '{tasks_requeues}', to_jsonb({requeues} + 1))`
		bury = `metadata || '{"tasks_class": "requeued", "tasks_fingerprint": "requeued", "tasks_error": "the process died each time"}'::jsonb`
	}
	args = append(slices.Clip(args), c.cfg.MaxRequeues)
	again, err := c.db.ExecContext(ctx, c.d.sql(`update river_job set state = 'available',
		attempt = case when attempt > 0 then attempt - 1 else 0 end, metadata = `+more+`
		where id in (select id from river_job where `+dead+` and {requeues} < $2 limit 10000{skip})`), args...)
	if err != nil {
		return err
	}
	buried, err := c.db.ExecContext(ctx, c.d.sql(`update river_job set state = 'discarded', finalized_at = {stamp}, errors = `+failed+`, metadata = `+bury+`
		where id in (select id from river_job where `+dead+` and {requeues} >= $2 limit 10000{skip})`), args...)
	if err != nil {
		return err
	}
	if n, _ := again.RowsAffected(); n > 0 {
		c.log.WarnContext(ctx, "tasks: processes died, and their tasks run again", "tasks", n)
	}
	if n, _ := buried.RowsAffected(); n > 0 {
		c.log.ErrorContext(ctx, "tasks: tasks are dead letters, because their processes died each time", "tasks", n)
		if c.cfg.Alert != nil {
			c.alert(ctx, &rivertype.JobRow{}, "requeued", "tasks are dead letters, because their processes died each time")
		}
	}
	return nil
}

// waitForOther waits while another process runs a task that this one ran, too, and reports whether its row is the other
// one's: River would let this run complete it. A row that nobody has taken yet is taken back: its work is done.
func (c *Client[TTx]) waitForOther(ctx context.Context, job *rivertype.JobRow) bool {
	for ctx.Err() == nil {
		row, err := c.JobGet(ctx, job.ID)
		switch {
		case errors.Is(err, rivertype.ErrNotFound):
			return true
		case err != nil: // the database is away: until it is back, or the client stops
		case row.State == rivertype.JobStateRunning:
			if sameRun(row, job) {
				return false
			}
		case row.State == rivertype.JobStateAvailable && sameRun(row, job):
			n, err := changed(c.db.ExecContext(ctx, `update river_job set state = 'running', attempt = attempt + 1
				where id = $1 and state = 'available'`, job.ID))
			if err == nil && n == 1 {
				return false
			}
		default:
			return true
		}
		_ = errkit.Sleep(ctx, 200*time.Millisecond)
	}
	return true
}

// sameRun reports whether the last run of a row is that of job: by the same process, begun at the same time.
func sameRun(row, job *rivertype.JobRow) bool {
	return row.AttemptedAt != nil && job.AttemptedAt != nil && row.AttemptedAt.Equal(*job.AttemptedAt) &&
		slices.Equal(row.AttemptedBy, job.AttemptedBy)
}

// changed returns the number of rows that a statement changed.
func changed(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
