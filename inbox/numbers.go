package inbox

import (
	"encoding/json"
	"time"
)

// Numbers say how a [Worker] does, since it was started.
type Numbers struct {
	// Received events were new, Duplicates known already.
	Received, Duplicates uint64
	// Handled events are over. Failed counts attempts, Dead and Unhandled events that were set aside.
	Handled, Failed, Dead, Unhandled uint64
	// Pending events wait or are at work; Oldest is how long the longest of them has waited.
	Pending int
	Oldest  time.Duration
	// HandlingTime is how long attempts took in the mean, over the last five minutes, and FailureShare how many of them
	// failed, from 0 to 1; Attempts is how many they were.
	HandlingTime time.Duration
	FailureShare float64
	Attempts     int
}

// MarshalJSON writes names like those of belay.Health, and times in milliseconds.
func (n Numbers) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"received": n.Received, "duplicates": n.Duplicates, "handled": n.Handled, "failed": n.Failed, "dead": n.Dead, "unhandled": n.Unhandled,
		"pending": n.Pending, "oldest_ms": n.Oldest.Milliseconds(), "handling_time_ms": n.HandlingTime.Milliseconds(),
		"failure_share": n.FailureShare, "attempts": n.Attempts,
	})
}

const (
	slots    = 30
	slotTime = 10 * time.Second
)

// numbers are counted under the worker's lock.
type numbers struct {
	received, duplicates, handled, failed, dead, unhandled uint64
	recent                                                 [slots]slot
}

// slot counts ten seconds.
type slot struct {
	at             int64
	worked, failed int
	took           time.Duration
}

func (n *numbers) note(r result, now time.Time) {
	if r.again || r.silent {
		return
	}
	at := now.UnixNano() / int64(slotTime)
	s := &n.recent[at%slots]
	if s.at != at {
		*s = slot{at: at}
	}
	s.took += r.told.Duration
	switch r.change.State {
	case Handled:
		n.handled++
		s.worked++
	case Unhandled:
		n.unhandled++
		s.worked++
	case Dead:
		n.dead++
		fallthrough
	default:
		n.failed++
		s.failed++
	}
}

// Numbers returns how the worker does.
func (w *Worker) Numbers() Numbers {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &w.numbers
	n := Numbers{
		Received: c.received, Duplicates: c.duplicates, Handled: c.handled, Failed: c.failed, Dead: c.dead, Unhandled: c.unhandled,
		Pending: len(w.schedule.all),
	}
	now := time.Now()
	if t := w.schedule.oldest(); !t.IsZero() {
		n.Oldest = now.Sub(t)
	}
	at := now.UnixNano() / int64(slotTime)
	failed, took := 0, time.Duration(0)
	for _, s := range c.recent {
		if s.at > at-slots {
			failed += s.failed
			n.Attempts += s.worked + s.failed
			took += s.took
		}
	}
	if n.Attempts > 0 {
		n.FailureShare = float64(failed) / float64(n.Attempts)
		n.HandlingTime = took / time.Duration(n.Attempts)
	}
	return n
}
