package window

import "time"

// Told is a window that the partner's answers describe: its limit, how much of it is used, and when it ends.
// What is used is what the answer to the call that was sent last said, and every permit that is not answered
// yet and may not be in that.
type Told struct {
	max   int
	per   time.Duration // 0 while it is not known
	end   time.Duration // when it has surely ended
	guess bool          // end is one, as nothing has told it yet
	odd   bool          // per turned out wrong, so each window is told anew
	began time.Duration // when the first permit of the window was taken
	slack time.Duration // how long after sending the partner may count a call
	seq   int64         // of the window
	used  int           // of this window, as an answer said
	ours  int           // of that, what is known to be ours
	asOf  time.Duration // when that answer's call was sent
	count int64         // permits taken, ever
	open  []permit      // not answered yet
	// recent are the last that were taken, in a ring, to know how many that was since some time.
	recent [64]permit
	takes  int
}

// toldRounding is how much later than it is the end of a window may be told: a second for each of two times.
const toldRounding = 2*time.Second + 200*time.Millisecond

type permit struct {
	no       int64 // the count with it
	at       time.Duration
	answered time.Duration // 0 while it is open
	n        int
}

// NewTold returns a window of n permits of which used are gone, and which ends by end.
func NewTold(n, used int, per, end time.Duration) *Told {
	return &Told{max: n, per: per, end: end, seq: 1, used: used, ours: used}
}

// room returns how many permits are free.
func (t *Told) room(now time.Duration) int {
	left, since := t.max-t.used, t.asOf
	if now >= t.end { // another window, in which permits may count that were sent just now
		left, since = t.max, now
	} else if t.used > t.ours {
		left-- // somebody else spends from it too, perhaps just now
	}
	for _, p := range t.open {
		if p.at > since-t.slack {
			left -= p.n
		}
	}
	return left
}

// Wait implements Window.
func (t *Told) Wait(now time.Duration, n int) time.Duration {
	if min(n, t.max) <= t.room(now) {
		return 0
	}
	if now >= t.end {
		return max(t.slack, 1) // until what was sent just now counts no more in this one
	}
	return max(t.end-now, 1)
}

// Take implements Window.
func (t *Told) Take(now, latest time.Duration, n int) int64 {
	t.slack = latest - now
	if now >= t.end {
		t.seq++
		t.used, t.ours, t.asOf, t.began = 0, 0, now, now
		per := t.per
		if t.guess = per == 0; t.guess {
			per = time.Minute // until the first answer tells
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

// answered takes a permit out of those that are open, and returns it.
func (t *Told) answered(mark int64) (p permit, ok bool) {
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
func (t *Told) Settle(mark int64, at time.Duration, n int) {
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
		t.used = t.ours // the answer did not say
	}
	if t.per > 0 { // it has been opened by then
		t.end = min(t.end, at+t.per)
	}
}

// Refund implements Window.
func (t *Told) Refund(mark int64, _ time.Duration, _ int) { t.answered(mark) }

// Left implements Window.
func (t *Told) Left(now time.Duration) int { return max(0, t.room(now)) }

// Limit implements Window.
func (t *Told) Limit() int { return t.max }

// Correct takes in what an answer says, that came now to a permit of mark, before it is settled: the limit and how much
// of it is used; and when the window ends at the latest, negative when it does not say. A per above 0 is its length.
func (t *Told) Correct(mark int64, now time.Duration, limit, used int, end, per time.Duration) {
	if mark>>40 != t.seq {
		return
	}
	if t.max = limit; !t.odd {
		t.per = max(t.per, per)
	}
	if t.seq > 1 && used >= limit && 2*t.ours < limit && now < t.began+toldRounding && t.per > 0 {
		t.odd, t.guess, t.per = true, true, 0 // the window before has not ended yet
	}
	if end >= 0 {
		end = max(end, now+time.Second) // less than a second is said as none
		switch {
		case t.guess:
			t.end, t.guess = end, false
		case end > t.end+toldRounding: // it is longer than it seemed
			t.end, t.per = end, 0
		default:
			t.end = min(t.end, end)
		}
	}
	no := mark & (1<<40 - 1)
	for _, p := range t.open {
		if p.no&(1<<40-1) == no {
			// No less than that; and no more than with all that it may have counted since on top, as it may not
			// count every call, and may roll.
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

// beside returns how many permits the partner may have counted after p: those taken since, and those that were
// under way with it. It does not know where that is longer ago than it remembers.
func (t *Told) beside(p permit) (n int, ok bool) {
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

// Exhaust says that nothing is left until end.
func (t *Told) Exhaust(end time.Duration) {
	t.used = max(t.used, t.max)
	t.end = max(t.end, end)
}
