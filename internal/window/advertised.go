package window

import "time"

// Advertised is a window that the partner's answers advertise: its limit, how much of it is used, and when it ends.
// The permits used are the number in the answer to the call that was sent last, and all unanswered permits
// that this number may not include.
type Advertised struct {
	max   int
	per   time.Duration // 0 while it is not known
	end   time.Duration // when the window has surely ended
	guess bool          // the end of the window is a guess, because no answer has advertised it yet
	odd   bool          // per turned out wrong, so the end of each window must be advertised anew
	began time.Duration // when the first permit of the window was taken
	slack time.Duration // how long after its sending the partner may count a call
	seq   int64         // number of the window
	used  int           // permits used in this window, as an answer said
	ours  int           // of used, the permits that were certainly taken here
	asOf  time.Duration // when the call with that answer was sent
	count int64         // permits taken so far
	open  []permit      // permits without an answer
	// recent is a ring of the last permits, to count how many were taken since some time. takes counts the
	// calls of Take.
	recent [64]permit
	takes  int
}

// advertisedRounding is how much too late the end of a window may be advertised: a second of rounding for each of
// two times, and 200 ms.
const advertisedRounding = 2*time.Second + 200*time.Millisecond

// permit is the permits of one Take.
type permit struct {
	no       int64         // Advertised.count including these permits
	at       time.Duration // when they were taken
	answered time.Duration // when they were answered, 0 while they are open
	n        int
}

// NewAdvertised returns a window of n permits, of which used are taken, that ends by end. Per is its length, 0 if
// that is not known.
func NewAdvertised(n, used int, per, end time.Duration) *Advertised {
	return &Advertised{max: n, per: per, end: end, seq: 1, used: used, ours: used}
}

// room returns the number of permits that are free.
func (t *Advertised) room(now time.Duration) int {
	left, since := t.max-t.used, t.asOf
	if now >= t.end { // a new window, in which permits sent just now may count
		left, since = t.max, now
	} else if t.used > t.ours {
		left-- // another client uses the quota too, perhaps just now
	}
	for _, p := range t.open {
		if p.at > since-t.slack {
			left -= p.n
		}
	}
	return left
}

// Wait implements Window.
func (t *Advertised) Wait(now time.Duration, n int) time.Duration {
	if min(n, t.max) <= t.room(now) {
		return 0
	}
	if now >= t.end {
		return max(t.slack, 1) // until permits sent just now no longer count in this window
	}
	return max(t.end-now, 1)
}

// Take implements Window.
func (t *Advertised) Take(now, latest time.Duration, n int) int64 {
	t.slack = latest - now
	if now >= t.end {
		t.seq++
		t.used, t.ours, t.asOf, t.began = 0, 0, now, now
		per := t.per
		if t.guess = per == 0; t.guess {
			per = time.Minute // until an answer advertises the end
		}
		t.end = latest + per
	}
	t.count += int64(n)
	p := permit{no: t.count, at: now, n: n}
	t.open = append(t.open, p)
	t.recent[t.takes%len(t.recent)] = p
	t.takes++
	return t.seq<<40 | t.count&(1<<40-1)
}

// answered removes the permit with this mark from the open ones and returns it. Ok is false if there is none.
func (t *Advertised) answered(mark int64) (p permit, ok bool) {
	for i, p := range t.open {
		if p.no&(1<<40-1) == mark&(1<<40-1) {
			last := len(t.open) - 1
			t.open[i] = t.open[last]
			t.open = t.open[:last]
			return p, true
		}
	}
	return p, false
}

// Settle implements Window.
func (t *Advertised) Settle(mark int64, at time.Duration, n int) {
	p, ok := t.answered(mark)
	if !ok {
		return
	}
	for i := range t.recent {
		if t.recent[i].no == p.no {
			t.recent[i].answered = max(at, 1)
		}
	}
	if mark>>40 != t.seq {
		return
	}
	if t.ours += n; p.at >= t.asOf && t.used < t.ours {
		t.used = t.ours // the answer did not advertise the permits used
	}
	if t.per > 0 { // the window began by at
		t.end = min(t.end, at+t.per)
	}
}

// Refund implements Window.
func (t *Advertised) Refund(mark int64, _ time.Duration, _ int) { t.answered(mark) }

// Left implements Window.
func (t *Advertised) Left(now time.Duration) int { return max(0, t.room(now)) }

// Limit implements Window.
func (t *Advertised) Limit() int { return t.max }

// Correct takes in the quota that an answer advertised at now. Mark identifies the permit of the answer's
// call, which must not be settled yet. Limit is the limit, used the permits used of it, and end the latest
// end of the window, negative if the answer does not say. A per above 0 is the window's length.
func (t *Advertised) Correct(mark int64, now time.Duration, limit, used int, end, per time.Duration) {
	if mark>>40 != t.seq {
		return
	}
	if t.max = limit; !t.odd {
		t.per = max(t.per, per)
	}
	if t.seq > 1 && used >= limit && 2*t.ours < limit && now < t.began+advertisedRounding && t.per > 0 {
		t.odd, t.guess, t.per = true, true, 0 // the previous window has not ended yet
	}
	if end >= 0 {
		end = max(end, now+time.Second) // partners round less than a second down to 0
		switch {
		case t.guess:
			t.end, t.guess = end, false
		case end > t.end+advertisedRounding: // the window is longer than it seemed
			t.end, t.per = end, 0
		default:
			t.end = min(t.end, end)
		}
	}
	no := mark & (1<<40 - 1)
	for _, p := range t.open {
		if p.no&(1<<40-1) == no {
			// At least used permits are used, and at most used and all permits that the partner may have counted
			// since. The partner may not count every call, and its window may roll.
			t.used = max(t.used, used)
			if since, ok := t.beside(p); ok {
				t.used = min(t.used, used+since)
				t.ours = min(t.ours, t.used)
			}
			t.asOf = max(t.asOf, p.at)
			return
		}
	}
}

// beside returns how many permits the partner may have counted after p: those taken since, and those in
// flight together with p. Ok is false if recent does not go back that far.
func (t *Advertised) beside(p permit) (n int, ok bool) {
	for i := 1; i <= min(t.takes, len(t.recent)); i++ {
		o := t.recent[(t.takes-i)%len(t.recent)]
		if o.at <= p.at-t.slack {
			return n, true
		}
		if o.no != p.no && (o.answered == 0 || o.answered > p.at) {
			n += o.n
		}
	}
	return n, t.takes <= len(t.recent)
}

// Exhaust records that no permit is left until end.
func (t *Advertised) Exhaust(end time.Duration) {
	t.used = max(t.used, t.max)
	t.end = max(t.end, end)
}
