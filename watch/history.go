package watch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/redact"
)

// History keeps what happened over the last hour, by partner, integration and route, for [History.Status], the page and
// the rules. It is an observer: give it to clients ([belay.WithObserver]), to [oauth.Config], to an inbox's Receiver and
// Worker, and to an importer's Job. Its memory is bounded. The zero value is ready. It is safe for concurrent use.
type History struct {
	mu       sync.RWMutex
	partners map[string]*partner
	clients  []*belay.Client
	dropped  int // events of partners beyond mostPartners
}

const (
	mostPartners     = 500
	mostIntegrations = 2000 // of a partner
	mostRoutes       = 200  // of a partner
	mostAccess       = 100  // routes of an integration that are known to have worked
	mostCircuits     = 1000
	mostImports      = 2000
	mostPauses       = 2000
	recent           = 5 * time.Minute // of which the state is made
	forgotten        = time.Hour       // after which a circuit, a pause or an import without news is left out
	longestName      = 200
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

// renewed reports whether a credential that was accepted then was of another grant than the one that was refused: the old
// token may serve a while longer.
func (t *token) renewed(accepted time.Time) bool {
	return accepted.After(t.revoked.Add(2*time.Minute)) && (t.expiry.IsZero() || accepted.After(t.expiry))
}

// Observe implements [belay.Observer].
func (h *History) Observe(_ context.Context, e belay.Event) {
	switch e := e.(type) {
	case belay.CallDone:
		if e.Kept && !e.Stale { // the partner was not asked
			return
		}
		text := lineOf(e.Err) // before the lock
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.call(now, &e, text) })
	case belay.AttemptDone:
		if e.StatusCode != 0 {
			h.of(e.Call.Partner, func(p *partner, now time.Time) { p.attempt(now, &e) })
		}
	case belay.CircuitChanged:
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.circuit(now, &e) })
	case belay.Paused:
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.paused(now, &e) })
	case belay.TokenRefreshed, belay.TokenRefreshFailed, belay.TokenRevoked:
		h.token(e)
	case belay.DeliveryReceived:
		h.of(e.Partner, func(p *partner, now time.Time) { p.webhooks.received++; p.webhooks.last = now })
	case belay.DeliveryRejected:
		h.of(e.Partner, func(p *partner, _ time.Time) { p.webhooks.rejected++ })
	case belay.EventHandled:
		h.of(e.Partner, func(p *partner, now time.Time) { p.webhooks.note(now, &e) })
	case belay.ImportProgress:
		h.of(e.Partner, func(p *partner, now time.Time) { p.progress(now, &e) })
	case belay.SchemaChanged:
		h.of(e.Partner, func(p *partner, now time.Time) {
			key := importKey{e.Integration, e.What}
			if _, known := p.schema[key]; known || len(p.schema) < mostImports {
				p.schema[key] = drift{now, redact.Line(e.Difference, 300)}
			}
		})
	}
}

