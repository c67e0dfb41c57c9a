package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// lastTries bounds the attempts to record a batch of results once Shutdown has begun.
const lastTries = 5

// settleAll runs settle until the worker shuts down. If an observer calls runtime.Goexit (t.FailNow does), it
// restarts settle on a new goroutine.
func (w *Worker) settleAll() {
	over := false
	defer func() {
		if over {
			close(w.done)
		} else {
			w.poke()
			go w.settleAll()
		}
	}()
	w.settle()
	over = true
}

// settle records the results of attempts in the store. A batch holds all results that have come meanwhile, so
// that they share one write.
func (w *Worker) settle() {
	for r := range w.ended {
		batch := []result{r}
		for more := true; more && len(batch) < cap(w.ended); {
			select {
			case r, ok := <-w.ended:
				if more = ok; ok {
					batch = append(batch, r)
				}
			default:
				more = false
			}
		}
		changes := make([]Change, 0, len(batch))
		for _, r := range batch {
			if !r.again && !r.skip {
				changes = append(changes, r.change)
			}
		}
		for wait, left := 100*time.Millisecond, lastTries; len(changes) > 0; wait = min(2*wait, 10*time.Second) {
			err := w.store.Settle(context.Background(), changes)
			if err == nil || errors.Is(err, ErrClaimLost) { // another process handles these events
				break
			}
			if w.isClosed() {
				wait = min(wait, time.Second)
				left--
			}
			// No event is lost: an event with an unrecorded result is handled again after the next start.
			w.tell(belay.EventHandled{
				ID: fmt.Sprint(changes[0].Seq), Retry: wait,
				Err: fmt.Errorf("inbox: noting %d changes: %w", len(changes), err),
			})
			if left > 0 && errkit.Sleep(w.ctx, wait) == nil {
				continue
			}
			w.mu.Lock()
			w.unnoted += len(changes)
			w.mu.Unlock()
			break
		}
		w.mu.Lock()
		for _, r := range batch {
			w.working--
			if r.job.term != w.term { // of a claim that was lost
				continue
			}
			switch {
			case r.refused:
				w.schedule.refused(r.job, r.change.Due)
			case !r.again && !r.silent:
				w.schedule.accepted(r.job, r.event.Err != nil)
			}
			switch {
			case r.again:
				w.schedule.again(r.job)
			case r.skip:
				w.schedule.done(r.job)
			case r.change.State == Pending:
				r.job.attempts, r.job.due = r.change.Attempts, r.change.Due
				w.schedule.again(r.job)
			default:
				w.schedule.done(r.job)
				if r.job.revived { // replayed after the store recorded the result
					now := time.Now()
					w.schedule.add(&job{
						term: w.term, from: r.job.from, seq: r.job.seq, key: r.job.key, due: now, received: r.job.received, revivedAt: now,
					})
				}
			}
			w.numbers.note(r, time.Now())
		}
		w.mu.Unlock()
		for _, r := range batch {
			if !r.again && !r.silent {
				w.tell(r.event)
			}
		}
		w.poke()
	}
}
