package limiter

import (
	"time"
)

// infer returns the limit that a refusal shows, 0 when it shows none.
func (s *scheduler) infer(le *learner, r refusal, now time.Duration) (n int, per time.Duration, certain bool) {
	if r.until > 0 {
		return s.fromRetryAfter(le, r)
	}
	n, per = s.fromAcceptance(le, now)
	return n, per, true
}

// freeAgain reports whether the oldest call of a window before a refusal leaves it when the partner wants
// the next one, rounded up to a second.
func (s *scheduler) freeAgain(le *learner, r refusal, per time.Duration) bool {
	at, whole := s.log.Since(le.who, r.sent-per, nil)
	if !whole || len(at) == 0 || at[0] > r.known || r.until == 0 {
		return false
	}
	free := at[0] + per
	return free-100*time.Millisecond <= r.until && r.until <= free+roundedUp+(r.known-r.sent)
}

// sentBefore returns how many calls the partner had counted in the window before a refusal.
func (s *scheduler) sentBefore(le *learner, r refusal, per time.Duration) int {
	at, _ := s.log.Since(le.who, r.sent-per, nil)
	n := 0
	for _, sent := range at {
		if sent <= r.known {
			n++
		}
	}
	return n
}

// mostOf returns the most calls that went through in any window of per, of the last twenty before r.
func (s *scheduler) mostOf(le *learner, r refusal, per time.Duration) (most int) {
	at, _ := s.log.Since(le.who, r.sent-20*per, nil)
	first := 0
	for i, sent := range at {
		for at[first] <= sent-per {
			first++
		}
		if sent <= r.known {
			most = max(most, i-first+1)
		}
	}
	return most
}

// byWish takes the window by which the partner would want the next call when it does: as soon as the
// oldest call in it has left, rounded up to a second. It must not have taken more in such a window before, unless
// the refusal before came after as many; that is less certain.
func (s *scheduler) fromRetryAfter(le *learner, r refusal) (n int, per time.Duration, certain bool) {
	for _, w := range windows {
		if !s.freeAgain(le, r, w) {
			continue
		}
		n := s.sentBefore(le, r, w)
		if s.filled(le, r, w) && 10*n >= 9*s.mostOf(le, r, w) {
			return n, w, true
		}
		// Otherwise it takes two refusals in a row that agree.
		if i := len(le.refusals) - 2; i >= 0 {
			if before := s.sentBefore(le, le.refusals[i], w); sameLimit(n, before) {
				return max(n, before), w, false
			}
		}
	}
	return 0, 0, false
}

// filled reports whether the window before a refusal began with a pause: in steady traffic the oldest call of any
// window is about to leave it.
func (s *scheduler) filled(le *learner, r refusal, per time.Duration) bool {
	at, _ := s.log.Since(le.who, r.sent-per, nil)
	return len(at) > 0 && at[0] >= r.sent-per+per/20
}

// byTrial takes the shortest window that was full at every refusal, and not at any call that went through
// after the first one; none while nothing has gone through.
func (s *scheduler) fromAcceptance(le *learner, now time.Duration) (n int, per time.Duration) {
	first := le.refusals[0]
	for _, w := range windows {
		at, whole := s.log.Since(le.who, first.sent-w, nil)
		if len(at) == 0 || !whole {
			continue
		}
		count := func(from, to time.Duration) (n int) {
			for _, sent := range at {
				if sent > from && sent <= to {
					n++
				}
			}
			return n
		}
		n = -1
		for _, r := range le.refusals {
			if c := count(r.sent-w, r.known); n < 0 || c < n {
				n = c
			}
		}
		fits, through := n > 0, false
		for _, sent := range at {
			if sent > first.known && sent < now {
				through = true
				fits = fits && count(sent-w, sent)-1 < n
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
