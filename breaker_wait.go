package belay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// circuitWaiter is a call that waits for a circuit to close.
type circuitWaiter struct {
	at         *circuit
	wake       chan struct{} // closed to wake the call
	seq        uint64        // order of arrival of the call
	unsafe     bool          // a write that must not be sent twice
	probe      bool          // woken with a probe slot, not because the circuit has closed
	woken      bool
	gone       bool // it has given up while it was being released
	prev, next *circuitWaiter
}

// waiters holds the calls that wait for one circuit, in the order in which they probe: the safe ones first, each
// kind in the order of arrival. When the circuit closes, they are released in the order in which the calls first
// arrived, one by one: each that has found its next place, in the queue of the limiter or under way, wakes the
// next. So they go on in order.
type waiters struct {
	safe, unsafe waiterList
	count        int
	leaving      []*circuitWaiter // to be released
	relayed      bool             // one is on its way, and wakes the next
	timer        *time.Timer      // for the next probe
}

type waiterList struct{ first, last *circuitWaiter }

func (l *waiterList) push(w *circuitWaiter) {
	if w.prev = l.last; w.prev == nil {
		l.first = w
	} else {
		w.prev.next = w
	}
	l.last = w
}

func (l *waiterList) remove(w *circuitWaiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

func (c *circuit) list(w *circuitWaiter) *waiterList {
	if w.unsafe {
		return &c.unsafe
	}
	return &c.safe
}

// join adds w to the waiters.
func (c *circuit) join(w *circuitWaiter) {
	w.at = c
	c.count++
	if c.closed { // and still releasing
		c.leaving = append(c.leaving, w)
		return
	}
	c.list(w).push(w)
	if c.count == 1 {
		c.arm()
	}
}

// leave removes w, which has given up.
func (c *circuit) leave(w *circuitWaiter) {
	c.count--
	if len(c.leaving) > 0 {
		w.gone = true
		return
	}
	c.list(w).remove(w)
}

// releasing reports whether calls that have waited are still being released.
func (c *circuit) releasing() bool { return c.relayed || len(c.leaving) > 0 }

// release begins to wake all waiters, because the circuit gives way to a wider one.
func (c *circuit) release() {
	c.gather()
	if !c.relayed {
		c.wakeNext()
	}
}

// gather prepares the release of all waiters.
func (c *circuit) gather() {
	c.stopTimer()
	for _, l := range []*waiterList{&c.safe, &c.unsafe} {
		for w := l.first; w != nil; w = w.next {
			c.leaving = append(c.leaving, w)
		}
		*l = waiterList{}
	}
	slices.SortFunc(c.leaving, func(a, b *circuitWaiter) int { return int(int64(a.seq - b.seq)) })
	for _, w := range c.leaving {
		w.prev, w.next = nil, nil
	}
}

// wakeNext wakes the next waiter that is to be released.
func (c *circuit) wakeNext() {
	c.relayed = false
	for i, w := range c.leaving {
		c.leaving[i] = nil
		if w.gone {
			continue
		}
		c.leaving = c.leaving[i+1:]
		c.count--
		c.relayed, w.woken = true, true
		close(w.wake)
		return
	}
	c.leaving = nil
}

// unrelease takes back those that have not been released yet, because the circuit has opened again.
func (c *circuit) unrelease() {
	left := c.leaving
	c.leaving = nil
	for _, w := range left {
		if !w.gone {
			c.list(w).push(w)
		}
	}
	c.arm()
}

func (c *circuit) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// arm sets the timer that wakes waiters for the next probes. While all probes are in flight or promised it sets
// none; the report of a probe, or the end of a probe slot, calls it again.
func (c *circuit) arm() {
	c.stopTimer()
	if c.count > 0 && !c.closed && !c.busy() {
		c.timer = time.AfterFunc(c.openUntil-c.of.breaker.now(), c.wakeProbes)
	}
}

// wakeProbes wakes as many waiters as there are free probes, and gives each of them a probe slot. A write that must
// not be sent twice gets one only if no other waiter is left.
func (c *circuit) wakeProbes() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.closed || c.openUntil > c.of.breaker.now() {
		c.arm() // the open time was extended meanwhile
		return
	}
	for !c.busy() {
		w := c.safe.first
		if w == nil {
			if w = c.unsafe.first; w == nil {
				return
			}
			if wait := c.safeSoon - c.of.breaker.now(); wait > 0 {
				c.stopTimer()
				c.timer = time.AfterFunc(wait, c.wakeProbes)
				return
			}
		}
		c.list(w).remove(w)
		c.count--
		c.slots++
		w.probe, w.woken = true, true
		close(w.wake)
	}
}

// endSlot gives back a probe slot, of a call that has its permit now or could not get one. Another waiter may be
// woken then.
func (c *circuit) endSlot() {
	if c.slots > 0 {
		c.slots--
	}
	c.arm()
}

// wait blocks until w is woken, or until ctx or the patience ends. If w gives up, it leaves nothing behind.
func (b *Breaker) wait(ctx context.Context, w *circuitWaiter, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
		err = errkit.Context(ctx)
	case <-timer.C:
	}
	c := w.at
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch {
	case !w.woken:
		c.leave(w)
	case w.probe:
		c.endSlot() // it goes to another waiter
	default:
		c.wakeNext()
	}
	if err == nil {
		err = refuse(errkit.Join(ErrCircuitOpen, &waitError{"patience is over, waited", patience}), c.openUntil-b.now())
	}
	return err
}

// subscribe adds a listener, unless there is one for the same key. get returns the listener, or nil once it is gone: a
// breaker that many clients share keeps none of them.
func (b *Breaker) subscribe(key any, get func() circuitListener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = make(map[any]func() circuitListener)
	}
	if n := len(b.listeners); n >= 64 && n&(n-1) == 0 { // now and then
		maps.DeleteFunc(b.listeners, func(_ any, get func() circuitListener) bool { return get() == nil })
	}
	if b.listeners[key] == nil {
		b.listeners[key] = get
	}
}

// eachListener calls f for each listener, outside the breaker's lock.
func (b *Breaker) eachListener(f func(circuitListener)) {
	b.mu.RLock()
	listeners := slices.Collect(maps.Values(b.listeners))
	b.mu.RUnlock()
	for _, get := range listeners {
		if l := get(); l != nil {
			f(l)
		}
	}
}
