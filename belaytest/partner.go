package belaytest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Config configures a partner. The zero value answers 200 to everything, at once. Negative times and rates
// mean zero, except Skew.
type Config struct {
	// Limits are all enforced. They count the accepted calls.
	Limits []Limit
	// Tell is the form in which a 429 states the wait. The zero value states whole seconds.
	Tell Tell
	// Cost returns the number of permits that a call takes from each limit. Nil means 1 for all, as does a
	// result below 1.
	Cost func(*http.Request) int
	// Headers sends X-RateLimit-Limit, -Remaining and -Reset (epoch seconds) of the first limit.
	Headers bool
	// Latency is the transit time in each direction; up to Jitter is added. Over a real port they apply only
	// once, before the answer.
	Latency, Jitter time.Duration
	// Work is the time between the arrival and the answer.
	Work time.Duration
	// Skew is the lead of the partner's clock; negative means that it is behind.
	Skew time.Duration
	// ErrorRate, ResetRate and CutRate are the shares of calls, from 0 to 1, that end in a 500, in a
	// connection reset without an answer, and in a truncated body. The partner has done its work by then.
	ErrorRate, ResetRate, CutRate float64
	// Outages are periods of failure. Their times are measured from the partner's first moment.
	Outages []Outage
	// HonourKeys answers a write with a known Idempotency-Key as before, without work. A write that was
	// refused with a 4xx was not done: its key is not stored, and it does not count as a write.
	HonourKeys bool
	// Tokens are required if their Path is not empty.
	Tokens Tokens
	// Answer returns the answer to an accepted call: a status, and a value to send as JSON, or a []byte to
	// send as it is. A [Reply] adds headers. Nil answers 200 and {"ok":true}. The request's body can be read. Answer
	// must be safe for concurrent use, and must not call the Partner's methods.
	Answer func(*http.Request) (status int, body any)
	// Seed makes the random choices repeatable.
	Seed uint64
}

// Tell is the form in which a 429 states the wait.
type Tell uint8

const (
	// TellSeconds sends Retry-After in whole seconds, rounded up.
	TellSeconds Tell = iota
	// TellDate sends Retry-After as a date on the partner's clock, rounded up to a whole second.
	TellDate
	// TellNothing sends no Retry-After.
	TellNothing
)

// Outage is a period of failure.
type Outage struct {
	From time.Duration // from the partner's first moment
	For  time.Duration // its length
	Kind Kind
	When func(*http.Request) bool // the requests that it affects; nil means all
}

// Reply is an answer with headers, for [Config].Answer.
type Reply struct {
	Header http.Header
	Body   any // the same values as without a Reply
}

// Kind is a kind of outage.
type Kind uint8

const (
	// Unavailable answers with 503.
	Unavailable Kind = iota
	// Refuse refuses connections. Over a real port it resets them.
	Refuse
	// Reset resets the connection after the request has arrived.
	Reset
	// Hang never answers.
	Hang
)

// Limit is one limit of a partner.
type Limit struct {
	n     int
	per   time.Duration
	fixed bool
	slots bool
	when  func(*http.Request) bool
}

// When returns a copy of l that counts only the requests for which match is true. Nil matches all.
func (l Limit) When(match func(*http.Request) bool) Limit {
	l.when = match
	return l
}

func (l Limit) counts(req *http.Request) bool { return l.when == nil || l.when(req) }

// Sliding accepts n calls within any period of length per, exactly. An n below 1 means 1.
func Sliding(n int, per time.Duration) Limit { return Limit{n: max(1, n), per: per} }

// Fixed accepts n calls in each window of length per. A window opens with the first call after the end of the
// previous one. An n below 1 means 1.
func Fixed(n int, per time.Duration) Limit { return Limit{n: max(1, n), per: per, fixed: true} }

// Concurrent accepts n calls at the same time. An n below 1 means 1.
func Concurrent(n int) Limit { return Limit{n: max(1, n), slots: true} }

