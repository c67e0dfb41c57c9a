package limiter

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// learner finds out a limit from what was sent and what was refused. A partner that refuses has counted as
// many calls as its limit in the window before; how long that window is shows in when it wants the next call, or
// else in when it takes one again. One refusal alone proves nothing where more went through before: it only
// pauses, and lets fewer calls go at a time for a while.
type learner struct {
	who      uint64 // in the log
	refusals []refusal
	pending  bool // the last refusal has not been concluded from
	limits   []*learnt
	narrow   *narrow
}

// refusal is one time that the partner was too busy; calls in flight together are refused together.
type refusal struct {
	sent  time.Duration // the first call that was refused
	known time.Duration // when that was known
	until time.Duration // when the partner wants the next call, 0 when it did not say
}

// learnt is a limit that was inferred.
type learnt struct {
	*tier
	n         int
	per       time.Duration
	sure      int           // what a refusal showed; n is above it when it has been tried higher
	last      int           // calls before the refusal before, that it did not explain
	contested bool          // somebody else spends from it
	against   int           // refusals that it does not explain, in a row
	grow      time.Duration // when it may be tried higher
	quiet     time.Duration // without a refusal that it takes
	step      int           // percent by which it grows
}

// narrow bounds calls in flight while no limit explains the refusals: one at first, and one more for each that goes
// through; after another refusal half as many, and slowly more.
type narrow struct {
	*tier
	most    int // at a time
	easy    int // up to here each call that goes through makes room for one more
	through int
}

const (
	maxRefusals = 16
	maxLearnt   = 3
	leastQuiet  = 4 * time.Minute
	longQuiet   = 8 * time.Minute // at first, unless that is less than fourWindows
	mostQuiet   = time.Hour
	firstQuiet  = 32 // windows
	fourWindows = 4
	weakQuiet   = 2 // windows, where it is not certain
	firstStep   = 1 // percent
	roundedUp   = 2 * time.Second
	wide        = 16 // calls in flight that need no bound
)

// windows are the lengths that limits have.
var windows = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// refused notes a refusal. What it means is concluded when the calls in flight have come back too.
func (l *learner) refused(g *group, t *Reservation, wait, now time.Duration) {
	for _, k := range g.told {
		if 10*k.Left(now) <= k.Limit() {
			return // the headers say what there is to know
		}
	}
	until := time.Duration(0)
	if wait > 0 {
		until = now + wait
	}
	if n := len(l.refusals); n > 0 && t.sent <= l.refusals[n-1].known {
		last := &l.refusals[n-1]
		last.sent = min(last.sent, t.sent)
		return
	}
	if len(l.refusals) == maxRefusals {
		l.refusals = slices.Delete(l.refusals, 0, 1)
	}
	l.refusals = append(l.refusals, refusal{t.sent, now, until})
	l.pending = true
}

// refresh brings the limits of g up to date before they are asked.
func (ln *line) refresh(g *group, now time.Duration) {
	if g.learner.pending && g.until <= now {
		g.learner.pending = false
		ln.conclude(g, now)
	}
	for _, k := range slices.Backward(g.learner.limits) { // one may be let go
		if now >= k.grow {
			ln.ease(g, k, now)
		}
	}
}

// conclude makes a limit of the last refusal, or corrects one that was made before.
func (ln *line) conclude(g *group, now time.Duration) {
	l := &g.learner
	r := l.refusals[len(l.refusals)-1]
	if k := ln.blame(l, r); k != nil {
		ln.lower(g, k, ln.sentBefore(l, r, k.per), now)
		return
	}
	if n, per, certain := ln.infer(l, r, now); n > 0 {
		ln.adopt(g, ln.policy.bound(n), per, certain, now)
		return
	}
	ln.narrow(g)
}

// narrow lets fewer calls go at a time.
func (ln *line) narrow(g *group) {
	w := g.learner.narrow
	if w == nil {
		w = &narrow{tier: &tier{limit: Limit{Kind: InFlight}, source: Inferred, slots: window.NewSlots(1)}, most: 1, easy: wide}
		g.learner.narrow = w
		g.add(w.tier)
	} else {
		w.most = max(1, w.most/2)
		w.easy = w.most
	}
	w.set()
}

func (w *narrow) set() {
	w.slots.Resize(w.most)
	w.limit.N, w.through = w.most, 0
}

// widen takes in that a call went through.
func (ln *line) widen(g *group, now time.Duration) {
	l := &g.learner
	w := l.narrow
	done := false
	if r := l.refusals[len(l.refusals)-1]; r.until == 0 && w.through == 0 && w.most == 1 {
		if n, per := ln.byTrial(l, now); n > 0 { // it takes calls again, which shows the window
			ln.adopt(g, ln.policy.bound(n), per, true, now)
			done = true
		}
	}
	if w.through++; w.most < w.easy || w.through >= 10*w.most {
		w.most++
		w.set()
	}
	if done || w.most >= wide {
		g.drop(w.tier)
		l.narrow = nil
	}
}

