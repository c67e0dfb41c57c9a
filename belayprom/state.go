package belayprom

import (
	"runtime"
	"sync"
	"weak"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belay-go/belay"
)

// state holds the clients whose limits and circuits are looked at with each scrape.
type state struct {
	mu      sync.Mutex
	clients []weak.Pointer[belay.Client]

	perMinute, used, maximum, tightened, waiting, byPriority, inFlight, paused, open, up *prometheus.Desc
	integration                                                                          bool
}

func (s *state) init(constant prometheus.Labels, integration bool) {
	s.integration = integration
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, constant)
	}
	s.perMinute = desc("integration_api_calls_per_minute", "Requests that were sent in the last 60 seconds, to be set beside the limits.", "partner")
	s.used = desc("integration_api_limit_used", "Permits of a limit that are in use.", "partner", "integration", "limit", "source", "scope")
	s.maximum = desc("integration_api_limit_max", "Permits of a limit in all.", "partner", "integration", "limit", "source", "scope")
	s.tightened = desc("integration_api_limits_tightened", "Limits that the partner states below the configured one of the same window.",
		"partner", "integration")
	s.waiting = desc("integration_api_calls_waiting", "Calls that wait for a limit.", "partner", "integration")
	s.byPriority = desc("integration_api_calls_waiting_by_priority", "Calls that wait for a limit, by their priority.",
		"partner", "integration", "priority")
	s.inFlight = desc("integration_api_attempts_in_flight", "Attempts in flight, 0 where nothing bounds them.", "partner", "integration")
	s.paused = desc("integration_api_paused_seconds", "How long all calls still wait because the partner has asked for it.",
		"partner", "integration")
	s.open = desc("integration_api_circuit_open", "Circuits that are not closed, by origin: 1 while they are open, 0.5 while they are probed.",
		"partner", "origin", "route", "integration")
	s.up = desc("integration_api_up", "State of the integration by its own traffic: 1 up, 0.5 degraded, 0 down; none while it is unknown or off.",
		"partner", "integration")
}

// Add looks at the limits, circuits and states of clients with each scrape. Add the client of a partner and, if
// integrations are labels, theirs. A client that nobody else holds any more is forgotten. A nil client is an error.
func (m *Metrics) Add(clients ...*belay.Client) error {
	for _, c := range clients {
		if c == nil {
			return errNil
		}
	}
	m.states.mu.Lock()
	defer m.states.mu.Unlock()
	for _, c := range clients {
		m.states.clients = append(m.states.clients, weak.Make(c))
	}
	return nil
}

func (s *state) describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{s.perMinute, s.used, s.maximum, s.tightened, s.waiting, s.byPriority, s.inFlight, s.paused, s.open, s.up} {
		ch <- d
	}
}

// live returns the clients that still exist.
func (s *state) live() (clients []*belay.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.clients[:0]
	for _, p := range s.clients {
		if c := p.Value(); c != nil {
			clients, kept = append(clients, c), append(kept, p)
		}
	}
	clear(s.clients[len(kept):])
	s.clients = kept
	return clients
}

func (s *state) collect(ch chan<- prometheus.Metric, m *Metrics) {
	now := m.seconds()
	m.series.mu.RLock()
	for partner, minute := range m.series.minutes {
		ch <- prometheus.MustNewConstMetric(s.perMinute, prometheus.GaugeValue, float64(minute.sum(now)), partner)
	}
	m.series.mu.RUnlock()
	type series struct {
		desc   *prometheus.Desc
		labels [5]string
	}
	seen := make(map[series]float64) // two clients of one name and one limit are one series: the greater value counts
	var order []series
	put := func(desc *prometheus.Desc, value float64, labels ...string) {
		at := series{desc: desc}
		copy(at.labels[:], labels)
		have, ok := seen[at]
		if !ok {
			order = append(order, at)
		}
		seen[at] = max(have, value)
	}
	clients := s.live()
	for _, c := range clients {
		h := c.Health()
		partner := m.labels.get(partners, "", h.Partner)
		integration := ""
		if s.integration && h.Integration != "" {
			integration = m.labels.get(integrations, "", h.Integration)
		}
		for _, l := range h.Limiter.Limits {
			put(s.used, float64(l.Used), partner, integration, plain(l.Limit), l.Source.String(), l.Scope.String())
			put(s.maximum, float64(l.Max), partner, integration, plain(l.Limit), l.Source.String(), l.Scope.String())
		}
		put(s.tightened, float64(len(h.Limiter.Tightened())), partner, integration)
		put(s.waiting, float64(h.Limiter.Waiting), partner, integration)
		for _, p := range [...]belay.Priority{belay.Low, belay.Normal, belay.High} {
			put(s.byPriority, float64(h.Limiter.WaitingAt(p)), partner, integration, p.String())
		}
		put(s.inFlight, float64(h.Limiter.InFlight), partner, integration)
		put(s.paused, h.Limiter.PausedFor.Seconds(), partner, integration)
		for _, circuit := range h.Circuits[:min(len(h.Circuits), mostCircuits)] {
			value := 1.0
			if circuit.State != belay.BreakerOpen {
				value = 0.5
			}
			of := ""
			switch {
			case circuit.Integration == "":
			case s.integration:
				of = m.labels.get(integrations, "", circuit.Integration)
			default: // it is not the whole origin's
				of = other
			}
			route := ""
			if circuit.Route != "" {
				route = m.labels.get(endpoints, "circuits of "+partner, circuit.Route)
			}
			put(s.open, value, partner, plain(circuit.Origin), route, of)
		}
		if integration == "" && h.Integration != "" {
			continue // its state would be mistaken for the partner's
		}
		switch h.State {
		case belay.HealthUp:
			put(s.up, 1, partner, integration)
		case belay.HealthDegraded:
			put(s.up, 0.5, partner, integration)
		case belay.HealthDown:
			put(s.up, 0, partner, integration)
		}
	}
	runtime.KeepAlive(clients)
	count := map[*prometheus.Desc]int{s.tightened: 2, s.used: 5, s.maximum: 5, s.waiting: 2, s.byPriority: 3, s.inFlight: 2, s.paused: 2, s.open: 4, s.up: 2}
	for _, at := range order {
		ch <- prometheus.MustNewConstMetric(at.desc, prometheus.GaugeValue, seen[at], at.labels[:count[at.desc]]...)
	}
}

// mostCircuits is the number of circuits of a client that are metrics.
const mostCircuits = 100
