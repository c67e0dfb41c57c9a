package inbox

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Filter selects dead letters. An empty field selects all.
type Filter struct {
	Partner, Integration, Type string
	// IDs are the events' own IDs.
	IDs []string
	// Since and Until bound the time of arrival: Since is inclusive, Until exclusive.
	Since, Until time.Time
	// FailedSince and FailedUntil bound the time of the last failure in the same way.
	FailedSince, FailedUntil time.Time
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
		(f.Until.IsZero() || it.Received.Before(f.Until)) &&
		(f.FailedSince.IsZero() || !it.FailedAt().Before(f.FailedSince)) &&
		(f.FailedUntil.IsZero() || it.FailedAt().Before(f.FailedUntil))
}

// DeadLetters returns the dead letters that f selects, in order of arrival. An error ends the sequence.
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

// Replay configures [Worker.Replay].
type Replay struct {
	// Pace is the time between two replayed events; zero or less means none.
	Pace time.Duration
	// DryRun counts the events and changes nothing.
	DryRun bool
}

// Replay makes dead letters pending again, with no failed attempts, and returns their number. It waits while
// MaxPending events are pending. If it ends early, by ctx or an error, the remaining events stay dead
// letters. With a [Shared] store it is ErrNotClaimed in a process that does not handle the events.
func (w *Worker) Replay(ctx context.Context, f Filter, how Replay) (n int, err error) {
	for it, err := range w.DeadLetters(ctx, f) {
		if err != nil {
			return n, err
		}
		if !how.DryRun {
			if n > 0 && how.Pace > 0 {
				if err := errkit.Sleep(ctx, how.Pace); err != nil {
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

// revive makes one event pending again, if it is still a dead letter, and reports whether it did.
func (w *Worker) revive(ctx context.Context, it Item) (bool, error) {
	if !w.handles() {
		return false, ErrNotClaimed
	}
	for {
		err := w.reserve(1)
		if err == nil {
			break
		}
		if w.isClosed() {
			return false, err
		}
		if err := errkit.Sleep(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
	w.reviving.Lock()
	defer w.reviving.Unlock()
	now := time.Now()
	is, err := w.isDeadLetter(ctx, it.Seq)
	if is {
		err = w.store.Settle(context.WithoutCancel(ctx), []Change{
			{Seq: it.Seq, State: Pending, Due: now, Failures: it.Failures},
		})
	}
	w.mu.Lock()
	w.reserved--
	if is && err == nil {
		if j := w.schedule.all[it.Seq]; j != nil {
			j.revived = true // its last result is being recorded, or another call has revived it
		} else {
			j := w.jobOf(&it)
			j.due, j.revivedAt = now, now
			if w.term != nil {
				w.schedule.add(j)
			}
		}
	}
	w.mu.Unlock()
	w.poke()
	return is && err == nil, err
}

// Discard removes dead letters, and returns their number. An event is not handled if the partner sends it
// again.
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
	if !w.handles() {
		return false, ErrNotClaimed
	}
	w.reviving.Lock()
	defer w.reviving.Unlock()
	if is, err := w.isDeadLetter(ctx, seq); !is && err == nil {
		return false, nil
	} // an unreadable event can be discarded
	return true, w.store.Settle(context.WithoutCancel(ctx), []Change{{Seq: seq, State: Handled}})
}

// isDeadLetter reports whether an event is still a dead letter.
func (w *Worker) isDeadLetter(ctx context.Context, seq uint64) (bool, error) {
	it, err := w.store.Get(ctx, seq)
	if errors.Is(err, ErrNoItem) {
		return false, nil
	}
	return err == nil && it.State != Pending, err
}

// handles reports whether this process handles the events of the store.
func (w *Worker) handles() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.term != nil
}

func (w *Worker) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}
