package hint

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Quota is what one answer tells of one quota.
type Quota struct {
	// Name tells the quotas of a partner apart.
	Name string
	// Limit and Left are permits: in all, above zero, and what the partner still had, from zero to Limit.
	Limit, Left int
	// Window is its length, 0 when the answer does not say.
	Window time.Duration
	// Reset is when it begins anew, from the answer on, negative when the answer does not say.
	Reset time.Duration
	// Route says that it is for requests like this one only.
	Route bool
}

// role is what a header tells of a quota.
type role uint8

const (
	isLimit    role = iota // permits in all
	isLeft                 // what is left of them
	isUsed                 // what is used
	isReset                // when it begins anew
	isWindow               // its length
	isShare                // "39/40": used and limit
	isUsage                // "api-usage=18/5000"
	isTriple               // "total=100; remaining=99; resets=41"
	isItems                // RateLimit of the IETF
	isPolicy               // RateLimit-Policy of the IETF
	isResource             // names the quota, which is for some requests only
)

// unit is how a time is written.
type unit uint8

const (
	auto    unit = iota // see Reset
	delta               // seconds from now, decimals too
	millis              // milliseconds
	counted             // no time
)

// row is one known header.
type row struct {
	header string        // canonical
	quota  string        // which it belongs to
	role   role          // what it tells of it
	unit   unit          // of a time
	window time.Duration // the quota's length, where that is known from the name
	other  bool          // it does not count requests, or may not
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// table has a row for each header that partners are known to send. Calls cannot be counted against quotas of
// tokens and bytes, so those only tell how long to wait when they are used up.
var table = index([]row{
	// GitHub, Discord, Intercom, Calendly and most others: epoch seconds, with decimals at Discord.
	{"X-Ratelimit-Limit", "", isLimit, counted, 0, false},
	{"X-Ratelimit-Remaining", "", isLeft, counted, 0, false},
	{"X-Ratelimit-Used", "", isUsed, counted, 0, false},
	{"X-Ratelimit-Reset", "", isReset, auto, 0, false},
	{"X-Ratelimit-Reset-After", "", isReset, delta, 0, false}, // Discord
	{"X-Ratelimit-Resource", "", isResource, counted, 0, false},
	{"X-Ratelimit-Bucket", "", isResource, counted, 0, false},
	// X (Twitter), Gravitee (epoch milliseconds).
	{"X-Rate-Limit-Limit", "x-rate-limit", isLimit, counted, 0, false},
	{"X-Rate-Limit-Remaining", "x-rate-limit", isLeft, counted, 0, false},
	{"X-Rate-Limit-Reset", "x-rate-limit", isReset, auto, 0, false},
	{"X-Rate-Limit", "x-rate-limit", isLimit, counted, 0, false}, // Zendesk, beside Ratelimit-*, which tells the reset
	// Guesty.
	{"X-Ratelimit-Limit-Second", "second", isLimit, counted, time.Second, false},
	{"X-Ratelimit-Remaining-Second", "second", isLeft, counted, time.Second, false},
	{"X-Ratelimit-Limit-Minute", "minute", isLimit, counted, minute, false},
	{"X-Ratelimit-Remaining-Minute", "minute", isLeft, counted, minute, false},
	{"X-Ratelimit-Limit-Hour", "hour", isLimit, counted, hour, false},
	{"X-Ratelimit-Remaining-Hour", "hour", isLeft, counted, hour, false},
	{"X-Ratelimit-Limit-Day", "day", isLimit, counted, day, false},
	{"X-Ratelimit-Remaining-Day", "day", isLeft, counted, day, false},
	// HubSpot.
	{"X-Hubspot-Ratelimit-Max", "interval", isLimit, counted, 0, false},
	{"X-Hubspot-Ratelimit-Remaining", "interval", isLeft, counted, 0, false},
	{"X-Hubspot-Ratelimit-Interval-Milliseconds", "interval", isWindow, millis, 0, false},
	{"X-Hubspot-Ratelimit-Secondly", "secondly", isLimit, counted, time.Second, false},
	{"X-Hubspot-Ratelimit-Secondly-Remaining", "secondly", isLeft, counted, time.Second, false},
	{"X-Hubspot-Ratelimit-Daily", "daily", isLimit, counted, day, false},
	{"X-Hubspot-Ratelimit-Daily-Remaining", "daily", isLeft, counted, day, false},
	// Shopify: a bucket that empties in 20 s, whatever its size.
	{"X-Shopify-Shop-Api-Call-Limit", "shop", isShare, counted, 20 * time.Second, false},
	// OpenAI: Go durations.
	{"X-Ratelimit-Limit-Requests", "requests", isLimit, counted, 0, false},
	{"X-Ratelimit-Remaining-Requests", "requests", isLeft, counted, 0, false},
	{"X-Ratelimit-Reset-Requests", "requests", isReset, auto, 0, false},
	{"X-Ratelimit-Limit-Tokens", "tokens", isLimit, counted, 0, true},
	{"X-Ratelimit-Remaining-Tokens", "tokens", isLeft, counted, 0, true},
	{"X-Ratelimit-Reset-Tokens", "tokens", isReset, auto, 0, true},
	// Linear: epoch milliseconds.
	{"X-Ratelimit-Requests-Limit", "requests", isLimit, counted, 0, false},
	{"X-Ratelimit-Requests-Remaining", "requests", isLeft, counted, 0, false},
	{"X-Ratelimit-Requests-Reset", "requests", isReset, auto, 0, false},
	// Anthropic: RFC 3339.
	{"Anthropic-Ratelimit-Requests-Limit", "requests", isLimit, counted, 0, false},
	{"Anthropic-Ratelimit-Requests-Remaining", "requests", isLeft, counted, 0, false},
	{"Anthropic-Ratelimit-Requests-Reset", "requests", isReset, auto, 0, false},
	{"Anthropic-Ratelimit-Tokens-Limit", "tokens", isLimit, counted, 0, true},
	{"Anthropic-Ratelimit-Tokens-Remaining", "tokens", isLeft, counted, 0, true},
	{"Anthropic-Ratelimit-Tokens-Reset", "tokens", isReset, auto, 0, true},
	// Salesforce: a rolling day.
	{"Sforce-Limit-Info", "api-usage", isUsage, counted, day, false},
	// The IETF's drafts: three fields of their own up to -06, one dictionary in -07, lists of named quotas since.
	{"Ratelimit-Limit", "ratelimit", isLimit, counted, 0, false},
	{"Ratelimit-Remaining", "ratelimit", isLeft, counted, 0, false},
	{"Ratelimit-Reset", "ratelimit", isReset, delta, 0, false},
	{"Ratelimit", "ratelimit", isItems, delta, 0, false},
	{"Ratelimit-Policy", "ratelimit", isPolicy, delta, 0, false},
})

func index(rows []row) map[string]row {
	m := make(map[string]row, len(rows))
	for _, r := range rows {
		m[r.header] = r
	}
	return m
}

// find returns the row of a header: of the table, or one by its name, where that is plausible.
func find(name string) (r row, ok bool) {
	if !strings.Contains(name, "imit") || len(name) > 64 {
		return r, false
	}
	if r, ok = table[name]; ok {
		return r, true
	}
	lower := strings.ToLower(name)
	before, after, ok := strings.Cut(lower, "ratelimit-")
	if !ok {
		before, after, ok = strings.Cut(lower, "rate-limit-")
	}
	if !ok {
		return r, false
	}
	if before == "zendesk-" { // one for each endpoint
		return row{name, after, isTriple, delta, 0, false}, true
	}
	for _, other := range [...]string{"type", "policy", "scope", "date", "reason", "tier", "bucket", "resource", "interval"} {
		if strings.Contains(after, other) {
			return r, false
		}
	}
	for _, part := range [...]struct {
		word string
		role role
		unit unit
	}{{"limit", isLimit, counted}, {"remaining", isLeft, counted}, {"used", isUsed, counted}, {"reset-ms", isReset, millis}, {"reset", isReset, auto}} {
		rest, ok := strings.CutSuffix(after, part.word)
		if !ok {
			rest, ok = strings.CutPrefix(after, part.word)
		}
		if ok && (rest == "" || strings.HasSuffix(rest, "-") || strings.HasPrefix(rest, "-")) {
			rest = strings.Trim(rest, "-")
			// With other words it may be of something else: uploads, credits, tokens.
			_, window := named[rest]
			other := rest != "" && rest != "requests" && !window || strings.HasPrefix(before, "x-") && before != "x-" || strings.Count(before, "-") > 1
			return row{name, before + rest, part.role, part.unit, named[rest], other}, true
		}
	}
	return r, false
}

// named are the windows that names tell.
var named = map[string]time.Duration{
	"second": time.Second, "secondly": time.Second, "minute": minute, "minutely": minute,
	"hour": hour, "hourly": hour, "day": day, "daily": day,
}

// most is how many quotas of one answer are looked at.
const most = 8

// draft is a quota while its headers are gathered.
type draft struct {
	name              string
	limit, left, used int // -1 while not told
	window, reset     time.Duration
	route, other      bool
}

type drafts struct {
	list      [most]draft
	n         int
	resource  string // that the answer names
	ignored   int    // headers that make no sense
	malformed string // the first of them
}

func (ds *drafts) of(name string) *draft {
	for i := range ds.list[:ds.n] {
		if ds.list[i].name == name {
			return &ds.list[i]
		}
	}
	if ds.n == most {
		return &draft{} // beyond what is looked at
	}
	d := &ds.list[ds.n]
	*d = draft{name: name, limit: -1, left: -1, used: -1, reset: -1}
	ds.n++
	return d
}

// Quotas appends what h tells of quotas of requests to into, those that make sense, and returns how many
// headers did not. Times are read against the answer's own Date. An answer that comes from a cache tells nothing.
func Quotas(h http.Header, into []Quota) (quotas []Quota, ignored int) {
	var ds drafts
	ds.gather(h, time.Time{})
	if ds.n > 0 && first(h, "Age") != "" {
		return into, 0
	}
	for i := range ds.list[:ds.n] {
		d := &ds.list[i]
		if d.other {
			continue
		}
		q, ok, bad := d.sum(ds.resource)
		if ok {
			into = append(into, q)
		}
		if bad {
			ds.ignored++
		}
	}
	return into, ds.ignored
}

// gather reads all headers of h that the table knows. A zero now is the answer's Date.
func (ds *drafts) gather(h http.Header, now time.Time) {
	policy := false
	for name, values := range h {
		r, ok := find(name)
		if !ok || len(values) == 0 {
			continue
		}
		if r.role == isPolicy { // depends on the others
			policy = true
			continue
		}
		if now.IsZero() {
			now = sentAt(h, time.Now())
		}
		ds.readAll(r, values, now)
	}
	if policy {
		ds.readAll(table["Ratelimit-Policy"], h["Ratelimit-Policy"], now)
	}
}

// sentAt returns the Date of an answer that does not come from a cache, otherwise now.
func sentAt(h http.Header, now time.Time) time.Time {
	if d, err := http.ParseTime(first(h, "Date")); err == nil && first(h, "Age") == "" {
		return d
	}
	return now
}

func (ds *drafts) readAll(r row, values []string, now time.Time) {
	for i, v := range values {
		if i == most || len(v) > 1024 || !ds.read(r, v, now) {
			if ds.ignored++; ds.malformed == "" {
				ds.malformed = r.header
			}
			return
		}
		if r.role != isItems && r.role != isPolicy { // others come once
			return
		}
	}
}

// sum returns what d amounts to. Bad says that it contradicts itself.
func (d *draft) sum(resource string) (q Quota, ok, bad bool) {
	if d.limit < 0 && d.left < 0 && d.used < 0 {
		return q, false, false
	}
	if d.left < 0 && d.used >= 0 && d.limit > 0 {
		d.left = max(0, d.limit-d.used)
	}
	if d.limit < 0 || d.left < 0 {
		return q, false, false // half of it is of no use
	}
	if d.limit == 0 || d.left > d.limit {
		return q, false, true
	}
	q = Quota{d.name, d.limit, d.left, d.window, d.reset, d.route}
	if d.name == "" && resource != "" {
		// GitHub's core is what all requests spend that have no other.
		q.Name, q.Route = resource, resource != "core"
	}
	return q, true, false
}

func (ds *drafts) read(r row, v string, now time.Time) (ok bool) {
	switch r.role {
	case isResource:
		if v = strings.TrimSpace(v); len(v) <= 64 {
			ds.resource = v
		}
		return ds.resource != ""
	case isItems:
		return ds.items(v)
	case isPolicy:
		return ds.policy(v)
	case isUsage:
		for part := range strings.FieldsFuncSeq(v, func(c rune) bool { return c == ',' || c == ';' }) {
			name, share, found := strings.Cut(strings.TrimSpace(part), "=")
			if !found {
				return false
			}
			if name == r.quota {
				d := ds.of(name)
				d.window = r.window
				return d.share(share)
			}
		}
		return v != ""
	}
	d := ds.of(r.quota)
	d.other = r.other
	if r.window > 0 {
		d.window = r.window
	}
	switch r.role {
	case isShare:
		return d.share(v)
	case isTriple:
		d.route = true
		return d.triple(v, ";")
	case isLimit:
		// Up to -03 of the draft: "100, 100;w=10".
		v, rest, _ := strings.Cut(v, ",")
		if d.limit, ok = count(v); ok && rest != "" {
			if _, w, found := strings.Cut(rest, "w="); found {
				if seconds, good := number(strings.TrimSpace(w[:len(w)-len(strings.TrimLeft(w, "0123456789"))]), time.Second); good {
					d.window = seconds
				}
			}
		}
		return ok
	case isLeft:
		d.left, ok = count(v)
	case isUsed:
		d.used, ok = count(v)
	case isWindow:
		d.window, ok = number(v, time.Millisecond)
	case isReset:
		var reset time.Duration
		switch r.unit {
		case delta:
			reset, ok = number(v, time.Second)
		case millis:
			reset, ok = number(v, time.Millisecond)
		}
		if !ok {
			reset, ok = Reset(v, now)
		}
		if ok && (d.reset < 0 || r.unit != auto) {
			d.reset = reset
		}
	}
	return ok
}

// share reads "39/40".
func (d *draft) share(v string) bool {
	used, limit, ok := strings.Cut(v, "/")
	if !ok {
		return false
	}
	u, ok1 := count(used)
	l, ok2 := count(limit)
	if !ok1 || !ok2 {
		return false
	}
	d.used, d.limit = u, l
	return true
}

// triple reads "total=100; remaining=99; resets=41" and "limit=100, remaining=50, reset=5".
func (d *draft) triple(v, separator string) (known bool) {
	for part := range strings.SplitSeq(v, separator) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value, _, _ = strings.Cut(value, ";")
		good := true
		switch name {
		case "limit", "total":
			d.limit, good = count(value)
		case "remaining":
			d.left, good = count(value)
		case "reset", "resets":
			d.reset, good = number(value, time.Second)
		default:
			continue
		}
		if known = true; !good {
			d.limit = -1
			return false
		}
	}
	return known
}

