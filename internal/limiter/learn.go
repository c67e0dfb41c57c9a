package limiter

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// learner infers the limits of one scope from the calls that were sent and the calls that were refused. A
// partner that refuses a call has counted as many calls as its limit in the window before. The length of that
// window shows in the time at which the partner wants the next call, or else in the time at which it accepts
// calls again. A single refusal proves nothing if the partner accepted more calls before: then it only pauses
// the scope, and caps the calls in flight for a while.
type learner struct {
	key      uint64 // the scope's key: the log has calls by credential and by origin, all calls for 0, and none by route
	refusals []refusal
	pending  bool // the last refusal has not been evaluated yet
	inferred []*inferred
	cap      *inflightCap // nil while calls in flight need no cap
	accepted bool         // a call was accepted since the last refusal
}

// refusal is one refusal by the partner. Calls that are in flight together are refused together, and count as
// one refusal.
type refusal struct {
	sent   time.Duration // when the first refused call was sent
	known  time.Duration // when its answer had come
	until  time.Duration // when the partner wants the next call, 0 if it did not say
	within bool          // the call was within a configured limit, and another was accepted since the last refusal
}

// inferred is an inferred limit: n calls in per.
type inferred struct {
	*tier
	n                 int
	per               time.Duration
	shown             int           // the limit that a refusal showed; n is above it after a raise
	unexplained       int           // calls before the last refusal that this limit did not explain; 0 for none
	contested         bool          // other clients spend from it too
	unexplainedInARow int           // refusals in a row that it did not explain
	raiseAt           time.Duration // when it may be raised
	quiet             time.Duration // time without a refusal after which it may be raised
	step              int           // percent of the next raise
}

// inflightCap bounds the calls in flight while no limit explains the refusals. It grows like the window of
// TCP: it begins with one call, and each accepted call adds one up to slowStart. Above slowStart ten times as
// many accepted calls as its size add one. Another refusal halves it.
type inflightCap struct {
	*tier
	size      int // calls in flight at a time
	slowStart int // the slow-start threshold
	accepted  int // calls accepted since size last changed
}

const (
	maxRefusals = 16              // remembered for one scope
	maxInferred = 3               // limits of one scope
	leastQuiet  = 4 * time.Minute // the quiet time of a certain limit is at least this
	longQuiet   = 8 * time.Minute // and at most this at first, unless fourWindows is longer
	mostQuiet   = time.Hour       // each raise that fails doubles the quiet time, up to this
	firstQuiet  = 32              // windows: the quiet time of a certain limit, within the bounds above
	fourWindows = 4               // windows: the quiet time is at least this
	weakQuiet   = 2               // windows: the quiet time of a limit that is uncertain or contested
	firstStep   = 1               // percent
	roundedUp   = 2 * time.Second // how much later than necessary the partner may want the next call
	uncapped    = 16              // calls in flight that need no cap
)

