package belay

import (
	"cmp"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/belay-go/belay/internal/errkit"
)

// BreakerPolicy says when the circuit to a partner opens. The zero value of a field means its default. A
// negative value is an error unless the field says otherwise.
type BreakerPolicy struct {
	// Failures is the number of consecutive failures that opens the circuit. Zero means 5; negative means
	// that consecutive failures alone never open it.
	Failures int
	// FailureRatio is the share of failed calls in Window that also opens the circuit, from 0 to 1. Zero
	// means 0.5; negative means that no share opens it.
	FailureRatio float64
	// MinCalls is the number of calls that Window must hold before FailureRatio counts. Zero means 20.
	MinCalls int
	// Window is the time over which calls are counted, at most a year. Zero means 60 s, or three attempt
	// timeouts of the client if that is more.
	Window time.Duration
	// Cooldown is how long the circuit stays open before a probe is sent. It doubles for each probe that
	// fails, and the Retry-After of a Transient answer, such as a 503, extends it, to at most an hour from
	// then. Zero means 5 s, or MaxCooldown if that is less.
	Cooldown time.Duration
	// MaxCooldown bounds the doubling. Zero means 60 s, or Cooldown if that is more. A value below Cooldown
	// is an error.
	MaxCooldown time.Duration
	// Probes is the number of probes in flight at once. All of them must succeed to close the circuit. Zero
	// means 1; more than 1,000 is an error.
	Probes int
}

func (p BreakerPolicy) withDefaults(attemptTimeout time.Duration) BreakerPolicy {
	p.Failures = cmp.Or(p.Failures, 5)
	p.FailureRatio = cmp.Or(p.FailureRatio, 0.5)
	p.MinCalls = cmp.Or(p.MinCalls, 20)
	p.Probes = cmp.Or(p.Probes, 1)
	p.Window = cmp.Or(p.Window, max(time.Minute, 3*min(attemptTimeout, longestWindow/3)))
	if p.Cooldown = cmp.Or(p.Cooldown, 5*time.Second); p.MaxCooldown > 0 {
		p.Cooldown = min(p.Cooldown, p.MaxCooldown)
	}
	p.MaxCooldown = cmp.Or(p.MaxCooldown, max(time.Minute, p.Cooldown))
	return p
}

func (p BreakerPolicy) check() error {
	var faults errkit.List
	bad := func(wrong bool, field string, value any, want string) {
		faults.If(wrong, "BreakerPolicy.%s is %v, %s", field, value, want)
	}
	bad(p.FailureRatio > 1 || math.IsNaN(p.FailureRatio), "FailureRatio", p.FailureRatio, "must be at most 1")
	bad(p.MinCalls < 0, "MinCalls", p.MinCalls, "must not be negative")
	bad(p.Window < 0, "Window", p.Window, "must not be negative")
	bad(p.Window > longestWindow, "Window", p.Window, "must be at most a year")
	bad(p.Cooldown < 0, "Cooldown", p.Cooldown, "must not be negative")
	bad(p.MaxCooldown < 0, "MaxCooldown", p.MaxCooldown, "must not be negative")
	bad(p.MaxCooldown > 0 && p.MaxCooldown < p.Cooldown, "MaxCooldown", p.MaxCooldown, "must not be below Cooldown")
	bad(p.Probes < 0 || p.Probes > 1000, "Probes", p.Probes, "must be from 0 to 1000")
	return faults.Err()
}

const longestWindow = 365 * 24 * time.Hour

// longestPause bounds how long a partner's Retry-After can keep the circuit open. After that a probe finds
// out whether the partner is back.
const longestPause = time.Hour

// circuitListener hears when the circuit opens, and when it closes after an outage of the given length. The
// limiter is a listener: after an outage it admits calls slowly.
type circuitListener interface {
	CircuitOpened()
	CircuitClosed(lasted time.Duration)
}

