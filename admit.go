package belay

import (
	"hash/maphash"
	"net/http"
	"reflect"
	"sync/atomic"
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
		return nil, err
	}
	var timer *time.Timer
	if x.probe {
		timer = x.timeProbe()
	}
	resp, err := next.send(x)
	x.passOn() // if it was not sent
	if timer != nil {
		timer.Stop()
	}
	if resp == nil {
		x.body.finish()
	}
	if x.verdict.unsent {
		x.opts.budget.giveBack()
	}
	x.report(resp)
	return resp, err
}

// enter waits until the attempt may be sent, and takes its permits. An error becomes the verdict.
func (x *exchange) enter() error {
	b := x.set.breaker
	x.probe = false
	for {
		if b != nil && b.troubled.Load() > 0 {
			if err := x.awaitCircuit(b); err != nil {
				x.passOn()
				return x.stop(err)
			}
		}
		err := x.acquire()
		if err == nil {
			again, err := x.lastLook()
			if err != nil {
				return err
			}
			if again {
				continue
			}
		}
		if err == nil {
			if err = x.allowed(); err == nil {
				if b == nil {
					return nil
				}
				if x.permit = (permit{held: true, generation: b.generation.Load()}); b.troubled.Load() == 0 {
					return nil
				}
				key, part := x.part()
				var wait *circuit
				if x.permit, wait = b.allow(key, part, x.slot, !x.idempotent()); wait == nil {
					x.probe = x.permit.probes != nil
					x.endSlot()
					return nil
				}
				if !x.waits() {
					err = b.refusal(wait)
				}
			}
			x.giveBack()
		}
		x.endSlot()
		if err != nil {
			x.passOn()
			return x.stop(err)
		}
		x.place.Returning = true
	}
}

// part returns where the call leads to and on whose behalf, for the breaker.
func (x *exchange) part() (originKey, callPart) {
	route := x.opts.route
	if route == "" {
		route = foldPath(x.req.URL.Path)
	}
	return originOf(x.req.URL), callPart{x.method(), route, x.integration}
}

// queued is called when the call has to wait for the limiter: meanwhile others go on, and probe.
func (x *exchange) queued() {
	if c := x.slot; c != nil && x.idempotent() {
		c.of.mu.Lock()
		c.safeSoon = c.of.breaker.now() + safeSoon
		c.of.mu.Unlock()
	}
	x.endSlot()
	x.passOn()
}

// safeSoon is how long a write that must not be sent twice leaves the probe to a safe call that waits for the limiter.
const safeSoon = 30 * time.Second

// endSlot gives up the call's probe slot, if it has one.
func (x *exchange) endSlot() {
	if c := x.slot; c != nil {
		x.slot = nil
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.endSlot()
	}
}