// blame returns the limit that a refusal comes from, nil when none explains it: one that was tried higher, or
// one that is free again when the partner wants the next call, or the longest that was in use.
func (ln *line) blame(l *learner, r refusal) (known *learnt) {
	best := 0
	for _, k := range l.limits {
		n := ln.sentBefore(l, r, k.per)
		score := 0
		switch {
		case 2*n < k.n || r.until > r.known+k.per+roundedUp:
			continue
		case k.triedTooHigh(n):
			score = 3
		case ln.freeAgain(l, r, k.per):
			score = 2
		default:
			score = 1
		}
		if score > best || score == best && k.per > known.per {
			known, best = k, score
		}
	}
	return known
}

// triedTooHigh reports whether a refusal after n calls comes from having grown; the count may be off by those
// at the edge of the window.
func (k *learnt) triedTooHigh(n int) bool { return k.n > k.sure && n+1+k.sure/20 >= k.sure }

// agree reports whether two counts may be of the same limit.
func agree(a, b int) bool { return a > 0 && b > 0 && 100*max(a, b) <= 115*min(a, b)+100 }

// lower corrects a limit by a refusal that came after n calls.
func (ln *line) lower(g *group, k *learnt, n int, now time.Duration) {
	switch {
	case k.triedTooHigh(n):
		if 5*n <= 6*k.sure+15 { // the count is off by a few at the edges
			n = k.sure
		}
		k.quiet = min(2*k.quiet, mostQuiet)
	case n >= k.n-1:
		n = k.n - 1
	case agree(n, k.last): // twice well below it: somebody else spends from it
		n = max(n, k.last)
		k.contested, k.quiet = true, weakQuiet*k.per
	default:
		k.last = n
		if k.against++; k.against > 2 {
			ln.unlearn(g, k) // it explains nothing
			ln.narrow(g)
		}
		return
	}
	k.against, k.last, k.step = 0, 0, firstStep
	k.sure = ln.policy.bound(min(n, k.n))
	ln.set(g, k, k.sure, now, k.quiet)
}

// adopt adds a limit.
func (ln *line) adopt(g *group, n int, per time.Duration, certain bool, now time.Duration) {
	l := &g.learner
	quiet := max(leastQuiet, min(firstQuiet*per, longQuiet), fourWindows*per)
	if !certain {
		quiet = max(10*time.Second, weakQuiet*per)
	}
	i := slices.IndexFunc(l.limits, func(k *learnt) bool { return k.per == per })
	if i < 0 {
		if len(l.limits) == maxLearnt {
			ln.unlearn(g, l.limits[0])
		}
		i = len(l.limits)
		l.limits = append(l.limits, &learnt{tier: &tier{source: Inferred}, per: per})
		g.add(l.limits[i].tier)
	}
	k := l.limits[i]
	k.sure, k.last, k.against, k.contested, k.quiet, k.step = n, 0, 0, false, quiet, firstStep
	ln.set(g, k, n, now, k.quiet)
}

func (ln *line) unlearn(g *group, k *learnt) {
	g.drop(k.tier)
	g.learner.limits = slices.DeleteFunc(g.learner.limits, func(have *learnt) bool { return have == k })
}

// set gives a limit another number, with what was sent already counted, until it may be tried higher after quiet.
func (ln *line) set(g *group, k *learnt, n int, now, quiet time.Duration) {
	k.n, k.grow, k.needed = n, now+quiet, false
	k.limit = Limit{N: n, Per: k.per}
	if k.contested { // evenly, as a burst would meet the other's
		burst := max(1, n/20)
		k.limit.Kind, k.limit.Burst = Bucket, burst
		b := window.NewBucket(n, k.per, burst, ln.base)
		b.Take(now, now, burst)
		k.Window = b
		return
	}
	k.Window = slidingWindow(n, k.per)
	ln.recount(k.Window, g.learner.who, k.per, now)
}

// recount counts in w what was sent in the window before now.
func (ln *line) recount(w window.Window, who uint64, per, now time.Duration) {
	at, _ := ln.log.Since(who, now-per-ln.slack, nil)
	for _, s := range at {
		w.Take(s, s+ln.slack, 1)
	}
}

// ease lets a limit grow that has been kept to for long enough while it was needed: a little at first, and twice
// as much each time that goes well.
func (ln *line) ease(g *group, k *learnt, now time.Duration) {
	if !k.needed {
		k.grow = now + max(k.per, time.Second)
		return
	}
	if most := ln.mostOf(&g.learner, refusal{sent: now, known: now}, k.per); k.n > 8*most+64 {
		ln.unlearn(g, k) // far from what is ever sent
		return
	}
	ln.set(g, k, ln.policy.bound(min(k.n+max(1, k.n*k.step/100), 1<<30)), now, max(k.per, 5*time.Second))
	k.step = min(2*k.step, 100)
}
