package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay/inbox"
)

// RulesConfig configures [NewRules]. History is required. A threshold of zero means its default; a negative one, and
// NaN, is an error. Off leaves rules out.
type RulesConfig struct {
	// History is what the rules look at. Checker and Inboxes, by the name of their partner or of what they receive, are
	// looked at too; nil means none.
	History *History
	Checker *Checker
	Inboxes map[string]func() inbox.Numbers
	// Unavailable is the number of calls a minute above which a partner is unavailable: calls that failed in the end, by
	// 5xx, by a timeout, without an answer, or held back by an open circuit. It counts for unusable answers, too.
	// RateLimited is that of calls that failed by
	// 429. Zero means 3 and 5. Share is the share of all calls that these must be, too; zero means 0.01.
	Unavailable, RateLimited int
	Share                    float64
	// Strict leaves Share out, and makes an alert of any 403. Otherwise three 403s in a row are one, on a route on which
	// the same credential worked before.
	Strict bool
	// AuthPerHour is the number of calls of a partner in an hour above which refused credentials are no matter of one
	// integration. Zero means 5. A single one is an alert for its integration.
	AuthPerHour int
	// ProbeLatency is above what a successful probe is slow. Zero means 3 s.
	ProbeLatency time.Duration
	// WebhookFailures is the share of failed attempts above which handling webhooks fails, of at least twenty in ten
	// minutes. Zero means 0.05.
	WebhookFailures float64
	// CircuitOpen is how long a circuit may be open. Zero means 5 min.
	CircuitOpen time.Duration
	// RefreshEnds is how long before its end an unused refresh token is an alert, or a quarter of its life if that is
	// less. Zero means 7 days.
	RefreshEnds time.Duration
	// EndpointEnds is how long before its end an endpoint that is still called becomes an alert: P2, and P1 in the last 7
	// days. Zero means 90 days.
	EndpointEnds time.Duration
	// Rejects is the share of an import's records above which rejects are an alert, from five on. Zero means 0.01.
	Rejects float64
	// InboxDepth and InboxAge bound the events that wait, and how long the oldest does. Zero means 5,000 and 15 min.
	InboxDepth int
	InboxAge   time.Duration
	// Ban is the length from which a wait that the partner asks for is a ban. Zero means an hour.
	Ban time.Duration
	// Heap is the size of the process's heap above which an import is an alert, in bytes. Zero means 1 GiB.
	Heap int64
	// Off names rules that are left out, such as "schema_changed". A name that is not known is an error.
	Off []string
	// Quiet is how long a rule must not have been true before its alert is resolved, so that it does not flap. Zero
	// means 5 min.
	Quiet time.Duration
	// Every is the time between two looks. Zero means 5 s.
	Every time.Duration
	// Runbook is the URL of the runbooks, in which {rule} and {partner} are replaced. Empty means none.
	Runbook string
	// Sinks receive the alerts. A nil sink is an error.
	Sinks []Sink
}

// Rules tell sinks when something is wrong with a partner. An alert fires once, and is resolved once. Rules that fire
// for one partner and one kind of cause within ten minutes are one alert, and so is one that is true again before its
// alert is resolved. Create it with [NewRules]. It is safe for
// concurrent use.
type Rules struct {
	cfg   RulesConfig
	rules []rule
	sinks []*outlet

	asked asked

	mu      sync.Mutex
	open    map[findingKey]*member
	groups  []*group
	running bool
}

// joins is how long after its beginning a group takes members.
const joins = 10 * time.Minute

// member is a rule that is true, or was a short time ago.
type member struct {
	finding           // as it was last; since is when it began
	last    time.Time // when it was true
}

// group is an alert: the members that have probably one cause.
type group struct {
	id      string
	partner string
	family  family
	members []*member           // in the order in which they came
	had     map[findingKey]bool // all that it has had: what is true again is no new alert
	began   time.Time
	sent    Severity // 0 before it is sent
	alert   Alert
	// affected is the number of integrations that was told, all are those that it has concerned.
	affected int
	all      map[string]bool
}

