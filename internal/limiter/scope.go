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
type group struct {
	scope   Scope
	until   time.Duration // paused until then
	since   time.Duration // when the pause began
	paused  bool          // the end of the pause has not been told yet
	cause   any           // that the pause came by
	strikes int           // refusals in a row that did not say how long to wait
	queues  int           // of its waiters
	tiers   []*tier       // told, learnt, and the bound on calls in flight while it learns
	told    []*told
	varied  []string // names of quotas that differ by route
	learner learner
}

// groups are those of one call beside everybody: its credential's and its route's, nil where the partner
// has said nothing to them.
type groups [2]*group

// maxGroups bounds what is remembered of credentials and routes. Beyond it what is said to one is said to all.
const maxGroups = 4096

// grant is what a ticket has taken of a group's tier.
type grant struct {
	tier *tier
	n    int // permits
	mark int64
}

func (g *group) eachTier(f func(*tier)) {
	for _, t := range g.tiers {
		f(t)
	}
}

func (g *group) admits(now time.Duration, n int) bool {
	for _, t := range g.tiers {
		if t.waitFor(now, n, 0) > 0 {
			return false
		}
	}
	return true
}

func (g *group) take(t *Reservation, now, slack time.Duration) {
	for _, tier := range g.tiers {
		n, mark := tier.cost(t.cost()), int64(0)
		if tier.slots != nil {
			tier.slots.Take()
		} else {
			if tier.source == Advertised && tier.Wait(now, n) > 0 {
				tier.heard = now // the one call that asks again
			}
			mark = tier.Take(now, now+slack, n)
		}
		t.grants = append(t.grants, grant{tier, n, mark})
	}
}

// settleGrants ends what t has taken of the groups' tiers.
func (t *Reservation) settleGrants(sent bool, at, now time.Duration) {
	for i, g := range t.grants {
		switch {
		case g.tier.slots != nil:
			g.tier.slots.Give()
		case sent:
			g.tier.Settle(g.mark, at, g.n)
		default:
			g.tier.Refund(g.mark, now, g.n)
		}
		t.grants[i].tier = nil
	}
	t.grants = t.grants[:0]
}

func (g *group) add(t *tier) { g.tiers = append(g.tiers, t) }

