package belay

import (
	"maps"
	"slices"
	"time"
)

type pauseKey struct {
	scope Scope
	whom  any
}

type pause struct {
	until   time.Duration
	waiters []*waiter
}

// learn sets a pause or a longer slack by what the partner answered.
func (ln *line) learn(t *Ticket, v *Verdict, now time.Duration) time.Duration {
	switch v.Class {
	case ClassOK:
		ln.strikes = 0
		ln.struck.Store(false)
		return 0
	case ClassRateLimited:
		ln.ramp.disturbed(now)
		// It counted the call later than we believed: believe it, up to when it answered.
		if took := now - t.sent; took > ln.slack {
			ln.slack = min(2*ln.slack, took)
		}
	case ClassTransient:
		ln.ramp.disturbed(now)
		if v.RetryAfter <= 0 {
			return 0
		}
	default:
		return 0
	}
	if v.Scope == ScopeCall {
		return 0
	}
	until := ln.pausedUntil(t, v.Scope)
	wait := min(v.RetryAfter, longestHold)
	if wait <= 0 {
		if until > now {
			return 0
		}
		wait = 500 * time.Millisecond << min(ln.strikes, 5)
		ln.strikes++
		ln.struck.Store(true)
	}
	if now+wait <= until {
		return 0
	}
	ln.pauseFor(t, v.Scope, now+wait)
	return wait
}

func (t *Ticket) pauseKey(scope Scope) (pauseKey, bool) {
	switch by := t.caller(); {
	case scope == ScopeCredential && by.credential != nil:
		return pauseKey{scope, by.credential}, true
	case scope == ScopeRoute && by.route != "":
		return pauseKey{scope, [2]string{by.method, by.route}}, true
	}
	return pauseKey{}, false // the partner as a whole
}

// pauseOf returns the pause that t has to sit out, beside the partner's; the longest if there are two.
func (ln *line) pauseOf(t *Ticket, now time.Duration) *pause {
	var longest *pause
	for _, scope := range [...]Scope{ScopeRoute, ScopeCredential} {
		if key, ok := t.pauseKey(scope); ok {
			p := ln.pauses[key]
			if p == nil {
				continue
			}
			if p.until <= now && len(p.waiters) == 0 {
				delete(ln.pauses, key)
			} else if longest == nil || p.until > longest.until {
				longest = p
			}
		}
	}
	return longest
}

// pausedUntil returns when the pause of a scope, or the partner's, ends or has ended.
func (ln *line) pausedUntil(t *Ticket, scope Scope) time.Duration {
	key, ok := t.pauseKey(scope)
	if !ok {
		return ln.paused
	}
	if p := ln.pauses[key]; p != nil {
		return max(p.until, ln.paused)
	}
	return ln.paused
}

// pauseFor makes everybody in the scope wait until then.
func (ln *line) pauseFor(t *Ticket, scope Scope, until time.Duration) {
	key, ok := t.pauseKey(scope)
	p := ln.pauses[key]
	if ok && p == nil && len(ln.pauses) >= maxPauses {
		now := ln.now()
		maps.DeleteFunc(ln.pauses, func(_ pauseKey, p *pause) bool { return p.until <= now && len(p.waiters) == 0 })
		ok = len(ln.pauses) < maxPauses
	}
	if !ok {
		ln.paused = max(ln.paused, until)
		ln.eachWaiter(func(w *waiter) { ln.turnAway(w, until) })
		return
	}
	if p == nil {
		p = &pause{}
		if ln.pauses == nil {
			ln.pauses = make(map[pauseKey]*pause)
		}
		ln.pauses[key] = p
	}
	p.until = until
	ln.eachWaiter(func(w *waiter) {
		if k, ok := w.ticket.pauseKey(scope); ok && k == key {
			if w.queue != nil {
				ln.unlink(w)
				w.pause = p
				p.waiters = append(p.waiters, w)
			}
			ln.turnAway(w, until)
		}
	})
}

// endPauses lets those go on whose pause is over, and returns when the next one ends.
func (ln *line) endPauses(now time.Duration) time.Duration {
	next := never
	for key, p := range ln.pauses {
		if p.until > now {
			if len(p.waiters) > 0 {
				next = min(next, p.until)
			}
			continue
		}
		delete(ln.pauses, key)
		for _, w := range p.waiters {
			if other := ln.pauseOf(w.ticket, now); other != nil {
				w.pause = other
				other.waiters = append(other.waiters, w)
				next = min(next, other.until)
			} else {
				ln.enqueue(w)
			}
		}
	}
	return next
}

// eachWaiter calls f for everybody behind a pause and in line, who may leave it meanwhile.
func (ln *line) eachWaiter(f func(*waiter)) {
	for _, p := range ln.pauses {
		for _, w := range slices.Clone(p.waiters) {
			f(w)
		}
	}
	for _, q := range slices.Clone(ln.queues) {
		for w := q.head; w != nil; {
			next := w.next
			f(w)
			w = next
		}
	}
}

// turnAway ends the wait of w when a pause is longer than it may sit out, as one who comes now is refused.
func (ln *line) turnAway(w *waiter, until time.Duration) {
	by, wait := w.ticket.caller(), until-ln.now()
	if (by.maxPause <= 0 || wait <= by.maxPause) && (by.patience <= 0 || wait <= by.patience) && until <= w.deadline {
		return
	}
	ln.remove(w)
	w.err = refuse(&waitError{"paused by the partner", wait}, wait)
	close(w.ready)
}
