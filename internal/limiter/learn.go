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
	inferred []*inferred
	cap      *inflightCap
}

// refusal is one time that the partner was too busy; calls in flight together are refused together.
type refusal struct {
	sent  time.Duration // the first call that was refused
	known time.Duration // when that was known
	until time.Duration // when the partner wants the next call, 0 when it did not say
}

// learnt is a limit that was inferred.
type inferred struct {
	*tier
	n                 int
	per               time.Duration
	shown             int           // what a refusal showed; n is above it when it has been tried higher
	unexplained       int           // calls before the refusal before, that it did not explain
	contested         bool          // somebody else spends from it
	unexplainedInARow int           // refusals that it does not explain, in a row
	raiseAt           time.Duration // when it may be tried higher
	quiet             time.Duration // without a refusal that it takes
	step              int           // percent by which it grows
}

// narrow bounds calls in flight while no limit explains the refusals: one at first, and one more for each that goes
// through; after another refusal half as many, and slowly more.
type inflightCap struct {
	*tier
	size      int // at a time
	slowStart int // up to here each call that goes through makes room for one more
	accepted  int
}

const (
	maxRefusals = 16
	maxInferred = 3
	leastQuiet  = 4 * time.Minute
	longQuiet   = 8 * time.Minute // at first, unless that is less than fourWindows
	mostQuiet   = time.Hour
	firstQuiet  = 32 // windows
	fourWindows = 4
	weakQuiet   = 2 // windows, where it is not certain
	firstStep   = 1 // percent
	roundedUp   = 2 * time.Second
	uncapped    = 16 // calls in flight that need no bound
)

// windows are the lengths that limits have.
var windows = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// refused notes a refusal. What it means is concluded when the calls in flight have come back too.
func (le *learner) refused(sc *scopeState, r *Reservation, wait, now time.Duration) {
	for _, k := range sc.advertised {
		if 10*k.Left(now) <= k.Limit() {
			return // the headers say what there is to know
		}
	}
	until := time.Duration(0)
	if wait > 0 {
		until = now + wait
	}
	if n := len(le.refusals); n > 0 && r.sent <= le.refusals[n-1].known {
		last := &le.refusals[n-1]
		last.sent = min(last.sent, r.sent)
		return
	}
	if len(le.refusals) == maxRefusals {
		le.refusals = slices.Delete(le.refusals, 0, 1)
	}
	le.refusals = append(le.refusals, refusal{r.sent, now, until})
	le.pending = true
}

// refresh brings the limits of g up to date before they are asked.
func (s *scheduler) refresh(sc *scopeState, now time.Duration) {
	if sc.learner.pending && sc.until <= now {
		sc.learner.pending = false
		s.concludeRefusal(sc, now)
	}
	for _, k := range slices.Backward(sc.learner.inferred) { // one may be let go
		if now >= k.raiseAt {
			s.raise(sc, k, now)
		}
	}
}

// conclude makes a limit of the last refusal, or corrects one that was made before.
func (s *scheduler) concludeRefusal(sc *scopeState, now time.Duration) {
	le := &sc.learner
	r := le.refusals[len(le.refusals)-1]
	if k := s.attribute(le, r); k != nil {
		s.lower(sc, k, s.sentBefore(le, r, k.per), now)
		return
	}
	if n, per, certain := s.infer(le, r, now); n > 0 {
		s.adoptInferred(sc, s.policy.bound(n), per, certain, now)
		return
	}
	s.capInflight(sc)
}

// narrow lets fewer calls go at a time.
func (s *scheduler) capInflight(sc *scopeState) {
	w := sc.learner.cap
	if w == nil {
		w = &inflightCap{tier: &tier{limit: Limit{Kind: InFlight}, source: Inferred, slots: window.NewSlots(1)}, size: 1, slowStart: uncapped}
		sc.learner.cap = w
		sc.add(w.tier)
	} else {
		w.size = max(1, w.size/2)
		w.slowStart = w.size
	}
	w.set()
}

func (w *inflightCap) set() {
	w.slots.Resize(w.size)
	w.limit.N, w.accepted = w.size, 0
}

// widen takes in that a call went through.
func (s *scheduler) raiseInflightCap(sc *scopeState, now time.Duration) {
	le := &sc.learner
	w := le.cap
	done := false
	if r := le.refusals[len(le.refusals)-1]; r.until == 0 && w.accepted == 0 && w.size == 1 {
		if n, per := s.fromAcceptance(le, now); n > 0 { // it takes calls again, which shows the window
			s.adoptInferred(sc, s.policy.bound(n), per, true, now)
			done = true
		}
	}
	if w.accepted++; w.size < w.slowStart || w.accepted >= 10*w.size {
		w.size++
		w.set()
	}
	if done || w.size >= uncapped {
		sc.drop(w.tier)
		le.cap = nil
	}
}

