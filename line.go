package belay

import (
	"context"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/window"
)

// line is the one line of waiters of a limiter and all its views. A waiter goes when all its tiers
// admit it, which is decided under one mutex; nobody waits and no callback runs under it. Waiters with
// the same tiers stand in one queue, so that only the heads of the queues have to be looked at.
type line struct {
	mu   sync.Mutex
	base time.Time // what the durations below count from

	queues  []*queue
	waiting atomic.Int32 // in queues and behind pauses; changed under mu
	seq     uint64
	round   uint64 // of looking at the heads; see tier.claim
	timer   *time.Timer
	wake    time.Duration // when the timer fires

	slack   time.Duration // how long after sending the partner may count a call
	paused  time.Duration // everybody waits until then
	pauses  map[pauseKey]*pause
	strikes int         // refusals in a row that did not say how long to wait
	struck  atomic.Bool // there are some
	ramp    ramp
}

const (
	never       = time.Duration(math.MaxInt64)
	firstSlack  = 100 * time.Millisecond
	longestHold = time.Hour // a pause is asked again after that, whatever the partner said
	maxPauses   = 4096
)

type tier struct {
	window.Window               // nil when slots is not
	slots         *window.Slots // of calls in flight
	limit         Limit
	queued        int    // permits that waiters ask for
	claimed       int    // permits that earlier waiters need, in this round
	round         uint64 // of claimed
}

func (t *tier) claim(round uint64) int {
	if t.round != round {
		t.round, t.claimed = round, 0
	}
	return t.claimed
}

// queue holds waiters of one view with the same tiers, in order of arrival.
type queue struct {
	view       *Limiter
	tiers      uint64
	head, tail *waiter
	blocked    uint64 // the round in which its head was found to have to wait
}

type waiter struct {
	ticket     *Ticket
	view       *Limiter
	seq        uint64
	prev, next *waiter
	queue      *queue // nil when behind a pause, or gone
	pause      *pause
	ready      chan struct{} // closed when it has been admitted
	admitted   bool
}

type pauseKey struct {
	scope Scope
	whom  any
}

type pause struct {
	until   time.Duration
	waiters []*waiter
}

func newLine() *line {
	return &line{base: time.Now(), slack: firstSlack}
}

func (ln *line) now() time.Duration { return time.Since(ln.base) }

// acquire is Limiter.Acquire after its checks.
func (ln *line) acquire(ctx context.Context, l *Limiter, t *Ticket) error {
	ln.mu.Lock()
	now := ln.now()
	if ln.waiting.Load() == 0 && ln.paused <= now && (len(ln.pauses) == 0 || ln.pauseOf(t, now) == nil) && ln.admit(l, t, now) {
		ln.mu.Unlock()
		return nil
	}
	w, err := ln.join(ctx, l, t, now)
	ln.mu.Unlock()
	if err != nil {
		return err
	}
	err = ln.wait(ctx, l, t, w)
	if t.by != nil {
		t.by.waited = ln.now() - now
	}
	return err
}

