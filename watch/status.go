package watch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay"
)

// Traffic is how the calls of a partner, an integration or a route went. Its times are zero for never.
type Traffic struct {
	// State is made of the last five minutes: HealthDown if half of at least five calls failed, and some of the present
	// minute; HealthDegraded if a twentieth did, and at least two; HealthUnknown if there were none in the last hour.
	// Since is when that began, as far as the last hour shows.
	State belay.HealthState
	Since time.Time
	// Recent counts the calls of the last five minutes, Hour those of the last hour.
	Recent, Hour Counts
	// P50, P95 and P99 are the times within which that share of the answers came in the last five minutes, 0 without an
	// answer. They are exact to a fifth.
	P50, P95, P99            time.Duration
	LastSuccess, LastFailure time.Time
	// Error is the error of the last failed call: one line without credentials.
	Error string
}

// PartnerStatus is the state of a partner as its traffic shows it.
type PartnerStatus struct {
	Partner string
	Traffic
	// Why says in a few words what is wrong, empty if nothing is.
	Why          string
	Integrations []IntegrationStatus // the sick first, then by name
	Routes       []RouteStatus       // the sick first, then by calls
	// Circuits are those that are open, Pauses the waits that the partner has asked for.
	Circuits []CircuitStatus
	Pauses   []PauseStatus
	// Limits, Waiting and InFlight are those of the clients that were given to [History.Add], Limits at most 100.
	Limits  []belay.LimitStatus
	Waiting int
	Imports []ImportStatus
	// Webhooks are the deliveries and events since the start.
	Webhooks WebhookStatus
	// Minutes are the last sixty minutes, the oldest first.
	Minutes []Minute
}

// Minute is a minute of a partner's traffic.
type Minute struct {
	Counts Counts
	P95    time.Duration // of the answers, 0 without one
}

// IntegrationStatus is the state of an integration.
type IntegrationStatus struct {
	Integration string
	Traffic
	Token TokenStatus
}

// TokenStatus is the state of an integration's token. Its times are zero for unknown or never.
type TokenStatus struct {
	Expiry, RefreshExpiry, Refreshed time.Time
	// FailingSince is since when it could not be refreshed, and Revoked when it was refused for good.
	FailingSince, Revoked time.Time
	Action, Error         string
}

// RouteStatus is the state of a route. Endpoint is a template; all routes beyond the first two hundred are "other".
type RouteStatus struct {
	Method, Endpoint string
	Traffic
}

// CircuitStatus is a circuit that is open: of a whole origin if Route and Integration are empty.
type CircuitStatus struct {
	Origin, Route, Integration string
	Since                      time.Time
}

// PauseStatus is a wait that the partner has asked for.
type PauseStatus struct {
	Scope       belay.Scope
	Integration string
	Since       time.Time
	Until       time.Time
}

// ImportStatus is the progress of an import, or its result.
type ImportStatus struct {
	belay.ImportProgress
	Began, Last time.Time
}

// WebhookStatus counts a partner's deliveries and events since the start of the process.
type WebhookStatus struct {
	Received, Rejected, Dead int
	// Handled and Failed count attempts of the last ten minutes.
	Handled, Failed int
	Last            time.Time
}

// Status returns the state of each partner, the sick first, then by name.
func (h *History) Status() []PartnerStatus {
	now := time.Now()
	h.mu.RLock()
	all := make([]*partner, 0, len(h.partners))
	for _, p := range h.partners {
		all = append(all, p)
	}
	clients := slices.Clone(h.clients)
	h.mu.RUnlock()
	out := make([]PartnerStatus, 0, len(all))
	seen := make(map[string]bool)
	for _, p := range all {
		seen[p.name] = true
		out = append(out, p.status(now))
	}
	limits := make(map[string][]belay.Health)
	limiters := make(map[*belay.Limiter]bool)
	for _, c := range clients {
		health := c.Health()
		name := shortName(health.Partner)
		if !seen[name] { // a partner without traffic is shown too
			seen[name] = true
			out = append(out, PartnerStatus{Partner: name})
		}
		if l := c.Limiter(); l != nil && !limiters[l] {
			limiters[l] = true
			limits[name] = append(limits[name], health)
		}
	}
	for i := range out {
		out[i].limits(limits[out[i].Partner])
	}
	slices.SortFunc(out, func(a, b PartnerStatus) int {
		return cmp.Or(sickness(b.State)-sickness(a.State), strings.Compare(a.Partner, b.Partner))
	})
	return out
}