// of calls f with what is kept of a partner, under its lock.
func (h *History) of(name string, f func(*partner, time.Time)) {
	h.mu.RLock()
	p := h.partners[name]
	h.mu.RUnlock()
	if p == nil {
		if p = h.newPartner(shortName(name)); p == nil {
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p, time.Now())
}

func (h *History) newPartner(name string) *partner {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.partners[name]
	switch {
	case p != nil:
	case len(h.partners) >= mostPartners:
		h.dropped++
	default:
		if h.partners == nil {
			h.partners = make(map[string]*partner)
		}
		p = &partner{
			name:         name,
			traffic:      traffic{minutes: newRing(time.Minute, time.Hour), took: newLatencies(60)},
			fine:         newRing(5*time.Second, time.Minute),
			integrations: make(map[string]*integration),
			routes:       make(map[routeKey]*route),
			circuits:     make(map[circuitKey]time.Time),
			pauses:       make(map[pauseKey]pause),
			imports:      make(map[importKey]*importing),
			schema:       make(map[importKey]drift),
		}
		p.webhooks.handled = newRing(10*time.Second, 10*time.Minute)
		h.partners[name] = p
	}
	return p
}

// shortName bounds a name that a user's code has made.
func shortName(name string) string { return redact.Line(name, longestName) }

// kindOf returns how a call ended.
func kindOf(v belay.Verdict, status int, timeout bool, err error) kind {
	switch v.Class {
	case belay.ClassOK:
		return ok
	case belay.ClassTransient:
		switch {
		case timeout:
			return timedOut
		case status != 0:
			return serverError
		}
		return noAnswer
	case belay.ClassRateLimited:
		return rateLimited
	case belay.ClassAuth:
		if status == http.StatusForbidden {
			return forbidden
		}
		return unauthorized
	case belay.ClassData:
		return dataError
	case belay.ClassCanceled:
		return canceled
	case belay.ClassRefused:
		if errors.Is(err, belay.ErrCircuitOpen) {
			return circuitOpen
		}
		return refused
	}
	if status == http.StatusForbidden {
		return forbidden
	}
	return clientError
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

// integration returns what is kept of an integration. It is nil for the partner's own calls, and for integrations beyond
// mostIntegrations, of which those that had no call for an hour make room.
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

func (p *partner) circuit(now time.Time, e *belay.CircuitChanged) {
	key := circuitKey{e.Origin, e.Route, shortName(e.Integration)}
	if e.State == belay.BreakerClosed {
		delete(p.circuits, key)
		return
	}
	if p.circuits[key].IsZero() && len(p.circuits) < mostCircuits {
		p.circuits[key] = now
	}
}

func (p *partner) paused(now time.Time, e *belay.Paused) {
	key := pauseKey{e.Scope, shortName(e.Call.Integration)}
	if e.Scope == belay.ScopePartner {
		key.integration = ""
	}
	for k, known := range p.pauses {
		if !now.Before(known.until) {
			delete(p.pauses, k)
		}
	}
	// Calls wait for an hour at most before one is tried, however long the partner asks for.
	until, resumes := now.Add(max(e.For, e.Verdict.RetryAfter)), now.Add(e.For)
	if known, there := p.pauses[key]; there && known.until.After(now) {
		known.until, known.resumes = later(known.until, until), later(known.resumes, resumes)
		p.pauses[key] = known
	} else if len(p.pauses) < mostPauses {
		p.pauses[key] = pause{now, until, resumes}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *History) token(e belay.Event) {
	var partnerName, name string
	var note func(t *token, now time.Time)
	switch e := e.(type) {
	case belay.TokenRefreshed:
		partnerName, name = e.Partner, e.Integration
		note = func(t *token, now time.Time) {
			seen := now // the first time of this end: a token may be used and end nevertheless
			if end := t.refreshExpiry; !end.IsZero() && e.RefreshExpiry.Sub(end).Abs() < time.Hour {
				seen = t.refreshSeen
			}
			*t = token{expiry: e.Expiry, refreshExpiry: e.RefreshExpiry, refreshSeen: seen, refreshed: now}
		}
	case belay.TokenRefreshFailed:
		partnerName, name = e.Partner, e.Integration
		note = func(t *token, now time.Time) {
			if t.failing.IsZero() {
				t.failing = now
			}
			t.action, t.err = redact.Line(e.Action, 300), lineOf(e.Err)
		}
	case belay.TokenRevoked:
		partnerName, name = e.Partner, e.Integration
		note = func(t *token, now time.Time) {
			t.revoked, t.action, t.err = now, redact.Line(e.Action, 300), lineOf(e.Err)
		}
	}
	h.of(partnerName, func(p *partner, now time.Time) {
		if name == "" {
			name = ownIntegration
		}
		if in := p.integration(name, now); in != nil {
			note(&in.token, now)
		}
	})
}

// ownIntegration is the name under which a partner's own token is kept.
const ownIntegration = "(own)"

// lineOf returns the text of an error as one line. One of Belay's holds no credential; any other may be of a user's
// function, which quotes what it likes.
func lineOf(err error) string {
	if err == nil {
		return ""
	}
	if _, clean := err.(*belay.Error); clean {
		return redact.Line(err.Error(), 300)
	}
	return redact.Line(redact.Text(err.Error()), 300)
}

func (w *webhooks) note(now time.Time, e *belay.EventHandled) {
	w.last = now
	switch {
	case e.DeadLettered:
		w.dead++
		w.handled.add(now, refused)
	case e.Err != nil:
		w.handled.add(now, serverError)
	default:
		w.handled.add(now, ok)
	}
}

func (p *partner) progress(now time.Time, e *belay.ImportProgress) {
	key := importKey{shortName(e.Integration), shortName(e.Import)}
	i := p.imports[key]
	if i == nil {
		for k, old := range p.imports {
			if now.Sub(old.at) > 24*forgotten {
				delete(p.imports, k)
			}
		}
		if len(p.imports) >= mostImports {
			return
		}
		i = new(importing)
		p.imports[key] = i
	}
	if i.begun.IsZero() || i.Ended {
		i.begun = now.Add(-e.Elapsed)
	}
	i.ImportProgress, i.at = *e, now
}

// Add makes the clients' limits, circuits and waiting calls part of the status. Add the partner's own client; those made
// from it with With share its limits and circuits. A nil client is an error.
func (h *History) Add(clients ...*belay.Client) error {
	for i, c := range clients {
		if c == nil || c.Health().Partner == "" {
			return fmt.Errorf("watch: History.Add: client %d is nil or was not made by New", i)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients = append(h.clients, clients...)
	return nil
}