// NewRules returns rules with their sinks. They look at nothing before Run.
func NewRules(cfg RulesConfig) (*Rules, error) {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("watch: RulesConfig."+format, args...))
		}
	}
	bad(cfg.History == nil, "History is nil")
	for _, n := range []struct {
		name string
		v    float64
	}{
		{"Unavailable", float64(cfg.Unavailable)},
		{"RateLimited", float64(cfg.RateLimited)},
		{"Share", cfg.Share},
		{"AuthPerHour", float64(cfg.AuthPerHour)},
		{"ProbeLatency", float64(cfg.ProbeLatency)},
		{"WebhookFailures", cfg.WebhookFailures},
		{"CircuitOpen", float64(cfg.CircuitOpen)},
		{"RefreshEnds", float64(cfg.RefreshEnds)},
		{"EndpointEnds", float64(cfg.EndpointEnds)},
		{"Rejects", cfg.Rejects},
		{"InboxDepth", float64(cfg.InboxDepth)},
		{"InboxAge", float64(cfg.InboxAge)},
		{"Ban", float64(cfg.Ban)},
		{"Heap", float64(cfg.Heap)},
		{"Quiet", float64(cfg.Quiet)},
		{"Every", float64(cfg.Every)},
	} {
		bad(!(n.v >= 0) || math.IsInf(n.v, 0), "%s is %v, must not be negative", n.name, n.v)
	}
	for _, n := range []struct {
		name string
		v    float64
	}{{"Share", cfg.Share}, {"WebhookFailures", cfg.WebhookFailures}, {"Rejects", cfg.Rejects}} {
		bad(n.v > 1, "%s is %v, must be at most 1", n.name, n.v)
	}
	var names []string
	for _, r := range allRules {
		names = append(names, r.name)
	}
	for _, name := range cfg.Off {
		bad(!slices.Contains(names, name), "Off: there is no rule %.50q, only %s", name, strings.Join(names, ", "))
	}
	for i, s := range cfg.Sinks {
		bad(s == nil, "Sinks: sink %d is nil", i)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	cfg.Unavailable, cfg.RateLimited = cmp.Or(cfg.Unavailable, 3), cmp.Or(cfg.RateLimited, 5)
	cfg.Share, cfg.AuthPerHour = cmp.Or(cfg.Share, 0.01), cmp.Or(cfg.AuthPerHour, 5)
	cfg.ProbeLatency, cfg.WebhookFailures = cmp.Or(cfg.ProbeLatency, 3*time.Second), cmp.Or(cfg.WebhookFailures, 0.05)
	cfg.EndpointEnds = cmp.Or(cfg.EndpointEnds, 90*24*time.Hour)
	cfg.CircuitOpen, cfg.RefreshEnds = cmp.Or(cfg.CircuitOpen, 5*time.Minute), cmp.Or(cfg.RefreshEnds, 7*24*time.Hour)
	cfg.Rejects, cfg.InboxDepth = cmp.Or(cfg.Rejects, 0.01), cmp.Or(cfg.InboxDepth, 5000)
	cfg.InboxAge, cfg.Ban = cmp.Or(cfg.InboxAge, 15*time.Minute), cmp.Or(cfg.Ban, time.Hour)
	cfg.Heap, cfg.Quiet = cmp.Or(cfg.Heap, 1<<30), cmp.Or(cfg.Quiet, 5*time.Minute)
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	r := &Rules{cfg: cfg, open: make(map[findingKey]*member)}
	for _, one := range allRules {
		if !slices.Contains(cfg.Off, one.name) {
			r.rules = append(r.rules, one)
		}
	}
	for _, s := range cfg.Sinks {
		r.sinks = append(r.sinks, newOutlet(s))
	}
	return r, nil
}

// Run looks at the rules until ctx ends. It returns nil after the sinks have had five seconds for what is left to send.
// A second Run beside the first is an error.
func (r *Rules) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return errors.New("watch: the rules run already")
	}
	r.running = true
	r.mu.Unlock()
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	for _, o := range r.sinks {
		all.Go(func() { o.run(sending) })
	}
	defer func() {
		sent := make(chan struct{})
		go func() {
			for _, o := range r.sinks {
				o.drained(sending)
			}
			close(sent)
		}()
		select {
		case <-sent:
		case <-time.After(5 * time.Second):
		}
		stop()
		all.Wait()
		<-sent
		r.mu.Lock()
		r.running = false
		r.mu.Unlock()
	}()
	ticker := time.NewTicker(r.cfg.Every)
	defer ticker.Stop()
	for {
		r.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Alerts returns the open alerts, the most severe first, then the oldest.
func (r *Rules) Alerts() []Alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Alert, 0, len(r.groups))
	for _, g := range r.groups {
		out = append(out, g.alert)
	}
	slices.SortStableFunc(out, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), a.Since.Compare(b.Since))
	})
	return out
}

