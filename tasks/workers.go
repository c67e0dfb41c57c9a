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

// everyBeat calls f at each beat until ctx ends, each time with a context that ends after DeadAfter. The log says what
// failed.
func (c *Client[TTx]) everyBeat(ctx context.Context, what string, f func(context.Context) error) {
	ticker := time.NewTicker(c.cfg.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		once, cancel := context.WithTimeout(ctx, c.cfg.DeadAfter)
		err := f(once)
		cancel()
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "tasks: "+what, "error", err)
		}
	}
}

// beatOn sends signs of life until ctx ends.
func (c *Client[TTx]) beatOn(ctx context.Context) {
	c.everyBeat(ctx, "signs of life", func(ctx context.Context) error {
		err := c.sign(ctx)
		c.beat.missed(time.Now(), c.cfg.DeadAfter)
		return err
	})
}

// watchOthers requeues the tasks of silent processes, applies pauses and prunes old keys until ctx ends.
func (c *Client[TTx]) watchOthers(ctx context.Context) {
	pruned := time.Now()
	c.everyBeat(ctx, "looking after other processes", func(ctx context.Context) error {
		if now := time.Now(); now.Sub(pruned) >= time.Hour {
			pruned = now
			if _, err := c.store.Prune(ctx); err != nil && ctx.Err() == nil {
				c.log.WarnContext(ctx, "tasks: forgetting old keys", "error", err)
			}
		}
		// If this process cannot send signs, others may be silent for the same reason, so it judges nobody. Half of DeadAfter is
		// too long for signs that arrive; half a beat more is for one that is late.
		if c.beat.silentFor(time.Now()) < (c.cfg.DeadAfter+c.cfg.Heartbeat)/2 {
			if err := c.requeue(ctx, false, false); err != nil {
				return err
			}
		}
		return c.applyPauses(ctx)
	})
}

// sign notes in the database that this process is alive.
func (c *Client[TTx]) sign(ctx context.Context) error {
	began := time.Now()
	err := c.signAs(ctx, c.beat.id)
	if err == nil {
		c.beat.noted(began, c.cfg.DeadAfter/2)
	}
	return err
}

// signAs notes that the process of an id is alive. Each sign is another one, even if the clock stands still.
func (c *Client[TTx]) signAs(ctx context.Context, id string) error {
	return c.signs.exec(ctx, c.d.sql(`insert into tasks_clients (id, seen) values ($1, {now})
		on conflict (id) do update set seen = case when excluded.seen = tasks_clients.seen then excluded.seen + 1 else excluded.seen end`), id)
}

// nobody is the id under which a process that ends leaves its last sign of life.
const nobody = ""

// recover is called before the first task: it notes that this process is alive, and requeues the tasks of those that
// are not.
func (c *Client[TTx]) recover(ctx context.Context) error {
	if err := c.sign(ctx); err != nil {
		return err
	}
	for _, table := range []string{"tasks_pauses where owner", "tasks_drained where id"} { // of a life before
		if _, err := c.db.ExecContext(ctx, "delete from "+table+" = $1", c.beat.id); err != nil {
			return err
		}
	}
	if err := c.requeue(ctx, c.unlock != nil && !c.cfg.Shared, true); err != nil {
		return err
	}
	return c.holdBeforeStart(ctx)
}

// leave notes that this process has ended by itself.
func (c *Client[TTx]) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = c.signAs(ctx, nobody)
	_, _ = c.db.ExecContext(ctx, c.d.sql("delete from tasks_clients where id = $1 and not exists (select 1 from river_job where state = 'running' and {worker} = $1)"), c.beat.id)
}

