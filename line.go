package belay

import (
	"context"
	"fmt"
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
	queues        int    // whose waiters are under it
	claimed       int    // permits that earlier waiters need, in this round
	round         uint64 // of claimed
}

func (t *tier) claim(round uint64) int {
	if t.round != round {
		t.round, t.claimed = round, 0
	}
	return t.claimed
}

func newLine() *line {
	return &line{base: time.Now(), slack: firstSlack}
}

func (ln *line) now() time.Duration { return time.Since(ln.base) }

// acquire is Limiter.Acquire after its checks.
func (ln *line) acquire(ctx context.Context, l *Limiter, t *Ticket) error {
	w, err := ln.admitOrJoin(ctx, l, t)
	if w == nil {
		return err
	}
	joined := ln.now()
	err = ln.wait(ctx, l, t, w)
	if t.by != nil {
		t.by.waited = ln.now() - joined
	}
	return err
}

// admitOrJoin returns neither waiter nor error when t has been admitted.
func (ln *line) admitOrJoin(ctx context.Context, l *Limiter, t *Ticket) (*waiter, error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	now := ln.now()
	if ln.waiting.Load() == 0 && ln.paused <= now && (len(ln.pauses) == 0 || ln.pauseOf(t, now) == nil) && ln.admit(l, t, now) {
		return nil, nil
	}
	return ln.join(ctx, l, t, now)
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
		return w.err
	case <-ctx.Done():
		err = fmt.Errorf("waiting in line: %w", ended(ctx))
	case <-patience:
		err = refuse(&waitError{"waited in line", t.caller().patience}, 0)
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	switch {
	case w.admitted:
		ln.refund(l, t)
	case w.err == nil:
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
	w := &waiter{ticket: t, view: l, seq: ln.seq, ready: make(chan struct{}), deadline: never}
	if deadline, ok := ctx.Deadline(); ok {
		w.deadline = now + time.Until(deadline)
	}
	ln.waiting.Add(1)
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
	// Only those who stand before it in the same queue are sure to go first.
	ahead := 0
	if q := ln.queueOf(l, t.taken); q != nil {
		ahead = q.cost
	}
	for i, tier := range l.tiers {
		if t.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if d := tier.Wait(now, ahead+t.cost()); d > wait {
			wait, what = d, "limit "+tier.limit.String()
		}
	}
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || by.patience > 0 && wait > by.patience {
		return refuse(&waitError{what, wait}, wait)
	}
	return nil
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
