package headers

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Quota is the state of one quota, as one answer advertises it.
type Quota struct {
	// Name distinguishes the quotas of one partner.
	Name string
	// Limit is the number of permits in all, 0 if the answer does not say. Left is the number that the partner
	// still had, from zero to Limit.
	Limit, Left int
	// Window is the length of the quota's window, 0 if the answer does not say.
	Window time.Duration
	// Reset is the time from the answer until the window begins anew, negative if the answer does not say.
	Reset time.Duration
	// Route is true if the quota is for requests like this one only.
	Route bool
}

// most is the most quotas of one answer, and the most values of one header, that are read.
const most = 8

// malformed stands for a limit that a header has advertised and that makes no sense.
const malformed = -2

// draft is a quota while its headers are gathered.
type draft struct {
	name              string
	limit, left, used int // -1 while no header has advertised it
	window, reset     time.Duration
	route, other      bool // see Quota.Route and row.other
}

// drafts are the quotas of one answer while its headers are gathered.
type drafts struct {
	list      [most]draft
	n         int
	resource  string // the resource that the answer names
	ignored   int    // number of headers and quotas that make no sense
	malformed string // the first malformed header
}

func (ds *drafts) of(name string) *draft {
	for i := range ds.list[:ds.n] {
		if ds.list[i].name == name {
			return &ds.list[i]
		}
	}
	if ds.n == most {
		return &draft{} // above most: it is dropped
	}
	d := &ds.list[ds.n]
	*d = draft{name: name, limit: -1, left: -1, used: -1, reset: -1}
	ds.n++
	return d
}

// Quotas appends the quotas of requests that h advertises to into, except those that make no sense, and
// returns how many headers and quotas made none. Times are read against the answer's own Date. An answer that
// comes from a cache advertises nothing.
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

// gather reads all headers of h that the table knows. If now is zero, times are read against the answer's
// Date.
func (ds *drafts) gather(h http.Header, now time.Time) {
	policy := false
	for name, values := range h {
		r, ok := find(name)
		if !ok || len(values) == 0 {
			continue
		}
		if r.role == isPolicy { // read last, because it depends on the others
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

// sentAt returns the Date of an answer, or now if the answer has none or comes from a cache.
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
		if r.role != isItems && r.role != isPolicy { // other headers occur once
			return
		}
	}
}

// sum returns the quota that d describes. Ok is false if d describes none; bad is true if d contradicts
// itself.
func (d *draft) sum(resource string) (q Quota, ok, bad bool) {
	if d.limit < 0 && d.left < 0 && d.used < 0 {
		return q, false, false
	}
	if d.left < 0 && d.used >= 0 && d.limit > 0 {
		d.left = max(0, d.limit-d.used)
	}
	if d.limit == -1 && d.left >= 0 && d.used >= 0 {
		d.limit = d.left + d.used
	}
	switch {
	case d.left < 0:
		return q, false, false // a limit without the permits left is of no use
	case d.limit == -1 && d.window > 0:
		return Quota{d.name, 0, d.left, d.window, d.reset, d.route}, true, false
	case d.limit < 0:
		return q, false, false
	}
	if d.limit == 0 || d.left > d.limit {
		return q, false, true
	}
	q = Quota{d.name, d.limit, d.left, d.window, d.reset, d.route}
	if q.Reset >= plausible { // no quota lasts so long
		q.Reset = -1
	}
	if d.name == "" && resource != "" {
		// GitHub's resource core is the quota of all requests that have no other quota.
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
		if strings.Contains(v, "=") && !strings.Contains(v, "w=") { // a dictionary, in a header of another name
			separator := ","
			if !strings.Contains(v, ",") {
				separator = ";"
			}
			return d.triple(v, separator)
		}
		// The drafts up to -03 write "100, 100;w=10".
		v, rest, _ := strings.Cut(v, ",")
		if d.limit, ok = count(v); ok && rest != "" {
			if _, w, found := strings.Cut(rest, "w="); found {
				if seconds, good := number(
					strings.TrimSpace(w[:len(w)-len(strings.TrimLeft(w, "0123456789"))]), time.Second,
				); good {
					d.window = seconds
				}
			}
		}
		if !ok {
			d.limit = malformed
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
		ok = ok && reset < plausible
	}
	return ok
}

// share reads "39/40": the permits used and the limit.
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

// triple reads "total=100; remaining=99; resets=41" and "limit=100, remaining=50, reset=5". Known is true if
// it has at least one of these parts and none of them is malformed.
func (d *draft) triple(v, separator string) (known bool) {
	for part := range strings.SplitSeq(v, separator) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value, _, _ = strings.Cut(value, ";")
		value = strings.Trim(value, ` "`)
		good := true
		switch strings.ToLower(name) {
		case "limit", "total":
			d.limit, good = count(value)
		case "remaining", "r":
			d.left, good = count(value)
		case "reset", "resets", "t":
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

// count reads a number of permits; decimals such as in 12.0 are cut off. It returns -1 and false if s is no
// such number.
func count(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "xXpPiInN_") { // ParseFloat also accepts hexadecimal, infinities and 1_000
		return -1, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1<<30) {
		return -1, false
	}
	return int(math.Floor(f)), true
}
