package inbox

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/fault"
)

// Filter chooses among the events that were set aside. What is empty chooses all.
type Filter struct {
	Partner, Integration, Type string
	// IDs are the events' own.
	IDs []string
	// Since and Until bound when they were received.
	Since, Until time.Time
	// State is Dead or Unhandled; zero means both.
	State State
}

func (f *Filter) takes(it *Item) bool {
	return it.State != Pending && it.State != Handled &&
		(f.State == Pending || f.State == it.State) &&
		(f.Partner == "" || f.Partner == it.Partner) &&
		(f.Integration == "" || f.Integration == it.Integration) &&
		(f.Type == "" || f.Type == it.Type) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, it.ID)) &&
		(f.Since.IsZero() || !it.Received.Before(f.Since)) &&
		(f.Until.IsZero() || it.Received.Before(f.Until))
}

// Aside returns the events that were set aside, those that arrived first before the others. An error is the last.
func (w *Worker) DeadLetters(ctx context.Context, f Filter) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for it, err := range w.store.Items(ctx) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if f.takes(&it) && !yield(it, nil) {
				return
			}
		}
	}
}

// Replay says how events that were set aside are handled again.
type Replay struct {
	// Pace is the time between two of them; zero or less means none.
	Pace time.Duration
	// DryRun counts and changes nothing.
	DryRun bool
}

// Replay has events that were set aside handled again, from their first attempt, and returns how many it has handed back. It waits
// while MaxPending events wait already. When it ends early, by ctx or an error, the others stay where they are.
func (w *Worker) Replay(ctx context.Context, f Filter, how Replay) (n int, err error) {
	for it, err := range w.DeadLetters(ctx, f) {
		if err != nil {
			return n, err
		}
		if !how.DryRun {
			if n > 0 && how.Pace > 0 {
				if err := fault.Sleep(ctx, how.Pace); err != nil {
					return n, err
				}
			}
			revived, err := w.revive(ctx, it)
			if err != nil {
				return n, err
			}
			if !revived {
				continue
			}
		}
		n++
	}
	return n, nil
}

// revive makes one event pending again, if it is still set aside.
func (w *Worker) revive(ctx context.Context, it Item) (bool, error) {
	for {
		err := w.reserve(1)
		if err == nil {
			break
		}
		if w.isClosed() {
			return false, err
		}
		if err := fault.Sleep(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
	w.reviving.Lock()
	defer w.reviving.Unlock()
	now := time.Now()
	is, err := w.isDeadLetter(ctx, it.Seq)
	if is {
		err = w.store.Settle(context.WithoutCancel(ctx), []Change{{Seq: it.Seq, State: Pending, Due: now}})
	}
	w.mu.Lock()
	w.reserved--
	if is && err == nil {
		if j := w.schedule.all[it.Seq]; j != nil {
			j.revived = true // its last attempt is being noted, or somebody else has revived it
		} else {
			w.schedule.add(&job{seq: it.Seq, key: it.Key, due: now, received: it.Received})
		}
	}
	w.mu.Unlock()
	w.poke()
	return is && err == nil, err
}

// Discard lets events go that were set aside, and returns how many. They are not handled when the partner sends them again.
func (w *Worker) Discard(ctx context.Context, f Filter) (n int, err error) {
	for it, err := range w.DeadLetters(ctx, f) {
		if err != nil {
			return n, err
		}
		gone, err := w.discard(ctx, it.Seq)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	return n, nil
}

func (w *Worker) discard(ctx context.Context, seq uint64) (bool, error) {
	w.reviving.Lock()
	defer w.reviving.Unlock()
	if is, err := w.isDeadLetter(ctx, seq); !is && err == nil {
		return false, nil
	} // what cannot be read can go
	return true, w.store.Settle(context.WithoutCancel(ctx), []Change{{Seq: seq, State: Handled}})
}

// isAside reports whether an event is still set aside.
func (w *Worker) isDeadLetter(ctx context.Context, seq uint64) (bool, error) {
	it, err := w.store.Get(ctx, seq)
	if errors.Is(err, ErrNoItem) {
		return false, nil
	}
	return err == nil && it.State != Pending, err
}

func (w *Worker) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}
