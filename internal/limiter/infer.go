package limiter

import (
	"time"
)

// infer returns the limit that refusal r indicates: n calls per per. n is 0 if r indicates none. certain is
// false if the evidence is weaker, so that the limit may soon be raised. The window's length follows from the
// time at which the partner wants the next call, or else from the calls that it accepted after refusals.
func (s *scheduler) infer(le *learner, r refusal, now time.Duration) (n int, per time.Duration, certain bool) {
	if r.until > 0 {
		return s.fromRetryAfter(le, r)
	}
	n, per = s.fromAcceptance(le, now)
	return n, per, true
}

// freeAgain reports whether a window of length per explains the time at which the partner wants the next call
// after refusal r: at that time, rounded up to a second, the oldest call leaves the window. It reports false
// if the partner named no time, or if the log does not reach back far enough.
func (s *scheduler) freeAgain(le *learner, r refusal, per time.Duration) bool {
	at, whole := s.log.Since(le.key, r.sent-per, nil)
	if !whole || len(at) == 0 || at[0] > r.known || r.until == 0 {
		return false
	}
	free := at[0] + per
	return free-100*time.Millisecond <= r.until && r.until <= free+roundedUp+(r.known-r.sent)
}

// sentBefore returns the number of calls that the partner had counted in the window of length per before
// refusal r. It takes every call as counted that was sent until the refusal was known.
func (s *scheduler) sentBefore(le *learner, r refusal, per time.Duration) int {
	at, _ := s.log.Since(le.key, r.sent-per, nil)
	n := 0
	for _, sent := range at {
		if sent <= r.known {
			n++
		}
	}
	return n
}

// mostOf returns the largest number of accepted calls in any window of length per, over the last twenty
// windows before refusal r.
func (s *scheduler) mostOf(le *learner, r refusal, per time.Duration) (most int) {
	at, _ := s.log.Since(le.key, r.sent-20*per, nil)
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

// fromRetryAfter infers the window from Retry-After: it looks for a standard window length for which the
// oldest call leaves the window just when the partner wants the next call, rounded up to a second. The result
// is certain if the window began with a gap and the partner has not accepted clearly more calls in such a
// window before. Otherwise two refusals in a row must have come after about as many calls, and the result is
// less certain.
func (s *scheduler) fromRetryAfter(le *learner, r refusal) (n int, per time.Duration, certain bool) {
	for _, w := range windows {
		if !s.freeAgain(le, r, w) {
			continue
		}
		n := s.sentBefore(le, r, w)
		if s.filled(le, r, w) && 10*n >= 9*s.mostOf(le, r, w) {
			return n, w, true
		}
		// Not certain: the refusal before must have come after about as many calls.
		if i := len(le.refusals) - 2; i >= 0 {
			if before := s.sentBefore(le, le.refusals[i], w); sameLimit(n, before) {
				return max(n, before), w, false
			}
		}
	}
	return 0, 0, false
}

// filled reports whether the window of length per before refusal r began with a gap, without calls in its
// first twentieth. Without a gap freeAgain proves nothing: in steady traffic the oldest call of any window is
// about to leave it.
func (s *scheduler) filled(le *learner, r refusal, per time.Duration) bool {
	at, _ := s.log.Since(le.key, r.sent-per, nil)
	return len(at) > 0 && at[0] >= r.sent-per+per/20
}

// fromAcceptance infers the window from accepted calls: it returns the shortest standard window that was full
// at every refusal, and not full at any call that was accepted after the first refusal. It returns 0 if no
// window fits, or if no call has been accepted since the first refusal.
func (s *scheduler) fromAcceptance(le *learner, now time.Duration) (n int, per time.Duration) {
	first := le.refusals[0]
	for _, w := range windows {
		at, whole := s.log.Since(le.key, first.sent-w, nil)
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
