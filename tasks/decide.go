package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// Action is what a failed task does next.
type Action uint8

const (
	// Retry spends an attempt and waits as the worker's NextRetry or the RetryPolicy says.
	Retry Action = iota
	// RetryAfter spends an attempt and waits for Wait, unless the worker has a NextRetry of its own.
	RetryAfter
	// Snooze spends no attempt and waits for Wait.
	Snooze
	// Cancel gives the task up: it does not run again by itself, and is a dead letter.
	Cancel
)

// Decision is what a failed task does next, and why.
type Decision struct {
	Action Action
	Wait   time.Duration
	Class  string // of the error, for dead letters and alerts
}

// Decide decides by the error of a task. An error that is none of Belay's is a Retry, and River's own JobCancel and
// JobSnooze stay what they are. In this order:
//
//	inbox.Permanent, inbox.ErrUnhandled       Cancel
//	a wait that belay.RetryAfter finds        Snooze until then
//	not sent (circuit open, over a limit)     Snooze for 30 s
//	5xx                                       RetryAfter 60 s, doubled each time, to 30 min
//	network, timeouts                         RetryAfter 30 s, doubled each time, to 15 min
//	429 without a wait                        RetryAfter 60 s
//	a credential that another one replaces    RetryAfter 5 s, and Cancel if the attempt before ended so, too
//	another refusal of a credential           Cancel
//	an answer that cannot be used             Cancel
//	a call that cannot succeed as it stands   Cancel
//	the end of the process                    Snooze for 0 s
func Decide(err error, job *rivertype.JobRow) Decision {
	switch {
	case inbox.IsPermanent(err):
		return Decision{Action: Cancel, Class: "permanent"}
	case errors.Is(err, inbox.ErrUnhandled):
		return Decision{Action: Cancel, Class: "unhandled"}
	}
	if wait, ok := belay.RetryAfter(err); ok {
		return Decision{Snooze, wait, classOf(err)}
	}
	var e *belay.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.DeadlineExceeded) {
			return Decision{RetryAfter, doubled(30*time.Second, 15*time.Minute, job), "timeout"}
		}
		return Decision{Action: Retry, Class: "other"}
	}
	d := Decision{Class: e.Class.String()}
	switch e.Class {
	case belay.ClassRefused:
		d.Action, d.Wait = Snooze, 30*time.Second
	case belay.ClassTransient:
		if d.Action = RetryAfter; e.StatusCode > 0 {
			d.Wait = doubled(time.Minute, 30*time.Minute, job)
		} else {
			d.Wait = doubled(30*time.Second, 15*time.Minute, job)
		}
	case belay.ClassRateLimited:
		d.Action, d.Wait = RetryAfter, time.Minute
	case belay.ClassAuth:
		if d.Action = Cancel; e.Renew && classBefore(job) != d.Class {
			d.Action, d.Wait = RetryAfter, 5*time.Second
		}
	case belay.ClassClient, belay.ClassData:
		d.Action = Cancel
	case belay.ClassCanceled:
		d.Action, d.Wait = RetryAfter, doubled(30*time.Second, 15*time.Minute, job)
	}
	return d
}

// classBefore returns the class of the error with which the attempt before has ended, empty for none.
func classBefore(job *rivertype.JobRow) string {
	var st state
	_ = json.Unmarshal(job.Metadata, &st) // what is not there is zero
	return st.Class
}

func classOf(err error) string {
	var e *belay.Error
	if errors.As(err, &e) {
		return e.Class.String()
	}
	return "other"
}

// doubled returns base, doubled with each attempt after the first, at most longest.
func doubled(base, longest time.Duration, job *rivertype.JobRow) time.Duration {
	return min(base<<min(max(job.Attempt-1, 0), 20), longest)
}

