package belay

import (
	"cmp"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/belay-go/belay/internal/fault"
)

// BreakerPolicy says when the circuit to a partner opens. The zero value is the default of every field; a
// negative one is an error where nothing else is said.
type BreakerPolicy struct {
	// Failures in a row open the circuit. Zero means 5, negative that a row alone never does.
	Failures int
	// FailureRatio of the calls in Window opens it too, from 0 to 1. Zero means 0.5, negative never.
	FailureRatio float64
	// MinCalls is how many calls the window must hold before FailureRatio counts. Zero means 20.
	MinCalls int
	// Window is how far back calls are counted, at most a year. Zero means 60 s, or three attempt timeouts if that is more.
	Window time.Duration
	// Cooldown is how long the circuit stays open before a probe is sent. Zero means 5 s, or MaxCooldown if
	// that is less. It doubles for
	// each probe that fails, and a partner's Retry-After on a 503 extends it.
	Cooldown time.Duration
	// MaxCooldown bounds the doubling. Zero means 60 s, or Cooldown if that is more.
	MaxCooldown time.Duration
	// Probes is how many probes are in flight at once, all of which must succeed to close the circuit. Zero means 1.
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
	var faults fault.List
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

// longestPause bounds what a partner may ask for: one call finds out after that whether it is back.
const longestPause = time.Hour

// circuitListener is told when a circuit opens, and when it closes after an outage that has lasted that long. The limiter is one: it
// lets calls come back slowly.
type circuitListener interface {
	CircuitOpened()
	CircuitClosed(lasted time.Duration)
}

// Breaker refuses calls while the partner is down, and finds out by probes when it is back. Only
// Transient verdicts count against the partner; every other failure is neutral.
//
// Most users configure one by [WithBreakerPolicy]. Make one with [NewBreaker] and share it by
// [WithBreaker] when several clients reach the partner by the same way. It is safe for concurrent use.
type Breaker struct {
	policy             BreakerPolicy
	cb                 *gobreaker.TwoStepCircuitBreaker[any]
	base               time.Time
	maxUntoldSuccesses int64 // successes in a row that can matter: as many as keep the ratio down by themselves

	// Set by gobreaker's callback, which runs under its mutex: atomics and nothing else.
	state     atomic.Int32
	openUntil atomic.Int64 // nanoseconds since base
	failed    atomic.Int32 // probes in a row
	openedAt  atomic.Int64 // from closed
	changes   atomic.Int32 // bits of changes nobody has taken yet

	generation atomic.Uint32 // counts changes
	successes  atomic.Int64  // since the last failure, about as many as are enough; not yet told to gobreaker
	probing    atomic.Int32  // probes in flight or that succeeded, while half open
	probeSlots atomic.Int32  // parked calls whose turn it is to probe, but who have no permit yet

	mu        sync.Mutex
	waiting   []*circuitWaiter
	timer     *time.Timer
	listeners []circuitListener
}

const (
	changedToOpen = 1 << iota
	changedToClosed
	changedFromClosed
)

// errNeutral and errFailure are how outcomes are told to gobreaker.
var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

// NewBreaker returns a closed breaker, or an error that names each field out of range.
func NewBreaker(p BreakerPolicy) (*Breaker, error) {
	if err := p.check(); err != nil {
		return nil, err
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
		// It stays open until after its Timeout; openUntil is what decides.
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

// onChange runs under gobreaker's mutex.
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

// BreakerState is where a breaker stands.
type BreakerState uint8

const (
	// BreakerClosed lets every call through.
	BreakerClosed BreakerState = iota
	// BreakerHalfOpen lets probes through.
	BreakerHalfOpen
	// BreakerOpen lets nothing through.
	BreakerOpen
)

// String returns "closed", "half-open" or "open".
func (s BreakerState) String() string {
	return [...]string{"closed", "half-open", "open"}[min(s, BreakerOpen)]
}

// State returns where the breaker stands and, when it is open, how long until the next probe. It does
// not change anything.
func (b *Breaker) State() (BreakerState, time.Duration) {
	if b.closed() {
		return BreakerClosed, 0
	}
	if left := time.Duration(b.openUntil.Load()) - b.now(); left > 0 {
		return BreakerOpen, left
	}
	return BreakerHalfOpen, 0
}

// closed is the fast question of the successful path.
func (b *Breaker) closed() bool { return gobreaker.State(b.state.Load()) == gobreaker.StateClosed }

// busy reports whether all probes are out, or about to be.
func (b *Breaker) busy() bool { return int(b.probing.Load()+b.probeSlots.Load()) >= b.policy.Probes }

// permit is the right to send one attempt. It must be reported. While the circuit is closed it is only a
// note of the generation, so that the successful path takes no lock: successes are counted, and told to
// gobreaker when a failure makes them matter.
type permit struct {
	held       bool
	probe      bool
	generation uint32
	done       func(error) // a probe's
}

// pass is allow while the circuit is closed.
func (b *Breaker) pass() (permit, bool) {
	p := permit{held: true, generation: b.generation.Load()}
	return p, b.closed()
}

// allow returns a permit, or false when the circuit is open or all probes are out, or promised to others:
// turn says that one is promised to this call. An unsafe call gets none while another waits to probe.
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

// report tells what became of a permit. A second report does nothing. It returns the changes of state
// since somebody last asked; notify must follow when there are any, or the permit was a probe's.
func (b *Breaker) report(p *permit, v *Verdict, answered bool) (changes int32) {
	if !p.held {
		return 0
	}
	p.held = false
	switch {
	case p.probe:
		b.reportProbe(p, v.Class, answered)
	case v.Class == ClassOK:
		if b.successes.Load() < b.maxUntoldSuccesses { // seldom, on the successful path
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

// reportProbe tells of a probe. One that the partner answered succeeds whatever the answer: it is up. A
// success keeps its place, as gobreaker lets no more through than must succeed.
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

// reportFailure tells gobreaker of a failure while the circuit was closed, after the successes before
// it, as far as they can matter.
func (b *Breaker) reportFailure(p *permit) {
	for range min(b.successes.Swap(0), b.maxUntoldSuccesses) {
		b.tell(p, nil)
	}
	b.tell(p, errFailure)
}

// tell tells gobreaker of an outcome, unless the circuit has changed since the permit was taken.
func (b *Breaker) tell(p *permit, outcome error) {
	if b.generation.Load() != p.generation {
		return
	}
	if done, err := b.cb.Allow(); err == nil {
		done(outcome)
	}
}

// extend keeps the circuit open for d from now at least, within an hour.
func (b *Breaker) extend(d time.Duration) {
	until := int64(b.now() + min(d, longestPause))
	for {
		have := b.openUntil.Load()
		if have == 0 || have >= until || b.openUntil.CompareAndSwap(have, until) {
			return
		}
	}
}
