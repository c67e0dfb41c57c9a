package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay/internal/errkit"
)

// Pause holds a queue, of all processes, until each reason is resumed: tasks that run go on, and no other one begins.
// Queue "*" stands for all of this database. It returns when this process has seen it. An empty queue or reason is an
// error.
func (c *Client[TTx]) Pause(ctx context.Context, queue, reason string) error {
	if queue == "" || reason == "" {
		return errors.New("tasks: Pause: the queue or the reason is empty")
	}
	return c.pause(ctx, queue, reason, "")
}

// pause holds a queue. With an owner, a client's id, it is held as long as that client lives.
func (c *Client[TTx]) pause(ctx context.Context, queue, reason, owner string) error {
	_, err := c.db.ExecContext(ctx, c.d.sql(`insert into tasks_pauses (queue, reason, at, owner) values ($1, $2, {now}, $3)
		on conflict (queue, reason) do nothing`), queue, reason, owner)
	if err == nil {
		err = c.applyAndWait(ctx)
	}
	if err != nil {
		return fmt.Errorf("tasks: pausing %s: %w", queue, err)
	}
	return nil
}

// applyAndWait applies the reasons, and waits until the producers of this process have been told of new pauses, which
// River does a little later.
func (c *Client[TTx]) applyAndWait(ctx context.Context) error {
	if !c.works.Load() {
		return c.applyPauses(ctx)
	}
	told, cancel := c.Subscribe(river.EventKindQueuePaused)
	defer cancel()
	open := make(map[string]bool) // queues of this process that are not held yet
	for name := range c.cfg.River.Queues {
		if q, err := c.QueueGet(ctx, name); err == nil && q.PausedAt == nil {
			open[name] = true
		}
	}
	if err := c.applyPauses(ctx); err != nil {
		return err
	}
	for name := range open { // those that are now
		if q, err := c.QueueGet(ctx, name); err != nil || q.PausedAt == nil {
			delete(open, name)
		}
	}
	timer := time.NewTimer(toldWithin)
	defer timer.Stop()
	for len(open) > 0 {
		select {
		case e, ok := <-told:
			if !ok {
				return nil
			}
			if e.Queue != nil {
				delete(open, e.Queue.Name)
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// toldWithin bounds the wait for a pause to reach the producers.
const toldWithin = 5 * time.Second

// tellAgainFor is how long the producers are told again, with each sign of life, of the end of a pause: one that has missed
// it would look only after a minute. Not of a pause: it may have ended since the reasons were read.
const tellAgainFor = 70 * time.Second

// lookEvery is the time between two looks of Drain and VerifyWorkers.
const lookEvery = 100 * time.Millisecond

// Resume takes a reason of Pause back. The queue goes on if there is no other one, of its own or of "*". A reason that
// is not there is no error.
func (c *Client[TTx]) Resume(ctx context.Context, queue, reason string) error {
	if queue == "" || reason == "" {
		return errors.New("tasks: Resume: the queue or the reason is empty")
	}
	if _, err := c.db.ExecContext(ctx, "delete from tasks_pauses where queue = $1 and reason = $2", queue, reason); err != nil {
		return fmt.Errorf("tasks: resuming %s: %w", queue, err)
	}
	if queue == "*" && reason == drainReason {
		if _, err := c.db.ExecContext(ctx, "delete from tasks_drained"); err != nil {
			return fmt.Errorf("tasks: resuming %s: %w", queue, err)
		}
	}
	return c.applyPauses(ctx)
}

// Paused returns the reasons for which queues are held, by queue.
func (c *Client[TTx]) Paused(ctx context.Context) (map[string][]string, error) {
	rows, err := c.read.QueryContext(ctx, "select queue, reason from tasks_pauses order by queue, reason")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string][]string)
	for rows.Next() {
		var queue, reason string
		if err := rows.Scan(&queue, &reason); err != nil {
			return nil, err
		}
		all[queue] = append(all[queue], reason)
	}
	return all, rows.Err()
}

// applyPauses makes River's own pauses those of the reasons. Each process does it with each sign of life, so that it
// mends what two that pause and resume at the same time have left. tasks_held has the queues that are held for reasons:
// others may have been paused by River's own methods, and stay so.
func (c *Client[TTx]) applyPauses(ctx context.Context) error {
	c.pausing.Lock() // a gate and a sign of life of one process often do it at once
	defer c.pausing.Unlock()
	reasons, err := c.Paused(ctx)
	if err != nil {
		return fmt.Errorf("tasks: pauses: %w", err)
	}
	held, err := c.countBy(ctx, "select queue, 1 from tasks_held")
	if err != nil {
		return fmt.Errorf("tasks: pauses: %w", err)
	}
	for name, at := range c.told {
		if time.Since(at) > tellAgainFor {
			delete(c.told, name)
		}
	}
	if len(reasons) == 0 && len(held) == 0 && len(c.told) == 0 {
		return nil
	}
	queues, err := c.QueueList(ctx, river.NewQueueListParams().First(10_000))
	if err != nil {
		return fmt.Errorf("tasks: pauses: %w", err)
	}
	for _, q := range queues.Queues {
		wanted := len(reasons["*"]) > 0 || len(reasons[q.Name]) > 0
		_, again := c.told[q.Name]
		if wanted && q.PausedAt == nil || !wanted && held[q.Name] > 0 {
			c.told[q.Name] = time.Now()
		}
		switch {
		case wanted && q.PausedAt == nil:
			if err = c.hold(ctx, q.Name); err == nil {
				err = c.Client.QueuePause(ctx, q.Name, nil) // which tells the producers
			}
			if err == nil { // again, as another one may have let it go on in between, and this has paused it anew
				_, err = c.db.ExecContext(ctx, noteHeld, q.Name)
			}
		case !wanted && held[q.Name] > 0:
			if err = c.letGoOn(ctx, q.Name); err == nil {
				err = c.Client.QueueResume(ctx, q.Name, nil)
			}
		case again && !wanted && q.PausedAt == nil:
			err = c.Client.QueueResume(ctx, q.Name, nil)
		}
		if err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return fmt.Errorf("tasks: pauses of %s: %w", q.Name, err)
		}
	}
	return nil
}

// noteHeld notes that a queue is held for reasons.
const noteHeld = "insert into tasks_held (queue) values ($1) on conflict (queue) do nothing"

// hold pauses a queue that is not paused and notes that it is held for reasons, or neither: what is paused without a note
// is the user's, and stays so.
func (c *Client[TTx]) hold(ctx context.Context, queue string) error {
	return c.both(ctx, queue,
		`update river_queue set paused_at = {stamp}, updated_at = {stamp} where name = $1 and paused_at is null`,
		noteHeld)
}

// letGoOn is the opposite of hold. Both lock the queue's row first.
func (c *Client[TTx]) letGoOn(ctx context.Context, queue string) error {
	return c.both(ctx, queue, `update river_queue set paused_at = null, updated_at = {stamp}
		where name = $1 and exists (select 1 from tasks_held where queue = $1)`, "delete from tasks_held where queue = $1")
}

// both runs the second statement if the first one has changed something, in one transaction.
func (c *Client[TTx]) both(ctx context.Context, queue, first, second string) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	n, err := changed(tx.ExecContext(ctx, c.d.sql(first), queue))
	if err != nil || n == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, c.d.sql(second), queue); err != nil {
		return err
	}
	return tx.Commit()
}

