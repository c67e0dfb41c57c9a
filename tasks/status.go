package tasks

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/belay-go/belay/inbox"
)

// Status is the state of the queues and of the processes that work on them.
type Status struct {
	Queues []QueueStatus // by name
	// Processes are the ids of those that have given a sign of life within Config.DeadAfter.
	Processes []string
	// IdleFor is how long no process has given a sign of life, 0 if one does. If none ever has, it is how long the oldest
	// task has waited.
	IdleFor time.Duration
}

const (
	idleAfter      = 15 * time.Second // without a sign of life, Health warns
	noWorkersAfter = time.Minute      // and fails
)

// Health is how well the tasks do.
type Health uint8

const (
	// HealthOK is the state in which processes work.
	HealthOK Health = iota
	// HealthLate is the state after 15 s in which no process has given a sign of life.
	HealthLate
	// HealthNoWorkers is the state after 60 s.
	HealthNoWorkers
)

// String returns "ok", "late" or "no workers".
func (h Health) String() string {
	return [...]string{"ok", "late", "no workers"}[min(h, HealthNoWorkers)]
}

// live is the condition of a task that waits or runs. Written so, it uses an index.
const live = "state in ('available', 'scheduled', 'retryable', 'pending', 'running')"

// Health returns how well the tasks do.
func (s *Status) Health() Health {
	switch {
	case s.IdleFor >= noWorkersAfter:
		return HealthNoWorkers
	case s.IdleFor >= idleAfter:
		return HealthLate
	}
	return HealthOK
}

// QueueStatus is the state of one queue.
type QueueStatus struct {
	Queue string
	// Waiting counts the tasks that are due, wait for their time or for a retry, and Due the first of these alone. Running
	// and Dead count those that run, and the dead letters.
	Waiting, Due, Running, Dead int
	// Capacity is how many of them this process runs at once, 0 if it does not work on the queue.
	Capacity int
	// Oldest is how long the oldest task that is due has waited, 0 if there is none.
	Oldest time.Duration
	// Paused are the reasons for which the queue is held, those of "*" too.
	Paused []string
}

// Status returns the present state, as the database has it. It counts rows: ask for it every few seconds at most.
func (c *Client[TTx]) Status(ctx context.Context) (s Status, err error) {
	queues := make(map[string]*QueueStatus)
	of := func(name string) *QueueStatus {
		if queues[name] == nil {
			queues[name] = &QueueStatus{Queue: name}
		}
		return queues[name]
	}
	due := "coalesce(cast(" + c.d.field("tasks_due") + " as bigint), " // turns change the time
	state := "state"
	age := "coalesce(cast({now} - min(" + due + "unixepoch(scheduled_at, 'subsec') * 1000)) as integer), 0)"
	if c.d.postgres() {
		state = "cast(state as text)"
		age = "coalesce(cast({now} - min(" + due + "extract(epoch from scheduled_at) * 1000)) as bigint), 0)"
	}
	rows, err := c.read.QueryContext(ctx, c.d.sql("select queue, case when "+state+" in ('available', 'scheduled', 'retryable') then case when scheduled_at > {stamp} then 'later' else 'due' end else "+state+
		" end as status, count(*), "+age+" from river_job where "+live+" group by queue, status"))
	if err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var queue, state string
		var n int
		var oldest int64
		if err := rows.Scan(&queue, &state, &n, &oldest); err != nil {
			return s, fmt.Errorf("tasks: Status: %w", err)
		}
		q := of(queue)
		switch state {
		case "running":
			q.Running += n
		case "due": // a scheduled one too, which a leader would have made available
			q.Oldest = max(0, time.Duration(oldest)*time.Millisecond)
			q.Due += n
			fallthrough
		default:
			q.Waiting += n
		}
	}
	if err := rows.Err(); err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	where, args := c.where(DeadFilter{})
	dead, err := c.countBy(ctx, "select queue, count(*) from river_job where "+where+" group by queue", args...)
	if err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	for queue, n := range dead {
		of(queue).Dead = n
	}
	reasons, err := c.Paused(ctx)
	if err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	for queue := range reasons {
		if queue != "*" {
			of(queue)
		}
	}
	for name, own := range c.cfg.River.Queues {
		of(name).Capacity = own.MaxWorkers
	}
	for _, q := range queues {
		q.Paused = append(slices.Clone(reasons["*"]), reasons[q.Queue]...)
		s.Queues = append(s.Queues, *q)
	}
	slices.SortFunc(s.Queues, func(a, b QueueStatus) int { return cmp.Compare(a.Queue, b.Queue) })
	if s.Processes, err = c.alive(ctx); err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	if len(s.Processes) == 0 {
		if s.IdleFor, err = c.idleFor(ctx); err != nil {
			return s, fmt.Errorf("tasks: Status: %w", err)
		}
	}
	return s, nil
}

// idleFor returns how long ago the last sign of life of any process was.
func (c *Client[TTx]) idleFor(ctx context.Context) (time.Duration, error) {
	oldest := "select cast({now} - min(unixepoch(created_at, 'subsec')) * 1000 as integer)"
	if c.d.postgres() {
		oldest = "select cast({now} - extract(epoch from min(created_at)) * 1000 as bigint)"
	}
	var ms sql.NullInt64
	err := c.read.QueryRowContext(ctx, c.d.sql(`select coalesce((select min(abs({now} - seen)) from tasks_clients),
		(`+oldest+` from river_job where `+live+`))`)).Scan(&ms)
	return max(0, time.Duration(ms.Int64)*time.Millisecond), err
}

// Numbers returns a function with the numbers of a queue, for the page and the rules of package watch. It asks the
// database each time, and panics if there is no answer within 5 s, which package watch takes for no numbers.
func (c *Client[TTx]) Numbers(queue string) func() inbox.Numbers {
	return func() inbox.Numbers {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s, err := c.Status(ctx)
		if err != nil {
			panic(err) // package watch leaves it out then
		}
		for _, q := range s.Queues {
			if q.Queue == queue {
				return inbox.Numbers{Pending: q.Waiting + q.Running, Oldest: q.Oldest, Dead: uint64(q.Dead)}
			}
		}
		return inbox.Numbers{}
	}
}
