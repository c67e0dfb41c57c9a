package belay

import (
	"hash/maphash"
	"net/http"
	"reflect"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
)

// admit is the layer of the breaker and the limiter. It checks the breaker first, so that no call queues for a
// partner that is down. It takes the breaker's permit last, so that no call holds one while it waits in the
// queue. Both get one report of the outcome, even if a layer below panics.
func (x *exchange) admit(next *next) (*http.Response, error) {
	x.newBody()
	if b := x.opts.budget; b != nil && !b.spend() {
		return nil, x.stop(refuse(ErrCallBudget, 0))
	}
	if err := x.enter(); err != nil {
		x.opts.budget.giveBack()
		return nil, x.stop(err)
	}
	resp, err := next.send(x)
	if resp == nil {
		x.body.finish()
	}
	if x.verdict.unsent {
		x.opts.budget.giveBack()
	}
	x.report(resp)
	return resp, err
}

// enter waits until the attempt may be sent, and takes its permits.
func (x *exchange) enter() error {
	b := x.set.breaker
	x.probe = false
	for {
		if b != nil && !b.closed() {
			if err := x.awaitCircuit(b); err != nil {
				return err
			}
		}
		err := x.acquire()
		if err == nil {
			if err = x.allowed(); err == nil {
				if b == nil {
					return nil
				}
				var ok bool
				if x.permit, ok = b.pass(); !ok {
					x.permit, ok = b.allow(x.probeSlot, !x.idempotent())
				}
				if ok {
					x.probe = x.permit.probe
					x.endProbeSlot()
					return nil
				}
				if !x.patient() {
					err = circuitOpen(b)
				}
			}
			x.giveBack()
		}
		x.endProbeSlot()
		if err != nil {
			return err
		}
		x.place.Returning = true
	}
}

// endProbeSlot gives up the call's probe slot, if it has one.
func (x *exchange) endProbeSlot() {
	if x.probeSlot {
		x.probeSlot = false
		x.set.breaker.endProbeSlot()
	}
}

// acquire takes the attempt's permits under the limits.
func (x *exchange) acquire() error {
	l := x.limiter
	if l == nil {
		return nil
	}
	p := &x.place
	if p.Cost = x.opts.cost; p.Cost == 0 && x.set.cost != nil {
		p.Cost = x.set.cost(x.req)
	}
	p.Credential, p.Method, p.Route, p.Observed = x.authID, x.req.Method, x.opts.route, x.observed()
	if x.base != nil && (x.opts.auth != nil || x.opts.noAuth) {
		p.Credential = idOf(x.opts.auth)
	}
	if x.ctx.Err() == nil && l.engine.TryAcquire(p) {
		if p.Notices != nil {
			x.tellNotices()
		}
		return nil
	}
	return x.acquireSlow()
}

// acquireSlow is acquire for a call that may have to wait.
func (x *exchange) acquireSlow() error {
	p := &x.place
	p.Request, p.Level, p.Tenant = x.req, x.opts.priority.level(), x.integration
	p.Waited, p.Patience, p.MaxPause = 0, x.set.maxWait, defaultMaxRetryAfter
	switch {
	case x.opts.patience > 0:
		p.Patience, p.MaxPause = max(1, x.patience()), 0
	case x.set.retry != nil:
		p.MaxPause = x.set.retry.MaxRetryAfter
	}
	err := x.limiter.acquire(x.ctx, p)
	if p.Waited > 0 {
		x.record().waits.Queue += p.Waited
	}
	x.tellNotices()
	return err
}

// tellNotices sends the limiter's notices to the observers.
func (x *exchange) tellNotices() {
	for _, n := range x.place.Notices {
		x.emit(eventOf(n, x.info()))
	}
	x.place.Notices = nil
}

// giveBack returns the permits of an attempt that was not sent.
func (x *exchange) giveBack() {
	if x.limiter != nil && !x.place.Free() {
		x.limiter.engine.Settle(&x.place, limiter.Outcome{Kind: limiter.Unsent})
		x.limiter.engine.Release(&x.place)
	}
}

