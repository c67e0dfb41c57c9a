package belay

import (
	"context"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// circuitWaiter is a call that waits for the circuit to close.
type circuitWaiter struct {
	wake   chan struct{} // closed to wake the call
	unsafe bool          // a write that must not be sent twice
	probe  bool          // woken with a probe slot, not because the circuit has closed
}

// notify wakes all waiters if the circuit has closed. Otherwise it sets the timer that wakes some of them.
func (b *Breaker) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed() {
		for _, p := range b.waiting {
			close(p.wake)
		}
		b.waiting = nil
	}
	b.arm()
}

// arm sets the timer that wakes waiters for the next probes. While all probes are in flight or promised it
// sets none; the report of a probe, or the end of a probe slot, calls it again. The caller holds b.mu.
func (b *Breaker) arm() {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if len(b.waiting) > 0 && !b.busy() {
		_, left := b.State()
		b.timer = time.AfterFunc(left, b.wakeProbes)
	}
}

// wakeProbes wakes as many waiters as there are free probes, and gives each of them a probe slot. A write
// that must not be sent twice gets one only if no other waiter is left.
func (b *Breaker) wakeProbes() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, left := b.State(); left > 0 {
		b.arm() // the open time was extended meanwhile
		return
	}
	for !b.busy() {
		best := -1
		for i, p := range b.waiting {
			if best < 0 || b.waiting[best].unsafe && !p.unsafe {
				best = i
			}
			if !p.unsafe {
				break
			}
		}
		if best < 0 {
			return
		}
		p := b.waiting[best]
		b.waiting = append(b.waiting[:best], b.waiting[best+1:]...)
		p.probe = true
		b.probeSlots.Add(1)
		close(p.wake)
	}
}

// wait waits until the circuit has closed or this call has a probe slot, but for patience at most. It reports
// true for a probe slot; endProbeSlot must follow then. If most calls wait already, it returns ErrQueueFull.
func (b *Breaker) wait(ctx context.Context, patience time.Duration, unsafe bool, most int) (turn bool, err error) {
	p := &circuitWaiter{wake: make(chan struct{}), unsafe: unsafe}
	b.mu.Lock()
	if b.closed() {
		b.mu.Unlock()
		return false, nil
	}
	if len(b.waiting) >= most {
		b.mu.Unlock()
		return false, refuse(ErrQueueFull, 0)
	}
	b.waiting = append(b.waiting, p)
	if len(b.waiting) == 1 {
		b.arm()
	}
	b.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.wake:
		return p.probe, nil
	case <-ctx.Done():
		err = errkit.Context(ctx)
	case <-timer.C:
		_, left := b.State()
		err = refuse(errkit.Join(ErrCircuitOpen, &waitError{"patience is over, waited", patience}), left)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.probe {
		b.probeSlots.Add(-1)
		b.arm() // the probe slot goes to another waiter
	}
	for i, have := range b.waiting {
		if have == p {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	return false, err
}

// subscribe adds l to the listeners, unless it is one of them already.
func (b *Breaker) subscribe(l circuitListener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.listeners, l) {
		b.listeners = append(b.listeners, l)
	}
}

// eachListener calls f for each listener, outside the breaker's lock.
func (b *Breaker) eachListener(f func(circuitListener)) {
	b.mu.Lock()
	listeners := slices.Clone(b.listeners)
	b.mu.Unlock()
	for _, l := range listeners {
		f(l)
	}
}

// otherWaiters reports whether calls wait that go before an unsafe one as probes.
func (b *Breaker) otherWaiters() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasSafeWaiter()
}

// hasSafeWaiter is otherWaiters for a caller that holds b.mu.
func (b *Breaker) hasSafeWaiter() bool {
	for _, p := range b.waiting {
		if !p.unsafe {
			return true
		}
	}
	return false
}

// endProbeSlot gives back the probe slot of a call that has its permit now, or could not get one. Another
// waiter may be woken then.
func (b *Breaker) endProbeSlot() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probeSlots.Add(-1)
	b.arm()
}