// Partner is a simulated partner for tests. It is safe for concurrent use. Create it with [New], inside the
// synctest bubble if there is one.
type Partner struct {
	cfg   Config
	start time.Time

	mu        sync.Mutex
	rng       *rand.Rand
	counts    []count
	inFlight  int
	log       []Record
	keys      map[string]answer
	tokens    issued
	writes    map[string]int
	waitUntil time.Time // end of the wait that a 429 asked for
	knownAt   time.Time // arrival of the first such 429 at the client
}

// count is the state of one limit.
type count struct {
	stamps []time.Time // accepted calls of a sliding window
	opened time.Time   // start of a fixed window
	used   int
}

type answer struct {
	status int
	body   []byte
	header http.Header
	kind   Kind
	fail   bool // fails as kind says, without an answer
	cut    bool // the body is truncated
}

// New returns a partner. Its first moment is now.
func New(cfg Config) *Partner {
	return &Partner{
		cfg: cfg, start: time.Now(), rng: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)),
		counts: make([]count, len(cfg.Limits)), keys: make(map[string]answer), writes: make(map[string]int),
		tokens: issued{until: make(map[string]time.Time), spent: make(map[string]bool)},
	}
}

func write(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// arrive decides the answer to a call that arrives now, and logs the call.
func (p *Partner) arrive(req *http.Request, body []byte, rec *Record) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	rec.At = now
	p.inFlight++
	a := p.decide(req, body, now, rec)
	// The answer may be stored for a key and used again, so its header is a copy.
	if a.header = a.header.Clone(); a.header == nil {
		a.header = make(http.Header)
	}
	a.header.Set("Date", p.clock(now).Format(http.TimeFormat))
	a.header.Set("X-Request-Id", fmt.Sprintf("req_%d", len(p.log)+1))
	if len(a.body) > 0 && a.header.Get("Content-Type") == "" {
		a.header.Set("Content-Type", "application/json")
	}
	if p.cfg.Headers && len(p.cfg.Limits) > 0 && !a.fail {
		p.headers(a.header, now)
	}
	rec.Status = a.status
	p.log = append(p.log, *rec)
	return a
}

// clock returns now on the partner's clock.
func (p *Partner) clock(now time.Time) time.Time { return now.Add(p.cfg.Skew).UTC() }

func (p *Partner) decide(req *http.Request, body []byte, now time.Time, rec *Record) answer {
	for _, o := range p.cfg.Outages {
		if at := now.Sub(p.start); at >= o.From && at < o.From+o.For && (o.When == nil || o.When(req)) {
			if o.Kind == Unavailable {
				return answer{status: http.StatusServiceUnavailable, body: []byte(`{"message":"down for now"}`)}
			}
			return answer{fail: true, kind: o.Kind}
		}
	}
	if t := p.cfg.Tokens.Path; t != "" && req.URL.Path == t {
		return p.issue(body, now)
	}
	if now.Before(p.waitUntil) && rec.Sent.After(p.knownAt) {
		rec.TooEarly = true
	}
	cost := 1
	if p.cfg.Cost != nil {
		cost = max(1, p.cfg.Cost(again(req, body)))
	}
	if wait := p.overLimit(req, cost, now); wait > 0 {
		return p.refuse(now, wait)
	}
	p.take(req, cost, now)
	rec.Accepted = true
	if p.cfg.Tokens.Path != "" && !p.authorized(req, now) {
		return answer{
			status: http.StatusUnauthorized,
			header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}},
			body:   []byte(`{"message":"no token, or not a good one"}`),
		}
	}
	key := req.Header.Get("Idempotency-Key")
	if kept, ok := p.keys[key]; ok && key != "" && p.cfg.HonourKeys {
		rec.Replayed = true
		return kept
	}
	a := p.work(again(req, body))
	if refused := a.status >= 400 && a.status < 500; write(req.Method) && !refused {
		p.writes[req.Method+" "+req.URL.Path+" "+string(body)]++
		if key != "" {
			p.keys[key] = answer{status: a.status, body: a.body, header: a.header}
		}
	}
	switch r := p.rng.Float64(); {
	case r < p.cfg.ErrorRate:
		return answer{status: http.StatusInternalServerError, body: []byte(`{"message":"something went wrong"}`)}
	case r < p.cfg.ErrorRate+p.cfg.ResetRate:
		return answer{fail: true, kind: Reset}
	case r < p.cfg.ErrorRate+p.cfg.ResetRate+p.cfg.CutRate:
		a.cut = true
	}
	return a
}

