package limiter

import (
	"cmp"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/window"
)

// told is a quota that the answers' headers tell of.
type advertised struct {
	name string
	*tier
	per time.Duration
}

// maxTold bounds the quotas of one group, so that a partner cannot make it grow.
const maxAdvertised = 8

// hear takes in the quotas that an answer to t told of.
func (s *scheduler) hearAdvertised(r *Reservation, now time.Duration) {
	for i := range r.quotas {
		q := &r.quotas[i]
		sc := s.scopeFor(r, ScopeCredential, now)
		if q.Route || slices.Contains(sc.perRoute, q.Name) {
			if r.key(ScopeRoute) == 0 {
				continue // it cannot be told which calls it is for
			}
			sc = s.scopeFor(r, ScopeRoute, now)
		}
		at := slices.IndexFunc(sc.advertised, func(k *advertised) bool { return k.name == q.Name })
		if at >= 0 && sc.advertised[at].limit.N != q.Limit && sc.scope != ScopeRoute && r.key(ScopeRoute) != 0 && len(sc.perRoute) < maxAdvertised {
			// One name for several: from here on it is each route's own.
			sc.perRoute = append(sc.perRoute, q.Name)
			sc.drop(sc.advertised[at].tier)
			sc.advertised = slices.Delete(sc.advertised, at, at+1)
			sc, at = s.scopeFor(r, ScopeRoute, now), -1
		}
		if at >= 0 {
			s.correct(sc, sc.advertised[at], r, q, now)
			continue
		}
		if k := s.newAdvertised(sc, r, q, now); k != nil {
			if len(sc.advertised) == maxAdvertised {
				sc.dropOldest()
			}
			sc.advertised = append(sc.advertised, k)
			sc.add(k.tier)
		}
	}
}

// untell forgets the quota that has not been heard of for longest.
func (sc *scopeState) dropOldest() {
	oldest := slices.MinFunc(sc.advertised, func(a, b *advertised) int { return cmp.Compare(a.lastHeard, b.lastHeard) })
	sc.drop(oldest.tier)
	sc.advertised = slices.DeleteFunc(sc.advertised, func(k *advertised) bool { return k == oldest })
}

// newTold makes a tier of a quota, nil when too little is known of it.
func (s *scheduler) newAdvertised(sc *scopeState, r *Reservation, q *headers.Quota, now time.Duration) *advertised {
	k := &advertised{name: q.Name, per: q.Window}
	// What was sent with it or since may not be in what the partner counted; unless all of that is ours.
	used := q.Limit - q.Left
	ours, _ := s.log.Since(sc.learner.who, now-max(q.Window, q.Reset), nil)
	if used <= len(ours) {
		used = len(ours)
	} else {
		since, _ := s.log.Since(sc.learner.who, r.sent-1, nil)
		used += max(0, len(since)-1) // beside this one
	}
	switch {
	case q.Reset >= 0:
		if k.per == 0 && q.Left == q.Limit-r.cost() { // this call has opened it
			k.per = roundWindow(q.Reset)
		}
		k.tier = &tier{Window: window.NewTold(q.Limit, used, k.per, now+q.Reset)}
		k.limit = Limit{N: q.Limit, Per: max(k.per, q.Reset, time.Second), Kind: Fixed}
	case q.Window > 0:
		w := slidingWindow(q.Limit, q.Window)
		s.recount(w, sc.learner.who, q.Window, now)
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

// correct corrects the count of a quota by what an answer told.
func (s *scheduler) correct(sc *scopeState, k *advertised, r *Reservation, q *headers.Quota, now time.Duration) {
	k.lastHeard = now
	used := q.Limit - q.Left
	if w, ok := k.Window.(*window.Told); ok {
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
		if k.per == 0 && q.Left == q.Limit-r.cost() {
			k.per = roundWindow(q.Reset)
		}
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
		q.Window = k.limit.Per // it does not say each time
	}
	if k.limit.N != q.Limit || k.limit.Per != q.Window {
		// Calls that are under the old one settle there.
		fresh := &tier{limit: Limit{N: q.Limit, Per: q.Window}, source: Advertised, lastHeard: now, Window: slidingWindow(q.Limit, q.Window)}
		s.recount(fresh.Window, sc.learner.who, q.Window, now)
		sc.drop(k.tier)
		sc.add(fresh)
		k.tier = fresh
	}
	// Our own may not be in what the partner counted yet, so that this is the least of what others spent.
	if more := used - (k.limit.N - k.Left(now)); more > 0 {
		k.Take(now, now, min(more, k.Left(now)))
	}
}

// nice returns the window that a reset at its beginning shows; 0 when it shows none.
func roundWindow(reset time.Duration) time.Duration {
	for _, w := range slices.Backward(windows[:]) {
		if reset >= w-time.Second/2 && reset <= w+2*time.Second { // rounded up, and read against a clock of whole seconds
			return w
		}
	}
	return 0
}
