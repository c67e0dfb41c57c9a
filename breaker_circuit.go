package belay

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
)

// circuit is the circuit of one part of a partner. gobreaker counts the outcomes and keeps the state; this type
// adds when to probe, which call probes, and which calls wait. The mutex of its origin guards everything in it,
// and is held for each call of gobreaker.
type circuit struct {
	of   *circuits
	part callPart
	cb   *gobreaker.TwoStepCircuitBreaker[any]

	closed     bool
	generation uint32        // of the breaker, when the circuit last opened or closed
	inARow     int           // failures since the last success
	last       callPart      // of the last failure
	routes     bool          // the failures in a row are of several routes
	others     bool          // and for several integrations
	routesAt   time.Duration // when a failure was of another route than the one before
	othersAt   time.Duration // when a failure was for another integration than the one before
	failedAt   time.Duration // when the last attempt failed

	openedAt  time.Duration
	openUntil time.Duration // when the next probe may be sent
	told      time.Duration // the end of the pause that the partner has asked for
	probedAt  time.Duration // when the last probe was sent, or else openedAt
	probing   int           // probes in flight or successful
	safeSoon  time.Duration // until then a safe call with a slot waits for the limiter, and goes before unsafe ones
	slots     int           // waiters that have a probe slot and no permit yet

	waiters
}

// The outcomes that are reported to gobreaker, besides nil for a success.
var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

func newCircuit(o *circuits, p callPart) *circuit {
	c := &circuit{of: o, part: p, closed: true}
	policy := &o.breaker.policy
	c.cb = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		MaxRequests:   uint32(policy.Probes),
		Interval:      policy.Window,
		BucketPeriod:  max(1, policy.Window/10),
		Timeout:       1, // openUntil decides
		ReadyToTrip:   c.tooMany,
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return err == errNeutral },
		OnStateChange: func(_ string, _, to gobreaker.State) { c.closed = to == gobreaker.StateClosed },
	})
	return c
}

// tooMany reports whether the failures open the circuit.
func (c *circuit) tooMany(counts gobreaker.Counts) bool {
	p := &c.of.breaker.policy
	if p.Failures > 0 && c.inARow >= p.Failures && c.isCommon(c.routes, c.others) {
		return true
	}
	total := counts.TotalSuccesses + counts.TotalFailures
	return p.FailureRatio > 0 && uint64(total) >= uint64(p.MinCalls) &&
		float64(counts.TotalFailures) >= p.FailureRatio*float64(total) &&
		c.isCommon(c.recently(c.routesAt), c.recently(c.othersAt))
}

// recently reports whether at is within the window.
func (c *circuit) recently(at time.Duration) bool {
	return at > 0 && c.failedAt-at <= c.of.breaker.policy.Window
}

// isCommon reports whether the circuit's part is just what the failures have in common, given whether they were of
// several routes and for several integrations: no narrower part explains them. Routes and integrations that are
// not known cannot be several.
func (c *circuit) isCommon(routes, integrations bool) bool {
	return (c.part.route != "" || routes || c.last.route == "") &&
		(c.part.integration != "" || integrations || c.last.integration == "")
}

// tell reports an outcome to gobreaker.
func (c *circuit) tell(outcome error) {
	if done, err := c.cb.Allow(); err == nil {
		done(outcome)
	}
}

// current reports whether an attempt that was sent in the given generation of the breaker counts: the circuit has
// not opened or closed since.
func (c *circuit) current(generation uint32) bool { return int32(generation-c.generation) >= 0 }

// success counts an attempt that succeeded.
func (c *circuit) success(generation uint32, now time.Duration) {
	switch {
	case !c.closed:
		c.hurry(now) // an attempt that was sent before the circuit opened: the partner works
	case c.current(generation):
		c.inARow = 0
		c.tell(nil)
	}
}

// failure counts a failed attempt for p, and reports whether the circuit has to open.
func (c *circuit) failure(p callPart, generation uint32, now time.Duration) (open bool) {
	if !c.closed || !c.current(generation) {
		return false
	}
	if c.inARow == 0 {
		c.routes, c.others = false, false
	}
	if c.failedAt > 0 || c.inARow > 0 {
		if p.route != c.last.route || p.method != c.last.method {
			c.routesAt, c.routes = now, c.inARow > 0
		}
		if p.integration != c.last.integration {
			c.othersAt, c.others = now, c.inARow > 0
		}
	}
	c.inARow++
	c.last, c.failedAt = p, now
	c.tell(errFailure)
	return !c.closed
}