// look evaluates the rules once, and sends what has changed.
func (r *Rules) look(now time.Time) {
	found := r.findings(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range found {
		if m := r.open[f.key()]; m != nil {
			f.since = m.since
			m.finding, m.last = f, now
			continue
		}
		if f.since.IsZero() || f.since.After(now) {
			f.since = now
		}
		m := &member{f, now}
		r.open[f.key()] = m
		r.join(now, m)
	}
	r.groups = slices.DeleteFunc(r.groups, func(g *group) bool {
		open := slices.ContainsFunc(g.members, func(m *member) bool { return now.Sub(m.last) < r.cfg.Quiet })
		if open {
			g.members = slices.DeleteFunc(g.members, func(m *member) bool {
				over := now.Sub(m.last) >= r.cfg.Quiet
				if over {
					delete(r.open, m.key())
				}
				return over
			})
			g.alert = r.alertOf(g)
		} else { // it ends as it was
			g.alert.Resolved = g.alert.Since
			for _, m := range g.members {
				delete(r.open, m.key())
				g.alert.Resolved = later(g.alert.Resolved, m.last.Add(r.cfg.Every))
			}
			if g.alert.Resolved.After(now) {
				g.alert.Resolved = now
			}
		}
		// Again if it has become worse, or concerns many more than were told.
		if !open || g.sent == 0 || g.alert.Severity < g.sent || g.alert.Affected >= 5*max(1, g.affected) {
			g.sent, g.affected = g.alert.Severity, g.alert.Affected
			for _, o := range r.sinks {
				o.put(g.alert)
			}
		}
		return !open
	})
	for _, o := range r.sinks {
		if o.repeat > 0 && now.Sub(o.repeated) >= o.repeat {
			o.repeated = now
			for _, g := range r.groups {
				o.put(g.alert)
			}
		}
	}
}

// join puts a new member into the group of its cause.
func (r *Rules) join(now time.Time, m *member) {
	for _, g := range r.groups {
		// A probe fails by its credential too.
		same := g.family == m.rule.family || g.family == credentials && m.rule.name == "probe_failed"
		if g.partner == m.partner && same && now.Sub(g.began) <= joins || g.had[m.key()] {
			g.members, g.had[m.key()] = append(g.members, m), true
			return
		}
	}
	r.groups = append(r.groups, &group{
		id:      alertID(m.key(), now),
		partner: m.partner, family: m.rule.family, members: []*member{m}, had: map[findingKey]bool{m.key(): true},
		began: now, all: make(map[string]bool),
	})
}

// alertOf makes the alert of a group: of its most severe member, of those the first.
func (r *Rules) alertOf(g *group) Alert {
	lead := slices.MinFunc(g.members, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.severity(), b.severity()), cmp.Compare(b.rule.rank, a.rule.rank))
	})
	a := Alert{
		ID: g.id, Kind: g.family.String(), Rule: lead.rule.name, Severity: lead.severity(), Partner: g.partner, What: lead.what,
		Since: lead.since, LastSuccess: lead.lastSuccess, Cause: lead.rule.cause,
		Action: cmp.Or(lead.action, lead.rule.action),
	}
	for _, m := range g.members {
		if m.integration != "" {
			g.all[m.integration] = true
		}
		if m.rule.name != lead.rule.name && !slices.Contains(a.Also, m.rule.name) {
			a.Also = append(a.Also, m.rule.name)
		}
		if m.since.Before(a.Since) {
			a.Since = m.since
		}
	}
	slices.Sort(a.Also)
	for name := range g.all {
		a.Integrations = append(a.Integrations, name)
	}
	slices.Sort(a.Integrations)
	if a.Affected = len(a.Integrations); a.Affected == 1 && lead.integration != "" {
		a.Integration = a.Integrations[0]
	}
	a.Integrations = a.Integrations[:min(len(a.Integrations), 20)]
	if r.cfg.Runbook != "" {
		a.Runbook = strings.NewReplacer(
			"{rule}", url.PathEscape(a.Rule), "{partner}", url.PathEscape(a.Partner)).Replace(r.cfg.Runbook)
	}
	return a
}
