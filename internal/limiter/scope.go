package limiter

import (
	"hash/maphash"
	"maps"
	"runtime"
	"slices"
	"time"
	"weak"

	"github.com/belay-go/belay/internal/window"
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
	tiers           []*tier       // of advertised quotas, of inferred limits, and the cap on calls in flight
	pausing         blocker       // the calls that wait for the end of the pause
	ramp            ramp          // after an outage; only of an origin
	easing          blocker       // the calls that wait for the ramp
	circuits        uint32        // version of the last report of circuits
	pressure        pressure      // only of an origin
	advertised      []*advertised
	perRoute        []string // names of quotas that each route has for itself
	learner         learner
}

// scopes holds the scopes of one call: those of its origin, of its credential, of its route and of its tenant. Each is
// nil if there is no state for it.
type scopes [4]*scopeState

// scopeKeys holds the keys of the scopes of one call, each 0 for none. The first origin that a scheduler hears of
// has the key 0.
type scopeKeys [4]uint64

// maxScopes bounds the origins, credentials and routes that are remembered. Beyond it, an answer for one of them
// restricts all calls.
const maxScopes = 32_768

// scopeGrant is the permits that a reservation has taken from one tier of a scope.
type scopeGrant struct {
	tier *tier
	n    int // permits
	mark int64
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
func (s *scheduler) settleGrants(r *Reservation, sent bool, at, now time.Duration) {
	for i, g := range r.grants {
		s.wake(&g.tier.blocker)
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

// drop removes t from the tiers of sc. Those who wait for it are looked at again.
func (s *scheduler) drop(sc *scopeState, t *tier) {
	for i, have := range sc.tiers {
		if have == t {
			sc.tiers = append(sc.tiers[:i], sc.tiers[i+1:]...)
			break
		}
	}
	s.dissolve(&t.blocker)
}

var seed = maphash.MakeSeed()

// routeOf returns the key of a route, 0 for an empty route. Its last two bits are 0, those of an origin are 10, those
// of a credential 01 and those of a tenant 11, so that the keys never clash.
func routeOf(method, route string) uint64 {
	if route == "" {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(method)
	_ = h.WriteByte(' ')
	_, _ = h.WriteString(route)
	return h.Sum64() &^ 3
}

// OriginKey returns the key of an origin, for Ask.Origin: 0 for the first one that l's scheduler hears of, so that
// a partner with one origin has no keys.
func (l *Limiter) OriginKey(origin string) uint64 {
	s := l.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.origin == "" {
		s.origin = origin
	}
	if s.origin == origin {
		return 0
	}
	return maphash.String(seed, origin)&^3 | 2
}

// slotsOf returns the tier that counts the calls in flight to an origin under the limit of t. It exists while a view
// of that origin does.
func (s *scheduler) slotsOf(t *tier, origin uint64) *tier {
	if own := t.byOrigin[origin].Value(); own != nil {
		return own
	}
	own := t.limit.tier(s.base)
	if t.byOrigin == nil {
		t.byOrigin = make(map[uint64]weak.Pointer[tier])
	}
	t.byOrigin[origin] = weak.Make(own)
	runtime.AddCleanup(own, func(key uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.byOrigin[key].Value() == nil {
			delete(t.byOrigin, key)
		}
	}, origin)
	return own
}

// keys returns the keys of r's scopes.
func (r *Reservation) keys() scopeKeys {
	return scopeKeys{r.Origin, r.Credential, routeOf(r.Method, r.Route), tenantOf(r.Tenant)}
}

// tenantOf returns the key of a tenant, 0 for an empty name.
func tenantOf(name string) uint64 {
	if name == "" {
		return 0
	}
	return maphash.String(seed, name) | 3
}

// key returns the key of r's scope of the given kind, 0 for all calls to the first origin.
func (r *Reservation) key(scope Scope) uint64 {
	switch {
	case scope == ScopeCredential && r.Credential != 0:
		return r.Credential
	case scope == ScopeTenant && r.Tenant != "":
		return tenantOf(r.Tenant)
	case scope == ScopeRoute && r.Route != "":
		return routeOf(r.Method, r.Route)
	}
	return r.Origin
}

// holder returns the keys under which the log counts r.
func (r *Reservation) holder() window.Holder {
	return window.Holder{Credential: r.Credential, Origin: r.Origin}
}

// scopesOf returns r's scopes.
func (s *scheduler) scopesOf(r *Reservation) (all scopes) {
	if r.Origin == 0 {
		all[0] = &s.everyone
	}
	if len(s.scopes) == 0 {
		return all
	}
	if r.Origin != 0 {
		all[0] = s.scopes[r.Origin]
	}
	if r.Credential != 0 {
		all[1] = s.scopes[r.Credential]
	}
	if s.routeScopes > 0 && r.Route != "" {
		all[2] = s.scopes[routeOf(r.Method, r.Route)]
	}
	if s.tenantScopes > 0 && r.Tenant != "" {
		all[3] = s.scopes[tenantOf(r.Tenant)]
	}
	return all
}

// scopeFor returns r's scope of the given kind, and creates it if necessary. It returns the scope of r's origin if
// r has no key of that kind, and everyone if there are too many scopes.
func (s *scheduler) scopeFor(r *Reservation, scope Scope, now time.Duration) *scopeState {
	s.signalled.Store(true)
	key := r.key(scope)
	if key == 0 {
		return &s.everyone
	}
	if key == r.Origin {
		scope = ScopePartner
	}
	return s.scope(key, scope, now)
}

// scope returns the scope with the given key, and creates it if necessary.
func (s *scheduler) scope(key uint64, scope Scope, now time.Duration) *scopeState {
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
	switch scope {
	case ScopeRoute:
		s.routeScopes++
	case ScopeTenant:
		s.tenantScopes++
	}
	return sc
}

// forget removes the scopes that restrict nothing at present: no pause, no ramp, no permits in use, no cap and no
// waiters.
func (s *scheduler) forget(now time.Duration) {
	maps.DeleteFunc(s.scopes, func(key uint64, sc *scopeState) bool {
		for _, t := range sc.tiers {
			if t.slots != nil || t.Left(now) < t.Limit() {
				return false
			}
		}
		gone := sc.until <= now && len(s.byScope[key]) == 0 && sc.ramp.over(now)
		if gone {
			s.throttles(sc, 0)
		}
		switch {
		case gone && sc.scope == ScopeRoute:
			s.routeScopes--
		case gone && sc.scope == ScopeTenant:
			s.tenantScopes--
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
		s.disturbed(r, now)
		// The partner may count calls later than slack assumes: double slack, up to the time of the answer.
		if took := now - r.sent; took > s.slack {
			s.slack = min(2*s.slack, took)
		}
		if r.logged > 0 {
			s.log.Gone(r.logged, r.cost())
		}
	case Failed:
		s.disturbed(r, now)
		if o.Busy {
			s.failedBusy(r, now)
		}
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
	until := sc.until
	if of := s.scopesOf(r)[0]; of != nil {
		until = max(until, of.until)
	}
	if wait <= 0 {
		if until > now {
			return 0
		}
		wait = 500 * time.Millisecond << min(sc.throttledInARow, 5)
		s.throttles(sc, sc.throttledInARow+1)
	} else if now+wait <= until {
		return 0
	}
	s.pause(sc, o, now, now+wait)
	return wait
}

// answered ends the series of refusals in r's scopes after an accepted call, and raises their caps on calls
// in flight.
func (s *scheduler) answered(r *Reservation, now time.Duration) {
	for _, sc := range s.scopesOf(r) {
		if sc != nil {
			if n := len(sc.learner.refusals); n > 0 && r.sent <= sc.learner.refusals[n-1].sent {
				continue // sent no later than the refused call, so it proves nothing
			}
			if sc.pressure.lately = false; !sc.pressure.watched(now) {
				s.throttles(sc, 0)
			}
			sc.learner.accepted = true
			if sc.learner.cap != nil {
				s.raiseInflightCap(sc, now)
			}
		}
	}
}

// throttles sets sc.throttledInARow.
func (s *scheduler) throttles(sc *scopeState, n int) {
	if (sc.throttledInARow > 0) != (n > 0) {
		if n > 0 {
			s.throttledScopes++
		} else {
			s.throttledScopes--
		}
		s.throttled.Store(s.throttledScopes > 0)
	}
	sc.throttledInARow = n
}

// disturbed tells the ramp of r's origin that an attempt has failed.
func (s *scheduler) disturbed(r *Reservation, now time.Duration) {
	if sc := s.scopesOf(r)[0]; sc != nil {
		sc.ramp.disturbed(now)
	}
}

// pause makes the calls of sc wait until the given time. It refuses the waiters that may not wait that long.
func (s *scheduler) pause(sc *scopeState, o *Outcome, now, until time.Duration) {
	if !sc.paused || sc.until <= now {
		sc.since = now
	}
	sc.until, sc.paused, sc.cause = until, true, o.Cause
	if o.Kind == Failed && sc.scope == ScopePartner && s.paced {
		sc.ramp.paused(now, until)
	}
	f := func(w *waiter) { s.turnAway(w, until) }
	if sc == &s.everyone {
		s.eachWaiter(func(w *waiter) {
			if w.place.Origin == 0 {
				f(w)
			}
		})
		return
	}
	inOrder(slices.Collect(maps.Keys(s.byScope[sc.learner.key])), f)
}
