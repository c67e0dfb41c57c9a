package tasks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Priorities of tasks within a queue, for river.InsertOpts. River's own default is PriorityHigh.
const (
	PriorityHigh   = 1
	PriorityNormal = 2
	PriorityLow    = 3
	// behindFront is the priority of tasks whose company has its share of the queue's front already.
	behindFront = 4
)

// CompanyArgs are arguments of tasks of one of your customers. Within a queue the companies take turns: of each one,
// some tasks wait at the front with their own priority, and the rest behind, so that nobody waits for the thousand
// tasks of another one. An empty name takes no turns.
type CompanyArgs interface{ Company() string }

const (
	leastShare  = 25 // tasks of a company at the front of a queue
	mostShare   = 1000
	turnsEvery  = 250 * time.Millisecond
	turnsSeldom = time.Second // while nothing waits behind a front
)

// shares knows how many tasks of each company wait at the front of a queue. It is looked up each second, and counts
// what this process inserts in between.
type shares struct {
	mu     sync.Mutex
	queues map[string]*share
}

type share struct {
	at    time.Time
	front map[string]int // by company
}

// toFront reports whether a task of a company may wait at the front of a queue.
func (c *Client[TTx]) toFront(ctx context.Context, queue, company string) (bool, error) {
	c.shares.mu.Lock()
	s := c.shares.queues[queue]
	fresh := s != nil && time.Since(s.at) < lookAgain
	c.shares.mu.Unlock()
	if !fresh {
		front, err := c.front(ctx, queue)
		if err != nil {
			return false, fmt.Errorf("tasks: the companies of %s: %w", queue, err)
		}
		s = &share{time.Now(), front}
	}
	c.shares.mu.Lock()
	defer c.shares.mu.Unlock()
	if !fresh {
		if c.shares.queues == nil {
			c.shares.queues = make(map[string]*share)
		}
		c.shares.queues[queue] = s
	}
	s.front[company]++
	return s.front[company] <= leastShare, nil
}

// front counts the tasks at the front of a queue, by company.
func (c *Client[TTx]) front(ctx context.Context, queue string) (map[string]int, error) {
	company := c.d.field("tasks_company")
	return c.countBy(ctx, "select "+company+", count(*) from river_job where state = 'available' and queue = $1 and priority < $2 and "+
		company+" is not null group by 1", queue, behindFront)
}

// takeTurns brings tasks of each company to the front of the queues, until ctx ends. One process does it at a time, and
// spends at most a fifth of its time on it. A company's share of the front follows what is done between two looks, so
// that there is enough at the front until the next one.
func (c *Client[TTx]) takeTurns(ctx context.Context) {
	share := make(map[string]int)
	for every := time.Duration(0); errkit.Sleep(ctx, every) == nil; {
		began := time.Now()
		empty, err := c.moveToFronts(ctx, share)
		every = turnsSeldom
		switch {
		case err != nil && ctx.Err() == nil && isDeadlock(err): // beside other statements
			every = turnsEvery
		case err != nil && ctx.Err() == nil:
			every = 5 * time.Second
			c.log.WarnContext(ctx, "tasks: turns between companies", "error", err)
		case empty:
			every = turnsEvery / 5
		case len(share) > 0:
			every = turnsEvery
		}
		every = max(every, 4*time.Since(began))
	}
}

// moveToFronts fills the fronts of all queues that have tasks behind them. It reports whether one was empty, and leaves
// in share what each company's part of them is.
func (c *Client[TTx]) moveToFronts(ctx context.Context, share map[string]int) (empty bool, err error) {
	var waiting int
	err = c.read.QueryRowContext(ctx, "select count(*) from (select 1 from river_job where state = 'available' and priority = $1 limit 1) as behind",
		behindFront).Scan(&waiting)
	if err != nil || waiting == 0 {
		clear(share)
		return false, err
	}
	mine, err := changed(c.db.ExecContext(ctx, c.d.sql(`insert into tasks_turns (queue, at) values ('', {now})
		on conflict (queue) do update set at = excluded.at where abs({now} - tasks_turns.at) >= $1`), turnsEvery.Milliseconds()/6))
	if err != nil || mine == 0 {
		return false, err
	}
	behind, err := c.behind(ctx)
	if err != nil {
		return false, err
	}
	for queue := range share {
		if behind[queue] == 0 {
			delete(share, queue)
		}
	}
	for queue, companies := range behind {
		now := max(share[queue], leastShare)
		moved, err := c.turn(ctx, queue, now)
		if err != nil {
			return false, err
		}
		next := 2 * moved / companies // what was moved is what was done since the last look
		if moved >= now*companies {
			next, empty = 2*now, true
		}
		share[queue] = min(max(next, now/2), mostShare)
	}
	return empty, nil
}

// behind returns the number of companies that have tasks behind the front, by queue.
func (c *Client[TTx]) behind(ctx context.Context) (map[string]int, error) {
	company := c.d.field("tasks_company")
	return c.countBy(ctx, "select queue, count(distinct "+company+") from river_job where state = 'available' and priority = $1 and "+
		company+" is not null group by queue", behindFront)
}

// turn fills the front of a queue up to a share for each company, and returns how many tasks it has moved.
func (c *Client[TTx]) turn(ctx context.Context, queue string, share int) (moved int, err error) {
	company := c.d.field("tasks_company")
	own := "coalesce(cast(" + c.d.field("tasks_priority") + " as integer), 1)"
	// Within the front, tasks go by their time: the first ones of all companies, then the second ones.
	at := "strftime('%Y-%m-%d %H:%M:%f', 'now', ((places.place - $3) / 1000.0) || ' seconds')"
	if c.d.postgres() {
		at = "clock_timestamp() + (places.place - $3) * interval '1 millisecond'"
	}
	keep := "jsonb_set(metadata, '$.tasks_due', coalesce(json_extract(metadata, '$.tasks_due'), cast(unixepoch(scheduled_at, 'subsec') * 1000 as integer)))"
	if c.d.postgres() {
		keep = `metadata || jsonb_build_object('tasks_due',
			coalesce(cast(metadata ->> 'tasks_due' as bigint), cast(extract(epoch from scheduled_at) * 1000 as bigint)))`
	}
	n, err := changed(c.db.ExecContext(ctx, `update river_job set priority = places.own, scheduled_at = `+at+`, metadata = `+keep+`
		from (select id, priority as now, `+own+` as own, row_number() over (partition by `+company+`
			order by case when priority = $2 then 1 else 0 end, `+own+`, scheduled_at, id) as place
			from river_job where state = 'available' and queue = $1 and `+company+` is not null) as places
		where river_job.id = places.id and places.place <= $3 and places.now = $2 and state = 'available'`, queue, behindFront, share))
	return int(n), err
}