// blame returns the limit that a refusal comes from, nil when none explains it: one that was tried higher, or
// one that is free again when the partner wants the next call, or the longest that was in use.
func (s *scheduler) attribute(le *learner, r refusal) (known *inferred) {
	best := 0
	for _, k := range le.inferred {
		n := s.sentBefore(le, r, k.per)
		score := 0
		switch {
		case 2*n < k.n || r.until > r.known+k.per+roundedUp:
			continue
		case k.triedTooHigh(n):
			score = 3
		case s.freeAgain(le, r, k.per):
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
func (k *inferred) triedTooHigh(n int) bool { return k.n > k.shown && n+1+k.shown/20 >= k.shown }

// agree reports whether two counts may be of the same limit.
func sameLimit(a, b int) bool { return a > 0 && b > 0 && 100*max(a, b) <= 115*min(a, b)+100 }

// lower corrects a limit by a refusal that came after n calls.
func (s *scheduler) lower(sc *scopeState, k *inferred, n int, now time.Duration) {
	switch {
	case k.triedTooHigh(n):
		if 5*n <= 6*k.shown+15 { // the count is off by a few at the edges
			n = k.shown
		}
		k.quiet = min(2*k.quiet, mostQuiet)
	case n >= k.n-1:
		n = k.n - 1
	case sameLimit(n, k.unexplained): // twice well below it: somebody else spends from it
		n = max(n, k.unexplained)
		k.contested, k.quiet = true, weakQuiet*k.per
	default:
		k.unexplained = n
		if k.unexplainedInARow++; k.unexplainedInARow > 2 {
			s.dropInferred(sc, k) // it explains nothing
			s.capInflight(sc)
		}
		return
	}
	k.unexplainedInARow, k.unexplained, k.step = 0, 0, firstStep
	k.shown = s.policy.bound(min(n, k.n))
	s.setInferred(sc, k, k.shown, now, k.quiet)
}

// adopt adds a limit.
func (s *scheduler) adoptInferred(sc *scopeState, n int, per time.Duration, certain bool, now time.Duration) {
	le := &sc.learner
	quiet := max(leastQuiet, min(firstQuiet*per, longQuiet), fourWindows*per)
	if !certain {
		quiet = max(10*time.Second, weakQuiet*per)
	}
	i := slices.IndexFunc(le.inferred, func(k *inferred) bool { return k.per == per })
	if i < 0 {
		if len(le.inferred) == maxInferred {
			s.dropInferred(sc, le.inferred[0])
		}
		i = len(le.inferred)
		le.inferred = append(le.inferred, &inferred{tier: &tier{source: Inferred}, per: per})
		sc.add(le.inferred[i].tier)
	}
	k := le.inferred[i]
	k.shown, k.unexplained, k.unexplainedInARow, k.contested, k.quiet, k.step = n, 0, 0, false, quiet, firstStep
	s.setInferred(sc, k, n, now, k.quiet)
}

func (s *scheduler) dropInferred(sc *scopeState, k *inferred) {
	sc.drop(k.tier)
	sc.learner.inferred = slices.DeleteFunc(sc.learner.inferred, func(have *inferred) bool { return have == k })
}

// set gives a limit another number, with what was sent already counted, until it may be tried higher after quiet.
func (s *scheduler) setInferred(sc *scopeState, k *inferred, n int, now, quiet time.Duration) {
	k.n, k.raiseAt, k.waitedFor = n, now+quiet, false
	k.limit = Limit{N: n, Per: k.per}
	if k.contested { // evenly, as a burst would meet the other's
		burst := max(1, n/20)
		k.limit.Kind, k.limit.Burst = Bucket, burst
		b := window.NewBucket(n, k.per, burst, s.base)
		b.Take(now, now, burst)
		k.Window = b
		return
	}
	k.Window = slidingWindow(n, k.per)
	s.recount(k.Window, sc.learner.who, k.per, now)
}

// recount counts in w what was sent in the window before now.
func (s *scheduler) recount(w window.Window, who uint64, per, now time.Duration) {
	at, _ := s.log.Since(who, now-per-s.slack, nil)
	for _, sent := range at {
		w.Take(sent, sent+s.slack, 1)
	}
}

// ease lets a limit grow that has been kept to for long enough while it was needed: a little at first, and twice
// as much each time that goes well.
func (s *scheduler) raise(sc *scopeState, k *inferred, now time.Duration) {
	if !k.waitedFor {
		k.raiseAt = now + max(k.per, time.Second)
		return
	}
	if most := s.mostOf(&sc.learner, refusal{sent: now, known: now}, k.per); k.n > 8*most+64 {
		s.dropInferred(sc, k) // far from what is ever sent
		return
	}
	s.setInferred(sc, k, s.policy.bound(min(k.n+max(1, k.n*k.step/100), 1<<30)), now, max(k.per, 5*time.Second))
	k.step = min(2*k.step, 100)
}
