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
func (l *Limiter) Status() (s Status) {
	set, ln := l.current(), l.line
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	s.Waiting, s.PausedFor, s.Ignored = int(ln.waiting.Load()), max(0, ln.all.until-now), int(ln.ignored.Load())
	for _, t := range set.tiers {
		st := t.status(now)
		for key, q := range ln.queues {
			for j, have := range key.tiers.tiers {
				if have == t && key.taken>>j&1 != 0 {
					st.Waiting += q.size
				}
			}
		}
		s.Limits = append(s.Limits, st)
	}
	said := func(g *group, scope Scope, waiting int) {
		for _, t := range g.tiers {
			st := t.status(now)
			st.Scope, st.Waiting = scope, waiting
			s.Limits = append(s.Limits, st)
		}
	}
	said(&ln.all, ScopePartner, s.Waiting)
	at := len(s.Limits)
	for _, g := range ln.groups {
		if g.until > now {
			s.Paused++
		}
		waiting := 0
		for key, q := range ln.queues {
			if slices.Contains(key.groups[:], g) {
				waiting += q.size
			}
		}
		said(g, g.scope, waiting)
	}
	slices.SortStableFunc(s.Limits[at:], func(a, b LimitStatus) int { return strings.Compare(a.Limit, b.Limit) })
	return s
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
func (ln *line) look(t *Reservation, now time.Duration) {
	by := t
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
		case !tier.near && 5*used >= 4*most:
			tier.near = true
			by.Notices = append(by.Notices, Notice{Limit: tier.limit.String(), Source: tier.source, Used: used, Max: most})
		case tier.near && 5*used < 3*most:
			tier.near = false
		}
	}
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 != 0 {
			near(tier)
		}
	}
	gs := ln.groupsOf(t)
	for _, g := range [...]*group{&ln.all, gs[0], gs[1]} {
		if g == nil {
			continue
		}
		g.eachTier(near)
		if g.paused && g.until <= now {
			g.paused = false
			by.Notices = append(by.Notices, Notice{Resumed: true, Scope: g.scope, After: g.until - g.since, Cause: g.cause})
		}
	}
}
