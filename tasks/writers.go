package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// WriterArgs are arguments of tasks of which one at a time may write to a resource, such as "crm/acme/contacts". The others are
// put off, without spending an attempt, and go on one by one when it has ended, or its process has died, the oldest first. Those
// that come up at the same time begin in any order. An empty key means no bound.
type WriterArgs interface{ WritesTo() string }

const (
	firstTurn = time.Second // the wait for another writer, doubled each time
	laterTurn = 30 * time.Second
)

// takeWriter makes a task the writer of a resource, or returns the snooze with which it waits for its turn. The writer's row counts
// as long as its task runs, so that nothing has to be released after a kill.
func (c *Client[TTx]) takeWriter(ctx context.Context, key string, job int64, waits int) (release func(), err error) {
	n, err := changed(c.db.ExecContext(ctx, `insert into tasks_writers (key, job) values ($1, $2)
		on conflict (key) do update set job = excluded.job where tasks_writers.job = excluded.job
		or not exists (select 1 from river_job where id = tasks_writers.job and state = 'running')`, key, job))
	if err != nil {
		return nil, fmt.Errorf("tasks: the writer of %s: %w", key, err)
	}
	if n == 0 {
		_ = river.MetadataSet(ctx, "tasks_waits", waits+1)
		return nil, fmt.Errorf("%w (another task writes to %s)", river.JobSnooze(min(firstTurn<<min(waits, 10), laterTurn)), key)
	}
	return func() { c.releaseWriter(ctx, key, job) }, nil
}

// releaseWriter lets the next writer begin at once.
func (c *Client[TTx]) releaseWriter(ctx context.Context, key string, job int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	n, err := changed(c.db.ExecContext(ctx, "delete from tasks_writers where key = $1 and job = $2", key, job))
	if err == nil && n == 1 {
		_, err = c.db.ExecContext(ctx, c.d.sql(`update river_job set state = 'available', scheduled_at = {stamp} where id in (
			select id from river_job where state in ('scheduled', 'available') and scheduled_at > {stamp}
			and `+c.d.field("tasks_writer")+` = $1 and `+c.d.field("tasks_waits")+` is not null order by priority, id limit 1)`), key)
	}
	if err != nil {
		c.log.WarnContext(ctx, "tasks: the next writer waits for its time", "key", key, "error", err)
	}
}
