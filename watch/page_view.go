package watch

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay"
)

// The view is what the template shows: texts, and no logic.
type (
	pageView struct {
		Title, Summary, Refresh, PauseLink string
		Style                              template.CSS
		Now                                moment
		Rules                              bool
		Alerts                             []alertView
		Partners                           []partnerView
		Inboxes                            []inboxView
	}
	// moment is a time as people read it.
	moment    struct{ Machine, Text, Ago string }
	alertView struct {
		Alert
		Name, Who, AlsoText string
		Since, LastSuccess  moment
	}
	partnerView struct {
		ID, Name, State, Why, Link                    string
		Open                                          bool
		Since, LastSuccess                            moment
		Success, P95, Errors, WaitsFor, Tokens, Error string
		Spark                                         *sparkline
		TopLimits, Limits                             []limitView
		Waiting                                       int
		Probes, Integrations, Routes                  []lineView
		MoreIntegrations                              string
		Holds                                         []string
		Imports                                       []importView
		Webhooks                                      string
		rank                                          int
	}
	sparkline struct{ Label, Path string }
	limitView struct {
		Limit, Source, Text      string
		Used, Max, High, Waiting int
	}
	lineView struct {
		Name, State, Success, Took, Token, Error string
		Calls                                    int
		LastSuccess                              moment
	}
	importView struct {
		Name, Text, Changes, Time, Error string
		Read, Total, Rejected            int
	}
	inboxView struct {
		Name, Oldest          string
		Pending               int
		Handled, Failed, Dead uint64
	}
)

// knownBy says how a limit is known, and for whom it is if that is not everybody.
func knownBy(l belay.LimitStatus) string {
	if l.Scope == belay.ScopePartner {
		return l.Source.String()
	}
	return l.Source.String() + ", one " + l.Scope.String()
}

const mostRows = 500 // of one table

