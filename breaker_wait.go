package belay

import (
	"context"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/fault"
)

// parked is a call that waits for the circuit to close.
type circuitWaiter struct {
	wake   chan struct{}
	unsafe bool // a write that must not be sent twice
	probe  bool // woken to probe, rather than because the circuit has closed
}

// notify wakes those who are parked: all of them when the circuit has closed, otherwise the timer will.
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

// arm sets the timer that sends the next probe. While all probes are out there is none: their report arms it.
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

// wakeProbes lets as many parked calls try as there may be probes; a write that must not be sent twice
// only when nobody else waits.
func (b *Breaker) wakeProbes() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, left := b.State(); left > 0 {
		b.arm() // extended meanwhile
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

// park waits, for patience at most, until the circuit has closed or it is this call's turn to probe;
// endTurn must follow then. At most most calls wait.
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
		err = fault.Context(ctx)
	case <-timer.C:
		_, left := b.State()
		err = refuse(fault.Join(ErrCircuitOpen, &waitError{"patience is over, waited", patience}), left)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.probe {
		b.probeSlots.Add(-1)
		b.arm() // somebody else's
	}
	for i, have := range b.waiting {
		if have == p {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	return false, err
}

// subscribe has l told of changes of the circuit. A listener that is subscribed already is not told twice.
func (b *Breaker) subscribe(l circuitListener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.listeners, l) {
		b.listeners = append(b.listeners, l)
	}
}

// eachListener calls f for the listeners, outside the breaker's lock.
func (b *Breaker) eachListener(f func(circuitListener)) {
	b.mu.Lock()
	listeners := slices.Clone(b.listeners)
	b.mu.Unlock()
	for _, l := range listeners {
		f(l)
	}
}

// others reports whether calls are parked that may be probes.
func (b *Breaker) otherWaiters() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasSafeWaiter()
}

func (b *Breaker) hasSafeWaiter() bool {
	for _, p := range b.waiting {
		if !p.unsafe {
			return true
		}
	}
	return false
}

// endTurn says that a call whose turn it was has its permit, or could not get it: then another may try.
func (b *Breaker) endProbeSlot() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probeSlots.Add(-1)
	b.arm()
}
