package belay

import (
	"hash/maphash"
	"net/http"
	"reflect"
	"time"

	"github.com/belay-go/belay/internal/fault"
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
			c.limiter.release(&c.ticket) // the quota goes back
		}
		c.endTurn()
		if err != nil {
			return err
		}
		c.caller.returning = true
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
	t, by := &c.ticket, &c.caller
	t.by, t.Cost = by, c.opts.cost
	if t.Cost == 0 && c.set.cost != nil {
		t.Cost = c.set.cost(c.req)
	}
	by.who, by.method, by.route, by.ask = c.who, c.req.Method, c.opts.route, c.observed()
	if c.opts.auth != nil || c.opts.noAuth {
		by.who = c.identity()
	}
	if t.Cost >= 0 && c.ctx.Err() == nil && l.admitPlain(t) {
		if by.news != nil {
			c.tellNews()
		}
		return nil
	}
	return c.standInLine()
}

// standInLine is acquire the long way.
func (c *call) standInLine() error {
	t, by := &c.ticket, &c.caller
	t.Request, t.Priority, t.Tenant = c.req, c.opts.priority, c.integration
	by.waited, by.patience, by.maxPause = 0, c.set.maxWait, defaultMaxRetryAfter
	switch {
	case c.opts.patience > 0:
		by.patience, by.maxPause = max(1, c.patience()), 0
	case c.set.retry != nil:
		by.maxPause = c.set.retry.MaxRetryAfter
	}
	err := c.limiter.acquire(c.ctx, t)
	c.waits.Line += by.waited
	c.tellNews()
	return err
}

// tellNews tells what the line has noticed.
func (c *call) tellNews() {
	for _, e := range c.caller.news {
		c.emit(c.named(e))
	}
	c.caller.news = nil
}

// release gives back the place of an attempt that was not sent. It is nil-safe.
func (l *Limiter) release(t *Ticket) {
	if l != nil {
		l.Release(t, Outcome{Verdict: Verdict{Class: ClassRefused}})
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
	most := defaultMaxQueue
	if c.limiter != nil {
		most = c.limiter.maxQueue
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
		t := &c.ticket
		if resp != nil {
			t.read(l.line, resp)
		}
		began := l.line.settle(t, &c.verdict, !c.verdict.unsent, resp != nil)
		if resp == nil || c.body.over() {
			l.line.leave(t)
		} else { // the body holds the place from here on
			c.body.line, c.body.tiers, c.body.taken = l.line, t.tiers, t.taken
			t.state = ticketFree
		}
		if began > 0 {
			c.paused(began)
		}
	}
}

// paused tells that the partner has asked for a pause.
func (c *call) paused(lasts time.Duration) {
	c.emit(Paused{Call: c.info(), Scope: c.verdict.Scope, For: lasts, Verdict: c.verdict})
}

// circuitChanged lets the limiter know of the outage before anybody who was parked goes on.
func (c *call) circuitChanged(b *Breaker, changes int32) {
	lasted := b.now() - time.Duration(b.openedAt.Load())
	if changes&changedFromClosed != 0 {
		b.eachLine((*line).outage)
	}
	if changes&changedToClosed != 0 {
		b.eachLine(func(ln *line) { ln.recovered(lasted) })
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
	if c.limiter != nil && c.ticket.state == ticketTaken {
		c.limiter.Release(&c.ticket, Outcome{Verdict: Verdict{Class: ClassCanceled}, Sent: true})
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
