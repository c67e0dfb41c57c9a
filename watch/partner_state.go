package watch

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/redact"
)

func (p *partner) circuit(now time.Time, e *belay.CircuitChanged) {
	p.last = now // the call that opened it has not ended yet
	if in := p.integrations[e.Integration]; in != nil {
		in.seen = now
	}
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
	case belay.TokenLoaded:
		partnerName, name = e.Partner, e.Integration
		note = func(t *token, now time.Time) {
			seen := e.Obtained
			if seen.IsZero() {
				seen = now
			}
			*t = token{expiry: e.Expiry, refreshExpiry: e.RefreshExpiry, refreshSeen: seen, refreshed: e.Obtained}
		}
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

// ends notes when an endpoint ends.
func (p *partner) ends(now time.Time, e *belay.Deprecated) {
	key := shortName(e.Call.Method + " " + e.Call.Endpoint())
	if e.Sunset.IsZero() {
		delete(p.ending, key)
		return
	}
	if _, known := p.ending[key]; known || len(p.ending) < mostRoutes {
		p.ending[key] = ending{now, e.Sunset, redact.Line(e.Link, 300)}
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
