package belay

import (
	"hash/maphash"
	"net/http"
	"reflect"
	"time"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/limiter"
)

// admit is the layer of breaker and limiter. The breaker is asked first, so that nothing queues for a
// partner that is down; its permit is taken last, so that none is held while queueing; and whatever
// happens below, both hear of it once.
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

// enter waits until the attempt may be sent, and takes its place.
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

// endTurn ends this call's turn to probe, if it has it.
func (x *exchange) endProbeSlot() {
	if x.probeSlot {
		x.probeSlot = false
		x.set.breaker.endProbeSlot()
	}
}

// acquire takes the attempt's place under the limits.
func (x *exchange) acquire() error {
	l := x.limiter
	if l == nil {
		return nil
	}
	p := &x.place
	if p.Cost = x.opts.cost; p.Cost == 0 && x.set.cost != nil {
		p.Cost = x.set.cost(x.req)
	}
	p.Who, p.Method, p.Route, p.Observed = x.who, x.req.Method, x.opts.route, x.observed()
	if x.opts.auth != nil || x.opts.noAuth {
		p.Who = x.identity()
	}
	if x.ctx.Err() == nil && l.engine.TryAcquire(p) {
		if p.Notices != nil {
			x.tellNotices()
		}
		return nil
	}
	return x.acquireSlow()
}

// acquireSlow is acquire where the call may have to wait.
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

// tellNotices tells observers what the limiter has noticed.
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

// awaitCircuit waits until the circuit has closed or it is this call's turn to probe.
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
		return refuse(fault.Join(ErrCircuitOpen, &waitError{"circuit open", left}), left)
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

// circuitOpen is the refusal that says how long the circuit stays open: when a probe is under way, about a second.
func circuitOpen(b *Breaker) error {
	_, left := b.State()
	return refuse(ErrCircuitOpen, max(left, time.Second))
}

// report tells breaker and limiter what became of the attempt.
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
		} else { // the body holds the slot from here on
			x.body.slots = l.engine.Detach(p)
		}
		if paused > 0 {
			x.paused(paused)
		}
	}
}

// paused tells that the partner has asked for a pause.
func (x *exchange) paused(lasts time.Duration) {
	x.emit(Paused{Call: x.info(), Scope: x.verdict.Scope, For: lasts, Verdict: x.verdict})
}

// circuitChanged lets the limiter know of the outage before any call that waited for the circuit goes on.
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

// abandon frees what an attempt holds that was never reported, because something panicked.
func (x *exchange) abandon() {
	x.endProbeSlot()
	if x.permit.held {
		if changes := x.set.breaker.report(&x.permit, &Verdict{Class: ClassCanceled}, false); changes != 0 {
			x.circuitChanged(x.set.breaker, changes) // another call's, that had not been taken in yet
		}
		x.set.breaker.notify()
	}
	if x.limiter != nil && x.place.Taken() {
		x.limiter.engine.Settle(&x.place, limiter.Outcome{Kind: limiter.Abandoned})
		x.limiter.engine.Release(&x.place)
	}
}

// identity is whom a pause of the credential concerns, 0 when there is none.
func (x *exchange) identity() uint64 {
	if x.base == nil {
		return 0
	}
	if x.opts.auth != nil || x.opts.noAuth {
		return whoIs(x.opts.auth)
	}
	return x.who
}

// whoIs returns a number for a credential, 0 for none that could be told from another.
func whoIs(auth Authenticator) uint64 {
	if auth == nil || !reflect.ValueOf(auth).Comparable() {
		return 0
	}
	return maphash.Comparable(seed, auth) | 1
}

var seed = maphash.MakeSeed()
