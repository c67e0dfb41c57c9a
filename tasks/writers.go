package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// WriterArgs are arguments of tasks of which one at a time may write to a resource, such as "crm/acme/contacts". The
// others wait, the oldest first: a moment in their slot, and then put off, without spending an attempt, until the
// writer has ended or its process has died. Tasks of several processes, and those that begin at the same time, may run
// in another order: push the present state of a record, not that of the insert. An empty key means no bound.
type WriterArgs interface{ WritesTo() string }

const (
	waitInSlot        = 250 * time.Millisecond
	shortWriterWait   = 250 * time.Millisecond
	longestWriterWait = 30 * time.Second
	resting           = -1 // the run of a writer that is put off, and keeps its place
)

// writers are the resources that tasks of this process write to, or wait for.
type writers struct {
	mu   sync.Mutex
	keys map[string][]*waiter // those that wait; a key that is there is written to
}

type waiter struct {
	job  int64
	turn chan struct{} // closed when it is the next one
}

// wait waits for a moment until no other task of this process writes to a key, and reports whether it is so.
func (w *writers) wait(ctx context.Context, key string, job int64) bool {
	w.mu.Lock()
	waiting, held := w.keys[key]
	if !held {
		if w.keys == nil {
			w.keys = make(map[string][]*waiter)
		}
		w.keys[key] = nil
		w.mu.Unlock()
		return true
	}
	me := &waiter{job, make(chan struct{})}
	w.keys[key] = append(waiting, me)
	slices.SortFunc(w.keys[key], func(a, b *waiter) int { return cmp.Compare(a.job, b.job) })
	w.mu.Unlock()
	timer := time.NewTimer(waitInSlot)
	defer timer.Stop()
	select {
	case <-me.turn:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.keys[key], me)
	if i < 0 { // it has become the next one meanwhile
		return true
	}
	w.keys[key] = slices.Delete(w.keys[key], i, i+1)
	return false
}

// leave lets the next task of this process have a key, and reports whether there is one.
func (w *writers) leave(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.keys[key]
	if len(waiting) == 0 {
		delete(w.keys, key)
		return false
	}
	w.keys[key] = waiting[1:]
	close(waiting[0].turn)
	return true
}

// takeWriter makes a task the writer of a resource, or returns the snooze with which it waits for its turn. The
// writer's row counts as long as its task runs, so that nothing has to be released after a kill. Call release in the
// end; with rest, the task keeps its place until it runs again.
func (c *Client[TTx]) takeWriter(ctx context.Context, key string, job *rivertype.JobRow, waited int) (release func(rest bool), err error) {
	if !c.writers.wait(ctx, key, job.ID) {
		return nil, c.waitForWriter(ctx, key, waited)
	}
	n, err := c.claimWriter(ctx, key, job)
	switch {
	case err != nil:
		err = fmt.Errorf("tasks: the writer of %s: %w", key, err)
	case n == 0:
		err = c.waitForWriter(ctx, key, waited)
	}
	if err != nil {
		c.writers.leave(key)
		return nil, err
	}
	if waited > 0 {
		_ = river.MetadataSet(ctx, "tasks_waits_for", nil)
	}
	return func(rest bool) { c.releaseWriter(ctx, key, job, rest) }, nil
}

// claimWriter makes a task the writer in the database, and returns 0 if another one is.
func (c *Client[TTx]) claimWriter(ctx context.Context, key string, job *rivertype.JobRow) (n int64, err error) {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	if c.d.postgres() {                  // the statement below must see what another one has committed while it waited
		if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock(hashtextextended($1, 0))", key); err != nil {
			return 0, err
		}
	}
	// A row that others run, or have run, must not have its turn taken here.
	id, at := c.runArgs(job)
	var mine int
	if err := tx.QueryRowContext(ctx, c.d.sql(lockRun), id, at).Scan(&mine); err != nil {
		return 0, err
	}
	if mine == 0 {
		return 0, ErrLost
	}
	n, err = changed(tx.ExecContext(ctx, `insert into tasks_writers (key, job, run) values ($1, $2, $3)
		on conflict (key) do update set job = excluded.job, run = excluded.run where tasks_writers.job = excluded.job
		or not exists (select 1 from river_job where id = tasks_writers.job and
			(state = 'running' or tasks_writers.run = -1 and `+waits+`))`, key, job.ID, runNumber(job)))
	if err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// waitForWriter returns the snooze of a task that waits for a writer: as long as that has run, within bounds. It is
// ended by releaseWriter, unless the writer ends before the snooze is stored.
func (c *Client[TTx]) waitForWriter(ctx context.Context, key string, waited int) error {
	_ = river.MetadataSet(ctx, "tasks_waits", waited+1)
	_ = river.MetadataSet(ctx, "tasks_waits_for", key)
	var run int64
	wait := longestWriterWait
	if err := c.read.QueryRowContext(ctx, "select run from tasks_writers where key = $1", key).Scan(&run); err != nil {
		wait = shortWriterWait // it has ended
	} else if run != resting {
		wait = min(max(time.Since(time.UnixMicro(run)), shortWriterWait), longestWriterWait)
	}
	return fmt.Errorf("%w (another task writes to %s)", river.JobSnooze(wait), key)
}

// releaseWriter lets the next writer begin at once.
func (c *Client[TTx]) releaseWriter(ctx context.Context, key string, job *rivertype.JobRow, rest bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if rest {
		_, err := c.db.ExecContext(ctx, "update tasks_writers set run = -1 where key = $1 and job = $2 and run = $3", key, job.ID, runNumber(job))
		if err != nil {
			c.log.WarnContext(ctx, "tasks: another writer may come before this one", "key", key, "error", err)
		}
		c.writers.leave(key)
		return
	}
	n, err := changed(c.db.ExecContext(ctx, "delete from tasks_writers where key = $1 and job = $2 and run = $3", key, job.ID, runNumber(job)))
	if !c.writers.leave(key) && err == nil && n == 1 {
		// One that has begun meanwhile must not be put back: it is locked, or not scheduled.
		_, err = c.db.ExecContext(ctx, c.d.sql(`update river_job set state = 'available', scheduled_at = {stamp} where id in (
			select id from river_job where state in ('scheduled', 'available') and scheduled_at > {stamp}
			and `+c.d.field("tasks_waits_for")+` = $1 order by priority, id limit 1{skip})`), key)
	}
	if err != nil {
		c.log.WarnContext(ctx, "tasks: the next writer waits for its time", "key", key, "error", err)
	}
}

// runNumber tells a run of a task from its other ones: the time of its beginning.
func runNumber(job *rivertype.JobRow) int64 {
	if job.AttemptedAt == nil {
		return 0
	}
	return job.AttemptedAt.UnixMicro()
}