// sickness orders states: the worst is the largest.
func sickness(s belay.HealthState) int {
	return [...]int{
		belay.HealthUnknown: 1, belay.HealthUp: 0, belay.HealthDegraded: 3, belay.HealthDown: 4, belay.HealthDisabled: 2,
	}[min(s, belay.HealthDisabled)]
}

func (p *partner) status(now time.Time) PartnerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PartnerStatus{Partner: p.name, Traffic: p.traffic.status(now)}
	for _, in := range p.integrations {
		s.Integrations = append(s.Integrations, in.status(now))
	}
	slices.SortFunc(s.Integrations, func(a, b IntegrationStatus) int {
		return cmp.Or(sickness(b.State)-sickness(a.State), strings.Compare(a.Integration, b.Integration))
	})
	listed := make(map[*route]bool)
	for _, at := range p.routes {
		if !listed[at] {
			listed[at] = true
			s.Routes = append(s.Routes, RouteStatus{at.method, at.endpoint, at.status(now)})
		}
	}
	slices.SortFunc(s.Routes, func(a, b RouteStatus) int {
		return cmp.Or(sickness(b.State)-sickness(a.State), b.Hour.Total()-a.Hour.Total(),
			strings.Compare(a.Endpoint+a.Method, b.Endpoint+b.Method))
	})
	for key, opened := range p.circuits {
		s.Circuits = append(s.Circuits, CircuitStatus{key.origin, key.route, key.integration, opened})
	}
	slices.SortFunc(s.Circuits, func(a, b CircuitStatus) int { return a.Since.Compare(b.Since) })
	for key, one := range p.pauses {
		if now.Before(one.until) {
			s.Pauses = append(s.Pauses, PauseStatus{key.scope, key.integration, one.from, one.until})
		}
	}
	slices.SortFunc(s.Pauses, func(a, b PauseStatus) int { return b.Until.Compare(a.Until) })
	for _, one := range p.imports {
		s.Imports = append(s.Imports, ImportStatus{one.ImportProgress, one.begun, one.at})
	}
	slices.SortFunc(s.Imports, func(a, b ImportStatus) int {
		return cmp.Or(strings.Compare(a.Import, b.Import), strings.Compare(a.Integration, b.Integration))
	})
	handled := p.webhooks.handled.sum(now, 10*time.Minute)
	s.Webhooks = WebhookStatus{
		p.webhooks.received, p.webhooks.rejected, p.webhooks.dead,
		handled.OK, handled.ServerErrors + handled.Refused, p.webhooks.last,
	}
	s.Minutes = make([]Minute, 60)
	for i := range s.Minutes {
		took := p.took.over(now, 59-i, 1)
		s.Minutes[i] = Minute{p.minutes.at(now, 59-i), quantile(&took, 0.95)}
	}
	s.judge()
	return s
}

// judge adds to the state of the traffic what else is known.
func (s *PartnerStatus) judge() {
	var why []string
	worse := func(to belay.HealthState, since time.Time, text string) {
		why = append(why, text)
		if sickness(to) > sickness(s.State) {
			s.State, s.Since = to, since
		} else if to == s.State && since.Before(s.Since) {
			s.Since = since
		}
	}
	if s.State == belay.HealthDown || s.State == belay.HealthDegraded {
		why = append(why, s.Recent.worst())
	}
	for _, c := range s.Circuits {
		if c.Route == "" && c.Integration == "" {
			worse(belay.HealthDown, c.Since, "the circuit is open")
		} else {
			worse(belay.HealthDegraded, c.Since, "the circuit of a part is open")
		}
	}
	for _, one := range s.Pauses {
		worse(belay.HealthDegraded, one.Since, "the partner asked for a pause")
	}
	for _, in := range s.Integrations {
		switch {
		case !in.Token.Revoked.IsZero():
			worse(belay.HealthDegraded, in.Token.Revoked, "a token was refused for good")
		case !in.Token.FailingSince.IsZero():
			worse(belay.HealthDegraded, in.Token.FailingSince, "a token cannot be refreshed")
		case in.State == belay.HealthDown:
			worse(belay.HealthDegraded, in.Since, "an integration is down")
		}
	}
	slices.Sort(why)
	s.Why = strings.Join(slices.Compact(why), ", ")
}

