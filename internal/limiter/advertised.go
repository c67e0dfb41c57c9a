package limiter

import (
	"cmp"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/window"
)

// advertised is a quota that the headers of the partner's answers describe.
type advertised struct {
	name string
	*tier
	per time.Duration // the length of its window, 0 while unknown

	// The first call of a window is told the time to its end. That is the window's length only if the window began
	// with the call, which it did not if windows follow the clock and this one had begun unused. So it takes two.
	opened  int           // windows whose first call was ours
	longest time.Duration // the longest time to the end that such a call was told, as a window length
	until   time.Duration // the end of the last one
}

// maxAdvertised bounds the quotas of one scope, so that a partner cannot make the scope grow without end.
const maxAdvertised = 8

// hearAdvertised applies the quotas that the answer to r advertises.
func (s *scheduler) hearAdvertised(r *Reservation, now time.Duration) {
	for i := range r.quotas {
		q := &r.quotas[i]
		sc := s.scopeFor(r, ScopeCredential, now)
		if q.Route || slices.Contains(sc.perRoute, q.Name) {
			if r.key(ScopeRoute) == 0 {
				continue // the route of the call is unknown, so the quota has no scope
			}
			sc = s.scopeFor(r, ScopeRoute, now)
		}
		at := slices.IndexFunc(sc.advertised, func(k *advertised) bool { return k.name == q.Name })
		untold := q.Limit == 0
		if untold { // it is at least what is left and what this call took
			if q.Limit = max(1, q.Left+r.cost()); at >= 0 {
				q.Limit = max(q.Limit, sc.advertised[at].limit.N)
			}
		}
		if at >= 0 && !untold && sc.advertised[at].limit.N != q.Limit && sc.scope != ScopeRoute &&
			r.key(ScopeRoute) != 0 && len(sc.perRoute) < maxAdvertised {
			// Another limit under the same name: the partner has one quota for each route. From now on each
			// route counts its own.
			sc.perRoute = append(sc.perRoute, q.Name)
			s.drop(sc, sc.advertised[at].tier)
			sc.advertised = slices.Delete(sc.advertised, at, at+1)
			sc, at = s.scopeFor(r, ScopeRoute, now), -1
		}
		if at >= 0 {
			s.correct(sc, sc.advertised[at], r, q, now)
			continue
		}
		if k := s.newAdvertised(sc, r, q, now); k != nil {
			if len(sc.advertised) == maxAdvertised {
				s.dropOldest(sc)
			}
			sc.advertised = append(sc.advertised, k)
			sc.add(k.tier)
		}
	}
}

// dropOldest removes the quota that the partner has not advertised for the longest time.
func (s *scheduler) dropOldest(sc *scopeState) {
	oldest := slices.MinFunc(sc.advertised, func(a, b *advertised) int { return cmp.Compare(a.lastHeard, b.lastHeard) })
	s.drop(sc, oldest.tier)
	sc.advertised = slices.DeleteFunc(sc.advertised, func(k *advertised) bool { return k == oldest })
}

// newAdvertised returns the tier for quota q, or nil if the answer says neither how long the quota's window
// is nor when it begins anew.
func (s *scheduler) newAdvertised(sc *scopeState, r *Reservation, q *headers.Quota, now time.Duration) *advertised {
	k := &advertised{name: q.Name, per: q.Window}
	// The partner may not have counted the calls that were sent together with r or later, so they are added.
	// If our own calls explain everything that is used, their number is the count.
	used := q.Limit - q.Left
	ours, _ := s.log.Since(sc.learner.key, now-max(q.Window, q.Reset), nil)
	if used <= len(ours) {
		used = len(ours)
	} else {
		since, _ := s.log.Since(sc.learner.key, r.sent-1, nil)
		used += max(0, len(since)-1) // without r itself
	}
	switch {
	case q.Reset >= 0:
		k.learnWindow(q, r.cost(), now)
		k.tier = &tier{Window: window.NewAdvertised(q.Limit, used, k.per, now+q.Reset)}
		k.limit = Limit{N: q.Limit, Per: max(k.per, q.Reset, time.Second), Kind: Fixed}
	case q.Window > 0:
		w := slidingWindow(q.Limit, q.Window)
		s.recount(w, sc.learner.key, q.Window, now)
		if more := used - (q.Limit - w.Left(now)); more > 0 {
			w.Take(now, now, min(more, q.Limit))
		}
		k.tier = &tier{Window: w}
		k.limit = Limit{N: q.Limit, Per: q.Window}
	default:
		return nil
	}
	k.source, k.lastHeard = Advertised, now
	return k
}

// learnWindow takes note of the answer to a call of the given cost that may be the first of its window.
func (k *advertised) learnWindow(q *headers.Quota, cost int, now time.Duration) {
	if k.per > 0 || q.Reset < 0 || q.Left != q.Limit-cost || now < k.until {
		return
	}
	k.until = now + q.Reset - time.Second // partners round up
	k.opened++
	if k.longest = max(k.longest, roundWindow(q.Reset)); k.opened > 1 {
		k.per = k.longest
	}
}

// correct adjusts the count of quota k to the quota q that the answer to r advertises.
func (s *scheduler) correct(sc *scopeState, k *advertised, r *Reservation, q *headers.Quota, now time.Duration) {
	k.lastHeard = now
	s.wake(&k.blocker)
	used := q.Limit - q.Left
	if w, ok := k.Window.(*window.Advertised); ok {
		end := time.Duration(-1)
		if q.Reset >= 0 {
			end = now + q.Reset
		}
		mark := int64(-1)
		for _, g := range r.grants {
			if g.tier == k.tier {
				mark = g.mark
			}
		}
		k.learnWindow(q, r.cost(), now)
		k.limit.N = q.Limit
		if k.per > 0 {
			k.limit.Per = k.per
		}
		w.Correct(mark, now, q.Limit, used, end, k.per)
		if q.Left <= 0 && end > now && mark < 0 {
			w.Exhaust(end)
		}
		return
	}
	if q.Window <= 0 {
		q.Window = k.limit.Per // not every answer states the window
	}
	if k.limit.N != q.Limit || k.limit.Per != q.Window {
		// A new tier: calls that were admitted under the old one still settle there.
		fresh := &tier{
			limit: Limit{N: q.Limit, Per: q.Window}, source: Advertised, lastHeard: now,
			Window: slidingWindow(q.Limit, q.Window),
		}
		s.recount(fresh.Window, sc.learner.key, q.Window, now)
		s.drop(sc, k.tier)
		sc.add(fresh)
		k.tier = fresh
	}
	// The partner may not have counted all our calls yet. So the difference is the least that other clients
	// have spent.
	if more := used - (k.limit.N - k.Left(now)); more > 0 {
		k.Take(now, now, min(more, k.Left(now)))
	}
}

// roundWindow returns the standard window length that matches reset, the time until the quota begins anew
// after the call that opened its window. It returns 0 if none matches. Resets are rounded up, and measured
// with a clock of whole seconds, hence the tolerance of -0.5 s to +2 s.
func roundWindow(reset time.Duration) time.Duration {
	for _, w := range slices.Backward(windows[:]) {
		if reset >= w-time.Second/2 && reset <= w+2*time.Second {
			return w
		}
	}
	return 0
}