// apply turns the error of a task into what River does by it.
func (c *Client[TTx]) apply(ctx context.Context, job *rivertype.JobRow, err error, state *state) error {
	var cancel *river.JobCancelError
	var snooze *river.JobSnoozeError
	if errors.As(err, &cancel) {
		_ = river.MetadataSet(ctx, "tasks_class", nil) // it is no dead letter, whatever an attempt before has left
		if inner := errors.Unwrap(cancel); inner != nil && storableText(inner.Error()) != inner.Error() {
			return river.JobCancel(storable(inner))
		}
		return err
	}
	if errors.As(err, &snooze) {
		if state.Snoozed > 0 { // the worker's own, as of an import that rests: what was waited for before is over
			_ = river.MetadataSet(ctx, "tasks_snoozed", nil)
		}
		return err
	}
	if errors.Is(err, ErrLost) { // and nobody has taken it: it is not the task's fault
		return fmt.Errorf("%w (%w)", river.JobSnooze(0), err)
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w (%w)", river.JobSnooze(0), err) // the process ends: it is not the task's fault
	}
	d := c.cfg.Decide(err, job)
	err = storable(err) // River stores it
	c.remember(ctx, job, d.Class, err)
	if d.Action == Snooze {
		first := time.Now()
		if state.Snoozed > 0 {
			first = time.UnixMilli(state.Snoozed)
		}
		if state.Snoozed > 0 && time.Since(first) >= c.cfg.MaxSnoozeAge || state.Snoozes-state.Waits >= c.cfg.MaxSnoozes {
			d.Action = RetryAfter
		} else {
			_ = river.MetadataSet(ctx, "tasks_snoozed", first.UnixMilli())
		}
	}
	if d.Action != Snooze && state.Snoozed > 0 {
		_ = river.MetadataSet(ctx, "tasks_snoozed", nil)
	}
	switch d.Action {
	case Snooze:
		return fmt.Errorf("%w (%w)", river.JobSnooze(max(0, d.Wait)), err)
	case Cancel:
		c.alert(ctx, job, d.Class, err.Error())
		return river.JobCancel(err)
	case RetryAfter:
		if job.Attempt < job.MaxAttempts { // otherwise nobody asks for the time
			c.retries.set(job.ID, time.Now().Add(d.Wait))
		}
	}
	if job.Attempt >= job.MaxAttempts {
		c.alert(ctx, job, d.Class, err.Error())
	}
	return err
}

// retries is a RetryPolicy that knows when tasks of this process are to be tried again.
type retries struct {
	next river.ClientRetryPolicy

	mu sync.Mutex
	at map[int64]time.Time
}

func (r *retries) set(id int64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = make(map[int64]time.Time)
	}
	r.at[id] = at
}

// forget forgets what a task's attempt before has left, if a worker has a NextRetry of its own.
func (r *retries) forget(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, id)
}

// NextRetry implements [river.ClientRetryPolicy].
func (r *retries) NextRetry(job *rivertype.JobRow) time.Time {
	r.mu.Lock()
	at, known := r.at[job.ID]
	delete(r.at, job.ID)
	r.mu.Unlock()
	if known {
		return at
	}
	return r.next.NextRetry(job)
}

// panics makes a task that panics a dead letter at once, beside what the user's handler does.
type panics struct {
	next   river.ErrorHandler
	stacks sync.Map // by task, of those that River is about to handle
}

func (p *panics) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if p.next == nil {
		return nil
	}
	return p.next.HandleError(ctx, job, err)
}

func (p *panics) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	if stack, known := p.stacks.LoadAndDelete(job.ID); known { // River's is of the goroutine that has waited
		trace = stack.(string)
	}
	if p.next != nil {
		if r := p.next.HandlePanic(ctx, job, value, trace); r != nil && r.SetCancelled {
			return r
		}
	}
	return &river.ErrorHandlerResult{SetCancelled: true}
}

// panicked notes a panic, and returns the value with which it goes on: River stores and logs it.
func (c *Client[TTx]) panicked(ctx context.Context, job *rivertype.JobRow, end *ending) (value any) {
	value = end.panic
	if text := fmt.Sprint(value); storableText(text) != text {
		value = storableText(text)
	}
	err := fmt.Errorf("panic: %v", value)
	c.remember(ctx, job, "panic", err)
	stack := storableText(strings.ToValidUTF8(string(end.stack[:min(len(end.stack), 8<<10)]), ""))
	_ = river.MetadataSet(ctx, "tasks_stack", stack)
	c.panics.stacks.Store(job.ID, stack)
	c.alert(ctx, job, "panic", err.Error())
	return value
}

func (c *Client[TTx]) alert(ctx context.Context, job *rivertype.JobRow, class, text string) {
	if c.cfg.Alert == nil {
		return
	}
	defer func() { _ = recover() }()
	c.cfg.Alert(ctx, Alert{job.ID, job.Kind, job.Queue, class, oneLine(text), time.Now()})
}
