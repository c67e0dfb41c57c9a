package tasks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// QueueFullError is the error of an insert into a queue that has too many tasks waiting. Nothing was inserted.
type QueueFullError struct {
	Queue                 string
	Waiting, Wanted, Most int // tasks that wait, that were to be inserted, and that may wait
}

// Error says how many tasks wait.
func (e *QueueFullError) Error() string {
	return fmt.Sprintf("tasks: the queue %s is full: %d tasks wait, %d more are too many, %d may wait", e.Queue, e.Waiting, e.Wanted, e.Most)
}

// depths knows how many tasks wait in each queue. What this process inserts is counted at once, and what others do is
// looked up each second.
type depths struct {
	mu     sync.Mutex
	queues map[string]*depth
}

type depth struct {
	waiting int
	at      time.Time
	full    bool // until nine tenths wait
}

const (
	lookAgain    = time.Second
	defaultDepth = 10_000
)

// InsertMany implements [rivertype.JobInsertMiddleware].
func (p *plugin[TTx]) InsertMany(
	ctx context.Context, params []*rivertype.JobInsertParams, do func(context.Context) ([]*rivertype.JobInsertResult, error),
) ([]*rivertype.JobInsertResult, error) {
	add := make(map[string]int)
	for _, one := range params {
		add[one.Queue]++
	}
	taken := make(map[string]int) // counted before they are inserted, as others insert at the same time
	for queue, n := range add {
		if err := p.c.room(ctx, queue, n); err != nil {
			p.c.giveBack(taken)
			return nil, err
		}
		taken[queue] = n
	}
	results, err := do(ctx)
	if err != nil {
		p.c.giveBack(taken)
		return results, err
	}
	twice := make(map[string]int)
	for _, r := range results {
		if r != nil && r.UniqueSkippedAsDuplicate {
			twice[r.Job.Queue]++
		}
	}
	p.c.giveBack(twice)
	p.c.wake.now()
	return results, nil
}

// giveBack uncounts tasks that were not inserted.
func (c *Client[TTx]) giveBack(n map[string]int) {
	c.depths.mu.Lock()
	defer c.depths.mu.Unlock()
	for queue, n := range n {
		if d := c.depths.queues[queue]; d != nil {
			d.waiting = max(0, d.waiting-n)
		}
	}
}

// room counts n more tasks in a queue, or returns a *QueueFullError if they do not fit.
func (c *Client[TTx]) room(ctx context.Context, queue string, n int) error {
	most := c.cfg.MaxDepth
	if own, ok := c.cfg.Depths[queue]; ok {
		most = own
	}
	if most < 0 {
		return nil
	}
	c.depths.mu.Lock()
	d := c.depths.queues[queue]
	fresh := d != nil && time.Since(d.at) < lookAgain
	c.depths.mu.Unlock()
	if !fresh {
		waiting, err := c.waiting(ctx, queue, most+1)
		if err != nil {
			return fmt.Errorf("tasks: how many tasks wait in %s: %w", queue, err)
		}
		c.depths.mu.Lock()
		if d = c.depths.queues[queue]; d == nil {
			if c.depths.queues == nil {
				c.depths.queues = make(map[string]*depth)
			}
			d = new(depth)
			c.depths.queues[queue] = d
		}
		d.waiting, d.at = waiting, time.Now()
		c.depths.mu.Unlock()
	}
	c.depths.mu.Lock()
	defer c.depths.mu.Unlock()
	bound := most
	if d.full {
		bound = most - most/10
	}
	if d.full = d.waiting+1 > bound; d.full || d.waiting+n > bound {
		return &QueueFullError{queue, d.waiting, n, most}
	}
	d.waiting += n
	return nil
}

// waiting counts the tasks that wait in a queue, up to a bound. It uses the second pool: inserts hold a connection of
// the first one.
func (c *Client[TTx]) waiting(ctx context.Context, queue string, most int) (n int, err error) {
	err = c.read.QueryRowContext(ctx, `select count(*) from (select 1 from river_job where queue = $1
		and state in ('available', 'scheduled', 'retryable', 'pending') limit $2) as waiting`, queue, most).Scan(&n)
	return n, err
}
