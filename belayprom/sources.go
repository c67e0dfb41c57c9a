package belayprom

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/watch"
)

// sources are what is asked with each scrape beside clients.
type sources struct {
	mu       sync.Mutex
	checkers []*watch.Checker
	inboxes  map[string]*inbox.Worker
	queues   QueuesFunc

	ofQueues                                                    queueDescs
	probeUp, probeFailures, probeSeconds, pending, oldest       *prometheus.Desc
	refreshEnd, refreshWarn, pauseEnd, pauseLength, endpointEnd *prometheus.Desc
}

func (s *sources) init(constant prometheus.Labels) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, constant)
	}
	s.probeUp = desc("integration_probe_up", "State of a probed integration: 1 up, 0 down; none before the first probe.", "partner", "check")
	s.probeFailures = desc("integration_probe_failures", "Probes that have failed in a row.", "partner", "check")
	s.probeSeconds = desc("integration_probe_duration_seconds", "Duration of the last probe.", "partner", "check")
	s.pending = desc("integration_inbox_pending", "Events that wait or are being handled.", "inbox")
	s.oldest = desc("integration_inbox_oldest_seconds", "How long the oldest pending event has waited.", "inbox")
	s.refreshEnd = desc("integration_token_refresh_end_timestamp_seconds",
		"When the refresh token of a partner ends that is to be used first.", "partner")
	s.refreshWarn = desc("integration_token_refresh_warn_timestamp_seconds",
		"From when on it is to be used: 7 days before its end, or a quarter of its life if that is less.", "partner")
	s.pauseEnd = desc("integration_api_pause_end_timestamp_seconds",
		"When the last pause ends that the partner has asked for; none while there is no pause.", "partner", "scope")
	s.pauseLength = desc("integration_api_pause_length_seconds", "How long that pause is in all.", "partner", "scope")
	s.ofQueues.init(desc)
	s.endpointEnd = desc("integration_api_endpoint_end_timestamp_seconds",
		"Time at which an endpoint stops working, in seconds since 1970, as the partner says (Sunset).", "partner", "endpoint")
}

// AddChecker makes metrics of the probes of c. Nil is an error.
func (m *Metrics) AddChecker(c *watch.Checker) error {
	if c == nil {
		return errors.New("belayprom: AddChecker: the checker is nil")
	}
	m.sources.mu.Lock()
	defer m.sources.mu.Unlock()
	m.sources.checkers = append(m.sources.checkers, c)
	return nil
}

// AddInbox makes metrics of what waits in an inbox. An empty name, one that is taken, and nil are errors.
func (m *Metrics) AddInbox(name string, w *inbox.Worker) error {
	m.sources.mu.Lock()
	defer m.sources.mu.Unlock()
	switch {
	case name == "" || w == nil:
		return errors.New("belayprom: AddInbox: the name is empty or the worker is nil")
	case m.sources.inboxes[name] != nil:
		return errors.New("belayprom: AddInbox: the name is taken")
	case m.sources.inboxes == nil:
		m.sources.inboxes = make(map[string]*inbox.Worker)
	}
	m.sources.inboxes[name] = w
	return nil
}

func (s *sources) describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{s.probeUp, s.probeFailures, s.probeSeconds, s.pending, s.oldest, s.refreshEnd, s.refreshWarn, s.pauseEnd, s.pauseLength, s.endpointEnd} {
		ch <- d
	}
	for _, d := range s.ofQueues.all() {
		ch <- d
	}
}

func (s *sources) collect(ch chan<- prometheus.Metric, m *Metrics) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s.mu.Lock()
	queues := s.queues
	s.mu.Unlock()
	s.ofQueues.collect(queues, gauge) // not under the lock: it asks a database
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]bool)
	for _, c := range s.checkers {
		for _, at := range c.Status() {
			check := m.labels.get(checks, "", at.Name)
			if seen[check] || at.State == watch.Unknown || at.State == watch.Disabled {
				continue
			}
			seen[check] = true
			partner, up := m.labels.get(partners, "", at.Partner), 1.0
			if at.State == watch.Down {
				up = 0
			}
			gauge(s.probeUp, up, partner, check)
			gauge(s.probeFailures, float64(at.Failures), partner, check)
			gauge(s.probeSeconds, at.Latency.Seconds(), partner, check)
		}
	}
	for name, w := range s.inboxes {
		n := w.Numbers()
		gauge(s.pending, float64(n.Pending), plain(name))
		gauge(s.oldest, n.Oldest.Seconds(), plain(name))
	}
	for partner, at := range m.refreshEnds.first() {
		gauge(s.refreshEnd, float64(at.end.Unix()), partner)
		gauge(s.refreshWarn, float64(at.warn().Unix()), partner)
	}
	for key, at := range m.pauseEnds.last() {
		gauge(s.pauseEnd, float64(at.end.Unix()), key.partner, key.scope)
		gauge(s.pauseLength, at.end.Sub(at.from).Seconds(), key.partner, key.scope)
	}
	for at, end := range m.endpointEnds.all() {
		gauge(s.endpointEnd, float64(end.Unix()), at[0], at[1])
	}
}
