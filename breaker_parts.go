package belay

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// originKey identifies an origin. Two spellings of one origin have two circuits, which does no harm.
type originKey struct{ scheme, host string }

func (k originKey) String() string { return k.scheme + "://" + k.host }

// callPart is where a call leads to, and on whose behalf. As the name of a circuit, an empty field stands for all.
type callPart struct {
	method, route string
	integration   string
}

// covers reports whether all calls of o belong to p too.
func (p callPart) covers(o callPart) bool {
	return (p.route == "" || p.route == o.route && p.method == o.method) &&
		(p.integration == "" || p.integration == o.integration)
}

// scopes returns the parts that a call of p counts for, the widest first, and their number.
func (p callPart) scopes() (all [4]callPart, n int) {
	n = 1 // the whole origin
	if p.route != "" {
		all[n] = callPart{method: p.method, route: p.route}
		n++
	}
	if p.integration != "" {
		all[n] = callPart{integration: p.integration}
		n++
	}
	if n == 3 {
		all[n] = p
		n++
	}
	return all, n
}

// circuits holds the circuits of one origin. It exists while one of them has a failure or is not closed.
type circuits struct {
	breaker *Breaker
	key     originKey

	mu     sync.Mutex
	byPart map[callPart]*circuit
	failed time.Duration // when the last attempt failed
	gone   bool          // removed from the breaker: look again
}

const (
	maxOrigins = 16_384 // with circuits; beyond, the failures of further origins do not count
	maxParts   = 1_024  // with circuits, of one origin; beyond, failures count for the others only
)

// of returns the circuits of an origin, nil if it has none.
func (b *Breaker) of(key originKey) *circuits {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.origins[key]
}

// locked returns the circuits of an origin with their mutex locked. If there are none, it makes them, or returns
// nil if add is false or there are too many.
func (b *Breaker) locked(key originKey, add bool) *circuits {
	for {
		o := b.of(key)
		if o == nil && add {
			o = b.add(key)
		}
		if o == nil {
			return nil
		}
		o.mu.Lock()
		if !o.gone {
			return o
		}
		o.mu.Unlock()
	}
}

// add adds an origin, unless there are too many. From time to time it removes those that are idle.
func (b *Breaker) add(key originKey) *circuits {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.origins[key]; o != nil {
		return o
	}
	if now := b.now(); now-b.swept > 10*time.Second || len(b.origins) >= maxOrigins && now-b.swept > time.Second {
		b.swept = now
		for _, o := range b.origins {
			o.mu.Lock()
			if o.idle(now) {
				b.remove(o)
			}
			o.mu.Unlock()
		}
	}
	if len(b.origins) >= maxOrigins {
		return nil
	}
	o := &circuits{breaker: b, key: key, byPart: make(map[callPart]*circuit)}
	b.origins[key] = o
	b.troubled.Store(int32(len(b.origins)))
	return o
}

// idle reports whether no circuit is needed any more. The caller holds o.mu.
func (o *circuits) idle(now time.Duration) bool {
	for p, c := range o.byPart {
		if !c.closed || c.releasing() || now-c.failedAt <= o.breaker.policy.Window {
			return false
		}
		delete(o.byPart, p)
	}
	return true
}

// remove removes an origin. The caller holds b.mu and o.mu.
func (b *Breaker) remove(o *circuits) {
	o.gone = true
	delete(b.origins, o.key)
	b.troubled.Store(int32(len(b.origins)))
}

// retire removes the origin if it is idle.
func (b *Breaker) retire(o *circuits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.gone && o.idle(b.now()) {
		b.remove(o)
	}
}

// failure counts a failed attempt for each part that it belongs to, and opens the circuits that the failures call for:
// the widest part, which takes over the open circuits that it covers. It returns the changes. The caller holds o.mu.
func (o *circuits) failure(p callPart, generation uint32, v *Verdict, now time.Duration) (changes []circuitChange) {
	var tripped []*circuit
	scopes, n := p.scopes()
	for _, s := range scopes[:n] {
		c := o.byPart[s]
		if c == nil {
			if len(o.byPart) >= maxParts {
				continue
			}
			c = newCircuit(o, s)
			o.byPart[s] = c
		}
		if c.failure(p, generation, now) {
			tripped = append(tripped, c)
		}
	}
	for _, wide := range tripped {
		if o.byPart[wide.part] != wide {
			continue // a wider one has taken over
		}
		for q, c := range o.byPart {
			if c == wide || !wide.part.covers(q) {
				continue
			}
			delete(o.byPart, q)
			if !c.closed && !slices.Contains(tripped, c) {
				changes = append(changes, o.change(c.status(now), false))
			}
			c.release() // its calls wait for the wider circuit now
		}
		wide.open(v, now)
		changes = append(changes, o.change(wide.status(now), true))
	}
	return changes
}

// success counts an attempt that succeeded. The caller holds o.mu.
func (o *circuits) success(p callPart, generation uint32, now time.Duration) {
	scopes, n := p.scopes()
	for _, s := range scopes[:n] {
		if c := o.byPart[s]; c != nil {
			c.success(generation, now)
		}
	}
}

// blocker returns the circuit that a call has to wait for, or nil if the call may be sent: as a probe of the
// circuits in probes, or as any other call if there are none. The caller holds o.mu.
func (o *circuits) blocker(
	p callPart, slot *circuit, unsafe bool, now time.Duration,
) (wait *circuit, probes []*circuit) {
	scopes, n := p.scopes()
	for _, s := range scopes[:n] {
		c := o.byPart[s]
		switch {
		case c == nil || c.closed:
		case c == slot && c.openUntil <= now, c.mayProbe(unsafe, now):
			probes = append(probes, c)
		default:
			return c, nil
		}
	}
	return nil, probes
}

