package limiter

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"time"
)

// group is the calls that the partner's answers concern alike: all of them, those with one credential, or
// those of one route. It holds what the partner has said to them: a pause, quotas by headers, and the limits
// that its refusals show.
type scopeState struct {
	scope           Scope
	until           time.Duration // paused until then
	since           time.Duration // when the pause began
	paused          bool          // the end of the pause has not been told yet
	cause           any           // that the pause came by
	throttledInARow int           // refusals in a row that did not say how long to wait
	queues          int           // of its waiters
	tiers           []*tier       // told, learnt, and the bound on calls in flight while it learns
	advertised      []*advertised
	perRoute        []string // names of quotas that differ by route
	learner         learner
}

// groups are those of one call beside everybody: its credential's and its route's, nil where the partner
// has said nothing to them.
type scopePair [2]*scopeState

// maxGroups bounds what is remembered of credentials and routes. Beyond it what is said to one is said to all.
const maxScopes = 4096

// grant is what a ticket has taken of a group's tier.
type scopeGrant struct {
	tier *tier
	n    int // permits
	mark int64
}

func (sc *scopeState) eachTier(f func(*tier)) {
	for _, t := range sc.tiers {
		f(t)
	}
}

func (sc *scopeState) admits(now time.Duration, n int) bool {
	for _, t := range sc.tiers {
		if t.waitFor(now, n, 0) > 0 {
			return false
		}
	}
	return true
}

func (sc *scopeState) take(r *Reservation, now, slack time.Duration) {
	for _, tier := range sc.tiers {
		n, mark := tier.cost(r.cost()), int64(0)
		if tier.slots != nil {
			tier.slots.Take()
		} else {
			if tier.source == Advertised && tier.Wait(now, n) > 0 {
				tier.lastHeard = now // the one call that asks again
			}
			mark = tier.Take(now, now+slack, n)
		}
		r.grants = append(r.grants, scopeGrant{tier, n, mark})
	}
}

// settleGrants ends what t has taken of the groups' tiers.
func (r *Reservation) settleGrants(sent bool, at, now time.Duration) {
	for i, g := range r.grants {
		switch {
		case g.tier.slots != nil:
			g.tier.slots.Give()
		case sent:
			g.tier.Settle(g.mark, at, g.n)
		default:
			g.tier.Refund(g.mark, now, g.n)
		}
		r.grants[i].tier = nil
	}
	r.grants = r.grants[:0]
}

func (sc *scopeState) add(t *tier) { sc.tiers = append(sc.tiers, t) }

func (sc *scopeState) drop(t *tier) {
	for i, have := range sc.tiers {
		if have == t {
			sc.tiers = append(sc.tiers[:i], sc.tiers[i+1:]...)
			return
		}
	}
}

var seed = maphash.MakeSeed()