func (p *page) view(now time.Time, query url.Values) pageView {
	v := pageView{Title: p.cfg.Title, Style: template.CSS(pageCSS), Now: momentOf(now, now), Rules: p.cfg.Rules != nil}
	v.Now.Text, v.Now.Ago = now.UTC().Format("15:04:05 UTC"), ""
	paused := query.Get("refresh") == "off"
	if p.cfg.Refresh > 0 && !paused {
		v.Refresh = p.cfg.Refresh.String()
	}
	open := opened(query["open"])
	v.PauseLink = link(open, !paused)
	worst := make(map[string]Severity)
	if p.cfg.Rules != nil {
		for _, a := range p.cfg.Rules.Alerts() {
			if s := worst[a.Partner]; s == 0 || a.Severity < s {
				worst[a.Partner] = a.Severity
			}
			v.Alerts = append(v.Alerts, alertView{
				a, strings.ReplaceAll(a.Rule, "_", " "), firstOf(a.Integrations, 5, a.Affected),
				strings.ReplaceAll(strings.Join(a.Also, ", "), "_", " "), momentOf(now, a.Since), momentOf(now, a.LastSuccess),
			})
		}
	}
	probes := make(map[string][]CheckStatus)
	if p.cfg.Checker != nil {
		for _, s := range p.cfg.Checker.Status() {
			probes[s.Partner] = append(probes[s.Partner], s)
		}
	}
	all := p.cfg.History.Status()
	for _, s := range all {
		v.Partners = append(v.Partners, viewOf(now, s, probes[s.Partner], open, paused))
		delete(probes, s.Partner)
	}
	for name, checks := range probes { // those without a call yet
		v.Partners = append(v.Partners, viewOf(now, PartnerStatus{Partner: name}, checks, open, paused))
	}
	counts := make(map[string]int)
	for i := range v.Partners {
		one := &v.Partners[i]
		one.ID = fmt.Sprint("partner-", i)
		counts[one.State]++
		if s := worst[one.Name]; s != 0 {
			one.rank += 20 - 5*int(s)
		}
	}
	slices.SortStableFunc(v.Partners, func(a, b partnerView) int {
		return cmp.Or(b.rank-a.rank, strings.Compare(a.Name, b.Name))
	})
	var parts []string
	for _, state := range []string{"down", "degraded", "up", "unknown", "disabled"} {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	v.Summary = cmp.Or(strings.Join(parts, ", "), "no calls yet")
	for name, numbers := range p.cfg.Inboxes {
		if n, known := p.asked.numbers(name, numbers); known {
			v.Inboxes = append(v.Inboxes, inboxView{
				shortName(name), duration(n.Oldest), n.Pending, n.Handled, n.Failed, n.Dead,
			})
		}
	}
	slices.SortFunc(v.Inboxes, func(a, b inboxView) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// opened returns the partners that a query opens, at most twenty, as each is in the link of each partner.
func opened(names []string) (open []string) {
	for _, name := range names {
		if len(open) < 20 && len(name) <= longestName+len("…") && !slices.Contains(open, name) {
			open = append(open, name)
		}
	}
	return open
}

// link returns the query of the page with these partners open.
func link(open []string, paused bool) string {
	q := url.Values{"open": open}
	if paused {
		q.Set("refresh", "off")
	}
	return "?" + q.Encode()
}

func viewOf(now time.Time, s PartnerStatus, checks []CheckStatus, open []string, paused bool) partnerView {
	v := partnerView{
		Name: s.Partner, State: s.State.String(), Why: s.Why, Since: since(now, s.Since), Waiting: s.Waiting,
		LastSuccess: momentOf(now, s.LastSuccess), P95: latency(s.P95), Success: success(s.Recent), Error: s.Error,
		rank: sickness(s.State), Spark: spark(s.Minutes), Errors: errorsOf(s.Hour),
	}
	for _, c := range checks {
		if c.State == Down && sickness(s.State) < sickness(belay.HealthDown) {
			v.State, v.Since, v.rank = "down", since(now, c.Since), sickness(belay.HealthDown)
			v.Why = "probes fail"
		} else if c.State == Up && s.State == belay.HealthUnknown && v.State == "unknown" {
			v.State, v.Since, v.LastSuccess, v.rank = "up", since(now, c.Since), momentOf(now, c.LastSuccess), 0
		}
	}
	v.Open = slices.Contains(open, s.Partner)
	rest := slices.DeleteFunc(slices.Clone(open), func(name string) bool { return name == s.Partner })
	if v.Open {
		v.Link = link(rest, paused)
	} else {
		v.Link = link(append(rest, s.Partner), paused)
	}
	for _, l := range s.Limits {
		v.Limits = append(v.Limits, limitView{
			l.Limit, knownBy(l), fmt.Sprintf("%d of %s", l.Used, l.Limit), l.Used, l.Max, l.Max * 4 / 5, l.Waiting,
		})
	}
	v.TopLimits = slices.Clone(v.Limits)
	slices.SortStableFunc(v.TopLimits, func(a, b limitView) int { return b.Used*max(a.Max, 1) - a.Used*max(b.Max, 1) })
	v.TopLimits = v.TopLimits[:min(2, len(v.TopLimits))]
	v.Holds = holds(now, s)
	if len(v.Holds) > 0 {
		v.WaitsFor = v.Holds[0]
	}
	dead, failing := 0, 0
	for _, in := range s.Integrations {
		switch {
		case !in.Token.Revoked.IsZero():
			dead++
		case !in.Token.FailingSince.IsZero():
			failing++
		}
	}
	var tokens []string
	if dead > 0 {
		tokens = append(tokens, fmt.Sprintf("%d of %d integrations must connect again", dead, len(s.Integrations)))
	}
	if failing > 0 {
		tokens = append(tokens, fmt.Sprintf("%d tokens cannot be refreshed", failing))
	}
	if v.Tokens = strings.Join(tokens, ", "); !v.Open {
		return v
	}
	for _, c := range checks {
		v.Probes = append(v.Probes, lineView{
			Name: c.Name, State: c.shown(), Took: duration(c.Latency), LastSuccess: momentOf(now, c.LastSuccess), Error: c.Error,
		})
	}
	for _, in := range s.Integrations[:min(len(s.Integrations), mostRows)] {
		line := lineOfTraffic(now, in.Integration, in.Traffic)
		line.Token = in.Token.text(now)
		v.Integrations = append(v.Integrations, line)
	}
	if n := len(s.Integrations) - mostRows; n > 0 {
		v.MoreIntegrations = fmt.Sprintf("And %d more, none of them sicker.", n)
	}
	for _, at := range s.Routes {
		v.Routes = append(v.Routes, lineOfTraffic(now, strings.TrimSpace(at.Method+" "+at.Endpoint), at.Traffic))
	}
	for _, i := range s.Imports {
		v.Imports = append(v.Imports, i.view(now))
	}
	if w := s.Webhooks; w.Received+w.Rejected+w.Handled+w.Failed > 0 {
		v.Webhooks = fmt.Sprintf("Since the start: %d received, %d refused, %d dead. In the last ten minutes: %d handled, %d failed attempts.",
			w.Received, w.Rejected, w.Dead, w.Handled, w.Failed)
	}
	return v
}

// holds says what holds calls back.
func holds(now time.Time, s PartnerStatus) (out []string) {
	for _, c := range s.Circuits {
		what := strings.Join(strings.Fields(c.Route+" "+c.Integration), " ")
		out = append(out, strings.TrimSpace("open circuit of "+c.Origin+" "+what)+", for "+duration(now.Sub(c.Since)))
	}
	for _, one := range s.Pauses {
		out = append(out, fmt.Sprintf("pause that the partner asked for (%s), %s to go",
			strings.TrimSpace(one.Scope.String()+" "+one.Integration), duration(one.Until.Sub(now))))
	}
	for _, l := range s.Limits {
		if l.Max > 0 && l.Used >= l.Max && l.Waiting > 0 {
			out = append(out, fmt.Sprintf("the limit of %s, for %d calls", l.Limit, l.Waiting))
		}
	}
	return out[:min(len(out), 50)]
}

func lineOfTraffic(now time.Time, name string, t Traffic) lineView {
	took := ""
	if t.P50 > 0 {
		took = duration(t.P50) + ", " + duration(t.P95) + ", " + duration(t.P99)
	}
	return lineView{
		Name: name, State: t.State.String(), Success: success(t.Recent), Took: took, Calls: t.Hour.Total(),
		LastSuccess: momentOf(now, t.LastSuccess), Error: t.Error,
	}
}

func (t TokenStatus) text(now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "must connect again: " + cmp.Or(t.Action, t.Error)
	case !t.FailingSince.IsZero():
		return "not refreshed for " + duration(now.Sub(t.FailingSince)) + ": " + cmp.Or(t.Action, t.Error)
	case t.Expiry.After(now):
		return "for " + duration(t.Expiry.Sub(now))
	case !t.Refreshed.IsZero():
		return "refreshed " + duration(now.Sub(t.Refreshed)) + " ago"
	}
	return ""
}

func (i ImportStatus) view(now time.Time) importView {
	v := importView{
		Name: strings.Trim(i.Import+" "+i.Integration, " "), Read: min(i.Read, i.Total), Total: i.Total, Rejected: i.Rejected,
		Text: fmt.Sprintf("%d read, %d saved, %d unchanged", i.Read, i.Saved, i.Skipped), Error: lineOf(i.Err),
	}
	if i.Total > 0 {
		v.Text = fmt.Sprintf("%d of %d read, %d saved, %d unchanged", i.Read, i.Total, i.Saved, i.Skipped)
	}
	if i.Added+i.Updated+i.Deleted > 0 {
		v.Changes = fmt.Sprintf("%d, %d, %d", i.Added, i.Updated, i.Deleted)
	}
	switch {
	case i.Ended:
		v.Time = "ended " + duration(now.Sub(i.Last)) + " ago, after " + duration(i.Elapsed)
	case i.Left > 0:
		v.Time = duration(i.Elapsed) + ", about " + duration(i.Left) + " to go"
	default:
		v.Time = duration(now.Sub(i.Began))
	}
	return v
}

// spark draws the latency of the last hour. It is nil if there was no answer.
func spark(minutes []Minute) *sparkline {
	var low, high time.Duration
	for _, m := range minutes {
		if m.P95 > 0 {
			high = max(high, m.P95)
			if low == 0 || m.P95 < low {
				low = m.P95
			}
		}
	}
	if high == 0 {
		return nil
	}
	var path strings.Builder
	drawn := false
	for i, m := range minutes {
		if m.P95 == 0 {
			drawn = false
			continue
		}
		x, y := i*2, 22-20*float64(m.P95)/float64(high)
		if drawn {
			fmt.Fprintf(&path, "L%d %.1f", x, y)
		} else {
			fmt.Fprintf(&path, "M%d %.1fh1", x, y)
		}
		drawn = true
	}
	return &sparkline{"p95 in the last hour, from " + duration(low) + " to " + duration(high), path.String()}
}

func errorsOf(c Counts) string {
	var parts []string
	for _, one := range c.classes() {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", one.name, one.n))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprintf("none of %d", c.Total())
	}
	return fmt.Sprintf("%s, of %d", strings.Join(parts, ", "), c.Total())
}

func success(c Counts) string {
	if c.Total() == 0 {
		return "no calls"
	}
	return fmt.Sprintf("%.4g %% of %d", float64(int(c.Success()*1000))/10, c.Total())
}

// momentOf returns a time as people read it: how long ago it was.
func momentOf(now, t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{t.UTC().Format(time.RFC3339), duration(max(0, now.Sub(t)).Truncate(time.Second)), " ago"}
}

// since is momentOf without "ago", empty for the zero time.
func since(now, t time.Time) moment {
	m := momentOf(now, t)
	m.Ago = ""
	return m
}

// latency returns a time of answers, of which there may be none.
func latency(d time.Duration) string {
	if d == 0 {
		return "no answers"
	}
	return duration(d)
}

// duration returns d with its two largest units.
func duration(d time.Duration) string {
	switch {
	case d == 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2g s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
