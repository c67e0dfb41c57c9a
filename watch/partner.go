package watch

import (
	"sync"
	"time"

	"github.com/belay-go/belay"
)

// partner is what is kept of a partner.
type partner struct {
	mu   sync.Mutex
	name string
	traffic
	login             // of calls without an integration
	fine         ring // 5 s, a minute
	integrations map[string]*integration
	routes       map[routeKey]*route
	endpoints    int
	circuits     map[circuitKey]time.Time // when it opened
	pauses       map[pauseKey]pause
	imports      map[importKey]*importing
	schema       map[importKey]drift
	ending       map[string]ending // by method and endpoint
	webhooks     webhooks
	last         time.Time // the last call
	refusedAt    time.Time // the last call whose credential was refused, of any integration
}

// traffic is how calls ended, and how long answers took. The minutes of a partner last an hour, those of a route or an
// integration only for its state.
type traffic struct {
	minutes, hours ring
	took           latencies
	worked         time.Time // when the last call that succeeded ended
	failed         time.Time
	failure        string // of the last failed call, one line without credentials
}

func newTraffic() traffic {
	return traffic{newRing(time.Minute, recent), newRing(5*time.Minute, time.Hour), newLatencies(5), time.Time{}, time.Time{}, ""}
}

// hour returns the counts of the last hour.
func (t *traffic) hour(now time.Time) Counts {
	if len(t.hours.slots) == 0 {
		return t.minutes.sum(now, time.Hour)
	}
	return t.hours.sum(now, time.Hour)
}

type integration struct {
	name string
	traffic
	login
	token token
	seen  time.Time
}

// login is what became of a credential.
type login struct {
	refused      time.Time // the last call whose credential was refused
	firstRefused time.Time // since the last success
	why          string    // it was refused
	accepted     time.Time // the last success
	access       map[*route]*access
}

// access is what an integration may do on a route.
type access struct {
	worked    bool
	forbidden int       // 403s since the last success
	last      time.Time // 403
}

type route struct {
	method, endpoint string
	traffic
}

type (
	routeKey   struct{ method, path string }
	circuitKey struct{ origin, route, integration string }
	pauseKey   struct {
		scope       belay.Scope
		integration string
	}
	importKey struct{ integration, name string }
	pause     struct{ from, until, resumes time.Time }
	drift     struct {
		at         time.Time
		difference string
	}
	// ending is an endpoint of which the partner has said when it ends.
	ending struct {
		told, sunset time.Time
		link         string
	}
	token struct {
		expiry, refreshExpiry, refreshSeen, refreshed time.Time
		failing                                       time.Time // since when it could not be refreshed
		revoked                                       time.Time
		action, err                                   string
	}
	importing struct {
		belay.ImportProgress
		at    time.Time
		begun time.Time
	}
	webhooks struct {
		handled            ring // ok, dead letters as refused, failures as serverError; 10 s, 10 min
		received, rejected int
		dead               int
		last               time.Time
	}
)

// renewed reports whether a credential that was accepted then was of another grant than the one that was refused: the
// old token may serve a while longer.
func (t *token) renewed(accepted time.Time) bool {
	return accepted.After(t.revoked.Add(2*time.Minute)) && (t.expiry.IsZero() || accepted.After(t.expiry))
}

func (p *partner) call(now time.Time, e *belay.CallDone, text string) {
	k := kindOf(e.Verdict, e.StatusCode, e.TimedOut, e.Err)
	p.last = now
	if k == ok && len(p.pauses) > 0 {
		for key, one := range p.pauses { // the partner has answered before the end of its pause
			if (key.integration == "" || key.integration == e.Call.Integration) && !now.Before(one.resumes) {
				delete(p.pauses, key)
			}
		}
	}
	p.fine.add(now, k)
	if p.traffic.note(now, k, text); k == unauthorized {
		p.refusedAt = now
	}
	at := p.route(&e.Call)
	at.note(now, k, text)
	if e.Call.Integration == "" {
		p.login.note(now, at, k, text)
		if own := p.integrations[ownIntegration]; own != nil { // its token
			own.login.note(now, at, k, text)
			own.renew(now, k)
		}
	} else if in := p.integration(e.Call.Integration, now); in != nil {
		in.traffic.note(now, k, text)
		in.login.note(now, at, k, text)
		in.renew(now, k)
	}
}

