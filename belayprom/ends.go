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

type pause struct{ end, resumed time.Time }

func (p *pauseEnds) note(partner string, e *belay.Paused) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = make(map[pauseOf]pause)
	}
	key := ofPause(partner, e.Scope, &e.Call)
	if _, known := p.ends[key]; !known && len(p.ends) >= mostPauses {
		return
	}
	end := time.Now().Add(max(e.For, e.Verdict.RetryAfter)) // calls wait for an hour at most before one is tried
	p.ends[key] = pause{end: later(end, p.ends[key].end)}
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

// last returns when the last pause of each partner and scope ends, without those that are over.
func (p *pauseEnds) last() map[pauseKey]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[pauseKey]time.Time)
	for key, at := range p.ends {
		if now := time.Now(); !now.Before(at.end) || !at.resumed.IsZero() && now.Sub(at.resumed) > time.Minute {
			delete(p.ends, key)
		} else {
			out[key.pauseKey] = later(at.end, out[key.pauseKey])
		}
	}
	return out
}

// refreshEnds holds when refresh tokens end that are not used before, by partner and integration.
type refreshEnds struct {
	mu   sync.Mutex
	ends map[string]map[string]time.Time
}

// mostEnds is the number of integrations of a partner whose refresh tokens are looked at.
const mostEnds = 10_000

func (r *refreshEnds) note(partner string, e *belay.TokenRefreshed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.ends[partner]
	switch _, known := of[e.Integration]; {
	case e.RefreshExpiry.IsZero():
		delete(of, e.Integration)
		return
	case !known && len(of) >= mostEnds:
		return
	case of == nil:
		if r.ends == nil {
			r.ends = make(map[string]map[string]time.Time)
		}
		of = make(map[string]time.Time)
		r.ends[partner] = of
	}
	of[e.Integration] = e.RefreshExpiry
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

// first returns when the first refresh token of each partner ends.
func (r *refreshEnds) first() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]time.Time)
	for partner, of := range r.ends {
		for _, end := range of {
			if time.Since(end) > 24*time.Hour { // it is over, and told
				continue
			}
			if have, ok := out[partner]; !ok || end.Before(have) {
				out[partner] = end
			}
		}
	}
	return out
}