// holdBeforeStart holds the queues of this process that have reasons, before River knows them and begins their tasks.
func (c *Client[TTx]) holdBeforeStart(ctx context.Context) error {
	reasons, err := c.Paused(ctx)
	if err != nil {
		return err
	}
	for name := range c.cfg.River.Queues {
		if len(reasons["*"]) == 0 && len(reasons[name]) == 0 {
			continue
		}
		_, err := c.db.ExecContext(ctx, c.d.sql(`insert into river_queue (name, updated_at) values ($1, {stamp})
			on conflict (name) do nothing`), name)
		if err == nil {
			err = c.hold(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Drain pauses all queues for the reason "drain" and waits until no task runs in any process, or for at most maxWait.
// It returns how many still run, by queue; none means that the processes can be stopped. Resume(ctx, "*", "drain") lets
// the next ones go on.
func (c *Client[TTx]) Drain(ctx context.Context, maxWait time.Duration) (running map[string]int, err error) {
	if err := c.Pause(ctx, "*", drainReason); err != nil {
		return nil, err
	}
	for _, statement := range []string{"delete from tasks_drained", "insert into tasks_drained (id) select id from tasks_clients where id <> '' on conflict (id) do nothing"} {
		if _, err := c.db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("tasks: Drain: %w", err)
		}
	}
	end := time.Now().Add(maxWait)
	for none := 0; ; {
		running, err = c.counts(ctx, "running")
		if err != nil {
			return nil, fmt.Errorf("tasks: Drain: %w", err)
		}
		if none++; len(running) > 0 {
			none = 0
		}
		// A pause reaches the other processes a little later: one look is not enough.
		if none >= 4 || time.Now().After(end) {
			return running, nil
		}
		if err := errkit.Sleep(ctx, lookEvery); err != nil {
			return running, err
		}
	}
}

// counts returns the number of jobs in a state, by queue.
func (c *Client[TTx]) counts(ctx context.Context, state string) (map[string]int, error) {
	cast := ""
	if c.d.postgres() {
		cast = "::river_job_state"
	}
	return c.countBy(ctx, "select queue, count(*) from river_job where state = $1"+cast+" group by queue", state)
}

// drainReason is the reason of Drain.
const drainReason = "drain"

// VerifyWorkers waits until at least n processes give signs of life, for at most maxWait: after a deploy. Those that were
// there when Drain was called do not count, until Resume takes its reason back. An error says how many there are.
func (c *Client[TTx]) VerifyWorkers(ctx context.Context, n int, maxWait time.Duration) error {
	end := time.Now().Add(maxWait)
	for {
		ids, err := c.aliveWhere(ctx, "id not in (select id from tasks_drained)")
		if err != nil {
			return fmt.Errorf("tasks: VerifyWorkers: %w", err)
		}
		if len(ids) >= n {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("tasks: VerifyWorkers: %d processes work, wanted %d", len(ids), n)
		}
		if err := errkit.Sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// alive returns the ids of the processes that have given a sign of life within DeadAfter.
func (c *Client[TTx]) alive(ctx context.Context) (ids []string, err error) {
	return c.aliveWhere(ctx, "id <> ''")
}

func (c *Client[TTx]) aliveWhere(ctx context.Context, condition string) (ids []string, err error) {
	rows, err := c.read.QueryContext(ctx, c.d.sql("select id from tasks_clients where abs(seen - {now}) <= {dead} and id <> '' and "+condition+" order by id"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
