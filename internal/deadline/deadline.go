// Package deadline ends attempts that take too long. All attempts of a client have the same timeout, so one
// timer serves them all: it is set for the attempt that may be due first and, when it fires, for the next
// one. Most attempts end long before they are due.
//
// A timer for each attempt, reset for each Read, took 0.6 µs of the 1.2 µs of a call with a timeout. Without
// the shared timer TestTakesOneTimer is red.
package deadline

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// Keeper ends the attempts of one client when their time is up. It is safe for concurrent use.
type Keeper struct {
	after time.Duration
	cause error
	base  time.Time // the time that durations count from

	mu      sync.Mutex
	watched heap.Heap[*Deadline] // attempts that wait for the partner, or did at the last check
	timer   *time.Timer          // for the first attempt in watched; nil while none is set
	wake    time.Duration        // when timer fires
}

// Deadline is the timeout of one attempt. Set Keeper before its first use. Its methods are for one goroutine,
// except End and Expire, which any goroutine may call.
type Deadline struct {
	Keeper *Keeper

	heap.Place
	ctx     context.Context
	cancel  context.CancelCauseFunc
	due     atomic.Int64 // when the attempt is due, 0 while it does not wait for the partner
	watched atomic.Bool  // it is in Keeper.watched; changed under the keeper's mutex

	// The keeper's mutex guards the fields below.
	earliest time.Duration // the attempt is not due before this time
	over     bool          // End was called
	own      *time.Timer   // its own timer, see maxAge
}

// maxAge exceeds the lifetime of any process. An elapsed time beyond it means that the client was made under
// another clock: outside the testing/synctest bubble in which it is used, or the other way round. Such an
// attempt gets a timer of its own, because the shared timer would not fire.
const maxAge = 10 * 365 * 24 * time.Hour

// New returns a keeper for attempts that may take after each, and that end with cause. It returns nil if
// after is zero, negative, or too long ever to be reached.
func New(after time.Duration, cause error) *Keeper {
	if after <= 0 || after > math.MaxInt64/2-maxAge {
		return nil
	}
	return &Keeper{after: after, cause: cause, base: time.Now()}
}

// After returns the time that an attempt may take.
func (k *Keeper) After() time.Duration { return k.after }

// Watched returns the number of attempts that the keeper watches, for tests.
func (k *Keeper) Watched() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watched.Len()
}

func (k *Keeper) now() time.Duration { return time.Since(k.base) }

// Context returns the attempt's context, a child of parent, which is the call's context. Later calls return
// the same context.
func (d *Deadline) Context(parent context.Context) context.Context {
	if d.ctx == nil {
		d.ctx, d.cancel = context.WithCancelCause(parent)
	}
	return d.ctx
}

// Begin starts the attempt's time anew: from now, the attempt may take the keeper's time.
func (d *Deadline) Begin() {
	now := d.Keeper.now()
	if now < 0 || now > maxAge {
		d.beginOwn()
		return
	}
	due := now + d.Keeper.after
	d.due.Store(int64(due))
	if !d.watched.Load() {
		d.Keeper.add(d, due)
	}
}

// beginOwn is Begin with a timer of the attempt's own (see maxAge).
func (d *Deadline) beginOwn() {
	d.Keeper.mu.Lock()
	defer d.Keeper.mu.Unlock()
	switch {
	case d.over:
	case d.own == nil:
		d.own = time.AfterFunc(d.Keeper.after, d.Expire)
	default:
		d.own.Reset(d.Keeper.after)
	}
}

// Expire ends the attempt's context now, with the keeper's cause. Context must have been called before.
func (d *Deadline) Expire() { d.cancel(d.Keeper.cause) }

// Expired reports whether the attempt ended because its time was up.
func (d *Deadline) Expired() bool { return context.Cause(d.ctx) == d.Keeper.cause }

// Pause stops the time while the attempt does not wait for the partner.
func (d *Deadline) Pause() {
	d.due.Store(0)
	if d.own != nil {
		d.own.Stop()
	}
}

// End ends the attempt's context. A second End does nothing.
func (d *Deadline) End() {
	if d.cancel == nil {
		return
	}
	d.Keeper.forget(d)
	d.cancel(nil)
}

// Before reports whether d may be due before o. It orders the heap of the keeper.
func (d *Deadline) Before(o *Deadline) bool { return d.earliest < o.earliest }

// add makes the keeper watch d, which is due at due. It sets the timer if none is set.
func (k *Keeper) add(d *Deadline, due time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.over || d.watched.Load() {
		return
	}
	k.put(d, due)
	if k.timer == nil {
		k.arm(due - k.after)
	}
}

func (k *Keeper) put(d *Deadline, earliest time.Duration) {
	d.earliest = earliest
	d.watched.Store(true)
	k.watched.Push(d)
}

// forget makes the keeper watch d no longer. The timer stays set, so it may fire without effect.
func (k *Keeper) forget(d *Deadline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.over = true
	d.due.Store(0)
	if d.own != nil {
		d.own.Stop()
	}
	if d.watched.Load() {
		k.watched.Remove(d)
		d.watched.Store(false)
	}
}

// arm sets the timer for the attempt that may be due first.
func (k *Keeper) arm(now time.Duration) {
	k.wake = max(now, k.watched.First().earliest)
	k.timer = time.AfterFunc(k.wake-now, k.fire)
}

// fire ends the attempts that are due.
func (k *Keeper) fire() {
	for _, d := range k.expired() {
		d.Expire()
	}
}

// expired returns the attempts that are due, and sets the timer for the next one.
func (k *Keeper) expired() (due []*Deadline) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = nil
	now := max(k.now(), k.wake)
	for k.watched.Len() > 0 && k.watched.First().earliest <= now {
		d := k.watched.Pop()
		// watched is cleared before due is read. A later Begin then sees it cleared and adds d again.
		d.watched.Store(false)
		switch at := time.Duration(d.due.Load()); {
		case at == 0:
		case at <= now:
			due = append(due, d)
		default:
			k.put(d, at)
		}
	}
	if k.watched.Len() > 0 {
		k.arm(now)
	}
	return due
}
