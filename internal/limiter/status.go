package limiter

import (
	"slices"
	"strings"
	"time"
)

// Source says where a limit is known from.
type Source uint8

const (
	// Configured was configured.
	Configured Source = iota
	// Advertised comes from the headers of the partner's answers.
	Advertised
	// Inferred was inferred from its refusals.
	Inferred
)

// String returns "configured", "advertised" or "inferred".
func (s Source) String() string {
	return [...]string{"configured", "advertised", "inferred"}[min(s, Inferred)]
}

// Status is where a limiter stands.
type Status struct {
	// Limits are all that hold at present: the ones that were set, then those that the partner told and
	// those that were learnt.
	Limits []LimitStatus
	// Waiting is how many calls wait in line, of all who share it.
	Waiting int
	// PausedFor is how long everybody still waits because the partner asked for it; 0 when nobody does.
	// A pause of one credential or route does not show here.
	PausedFor time.Duration
	// Paused counts the credentials and routes that have a pause of their own.
	Paused int
	// Ignored counts headers of answers that were malformed.
	Ignored int
}

// LimitStatus is where one limit stands.
type LimitStatus struct {
	// Limit is the limit as [Limit.String] shows it, and Source where it is known from.
	Limit  string
	Source Source
	// Scope says whose limit it is, for one that was told or learnt. Several with the same limit stand for several
	// credentials or routes.
	Scope Scope
	// Used and Max are permits: taken at present, and in all.
	Used, Max int
	// Waiting is how many calls wait that are under it.
	Waiting int
	// NextFree is how long until one more permit is free, 0 when one is, negative when that does not depend on the
	// clock (a place in flight comes back with an answer).
	NextFree time.Duration
}

// Status returns where the limiter stands. It changes nothing.
func (l *Limiter) Status() (status Status) {
	set, s := l.current(), l.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	status.Waiting, status.PausedFor, status.Ignored = int(s.waiting.Load()), max(0, s.everyone.until-now), int(s.ignored.Load())
	for _, t := range set.tiers {
		st := t.status(now)
		for key, q := range s.queues {
			for j, have := range key.tiers.tiers {
				if have == t && key.taken>>j&1 != 0 {
					st.Waiting += q.size
				}
			}
		}
		status.Limits = append(status.Limits, st)
	}
	said := func(sc *scopeState, scope Scope, waiting int) {
		for _, t := range sc.tiers {
			st := t.status(now)
			st.Scope, st.Waiting = scope, waiting
			status.Limits = append(status.Limits, st)
		}
	}
	said(&s.everyone, ScopePartner, status.Waiting)
	at := len(status.Limits)
	for _, sc := range s.scopes {
		if sc.until > now {
			status.Paused++
		}
		waiting := 0
		for key, q := range s.queues {
			if slices.Contains(key.scopes[:], sc) {
				waiting += q.size
			}
		}
		said(sc, sc.scope, waiting)
	}
	slices.SortStableFunc(status.Limits[at:], func(a, b LimitStatus) int { return strings.Compare(a.Limit, b.Limit) })
	return status
}

func (t *tier) status(now time.Duration) LimitStatus {
	s := LimitStatus{Limit: t.limit.String(), Source: t.source}
	if t.slots != nil {
		s.Used, s.Max = t.slots.Used(), t.limit.N
	} else {
		s.Max = t.Limit()
		s.Used = s.Max - t.Left(now)
	}
	switch { // not waitFor, which notes that somebody waits
	case t.slots != nil:
		if !t.slots.Free(1) {
			s.NextFree = -1
		}
	case t.shared != nil:
		s.NextFree = max(0, t.shared.until-now)
	default:
		s.NextFree = t.Wait(now, 1)
	}
	return s
}

// look notes what an observed call is to tell: what is left, limits that are nearly used up, and pauses
// that are over.
func (s *scheduler) observe(r *Reservation, now time.Duration) {
	by := r
	by.Left = -1
	near := func(tier *tier) {
		if tier.slots != nil {
			return
		}
		left, most := tier.Left(now), tier.Limit()
		if by.Left < 0 || left < by.Left {
			by.Left = left
		}
		switch used := most - left; {
		case !tier.nearTold && 5*used >= 4*most:
			tier.nearTold = true
			by.Notices = append(by.Notices, Notice{Limit: tier.limit.String(), Source: tier.source, Used: used, Max: most})
		case tier.nearTold && 5*used < 3*most:
			tier.nearTold = false
		}
	}
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 {
			near(tier)
		}
	}
	gs := s.scopesOf(r)
	for _, sc := range [...]*scopeState{&s.everyone, gs[0], gs[1]} {
		if sc == nil {
			continue
		}
		sc.eachTier(near)
		if sc.paused && sc.until <= now {
			sc.paused = false
			by.Notices = append(by.Notices, Notice{Resumed: true, Scope: sc.scope, After: sc.until - sc.since, Cause: sc.cause})
		}
	}
}
