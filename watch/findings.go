package watch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// large reports whether n calls are a share of all that is large enough.
func (r *Rules) large(n int, c Counts) bool {
	return r.cfg.Strict || float64(n) >= r.cfg.Share*float64(c.Total())
}

// parts names the failures of calls that a partner could not answer.
func (c Counts) parts() string {
	var parts []string
	for _, one := range c.classes()[:4] {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.name))
		}
	}
	return strings.Join(parts, ", ")
}

// logins calls f for the credential of each integration, and for the partner's own.
func (p *partner) logins(f func(l *login) (finding, bool)) (found []finding) {
	if one, wrong := f(&p.login); wrong {
		one.lastSuccess = p.accepted
		found = append(found, one)
	}
	for _, in := range p.integrations {
		if one, wrong := f(&in.login); wrong {
			one.integration, one.lastSuccess = in.name, in.accepted
			found = append(found, one)
		}
	}
	return found
}

// tokens calls f for each integration.
func (p *partner) tokens(f func(t *token, in *integration) (finding, bool)) (found []finding) {
	for _, in := range p.integrations {
		if one, wrong := f(&in.token, in); wrong {
			one.integration, one.lastSuccess = in.name, in.accepted
			found = append(found, one)
		}
	}
	return found
}

// runs calls f for each import of the last day.
func (p *partner) runs(now time.Time, f func(i *importing) (finding, bool)) (found []finding) {
	for key, i := range p.imports {
		if now.Sub(i.at) > 24*time.Hour {
			continue
		}
		if one, wrong := f(i); wrong {
			one.integration, one.subject, one.since = key.integration, key.name, i.begun
			found = append(found, one)
		}
	}
	return found
}

// findings returns the rules that are true, the most severe first.
func (r *Rules) findings(now time.Time) (found []finding) {
	h := r.cfg.History
	h.mu.RLock()
	partners := slices.Collect(maps.Values(h.partners))
	clients := slices.Clone(h.clients)
	h.mu.RUnlock()
	byName := make(map[string]*rule)
	for i := range r.rules {
		byName[r.rules[i].name] = &r.rules[i]
	}
	worked := make(map[string]time.Time)
	for _, p := range partners {
		p.mu.Lock()
		worked[p.name] = p.worked
		p.forget(now)
		for i := range r.rules {
			if r.rules[i].find == nil {
				continue
			}
			for _, f := range r.rules[i].find(r, p, now) {
				f.rule, f.partner = &r.rules[i], p.name
				if in := p.integrations[f.integration]; f.lastSuccess.IsZero() && in != nil {
					f.lastSuccess = in.worked
				} else if f.lastSuccess.IsZero() && f.integration == "" {
					f.lastSuccess = p.worked
				}
				found = append(found, f)
			}
		}
		p.mu.Unlock()
	}
	add := func(name string, f finding) {
		if f.rule = byName[name]; f.rule != nil {
			found = append(found, f)
		}
	}
	if r.cfg.Checker != nil {
		for _, s := range r.cfg.Checker.Status() {
			f := finding{partner: s.Partner, lastSuccess: s.LastSuccess, subject: s.Name}
			if s.Name != s.Partner {
				f.integration = strings.TrimPrefix(s.Name, s.Partner+"/")
			}
			switch {
			case s.State == Down:
				f.since, f.what = s.Since, fmt.Sprintf("%d probes in a row have failed: %s", s.Failures, s.Error)
				add("probe_failed", f)
			case s.State == Up && s.Failures == 0 && s.Latency > r.cfg.ProbeLatency:
				f.what = fmt.Sprintf("the last probe took %s", duration(s.Latency))
				add("probe_slow", f)
			}
		}
	}
	for name, numbers := range r.cfg.Inboxes {
		n, known := r.asked.numbers(name, numbers)
		if !known {
			continue
		}
		f := finding{partner: shortName(name), lastSuccess: worked[shortName(name)]}
		if n.Pending > r.cfg.InboxDepth {
			f.what = fmt.Sprintf("%d events wait", n.Pending)
			add("inbox_deep", f)
		}
		if n.Oldest > r.cfg.InboxAge {
			f.what, f.since = fmt.Sprintf("the oldest of %d events has waited for %s", n.Pending, duration(n.Oldest)), now.Add(-n.Oldest)
			add("inbox_old", f)
		}
	}
	for _, c := range clients {
		if health := c.Health(); len(health.Limiter.Tightened()) > 0 {
			add("limit_tightened", finding{
				partner: shortName(health.Partner), integration: shortName(health.Integration), lastSuccess: worked[shortName(health.Partner)],
				what: "the partner states " + health.Limiter.Tightened()[0].Limit + ", which is less than is configured",
			})
		}
	}
	slices.SortStableFunc(found, func(a, b finding) int { return int(a.severity()) - int(b.severity()) })
	return found
}

// forget forgets circuits of a partner that had no call for an hour: nobody waits for them, and nothing closes them.
func (p *partner) forget(now time.Time) {
	if now.Sub(p.last) > forgotten {
		clear(p.circuits)
	}
	for key, opened := range p.circuits {
		idle := now.Sub(opened) > forgotten
		if in := p.integrations[key.integration]; in != nil {
			idle = now.Sub(in.seen) > forgotten
		}
		if key.integration != "" && idle {
			delete(p.circuits, key)
		}
	}
	for key, one := range p.ending {
		if now.Sub(one.told) > 48*time.Hour { // it is told once a day
			delete(p.ending, key)
		}
	}
	for key, one := range p.schema {
		if now.Sub(one.at) > 24*time.Hour {
			delete(p.schema, key)
		}
	}
}

// firstOf names the first n of all, which are of, and says how many more there are.
func firstOf(all []string, n, of int) string {
	n = min(n, len(all))
	if of <= n {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:n], ", "), of-n)
}
