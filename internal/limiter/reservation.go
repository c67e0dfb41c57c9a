package limiter

import (
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/headers"
)

// Reservation is one attempt's place under the limits. Fill in its Ask, then acquire it. It may be used again after
// Release or Detach. It is not safe for concurrent use.
type Reservation struct {
	Ask
	Report

	tiers  *tierSet
	grants []scopeGrant       // permits from the tiers of scopes
	logged int64              // mark in the log, 0 if there is none
	quotas []headers.Quota    // advertised by the answer
	taken  uint64             // bits of the tiers that apply
	stored uint64             // bits of the tiers whose permits came from a store
	marks  [inlineTiers]int64 // marks of the first tiers
	more   *[maxTiers]int64   // marks of further tiers, allocated when needed
	sent   time.Duration      // when it was admitted or restarted
	state  state
	tight  bool // some window gains by knowing when the partner counted the attempt
}

// Ask is the description of an attempt that its caller gives.
type Ask struct {
	// Request is the request that the limits' When functions check; nil matches no limit that has one.
	Request *http.Request
	// Cost is the number of permits that the attempt takes of each limit; zero or less means 1.
	Cost int
	// Level is the attempt's priority: 0 high, 1 normal, 2 low.
	Level int
	// Tenant is the name of the tenant on whose behalf the attempt is made. Tenants take turns. Empty is a
	// tenant like others.
	Tenant string
	// Origin identifies the origin that the attempt goes to, as OriginKey does. Pauses of ScopePartner and the ramp
	// after an outage apply to the calls with the same number.
	Origin uint64
	// Credential identifies the credential by a number whose last two bits are 01. A pause of ScopeCredential
	// applies to the calls with the same number. Zero means that such a pause applies to all calls.
	Credential uint64
	// Method and Route identify the route. A pause of ScopeRoute applies to the calls with the same two. With
	// an empty Route it applies to all calls.
	Method, Route string
	// Observed asks for Left and Notices.
	Observed bool
	// Patience is the longest wait, and MaxPause the longest pause to wait for. Zero or less means no bound
	// but the context's deadline.
	Patience, MaxPause time.Duration
	// Returning says that the call has waited before, so that MaxQueue does not refuse it.
	Returning bool
	// Queued is called once the attempt waits in its place in the queue, outside the mutex. Nil calls nothing.
	Queued func()
}

// Report holds the results of an acquire.
type Report struct {
	// Waited is how long Acquire waited. Acquire assigns it only after a wait.
	Waited time.Duration
	// Left is how many permits the tightest limit had left when the attempt was admitted, -1 without limits.
	// Slots in flight are not counted.
	Left int
	// Notices are the notices for an observer. The limiter appends to them.
	Notices []Notice
}

// state is the present state of a reservation; the package comment shows the order.
type state uint8

const (
	free    state = iota // holds nothing
	taken                // counts against every limit
	settled              // has an outcome; its slots in flight are still taken
)

// Forget clears the part of the caller. The rest is memory that the next acquire uses again.
func (r *Reservation) Forget() { r.Ask, r.Report = Ask{}, Report{} }

// Taken reports whether the reservation has been admitted and has not been settled.
func (r *Reservation) Taken() bool { return r.state == taken }

// Free reports whether the reservation holds nothing.
func (r *Reservation) Free() bool { return r.state == free }

// mark returns a pointer to the mark of tier i.
func (r *Reservation) mark(i int) *int64 {
	if i < len(r.marks) {
		return &r.marks[i]
	}
	if r.more == nil {
		r.more = new([maxTiers]int64)
	}
	return &r.more[i]
}

// cost returns Cost, at least 1.
func (r *Reservation) cost() int { return max(1, r.Cost) }

// fits returns a *Refusal if r's cost is above one of its limits. In-flight limits and shared limits are not
// checked: the first count a call as 1, and the store of the second decides for itself.
func (r *Reservation) fits() error {
	for i, tier := range r.tiers.tiers {
		if tier.slots == nil && tier.shared == nil && r.cost() > tier.Limit() &&
			(tier.limit.When == nil || r.taken>>i&1 != 0) {
			return &Refusal{Reason: AboveLimit, What: tier.limit.String(), Cost: r.cost()}
		}
	}
	return nil
}

// Slots holds the slots in flight of a reservation for longer than the reservation, for example until the
// body is closed. The zero value holds none.
type Slots struct {
	sched *scheduler
	tiers *tierSet
	taken uint64
}

// Detach moves the slots in flight of a settled reservation to the returned value. The reservation is free
// then.
func (l *Limiter) Detach(r *Reservation) Slots {
	r.state = free
	return Slots{l.sched, r.tiers, r.taken}
}

// Release gives the slots back. Call it only once.
func (s *Slots) Release() {
	if s.sched != nil {
		s.sched.giveSlots(s.tiers, s.taken)
	}
}

// Scope says which calls an answer concerns. The values are those of the root package.
type Scope uint8

const (
	// ScopePartner is every call.
	ScopePartner Scope = iota
	// ScopeRoute is the calls of one method and route.
	ScopeRoute
	// ScopeCredential is the calls with one credential.
	ScopeCredential
	// ScopeCall is the call alone.
	ScopeCall
	// ScopeTenant is the calls of one tenant.
	ScopeTenant
)

// Kind is the kind of an attempt's outcome, as far as limits need it.
type Kind uint8

const (
	// Accepted is an answer that asks for no pause.
	Accepted Kind = iota
	// Throttled is a refusal because calls came too fast.
	Throttled
	// Failed is a failure of the partner or of the network.
	Failed
	// Abandoned is an attempt that the caller canceled. It says nothing of the partner.
	Abandoned
	// Unsent is an attempt that certainly never reached the partner. Its permits go back.
	Unsent
)

// Outcome describes how an attempt ended.
type Outcome struct {
	Kind  Kind
	Scope Scope
	// Wait is how long the partner asks to wait, zero if it does not say. More than an hour counts as an
	// hour.
	Wait time.Duration
	// Busy says that a Failed answer may mean that calls come too fast, although it does not say so: a 503.
	Busy bool
	// Answered says that there was an answer.
	Answered bool
	// Cause is handed back in the Notice that the pause is over.
	Cause any
}

// Notice tells an observer that a limit is nearly used up (to 80 %), or that a pause is over.
type Notice struct {
	// Resumed says that the pause of Scope is over: it lasted for After, and Cause is its Outcome.Cause. If
	// Resumed is false, Limit is nearly used up: Used permits of Max are taken.
	Resumed bool
	Scope   Scope
	After   time.Duration
	Cause   any

	Limit     string
	Source    Source
	Used, Max int
}
