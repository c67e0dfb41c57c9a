package tasks

import (
	"context"
	"errors"
	"sync"
	"time"
)

// heartbeat is the sign of life of this process, and what it has seen of those of others.
type heartbeat struct {
	id string

	mu     sync.Mutex
	last   time.Time // when the last sign was sent that the database noted
	gaps   []gap     // the last hundred, in order
	cut    context.CancelCauseFunc
	live   context.Context // ends when the process must be taken for dead
	others map[string]sign
	looked time.Time // when it last looked at others
}

// gap is a time without a sign of life.
type gap struct{ from, to time.Time }

// sign is the last sign of another process.
type sign struct {
	seen  int64     // as the database has it
	since time.Time // when this process first saw it
}

// errDead is the cause for which the tasks of a process end whose signs of life do not reach the database: others run
// them.
var errDead = errors.New("tasks: this process gave no sign of life, and its tasks run elsewhere")

// noted notes a sign that was sent at a time, and has reached the database.
func (h *heartbeat) noted(at time.Time, long time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.last.IsZero() && at.Sub(h.last) > long {
		h.gaps = append(h.gaps, gap{h.last, at})
		h.gaps = h.gaps[max(0, len(h.gaps)-100):]
	}
	h.last = at
	if h.live == nil || h.live.Err() != nil {
		h.live, h.cut = context.WithCancelCause(context.Background())
	}
}

// judge returns the processes whose sign has been the same for deadAfter, by the time that has passed here: what the
// clock of the database says does not matter, and it may jump. The signs in now were asked for at a time. After a time
// in which this process did not look, as it stood still itself, it begins anew.
func (h *heartbeat) judge(now map[string]int64, asked time.Time, deadAfter time.Duration) (dead []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.others == nil || asked.Sub(h.looked) > deadAfter/2 {
		h.others = make(map[string]sign)
	}
	h.looked = time.Now()
	for id := range h.others {
		if _, there := now[id]; !there {
			delete(h.others, id)
		}
	}
	for id, seen := range now {
		if have, known := h.others[id]; !known || have.seen != seen {
			h.others[id] = sign{seen, h.looked}
		} else if asked.Sub(have.since) >= deadAfter {
			dead = append(dead, id)
		}
	}
	return dead
}

// missed ends the tasks of this process if the last sign is older than deadAfter.
func (h *heartbeat) missed(now time.Time, deadAfter time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut != nil && now.Sub(h.last) > deadAfter {
		h.cut(errDead)
	}
}

// silentFor returns the time since the last sign that the database has noted.
func (h *heartbeat) silentFor(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.last)
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
