package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay/internal/errkit"
)

// Recovery is what to do about a queue whose tasks are hours old.
type Recovery uint8

const (
	// RecoverRefresh keeps of the tasks with LatestArgs only the newest of each key, as if it were inserted now, and
	// cancels what has ExpiringArgs: fresh imports, once for each integration, instead of all that were missed.
	RecoverRefresh Recovery = iota
	// RecoverSkipStale cancels the tasks that have expired and those of which a newer one of the same key waits. The rest
	// waits as it did.
	RecoverSkipStale
	// RecoverHoldSchedules inserts no more tasks of [Schedule] into the queue until a tenth of what is due now is left.
	// What would have been inserted until then is not made up.
	RecoverHoldSchedules
)

// String returns "refresh", "skip-stale" or "hold-schedules".
func (r Recovery) String() string {
	return [...]string{"refresh", "skip-stale", "hold-schedules"}[min(r, RecoverHoldSchedules)]
}

// Recovered says what [Client.Recover] has done.
type Recovered struct {
	Waiting   int // tasks that waited in the queue
	Canceled  int // those that were of no use any more; they are not dead letters
	Refreshed int // those that begin anew
}

// portion bounds the tasks that one statement of a recovery changes, so that others are not held up.
const portion = 2000

// Recover deals with a queue whose tasks are hours old, after a downtime. Tasks with neither LatestArgs nor
// ExpiringArgs, such as events and pushes, always stay. It may be called again, and beside processes that work.
func (c *Client[TTx]) Recover(ctx context.Context, queue string, how Recovery) (r Recovered, err error) {
	if queue == "" || how > RecoverHoldSchedules {
		return r, fmt.Errorf("tasks: Recover: the queue is %q, the way %d", queue, how)
	}
	if r.Waiting, err = c.waiting(ctx, queue, 1<<31-1); err != nil {
		return r, fmt.Errorf("tasks: Recover: %w", err)
	}
	latest, expires := c.d.field("tasks_latest"), c.d.field("tasks_expires")
	older := "id in (select id from (select id, row_number() over (partition by " + latest + ` order by id desc) as place from river_job
		where queue = $1 and ` + waits + " and " + latest + " is not null) as places where place > 1)"
	switch how {
	case RecoverRefresh:
		if r.Canceled, err = c.cancelWhere(ctx, queue, expires+" is not null and "+latest+" is null", "it expires, and was canceled by a recovery"); err != nil {
			break
		}
		var n int
		if n, err = c.cancelWhere(ctx, queue, older, "a newer one waits"); err != nil {
			break
		}
		r.Canceled += n
		r.Refreshed, err = c.refresh(ctx, queue)
	case RecoverSkipStale:
		if r.Canceled, err = c.cancelWhere(ctx, queue, "cast("+expires+" as bigint) < {now}", "it has expired"); err != nil {
			break
		}
		var n int
		n, err = c.cancelWhere(ctx, queue, older, "a newer one waits")
		r.Canceled += n
	case RecoverHoldSchedules:
		var due int
		if due, err = c.due(ctx, queue, 1<<31-1); err == nil {
			_, err = c.db.ExecContext(ctx, `insert into tasks_schedule_holds (queue, until_waiting) values ($1, $2)
				on conflict (queue) do update set until_waiting = excluded.until_waiting`, queue, due/10)
		}
	}
	if err != nil {
		return r, fmt.Errorf("tasks: Recover: %w", err)
	}
	return r, nil
}

// waits is the condition of a task that waits; see live.
const waits = "state in ('available', 'scheduled', 'retryable', 'pending')"

// cancelWhere cancels the tasks of a queue that wait and that a condition is true for, whose first argument is the
// queue.
func (c *Client[TTx]) cancelWhere(ctx context.Context, queue, condition, why string) (all int, err error) {
	failed := c.d.failed("$2")
	forget := "jsonb_remove(metadata, '$.tasks_class')"
	if c.d.postgres() {
		forget = "metadata - 'tasks_class'"
	}
	statement := c.d.sql(`update river_job set state = 'cancelled', finalized_at = {stamp}, errors = ` + failed + `, metadata = ` + forget + `
		where id in (select id from river_job where queue = $1 and ` + waits + ` and ` + condition + fmt.Sprintf(" order by id limit %d{skip})", portion))
	for again := 0; ; {
		n, err := changed(c.db.ExecContext(ctx, statement, queue, why))
		if isDeadlock(err) && again < 3 { // beside other ones, such as River's own
			again++
			continue
		}
		if all += int(n); err != nil || n == 0 {
			return all, err
		}
		if err := errkit.Sleep(ctx, 0); err != nil { // each portion is complete by itself
			return all, err
		}
	}
}

// refresh makes the tasks with LatestArgs of a queue begin anew.
func (c *Client[TTx]) refresh(ctx context.Context, queue string) (int, error) {
	latest := c.d.field("tasks_latest")
	expires := "{now} + cast(" + c.d.field("tasks_expires") + " as bigint) - cast(" + c.d.field("tasks_inserted") + " as bigint) / 1000000"
	anew := `jsonb_remove(jsonb_set(metadata, '$.tasks_inserted', {now} * 1000000, '$.tasks_expires', ` + expires + `),
		'$.snoozes', '$.tasks_snoozed', '$.tasks_waits', '$.tasks_waits_for')`
	if c.d.postgres() {
		anew = `(metadata - array['snoozes', 'tasks_snoozed', 'tasks_waits', 'tasks_waits_for']) ||
			jsonb_build_object('tasks_inserted', {now} * 1000000, 'tasks_expires', ` + expires + `)`
	}
	n, err := changed(c.db.ExecContext(ctx, c.d.sql(`update river_job set state = 'available', scheduled_at = {stamp}, metadata = `+anew+`
		where id in (select id from river_job where queue = $1 and `+waits+` and `+latest+` is not null and (state = 'retryable' or scheduled_at <= {stamp})
			order by id{skip})`), queue))
	return int(n), err
}

// scheduleHeld reports whether schedules insert nothing into a queue at present, and lets them go on when enough is
// done.
func (c *Client[TTx]) scheduleHeld(ctx context.Context, queue string) (bool, error) {
	var until int
	err := c.read.QueryRowContext(ctx, "select until_waiting from tasks_schedule_holds where queue = $1", queue).Scan(&until)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	}
	due, err := c.due(ctx, queue, until+1)
	if err != nil || due > until {
		return true, err
	}
	_, err = c.db.ExecContext(ctx, "delete from tasks_schedule_holds where queue = $1 and until_waiting = $2", queue, until)
	return false, err
}

// due counts the tasks of a queue whose time has come, up to a bound.
func (c *Client[TTx]) due(ctx context.Context, queue string, most int) (n int, err error) {
	err = c.read.QueryRowContext(ctx, c.d.sql(`select count(*) from (select 1 from river_job where queue = $1
		and state in ('available', 'scheduled', 'retryable') and scheduled_at <= {stamp} limit $2) as due`), queue, most).Scan(&n)
	return n, err
}

// queueOf returns the queue into which a task would be inserted.
func queueOf(args river.JobArgs, opts *river.InsertOpts) string {
	if opts != nil && opts.Queue != "" {
		return opts.Queue
	}
	if own, ok := args.(river.JobArgsWithInsertOpts); ok && own.InsertOpts().Queue != "" {
		return own.InsertOpts().Queue
	}
	return river.QueueDefault
}
