package belayprom

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Queue is the state of a queue of tasks. Its fields are those of package tasks's QueueStatus, so that one converts to
// the other.
type Queue struct {
	Queue                       string
	Waiting, Due, Running, Dead int
	Capacity                    int
	Oldest                      time.Duration
	Paused                      []string
}

// QueuesFunc returns the queues of tasks, and how many processes work on them.
type QueuesFunc func(context.Context) (queues []Queue, processes int, err error)

// queueDescs are the metrics of queues.
type queueDescs struct{ tasks, oldest, capacity, held, processes *prometheus.Desc }

func (q *queueDescs) init(desc func(name, help string, labels ...string) *prometheus.Desc) {
	q.tasks = desc("integration_queue_tasks", "Tasks of a queue: due, waiting for their time or a retry (later), running, dead letters (dead).", "queue", "state")
	q.oldest = desc("integration_queue_oldest_seconds", "How long the oldest task that is due has waited.", "queue")
	q.capacity = desc("integration_queue_capacity", "Tasks of a queue that this process runs at once.", "queue")
	q.held = desc("integration_queue_held", "Whether a queue is held: 1 or 0.", "queue")
	q.processes = desc("integration_queue_processes", "Processes that work on tasks.")
}

func (q *queueDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{q.tasks, q.oldest, q.capacity, q.held, q.processes}
}

// queuesWithin bounds the time of one look at the queues.
const queuesWithin = 5 * time.Second

// SetQueues makes metrics of the queues that f returns, with each scrape: f must be quick. With an error, or a panic,
// they have none in that scrape. Nil is an error.
func (m *Metrics) SetQueues(f QueuesFunc) error {
	if f == nil {
		return errors.New("belayprom: SetQueues: the function is nil")
	}
	m.sources.mu.Lock()
	defer m.sources.mu.Unlock()
	m.sources.queues = f
	return nil
}

func (q *queueDescs) collect(f QueuesFunc, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	if f == nil {
		return
	}
	defer func() { _ = recover() }() // f is the user's
	ctx, cancel := context.WithTimeout(context.Background(), queuesWithin)
	defer cancel()
	queues, processes, err := f(ctx)
	if err != nil {
		return
	}
	gauge(q.processes, float64(processes))
	seen := make(map[string]bool)
	for _, one := range queues {
		name := plain(one.Queue)
		if seen[name] || len(seen) == mostQueues {
			continue
		}
		seen[name] = true
		for state, n := range map[string]int{"due": one.Due, "later": one.Waiting - one.Due, "running": one.Running, "dead": one.Dead} {
			gauge(q.tasks, float64(n), name, state)
		}
		gauge(q.oldest, one.Oldest.Seconds(), name)
		gauge(q.capacity, float64(one.Capacity), name)
		held := 0.0
		if len(one.Paused) > 0 {
			held = 1
		}
		gauge(q.held, held, name)
	}
}

// mostQueues bounds the queues that have metrics.
const mostQueues = 1000