// note counts a call, and remembers its success or failure.
func (t *traffic) note(now time.Time, k kind, text string) {
	t.minutes.add(now, k)
	t.hours.add(now, k)
	switch k {
	case ok:
		t.worked = now
	case clientError, refused, canceled:
	case circuitOpen: // what opened the circuit says more
		if t.failure == "" || now.Sub(t.failed) > 10*time.Minute {
			t.failure = text
		}
		t.failed = now
	default:
		t.failed, t.failure = now, text
	}
}

// renew forgets that a grant was refused, once another one works.
func (in *integration) renew(now time.Time, k kind) {
	if t := &in.token; k == ok && !t.revoked.IsZero() && t.renewed(now) {
		*t = token{}
	}
}

// note remembers whether the credential was accepted, and may use a route.
func (l *login) note(now time.Time, at *route, k kind, text string) {
	switch k {
	case unauthorized:
		l.why = text
		if l.refused = now; l.firstRefused.IsZero() {
			l.firstRefused = now
		}
		return
	case ok:
		l.accepted, l.firstRefused = now, time.Time{}
	case forbidden:
	default:
		return
	}
	a := l.access[at]
	if a == nil {
		if len(l.access) >= mostAccess {
			return
		}
		if l.access == nil {
			l.access = make(map[*route]*access)
		}
		a = new(access)
		l.access[at] = a
	}
	if k == ok {
		a.worked, a.forbidden = true, 0
		return
	}
	a.forbidden++
	a.last = now
}

// attempt notes how long an answer took.
func (p *partner) attempt(now time.Time, e *belay.AttemptDone) {
	p.took.add(now, e.Duration)
	p.route(&e.Call).took.add(now, e.Duration)
	if in := p.integration(e.Call.Integration, now); in != nil {
		in.took.add(now, e.Duration)
	}
}

// route returns what is kept of a call's route. All routes beyond mostRoutes are one.
func (p *partner) route(call *belay.CallInfo) *route {
	key := routeKey{call.Method, call.Route}
	if key.path == "" {
		key.path = call.URL
	}
	if at := p.routes[key]; at != nil {
		return at
	}
	raw := key
	if key.path = call.Endpoint(); len(key.path) > longestName {
		key.path = key.path[:longestName]
	}
	at := p.routes[key]
	if at == nil && p.endpoints >= mostRoutes {
		key = routeKey{"", "other"}
		at = p.routes[key]
	}
	if at == nil {
		at = &route{key.method, key.path, newTraffic()}
		p.routes[key] = at
		p.endpoints++
	}
	if len(p.routes) < 4*mostRoutes { // a shorter way, the next time
		p.routes[raw] = at
	}
	return at
}

// integration returns what is kept of an integration. It is nil for the partner's own calls, and for integrations
// beyond mostIntegrations, of which those that had no call for an hour make room.
func (p *partner) integration(name string, now time.Time) *integration {
	if name == "" {
		return nil
	}
	in := p.integrations[name]
	if in == nil {
		name = shortName(name)
		in = p.integrations[name]
	}
	if in == nil {
		if len(p.integrations) >= mostIntegrations && !p.makeRoom(now) {
			return nil
		}
		in = &integration{name: name, traffic: newTraffic()}
		p.integrations[name] = in
	}
	in.seen = now
	return in
}

// makeRoom forgets an integration that was idle for an hour. It looks at a few only, so that it costs little.
func (p *partner) makeRoom(now time.Time) bool {
	looked := 0
	for name, in := range p.integrations {
		if now.Sub(in.seen) > forgotten && in.token.revoked.IsZero() {
			delete(p.integrations, name)
			return true
		}
		if looked++; looked > 20 {
			break
		}
	}
	return false
}
