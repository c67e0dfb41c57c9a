package belaytest

import (
	"net/http"
	"slices"
	"time"
)

// Record is one call as the partner saw it.
type Record struct {
	Sent     time.Time // when it was sent; over a real port, when it arrived
	At       time.Time // when it arrived
	Method   string
	Path     string
	Header   http.Header // of the request, credentials and all
	Status   int         // that was answered, 0 for none
	Accepted bool        // it was within the limits and no outage
	Replayed bool        // it was answered by its key, without work
	TooEarly bool        // it was sent although a 429 had told everybody to wait
}

// Log returns what arrived, in order of arrival.
func (p *Partner) Log() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// Count returns how many calls were answered with status; 0 counts those without an answer.
func (p *Partner) Count(status int) (n int) {
	for _, r := range p.Log() {
		if r.Status == status {
			n++
		}
	}
	return n
}

// TooEarly returns the calls that came although a 429 had told everybody to wait.
func (p *Partner) TooEarly() (early []Record) {
	for _, r := range p.Log() {
		if r.TooEarly {
			early = append(early, r)
		}
	}
	return early
}

// WrittenTwice returns the writes (method, path and body) whose work was done more than once.
func (p *Partner) WrittenTwice() (twice []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w, n := range p.writes {
		if n > 1 {
			twice = append(twice, w)
		}
	}
	slices.Sort(twice)
	return twice
}

// Writes returns how many different writes were done.
func (p *Partner) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.writes)
}

// Peak returns the most calls that arrived in any stretch of per, from a time since the partner's first
// moment on.
func (p *Partner) Peak(per, from time.Duration) (most int) {
	log := p.Log()
	first := 0
	for i, r := range log {
		if r.At.Sub(p.start) < from {
			first = i + 1
			continue
		}
		for r.At.Sub(log[first].At) >= per {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
