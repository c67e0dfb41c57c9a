package belayprom

import (
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// pauseEnds holds when the pauses end that partners have asked for.
type pauseEnds struct {
	mu   sync.Mutex
	ends map[pauseOf]pause
}

type pauseKey struct{ partner, scope string }

// pauseOf is a pause of one integration; of all if the partner itself asks for it.
type pauseOf struct {
	pauseKey
	integration string
}

func ofPause(partner string, scope belay.Scope, call *belay.CallInfo) pauseOf {
	key := pauseOf{pauseKey{partner, scope.String()}, call.Integration}
	if scope == belay.ScopePartner {
		key.integration = ""
	}
	return key
}

// mostPauses is the number of pauses that are looked at.
const mostPauses = 10_000

type pause struct{ from, end, resumed time.Time }

func (p *pauseEnds) note(partner string, e *belay.Paused) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = make(map[pauseOf]pause)
	}
	key := ofPause(partner, e.Scope, &e.Call)
	have, known := p.ends[key]
	if !known && len(p.ends) >= mostPauses {
		return
	}
	now := time.Now()
	if !now.Before(have.end) {
		have = pause{from: now}
	}
	end := now.Add(max(e.For, e.Verdict.RetryAfter)) // calls wait for an hour at most before one is tried
	p.ends[key] = pause{from: have.from, end: later(end, have.end)}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// resumed notes that calls are sent again. The pause is over if the partner does not ask for another one soon.
func (p *pauseEnds) resumed(partner string, e *belay.Resumed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := ofPause(partner, e.Scope, &e.Call)
	if at, known := p.ends[key]; known && at.resumed.IsZero() {
		at.resumed = time.Now()
		p.ends[key] = at
	}
}

// last returns the pause of each partner and scope that ends last, without those that are over.
func (p *pauseEnds) last() map[pauseKey]pause {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[pauseKey]pause)
	for key, at := range p.ends {
		if now := time.Now(); !now.Before(at.end) || !at.resumed.IsZero() && now.Sub(at.resumed) > time.Minute {
			delete(p.ends, key)
		} else if at.end.After(out[key.pauseKey].end) {
			out[key.pauseKey] = at
		}
	}
	return out
}

// refreshEnds holds when refresh tokens end that are not used before, by partner and integration.
type refreshEnds struct {
	mu   sync.Mutex
	ends map[string]map[string]refreshEnd
}

type refreshEnd struct{ from, end time.Time }

// warn returns from when on an unused token is a matter of concern: seven days before its end, or a quarter of its life
// if that is less.
func (r refreshEnd) warn() time.Time {
	return r.end.Add(-min(7*24*time.Hour, r.end.Sub(r.from)/4))
}

// mostEnds is the number of integrations of a partner whose refresh tokens are looked at.
const mostEnds = 10_000

func (r *refreshEnds) note(partner, integration string, end, from time.Time) {
	if from.IsZero() {
		from = time.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.ends[partner]
	have, known := of[integration]
	switch {
	case end.IsZero():
		delete(of, integration)
		return
	case !known && len(of) >= mostEnds:
		return
	case of == nil:
		if r.ends == nil {
			r.ends = make(map[string]map[string]refreshEnd)
		}
		of = make(map[string]refreshEnd)
		r.ends[partner] = of
	}
	if known && end.Sub(have.end).Abs() < time.Hour { // a token may be used and end nevertheless
		from = have.from
	}
	of[integration] = refreshEnd{from, end}
}

// forget forgets the token of a grant that was refused.
func (r *refreshEnds) forget(partner, integration string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ends[partner], integration)
}

// endpointEnds holds when endpoints end, as partners say.
type endpointEnds struct {
	mu   sync.Mutex
	ends map[endpointAt]endpointEnd
}

type endpointAt struct{ partner, endpoint, method string }

type endpointEnd struct{ told, end time.Time }

func (s *endpointEnds) note(partner, endpoint string, e *belay.Deprecated) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := endpointAt{partner, endpoint, methodOf(e.Call.Method)}
	if e.Sunset.IsZero() {
		delete(s.ends, at)
		return
	}
	if s.ends == nil {
		s.ends = make(map[endpointAt]endpointEnd)
	}
	s.ends[at] = endpointEnd{time.Now(), e.Sunset}
}

// all returns when endpoints end, by partner and endpoint: the first of their methods, and without those that the
// partner has not told of for two days.
func (s *endpointEnds) all() map[[2]string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[[2]string]time.Time, len(s.ends))
	for at, one := range s.ends {
		if time.Since(one.told) > 48*time.Hour {
			delete(s.ends, at)
			continue
		}
		key := [2]string{at.partner, at.endpoint}
		if have, known := out[key]; !known || one.end.Before(have) {
			out[key] = one.end
		}
	}
	return out
}

// first returns the refresh token of each partner that is the first to be warned of.
func (r *refreshEnds) first() map[string]refreshEnd {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]refreshEnd)
	for partner, of := range r.ends {
		for _, at := range of {
			if time.Since(at.end) > 24*time.Hour { // it is over, and told
				continue
			}
			if have, ok := out[partner]; !ok || at.warn().Before(have.warn()) {
				out[partner] = at
			}
		}
	}
	return out
}
