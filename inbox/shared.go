package inbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

var (
	// ErrClaimLost is the error of a [Shared] store for a process that no longer is the one that handles its events.
	ErrClaimLost = errors.New("inbox: another process handles the events")
	// ErrNotClaimed is the error of Replay and Discard in a process that does not handle the events of a [Shared] store.
	ErrNotClaimed = errors.New("inbox: this process does not handle the events")
)

// Shared is a [Store] that several processes use at once. All of them may receive; the [Worker] of one at a time
// handles, and that of another one goes on when it ends. A Worker makes use of it by itself.
type Shared interface {
	Store
	// Claim waits until no other process handles the store's events, and returns a context that ends when this one must
	// not handle them any more. Until release is called, or the context ends, Settle is this process's alone: in any other
	// one that has claimed, it returns ErrClaimLost.
	Claim(ctx context.Context) (held context.Context, release func(), err error)
	// Pending returns the pending items whose Seq is above after, in order of Seq, and may leave out Header and Body. An
	// item that is added later has a greater Seq than all that it returns.
	Pending(ctx context.Context, after uint64) iter.Seq2[Item, error]
}

// term is the time in which a worker handles the events of its store: all the time, or, with a Shared store, that of a
// claim. Jobs belong to a term, because those of an earlier one are another process's now.
type term struct{ ctx context.Context }

// sharedPoll is the time between two looks for events that other processes have received.
const sharedPoll = 250 * time.Millisecond

// holdClaims claims the store's events, and handles them as long as the claim holds, again and again.
func (w *Worker) holdClaims(s Shared) {
	defer close(w.released)
	waiting, cancel := context.WithCancel(w.ctx)
	defer cancel()
	defer context.AfterFunc(w.stopped, cancel)()
	for !w.isClosed() {
		held, release, err := s.Claim(waiting)
		if err == nil {
			w.hold(s, held)
			release()
		}
		if err != nil && !w.isClosed() {
			w.tell(belay.EventHandled{Err: fmt.Errorf("inbox: claiming the events: %w", err), Retry: time.Second})
			_ = errkit.Sleep(waiting, time.Second)
		}
	}
}

// hold handles the events of the store until the context of the claim ends, or the worker has shut down.
func (w *Worker) hold(s Shared, held context.Context) {
	ctx, cancel := context.WithCancel(held)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	t := &term{ctx}
	w.mu.Lock()
	w.term = t
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.term, w.schedule = nil, newSchedule(w.cfg.MaxPerPartner, w.cfg.MaxPerIntegration)
	}()
	ticker := time.NewTicker(sharedPoll)
	defer ticker.Stop()
	for seen := uint64(0); ; {
		for it, err := range s.Pending(ctx, seen) {
			if err != nil {
				if held.Err() == nil && !w.isClosed() { // the claim holds: the next look may succeed
					w.tell(belay.EventHandled{Err: fmt.Errorf("inbox: reading events: %w", err), Retry: sharedPoll})
				}
				break
			}
			seen = it.Seq
			w.mu.Lock()
			if w.schedule.all[it.Seq] == nil && !w.closed {
				w.schedule.add(w.restored(&it))
			}
			w.mu.Unlock()
			w.poke()
		}
		select {
		case <-ticker.C:
		case <-held.Done():
			return
		case <-w.done:
			return
		}
	}
}
