package belay

import (
	"slices"
	"sync"
	"time"
)

// latency holds how long a partner's latest answers took, one a second for each integration at most. The zero value
// is ready. A nil latency notes nothing.
type latency struct {
	mu    sync.Mutex
	times [31]time.Duration
	n     int // answers noted, of which the last ones are kept
}

// note notes an answer.
func (l *latency) note(took time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[l.n%len(l.times)] = took
	l.n++
}

// median returns the time within which half of the answers came, 0 if there were none.
func (l *latency) median() time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	times := l.times
	n := min(l.n, len(times))
	l.mu.Unlock()
	if n == 0 {
		return 0
	}
	slices.Sort(times[:n])
	return times[n/2]
}
