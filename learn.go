package belay

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// AdaptivePolicy says how a limit that nobody told is found out. The zero value is the default: quotas in
// the answers' headers are kept to, and limits are inferred from refusals. Together with known limits
// both only ever slow down.
type AdaptivePolicy struct {
	// Off turns both off: a refusal only pauses.
	Off bool
	// Floor is the least number of calls in a window that is ever inferred. Zero means 1, negative is an error.
	Floor int
	// Ceiling is the most. Zero means no bound, negative or below Floor is an error.
	Ceiling int
}

func (p AdaptivePolicy) check() error {
	var errs []error
	if p.Floor < 0 {
		errs = append(errs, fmt.Errorf("AdaptivePolicy.Floor is %d, must not be negative", p.Floor))
	}
	if p.Ceiling < 0 || p.Ceiling > 0 && p.Ceiling < p.Floor {
		errs = append(errs, fmt.Errorf("AdaptivePolicy.Ceiling is %d, must not be negative or below Floor", p.Ceiling))
	}
	return errors.Join(errs...)
}

// adapt sets the policy of l and all who share its line.
func (l *Limiter) adapt(p AdaptivePolicy) {
	l.line.mu.Lock()
	defer l.line.mu.Unlock()
	l.line.policy, l.line.logs = p, !p.Off
}

// bound returns n within floor and ceiling.
func (p AdaptivePolicy) bound(n int) int {
	n = max(n, p.Floor, 1)
	if p.Ceiling > 0 {
		n = min(n, p.Ceiling)
	}
	return n
}

// learner finds out a limit from what was sent and what was refused. A partner that refuses has counted as
// many calls as its limit in the window before; how long that window is shows in when it wants the next call, or
// else in when it takes one again.
type learner struct {
	who      uint64 // in the log
	refusals []refusal
	pending  bool // the last refusal has not been concluded from
	limits   []*learnt
	probe    *tier // one call at a time, while it is not known when there is room again
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
	contested bool          // somebody else spends from it
	lowered   int           // times in a row that it was refused well below its number
	against   int           // refusals that it does not explain, in a row
	grow      time.Duration // when it may be tried higher
	quiet     time.Duration // without a refusal that it takes
	sure      int           // what a refusal showed; n is above it when it has been tried higher
}

const (
	maxRefusals = 16
	maxLearnt   = 3
	leastQuiet  = 2 * time.Minute
	mostQuiet   = 24 * time.Hour
	firstQuiet  = 32 // windows
	contestedBy = 2  // windows, where somebody else spends
	roundedUp   = 2 * time.Second
)