// requeue makes the tasks of dead processes available again, without spending an attempt, and those that were requeued
// too often dead letters. With alone, no other process works on the database, so that all that run are of dead ones.
// With first, this one has not begun, so that those of its own id are of a life before.
func (c *Client[TTx]) requeue(ctx context.Context, alone, first bool) error {
	if alone {
		if err := c.requeueWhere(ctx, "state = 'running' and $1 <> ''", c.beat.id); err != nil {
			return err
		}
		for _, statement := range []string{
			"delete from river_leader where leader_id <> $1", "delete from tasks_pauses where owner <> '' and owner <> $1",
		} {
			if _, err := c.db.ExecContext(ctx, statement, c.beat.id); err != nil {
				return err
			}
		}
		return nil
	}
	if first {
		if err := c.requeueWhere(ctx, "state = 'running' and {worker} = $1", c.beat.id); err != nil {
			return err
		}
	}
	dead, err := c.silent(ctx)
	if err != nil {
		return err
	}
	if len(dead) > 0 {
		have, err := c.countBy(ctx, `select coalesce({worker}, ''), 1 from river_job where state = 'running' union select leader_id, 1 from river_leader
			union select owner, 1 from tasks_pauses where owner <> ''`)
		if err != nil {
			return err
		}
		for _, id := range dead {
			if have[id] == 0 {
				continue
			}
			if err := c.bury(ctx, id); err != nil {
				return err
			}
		}
	}
	for _, statement := range []string{
		"delete from tasks_pauses where owner <> '' and owner not in (select id from tasks_clients)", // they have ended by themselves
		`delete from tasks_clients where seen < {now} - 604800000
			and id not in (select coalesce({worker}, '') from river_job where state = 'running')`,
	} {
		if _, err := c.db.ExecContext(ctx, c.d.sql(statement)); err != nil {
			return err
		}
	}
	return nil
}

// silent returns the processes that have given no sign for too long. Only those that have sent signs are judged: one
// that uses River alone may work beside them.
func (c *Client[TTx]) silent(ctx context.Context) (ids []string, err error) {
	asked := time.Now()
	rows, err := c.db.QueryContext(ctx, "select id, seen from tasks_clients where id <> '' and id <> $1", c.beat.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	signs := make(map[string]int64)
	for rows.Next() {
		var id string
		var seen int64
		if err := rows.Scan(&id, &seen); err != nil {
			return nil, err
		}
		signs[id] = seen
	}
	return c.beat.judge(signs, asked, c.cfg.DeadAfter), rows.Err()
}

// bury requeues what a dead process ran, and takes its leadership and the reasons of its gates. What another transaction
// has locked is left for the next time.
func (c *Client[TTx]) bury(ctx context.Context, id string) error {
	if err := c.requeueWhere(ctx, "state = 'running' and {worker} = $1", id); err != nil {
		return err
	}
	for _, statement := range []string{
		"delete from river_leader where leader_id = $1", "delete from tasks_pauses where owner = $1",
	} {
		if _, err := c.db.ExecContext(ctx, statement, id); err != nil {
			return err
		}
	}
	return nil
}

// requeueWhere requeues the tasks of a condition, whose argument $1 is the id of a process.
func (c *Client[TTx]) requeueWhere(ctx context.Context, dead, id string) error {
	more, bury := `jsonb_set(metadata, '$.tasks_requeues', {requeues} + 1)`, `jsonb_set(metadata, '$.tasks_class', 'requeued', '$.tasks_fingerprint', 'requeued',
		'$.tasks_error', 'the process died each time')`
	failed := c.d.failed("'the process of the task died too often'")
	if c.d.postgres() {
		more = `jsonb_set(metadata, '{tasks_requeues}', to_jsonb({requeues} + 1))`
		bury = `metadata || '{"tasks_class": "requeued", "tasks_fingerprint": "requeued", "tasks_error": "the process died each time"}'::jsonb`
	}
	args := []any{id, c.cfg.MaxRequeues}
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

// ranElsewhere reports whether another process runs a task that this one ran, too, or has run it. A row that nobody has
// taken yet is taken back: its work is done. Without a fence it waits until the other one has ended, because River would
// let this run end it, and so it does if the other run is of this process, too: River keeps one end for each task.
func (c *Client[TTx]) ranElsewhere(ctx context.Context, job *rivertype.JobRow) bool {
	for ctx.Err() == nil {
		row, err := c.JobGet(ctx, job.ID)
		switch {
		case errors.Is(err, rivertype.ErrNotFound):
			return true
		case err != nil: // the database is away: until it is back, or the client stops
		case row.State == rivertype.JobStateRunning:
			if same := sameRun(row, job); same || c.fence != "" && !c.ours(row) {
				return !same
			}
		case row.State == rivertype.JobStateAvailable && sameRun(row, job):
			id, at := c.runArgs(job)
			n, err := changed(c.db.ExecContext(ctx, `update river_job set state = 'running', attempt = attempt + 1
				where id = $1 and attempted_at = $2 and state = 'available'`, id, at))
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

// ours reports whether the last run of a row is of this process.
func (c *Client[TTx]) ours(row *rivertype.JobRow) bool {
	return len(row.AttemptedBy) > 0 && row.AttemptedBy[len(row.AttemptedBy)-1] == c.beat.id
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