// windows are the standard window lengths, in ascending order.
var windows = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// refused records a refusal of r. It is evaluated by refresh after the pause, when the other calls in flight
// have been answered too.
func (le *learner) refused(sc *scopeState, r *Reservation, wait, now time.Duration) {
	for _, k := range sc.advertised {
		if 10*k.Left(now) <= k.Limit() {
			return // a nearly used up advertised quota explains the refusal
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
	within := r.configured() && (le.accepted || len(le.refusals) == 0)
	le.refusals = append(le.refusals, refusal{r.sent, now, until, within})
	le.pending, le.accepted = true, false
}

// refresh brings the inferred limits of sc up to date before they are consulted: it evaluates the last
// refusal and raises the limits that are due.
func (s *scheduler) refresh(sc *scopeState, now time.Duration) {
	if sc.learner.pending && sc.until <= now {
		sc.learner.pending = false
		s.concludeRefusal(sc, now)
	}
	s.easePressure(sc, now)
	for _, k := range slices.Backward(sc.learner.inferred) { // backward, as raise may remove k
		if now >= k.raiseAt {
			s.raise(sc, k, now)
		}
	}
}

// concludeRefusal evaluates the last refusal: it lowers the inferred limit that explains the refusal, or
// infers a new limit, or caps the calls in flight.
func (s *scheduler) concludeRefusal(sc *scopeState, now time.Duration) {
	le := &sc.learner
	r := le.refusals[len(le.refusals)-1]
	if r.within && le.foreign(r) {
		return
	}
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

// A refusal within a configured limit may come from what another process has spent. It is a reason to step aside for a
// while, which the pause does. Only several of them within a minute show another limit.
const (
	foreignRefusals = 2
	foreignTime     = time.Minute
)

// foreign reports whether refusal r within a configured limit may come from another process.
func (le *learner) foreign(r refusal) bool {
	if len(le.inferred) > 0 || le.cap != nil {
		return false
	}
	n := 0
	for _, o := range le.refusals {
		if r.sent-o.sent < foreignTime {
			n++
		}
	}
	return n <= foreignRefusals
}

// configured reports whether a configured limit counts r by time.
func (r *Reservation) configured() bool {
	for i, t := range r.tiers.tiers {
		if r.taken>>i&1 != 0 && t.slots == nil {
			return true
		}
	}
	return false
}

// capInflight caps the calls in flight of sc at one, or halves the cap if there is one.
func (s *scheduler) capInflight(sc *scopeState) {
	w := sc.learner.cap
	if w == nil {
		w = &inflightCap{
			tier: &tier{limit: Limit{Kind: InFlight}, source: Inferred, slots: window.NewSlots(1)},
			size: 1, slowStart: uncapped,
		}
		w.inFlight = w.slots
		sc.learner.cap = w
		sc.add(w.tier)
	} else {
		w.size = max(1, w.size/2)
		w.slowStart = w.size
	}
	w.set()
}

// set applies size, and counts accepted calls from zero.
func (w *inflightCap) set() {
	w.slots.Resize(w.size)
	w.limit.N, w.accepted = w.size, 0
}

// raiseInflightCap takes note of an accepted call of sc. It raises the cap if enough calls have been
// accepted. It removes the cap if that has become large, or if the accepted call shows the limit.
func (s *scheduler) raiseInflightCap(sc *scopeState, now time.Duration) {
	le := &sc.learner
	w := le.cap
	done := false
	if r := le.refusals[len(le.refusals)-1]; r.until == 0 && w.accepted == 0 && w.size == 1 {
		if n, per := s.fromAcceptance(le, now); n > 0 { // the first accepted call shows the window
			s.adoptInferred(sc, s.policy.bound(n), per, true, now)
			done = true
		}
	}
	if w.accepted++; w.size < w.slowStart || w.accepted >= 10*w.size {
		w.size++
		w.set()
		s.wake(&w.blocker)
	}
	if done || w.size >= uncapped {
		s.drop(sc, w.tier)
		le.cap = nil
	}
}

// attribute returns the inferred limit that refusal r comes from, or nil if none explains it. A limit must
// have been at least half used. A limit that was raised too high comes first, then one whose window is free
// again when the partner wants the next call, then any other. Of equal ones the longest window wins.
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

// triedTooHigh reports whether a refusal after n calls shows that k was raised too high. The count may be off
// by the calls at the edges of the window: one, and a twentieth of shown.
func (k *inferred) triedTooHigh(n int) bool { return k.n > k.shown && n+1+k.shown/20 >= k.shown }

// sameLimit reports whether two counts may come from the same limit: both are positive and differ by at most
// 15 % and one call.
func sameLimit(a, b int) bool { return a > 0 && b > 0 && 100*max(a, b) <= 115*min(a, b)+100 }

// lower corrects limit k after a refusal that came after n calls.
func (s *scheduler) lower(sc *scopeState, k *inferred, n int, now time.Duration) {
	switch {
	case k.triedTooHigh(n):
		if 5*n <= 6*k.shown+15 { // the count is off by a few calls at the edges of the window
			n = k.shown
		}
		k.quiet = min(2*k.quiet, mostQuiet)
	case n >= k.n-1:
		n = k.n - 1
	case sameLimit(n, k.unexplained): // two refusals well below the limit, at about the same count: other clients share it
		n = max(n, k.unexplained)
		k.contested, k.quiet = true, weakQuiet*k.per
	default:
		k.unexplained = n
		if k.unexplainedInARow++; k.unexplainedInARow > 2 {
			s.dropInferred(sc, k) // it has not explained three refusals in a row
			s.capInflight(sc)
		}
		return
	}
	k.unexplainedInARow, k.unexplained, k.step = 0, 0, firstStep
	k.shown = s.policy.bound(min(n, k.n))
	s.setInferred(sc, k, k.shown, now, k.quiet)
}

// adoptInferred adds an inferred limit of n calls per per, or replaces the one with the same window. If there
// are maxInferred already, the oldest is dropped. An uncertain limit may be raised earlier.
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
	s.drop(sc, k.tier)
	sc.learner.inferred = slices.DeleteFunc(sc.learner.inferred, func(have *inferred) bool { return have == k })
}

// setInferred gives k the limit n, with the calls already sent counted. It may be raised after quiet.
func (s *scheduler) setInferred(sc *scopeState, k *inferred, n int, now, quiet time.Duration) {
	k.n, k.raiseAt, k.waitedFor = n, now+quiet, false
	s.wake(&k.blocker)
	k.limit = Limit{N: n, Per: k.per}
	if k.contested { // spread calls evenly: a burst could meet a burst of other clients
		burst := max(1, n/20)
		k.limit.Kind, k.limit.Burst = Bucket, burst
		b := window.NewBucket(n, k.per, burst, s.base)
		b.Take(now, now, burst)
		k.Window = b
		return
	}
	k.Window = slidingWindow(n, k.per)
	s.recount(k.Window, sc.learner.key, k.per, now)
}

// recount counts in w the calls in the log with the key that were sent in the window of length per before
// now. The key 0 stands for all calls.
func (s *scheduler) recount(w window.Window, key uint64, per, now time.Duration) {
	at, _ := s.log.Since(key, now-per-s.slack, nil)
	for _, sent := range at {
		w.Take(sent, sent+s.slack, 1)
	}
}

// raise lets limit k grow after its quiet time, if some call had to wait for it meanwhile. The first raise is
// small, and each one that goes well doubles the next. A limit far above the traffic is dropped.
func (s *scheduler) raise(sc *scopeState, k *inferred, now time.Duration) {
	if !k.waitedFor {
		k.raiseAt = now + max(k.per, time.Second)
		return
	}
	if most := s.mostOf(&sc.learner, refusal{sent: now, known: now}, k.per); k.n > 8*most+64 {
		s.dropInferred(sc, k) // far above the number of calls ever sent
		return
	}
	s.setInferred(sc, k, s.policy.bound(min(k.n+max(1, k.n*k.step/100), 1<<30)), now, max(k.per, 5*time.Second))
	k.step = min(2*k.step, 100)
}