// Breaker refuses calls while the partner is down, and finds out by probes when it is back. Only Transient
// verdicts count against the partner; every other failure is neutral.
//
// Most users configure one with [WithBreakerPolicy]. Make one with [NewBreaker] and share it with
// [WithBreaker] if several clients reach the partner by the same way. It is safe for concurrent use.
type Breaker struct {
	policy             BreakerPolicy
	cb                 *gobreaker.TwoStepCircuitBreaker[any]
	base               time.Time
	maxUntoldSuccesses int64 // bounds successes: about as many as keep one failure below FailureRatio

	// onChange changes the next five, and generation and probing. It runs under gobreaker's mutex and may use
	// atomics only: locking mu could deadlock, because allow calls gobreaker while it holds mu.
	state     atomic.Int32 // a gobreaker.State
	openUntil atomic.Int64 // nanoseconds since base, 0 while closed
	failed    atomic.Int32 // probes that failed since the circuit opened
	openedAt  atomic.Int64 // when the circuit opened, in nanoseconds since base
	changes   atomic.Int32 // bits of the changes that no report has returned yet

	generation atomic.Uint32 // counts changes
	successes  atomic.Int64  // since the last failure, not reported to gobreaker yet; at most about maxUntoldSuccesses
	probing    atomic.Int32  // probes in flight or successful, while half-open
	probeSlots atomic.Int32  // waiters with a probe slot but without a permit

	mu        sync.Mutex
	waiting   []*circuitWaiter
	timer     *time.Timer
	listeners []circuitListener
}

// The bits of Breaker.changes.
const (
	changedToOpen = 1 << iota
	changedToClosed
	changedFromClosed
)

// The outcomes that are reported to gobreaker, besides nil for a success.
var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

// NewBreaker returns a closed breaker, or an error that matches [ErrInvalid] and names each field out of range.
func NewBreaker(p BreakerPolicy) (*Breaker, error) {
	if err := p.check(); err != nil {
		return nil, errkit.Input(err)
	}
	return newBreaker(p.withDefaults(0)), nil
}

func newBreaker(p BreakerPolicy) *Breaker {
	b := &Breaker{policy: p, base: time.Now(), maxUntoldSuccesses: int64(p.MinCalls)}
	if p.FailureRatio > 0 {
		b.maxUntoldSuccesses = max(b.maxUntoldSuccesses, int64(min(10_000, 2/p.FailureRatio)))
	}
	b.cb = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		MaxRequests:  uint32(p.Probes),
		Interval:     p.Window,
		BucketPeriod: max(1, p.Window/10),
		// gobreaker leaves the open state only after its Timeout. It is 1 ns shorter than any cooldown, so
		// that openUntil decides.
		Timeout: max(1, min(p.Cooldown, p.MaxCooldown)-1),
		ReadyToTrip: func(c gobreaker.Counts) bool {
			if p.Failures > 0 && c.ConsecutiveFailures >= uint32(p.Failures) {
				return true
			}
			total := c.TotalSuccesses + c.TotalFailures
			return p.FailureRatio > 0 && total >= uint32(p.MinCalls) && float64(c.TotalFailures) >= p.FailureRatio*float64(total)
		},
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return err == errNeutral },
		OnStateChange: b.onChange,
	})
	return b
}

func (b *Breaker) now() time.Duration { return time.Since(b.base) }

// onChange records a change of gobreaker's state. It runs under gobreaker's mutex.
func (b *Breaker) onChange(_ string, from, to gobreaker.State) {
	now := b.now()
	bits := int32(0)
	switch to {
	case gobreaker.StateOpen:
		bits = changedToOpen
		if from == gobreaker.StateClosed {
			bits |= changedFromClosed
			b.failed.Store(0)
			b.openedAt.Store(int64(now))
		} else {
			b.failed.Add(1)
		}
		cooldown := b.policy.Cooldown << min(b.failed.Load(), 20)
		if cooldown <= 0 || cooldown > b.policy.MaxCooldown {
			cooldown = b.policy.MaxCooldown
		}
		b.openUntil.Store(int64(now + cooldown))
	case gobreaker.StateClosed:
		bits = changedToClosed
		b.openUntil.Store(0)
	}
	b.probing.Store(0)
	b.generation.Add(1)
	b.state.Store(int32(to))
	b.changes.Or(bits)
}

// BreakerState is the state of a breaker.
type BreakerState uint8

const (
	// BreakerClosed admits every call.
	BreakerClosed BreakerState = iota
	// BreakerHalfOpen admits probes.
	BreakerHalfOpen
	// BreakerOpen admits nothing.
	BreakerOpen
)

// String returns "closed", "half-open" or "open".
func (s BreakerState) String() string {
	return [...]string{"closed", "half-open", "open"}[min(s, BreakerOpen)]
}