// routeOf returns a number for a route.
func routeOf(method, route string) uint64 {
	if route == "" {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(method)
	_ = h.WriteByte(' ')
	_, _ = h.WriteString(route)
	return h.Sum64() &^ 1
}

// key returns the key of t's group in a scope, 0 for everybody.
func (r *Reservation) key(scope Scope) uint64 {
	switch scope {
	case ScopeCredential:
		return r.Who
	case ScopeRoute:
		return routeOf(r.Method, r.Route)
	}
	return 0
}

// groupsOf returns t's groups beside everybody.
func (s *scheduler) scopesOf(r *Reservation) (gs scopePair) {
	if len(s.scopes) == 0 {
		return gs
	}
	if r.Who != 0 {
		gs[0] = s.scopes[r.Who]
	}
	if s.routeScopes > 0 {
		if key := r.key(ScopeRoute); key != 0 {
			gs[1] = s.scopes[key]
		}
	}
	return gs
}

// groupFor returns t's group in a scope, after making it where there is none.
func (s *scheduler) scopeFor(r *Reservation, scope Scope, now time.Duration) *scopeState {
	s.signalled.Store(true)
	key := r.key(scope)
	if key == 0 {
		return &s.everyone
	}
	if sc := s.scopes[key]; sc != nil {
		return sc
	}
	if len(s.scopes) >= maxScopes {
		s.forget(now)
		if len(s.scopes) >= maxScopes {
			return &s.everyone
		}
	}
	sc := &scopeState{scope: scope}
	sc.learner.who = key
	if s.scopes == nil {
		s.scopes = make(map[uint64]*scopeState)
	}
	s.scopes[key] = sc
	if scope == ScopeRoute {
		s.routeScopes++
	}
	// Those who wait already and belong to it stand in a queue of their own from here on.
	s.eachWaiter(func(w *waiter) {
		if w.queue != nil && w.place.key(scope) == key {
			s.unlink(w)
			s.enqueue(w)
		}
	})
	return sc
}

// forget lets go of groups to which the partner has nothing to say at present.
func (s *scheduler) forget(now time.Duration) {
	maps.DeleteFunc(s.scopes, func(_ uint64, sc *scopeState) bool {
		for _, t := range sc.tiers {
			if t.slots != nil || t.Left(now) < t.Limit() {
				return false
			}
		}
		gone := sc.until <= now && sc.queues == 0
		if gone && sc.scope == ScopeRoute {
			s.routeScopes--
		}
		return gone
	})
}

// learn takes in what an answer says to the callers: a pause, a quota, a limit. It returns how long a
// pause it began.
func (s *scheduler) learn(r *Reservation, o *Outcome, now time.Duration) time.Duration {
	switch o.Kind {
	case Throttled:
		s.ramp.disturbed(now)
		// It counted the call later than we believed: believe it, up to when it answered.
		if took := now - r.sent; took > s.slack {
			s.slack = min(2*s.slack, took)
		}
		if r.logged > 0 {
			s.log.Gone(r.logged, r.cost())
		}
	case Failed:
		s.ramp.disturbed(now)
		if o.Wait <= 0 {
			return 0
		}
	case Abandoned:
		return 0
	default:
		s.answered(r, now)
		return 0
	}
	if o.Scope == ScopeCall {
		return 0
	}
	sc := s.scopeFor(r, o.Scope, now)
	wait := min(o.Wait, longestPause)
	if o.Kind == Throttled && !s.policy.Off && o.Scope != ScopeRoute {
		sc.learner.refused(sc, r, wait, now)
	}
	if until := max(sc.until, s.everyone.until); wait <= 0 {
		if until > now {
			return 0
		}
		wait = 500 * time.Millisecond << min(sc.throttledInARow, 5)
		sc.throttledInARow++
		s.throttled.Store(true)
	} else if now+wait <= until {
		return 0
	}
	s.pause(sc, o, now, now+wait)
	return wait
}

// answered ends the strikes of t's groups, and lets more calls go where few are let.
func (s *scheduler) answered(r *Reservation, now time.Duration) {
	gs := s.scopesOf(r)
	for _, sc := range [...]*scopeState{&s.everyone, gs[0], gs[1]} {
		if sc != nil {
			if n := len(sc.learner.refusals); n > 0 && r.sent <= sc.learner.refusals[n-1].sent {
				continue // it was on its way before the refusal
			}
			sc.throttledInARow = 0
			if sc.learner.cap != nil {
				s.raiseInflightCap(sc, now)
			}
		}
	}
	if s.throttled.Load() {
		throttled := s.everyone.throttledInARow > 0
		for _, sc := range s.scopes {
			throttled = throttled || sc.throttledInARow > 0
		}
		s.throttled.Store(throttled)
	}
}

// pause makes everybody in g wait until then, and turns away who may not wait that long.
func (s *scheduler) pause(sc *scopeState, o *Outcome, now, until time.Duration) {
	if !sc.paused || sc.until <= now {
		sc.since = now
	}
	sc.until, sc.paused, sc.cause = until, true, o.Cause
	s.eachWaiter(func(w *waiter) {
		if sc == &s.everyone || w.queue != nil && slices.Contains(w.queue.of.queue.key.scopes[:], sc) {
			s.turnAway(w, until)
		}
	})
}

// eachWaiter calls f for everybody in the queues, who may leave them meanwhile.
func (s *scheduler) eachWaiter(f func(*waiter)) {
	var all []*waiter
	for _, q := range s.queues {
		for i := range q.levels {
			for _, tq := range q.levels[i].queues.All() {
				for w := tq.head; w != nil; w = w.next {
					all = append(all, w)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b *waiter) int { return cmp.Compare(a.seq, b.seq) })
	for _, w := range all {
		f(w)
	}
}

// turnAway ends the wait of w when a pause is longer than it may sit out, as one who comes now is refused.
func (s *scheduler) turnAway(w *waiter, until time.Duration) {
	by, wait := w.place, until-s.now()
	if (by.MaxPause <= 0 || wait <= by.MaxPause) && (by.Patience <= 0 || wait <= by.Patience) && until <= w.deadline {
		return
	}
	s.remove(w)
	w.err = &Refusal{Reason: WaitTooLong, What: "paused by the partner", Wait: wait}
	w.signal()
}