func (p *Partner) work(req *http.Request) answer {
	status, value := http.StatusOK, any(map[string]bool{"ok": true})
	if p.cfg.Answer != nil {
		status, value = p.cfg.Answer(req)
	}
	var header http.Header
	if r, ok := value.(Reply); ok {
		header, value = r.Header.Clone(), r.Body
	}
	body, ok := value.([]byte)
	if !ok && value != nil {
		body, _ = json.Marshal(value)
	}
	return answer{status: status, body: body, header: header}
}

// overLimit returns the wait that the strictest limit requires of the call, 0 if no limit is exceeded.
func (p *Partner) overLimit(req *http.Request, cost int, now time.Time) (wait time.Duration) {
	for i, l := range p.cfg.Limits {
		c := &p.counts[i]
		switch {
		case !l.counts(req):
		case l.slots:
			if p.inFlight > l.n {
				wait = max(wait, time.Second)
			}
		case l.fixed:
			if now.Sub(c.opened) >= l.per {
				c.opened, c.used = now, 0
			}
			if c.used+cost > l.n {
				wait = max(wait, c.opened.Add(l.per).Sub(now))
			}
		default:
			for len(c.stamps) > 0 && now.Sub(c.stamps[0]) >= l.per {
				c.stamps = c.stamps[1:]
			}
			if over := len(c.stamps) + cost - l.n; over > 0 {
				wait = max(wait, c.stamps[min(over, len(c.stamps))-1].Add(l.per).Sub(now))
			}
		}
	}
	return wait
}

func (p *Partner) take(req *http.Request, cost int, now time.Time) {
	for i, l := range p.cfg.Limits {
		switch c := &p.counts[i]; {
		case !l.counts(req) || l.slots:
		case l.fixed:
			c.used += cost
		default:
			for range cost {
				c.stamps = append(c.stamps, now)
			}
		}
	}
}

// refuse returns a 429 that states the wait in the form of Config.Tell.
func (p *Partner) refuse(now time.Time, wait time.Duration) answer {
	a := answer{status: http.StatusTooManyRequests, header: make(http.Header), body: []byte(`{"message":"too fast"}`)}
	until := now
	switch p.cfg.Tell {
	case TellSeconds:
		seconds := int((wait + time.Second - 1) / time.Second)
		a.header.Set("Retry-After", strconv.Itoa(seconds))
		until = now.Add(time.Duration(seconds) * time.Second)
	case TellDate:
		at := p.clock(now.Add(wait + time.Second - 1)).Truncate(time.Second)
		a.header.Set("Retry-After", at.Format(http.TimeFormat))
		until = at.Add(-p.cfg.Skew)
	}
	if until.After(p.waitUntil) {
		if !now.Before(p.waitUntil) {
			p.knownAt = now.Add(p.cfg.Work + p.cfg.Latency + p.cfg.Jitter)
		}
		p.waitUntil = until
	}
	return a
}

func (p *Partner) headers(h http.Header, now time.Time) {
	l, c := p.cfg.Limits[0], &p.counts[0]
	left, reset := l.n-len(c.stamps), now.Add(l.per)
	if l.fixed {
		left, reset = l.n-c.used, c.opened.Add(l.per)
	} else if len(c.stamps) > 0 {
		reset = c.stamps[0].Add(l.per)
	}
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.n))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(p.clock(reset.Add(time.Second-1)).Unix(), 10))
}

// leave marks the end of a call that arrive has counted as in flight.
func (p *Partner) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
}

// delay returns the transit time in one direction.
func (p *Partner) delay() time.Duration {
	if p.cfg.Jitter <= 0 {
		return max(0, p.cfg.Latency)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Latency + time.Duration(p.rng.Int64N(int64(p.cfg.Jitter)+1))
}
