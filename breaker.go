package belay

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// BreakerPolicy says when the circuit to a partner opens, and when it is tried again. The zero value of a field
// means its default. A negative value is an error unless the field says otherwise.
type BreakerPolicy struct {
	// Failures is the number of consecutive failures that opens a circuit. Zero means 5; negative means
	// that consecutive failures alone never open it.
	Failures int
	// FailureRatio is the share of failed calls that also opens a circuit, from 0 to 1, counted over Window
	// from the first failure on. Zero means 0.5; negative means that no share opens it.
	FailureRatio float64
	// MinCalls is the number of calls that Window must hold before FailureRatio counts. Zero means 20.
	MinCalls int
	// Window is the time over which calls are counted, at most a year. Zero means 60 s, or three attempt
	// timeouts of the client if that is more.
	Window time.Duration
	// Cooldown is the longest time from the opening of the circuit to the first probe. The next probe follows
	// one that fails after Cooldown and a fifth of the time since the opening, later after three times Cooldown
	// and a twelfth of that time. Each of these waits is up to a quarter shorter, at random, so that many
	// processes do not probe at once. The Retry-After of a Transient answer, such as a 503, extends it, to at
	// most an hour from then. Zero means 400 ms, or MaxCooldown if that is less.
	Cooldown time.Duration
	// MaxCooldown bounds the wait before a probe. Zero means 4 s, or Cooldown if that is more; while no
	// connection can be made, it means 2 s, because the partner does not notice such a probe. A value below
	// Cooldown is an error.
	MaxCooldown time.Duration
	// Probes is the number of probes in flight at once. All of them must succeed to close the circuit. Zero
	// means 1; more than 1,000 is an error.
	Probes int

	unsentCooldown time.Duration // MaxCooldown while no connection can be made
}

func (p BreakerPolicy) withDefaults(attemptTimeout time.Duration) BreakerPolicy {
	p.Failures = cmp.Or(p.Failures, 5)
	p.FailureRatio = cmp.Or(p.FailureRatio, 0.5)
	p.MinCalls = cmp.Or(p.MinCalls, 20)
	p.Probes = cmp.Or(p.Probes, 1)
	p.Window = cmp.Or(p.Window, max(time.Minute, 3*min(attemptTimeout, longestWindow/3)))
	if p.Cooldown = cmp.Or(p.Cooldown, 400*time.Millisecond); p.MaxCooldown > 0 {
		p.Cooldown = min(p.Cooldown, p.MaxCooldown)
	}
	p.unsentCooldown = cmp.Or(p.MaxCooldown, max(2*time.Second, p.Cooldown))
	p.MaxCooldown = cmp.Or(p.MaxCooldown, max(4*time.Second, p.Cooldown))
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
	bad(p.Cooldown > longestWindow, "Cooldown", p.Cooldown, "must be at most a year")
	bad(p.MaxCooldown > longestWindow, "MaxCooldown", p.MaxCooldown, "must be at most a year")
	bad(p.MaxCooldown < 0, "MaxCooldown", p.MaxCooldown, "must not be negative")
	bad(p.MaxCooldown > 0 && p.MaxCooldown < p.Cooldown, "MaxCooldown", p.MaxCooldown, "must not be below Cooldown")
	bad(p.Probes < 0 || p.Probes > 1000, "Probes", p.Probes, "must be from 0 to 1000")
	return faults.Err()
}

// Breaker refuses calls while the partner is down, and finds out by probes when it is back. Only Transient
// verdicts count against the partner; every other failure is neutral.
//
// Consecutive failures open the circuit for what they have in common. If all were of one route, or for one
// integration, the circuit opens for the calls that have the same route and integration; the others go on, and
// so bear witness. Only failures of several routes and several integrations open it for the whole origin
// (scheme, host and port). A failure counts for its route, for its integration and for its origin; a success
// of any of these begins their count anew. What is not known cannot be told apart: without [WithIntegration]
// all calls are of one integration.
//
// Most users configure one with [WithBreakerPolicy]. Make one with [NewBreaker] and share it with
// [WithBreaker] if several clients reach the partner by the same way. It is safe for concurrent use.
type Breaker struct {
	policy BreakerPolicy
	base   time.Time

	troubled   atomic.Int32  // the number of origins; the successful path reads only this one and generation
	generation atomic.Uint32 // counts the openings and closings of all circuits
	arrivals   atomic.Uint64 // counts the calls that wait

	mu        sync.RWMutex
	origins   map[originKey]*circuits        // those with a circuit: with a failure in the last Window, or not closed
	swept     time.Duration                  // when the idle ones were last removed
	listeners map[any]func() circuitListener // by the key of the limiter; the function returns nil once it is gone
}

