package inbox

import (
	"encoding/json"
	"time"
)

// Numbers are the counts and measurements of a [Worker] since it was started.
type Numbers struct {
	// Received counts new events, Duplicates events that were known already.
	Received, Duplicates uint64
	// Handled counts handled events. Failed counts failed attempts, Dead and Unhandled the events that became
	// dead letters.
	Handled, Failed, Dead, Unhandled uint64
	// Pending is the number of events that wait or are being handled. Oldest is the time since the oldest of
	// them was received, 0 if there are none.
	Pending int
	Oldest  time.Duration
	// HandlingTime is the mean duration of the attempts of the last five minutes. FailureShare is the share
	// of these attempts that failed, from 0 to 1, and Attempts is their number.
	HandlingTime time.Duration
	FailureShare float64
	Attempts     int
}

// MarshalJSON returns names in the style of belay.Health, and times in milliseconds.
func (n Numbers) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"received": n.Received, "duplicates": n.Duplicates,
		"handled": n.Handled, "failed": n.Failed, "dead": n.Dead, "unhandled": n.Unhandled,
		"pending": n.Pending, "oldest_ms": n.Oldest.Milliseconds(), "handling_time_ms": n.HandlingTime.Milliseconds(),
		"failure_share": n.FailureShare, "attempts": n.Attempts,
	})
}

const (
	slots    = 30
	slotTime = 10 * time.Second
)

// numbers holds the counts behind [Numbers]. The worker's mutex guards it.
type numbers struct {
	received, duplicates, handled, failed, dead, unhandled uint64
	recent                                                 [slots]slot
}

// slot holds the attempts of ten seconds.
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
	s.took += r.event.Duration
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

// Numbers returns the worker's present counts and measurements.
func (w *Worker) Numbers() Numbers {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &w.numbers
	n := Numbers{
		Received: c.received, Duplicates: c.duplicates,
		Handled: c.handled, Failed: c.failed, Dead: c.dead, Unhandled: c.unhandled,
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