// windows are the lengths that limits have.
var windows = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// refused notes a refusal. What it means is concluded when the calls in flight have come back too.
func (l *learner) refused(g *group, t *Ticket, wait, now time.Duration) {
	if len(g.told) > 0 {
		return // the headers say what there is to know
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

// stirred reports whether there is anything to refresh.
func (g *group) stirred() bool { return g.learner.pending || len(g.learner.limits) > 0 }

// refresh brings the limits of g up to date before they are asked.
func (ln *line) refresh(g *group, now time.Duration) {
	if g.learner.pending && g.until <= now {
		ln.conclude(g, now)
	}
	if len(g.learner.limits) > 0 {
		ln.ease(g, now)
	}
}

// conclude makes a limit of the refusals, or corrects those that were made before.
func (ln *line) conclude(g *group, now time.Duration) {
	l := &g.learner
	if len(l.refusals) == 0 {
		l.pending = false
		return
	}
	r := l.refusals[len(l.refusals)-1]
	if known := ln.blame(l, r); known != nil {
		l.pending = false
		ln.lower(g, known, ln.sentBefore(l, r, known.per), now)
		return
	}
	l.pending = false
	n, per := ln.byTrial(l, now)
	if r.until > 0 {
		n, per = ln.byWish(l, r)
	}
	if n == 0 { // it takes nothing at all, or does not say when: ask by one call at a time
		if l.probe == nil {
			l.probe = &tier{slots: window.NewSlots(1), limit: Limit{n: 1, kind: slotLimit}, source: LimitLearnt}
			g.add(l.probe)
		}
		return
	}
	for _, have := range slices.Clone(l.limits) {
		if have.against++; have.against >= 2 && have.per < per {
			continue // a longer window does not speak against a shorter one
		} else if have.against >= 2 {
			ln.unlearn(g, have)
		}
	}
	ln.adopt(g, ln.policy.bound(n), per, now)
}

// through ends the probing when a call has gone through.
func (ln *line) through(g *group, now time.Duration) {
	l := &g.learner
	g.drop(l.probe)
	l.probe = nil
	if r := l.refusals[len(l.refusals)-1]; r.until == 0 {
		ln.conclude(g, now)
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

// freeAgain reports whether the oldest call of a window before a refusal leaves it when the partner wants
// the next one, rounded up to a second.
func (ln *line) freeAgain(l *learner, r refusal, per time.Duration) bool {
	at, whole := ln.log.Since(l.who, r.sent-per, nil)
	if !whole || len(at) == 0 || at[0] > r.known || r.until == 0 {
		return false
	}
	free := at[0] + per
	return free-100*time.Millisecond <= r.until && r.until <= free+roundedUp+(r.known-r.sent)
}

// sentBefore returns how many calls the partner had counted in the window before a refusal.
func (ln *line) sentBefore(l *learner, r refusal, per time.Duration) int {
	at, _ := ln.log.Since(l.who, r.sent-per, nil)
	n := 0
	for _, s := range at {
		if s <= r.known {
			n++
		}
	}
	return n
}

// byWish takes the window by which the partner would want the next call when it does: as soon as the
// oldest call in it has left, rounded up to a second.
func (ln *line) byWish(l *learner, r refusal) (n int, per time.Duration) {
	for _, w := range windows {
		if ln.freeAgain(l, r, w) {
			return ln.sentBefore(l, r, w), w
		}
	}
	// Nothing fits, so others spend from it: the wait stands for the window.
	for _, w := range windows {
		if r.until-r.known <= w {
			return ln.sentBefore(l, r, w) * 9 / 10, w
		}
	}
	return 0, 0
}

// byTrial takes the shortest window that was full at every refusal, and not at any call that went through
// after the first one; none while nothing has gone through.
func (ln *line) byTrial(l *learner, now time.Duration) (n int, per time.Duration) {
	first := l.refusals[0]
	for _, w := range windows {
		at, whole := ln.log.Since(l.who, first.sent-w, nil)
		if len(at) == 0 || !whole {
			continue
		}
		count := func(from, to time.Duration) (n int) {
			for _, s := range at {
				if s > from && s <= to {
					n++
				}
			}
			return n
		}
		n = -1
		for _, r := range l.refusals {
			if c := count(r.sent-w, r.known); n < 0 || c < n {
				n = c
			}
		}
		fits, through := n > 0, false
		for _, s := range at {
			if s > first.known && s < now {
				through = true
				fits = fits && count(s-w, s)-1 < n
			}
		}
		if !through {
			return 0, 0
		}
		if fits {
			return n, w
		}
	}
	return 0, 0
}

// lower corrects a limit by a refusal that came after n calls.
func (ln *line) lower(g *group, k *learnt, n int, now time.Duration) {
	k.against = 0
	switch {
	case k.triedTooHigh(n):
		if 5*n <= 6*k.sure {
			n = k.sure
		}
		k.lowered = 0
		k.quiet = min(2*k.quiet, mostQuiet)
	case n < k.n-1 || k.contested:
		if k.lowered++; k.lowered >= 2 {
			k.contested, k.quiet = true, contestedBy*k.per
		}
		n = min(n, k.n-1)
	default:
		n = k.n - 1
		k.quiet = min(2*k.quiet, mostQuiet)
	}
	k.sure = ln.policy.bound(n)
	ln.set(g, k, k.sure, now)
}

// adopt adds a limit.
func (ln *line) adopt(g *group, n int, per, now time.Duration) {
	l := &g.learner
	for _, have := range l.limits {
		if have.per == per {
			have.sure = n
			ln.set(g, have, n, now)
			return
		}
	}
	if len(l.limits) == maxLearnt {
		ln.unlearn(g, l.limits[0])
	}
	k := &learnt{tier: &tier{source: LimitLearnt}, sure: n, per: per, quiet: max(leastQuiet, firstQuiet*per)}
	l.limits = append(l.limits, k)
	g.add(k.tier)
	ln.set(g, k, n, now)
}

func (ln *line) unlearn(g *group, k *learnt) {
	g.drop(k.tier)
	g.learner.limits = slices.DeleteFunc(g.learner.limits, func(have *learnt) bool { return have == k })
}

// set gives a limit another number, with what was sent already counted.
func (ln *line) set(g *group, k *learnt, n int, now time.Duration) {
	k.n, k.grow = n, now+k.quiet
	k.limit = Every(n, k.per)
	if k.contested { // evenly, as a burst would meet the other's
		burst := max(1, n/20)
		k.limit = k.limit.Bucket(burst)
		b := window.NewBucket(n, k.per, burst, ln.base)
		b.Take(now, now, burst)
		k.Window = b
		return
	}
	k.Window = limitWindow(n, k.per)
	ln.recount(k.Window, g.learner.who, k.per, now)
}

// recount counts in w what was sent in the window before now.
func (ln *line) recount(w window.Window, who uint64, per, now time.Duration) {
	at, _ := ln.log.Since(who, now-per-ln.slack, nil)
	for _, s := range at {
		w.Settle(w.Take(s, s+ln.slack, 1), min(now, s+ln.slack), 1)
	}
}

// ease lets the limits of g grow that have been kept to for long enough while they were needed.
func (ln *line) ease(g *group, now time.Duration) {
	for _, k := range g.learner.limits {
		if now < k.grow {
			continue
		}
		if !k.contested && k.Left(now) > k.n/5 {
			k.grow = now + k.per // not needed at present
			continue
		}
		k.against = 0
		ln.set(g, k, ln.policy.bound(k.n+max(1, k.n/50)), now)
	}
}
