package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrStuck is the error of a task that has not returned a minute after its timeout (river.Config.JobStuckThreshold). Its
// worker is free for another task, and it is tried again. Go cannot end a goroutine: the run goes on, but what it returns
// is ignored, and [CompleteTx], [Progress] and the checkpoints of an import are ErrLost in it. A queue leaves at most as
// many runs to themselves as it has workers; more than that keep theirs.
var ErrStuck = errors.New("tasks: the task does not return")

// ending is how a run has ended.
type ending struct {
	err   error
	panic any
	stack []byte // of the panic, nil for none
}

// apart does the work of a task on a goroutine of its own, so that it can be left to itself once it is stuck.
func (c *Client[TTx]) apart(ctx context.Context, job *rivertype.JobRow, do func(context.Context) error) ending {
	noted := metadataOf(ctx)
	own := maps.Clone(noted) // one that is left to itself must not write to what River reads
	r := c.runs.begin(job)
	ended := make(chan ending, 1)
	go func() {
		e := ending{err: errors.New("tasks: the worker has ended its goroutine")}
		defer func() {
			if value := recover(); value != nil {
				e.panic, e.stack = value, debug.Stack()
			}
			ended <- e
			if c.runs.end(r) {
				c.log.WarnContext(ctx, "tasks: a run that was stuck has returned", "task", job.ID, "kind", job.Kind,
					"panicked", e.stack != nil, "after", time.Since(r.began).Round(time.Millisecond))
			}
		}()
		if noted != nil {
			e.err = do(context.WithValue(ctx, metadataKey, own))
		} else {
			e.err = do(ctx)
		}
	}()
	select {
	case e := <-ended:
		maps.Copy(noted, own)
		return e
	case <-r.left:
		return ending{err: fmt.Errorf("%w: %w", ErrStuck, context.DeadlineExceeded)}
	}
}

// stuck is called by River for a run that has not returned.
func (c *Client[TTx]) stuck(ctx context.Context, params river.JobStuckHandlerParams) (result river.JobStuckHandlerResult) {
	c.runs.stuck(params.ID, max(1, c.cfg.River.Queues[params.Queue].MaxWorkers))
	if c.cfg.River.JobStuckHandler != nil {
		result = c.cfg.River.JobStuckHandler(ctx, params)
	}
	return result
}

// runs are those of this process.
type runs struct {
	mu    sync.Mutex
	all   map[int64]*running    // by task, the last of each
	left  map[string]int        // runs that were left to themselves and have not returned, by queue
	stays map[string][]*running // those that are stuck, but keep their worker: there are too many, by queue
}

type running struct {
	queue string
	id    int64
	began time.Time
	left  chan struct{} // closed when the run is left to itself
}

func (s *runs) begin(job *rivertype.JobRow) *running {
	r := &running{job.Queue, job.ID, time.Now(), make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all, s.left, s.stays = make(map[int64]*running), make(map[string]int), make(map[string][]*running)
	}
	s.all[job.ID] = r
	return r
}

// stuck leaves the run of a task to itself, or has it wait until another one has returned.
func (s *runs) stuck(id int64, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.all[id]
	switch {
	case r == nil: // it has just returned
	case s.left[r.queue] >= most:
		s.stays[r.queue] = append(s.stays[r.queue], r)
	default:
		s.leave(r)
	}
}

// leave leaves a run to itself. The caller holds s.mu.
func (s *runs) leave(r *running) {
	s.left[r.queue]++
	if s.all[r.id] == r {
		delete(s.all, r.id)
	}
	close(r.left)
}

// end notes that a run has returned, and reports whether it was left to itself.
func (s *runs) end(r *running) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[r.id] == r {
		delete(s.all, r.id)
	}
	if i := slices.Index(s.stays[r.queue], r); i >= 0 {
		s.stays[r.queue] = slices.Delete(s.stays[r.queue], i, i+1)
	}
	select {
	case <-r.left:
	default:
		return false
	}
	if s.left[r.queue]--; s.left[r.queue] == 0 {
		delete(s.left, r.queue)
	}
	if next := s.stays[r.queue]; len(next) > 0 {
		s.stays[r.queue] = next[1:]
		s.leave(next[0])
	}
	return true
}

// metadataKey is River's own key of the metadata that a run sets, by which it is found in the context.
var metadataKey = func() any {
	asked := &keyAsked{Context: context.Background()}
	_ = river.MetadataSet(asked, "key", nil)
	return asked.key
}()

type keyAsked struct {
	context.Context
	key any
}

func (a *keyAsked) Value(key any) any {
	a.key = key
	return nil
}

// metadataOf returns the metadata that the run of a context has set, nil outside of one.
func metadataOf(ctx context.Context) map[string]any {
	m, _ := ctx.Value(metadataKey).(map[string]any)
	return m
}