// circuitListener hears when a circuit to an origin opens or closes: how many are not closed now, and how long the one
// that has closed was open, 0 if one has opened. Changes may come out of order; the one with the highest version
// counts. The limiter is a listener: after an outage it admits calls slowly.
type circuitListener interface {
	CircuitsChanged(origin string, version uint32, open int, lasted time.Duration)
}

// NewBreaker returns a closed breaker, or an error that matches [ErrInvalid] and names each field out of range.
func NewBreaker(p BreakerPolicy) (*Breaker, error) {
	if err := p.check(); err != nil {
		return nil, errkit.Input(err)
	}
	return newBreaker(p.withDefaults(0)), nil
}

func newBreaker(p BreakerPolicy) *Breaker {
	return &Breaker{policy: p, base: time.Now(), origins: make(map[originKey]*circuits)}
}

// longestWindow bounds BreakerPolicy.Window, and longestPause how long a partner's Retry-After can keep a circuit
// open. After that a probe finds out whether the partner is back.
const (
	longestWindow = 365 * 24 * time.Hour
	longestPause  = time.Hour
)

// made reports whether b was made by NewBreaker.
func (b *Breaker) made() bool { return b != nil && b.origins != nil }

func (b *Breaker) now() time.Duration { return time.Since(b.base) }

// BreakerState is the state of a circuit.
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

// State returns the state of the circuit that is furthest from closed, of all origins, routes and integrations.
// If it is open, left is the time until its next probe. State changes nothing.
func (b *Breaker) State() (state BreakerState, left time.Duration) {
	if !b.made() {
		return BreakerClosed, 0
	}
	return worst(b.status(nil))
}

// worst returns the state that is furthest from closed, and the longest time until its next probe.
func worst(circuits []CircuitStatus) (state BreakerState, left time.Duration) {
	for _, s := range circuits {
		if s.State > state || s.State == state && s.OpenFor > left {
			state, left = s.State, s.OpenFor
		}
	}
	return state, left
}

// CircuitStatus is the state of a circuit that is not closed.
type CircuitStatus struct {
	// Origin is the origin that the circuit is for, such as "https://api.example.com". Route is its route, as
	// "GET /things/{id}", and Integration its integration; empty stands for all.
	Origin, Route, Integration string
	// State is the state, and OpenFor the time until the next probe, 0 if one may be sent now.
	State   BreakerState
	OpenFor time.Duration
	// Lasts is the time since the circuit opened, and Waiting the number of calls that wait for it to close.
	Lasts   time.Duration
	Waiting int
}

// Circuits returns the state of every circuit that is not closed, the widest and oldest first. It changes nothing.
func (b *Breaker) Circuits() []CircuitStatus {
	if !b.made() {
		return nil
	}
	return b.status(nil)
}

// status returns the circuits that are not closed and that concern a call, as related says; nil means all.
func (b *Breaker) status(related func(originKey, callPart) bool) (all []CircuitStatus) {
	if b.troubled.Load() == 0 {
		return nil
	}
	now := b.now()
	for _, o := range b.all() {
		o.mu.Lock()
		for p, c := range o.byPart {
			if !c.closed && (related == nil || related(o.key, p)) {
				all = append(all, c.status(now))
			}
		}
		o.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b CircuitStatus) int {
		return cmp.Or(
			cmp.Compare(a.width(), b.width()),
			cmp.Compare(b.Lasts, a.Lasts),
			strings.Compare(a.Origin, b.Origin),
			strings.Compare(a.Route, b.Route),
			strings.Compare(a.Integration, b.Integration),
		)
	})
	return all
}

// width is the number of ways in which the circuit is narrower than its origin.
func (s CircuitStatus) width() (n int) {
	if s.Route != "" {
		n++
	}
	if s.Integration != "" {
		n++
	}
	return n
}
