package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Status is the state of the queues and of the processes that work on them.
type Status struct {
	Queues []QueueStatus // by name
	// Processes are the ids of those that have given a sign of life within Config.DeadAfter.
	Processes []string
}

// QueueStatus is the state of one queue.
type QueueStatus struct {
	Queue string
	// Waiting counts the tasks that are due, wait for their time or for a retry. Running and Dead count those that run, and
	// the dead letters.
	Waiting, Running, Dead int
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
	age := "coalesce(cast({now} - unixepoch(min(scheduled_at), 'subsec') * 1000 as integer), 0)"
	if c.d.postgres() {
		age = "coalesce(cast({now} - extract(epoch from min(scheduled_at)) * 1000 as bigint), 0)"
	}
	rows, err := c.read.QueryContext(ctx, c.d.sql("select queue, state, count(*), "+age+
		" from river_job where state not in ('completed', 'cancelled', 'discarded') group by queue, state"))
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
		case "available":
			q.Oldest = max(0, time.Duration(oldest)*time.Millisecond)
			fallthrough
		default:
			q.Waiting += n
		}
	}
	if err := rows.Err(); err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	where, args := c.where(DeadFilter{})
	dead, err := c.read.QueryContext(ctx, "select queue, count(*) from river_job where "+where+" group by queue", args...)
	if err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	defer dead.Close()
	for dead.Next() {
		var queue string
		var n int
		if err := dead.Scan(&queue, &n); err != nil {
			return s, fmt.Errorf("tasks: Status: %w", err)
		}
		of(queue).Dead = n
	}
	if err := dead.Err(); err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
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
	for _, q := range queues {
		q.Paused = append(slices.Clone(reasons["*"]), reasons[q.Queue]...)
		s.Queues = append(s.Queues, *q)
	}
	slices.SortFunc(s.Queues, func(a, b QueueStatus) int { return cmp.Compare(a.Queue, b.Queue) })
	if s.Processes, err = c.alive(ctx); err != nil {
		return s, fmt.Errorf("tasks: Status: %w", err)
	}
	return s, nil
}