// items reads RateLimit: `"default";r=50;t=30` since draft -08, `limit=100, remaining=50, reset=5` in -07.
func (ds *drafts) items(v string) bool {
	v = strings.TrimSpace(v)
	if !strings.HasPrefix(v, `"`) {
		return ds.of("ratelimit").triple(v, ",")
	}
	return eachItem(v, func(name string, params map[string]string) bool {
		left, ok := count(params["r"])
		if !ok {
			return false
		}
		d := ds.of("ietf " + name)
		d.left = left
		if t, ok := number(params["t"], time.Second); ok {
			d.reset = t
		}
		return true
	})
}

// policy reads RateLimit-Policy: `"burst";q=100;w=60` since draft -08, `100;w=10, 1000;w=3600` before.
func (ds *drafts) policy(v string) bool {
	v = strings.TrimSpace(v)
	if strings.HasPrefix(v, `"`) {
		return eachItem(v, func(name string, params map[string]string) bool {
			q, ok := count(params["q"])
			if unit := params["qu"]; !ok || unit != "" && unit != `"requests"` {
				return ok
			}
			d := ds.of("ietf " + name)
			d.limit = q
			if w, ok := number(params["w"], time.Second); ok {
				d.window = w
			}
			return true
		})
	}
	// The one whose number is the limit told beside it is the one that is counted there; alone it is the limit.
	d := ds.of("ratelimit")
	parts := strings.Split(v, ",")
	for _, part := range parts {
		head, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q, ok := count(head)
		if !ok {
			return false
		}
		for p := range strings.SplitSeq(params, ";") {
			if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); name == "w" && (len(parts) == 1 || d.limit == q) {
				w, ok := number(value, time.Second)
				if !ok {
					return false
				}
				d.window = w
			}
		}
		if len(parts) == 1 && d.limit < 0 {
			d.limit = q
		}
	}
	return true
}

