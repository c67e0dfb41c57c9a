package limiter

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"time"
)

// scopeState is the state of one scope: all calls, those with one credential, or those of one route. It holds
// the restrictions from the partner's answers: a pause, advertised quotas, and limits inferred from refusals.
type scopeState struct {
	scope           Scope
	until           time.Duration // end of the pause; not after now if there is none
	since           time.Duration // when the pause began
	paused          bool          // the pause has not been reported as over yet
	cause           any           // Outcome.Cause of the pause
	throttledInARow int           // pauses in a row for refusals that did not say how long to wait
	queues          int           // queues whose waiters belong to the scope
	tiers           []*tier       // of advertised quotas, of inferred limits, and the cap on calls in flight
	advertised      []*advertised
	perRoute        []string // names of quotas that each route has for itself
	learner         learner
}

// scopePair holds the scopes of one call other than everyone: that of its credential and that of its route.
// Each is nil if there is no state for it.
type scopePair [2]*scopeState

// maxScopes bounds the credentials and routes that are remembered. Beyond it, an answer for one of them
// restricts all calls.
const maxScopes = 4096

// scopeGrant is the permits that a reservation has taken from one tier of a scope.
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
				tier.lastHeard = now // this call asks whether the quota still holds; the others wait on
			}
			mark = tier.Take(now, now+slack, n)
		}
		r.grants = append(r.grants, scopeGrant{tier, n, mark})
	}
}

// settleGrants ends r's use of the tiers of scopes: it gives slots back, and settles the other permits, or
// refunds them if the attempt was not sent.
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

// routeOf returns the key of a route, 0 for an empty route. It is even, and the key of a credential is odd,
// so that the two never clash.
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

// key returns the key of r's scope of the given kind, 0 for all calls.
func (r *Reservation) key(scope Scope) uint64 {
	switch scope {
	case ScopeCredential:
		return r.Credential
	case ScopeRoute:
		return routeOf(r.Method, r.Route)
	}
	return 0
}

// scopesOf returns r's scopes other than everyone.
func (s *scheduler) scopesOf(r *Reservation) (gs scopePair) {
	if len(s.scopes) == 0 {
		return gs
	}
	if r.Credential != 0 {
		gs[0] = s.scopes[r.Credential]
	}
	if s.routeScopes > 0 {
		if key := r.key(ScopeRoute); key != 0 {
			gs[1] = s.scopes[key]
		}
	}
	return gs
}

// scopeFor returns r's scope of the given kind, and creates it if necessary. It returns everyone if r has no
// key of that kind, or if there are too many scopes.
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
	sc.learner.key = key
	if s.scopes == nil {
		s.scopes = make(map[uint64]*scopeState)
	}
	s.scopes[key] = sc
	if scope == ScopeRoute {
		s.routeScopes++
	}
	// The waiters that belong to the new scope move to a queue of their own.
	s.eachWaiter(func(w *waiter) {
		if w.queue != nil && w.place.key(scope) == key {
			s.unlink(w)
			s.enqueue(w)
		}
	})
	return sc
}

// forget removes the scopes that restrict nothing at present: no pause, no permits in use, no cap and no
// waiters.
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

// learn applies the outcome of r to the pauses and the learner of its scope. It returns the length of the
// pause that it began, 0 for none. A refusal that does not say how long to wait pauses for half a second,
// doubled for each one in a row, up to 16 seconds.
func (s *scheduler) learn(r *Reservation, o *Outcome, now time.Duration) time.Duration {
	switch o.Kind {
	case Throttled:
		s.ramp.disturbed(now)
		// The partner may count calls later than slack assumes: double slack, up to the time of the answer.
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

// answered ends the series of refusals in r's scopes after an accepted call, and raises their caps on calls
// in flight.
func (s *scheduler) answered(r *Reservation, now time.Duration) {
	gs := s.scopesOf(r)
	for _, sc := range [...]*scopeState{&s.everyone, gs[0], gs[1]} {
		if sc != nil {
			if n := len(sc.learner.refusals); n > 0 && r.sent <= sc.learner.refusals[n-1].sent {
				continue // sent no later than the refused call, so it proves nothing
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

// pause makes the calls of sc wait until the given time. It refuses the waiters that may not wait that long.
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

// eachWaiter calls f for each waiter in a queue, in order of arrival. f may move the waiter or remove it.
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

// turnAway ends the wait of w if a pause until the given time is longer than w may wait, just as a new call
// would be refused.
func (s *scheduler) turnAway(w *waiter, until time.Duration) {
	by, wait := w.place, until-s.now()
	if (by.MaxPause <= 0 || wait <= by.MaxPause) && (by.Patience <= 0 || wait <= by.Patience) && until <= w.deadline {
		return
	}
	s.remove(w)
	w.err = &Refusal{Reason: WaitTooLong, What: "paused by the partner", Wait: wait}
	w.signal()
}
