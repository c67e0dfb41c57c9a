package limiter

import (
	"net/http"
	"time"

	"github.com/belay-go/belay/internal/headers"
)

// Reservation is one attempt's place under the limits. Fill in the exported fields of the first part before it is acquired. It may
// be used again once it is released. It is not safe for concurrent use.
type Reservation struct {
	// Request is what the limits' When functions look at; nil matches no limit that has one.
	Request *http.Request
	// Cost is how many permits the attempt takes of each limit; zero means 1.
	Cost int
	// Level is its priority: 0 high, 1 normal, 2 low.
	Level int
	// Tenant is on whose behalf the attempt is made; tenants take turns.
	Tenant string
	// Who is the credential; a pause of ScopeCredential concerns those with the same. Zero means that such a pause concerns all.
	Who uint64
	// Method and Route are what a pause of ScopeRoute concerns; with an empty route it concerns all.
	Method, Route string
	// Observed asks for Left and Notices.
	Observed bool
	// Patience is the longest wait, MaxPause the longest pause to sit out; zero means no bound but the context's.
	Patience, MaxPause time.Duration
	// Returning says that the call has waited before, so that it does not count against the queue's bound.
	Returning bool

	// Waited is how long Acquire took.
	Waited time.Duration
	// Left is how many permits the tightest limit had left, -1 without limits.
	Left int
	// Notices are what an observer is to be told.
	Notices []Notice

	tiers  *tierSet
	grants []scopeGrant       // permits of the scopes' tiers
	logged int64              // its mark in the log, 0 when it is not there
	quotas []headers.Quota    // that the answer advertises
	taken  uint64             // the tiers that it is under
	stored uint64             // of those, the ones whose permits a store gave
	marks  [inlineTiers]int64 // what each of them knows it by
	more   *[maxTiers]int64   // where they are more
	sent   time.Duration
	state  state
	tight  bool // some limit gains by knowing when it was counted
}

type state uint8

const (
	free    state = iota
	taken         // it counts against every limit
	settled       // answered, but still in flight
)

// Forget drops what would keep a caller's memory, and what would carry over to the next call. The rest is set anew by each acquire.
func (r *Reservation) Forget() {
	r.Request, r.Method, r.Route, r.Returning, r.Notices = nil, "", "", false, nil
}

// Taken reports whether the reservation has been admitted and not been settled.
func (r *Reservation) Taken() bool { return r.state == taken }

// Free reports whether the reservation holds nothing.
func (r *Reservation) Free() bool { return r.state == free }

func (r *Reservation) mark(i int) *int64 {
	if i < len(r.marks) {
		return &r.marks[i]
	}
	if r.more == nil {
		r.more = new([maxTiers]int64)
	}
	return &r.more[i]
}

func (r *Reservation) cost() int { return max(1, r.Cost) }

// fits returns a Refusal when t's cost is above one of its limits.
func (r *Reservation) fits() error {
	for i, tier := range r.tiers.tiers {
		if tier.slots == nil && tier.shared == nil && r.cost() > tier.Limit() && (tier.limit.When == nil || r.taken>>i&1 != 0) {
			return &Refusal{Reason: AboveLimit, What: tier.limit.String(), Cost: r.cost()}
		}
	}
	return nil
}

// Slots are the slots in flight of a reservation, for who keeps them longer than that. The zero value holds none.
type Slots struct {
	sched *scheduler
	tiers *tierSet
	taken uint64
}

// Detach hands over the slots in flight of a settled reservation, which is free then.
func (l *Limiter) Detach(r *Reservation) Slots {
	r.state = free
	return Slots{l.sched, r.tiers, r.taken}
}

// Release gives the slots back. It must be called once.
func (s *Slots) Release() {
	if s.sched != nil {
		s.sched.giveSlots(s.tiers, s.taken)
	}
}

// Scope says whom an answer concerns. The values are those of the root package.
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
)

// Kind is what an attempt came to, as far as limits go.
type Kind uint8

const (
	// Accepted is an answer that asks for no pause.
	Accepted Kind = iota
	// Throttled is a refusal for being too fast.
	Throttled
	// Failed is trouble of the partner or the network.
	Failed
	// Abandoned says nothing of the partner: the caller has canceled the attempt.
	Abandoned
	// Unsent is an attempt that certainly never reached the partner: its permits go back.
	Unsent
)

// Outcome is what became of an attempt.
type Outcome struct {
	Kind  Kind
	Scope Scope
	// Wait is how long the partner asks to wait, zero when it does not say.
	Wait time.Duration
	// Answered says that there was an answer.
	Answered bool
	// Cause is handed back in the notice that the pause is over.
	Cause any
}

// Notice is what an observer is to be told: that a limit is nearly used up, or that a pause is over.
type Notice struct {
	Resumed bool // the pause of Scope, by Cause, is over, which has lasted for After; otherwise the limit is near
	Scope   Scope
	After   time.Duration
	Cause   any

	Limit     string
	Source    Source
	Used, Max int // permits
}
