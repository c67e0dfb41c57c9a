package limiter

import (
	"slices"
	"strings"
	"time"
)

// Source says how a limit is known.
type Source uint8

const (
	// Configured is a limit that the user has configured.
	Configured Source = iota
	// Advertised is a limit from the headers of the partner's answers.
	Advertised
	// Inferred is a limit that the limiter has found out from 429s.
	Inferred
)

// String returns "configured", "advertised" or "inferred".
func (s Source) String() string {
	return [...]string{"configured", "advertised", "inferred"}[min(s, Inferred)]
}

// Status is the present state of a limiter.
type Status struct {
	// Limits are all limits in force: first those that are configured, then those that are advertised or
	// inferred.
	Limits []LimitStatus
	// Waiting is the number of waiting calls, of all views of the scheduler.
	Waiting int
	// WaitingAt are those of each level, the highest first.
	WaitingAt [priorities]int
	// InFlight is the number of attempts in flight, as far as there is a bound on them.
	InFlight int
	// PausedFor is how long all calls still wait because the partner asked for it, 0 if they do not. A pause
	// of one credential or route does not show here.
	PausedFor time.Duration
	// Paused counts the credentials and routes that have a pause of their own.
	Paused int
	// Ignored counts malformed headers of answers.
	Ignored int
}

// LimitStatus is the present state of one limit.
type LimitStatus struct {
	// Limit is the limit as [Limit.String] shows it, and Source says how it is known.
	Limit  string
	Source Source
	// Scope says which calls an advertised or inferred limit concerns. Several entries with the same limit
	// stand for several credentials or routes.
	Scope Scope
	// Used and Max are permits: those taken at present, and all. Per is the window, 0 for in-flight slots.
	Used, Max int
	Per       time.Duration
	// Waiting is the number of waiting calls that are under the limit.
	Waiting int
	// NextFree is how long until one more permit is free, 0 if one is free now. It is negative if that does
	// not depend on the clock: an in-flight slot comes back with an answer.
	NextFree time.Duration
}

// Status returns the present state of the limiter. It changes nothing.
func (l *Limiter) Status() (status Status) {
	set, s := l.current(), l.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	status.Waiting, status.PausedFor, status.Ignored = int(s.waiting.Load()), max(0, s.everyone.until-now),
		int(s.ignored.Load())
	status.WaitingAt = s.waitingAt
	for _, t := range set.tiers {
		st := t.status(now)
		if t.slots != nil {
			status.InFlight = max(status.InFlight, st.Used)
		}
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
	ofFirst := 0
	for key, q := range s.queues {
		if key.scopes[0] == 0 {
			ofFirst += q.size
		}
	}
	said(&s.everyone, ScopePartner, ofFirst)
	at := len(status.Limits)
	for key, sc := range s.scopes {
		if sc.until > now {
			status.Paused++
		}
		waiting := 0
		for q := range s.byScope[key] {
			waiting += q.size
		}
		said(sc, sc.scope, waiting)
	}
	slices.SortStableFunc(status.Limits[at:], func(a, b LimitStatus) int { return strings.Compare(a.Limit, b.Limit) })
	return status
}

func (t *tier) status(now time.Duration) LimitStatus {
	s := LimitStatus{Limit: t.limit.String(), Source: t.source, Per: t.limit.Per}
	if t.slots != nil {
		s.Used, s.Max = t.slots.Used(), t.limit.N
	} else {
		s.Max = t.Limit()
		s.Used = s.Max - t.Left(now)
	}
	switch { // not by waitFor, which would note that a call waits
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

// observe fills in Left and Notices of an observed reservation: the permits left, the limits that are nearly
// used up, and the pauses that are over. A limit is reported at 80 % of its permits, and again only after its
// use has been below 60 %.
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
		case !tier.nearNotified && 5*used >= 4*most:
			tier.nearNotified = true
			by.Notices = append(by.Notices, Notice{Limit: tier.limit.String(), Source: tier.source, Used: used, Max: most})
		case tier.nearNotified && 5*used < 3*most:
			tier.nearNotified = false
		}
	}
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 != 0 {
			near(tier)
		}
	}
	for _, sc := range s.scopesOf(r) {
		if sc == nil {
			continue
		}
		for _, t := range sc.tiers {
			near(t)
		}
		if sc.paused && sc.until <= now {
			sc.paused = false
			by.Notices = append(by.Notices, Notice{Resumed: true, Scope: sc.scope, After: sc.until - sc.since, Cause: sc.cause})
		}
	}
}