// awaitCircuit waits until the circuit has closed or the call has a probe slot. It returns at once if a probe
// may be sent now. A call without patience does not wait.
func (x *exchange) awaitCircuit(b *Breaker) (err error) {
	unsafe := !x.idempotent()
	_, left := b.State()
	if left == 0 && !b.busy() && !(unsafe && b.otherWaiters()) {
		return nil
	}
	if !x.patient() {
		return circuitOpen(b)
	}
	if deadline, ok := x.ctx.Deadline(); left > x.patience() || ok && left > time.Until(deadline) {
		return refuse(errkit.Join(ErrCircuitOpen, &waitError{"circuit open", left}), left)
	}
	most := limiter.DefaultMaxQueue
	if x.limiter != nil {
		most = x.limiter.engine.MaxQueue
	}
	began := time.Now()
	x.probeSlot, err = b.wait(x.ctx, x.patience(), unsafe, most)
	x.record().waits.Circuit += time.Since(began)
	return err
}

// circuitOpen returns the error for a call that the circuit refuses. Its wait is the time until the next
// probe, at least a second. That is also the wait while a probe is in flight.
func circuitOpen(b *Breaker) error {
	_, left := b.State()
	return refuse(ErrCircuitOpen, max(left, time.Second))
}

// report passes the outcome of the attempt to the breaker, the limiter and the client's health.
func (x *exchange) report(resp *http.Response) {
	x.noteOutcome(resp)
	if b := x.set.breaker; b != nil {
		changes := b.report(&x.permit, &x.verdict, resp != nil)
		if changes != 0 {
			x.circuitChanged(b, changes)
		}
		if changes != 0 || x.probe {
			b.notify()
		}
	}
	if l := x.limiter; l != nil {
		p := &x.place
		if resp != nil {
			l.engine.Read(p, resp.Header)
		}
		paused := l.settle(p, &x.verdict, !x.verdict.unsent, resp != nil)
		if resp == nil || x.body.over() {
			l.engine.Release(p)
		} else { // the body holds the slots from here on
			x.body.slots = l.engine.Detach(p)
		}
		if paused > 0 {
			x.paused(paused)
		}
	}
}

// paused emits the event that the partner has asked for a pause.
func (x *exchange) paused(lasts time.Duration) {
	x.emit(Paused{Call: x.info(), Scope: x.verdict.Scope, For: lasts, Verdict: x.verdict})
}

// circuitChanged informs the limiter of the outage before any call that waited for the circuit goes on, and
// emits the event.
func (x *exchange) circuitChanged(b *Breaker, changes int32) {
	lasted := b.now() - time.Duration(b.openedAt.Load())
	if changes&changedFromClosed != 0 {
		b.eachListener(circuitListener.CircuitOpened)
	}
	if changes&changedToClosed != 0 {
		b.eachListener(func(l circuitListener) { l.CircuitClosed(lasted) })
	}
	state, left := b.State()
	x.emit(CircuitChanged{Call: x.info(), State: state, OpenFor: left})
}

// abandon releases everything that an attempt holds if its outcome was not reported, because something
// panicked.
func (x *exchange) abandon() {
	x.endProbeSlot()
	if x.permit.held {
		if changes := x.set.breaker.report(&x.permit, &Verdict{Class: ClassCanceled}, false); changes != 0 {
			x.circuitChanged(x.set.breaker, changes) // by another call, and not handled yet
		}
		x.set.breaker.notify()
	}
	if x.limiter != nil && x.place.Taken() {
		x.limiter.engine.Settle(&x.place, limiter.Outcome{Kind: limiter.Abandoned})
		x.limiter.engine.Release(&x.place)
	}
}

// idOf returns a number that identifies a credential, so that pauses of ScopeCredential find their calls. It is
// 0 if auth is nil or not comparable.
func idOf(auth Authenticator) uint64 {
	if auth == nil || !reflect.ValueOf(auth).Comparable() {
		return 0
	}
	return maphash.Comparable(seed, auth) | 1
}

var seed = maphash.MakeSeed()
