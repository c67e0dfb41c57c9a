package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// run passes jobs to the handler until the channel of jobs is closed. If a handler ends its goroutine, as
// runtime.Goexit does, the attempt has failed, and a new goroutine continues.
func (w *Worker) run(workers *sync.WaitGroup) {
	for j := range w.work {
		func() {
			var r result
			defer func() {
				if r.job == nil { // attempt has not returned
					r = w.judge(j, Item{}, errGoexit, time.Now())
					workers.Go(func() { w.run(workers) })
				}
				w.ended <- r
			}()
			r = w.attempt(j)
		}()
	}
}

var errGoexit = errors.New("inbox: the handler ended its goroutine")

// attempt reads an event from the store and passes it to the handler.
func (w *Worker) attempt(j *job) result {
	if w.ctx.Err() != nil {
		return result{job: j, again: true}
	}
	it, err := w.store.Get(w.ctx, j.seq)
	switch {
	case errors.Is(err, ErrNoItem): // discarded, or replayed twice and handled already
		return result{job: j, change: Change{Seq: j.seq, State: Handled}, silent: true}
	case err != nil: // the store failed: this is not an attempt
		w.tell(belay.EventHandled{
			ID: fmt.Sprint(j.seq), Attempt: j.attempts + 1, Retry: w.cfg.MaxDelay,
			Err: fmt.Errorf("inbox: reading an event: %w", err),
		})
		// In the drain of a Shutdown the job would come again at once: do not spin.
		_ = errkit.Sleep(w.ctx, 100*time.Millisecond)
		return result{
			job: j, change: Change{j.seq, Pending, j.attempts, time.Now().Add(w.cfg.MaxDelay), oneLine(err)},
			silent: true,
		}
	}
	ctx, cancel := w.ctx, context.CancelFunc(func() {})
	if w.cfg.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.cfg.Timeout)
	}
	defer cancel()
	it.Attempts = j.attempts
	began := time.Now()
	return w.judge(j, it, w.call(ctx, it), began)
}

// judge returns the result of an attempt that ended with err: the new state of the event, and the report for
// the observers.
func (w *Worker) judge(j *job, it Item, err error, began time.Time) result {
	now := time.Now()
	r := result{job: j, change: Change{Seq: j.seq, State: Handled, Attempts: j.attempts + 1}, event: belay.EventHandled{
		Partner: it.Partner, Integration: it.Integration, ID: it.ID, Type: it.Type,
		Attempt: j.attempts + 1, Age: now.Sub(j.received), Duration: now.Sub(began), Err: err,
	}}
	if err == nil {
		return r
	}
	var final permanent
	r.change.Error = oneLine(err)
	switch {
	case w.ctx.Err() != nil: // Shutdown interrupted the attempt
		r.again = true
	case errors.Is(err, ErrUnhandled):
		r.change.State, r.change.Attempts, r.event.DeadLettered = Unhandled, j.attempts, true
	case errors.As(err, &final) || r.change.Attempts >= w.cfg.MaxAttempts:
		r.change.State, r.event.DeadLettered = Dead, true
	default:
		wait := w.cfg.delay(r.change.Attempts)
		if asked, ok := belay.RetryAfter(err); ok {
			wait = max(wait, min(asked, 24*time.Hour))
		}
		r.change.State, r.change.Due, r.event.Retry = Pending, now.Add(wait), wait
	}
	return r
}

// call calls the handler and returns a panic as an error. It also calls the methods of the returned error:
// they panic if the error holds a nil pointer. The value of a panic is shown only if it is a runtime error,
// because another value may hold anything.
func (w *Worker) call(ctx context.Context, it Item) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("inbox: the handler panicked: %w", p)
		default:
			err = fmt.Errorf("inbox: the handler panicked with a %T", p)
		}
	}()
	if err = w.handle(ctx, it); err != nil {
		var final permanent
		_, _, _, _ = err.Error(), errors.Is(err, ErrUnhandled), errors.As(err, &final), errors.As(err, new(*belay.Error))
	}
	return err
}