// wait waits until w is admitted.
func (ln *line) wait(ctx context.Context, l *Limiter, t *Ticket, w *waiter) (err error) {
	var patience <-chan time.Time
	if p := t.caller().patience; p > 0 {
		timer := time.NewTimer(p)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-patience:
		err = refuse(&waitError{"waited in line", t.caller().patience}, 0)
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if w.admitted {
		ln.refund(l, t)
	} else {
		ln.remove(w)
	}
	ln.pump(ln.now())
	return err
}

// admit takes every tier of t and reports true, or takes none.
func (ln *line) admit(l *Limiter, t *Ticket, now time.Duration) bool {
	if !ln.ramp.open(now) {
		return false
	}
	n := t.cost()
	for i, tier := range l.tiers {
		switch {
		case t.taken>>i&1 == 0:
		case tier.slots != nil:
			if !tier.slots.Free(1) {
				return false
			}
		case tier.Wait(now, n) > 0:
			return false
		}
	}
	ln.take(l, t, now)
	return true
}

// cost is what n permits are in this tier: a call is one call in flight, whatever it costs.
func (t *tier) cost(n int) int {
	if t.slots != nil {
		return 1
	}
	return n
}

func (ln *line) take(l *Limiter, t *Ticket, now time.Duration) {
	n := t.cost()
	t.sent, t.state, t.tight = now, ticketTaken, false
	for i, tier := range l.tiers {
		switch {
		case t.taken>>i&1 == 0:
		case tier.slots != nil:
			tier.slots.Take()
		default:
			mark := tier.Take(now, now+ln.slack, n)
			*t.mark(i) = mark
			t.tight = t.tight || mark >= 0
		}
	}
	ln.ramp.note(now)
	if t.by != nil && t.by.ask {
		t.by.left = ln.left(l, t, now)
	}
}

// left returns what the tightest of t's limits has left, -1 when it is under none.
func (ln *line) left(l *Limiter, t *Ticket, now time.Duration) int {
	least := -1
	for i, tier := range l.tiers {
		if t.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if left := tier.Left(now); least < 0 || left < least {
			least = left
		}
	}
	return least
}

// join puts a waiter into the line, or says why it must not wait.
func (ln *line) join(ctx context.Context, l *Limiter, t *Ticket, now time.Duration) (*waiter, error) {
	if int(ln.waiting.Load()) >= l.maxQueue && !t.caller().returning {
		return nil, refuse(ErrQueueFull, 0)
	}
	if err := ln.tooLong(ctx, l, t, now); err != nil {
		return nil, err
	}
	ln.seq++
	w := &waiter{ticket: t, view: l, seq: ln.seq, ready: make(chan struct{})}
	ln.waiting.Add(1)
	for i, tier := range l.tiers {
		if t.taken>>i&1 != 0 {
			tier.queued += tier.cost(t.cost())
		}
	}
	if p := ln.pauseOf(t, now); p != nil {
		w.pause = p
		p.waiters = append(p.waiters, w)
	} else {
		ln.enqueue(w)
	}
	ln.pump(now)
	return w, nil
}

// tooLong refuses a wait that is known to outlast the deadline or the patience.
func (ln *line) tooLong(ctx context.Context, l *Limiter, t *Ticket, now time.Duration) error {
	wait, what := ln.paused-now, "paused by the partner"
	if p := ln.pauseOf(t, now); p != nil {
		wait = max(wait, p.until-now)
	}
	by := t.caller()
	if wait > 0 && by.maxPause > 0 && wait > by.maxPause {
		return refuse(&waitError{what, wait}, wait)
	}
	if d := ln.ramp.wait(now, int(ln.waiting.Load())); d > wait {
		wait, what = d, "easing in after an outage"
	}
	for i, tier := range l.tiers {
		if t.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if d := tier.Wait(now, tier.queued+t.cost()); d > wait {
			wait, what = d, "limit "+tier.limit.String()
		}
	}
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || by.patience > 0 && wait > by.patience {
		return refuse(&waitError{what, wait}, wait)
	}
	return nil
}

// enqueue inserts w by its sequence number into the queue of its tiers.
func (ln *line) enqueue(w *waiter) {
	var q *queue
	for _, have := range ln.queues {
		if have.view == w.view && have.tiers == w.ticket.taken {
			q = have
		}
	}
	if q == nil {
		q = &queue{view: w.view, tiers: w.ticket.taken}
		ln.queues = append(ln.queues, q)
	}
	after := q.tail
	for after != nil && after.seq > w.seq {
		after = after.prev
	}
	w.queue, w.pause, w.prev = q, nil, after
	if after == nil {
		w.next, q.head = q.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.tail = w
	} else {
		w.next.prev = w
	}
}

// unlink takes w out of its queue.
func (ln *line) unlink(w *waiter) {
	q := w.queue
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queue = nil, nil, nil
	if q.head == nil {
		for i, have := range ln.queues {
			if have == q {
				last := len(ln.queues) - 1
				ln.queues[i], ln.queues[last] = ln.queues[last], nil
				ln.queues = ln.queues[:last]
				break
			}
		}
	}
}

// remove takes w out of the line, wherever it stands.
func (ln *line) remove(w *waiter) {
	if w.queue != nil {
		ln.unlink(w)
	} else if p := w.pause; p != nil {
		for i, have := range p.waiters {
			if have == w {
				p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
				break
			}
		}
	}
	ln.waiting.Add(-1)
	for i, tier := range w.view.tiers {
		if w.ticket.taken>>i&1 != 0 {
			tier.queued -= tier.cost(w.ticket.cost())
		}
	}
}

// pump admits whom it can and sets the timer for the next.
func (ln *line) pump(now time.Duration) {
	if ln.waiting.Load() == 0 {
		if ln.timer != nil {
			ln.timer.Stop()
			ln.timer = nil
		}
		return
	}
	next := ln.endPauses(now)
	if ln.paused > now {
		next = min(next, ln.paused)
	} else {
		next = min(next, ln.admitHeads(now))
	}
	if ln.waiting.Load() == 0 || next == never || ln.timer != nil && ln.wake == next {
		return
	}
	ln.wake = next
	if ln.timer == nil {
		ln.timer = time.AfterFunc(next-now, ln.onTimer)
	} else {
		ln.timer.Reset(next - now)
	}
}

func (ln *line) onTimer() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.timer = nil
	ln.pump(ln.now())
}

