package tasks

import (
	"context"
	"errors"
	"sync"
	"time"
)

// heartbeat is the sign of life of this process.
type heartbeat struct {
	id string

	mu   sync.Mutex
	last time.Time // when the last sign was sent that the database noted
	gaps []gap     // the last hundred, in order
	end  time.Time // when the answer to that sign came
	seen int64     // its time by the database's clock, in milliseconds since 1970
	leap time.Time // when that clock was last found to have jumped
	cut  context.CancelCauseFunc
	live context.Context // ends when the process must be taken for dead
}

// gap is a time without a sign of life.
type gap struct{ from, to time.Time }

// errDead is the cause for which the tasks of a process end whose signs of life do not reach the database: others run
// them.
var errDead = errors.New("tasks: this process gave no sign of life, and its tasks run elsewhere")

// noted notes a sign that was sent at a time, and has reached the database at the time seen by its clock.
func (h *heartbeat) noted(at time.Time, seen int64, deadAfter time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := time.Now()
	if !h.last.IsZero() {
		if at.Sub(h.last) > deadAfter/2 {
			h.gaps = append(h.gaps, gap{h.last, at})
			h.gaps = h.gaps[max(0, len(h.gaps)-100):]
		}
		passed := time.Duration(seen-h.seen) * time.Millisecond
		if passed < at.Sub(h.end)-deadAfter/4 || passed > end.Sub(h.last)+deadAfter/4 {
			h.leap = end
		}
	}
	h.last, h.end, h.seen = at, end, seen
	if h.live == nil || h.live.Err() != nil {
		h.live, h.cut = context.WithCancelCause(context.Background())
	}
}

// clock returns the database's time of the last sign, and whether the signs of others can be judged by it: not until
// they have all sent one since that clock jumped.
func (h *heartbeat) clock(deadAfter time.Duration) (seen int64, steady bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen, h.leap.IsZero() || time.Since(h.leap) > deadAfter
}

// missed ends the tasks of this process if the last sign is older than deadAfter.
func (h *heartbeat) missed(now time.Time, deadAfter time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut != nil && now.Sub(h.last) > deadAfter {
		h.cut(errDead)
	}
}

// dead reports whether this process must be taken for dead.
func (h *heartbeat) dead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live != nil && h.live.Err() != nil
}

// within returns a context that ends when the process must be taken for dead, too.
func (h *heartbeat) within(ctx context.Context) (context.Context, func()) {
	h.mu.Lock()
	live := h.live
	h.mu.Unlock()
	inner, cancel := context.WithCancelCause(ctx)
	if live == nil {
		return inner, func() { cancel(nil) }
	}
	stop := context.AfterFunc(live, func() { cancel(context.Cause(live)) })
	return inner, func() { stop(); cancel(nil) }
}

// gapSince reports whether there has been a gap of signs since a time, or is one now.
func (h *heartbeat) gapSince(since time.Time, long time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() && time.Since(h.last) > long {
		return true
	}
	for _, g := range h.gaps {
		if g.to.After(since) {
			return true
		}
	}
	return false
}
