package watch

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// family is a kind of cause. Rules of one family that fire together are one alert.
type family uint8

const (
	credentials family = iota
	outage
	limits
	content
	backlog
	memory
)

// String returns the name of the family.
func (f family) String() string {
	return [...]string{"credentials", "outage", "limits", "content", "backlog", "memory"}[min(f, memory)]
}

// rule is something that is wrong if it is true.
type rule struct {
	name   string
	level  Severity
	rank   int // of two that are as severe, the greater leads
	family family
	cause  string
	action string
	// find returns what is wrong with a partner, whose lock is held. Nil for rules that look elsewhere.
	find func(r *Rules, p *partner, now time.Time) []finding
}

// finding is a rule that is true.
type finding struct {
	rule                          *rule
	partner, integration, subject string
	what, action                  string
	level                         Severity // 0 means the rule's
	since, lastSuccess            time.Time
}

type findingKey struct{ rule, partner, integration, subject string }

func (f *finding) key() findingKey {
	return findingKey{f.rule.name, f.partner, f.integration, f.subject}
}

func (f *finding) severity() Severity {
	if f.level != 0 {
		return f.level
	}
	return f.rule.level
}

// allRules are the rules. docs/observing.md lists them.
var allRules = []rule{
	{
		name: "unavailable", level: P1, family: outage,
		cause:  "The partner is down or overloaded, or the way to it is broken.",
		action: "See the partner's status page. Calls go on by themselves when it is back.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			c := p.fine.sum(now, time.Minute)
			if n := c.Unavailable(); n > r.cfg.Unavailable && r.large(n, c) {
				return []finding{{
					what: fmt.Sprintf("%d of %d calls of the last minute failed (%s)", n, c.Total(), c.parts()),
				}}
			}
			return nil
		},
	},
	{
		name: "unusable_answers", level: P2, family: content,
		cause:  "The partner answers with something else: a maintenance page, other fields, or an error with status 200.",
		action: "See the error, and the partner's status page and changelog.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			c := p.fine.sum(now, time.Minute)
			if n := c.DataErrors; n > r.cfg.Unavailable && r.large(n, c) {
				return []finding{{what: fmt.Sprintf("%d of %d calls of the last minute had an answer that could not be used", n, c.Total())}}
			}
			return nil
		},
	},
	{
		name: "rate_limited", level: P2, family: limits,
		cause:  "More calls than the partner allows: another program may share the limit, or it was lowered.",
		action: "Compare the limit that the answers state with the configured one, and look for other users of the credential.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			c := p.fine.sum(now, time.Minute)
			if n := c.RateLimited; n > r.cfg.RateLimited && r.large(n, c) {
				return []finding{{what: fmt.Sprintf("%d of %d calls of the last minute failed by 429", n, c.Total())}}
			}
			return nil
		},
	},
	{
		name: "unauthorized", level: P1, family: credentials,
		cause:  "The credential has ended, was revoked, or was changed at the partner.",
		action: "Have the integration connected again, or store its new credential.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			return p.logins(func(l *login) (f finding, wrong bool) {
				since, refuses := l.firstRefused, !l.firstRefused.IsZero() && now.Sub(l.refused) < 7*24*time.Hour
				if now.Sub(l.refused) <= 2*r.cfg.Every { // one call among good ones: it must be seen between two looks
					since, refuses = l.refused, true
				}
				return finding{what: "the partner refuses the credential: " + l.why, since: since}, refuses
			})
		},
	},
	{
		name: "auth_burst", level: P1, rank: 1, family: credentials,
		cause:  "Many credentials end at once: the app's own registration or secret is refused, or the partner's login is broken.",
		action: "Check the app's registration at the partner before you ask customers to connect again.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			if n := p.hour(now).Unauthorized; n > r.cfg.AuthPerHour && now.Sub(p.refusedAt) < 10*time.Minute {
				return []finding{{what: fmt.Sprintf("%d calls of the last hour had a credential that was refused", n)}}
			}
			return nil
		},
	},
	{
		name: "forbidden", level: P2, family: credentials,
		cause:  "A permission was taken away, or the customer's plan has changed.",
		action: "Compare the scopes that were granted with those that the route needs.",
		find: func(r *Rules, p *partner, now time.Time) (found []finding) {
			return p.logins(func(l *login) (f finding, wrong bool) {
				var routes []string
				for at, a := range l.access {
					if a.forbidden > 0 && now.Sub(a.last) <= time.Hour && (r.cfg.Strict || a.worked && a.forbidden >= 3) {
						routes = append(routes, at.method+" "+at.endpoint)
					}
				}
				slices.Sort(routes)
				return finding{what: "403 on " + firstOf(routes, 5, len(routes))}, len(routes) > 0
			})
		},
	},
	{
		name: "token_revoked", level: P1, family: credentials,
		cause:  "The customer or the partner has ended the grant.",
		action: "Have the integration connected again.",
		find: func(_ *Rules, p *partner, _ time.Time) []finding {
			return p.tokens(func(t *token, _ *integration) (f finding, wrong bool) {
				return finding{
					what: "the grant was refused for good: " + t.err, action: t.action, since: t.revoked,
				}, !t.revoked.IsZero()
			})
		},
	},
	{
		name: "token_failing", level: P2, family: credentials,
		cause:  "The partner's token endpoint fails, or the token store does.",
		action: "See the error. The old token serves until it ends.",
		find: func(_ *Rules, p *partner, now time.Time) []finding {
			return p.tokens(func(t *token, in *integration) (f finding, wrong bool) {
				ended := !t.expiry.IsZero() && !now.Before(t.expiry)
				if t.failing.IsZero() || now.Sub(t.failing) < 5*time.Minute && !ended ||
					!t.expiry.IsZero() && in.accepted.After(t.expiry) && in.accepted.After(t.failing) {
					return f, false
				}
				f = finding{what: "the token cannot be refreshed: " + t.err, action: t.action, since: t.failing}
				if ended {
					f.level, f.what = P1, "the token has ended and cannot be refreshed: "+t.err
				}
				return f, true
			})
		},
	},
	{
		name: "refresh_ending", level: P2, family: credentials,
		cause:  "The integration is not used, so its refresh token is not renewed.",
		action: "Make a call with it, or tell the customer that it will have to be connected again.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			return p.tokens(func(t *token, _ *integration) (f finding, wrong bool) {
				if t.refreshExpiry.IsZero() {
					return f, false
				}
				left := t.refreshExpiry.Sub(now)
				return finding{
					subject: t.refreshExpiry.UTC().Format(time.RFC3339),
					what:    "the refresh token ends on " + t.refreshExpiry.UTC().Format(time.RFC1123) + " unless it is used",
				}, left > -24*time.Hour && left < min(r.cfg.RefreshEnds, t.refreshExpiry.Sub(t.refreshSeen)/4)
			})
		},
	},
	{
		name: "circuit_open", level: P1, family: outage,
		cause:  "The partner, or a part of it, has failed for this long.",
		action: "See the partner's status page. A probe closes the circuit by itself when the partner is back.",
		find: func(r *Rules, p *partner, now time.Time) (found []finding) {
			for key, opened := range p.circuits {
				if now.Sub(opened) <= r.cfg.CircuitOpen {
					continue
				}
				f := finding{
					integration: key.integration, subject: key.origin + " " + key.route, since: opened,
					what: fmt.Sprintf("the circuit of %s has been open for %s",
						strings.Join(strings.Fields(key.origin+" "+key.route+" "+key.integration), " "), duration(now.Sub(opened))),
				}
				if key.route != "" || key.integration != "" {
					f.level = P2
				}
				found = append(found, f)
			}
			return found
		},
	},
	{
		name: "banned", level: P1, family: limits,
		cause:  "The partner has locked the credential or the address out.",
		action: "Find what sent too much before it ends, and ask the partner's support. Calls that would not wait that long fail at once.",
		find: func(r *Rules, p *partner, now time.Time) (found []finding) {
			for key, one := range p.pauses {
				if length := one.until.Sub(one.from); length >= r.cfg.Ban && now.Before(one.until) {
					found = append(found, finding{
						integration: key.integration, subject: key.scope.String(), since: one.from,
						what: fmt.Sprintf("the partner asks to wait %s (%s), until %s", duration(length), key.scope,
							one.until.UTC().Format(time.RFC3339)),
					})
				}
			}
			return found
		},
	},
	{
		name: "limit_tightened", level: P2, family: limits,
		cause:  "The partner has lowered the limit, or it depends on the plan.",
		action: "Configure the limit that the partner states. Belay keeps to it already.",
	},
	{
		name: "probe_failed", level: P1, family: outage,
		cause:  "The partner, its network or the credential fails.",
		action: "See the error of the probe.",
	},
	{
		name: "probe_slow", level: P2, family: outage,
		cause:  "The partner is slow.",
		action: "See the partner's status page, and the latency of its routes.",
	},
	{
		name: "webhooks_failing", level: P2, family: backlog,
		cause:  "The handler has a fault, or what it needs is down.",
		action: "See the errors of the events. They are tried again, and can be replayed when they are dead letters.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			c := p.webhooks.handled.sum(now, 10*time.Minute)
			failed := c.ServerErrors + c.Refused
			if n := c.OK + failed; n >= 20 && float64(failed) > r.cfg.WebhookFailures*float64(n) {
				return []finding{{what: fmt.Sprintf("%d of %d events of the last ten minutes failed, %d are dead letters",
					failed, n, c.Refused)}}
			}
			return nil
		},
	},
	{
		name: "inbox_deep", level: P2, family: backlog,
		cause:  "Events come faster than they are handled.",
		action: "Look for a slow or failing handler, or add workers.",
	},
	{
		name: "inbox_old", level: P2, family: backlog,
		cause:  "Events wait for a handler that fails or is slow, or for an integration that is not ready.",
		action: "See the errors of the oldest events.",
	},
	{
		name: "schema_changed", level: P2, family: content,
		cause:  "The partner has changed the fields of its records.",
		action: "Compare the difference with the partner's changelog, and adapt the driver.",
		find: func(_ *Rules, p *partner, now time.Time) (found []finding) {
			for key, one := range p.schema {
				if now.Sub(one.at) < 24*time.Hour {
					found = append(found, finding{
						integration: key.integration, subject: key.name, since: one.at, what: key.name + ": " + one.difference,
					})
				}
			}
			return found
		},
	},
	{
		name: "endpoint_ending", level: P2, family: content,
		cause:  "The partner replaces the endpoint by another one or by a newer version.",
		action: "Move the driver to what replaces it.",
		find: func(r *Rules, p *partner, now time.Time) (found []finding) {
			for key, one := range p.ending {
				left := one.sunset.Sub(now)
				if left >= r.cfg.EndpointEnds {
					continue
				}
				f := finding{subject: key, since: one.told, what: strings.TrimSpace(fmt.Sprintf("%s ends on %s %s",
					key, one.sunset.UTC().Format(time.RFC1123), one.link))}
				if left < 7*24*time.Hour {
					f.level = P1
				}
				found = append(found, f)
			}
			return found
		},
	},
	{
		name: "imports_rejecting", level: P2, family: content,
		cause:  "Records do not fit: the partner sends something new, or the checks are too strict.",
		action: "See the rejected records and their reasons.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			return p.runs(now, func(i *importing) (f finding, wrong bool) {
				return finding{what: fmt.Sprintf("%s: %d of %d records were rejected", i.Import, i.Rejected, i.Read)},
					i.Rejected >= 5 && float64(i.Rejected) > r.cfg.Rejects*float64(i.Read)
			})
		},
	},
	{
		name: "import_failed", level: P2, family: content,
		cause:  "The partner, the store or the records stopped the import.",
		action: "See the error. The next run goes on from the last checkpoint.",
		find: func(_ *Rules, p *partner, now time.Time) []finding {
			return p.runs(now, func(i *importing) (f finding, wrong bool) {
				return finding{what: fmt.Sprintf("%s ended early after %d records: %s", i.Import, i.Read, lineOf(i.Err))},
					i.Ended && i.Err != nil
			})
		},
	},
	{
		name: "import_memory", level: P2, family: memory,
		cause:  "An import holds too much: pages or records are large, or Save keeps them.",
		action: "Make pages and batches smaller.",
		find: func(r *Rules, p *partner, now time.Time) []finding {
			return p.runs(now, func(i *importing) (f finding, wrong bool) {
				return finding{what: fmt.Sprintf("%s: the heap had %d MiB", i.Import, i.PeakHeap>>20)},
					!i.Ended && i.PeakHeap > uint64(r.cfg.Heap)
			})
		},
	},
}
