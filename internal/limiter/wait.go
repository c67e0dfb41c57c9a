package limiter

import (
	"context"
	"fmt"
	"time"

	"github.com/belay-go/belay/internal/fault"
)

// wait waits until w is admitted.
func (ln *line) wait(ctx context.Context, t *Reservation, w *waiter) (err error) {
	var patience <-chan time.Time
	if p := t.Patience; p > 0 {
		timer := time.NewTimer(p)
		defer timer.Stop()
		patience = timer.C
	}
	for {
		select {
		case <-w.ready:
			if over, err := ln.woken(ctx, t, w); over {
				return err
			}
			continue
		case <-ctx.Done():
			err = fmt.Errorf("waiting in line: %w", fault.Context(ctx))
		case <-patience:
			err = &Refusal{Reason: Waited, What: "waited in line", Wait: t.Patience}
		}
		ln.mu.Lock()
		defer ln.mu.Unlock()
		switch {
		case w.admitted:
			ln.refund(t)
		case w.err == nil:
			ln.remove(w)
		}
		if w.ask != nil {
			w.ask.asking = 0
		}
		ln.pump(ln.now())
		return err
	}
}

// woken does what w was woken for, and reports whether its wait is over.
func (ln *line) woken(ctx context.Context, t *Reservation, w *waiter) (over bool, err error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ask := w.ask; ask != nil {
		w.ask = nil
		if w.admitted || w.err != nil {
			ask.asking = 0
			ln.pump(ln.now())
		} else {
			ln.askFor(ctx, t, w, ask)
		}
	}
	for w.moved && !w.admitted && w.err == nil {
		ln.chooseAgain(t, w)
	}
	return w.admitted || w.err != nil, w.err
}

// askFor asks a store for w's permits, without the lock.
func (ln *line) askFor(ctx context.Context, t *Reservation, w *waiter, ask *sharedQuota) {
	ln.mu.Unlock()
	wait, err := ask.take(ctx, t.cost())
	ln.mu.Lock()
	ask.answered(ln.now(), t.cost(), wait, err, ctx.Err() != nil)
	if ctx.Err() != nil && w.err == nil {
		if w.admitted { // by what another gave back meanwhile
			ln.refund(t)
			w.admitted = false
		} else {
			ln.remove(w)
		}
		w.err = fmt.Errorf("waiting in line: %w", fault.Context(ctx))
	}
	ln.pump(ln.now())
}

// chooseAgain finds w's limits after they have changed, without the lock, and puts it back into its place.
func (ln *line) chooseAgain(t *Reservation, w *waiter) {
	w.moved = false
	chosen := false
	defer func() { // the user's functions may panic
		ln.mu.Lock()
		if !chosen {
			ln.remove(w)
			ln.pump(ln.now())
		}
	}()
	ln.mu.Unlock()
	err := w.view.choose(t)
	ln.mu.Lock()
	switch {
	case w.err != nil:
	case err != nil:
		w.err = err
		ln.remove(w)
		ln.pump(ln.now())
	case t.tiers.generation != ln.generation.Load():
		w.moved = true
	case !w.moved:
		ln.enqueue(w)
		ln.pump(ln.now())
	}
	chosen = true
	ln.mu.Unlock()
}

// signal wakes w to look at what has become of it.
func (w *waiter) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// join puts a waiter into the line, or says why it must not wait.
func (ln *line) join(ctx context.Context, l *Limiter, t *Reservation, now time.Duration) (*waiter, error) {
	if !t.Returning && ln.full(l, t) {
		return nil, &Refusal{Reason: QueueFull}
	}
	if err := ln.tooLong(ctx, t, now); err != nil {
		return nil, err
	}
	w := &waiter{ticket: t, view: l, level: t.Level, ready: make(chan struct{}, 1), deadline: never}
	if deadline, ok := ctx.Deadline(); ok {
		w.deadline = now + time.Until(deadline)
	}
	ln.enlist(w)
	ln.enqueue(w)
	ln.pump(now)
	return w, nil
}

// queuesOfAll is how many times its bound all tenants together may wait.
const queuesOfAll = 10

// full reports whether too many wait already, of t's tenant or of all.
func (ln *line) full(l *Limiter, t *Reservation) bool {
	own := ln.tenants[t.Tenant]
	return l.MaxQueue == 0 || own != nil && own.waiting >= l.MaxQueue || int(ln.waiting.Load())/queuesOfAll >= l.MaxQueue
}

// tooLong refuses a wait that is known to outlast the deadline or the patience.
func (ln *line) tooLong(ctx context.Context, t *Reservation, now time.Duration) error {
	by := t
	wait, what := ln.all.until-now, "paused by the partner"
	groups := ln.groupsOf(t)
	for _, g := range groups {
		if g != nil {
			wait = max(wait, g.until-now)
		}
	}
	// What the partner said itself holds for as long as Retry-After may.
	longer := func(d time.Duration, why string, said bool) error {
		if d > wait && d != never {
			wait, what = d, why
		}
		if said && by.MaxPause > 0 && d > by.MaxPause && d != never {
			return &Refusal{Reason: WaitTooLong, What: why, Wait: d}
		}
		return nil
	}
	if err := longer(wait, what, true); err != nil {
		return err
	}
	_ = longer(ln.ramp.wait(now, int(ln.waiting.Load())), "easing in after an outage", false)
	// Only those who stand before it in the same row are sure to go first.
	ahead := 0
	if q := ln.queues[queueKey{t.tiers, t.taken, groups}]; q != nil && len(ln.tenants) == 1 && q.tenantsAt(t.Level) == 1 {
		ahead = q.cost
	}
	for i, tier := range t.tiers.tiers {
		if t.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if d := tier.waitFor(now, t.cost(), ahead); d > wait {
			_ = longer(d, "limit "+tier.limit.String(), false)
		}
	}
	for _, g := range [...]*group{&ln.all, groups[0], groups[1]} {
		if g == nil {
			continue
		}
		for _, tier := range g.tiers {
			d := tier.waitFor(now, t.cost(), 0)
			if err := longer(d, "limit "+tier.limit.String()+" ("+tier.source.String()+")", tier.source == Advertised); err != nil {
				return err
			}
		}
	}
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || by.Patience > 0 && wait > by.Patience {
		return &Refusal{Reason: WaitTooLong, What: what, Wait: wait}
	}
	return nil
}
