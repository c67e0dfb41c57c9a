package tasks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Priorities of tasks within a queue, for river.InsertOpts. River's own default is High.
const (
	High   = 1
	Normal = 2
	Low    = 3
	// laterOn is the priority of tasks whose company has its share of the queue's front already.
	laterOn = 4
)

// CompanyArgs are arguments of tasks of one of your customers. Within a queue the companies take turns: of each one, some tasks
// wait at the front with their own priority, and the rest behind, so that nobody waits for the thousand tasks of another one. An
// empty name takes no turns.
type CompanyArgs interface{ Company() string }

const (
	leastShare  = 25 // tasks of a company at the front of a queue
	mostShare   = 1000
	turnsEvery  = 250 * time.Millisecond
	turnsSeldom = time.Second // while nothing waits behind a front
)

// shares knows how many tasks of each company wait at the front of a queue. It is looked up each second, and counts what this
// process inserts in between.
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
		c.shares.mu.Lock()
		if c.shares.queues == nil {
			c.shares.queues = make(map[string]*share)
		}
		s = &share{time.Now(), front}
		c.shares.queues[queue] = s
		c.shares.mu.Unlock()
	}
	c.shares.mu.Lock()
	defer c.shares.mu.Unlock()
	s.front[company]++
	return s.front[company] <= leastShare, nil
}

// front counts the tasks at the front of a queue, by company.
func (c *Client[TTx]) front(ctx context.Context, queue string) (map[string]int, error) {
	company := c.d.field("tasks_company")
	rows, err := c.read.QueryContext(ctx, "select "+company+", count(*) from river_job where state = 'available' and queue = $1 and priority < $2 and "+
		company+" is not null group by 1", queue, laterOn)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]int)
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		all[name] = n
	}
	return all, rows.Err()
}

// takeTurns brings tasks of each company to the front of the queues, until ctx ends. One process does it at a time. A company's
// share of the front follows what is done between two looks: too much there would be done in the order of arrival.
func (c *Client[TTx]) takeTurns(ctx context.Context) {
	share := make(map[string]int)
	for every := time.Duration(0); errkit.Sleep(ctx, every) == nil; {
		behind, err := c.behind(ctx)
		if every = turnsEvery; len(behind) == 0 {
			every = turnsSeldom
		}
		for queue, companies := range behind {
			now := max(share[queue], leastShare)
			var moved int
			if moved, err = c.turn(ctx, queue, now); err != nil {
				break
			}
			// What was moved is what was done since the last look: the front must hold about twice as much until the next one.
			if share[queue] = 2 * moved / companies; moved >= now*companies {
				share[queue], every = 2*now, turnsEvery/5 // it was empty
			}
			share[queue] = min(max(share[queue], now/2), mostShare)
		}
		if err != nil && ctx.Err() == nil {
			every = 5 * time.Second
			c.log.WarnContext(ctx, "tasks: turns between companies", "error", err)
		}
	}
}

// behind returns the number of companies that have tasks behind the front, by queue.
func (c *Client[TTx]) behind(ctx context.Context) (map[string]int, error) {
	rows, err := c.read.QueryContext(ctx, "select queue, count(distinct "+c.d.field("tasks_company")+") as companies from river_job where state = 'available' and priority = $1 group by queue", laterOn)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]int)
	for rows.Next() {
		var queue string
		var n int
		if err := rows.Scan(&queue, &n); err != nil {
			return nil, err
		}
		if n > 0 {
			all[queue] = n
		}
	}
	return all, rows.Err()
}

// turn fills the front of a queue up to a share for each company, and returns how many tasks it has moved.
func (c *Client[TTx]) turn(ctx context.Context, queue string, share int) (moved int, err error) {
	mine, err := changed(c.db.ExecContext(ctx, c.d.sql(`insert into tasks_turns (queue, at) values ($1, {now})
		on conflict (queue) do update set at = excluded.at where tasks_turns.at <= {now} - $2`), queue, turnsEvery.Milliseconds()/6))
	if err != nil || mine == 0 {
		return 0, err
	}
	company := c.d.field("tasks_company")
	own := "coalesce(cast(" + c.d.field("tasks_priority") + " as integer), 1)"
	// Within the front, tasks go by their time: the first ones of all companies, then the second ones.
	at := "strftime('%Y-%m-%d %H:%M:%f', 'now', ((places.place - $3) / 1000.0) || ' seconds')"
	if c.d.postgres() {
		at = "clock_timestamp() + (places.place - $3) * interval '1 millisecond'"
	}
	n, err := changed(c.db.ExecContext(ctx, `update river_job set priority = places.own, scheduled_at = `+at+`
		from (select id, priority as now, `+own+` as own, row_number() over (partition by `+company+`
			order by case when priority = $2 then 1 else 0 end, `+own+`, scheduled_at, id) as place
			from river_job where state = 'available' and queue = $1 and `+company+` is not null) as places
		where river_job.id = places.id and places.place <= $3 and places.now = $2 and state = 'available'`, queue, laterOn, share))
	return int(n), err
}
