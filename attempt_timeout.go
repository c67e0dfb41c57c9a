package belay

import (
	"container/heap"
	"context"
	"math"
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

	mu    sync.Mutex
	watch watched     // those that wait for the partner, or did
	timer *time.Timer // for the first of them; nil where none is set
	wake  time.Duration
}

// timeout ends an attempt, but not the call.
type timeout struct {
	of     *timeouts
	ctx    context.Context
	cancel context.CancelCauseFunc
	reads  bool // each Read has the time to itself

	due     atomic.Int64 // when it ends the attempt, 0 while the partner is not waited for
	watched atomic.Bool  // changed under of.mu

	// Under of.mu.
	least time.Duration // it is not due before
	index int           // in of.watch
	over  bool
	alone *time.Timer // its own, see age
}

// age is more than a process lives. A time that is not within it is of another world: a testing/synctest bubble, whose clock
// begins in 2000, and a client that was made outside it, or the other way round. An attempt there has a timer of its own, as the one
// of another world does not fire in it.
const age = 10 * 365 * 24 * time.Hour

// newTimeouts returns what ends attempts after that long, nil where they have no end that would be lived to see.
func newTimeouts(after time.Duration) *timeouts {
	if after <= 0 || after > math.MaxInt64/2-age {
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
	now := t.of.now()
	if now < 0 || now > age {
		t.beginAlone()
		return
	}
	due := now + t.of.after
	t.due.Store(int64(due))
	if !t.watched.Load() {
		t.of.add(t, due)
	}
}

// beginAlone is begin with a timer of its own.
func (t *timeout) beginAlone() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	switch {
	case t.over:
	case t.alone == nil:
		t.alone = time.AfterFunc(t.of.after, t.expire)
	default:
		t.alone.Reset(t.of.after)
	}
}

func (t *timeout) expire() { t.cancel(errAttemptTimeout) }

// pause stops the time, as nobody waits for the partner.
func (t *timeout) pause() {
	t.due.Store(0)
	if t.alone != nil {
		t.alone.Stop()
	}
}

// end ends the attempt's context. It may be called more than once.
func (t *timeout) end() {
	if t.cancel == nil {
		return
	}
	t.of.forget(t)
	t.cancel(nil)
}

// add watches t from here on.
func (o *timeouts) add(t *timeout, due time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.over || t.watched.Load() {
		return
	}
	o.put(t, due)
	if o.timer == nil {
		o.arm(due - o.after)
	}
}

func (o *timeouts) put(t *timeout, least time.Duration) {
	t.least = least
	t.watched.Store(true)
	heap.Push(&o.watch, t)
}

// forget watches t no longer. The timer may fire in vain.
func (o *timeouts) forget(t *timeout) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.over = true
	t.due.Store(0)
	if t.alone != nil {
		t.alone.Stop()
	}
	if t.watched.Load() {
		heap.Remove(&o.watch, t.index)
		t.watched.Store(false)
	}
}

// arm sets the timer for the first that may be due.
func (o *timeouts) arm(now time.Duration) {
	o.wake = max(now, o.watch[0].least)
	o.timer = time.AfterFunc(o.wake-now, o.fire)
}

// fire ends what is due.
func (o *timeouts) fire() {
	for _, t := range o.expired() {
		t.expire()
	}
}

// expired returns what is due, and sets the timer for what is due next.
func (o *timeouts) expired() (due []*timeout) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timer = nil
	now := max(o.now(), o.wake)
	for len(o.watch) > 0 && o.watch[0].least <= now {
		t := heap.Pop(&o.watch).(*timeout)
		// It is not watched when its due is read: who sets it from here on sees that.
		t.watched.Store(false)
		switch at := time.Duration(t.due.Load()); {
		case at == 0:
		case at <= now:
			due = append(due, t)
		default:
			o.put(t, at)
		}
	}
	if len(o.watch) > 0 {
		o.arm(now)
	}
	return due
}

// watched is a heap by when they may be due.
type watched []*timeout

func (w watched) Len() int           { return len(w) }
func (w watched) Less(i, j int) bool { return w[i].least < w[j].least }
func (w watched) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push implements heap.Interface.
func (w *watched) Push(x any) {
	t := x.(*timeout)
	t.index = len(*w)
	*w = append(*w, t)
}

// Pop implements heap.Interface.
func (w *watched) Pop() any {
	last := len(*w) - 1
	t := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return t
}
