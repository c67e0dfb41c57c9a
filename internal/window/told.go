package window

import "time"

// Told is a window that the partner's answers describe: its limit, how much of it is used, and when it ends.
// What is used is what the latest answer said and every permit that has not been answered yet.
type Told struct {
	max     int
	per     time.Duration // 0 while it is not known
	end     time.Duration // when it has surely ended
	seq     int64
	used    int // of this window, as the partner said, or else answered
	open    int // permits that were taken and not answered yet
	carried int // the same, of windows before
	ours    int // permits answered, of this window
}

// NewTold returns a window of n permits of which used are gone, and which ends by end.
func NewTold(n, used int, per, end time.Duration) *Told {
	return &Told{max: n, per: per, end: end, seq: 1, used: used, ours: used}
}

func (t *Told) room(now time.Duration) int {
	if now >= t.end {
		return t.max - t.open - t.carried
	}
	left := t.max - t.used - t.open - t.carried
	if t.used > t.ours {
		left-- // somebody else spends from it too, perhaps just now
	}
	return left
}

// Wait implements Window.
func (t *Told) Wait(now time.Duration, n int) time.Duration {
	if min(n, t.max) <= t.room(now) {
		return 0
	}
	if now >= t.end || t.open > 0 && n <= t.max-t.used {
		return Never // until what is open has been answered
	}
	return max(t.end-now, 1)
}

// Take implements Window.
func (t *Told) Take(now, latest time.Duration, n int) int64 {
	if now >= t.end {
		t.seq++
		t.carried += t.open
		t.used, t.open, t.ours = 0, 0, 0
		per := t.per
		if per == 0 {
			per = time.Minute // until the first answer tells
		}
		t.end = latest + per
	}
	t.open += n
	return t.seq
}

// Settle implements Window.
func (t *Told) Settle(mark int64, at time.Duration, n int) {
	if mark != t.seq {
		t.carried = max(0, t.carried-n)
		return
	}
	t.open -= n
	t.ours += n
	t.used = max(t.used, t.ours)
	if t.per > 0 { // it has been opened by then
		t.end = min(t.end, at+t.per)
	}
}

// Refund implements Window.
func (t *Told) Refund(mark int64, _ time.Duration, n int) {
	if mark != t.seq {
		t.carried = max(0, t.carried-n)
		return
	}
	t.open -= n
}

// Left implements Window.
func (t *Told) Left(now time.Duration) int { return max(0, t.room(now)) }

// Limit implements Window.
func (t *Told) Limit() int { return t.max }

// Correct takes in what an answer says, that came now to a permit of mark: the limit and how much of it is
// used, and when the window ends at the latest, 0 when it does not say. A per above 0 is its length.
func (t *Told) Correct(mark int64, now time.Duration, limit, used int, end, per time.Duration) {
	if mark != t.seq {
		return
	}
	t.max, t.per = limit, max(t.per, per)
	t.used = max(t.used, used)
	if end > now {
		t.end = min(t.end, end)
	}
}

// Exhaust says that nothing is left until end.
func (t *Told) Exhaust(end time.Duration) {
	t.used = max(t.used, t.max)
	t.end = max(t.end, end)
}