// State returns the state of the breaker and, when it is open, the time until the next probe. It changes
// nothing.
func (b *Breaker) State() (BreakerState, time.Duration) {
	if b.closed() {
		return BreakerClosed, 0
	}
	if left := time.Duration(b.openUntil.Load()) - b.now(); left > 0 {
		return BreakerOpen, left
	}
	return BreakerHalfOpen, 0
}

// closed reports whether the circuit is closed. It is one atomic load, for the successful path.
func (b *Breaker) closed() bool { return gobreaker.State(b.state.Load()) == gobreaker.StateClosed }

// busy reports whether all probes are in flight or promised to waiters.
func (b *Breaker) busy() bool { return int(b.probing.Load()+b.probeSlots.Load()) >= b.policy.Probes }

// permit is the right to send one attempt. It must be reported. While the circuit is closed it only notes the
// generation, so that the successful path takes no lock: successes are counted, and reported to gobreaker
// when a failure makes them matter.
type permit struct {
	held       bool
	probe      bool
	generation uint32
	done       func(error) // of a probe, nil for other attempts
}

// pass returns a permit, and whether it is valid: only while the circuit is closed. It takes no lock.
func (b *Breaker) pass() (permit, bool) {
	p := permit{held: true, generation: b.generation.Load()}
	return p, b.closed()
}

// allow returns a permit, or false if the circuit is open, or if all probes are in flight or promised to
// other calls. With turn, this call has a probe slot. An unsafe call gets no permit for a probe while a safe
// one waits for the circuit.
func (b *Breaker) allow(turn, unsafe bool) (permit, bool) {
	if p, ok := b.pass(); ok {
		return p, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, left := b.State(); left > 0 || !turn && (b.busy() || unsafe && b.hasSafeWaiter()) {
		return permit{}, false
	}
	done, err := b.cb.Allow()
	if err != nil {
		return permit{}, false
	}
	b.probing.Add(1)
	return permit{held: true, probe: true, generation: b.generation.Load(), done: done}, true
}

// report ends a permit with the verdict on its attempt. A second report does nothing. It returns the changes
// of state that no report has returned before; notify must follow if there are any, or if the permit was for
// a probe.
func (b *Breaker) report(p *permit, v *Verdict, answered bool) (changes int32) {
	if !p.held {
		return 0
	}
	p.held = false
	switch {
	case p.probe:
		b.reportProbe(p, v.Class, answered)
	case v.Class == ClassOK:
		if b.successes.Load() < b.maxUntoldSuccesses { // rarely true on the successful path, which then writes nothing
			b.successes.Add(1)
		}
		return 0
	case v.Class == ClassTransient:
		b.reportFailure(p)
	}
	if v.Class == ClassTransient && v.RetryAfter > 0 && !b.closed() {
		b.extend(v.RetryAfter)
	}
	if b.changes.Load() != 0 {
		changes = b.changes.Swap(0)
	}
	return changes
}

// reportProbe reports the outcome of a probe to gobreaker. A probe that the partner answered succeeds unless
// the answer is Transient: the partner is up. A success keeps its place among the probes, because gobreaker
// admits only as many as must succeed.
func (b *Breaker) reportProbe(p *permit, c Class, answered bool) {
	switch {
	case c == ClassTransient:
		p.done(errFailure)
	case answered:
		p.done(nil)
	default:
		p.done(errNeutral)
		if b.generation.Load() == p.generation {
			b.probing.Add(-1)
		}
	}
}

// reportFailure reports a failure of a closed circuit to gobreaker, after the successes before it, as far as
// these can matter.
func (b *Breaker) reportFailure(p *permit) {
	for range min(b.successes.Swap(0), b.maxUntoldSuccesses) {
		b.tell(p, nil)
	}
	b.tell(p, errFailure)
}

// tell reports an outcome to gobreaker, unless the circuit has changed since the permit was taken.
func (b *Breaker) tell(p *permit, outcome error) {
	if b.generation.Load() != p.generation {
		return
	}
	if done, err := b.cb.Allow(); err == nil {
		done(outcome)
	}
}

// extend keeps an open circuit open for at least d from now, or for an hour if d is more.
func (b *Breaker) extend(d time.Duration) {
	until := int64(b.now() + min(d, longestPause))
	for {
		have := b.openUntil.Load()
		if have == 0 || have >= until || b.openUntil.CompareAndSwap(have, until) {
			return
		}
	}
}