// passOn wakes the call that is released after this one, if this one was released by a circuit.
func (x *exchange) passOn() {
	if c := x.released; c != nil {
		x.released = nil
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.wakeNext()
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
	p.Tenant = x.integration
	if p.Origin = x.originKey; x.base != nil && x.req.URL.Host != x.base.Host {
		p.Origin = l.engine.OriginKey(originOf(x.req.URL).String())
	}
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
	p.Request, p.Level = x.req, x.opts.priority.level()
	p.Waited, p.Patience, p.MaxPause = 0, x.set.maxWait, defaultMaxRetryAfter
	switch {
	case x.allPatience() > 0:
		p.Patience, p.MaxPause = max(1, x.patience()), 0
	case x.set.retry != nil:
		p.MaxPause = x.set.retry.MaxRetryAfter
	}
	if x.released != nil || x.slot != nil {
		p.Queued = x.queued
	}
	err := x.limiter.acquire(x.ctx, p)
	p.Queued = nil
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

// awaitCircuit waits until no circuit keeps the call from being sent, or until the call has a probe slot. It
// returns at once if the call may be sent, or may probe, now.
//
// How long a call waits: with patience, as long as that lasts. Without, a call that would be retried waits for the
// first probes of an outage, no longer than its backoffs could have taken; once the outage is older than that, it
// fails at once. A call without retries always fails at once.
func (x *exchange) awaitCircuit(b *Breaker) error {
	key, part := x.part()
	unsafe := !x.idempotent()
	for {
		o := b.locked(key, false)
		if o == nil {
			return nil
		}
		now := b.now()
		c, _ := o.blocker(part, nil, unsafe, now)
		if c == nil {
			// Those that waited before go first, but a call that would not wait for a circuit is not held up either.
			if c = o.releasing(part); c == x.released || !x.waits() {
				c = nil
			}
		}
		if c == nil {
			o.mu.Unlock()
			return nil
		}
		longest, err := x.waitsFor(c, now)
		if err != nil {
			o.mu.Unlock()
			return err
		}
		if x.seq == 0 {
			x.seq = b.arrivals.Add(1)
		}
		w := &circuitWaiter{wake: make(chan struct{}), seq: x.seq, unsafe: unsafe}
		c.join(w)
		o.mu.Unlock()
		x.passOn()
		began := time.Now()
		err = b.wait(x.ctx, w, longest)
		x.record().waits.Circuit += time.Since(began)
		if err != nil {
			return err
		}
		if w.probe {
			x.slot = w.at
			return nil
		}
		x.released = w.at
	}
}

// waitsFor returns how long the call may wait for circuit c, or the error if it must not wait. The caller holds the
// mutex of c's origin.
func (x *exchange) waitsFor(c *circuit, now time.Duration) (time.Duration, error) {
	left, longest := max(0, c.openUntil-now), x.holdFor()
	if x.patient() {
		longest = x.patience()
	} else if longest <= 0 || !c.closed && now-c.openedAt > x.backoffs() {
		return 0, refuse(ErrCircuitOpen, max(left, time.Second))
	}
	if deadline, ok := x.ctx.Deadline(); left > longest || ok && left > time.Until(deadline) {
		if !x.patient() {
			return 0, refuse(ErrCircuitOpen, max(left, time.Second))
		}
		return 0, refuse(errkit.Join(ErrCircuitOpen, &waitError{"circuit open", left}), left)
	}
	most := limiter.DefaultMaxQueue
	if x.limiter != nil {
		most = x.limiter.engine.MaxQueue
	}
	if c.count >= most && x.seq == 0 { // a call that has waited before has its place
		return 0, refuse(ErrQueueFull, 0)
	}
	return longest, nil
}

// refusal returns the error for a call that circuit c refuses. Its wait is the time until the next probe, at least a
// second. That is also the wait while a probe is in flight.
func (b *Breaker) refusal(c *circuit) error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return refuse(ErrCircuitOpen, max(c.openUntil-b.now(), time.Second))
}

// report passes the outcome of the attempt to the breaker, the limiter and the client's health.
func (x *exchange) report(resp *http.Response) {
	x.noteOutcome(resp)
	if b := x.set.breaker; b != nil {
		if x.verdict.Class == ClassOK && x.permit.probes == nil && b.troubled.Load() == 0 {
			x.permit.held = false
		} else {
			x.settleCircuits(b, &x.verdict, resp != nil)
		}
	}
	if l := x.limiter; l != nil {
		p := &x.place
		if resp != nil {
			l.engine.Read(p, resp.Header)
		}
		sent := !x.verdict.unsent && !(x.set.caching.policy.FreeNotModified && resp != nil && resp.StatusCode == http.StatusNotModified)
		paused := l.settle(p, &x.verdict, sent, resp != nil)
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

// settleCircuits reports the outcome of the attempt to the breaker, and the changes that follow from it to the
// limiter and the observers.
func (x *exchange) settleCircuits(b *Breaker, v *Verdict, answered bool) {
	if !x.permit.held {
		return
	}
	key, part := x.part()
	for _, change := range b.report(&x.permit, key, part, v, answered) {
		s := change.status
		b.eachListener(func(l circuitListener) {
			l.CircuitsChanged(s.Origin, change.version, change.open, s.Lasts)
		})
		if c := change.closed; c != nil { // now they find the ramp
			c.of.mu.Lock()
			c.wakeNext()
			c.of.mu.Unlock()
		}
		e := CircuitChanged{Call: x.info(), Origin: s.Origin, Route: s.Route, Integration: s.Integration}
		if change.opened {
			e.State, e.OpenFor = BreakerOpen, s.OpenFor
		} else {
			e.Lasted = s.Lasts
		}
		x.emit(e)
	}
}

// abandon releases everything that an attempt holds if its outcome was not reported, because something
// panicked.
func (x *exchange) abandon() {
	x.endSlot()
	x.passOn()
	x.settleCircuits(x.set.breaker, &Verdict{Class: ClassCanceled}, false)
	if x.limiter != nil && x.place.Taken() {
		x.limiter.engine.Settle(&x.place, limiter.Outcome{Kind: limiter.Abandoned})
		x.limiter.engine.Release(&x.place)
	}
}

// idOf returns a number that identifies a credential, so that pauses of ScopeCredential find their calls. It is
// 0 if auth is nil, and if it can neither be compared nor tells what it is.
func idOf(auth Authenticator) uint64 {
	if auth == nil {
		return 0
	}
	if reflect.ValueOf(auth).Comparable() {
		return maphash.Comparable(seed, auth)&^3 | 1
	}
	if i, ok := auth.(Identified); ok {
		if identity := i.CredentialID(); identity != "" {
			return maphash.Comparable(seed, identity)&^3 | 1
		}
	}
	return 0
}

// idOfClients is idOf for the authenticator of a client and of those made from it: one that cannot be identified is only
// itself.
func idOfClients(auth Authenticator) uint64 {
	if id := idOf(auth); id != 0 || auth == nil {
		return id
	}
	return maphash.Comparable(seed, unidentified.Add(1))&^3 | 1
}

var (
	seed         = maphash.MakeSeed()
	unidentified atomic.Uint64
)
