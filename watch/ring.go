package watch

import (
	"math"
	"time"
)

// kind is an outcome that is counted.
type kind uint8

const (
	ok kind = iota
	serverError
	timedOut
	noAnswer
	rateLimited
	unauthorized
	forbidden
	clientError
	dataError
	circuitOpen
	refused
	canceled
	kinds
)

// ring counts outcomes in slots of a fixed width, of which the oldest is used again. The zero value counts nothing.
type ring struct {
	width time.Duration
	slots []slot
}

type slot struct {
	number int64 // the slot's time over the width; another number means that it counts nothing yet
	n      [kinds]uint32
}

// newRing returns a ring that can sum up span.
func newRing(width, span time.Duration) ring { return ring{width, make([]slot, span/width+1)} }

func (r *ring) add(now time.Time, k kind) {
	if len(r.slots) == 0 {
		return
	}
	number := now.UnixNano() / int64(r.width)
	s := &r.slots[number%int64(len(r.slots))]
	if s.number != number {
		*s = slot{number: number}
	}
	s.n[k]++
}

// sum returns the counts of the last span: of the slot in progress and of span/width slots before it, without the
// first.
func (r *ring) sum(now time.Time, span time.Duration) (c Counts) {
	if len(r.slots) == 0 {
		return c
	}
	last := now.UnixNano() / int64(r.width)
	first := last - int64(span/r.width) + 1
	for i := range r.slots {
		if s := &r.slots[i]; s.number >= first && s.number <= last {
			c.add(&s.n)
		}
	}
	return c
}

// at returns the counts of the slot that is back slots before the present one.
func (r *ring) at(now time.Time, back int) (c Counts) {
	number := now.UnixNano()/int64(r.width) - int64(back)
	if s := &r.slots[number%int64(len(r.slots))]; s.number == number {
		c.add(&s.n)
	}
	return c
}

// Counts holds numbers of calls by how they ended: a call that a retry or a fresh token has mended counts as OK.
type Counts struct {
	OK           int `json:"ok"`
	ServerErrors int `json:"server_errors"` // 5xx
	Timeouts     int `json:"timeouts"`
	NoAnswer     int `json:"no_answer"` // connections that failed or broke
	RateLimited  int `json:"rate_limited"`
	Unauthorized int `json:"unauthorized"` // the credential was refused, or there was none to send
	Forbidden    int `json:"forbidden"`    // 403
	ClientErrors int `json:"client_errors"`
	DataErrors   int `json:"data_errors"`  // answers that could not be used
	CircuitOpen  int `json:"circuit_open"` // not sent, because a circuit was open
	Refused      int `json:"refused"`      // not sent for another reason, as a full queue
	Canceled     int `json:"canceled"`     // by their callers
}

func (c *Counts) add(n *[kinds]uint32) {
	for i, to := range [kinds]*int{
		&c.OK, &c.ServerErrors, &c.Timeouts, &c.NoAnswer, &c.RateLimited, &c.Unauthorized, &c.Forbidden, &c.ClientErrors,
		&c.DataErrors, &c.CircuitOpen, &c.Refused, &c.Canceled,
	} {
		*to += int(n[i])
	}
}

// Unavailable returns the number of calls that the partner could not answer: 5xx, timeouts, broken connections, and
// calls that an open circuit held back.
func (c Counts) Unavailable() int { return c.ServerErrors + c.Timeouts + c.NoAnswer + c.CircuitOpen }

// Failed returns the number of calls that failed through the partner or a credential. Answers that find fault with a
// request (ClientErrors, Forbidden) are not failures of the partner.
func (c Counts) Failed() int { return c.Unavailable() + c.RateLimited + c.Unauthorized + c.DataErrors }

// Total returns the number of calls that say something of the partner: all but Refused and Canceled.
func (c Counts) Total() int { return c.OK + c.Failed() + c.Forbidden + c.ClientErrors }

// Success returns the share of Total that did not fail, from 0 to 1. It is 1 if there were no calls.
func (c Counts) Success() float64 {
	if c.Total() == 0 {
		return 1
	}
	return 1 - float64(c.Failed())/float64(c.Total())
}

// latencies holds how long answers took, in slots of a minute.
type latencies struct{ slots []latencySlot }

type latencySlot struct {
	number int64
	n      [latencyBuckets]uint32
}

// latencyBuckets are two for each power of 2, from 1 ms to over 4 minutes.
const latencyBuckets = 38

func newLatencies(minutes int) latencies { return latencies{make([]latencySlot, minutes)} }

func bucketOf(took time.Duration) int {
	if took <= time.Millisecond {
		return 0
	}
	return min(int(2*math.Log2(float64(took)/1e6))+1, latencyBuckets-1)
}

// bucketEnd returns the upper bound of a bucket.
func bucketEnd(i int) float64 { return 1e6 * math.Exp2(float64(i)/2) }

func (l *latencies) add(now time.Time, took time.Duration) {
	number := now.Unix() / 60
	s := &l.slots[number%int64(len(l.slots))]
	if s.number != number {
		*s = latencySlot{number: number}
	}
	s.n[bucketOf(took)]++
}

// over adds up the last minutes, of which the one in progress is the first, after leaving out back of them.
func (l *latencies) over(now time.Time, back, minutes int) (sum [latencyBuckets]uint32) {
	last := now.Unix()/60 - int64(back)
	for i := range l.slots {
		if s := &l.slots[i]; s.number <= last && s.number > last-int64(minutes) {
			for b, n := range s.n {
				sum[b] += n
			}
		}
	}
	return sum
}

// quantile returns the time within which the share q of the answers came, 0 if there were none. It is exact to a fifth.
func quantile(n *[latencyBuckets]uint32, q float64) time.Duration {
	total := 0.0
	for _, count := range n {
		total += float64(count)
	}
	want, seen := q*total, 0.0
	for i, count := range n {
		if count == 0 {
			continue
		}
		if seen+float64(count) >= want {
			low := 0.0
			if i > 0 {
				low = bucketEnd(i - 1)
			}
			return time.Duration(low + (bucketEnd(i)-low)*(want-seen)/float64(count))
		}
		seen += float64(count)
	}
	return 0
}