func (g *group) drop(t *tier) {
	for i, have := range g.tiers {
		if have == t {
			g.tiers = append(g.tiers[:i], g.tiers[i+1:]...)
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
func (t *Reservation) key(scope Scope) uint64 {
	switch scope {
	case ScopeCredential:
		return t.Who
	case ScopeRoute:
		return routeOf(t.Method, t.Route)
	}
	return 0
}

// groupsOf returns t's groups beside everybody.
func (ln *line) groupsOf(t *Reservation) (gs groups) {
	if len(ln.groups) == 0 {
		return gs
	}
	if t.Who != 0 {
		gs[0] = ln.groups[t.Who]
	}
	if ln.routes > 0 {
		if key := t.key(ScopeRoute); key != 0 {
			gs[1] = ln.groups[key]
		}
	}
	return gs
}

// groupFor returns t's group in a scope, after making it where there is none.
func (ln *line) groupFor(t *Reservation, scope Scope, now time.Duration) *group {
	ln.stirred.Store(true)
	key := t.key(scope)
	if key == 0 {
		return &ln.all
	}
	if g := ln.groups[key]; g != nil {
		return g
	}
	if len(ln.groups) >= maxGroups {
		ln.forget(now)
		if len(ln.groups) >= maxGroups {
			return &ln.all
		}
	}
	g := &group{scope: scope}
	g.learner.who = key
	if ln.groups == nil {
		ln.groups = make(map[uint64]*group)
	}
	ln.groups[key] = g
	if scope == ScopeRoute {
		ln.routes++
	}
	// Those who wait already and belong to it stand in a queue of their own from here on.
	ln.eachWaiter(func(w *waiter) {
		if w.row != nil && w.ticket.key(scope) == key {
			ln.unlink(w)
			ln.enqueue(w)
		}
	})
	return g
}

// forget lets go of groups to which the partner has nothing to say at present.
func (ln *line) forget(now time.Duration) {
	maps.DeleteFunc(ln.groups, func(_ uint64, g *group) bool {
		for _, t := range g.tiers {
			if t.slots != nil || t.Left(now) < t.Limit() {
				return false
			}
		}
		gone := g.until <= now && g.queues == 0
		if gone && g.scope == ScopeRoute {
			ln.routes--
		}
		return gone
	})
}

// learn takes in what an answer says to the callers: a pause, a quota, a limit. It returns how long a
// pause it began.
func (ln *line) learn(t *Reservation, o *Outcome, now time.Duration) time.Duration {
	switch o.Kind {
	case Throttled:
		ln.ramp.disturbed(now)
		// It counted the call later than we believed: believe it, up to when it answered.
		if took := now - t.sent; took > ln.slack {
			ln.slack = min(2*ln.slack, took)
		}
		if t.logged > 0 {
			ln.log.Gone(t.logged, t.cost())
		}
	case Failed:
		ln.ramp.disturbed(now)
		if o.Wait <= 0 {
			return 0
		}
	case Abandoned:
		return 0
	default:
		ln.answered(t, now)
		return 0
	}
	if o.Scope == ScopeCall {
		return 0
	}
	g := ln.groupFor(t, o.Scope, now)
	wait := min(o.Wait, longestHold)
	if o.Kind == Throttled && !ln.policy.Off && o.Scope != ScopeRoute {
		g.learner.refused(g, t, wait, now)
	}
	if until := max(g.until, ln.all.until); wait <= 0 {
		if until > now {
			return 0
		}
		wait = 500 * time.Millisecond << min(g.strikes, 5)
		g.strikes++
		ln.struck.Store(true)
	} else if now+wait <= until {
		return 0
	}
	ln.pause(g, o, now, now+wait)
	return wait
}

// answered ends the strikes of t's groups, and lets more calls go where few are let.
func (ln *line) answered(t *Reservation, now time.Duration) {
	gs := ln.groupsOf(t)
	for _, g := range [...]*group{&ln.all, gs[0], gs[1]} {
		if g != nil {
			if n := len(g.learner.refusals); n > 0 && t.sent <= g.learner.refusals[n-1].sent {
				continue // it was on its way before the refusal
			}
			g.strikes = 0
			if g.learner.narrow != nil {
				ln.widen(g, now)
			}
		}
	}
	if ln.struck.Load() {
		struck := ln.all.strikes > 0
		for _, g := range ln.groups {
			struck = struck || g.strikes > 0
		}
		ln.struck.Store(struck)
	}
}

// pause makes everybody in g wait until then, and turns away who may not wait that long.
func (ln *line) pause(g *group, o *Outcome, now, until time.Duration) {
	if !g.paused || g.until <= now {
		g.since = now
	}
	g.until, g.paused, g.cause = until, true, o.Cause
	ln.eachWaiter(func(w *waiter) {
		if g == &ln.all || w.row != nil && slices.Contains(w.row.lane.queue.key.groups[:], g) {
			ln.turnAway(w, until)
		}
	})
}

// eachWaiter calls f for everybody in the queues, who may leave them meanwhile.
func (ln *line) eachWaiter(f func(*waiter)) {
	var all []*waiter
	for _, q := range ln.queues {
		for i := range q.lanes {
			for _, r := range q.lanes[i].rows.All() {
				for w := r.head; w != nil; w = w.next {
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
func (ln *line) turnAway(w *waiter, until time.Duration) {
	by, wait := w.ticket, until-ln.now()
	if (by.MaxPause <= 0 || wait <= by.MaxPause) && (by.Patience <= 0 || wait <= by.Patience) && until <= w.deadline {
		return
	}
	ln.remove(w)
	w.err = &Refusal{Reason: WaitTooLong, What: "paused by the partner", Wait: wait}
	w.signal()
}
