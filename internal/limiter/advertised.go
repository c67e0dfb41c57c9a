package limiter

import (
	"cmp"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/window"
)

// told is a quota that the answers' headers tell of.
type told struct {
	name string
	*tier
	per time.Duration
}

// maxTold bounds the quotas of one group, so that a partner cannot make it grow.
const maxTold = 8

// hear takes in the quotas that an answer to t told of.
func (ln *line) hear(t *Reservation, now time.Duration) {
	for i := range t.quotas {
		q := &t.quotas[i]
		g := ln.groupFor(t, ScopeCredential, now)
		if q.Route || slices.Contains(g.varied, q.Name) {
			if t.key(ScopeRoute) == 0 {
				continue // it cannot be told which calls it is for
			}
			g = ln.groupFor(t, ScopeRoute, now)
		}
		at := slices.IndexFunc(g.told, func(k *told) bool { return k.name == q.Name })
		if at >= 0 && g.told[at].limit.N != q.Limit && g.scope != ScopeRoute && t.key(ScopeRoute) != 0 && len(g.varied) < maxTold {
			// One name for several: from here on it is each route's own.
			g.varied = append(g.varied, q.Name)
			g.drop(g.told[at].tier)
			g.told = slices.Delete(g.told, at, at+1)
			g, at = ln.groupFor(t, ScopeRoute, now), -1
		}
		if at >= 0 {
			ln.correct(g, g.told[at], t, q, now)
			continue
		}
		if k := ln.newTold(g, t, q, now); k != nil {
			if len(g.told) == maxTold {
				g.untell()
			}
			g.told = append(g.told, k)
			g.add(k.tier)
		}
	}
}

// untell forgets the quota that has not been heard of for longest.
func (g *group) untell() {
	oldest := slices.MinFunc(g.told, func(a, b *told) int { return cmp.Compare(a.heard, b.heard) })
	g.drop(oldest.tier)
	g.told = slices.DeleteFunc(g.told, func(k *told) bool { return k == oldest })
}

// newTold makes a tier of a quota, nil when too little is known of it.
func (ln *line) newTold(g *group, t *Reservation, q *headers.Quota, now time.Duration) *told {
	k := &told{name: q.Name, per: q.Window}
	// What was sent with it or since may not be in what the partner counted; unless all of that is ours.
	used := q.Limit - q.Left
	ours, _ := ln.log.Since(g.learner.who, now-max(q.Window, q.Reset), nil)
	if used <= len(ours) {
		used = len(ours)
	} else {
		since, _ := ln.log.Since(g.learner.who, t.sent-1, nil)
		used += max(0, len(since)-1) // beside this one
	}
	switch {
	case q.Reset >= 0:
		if k.per == 0 && q.Left == q.Limit-t.cost() { // this call has opened it
			k.per = nice(q.Reset)
		}
		k.tier = &tier{Window: window.NewTold(q.Limit, used, k.per, now+q.Reset)}
		k.limit = Limit{N: q.Limit, Per: max(k.per, q.Reset, time.Second), Kind: Fixed}
	case q.Window > 0:
		w := slidingWindow(q.Limit, q.Window)
		ln.recount(w, g.learner.who, q.Window, now)
		if more := used - (q.Limit - w.Left(now)); more > 0 {
			w.Take(now, now, min(more, q.Limit))
		}
		k.tier = &tier{Window: w}
		k.limit = Limit{N: q.Limit, Per: q.Window}
	default:
		return nil
	}
	k.source, k.heard = Advertised, now
	return k
}

// correct corrects the count of a quota by what an answer told.
func (ln *line) correct(g *group, k *told, t *Reservation, q *headers.Quota, now time.Duration) {
	k.heard = now
	used := q.Limit - q.Left
	if w, ok := k.Window.(*window.Told); ok {
		end := time.Duration(-1)
		if q.Reset >= 0 {
			end = now + q.Reset
		}
		mark := int64(-1)
		for _, g := range t.grants {
			if g.tier == k.tier {
				mark = g.mark
			}
		}
		if k.per == 0 && q.Left == q.Limit-t.cost() {
			k.per = nice(q.Reset)
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
		fresh := &tier{limit: Limit{N: q.Limit, Per: q.Window}, source: Advertised, heard: now, Window: slidingWindow(q.Limit, q.Window)}
		ln.recount(fresh.Window, g.learner.who, q.Window, now)
		g.drop(k.tier)
		g.add(fresh)
		k.tier = fresh
	}
	// Our own may not be in what the partner counted yet, so that this is the least of what others spent.
	if more := used - (k.limit.N - k.Left(now)); more > 0 {
		k.Take(now, now, min(more, k.Left(now)))
	}
}

// nice returns the window that a reset at its beginning shows; 0 when it shows none.
func nice(reset time.Duration) time.Duration {
	for _, w := range slices.Backward(windows[:]) {
		if reset >= w-time.Second/2 && reset <= w+2*time.Second { // rounded up, and read against a clock of whole seconds
			return w
		}
	}
	return 0
}
