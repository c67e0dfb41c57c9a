package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/fault"
)

// run hands out events until there are no more. A handler that ends its goroutine, as runtime.Goexit does, has failed, and another
// goroutine goes on.
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

// attempt hands one event to the handler.
func (w *Worker) attempt(j *job) result {
	if w.ctx.Err() != nil {
		return result{job: j, again: true}
	}
	it, err := w.store.Get(w.ctx, j.seq)
	switch {
	case errors.Is(err, ErrNoItem): // discarded, or handled after it was replayed twice
		return result{job: j, change: Change{Seq: j.seq, State: Handled}, silent: true}
	case err != nil: // the store's trouble, and no attempt
		w.tell(belay.EventHandled{ID: fmt.Sprint(j.seq), Attempt: j.attempts + 1, Retry: w.cfg.MaxDelay, Err: fmt.Errorf("inbox: reading an event: %w", err)})
		_ = fault.Sleep(w.ctx, 100*time.Millisecond) // when all is handed out at once, it is at its turn again soon
		return result{job: j, change: Change{j.seq, Pending, j.attempts, time.Now().Add(w.cfg.MaxDelay), oneLine(err)}, silent: true}
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

// judge says what follows from how an attempt went.
func (w *Worker) judge(j *job, it Item, err error, began time.Time) result {
	now := time.Now()
	r := result{job: j, change: Change{Seq: j.seq, State: Handled, Attempts: j.attempts + 1}, told: belay.EventHandled{
		Partner: it.Partner, Integration: it.Integration, ID: it.ID, Type: it.Type,
		Attempt: j.attempts + 1, Age: now.Sub(j.received), Duration: now.Sub(began), Err: err,
	}}
	if err == nil {
		return r
	}
	var final permanent
	r.change.Error = oneLine(err)
	switch {
	case w.ctx.Err() != nil: // Shutdown has cut it short
		r.again = true
	case errors.Is(err, ErrUnhandled):
		r.change.State, r.change.Attempts, r.told.DeadLettered = Unhandled, j.attempts, true
	case errors.As(err, &final) || r.change.Attempts >= w.cfg.MaxAttempts:
		r.change.State, r.told.DeadLettered = Dead, true
	default:
		wait := w.cfg.delay(r.change.Attempts)
		if asked, ok := belay.RetryAfter(err); ok {
			wait = max(wait, min(asked, 24*time.Hour))
		}
		r.change.State, r.change.Due, r.told.Retry = Pending, now.Add(wait), wait
	}
	return r
}

// call contains a panic, also of the error that the handler returns: a nil pointer in an error is found when it is asked what it says.
// What was panicked with is not shown but for errors of the runtime: it may be anything.
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