// open opens the circuit, after a failure with the verdict v.
func (c *circuit) open(v *Verdict, now time.Duration) {
	c.changed()
	c.openedAt, c.probedAt, c.told = now, now, 0
	c.probing = 0
	c.hold(v, now)
	c.unrelease()
}

// changed begins a new generation: attempts that were sent before do not count any more.
func (c *circuit) changed() { c.generation = c.of.breaker.generation.Add(1) }

// hold sets the time of the next probe, counted from the last probe, after a failure with the verdict v.
func (c *circuit) hold(v *Verdict, now time.Duration) {
	p := &c.of.breaker.policy
	longest := p.MaxCooldown
	if v.unsent {
		longest = p.unsentCooldown
	}
	age := now - c.openedAt
	step := min(p.Cooldown+age/5, min(3*p.Cooldown, longest)+age/12, longest)
	step -= rand.N(step/4 + 1)
	c.openUntil = max(c.probedAt+step, now+2) // gobreaker does not probe in the instant in which it opened
	c.pause(v, now)
}

// pause keeps the circuit open for as long as the partner asks, at most an hour.
func (c *circuit) pause(v *Verdict, now time.Duration) {
	if v.RetryAfter > 0 {
		c.told = max(c.told, now+min(v.RetryAfter, longestPause))
		c.openUntil = max(c.openUntil, c.told)
	}
}

// hurry brings the next probe forward, because there is a sign that the partner is back. It does not shorten a
// pause that the partner has asked for, nor the first wait.
func (c *circuit) hurry(now time.Duration) {
	if !c.closed {
		cooldown := c.of.breaker.policy.Cooldown
		c.openUntil = min(c.openUntil, max(now+rand.N(cooldown/2+1), c.told, c.probedAt+cooldown))
		c.arm()
	}
}

// busy reports whether all probes are in flight or promised to waiters.
func (c *circuit) busy() bool { return c.probing+c.slots >= c.of.breaker.policy.Probes }

// mayProbe reports whether a call without a probe slot may probe now. An unsafe one may not while a safe one waits.
func (c *circuit) mayProbe(unsafe bool, now time.Duration) bool {
	return c.openUntil <= now && !c.busy() && !(unsafe && (c.safe.first != nil || now < c.safeSoon))
}

// begin begins a probe. It returns the function that reports its outcome to gobreaker.
func (c *circuit) begin(now time.Duration) (done func(error)) {
	done, err := c.cb.Allow()
	if err != nil {
		return nil
	}
	c.probing++
	c.probedAt = now
	return done
}

// probed reports the outcome of a probe. A probe that the partner answered succeeds unless the answer is Transient:
// the partner is up. A success keeps its place among the probes, because gobreaker admits only as many as must
// succeed. It returns whether the circuit has closed.
func (c *circuit) probed(p *probe, v *Verdict, answered bool, now time.Duration) (closed bool) {
	if c.generation != p.generation || c.of.byPart[c.part] != c {
		p.done(errNeutral)
		return false
	}
	switch {
	case v.Class == ClassTransient && !v.neutral:
		p.done(errFailure)
		c.changed()
		c.failedAt, c.probing = now, 0
		c.hold(v, now)
	case answered:
		p.done(nil)
		if c.closed {
			c.changed()
			c.inARow, c.probing = 0, 0
			c.gather() // the limiters hear of it first, see settleCircuits
			return true
		}
	default:
		p.done(errNeutral)
		c.probing--
	}
	c.arm()
	return false
}

// status returns the state of a circuit that is not closed.
func (c *circuit) status(now time.Duration) CircuitStatus {
	s := CircuitStatus{
		Origin: c.of.key.String(), Integration: c.part.integration,
		State: BreakerHalfOpen, Lasts: now - c.openedAt, Waiting: c.count,
	}
	if c.part.route != "" {
		s.Route = c.part.method + " " + routeLabel(c.part.route)
	}
	if left := c.openUntil - now; left > 0 {
		s.State, s.OpenFor = BreakerOpen, left
	}
	return s
}
