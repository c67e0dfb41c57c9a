package limiter

import (
	"time"
)

// infer returns the limit that a refusal shows, 0 when it shows none.
func (ln *line) infer(l *learner, r refusal, now time.Duration) (n int, per time.Duration, certain bool) {
	if r.until > 0 {
		return ln.byWish(l, r)
	}
	n, per = ln.byTrial(l, now)
	return n, per, true
}

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

// mostOf returns the most calls that went through in any window of per, of the last twenty before r.
func (ln *line) mostOf(l *learner, r refusal, per time.Duration) (most int) {
	at, _ := ln.log.Since(l.who, r.sent-20*per, nil)
	first := 0
	for i, s := range at {
		for at[first] <= s-per {
			first++
		}
		if s <= r.known {
			most = max(most, i-first+1)
		}
	}
	return most
}

// byWish takes the window by which the partner would want the next call when it does: as soon as the
// oldest call in it has left, rounded up to a second. It must not have taken more in such a window before, unless
// the refusal before came after as many; that is less certain.
func (ln *line) byWish(l *learner, r refusal) (n int, per time.Duration, certain bool) {
	for _, w := range windows {
		if !ln.freeAgain(l, r, w) {
			continue
		}
		n := ln.sentBefore(l, r, w)
		if ln.filled(l, r, w) && 10*n >= 9*ln.mostOf(l, r, w) {
			return n, w, true
		}
		// Otherwise it takes two refusals in a row that agree.
		if i := len(l.refusals) - 2; i >= 0 {
			if before := ln.sentBefore(l, l.refusals[i], w); agree(n, before) {
				return max(n, before), w, false
			}
		}
	}
	return 0, 0, false
}

// filled reports whether the window before a refusal began with a pause: in steady traffic the oldest call of any
// window is about to leave it.
func (ln *line) filled(l *learner, r refusal, per time.Duration) bool {
	at, _ := ln.log.Since(l.who, r.sent-per, nil)
	return len(at) > 0 && at[0] >= r.sent-per+per/20
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
