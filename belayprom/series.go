package belayprom

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belay-go/belay"
)

// key is what distinguishes the series of a call.
type key struct {
	partner, integration, route, method string
	status                              int
	class                               belay.Class
	timedOut                            bool
}

// series are the metrics of one kind of outcome of one endpoint.
type series struct {
	key                       key // as events say it
	partner, endpoint, method string
	calls, attempts           prometheus.Counter
	duration                  prometheus.Observer
	minute                    *minute
}

// seriesOf holds series by what events say, so that a call searches no label. It is bounded: raw paths have no series
// of their own.
type seriesOf struct {
	// recent holds series by slot. Most calls find theirs here, without a lock and without a hash of all names, which
	// takes half the time: BenchmarkObserve. TestSeriesOfOneSlot is red if a slot is taken for a key.
	recent  [512]atomic.Pointer[series]
	mu      sync.RWMutex
	by      map[key]*series
	minutes map[string]*minute // by partner
}

// mostSeries is the number of series that are held; others are found by their labels.
const mostSeries = 20_000

// slot returns the place of a key in recent. Two keys may have one.
func (s *seriesOf) slot(k *key) *atomic.Pointer[series] {
	h := uint(k.status)*31 + uint(k.class)*7 + uint(len(k.partner))
	for _, name := range [...]string{k.partner, k.integration, k.route, k.method} {
		if n := len(name); n > 0 {
			h = h*131 + uint(n) + uint(name[n-1])<<3 + uint(name[n/2])<<1 + uint(name[n/3])
		}
	}
	return &s.recent[(h^h>>9)%uint(len(s.recent))]
}

func (s *seriesOf) get(k *key) *series {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by[*k]
}

func (m *Metrics) seriesOf(call *belay.CallInfo, status int, class belay.Class, timedOut bool) *series {
	k := key{partner: call.Partner, route: call.Route, method: call.Method, status: status, class: class, timedOut: timedOut}
	if m.integrations > 0 {
		k.integration = call.Integration
	}
	slot := m.series.slot(&k)
	if s := slot.Load(); s != nil && s.key == k {
		return s
	}
	s := m.series.get(&k)
	if s == nil {
		s = m.newSeries(call, k)
	}
	if s.key == k {
		slot.Store(s)
	}
	return s
}

// newSeries returns the series of a call whose route is not known. All raw paths of one endpoint have one.
func (m *Metrics) newSeries(call *belay.CallInfo, k key) *series {
	partner, path := m.labels.get(partners, "", call.Partner), call.Endpoint()
	endpoint := m.labels.get(endpoints, partner, path)
	template := path == k.route && endpoint == path
	if k.route = endpoint; !template { // a raw path: it has no series of its own
		if s := m.series.get(&k); s != nil {
			return s
		}
	}
	method := methodOf(call.Method)
	code := strconv.Itoa(k.status)
	switch {
	case k.status == 0 && k.timedOut:
		code = "timeout"
	case k.status < 100 || k.status > 599:
		code = "none"
	}
	values := m.with(call.Integration, partner, endpoint, method, code, k.class.String())
	s := &series{
		key: k, partner: partner, endpoint: endpoint, method: method,
		calls: m.calls.WithLabelValues(values...), attempts: m.attempts.WithLabelValues(values...),
		duration: m.duration.WithLabelValues(m.with(call.Integration, partner, endpoint, method)...),
	}
	m.series.mu.Lock()
	defer m.series.mu.Unlock()
	if m.series.by == nil {
		m.series.by, m.series.minutes = make(map[key]*series), make(map[string]*minute)
	}
	if s.minute = m.series.minutes[partner]; s.minute == nil {
		s.minute = new(minute)
		m.series.minutes[partner] = s.minute
	}
	if len(m.series.by) < mostSeries {
		m.series.by[k] = s
	}
	return s
}

// methodOf returns a method as a label. Methods that HTTP does not define are one.
func methodOf(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	case "":
		return "GET"
	}
	return other
}

// minute counts the calls of the last sixty seconds.
type minute struct {
	seconds [64]atomic.Uint64 // the second in the upper 40 bits, the count in the lower 24
}

// seconds returns the time in seconds since m was made. It reads one clock, where time.Now reads two.
func (m *Metrics) seconds() int64 { return int64(time.Since(m.made) / time.Second) }

func (m *minute) add(now int64) {
	at := &m.seconds[now&63]
	for {
		have := at.Load()
		next := have + 1
		if have>>24 != uint64(now) {
			next = uint64(now)<<24 | 1
		}
		if at.CompareAndSwap(have, next) {
			return
		}
	}
}

func (m *minute) sum(now int64) (n uint64) {
	for i := range m.seconds {
		v := m.seconds[i].Load()
		if second := int64(v >> 24); second > now-60 && second <= now {
			n += v & (1<<24 - 1)
		}
	}
	return n
}
