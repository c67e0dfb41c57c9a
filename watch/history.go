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
// the rules. It is an observer: give it to clients ([belay.WithObserver]), to package oauth's Config, to an inbox's
// Receiver and Worker, and to an importer's Job. Its memory is bounded. The zero value is ready. It is safe for
// concurrent use.
type History struct {
	mu       sync.RWMutex
	partners map[string]*partner
	clients  []*belay.Client
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

// ObserveCall implements [belay.DoneObserver].
func (h *History) ObserveCall(_ context.Context, e *belay.CallDone) {
	if e.Kept && !e.Stale { // the partner was not asked
		return
	}
	text := lineOf(e.Err) // before the lock
	h.of(e.Call.Partner, func(p *partner, now time.Time) { p.call(now, e, text) })
}

// ObserveAttempt implements [belay.DoneObserver].
func (h *History) ObserveAttempt(_ context.Context, e *belay.AttemptDone) {
	if e.StatusCode != 0 {
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.attempt(now, e) })
	}
}

// Observe implements [belay.Observer].
func (h *History) Observe(ctx context.Context, e belay.Event) {
	switch e := e.(type) {
	case belay.CallDone:
		h.ObserveCall(ctx, &e)
	case belay.AttemptDone:
		h.ObserveAttempt(ctx, &e)
	case belay.Deprecated:
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.ends(now, &e) })
	case belay.CircuitChanged:
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.circuit(now, &e) })
	case belay.Paused:
		h.of(e.Call.Partner, func(p *partner, now time.Time) { p.paused(now, &e) })
	case belay.TokenLoaded, belay.TokenRefreshed, belay.TokenRefreshFailed, belay.TokenRevoked:
		h.token(e)
	case belay.DeliveryReceived:
		h.of(e.Partner, func(p *partner, now time.Time) { p.webhooks.received++; p.webhooks.last = now })
	case belay.DeliveryRejected:
		if e.Partner != "" { // otherwise nobody knows whose it was
			h.of(e.Partner, func(p *partner, _ time.Time) { p.webhooks.rejected++ })
		}
	case belay.EventHandled:
		h.of(e.Partner, func(p *partner, now time.Time) { p.webhooks.note(now, &e) })
	case belay.ImportProgress:
		h.of(e.Partner, func(p *partner, now time.Time) { p.progress(now, &e) })
	case belay.SchemaChanged:
		h.of(e.Partner, func(p *partner, now time.Time) {
			key := importKey{shortName(e.Integration), shortName(e.What)}
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
			ending:       make(map[string]ending),
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

// Add makes the clients' limits, circuits and waiting calls part of the status. Add the partner's own client; those
// made from it with With share its limits and circuits. A nil client is an error.
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
