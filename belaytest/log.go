package belaytest

import (
	"net/http"
	"slices"
	"time"
)

// Record is one call as the partner received it.
type Record struct {
	Sent     time.Time // when it was sent; over a real port, when it arrived
	At       time.Time // when it arrived
	Method   string
	Path     string
	Query    string      // as it was sent
	Header   http.Header // of the request, with its credentials
	Body     []byte      // of the request, at most the first 64 KiB
	Status   int         // of the answer, 0 for none
	Accepted bool        // within the limits, and not in an outage
	Replayed bool        // answered from its Idempotency-Key, without work
	TooEarly bool        // sent within the wait that an earlier 429 asked for
}

// Log returns all calls in order of arrival.
func (p *Partner) Log() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// Count returns the number of calls that were answered with status; 0 counts the calls without an answer.
func (p *Partner) Count(status int) (n int) {
	for _, r := range p.Log() {
		if r.Status == status {
			n++
		}
	}
	return n
}

// TooEarly returns the calls that were sent within the wait that an earlier 429 asked for. A call that left
// before that 429 could reach the client does not count.
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

// Writes returns the number of different writes that were done.
func (p *Partner) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.writes)
}

// Peak returns the largest number of calls that arrived within any period of length per. It counts calls that
// arrived at the time from or later, measured from the partner's first moment.
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