// eachItem calls f for each item of a structured field (RFC 9651) that is a list of strings with parameters.
func eachItem(v string, f func(name string, params map[string]string) bool) bool {
	for v = strings.TrimSpace(v); v != ""; {
		if v[0] != '"' {
			return false
		}
		end := strings.IndexByte(v[1:], '"')
		if end < 1 || end > 64 {
			return false
		}
		name := v[1 : 1+end]
		v = strings.TrimSpace(v[2+end:])
		params := make(map[string]string)
		for strings.HasPrefix(v, ";") {
			v = strings.TrimLeft(v[1:], " ")
			stop, quoted := len(v), false
			for i := range len(v) {
				if v[i] == '"' {
					quoted = !quoted
				}
				if !quoted && (v[i] == ';' || v[i] == ',') {
					stop = i
					break
				}
			}
			key, value, _ := strings.Cut(strings.TrimSpace(v[:stop]), "=")
			params[key] = value
			v = v[stop:]
		}
		if !f(name, params) {
			return false
		}
		if v == "" {
			return true
		}
		if v[0] != ',' {
			return false
		}
		v = strings.TrimSpace(v[1:])
	}
	return true
}

// count reads a number of permits; 12.0 is one too. It is -1 when it is none.
func count(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "xXpPiInN_") { // ParseFloat also takes hexadecimal, infinities and 1_000
		return -1, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1<<30) {
		return -1, false
	}
	return int(math.Floor(f)), true
}