// admitHeads looks at the heads of the queues in order of arrival. A head that has to wait claims what
// it needs, so that nobody behind it takes that. It returns when the next head could go.
func (ln *line) admitHeads(now time.Duration) time.Duration {
	next := never
	ln.round++
	for {
		var q *queue
		for _, have := range ln.queues {
			if have.blocked != ln.round && (q == nil || have.head.seq < q.head.seq) {
				q = have
			}
		}
		if q == nil {
			return next
		}
		if !ln.ramp.open(now) {
			return min(next, ln.ramp.next)
		}
		w := q.head
		n := w.ticket.cost()
		at := now
		for i, tier := range w.view.tiers {
			if w.ticket.taken>>i&1 == 0 {
				continue
			}
			claimed := tier.claim(ln.round)
			if tier.slots != nil {
				if !tier.slots.Free(1 + claimed) {
					at = never // a slot comes back by leave, not by the clock
				}
			} else if wait := tier.Wait(now, n+claimed); wait > 0 && at != never {
				at = max(at, now+wait)
			}
		}
		if at > now {
			for i, tier := range w.view.tiers {
				if w.ticket.taken>>i&1 != 0 {
					tier.claimed += tier.cost(n)
				}
			}
			q.blocked = ln.round
			next = min(next, at)
			continue
		}
		ln.remove(w)
		ln.take(w.view, w.ticket, now)
		w.admitted = true
		close(w.ready)
	}
}

// settle takes in what became of an attempt; its place in flight ends by leave. It returns how long a
// pause it began, if it did.
func (ln *line) settle(l *Limiter, t *Ticket, v *Verdict, sent bool) (began time.Duration) {
	if t.state != ticketTaken {
		return 0
	}
	if !t.tight && sent && v.Class == ClassOK && !ln.struck.Load() {
		t.state = ticketSettled
		return 0
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	n := t.cost()
	at := min(now, t.sent+ln.slack)
	for i, tier := range l.tiers {
		switch {
		case t.taken>>i&1 == 0 || tier.slots != nil:
		case sent:
			tier.Settle(*t.mark(i), at, n)
		default:
			tier.Refund(*t.mark(i), now, n)
		}
	}
	t.state = ticketSettled
	if sent {
		began = ln.learn(t, v, now)
	}
	ln.pump(now)
	return began
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

// leave ends a settled attempt's place in flight. It takes the lock only when somebody waits: a waiter
// that comes meanwhile looks at the slots after it has been counted.
func (ln *line) leave(l *Limiter, t *Ticket) {
	if t.state == ticketFree {
		return
	}
	t.state = ticketFree
	ln.giveSlots(l, t.taken)
}

// giveSlots gives back the slots among the tiers that were taken.
func (ln *line) giveSlots(l *Limiter, taken uint64) {
	for i, tier := range l.tiers {
		if tier.slots != nil && taken>>i&1 != 0 {
			tier.slots.Give()
		}
	}
	if ln.waiting.Load() > 0 {
		ln.mu.Lock()
		defer ln.mu.Unlock()
		ln.pump(ln.now())
	}
}

// outage and recovered are what the breaker's opening and closing mean for the line.
func (ln *line) outage() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.ramp.outage(ln.now())
}

func (ln *line) recovered(after time.Duration) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.ramp.start(ln.now(), after)
}

// refund undoes take.
func (ln *line) refund(l *Limiter, t *Ticket) {
	now := ln.now()
	for i, tier := range l.tiers {
		switch {
		case t.taken>>i&1 == 0:
		case tier.slots != nil:
			tier.slots.Give()
		default:
			tier.Refund(*t.mark(i), now, t.cost())
		}
	}
	t.state = ticketFree
}

func (t *Ticket) pauseKey(scope Scope) (pauseKey, bool) {
	switch by := t.caller(); {
	case scope == ScopeCredential && by.credential != nil:
		return pauseKey{scope, by.credential}, true
	case scope == ScopeRoute && by.route != "":
		return pauseKey{scope, by.route}, true
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
	for _, q := range append([]*queue(nil), ln.queues...) {
		for w := q.head; w != nil; {
			next := w.next
			if k, ok := w.ticket.pauseKey(scope); ok && k == key {
				ln.unlink(w)
				w.pause = p
				p.waiters = append(p.waiters, w)
			}
			w = next
		}
	}
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