// worst names the commonest failure.
func (c Counts) worst() string {
	most, name := 0, ""
	for _, one := range c.classes() {
		if one.name == heldByCircuit && c.Failed() > one.n { // the circuit is no cause
			continue
		}
		if one.failure && one.n > most {
			most, name = one.n, one.name
		}
	}
	return name
}

// class is one of the counts with its name.
type class struct {
	name    string
	n       int
	failure bool
}

const heldByCircuit = "held by the circuit"

// classes returns the counts that are not OK, with their names.
func (c Counts) classes() []class {
	return []class{
		{"5xx", c.ServerErrors, true},
		{"timeouts", c.Timeouts, true},
		{"no answer", c.NoAnswer, true},
		{heldByCircuit, c.CircuitOpen, true},
		{"429", c.RateLimited, true},
		{"credential refused", c.Unauthorized, true},
		{"unusable answers", c.DataErrors, true},
		{"403", c.Forbidden, false},
		{"other 4xx", c.ClientErrors, false},
		{"not sent", c.Refused, false},
		{"canceled", c.Canceled, false},
	}
}

// limits adds what the clients of the partner know of its limits.
func (s *PartnerStatus) limits(clients []belay.Health) {
	for _, health := range clients {
		s.Waiting += health.Limiter.Waiting
		room := max(0, 100-len(s.Limits))
		s.Limits = append(s.Limits, health.Limiter.Limits[:min(len(health.Limiter.Limits), room)]...)
		if health.State == belay.HealthDisabled && s.State != belay.HealthDown {
			s.State, s.Why = belay.HealthDisabled, "switched off"
		}
	}
}

func (in *integration) status(now time.Time) IntegrationStatus {
	s := IntegrationStatus{in.name, in.traffic.status(now), TokenStatus{
		in.token.expiry, in.token.refreshExpiry, in.token.refreshed, in.token.failing, in.token.revoked,
		in.token.action, in.token.err,
	}}
	if !s.Token.Revoked.IsZero() && s.State != belay.HealthDown {
		s.State, s.Since = belay.HealthDown, s.Token.Revoked
	}
	return s
}

func (t *traffic) status(now time.Time) Traffic {
	took := t.took.over(now, 0, 5)
	s := Traffic{
		Recent: t.minutes.sum(now, recent), Hour: t.hour(now),
		P50: quantile(&took, 0.5), P95: quantile(&took, 0.95), P99: quantile(&took, 0.99),
		LastSuccess: t.worked, LastFailure: t.failed, Error: t.failure,
	}
	if s.State = stateOf(s.Recent); s.State == belay.HealthUnknown && s.Hour.Total() > 0 {
		s.State = belay.HealthUp
	}
	if now := t.minutes.at(now, 0); s.State == belay.HealthDown && now.Total() >= 5 && now.Failed() == 0 {
		s.State = belay.HealthDegraded // it is coming back
	}
	if s.Hour.Total() == 0 {
		return s
	}
	// Back to the first minute that was otherwise. A minute without calls was as the one after it.
	s.Since = now.Truncate(time.Minute)
	for back := range len(t.minutes.slots) - 1 {
		c := t.minutes.at(now, back)
		switch {
		case c.Total() == 0:
			continue
		case back > 0 && failing(c) != sick(s.State):
			return s
		}
		s.Since = now.Truncate(time.Minute).Add(-time.Duration(back) * time.Minute)
	}
	return s
}

// failing reports whether the calls of a minute count as those of a sick partner.
func failing(c Counts) bool { return c.Failed() > 0 && c.Failed()*20 >= c.Total() }

func sick(s belay.HealthState) bool { return s == belay.HealthDown || s == belay.HealthDegraded }

// stateOf judges calls.
func stateOf(c Counts) belay.HealthState {
	total, failed := c.Total(), c.Failed()
	switch {
	case total == 0:
		return belay.HealthUnknown
	case total >= 5 && failed*2 >= total:
		return belay.HealthDown
	case failed >= 2 && failed*20 >= total, failed == total:
		return belay.HealthDegraded
	}
	return belay.HealthUp
}