// releasing returns a circuit of the call from which earlier calls are still being released, nil for none. The
// caller holds o.mu.
func (o *circuits) releasing(p callPart) *circuit {
	scopes, n := p.scopes()
	for _, s := range scopes[:n] {
		if c := o.byPart[s]; c != nil && c.closed && c.releasing() {
			return c
		}
	}
	return nil
}

// permit is the right to send one attempt. It must be reported. While the partner has no trouble it only notes the
// generation, so that the successful path takes no lock.
type permit struct {
	held       bool
	generation uint32
	probes     []probe       // nil if the attempt is no probe
	age        time.Duration // of a probe: the time since its circuit opened
}

// probe is one attempt as a probe of one circuit.
type probe struct {
	of         *circuit
	generation uint32
	done       func(error)
}

// allow returns a permit, or the circuit that does not admit the call now. slot is the circuit of which the call
// has a probe slot, nil for none. An unsafe call gets no permit for a probe while a safe one waits for the circuit.
func (b *Breaker) allow(key originKey, p callPart, slot *circuit, unsafe bool) (permit, *circuit) {
	o := b.locked(key, false)
	if o == nil {
		return permit{held: true, generation: b.generation.Load()}, nil
	}
	defer o.mu.Unlock()
	now := b.now()
	wait, probes := o.blocker(p, slot, unsafe, now)
	if wait != nil {
		return permit{}, wait
	}
	got := permit{held: true}
	for _, c := range probes {
		done := c.begin(now)
		if done == nil { // gobreaker has more probes than are counted here: not in this instant
			c.openUntil = now + 10*time.Millisecond
			for _, p := range got.probes {
				p.done(errNeutral)
				p.of.probing--
			}
			return permit{}, c
		}
		got.probes, got.age = append(got.probes, probe{c, c.generation, done}), max(got.age, now-c.openedAt)
	}
	got.generation = b.generation.Load()
	return got, nil
}

// circuitChange says that a circuit has opened or closed, or given way to a wider one. The status is that of the open
// circuit. open is the number of circuits of the origin that are not closed after it, and version orders the changes.
// closed is the circuit whose calls are to be released once the limiters know of the change.
type circuitChange struct {
	closed  *circuit
	status  CircuitStatus
	opened  bool
	open    int
	version uint32
}

// change returns a change of c at its origin, which has just happened.
func (o *circuits) change(status CircuitStatus, opened bool) circuitChange {
	open := 0
	for _, c := range o.byPart {
		if !c.closed {
			open++
		}
	}
	return circuitChange{status: status, opened: opened, open: open, version: o.breaker.generation.Add(1)}
}

// report ends a permit with the verdict on its attempt, whose call is of p. A second report does nothing. It
// returns the changes that follow from it.
func (b *Breaker) report(pm *permit, key originKey, p callPart, v *Verdict, answered bool) (changes []circuitChange) {
	if !pm.held {
		return nil
	}
	pm.held = false
	failed := v.Class == ClassTransient && !v.neutral
	o := b.locked(key, failed)
	if o == nil {
		return nil
	}
	now := b.now()
	for i := range pm.probes {
		c := pm.probes[i].of
		if c.probed(&pm.probes[i], v, answered, now) {
			change := o.change(c.status(now), false)
			if !c.relayed {
				c.relayed, change.closed = true, c
			}
			changes = append(changes, change)
		}
	}
	retire := false
	switch {
	case failed:
		o.failed = now
		changes = append(changes, o.failure(p, pm.generation, v, now)...)
		o.pause(p, v, now)
	case v.Class == ClassOK:
		o.success(p, pm.generation, now)
		retire = now-o.failed > b.policy.Window
	}
	o.mu.Unlock()
	if retire {
		b.retire(o)
	}
	if len(changes) > 0 && !changes[len(changes)-1].opened {
		b.hurry()
	}
	return changes
}

// hurry brings all probes forward, because a circuit has closed: another origin, route or integration may be back
// for the same reason.
func (b *Breaker) hurry() {
	for _, o := range b.all() {
		o.mu.Lock()
		now := b.now()
		for _, c := range o.byPart {
			c.hurry(now)
		}
		o.mu.Unlock()
	}
}

// all returns the origins that have circuits.
func (b *Breaker) all() []*circuits {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Collect(maps.Values(b.origins))
}

// pause makes the open circuits of a call wait as long as a failed answer asks. The caller holds o.mu.
func (o *circuits) pause(p callPart, v *Verdict, now time.Duration) {
	if v.RetryAfter <= 0 {
		return
	}
	scopes, n := p.scopes()
	for _, s := range scopes[:n] {
		if c := o.byPart[s]; c != nil && !c.closed {
			c.pause(v, now)
			c.arm()
		}
	}
}

// originOf returns the key of the origin that u leads to.
func originOf(u *url.URL) originKey { return originKey{u.Scheme, u.Host} }

// foldPath returns the path of a raw request as a route: segments that look like an id become {}. So the calls
// that read one thing after another are of one route.
func foldPath(path string) string {
	if !strings.ContainsFunc(path, digit) {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.ContainsFunc(s, digit) && !version(s) {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

func digit(r rune) bool { return '0' <= r && r <= '9' }

// version reports whether a segment names a version of an API, such as v2 or v1.1.
func version(s string) bool {
	return len(s) < 6 && (s[0] == 'v' || s[0] == 'V') && strings.Trim(s[1:], "0123456789.") == ""
}
