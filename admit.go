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
func (c *call) admit(in *within) (*http.Response, error) {
	c.newBody()
	if b := c.opts.budget; b != nil && !b.spend() {
		return nil, c.stop(refuse(ErrCallBudget, 0))
	}
	if err := c.enter(); err != nil {
		c.opts.budget.giveBack()
		return nil, c.stop(err)
	}
	resp, err := in.send(c)
	if resp == nil {
		c.body.finish()
	}
	if c.verdict.unsent {
		c.opts.budget.giveBack()
	}
	c.report(resp)
	return resp, err
}

// enter waits until the attempt may be sent, and takes its place.
func (c *call) enter() error {
	b := c.set.breaker
	c.probe = false
	for {
		if b != nil && !b.closed() {
			if err := c.awaitCircuit(b); err != nil {
				return err
			}
		}
		err := c.acquire()
		if err == nil {
			if err = c.allowed(); err == nil {
				if b == nil {
					return nil
				}
				var ok bool
				if c.permit, ok = b.pass(); !ok {
					c.permit, ok = b.allow(c.turn, !c.idempotent())
				}
				if ok {
					c.probe = c.permit.probe
					c.endTurn()
					return nil
				}
				if !c.patient() {
					err = circuitOpen(b)
				}
			}
			c.giveBack()
		}
		c.endTurn()
		if err != nil {
			return err
		}
		c.place.Returning = true
	}
}

// endTurn ends this call's turn to probe, if it has it.
func (c *call) endTurn() {
	if c.turn {
		c.turn = false
		c.set.breaker.endTurn()
	}
}

// acquire takes the attempt's place under the limits.
func (c *call) acquire() error {
	l := c.limiter
	if l == nil {
		return nil
	}
	p := &c.place
	if p.Cost = c.opts.cost; p.Cost == 0 && c.set.cost != nil {
		p.Cost = c.set.cost(c.req)
	}
	p.Who, p.Method, p.Route, p.Observed = c.who, c.req.Method, c.opts.route, c.observed()
	if c.opts.auth != nil || c.opts.noAuth {
		p.Who = c.identity()
	}
	if c.ctx.Err() == nil && l.engine.TryAcquire(p) {
		if p.Notices != nil {
			c.tellNotices()
		}
		return nil
	}
	return c.acquireSlow()
}

// acquireSlow is acquire where the call may have to wait.
func (c *call) acquireSlow() error {
	p := &c.place
	p.Request, p.Level, p.Tenant = c.req, c.opts.priority.level(), c.integration
	p.Waited, p.Patience, p.MaxPause = 0, c.set.maxWait, defaultMaxRetryAfter
	switch {
	case c.opts.patience > 0:
		p.Patience, p.MaxPause = max(1, c.patience()), 0
	case c.set.retry != nil:
		p.MaxPause = c.set.retry.MaxRetryAfter
	}
	err := c.limiter.acquire(c.ctx, p)
	c.waits.Queue += p.Waited
	c.tellNotices()
	return err
}

// tellNotices tells observers what the limiter has noticed.
func (c *call) tellNotices() {
	for _, n := range c.place.Notices {
		c.emit(eventOf(n, c.info()))
	}
	c.place.Notices = nil
}

// giveBack returns the permits of an attempt that was not sent.
func (c *call) giveBack() {
	if c.limiter != nil && !c.place.Free() {
		c.limiter.engine.Settle(&c.place, limiter.Outcome{Kind: limiter.Unsent})
		c.limiter.engine.Release(&c.place)
	}
}

// awaitCircuit waits until the circuit has closed or it is this call's turn to probe.
func (c *call) awaitCircuit(b *Breaker) (err error) {
	unsafe := !c.idempotent()
	_, left := b.State()
	if left == 0 && !b.busy() && !(unsafe && b.others()) {
		return nil
	}
	if !c.patient() {
		return circuitOpen(b)
	}
	if deadline, ok := c.ctx.Deadline(); left > c.patience() || ok && left > time.Until(deadline) {
		return refuse(fault.Join(ErrCircuitOpen, &waitError{"circuit open", left}), left)
	}
	most := limiter.DefaultMaxQueue
	if c.limiter != nil {
		most = c.limiter.engine.MaxQueue
	}
	began := time.Now()
	c.turn, err = b.park(c.ctx, c.patience(), unsafe, most)
	c.waits.Circuit += time.Since(began)
	return err
}

// circuitOpen is the refusal that says how long the circuit stays open: when a probe is under way, about a second.
func circuitOpen(b *Breaker) error {
	_, left := b.State()
	return refuse(ErrCircuitOpen, max(left, time.Second))
}

// report tells breaker and limiter what became of the attempt.
func (c *call) report(resp *http.Response) {
	c.noteOutcome(resp)
	if b := c.set.breaker; b != nil {
		changes := b.report(&c.permit, &c.verdict, resp != nil)
		if changes != 0 {
			c.circuitChanged(b, changes)
		}
		if changes != 0 || c.probe {
			b.notify()
		}
	}
	if l := c.limiter; l != nil {
		p := &c.place
		if resp != nil {
			l.engine.Read(p, resp.Header)
		}
		paused := l.settle(p, &c.verdict, !c.verdict.unsent, resp != nil)
		if resp == nil || c.body.over() {
			l.engine.Release(p)
		} else { // the body holds the slot from here on
			c.body.slots = l.engine.Detach(p)
		}
		if paused > 0 {
			c.paused(paused)
		}
	}
}

// paused tells that the partner has asked for a pause.
func (c *call) paused(lasts time.Duration) {
	c.emit(Paused{Call: c.info(), Scope: c.verdict.Scope, For: lasts, Verdict: c.verdict})
}

// circuitChanged lets the limiter know of the outage before any call that waited for the circuit goes on.
func (c *call) circuitChanged(b *Breaker, changes int32) {
	lasted := b.now() - time.Duration(b.openedAt.Load())
	if changes&changedFromClosed != 0 {
		b.eachListener(circuitListener.CircuitOpened)
	}
	if changes&changedToClosed != 0 {
		b.eachListener(func(l circuitListener) { l.CircuitClosed(lasted) })
	}
	state, left := b.State()
	c.emit(CircuitChanged{Call: c.info(), State: state, OpenFor: left})
}

// abandon frees what an attempt holds that was never reported, because something panicked.
func (c *call) abandon() {
	c.endTurn()
	if c.permit.held {
		if changes := c.set.breaker.report(&c.permit, &Verdict{Class: ClassCanceled}, false); changes != 0 {
			c.circuitChanged(c.set.breaker, changes) // another call's, that had not been taken in yet
		}
		c.set.breaker.notify()
	}
	if c.limiter != nil && c.place.Taken() {
		c.limiter.engine.Settle(&c.place, limiter.Outcome{Kind: limiter.Abandoned})
		c.limiter.engine.Release(&c.place)
	}
}

// identity is whom a pause of the credential concerns, 0 when there is none.
func (c *call) identity() uint64 {
	if c.base == nil {
		return 0
	}
	if c.opts.auth != nil || c.opts.noAuth {
		return whoIs(c.opts.auth)
	}
	return c.who
}

// whoIs returns a number for a credential, 0 for none that could be told from another.
func whoIs(auth Authenticator) uint64 {
	if auth == nil || !reflect.ValueOf(auth).Comparable() {
		return 0
	}
	return maphash.Comparable(seed, auth) | 1
}

var seed = maphash.MakeSeed()
