package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
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
	if j.term.ctx.Err() != nil {
		return result{job: j, again: true}
	}
	it, err := w.store.Get(j.term.ctx, j.seq)
	switch {
	case errors.Is(err, ErrNoItem): // discarded, or replayed twice and handled already
		return result{job: j, change: Change{Seq: j.seq, State: Handled}, silent: true}
	case err != nil: // the store failed: this is not an attempt
		w.tell(belay.EventHandled{
			ID: fmt.Sprint(j.seq), Attempt: j.attempts + 1, Retry: w.cfg.MaxDelay,
			Err: fmt.Errorf("inbox: reading an event: %w", err),
		})
		// In the drain of a Shutdown the job would come again at once: do not spin.
		_ = errkit.Sleep(j.term.ctx, 100*time.Millisecond)
		return result{
			job: j, silent: true, change: Change{
				Seq: j.seq, State: Pending, Attempts: j.attempts, Due: time.Now().Add(w.cfg.MaxDelay), Error: oneLine(err),
			},
		}
	}
	if it.State != Pending { // settled since it was read, by what another process has left
		return result{job: j, silent: true, skip: true}
	}
	ctx, cancel := j.term.ctx, context.CancelFunc(func() {})
	if w.cfg.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.cfg.Timeout)
	}
	defer cancel()
	ctx = belay.CallContext(ctx, belay.Correlation(it.ID))
	it.Attempts = j.attempts
	began := time.Now()
	return w.judge(j, it, w.call(ctx, it), began)
}

// judge returns the result of an attempt that ended with err: the new state of the event, and the report for
// the observers.
//
// An attempt that was refused, by Belay or by a partner that says when to come back, does not count: it says nothing
// of the event. Any other failure counts, so that an event that can never be handled ends. In the drain of a Shutdown
// every attempt counts, because nothing waits any more.
func (w *Worker) judge(j *job, it Item, err error, began time.Time) result {
	now := time.Now()
	r := result{job: j, change: Change{Seq: j.seq, State: Handled, Attempts: j.attempts + 1}, event: belay.EventHandled{
		Partner: it.Partner, Integration: it.Integration, ID: it.ID, Type: it.Type,
		Attempt: j.attempts + 1, Age: now.Sub(j.received), Duration: now.Sub(began), Err: err,
	}}
	if err == nil {
		return r
	}
	var panicked *panicError
	r.change.Error = oneLine(err)
	failure := Failure{At: now, Error: redact.Line(redact.Text(err.Error()), 200)}
	if errors.As(err, &panicked) {
		failure.Stack, r.event.Stack = panicked.stack, panicked.stack
	}
	r.change.Failures = withFailure(it.Failures, failure)
	asked, told := belay.RetryAfter(err)
	age := now.Sub(j.received)
	if !j.revivedAt.IsZero() {
		age = now.Sub(j.revivedAt)
	}
	var ours *belay.Error
	switch {
	case j.term.ctx.Err() != nil: // Shutdown interrupted the attempt, or the claim was lost
		r.again = true
	case errors.Is(err, ErrUnhandled):
		r.change.State, r.change.Attempts, r.event.DeadLettered = Unhandled, j.attempts, true
	case IsPermanent(err), w.cfg.MaxAge > 0 && age >= w.cfg.MaxAge:
		r.change.State, r.event.DeadLettered = Dead, true
	case (told || errors.As(err, &ours) && ours != nil && ours.Class == belay.ClassRefused) && !w.draining():
		r.refused, r.change.Attempts = true, j.attempts
		wait := w.cfg.delay(j.deferred + 1)
		if told {
			wait = max(w.cfg.delay(1), min(asked, 24*time.Hour))
		}
		r.change.State, r.change.Due, r.event.Retry = Pending, now.Add(wait), wait
	case r.change.Attempts >= w.cfg.MaxAttempts:
		r.change.State, r.event.DeadLettered = Dead, true
	default:
		wait := w.cfg.delay(r.change.Attempts)
		r.change.State, r.change.Due, r.event.Retry = Pending, now.Add(wait), wait
	}
	return r
}

// maxFailures is the number of failures that are kept of an event.
const maxFailures = 12

// withFailure returns the failures with one more. Only the last one keeps its stack.
func withFailure(all []Failure, f Failure) []Failure {
	all = slices.Clone(all[max(0, len(all)-maxFailures+1):])
	for i := range all {
		all[i].Stack = ""
	}
	return append(all, f)
}

// panicError is the error of a handler that panicked.
type panicError struct {
	text  string
	err   error // the value of the panic, if it is an error
	stack string
}

func (e *panicError) Error() string { return "inbox: the handler panicked: " + e.text }
func (e *panicError) Unwrap() error { return e.err }

// maxStack bounds the stack of a panic that is kept, in bytes.
const maxStack = 2 << 10

// panicked returns the error for a panic with the value p.
func panicked(p any) *panicError {
	e := &panicError{text: fmt.Sprintf("%T", p)}
	func() {
		defer func() { _ = recover() }() // a method of p may panic
		switch p.(type) {
		case string, error, fmt.Stringer, bool, int, int64, uint64, float64:
			e.text = redact.Line(redact.Text(fmt.Sprint(p)), 300)
		} // any other value may hold anything
	}()
	if err, ok := p.(runtime.Error); ok { // any other error may decide on the event's fate by accident
		e.err = err
	}
	// The first frames are those of this function and of the runtime.
	stack := string(debug.Stack())
	if _, rest, ok := strings.Cut(stack, "panic("); ok {
		if _, after, ok := strings.Cut(rest, "\n\t"); ok {
			_, stack, _ = strings.Cut(after, "\n")
		}
	}
	e.stack = strings.ToValidUTF8(stack[:min(len(stack), maxStack)], "")
	return e
}

// call calls the handler and returns a panic as an error. It also calls the methods of the returned error:
// they panic if the error holds a nil pointer. What a panic says is shown, except for what looks like a credential.
func (w *Worker) call(ctx context.Context, it Item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if err = w.handle(ctx, it); err != nil {
		_, _, _, _ = err.Error(), errors.Is(err, ErrUnhandled), IsPermanent(err), errors.As(err, new(*belay.Error))
	}
	return err
}
