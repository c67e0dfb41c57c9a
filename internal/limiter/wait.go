package limiter

import (
	"context"
	"fmt"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// wait blocks until w is admitted or refused, or until ctx or the patience ends. In the last two cases w
// gives back all permits and leaves the scheduler.
func (s *scheduler) wait(ctx context.Context, r *Reservation, w *waiter) (err error) {
	var patience <-chan time.Time
	if p := r.Patience; p > 0 {
		timer := time.NewTimer(p)
		defer timer.Stop()
		patience = timer.C
	}
	for {
		select {
		case <-w.ready:
			if over, err := s.woken(ctx, r, w); over {
				return err
			}
			continue
		case <-ctx.Done():
			err = errkit.Context(ctx)
		case <-patience:
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if what := s.waitsFor(w); err == nil {
			err = &Refusal{Reason: Waited, What: "waited in the queue" + what, Wait: r.Patience}
		} else {
			err = fmt.Errorf("waiting in the queue%s: %w", what, err)
		}
		switch {
		case w.admitted:
			s.refund(r)
		case w.err == nil:
			s.remove(w)
		}
		if w.store != nil {
			w.store.asking = 0
			s.wake(&w.store.tier.blocker)
		}
		s.pump(s.now())
		return err
	}
}

// woken acts on a signal to w, and reports whether the wait of w is over.
func (s *scheduler) woken(ctx context.Context, r *Reservation, w *waiter) (over bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ask := w.store; ask != nil {
		w.store = nil
		if w.admitted || w.err != nil {
			ask.asking = 0
			s.wake(&ask.tier.blocker)
			s.pump(s.now())
		} else {
			s.askFor(ctx, r, w, ask)
		}
	}
	for w.limitsChanged && !w.admitted && w.err == nil {
		s.chooseAgain(r, w)
	}
	return w.admitted || w.err != nil, w.err
}

// askFor asks a store for w's permits. It unlocks the mutex meanwhile.
func (s *scheduler) askFor(ctx context.Context, r *Reservation, w *waiter, ask *sharedQuota) {
	s.mu.Unlock()
	wait, err := ask.take(ctx, r.cost())
	s.mu.Lock()
	ask.answered(s.now(), r.cost(), wait, err, ctx.Err() != nil)
	s.wake(&ask.tier.blocker)
	if ctx.Err() != nil && w.err == nil {
		if w.admitted { // by permits that another call gave back meanwhile
			s.refund(r)
			w.admitted = false
		} else {
			s.remove(w)
		}
		w.err = fmt.Errorf("waiting in the queue: %w", errkit.Context(ctx))
	}
	s.pump(s.now())
}

// chooseAgain chooses w's limits after a change, and puts w back into its order of arrival. It unlocks the
// mutex meanwhile; it is locked again on return, even if a function of the user's panics.
func (s *scheduler) chooseAgain(r *Reservation, w *waiter) {
	w.limitsChanged = false
	chosen := false
	defer func() { // the user's functions may panic
		s.mu.Lock()
		if !chosen {
			s.remove(w)
			s.pump(s.now())
		}
	}()
	s.mu.Unlock()
	err := w.view.choose(r)
	s.mu.Lock()
	switch {
	case w.err != nil:
	case err != nil:
		w.err = err
		s.remove(w)
		s.pump(s.now())
	case r.tiers.generation != s.generation.Load():
		w.limitsChanged = true
	case !w.limitsChanged:
		s.enqueue(w)
		s.pump(s.now())
	}
	chosen = true
	s.mu.Unlock()
}

// signal wakes w. Signals do not add up: one is enough.
func (w *waiter) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// waitsFor returns what w waits for, as " for limit 10 per 1s", or "" if that is not known.
func (s *scheduler) waitsFor(w *waiter) string {
	if w.queue == nil || w.queue.of.home == nil {
		return ""
	}
	b := w.queue.of.home
	what := ""
	s.eachTier(w, func(t *tier) {
		switch {
		case &t.blocker != b:
		case t.slots != nil:
			what = fmt.Sprintf(" for a place: %d of %d in flight, full for %s (are all bodies closed?)",
				t.slots.Used(), t.limit.N, (s.now() - b.since).Round(time.Millisecond))
		default:
			what = " for limit " + t.limit.String()
			if t.source != Configured {
				what += " (" + t.source.String() + ")"
			}
		}
	})
	for _, sc := range s.scopesOf(w.place) {
		switch {
		case sc == nil:
		case b == &sc.pausing:
			what = " for a pause of the partner"
		case b == &sc.easing:
			what = " for the ramp after an outage"
		}
	}
	return what
}

// join adds a waiter for r, or returns a *Refusal if r must not wait.
func (s *scheduler) join(ctx context.Context, l *Limiter, r *Reservation, now time.Duration) (*waiter, error) {
	if !r.Returning && s.queueFull(l, r) {
		return nil, &Refusal{Reason: QueueFull}
	}
	if err := s.tooLong(ctx, r, now); err != nil {
		return nil, err
	}
	w := &waiter{place: r, view: l, level: r.Level, ready: make(chan struct{}, 1), deadline: never}
	if deadline, ok := ctx.Deadline(); ok {
		w.deadline = now + time.Until(deadline)
	}
	s.enlist(w)
	s.enqueue(w)
	s.pump(now)
	return w, nil
}

// totalQueues is how many times MaxQueue the waiters of all tenants together may be.
const totalQueues = 10

// queueFull reports whether too many calls wait already, of r's tenant or of all tenants.
func (s *scheduler) queueFull(l *Limiter, r *Reservation) bool {
	own := s.tenants[r.Tenant]
	return l.MaxQueue == 0 || own != nil && own.waiting >= l.MaxQueue || int(s.waiting.Load())/totalQueues >= l.MaxQueue
}

// tooLong returns a *Refusal if r would certainly wait longer than its deadline, its patience or, for a wait
// that the partner asked for, MaxPause. It returns nil otherwise.
func (s *scheduler) tooLong(ctx context.Context, r *Reservation, now time.Duration) error {
	by := r
	wait, what := time.Duration(0), "paused by the partner"
	all := s.scopesOf(r)
	easing := time.Duration(0)
	for _, sc := range all {
		if sc != nil {
			wait = max(wait, sc.until-now)
			easing = max(easing, sc.ramp.wait(now, s.waiters(&sc.easing)))
		}
	}
	// longer keeps the longest wait and its cause. A wait that the partner asked for (said) is bounded by
	// MaxPause too.
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
	_ = longer(easing, "easing in after an outage", false)
	// Waiters go before r for certain only if they all wait in the tenantQueue that r would join.
	ahead := 0
	if q := s.queues[queueKey{r.tiers, r.taken, r.keys()}]; q != nil && len(s.tenants) == 1 && q.tenantsAt(r.Level) == 1 {
		ahead = q.cost
	}
	for i, tier := range r.tiers.tiers {
		if r.taken>>i&1 == 0 || tier.slots != nil {
			continue
		}
		if d := tier.waitFor(now, r.cost(), ahead); d > wait {
			_ = longer(d, "limit "+tier.limit.String(), false)
		}
	}
	for _, sc := range all {
		if sc == nil {
			continue
		}
		for _, tier := range sc.tiers {
			d := tier.waitFor(now, r.cost(), 0)
			if err := longer(d, "limit "+tier.limit.String()+" ("+tier.source.String()+")",
				tier.source == Advertised); err != nil {
				return err
			}
		}
	}
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || by.Patience > 0 && wait > by.Patience {
		return &Refusal{Reason: WaitTooLong, What: what, Wait: wait}
	}
	return nil
}
