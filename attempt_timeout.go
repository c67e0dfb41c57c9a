package belay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// timeouts ends attempts that take too long. All attempts of a client have the same time, so that one timer serves
// them all: it is set for the one that may be due first, and when it fires, for the next. An attempt has no timer of its
// own then, and neither has a Read; most are over long before the timer fires.
type timeouts struct {
	after time.Duration
	base  time.Time // what times count from

	mu          sync.Mutex
	first, last *timeout // those that wait for the partner, by when they may be due
	timer       *time.Timer
	wake        time.Duration // when it fires
	generation  uint64        // of timers
	bubbled     bool          // the timer belongs to a testing/synctest bubble
}

// timeout ends an attempt, but not the call.
type timeout struct {
	of     *timeouts
	ctx    context.Context
	cancel context.CancelCauseFunc
	reads  bool // each Read has the time to itself

	due    atomic.Int64 // when it ends the attempt, 0 while the partner is not waited for
	listed atomic.Bool  // changed under of.mu

	// Under of.mu.
	least      time.Duration // it is not due before
	prev, next *timeout
	over       bool
}

// newTimeouts returns what ends attempts after that long, nil where they have no end.
func newTimeouts(after time.Duration) *timeouts {
	if after <= 0 {
		return nil
	}
	return &timeouts{after: after, base: time.Now()}
}

func (o *timeouts) now() time.Duration { return time.Since(o.base) }

// context returns the attempt's context, whose parent is the call's.
func (t *timeout) context(parent context.Context) context.Context {
	if t.ctx == nil {
		t.ctx, t.cancel = context.WithCancelCause(parent)
	}
	return t.ctx
}

// begin counts the time from now.
func (t *timeout) begin() {
	due := t.of.now() + t.of.after
	t.due.Store(int64(due))
	if !t.listed.Load() {
		t.of.list(t, due)
	}
}

// pause stops the time, as nobody waits for the partner.
func (t *timeout) pause() { t.due.Store(0) }

// end ends the attempt's context. It may be called more than once.
func (t *timeout) end() {
	if t.cancel == nil {
		return
	}
	t.due.Store(0)
	t.of.unlist(t)
	t.cancel(nil)
}

// list puts t among those that are watched.
func (o *timeouts) list(t *timeout, due time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.over || t.listed.Load() {
		return
	}
	o.insert(t, due)
	// A timer that should have fired long ago, or not so late, is one of a bubble that is gone.
	if now := due - o.after; o.timer == nil || now > o.wake+time.Second || now < o.wake-o.after-time.Second {
		o.arm(now)
	}
}

// insert puts t where it belongs, which is nearly always the end.
func (o *timeouts) insert(t *timeout, least time.Duration) {
	t.least = least
	t.listed.Store(true)
	t.prev = o.last
	for t.prev != nil && t.prev.least > least {
		t.next, t.prev = t.prev, t.prev.prev
	}
	if t.prev == nil {
		o.first = t
	} else {
		t.prev.next = t
	}
	if t.next == nil {
		o.last = t
	} else {
		t.next.prev = t
	}
}

func (o *timeouts) remove(t *timeout) {
	if t.prev == nil {
		o.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		o.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	t.listed.Store(false)
}

func (o *timeouts) unlist(t *timeout) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.over = true
	if t.listed.Load() {
		o.remove(t)
	}
	if o.first == nil && o.bubbled && o.timer != nil { // it must not outlive its bubble; others may fire in vain
		o.timer.Stop()
		o.timer = nil
	}
}

// arm sets a timer for the first that may be due. A timer before it fires in vain.
func (o *timeouts) arm(now time.Duration) {
	o.generation++
	generation, clock := o.generation, time.Now()
	o.bubbled = clock == clock.Round(0) // there is no monotonic clock in a bubble
	o.wake = max(now, o.first.least)
	o.timer = time.AfterFunc(o.wake-now, func() { o.fire(generation) })
}

// fire ends what is due.
func (o *timeouts) fire(generation uint64) {
	for _, t := range o.expired(generation) {
		t.cancel(errAttemptTimeout)
	}
}

// expired returns what is due, and sets the timer for what is due next.
func (o *timeouts) expired(generation uint64) (over []*timeout) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if generation != o.generation {
		return nil
	}
	o.timer = nil
	now := max(o.now(), o.wake)
	for t := o.first; t != nil && t.least <= now; t = o.first {
		o.remove(t)
		// It is out of the list when its due is read: who sets it from here on sees that.
		switch due := time.Duration(t.due.Load()); {
		case due == 0:
		case due <= now:
			over = append(over, t)
		default:
			o.insert(t, due)
		}
	}
	if o.first != nil {
		o.arm(now)
	}
	return over
}
