package headers

import (
	"strings"
	"time"
)

// items reads the header RateLimit: `"default";r=50;t=30` since draft -08, `limit=100, remaining=50, reset=5`
// in draft -07, and what servers write in place of these: a name without quotes, semicolons for commas, no r.
func (ds *drafts) items(v string) bool {
	v = strings.TrimSpace(v)
	if head, _, _ := strings.Cut(v, ";"); !strings.HasPrefix(v, `"`) && (strings.ContainsAny(head, "=,") || head == v) {
		separator := ","
		if !strings.Contains(v, ",") {
			separator = ";"
		}
		return ds.of("ratelimit").triple(v, separator)
	}
	return eachItem(v, func(name string, params map[string]string) bool {
		left, ok := count(params["r"])
		if strings.HasPrefix(params["r"], "-") { // more than all
			left, ok = 0, true
		}
		t, timed := number(params["t"], time.Second)
		if _, told := params["r"]; told && !ok || !told && !timed {
			return false
		}
		d := ds.of("ietf " + name)
		if ok {
			d.left = left
		}
		if timed {
			d.reset = t
		}
		return true
	})
}

// policy reads the header RateLimit-Policy: `"burst";q=100;w=60` since draft -08, `100;w=10, 1000;w=3600`
// before.
func (ds *drafts) policy(v string) bool {
	v = strings.TrimSpace(v)
	if v != "" && (v[0] < '0' || v[0] > '9') {
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
	// The policy whose number equals the advertised limit describes the quota that is counted there. A single
	// policy gives the limit if no other header does.
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

// itemName splits v after the name with which it begins: a string, or a token.
func itemName(v string) (name, rest string, ok bool) {
	if v[0] == '"' {
		name, rest, ok = strings.Cut(v[1:], `"`)
	} else {
		end := strings.IndexAny(v, ";,")
		if end < 0 {
			end = len(v)
		}
		name, rest = strings.TrimSpace(v[:end]), v[end:]
		ok = IsToken(name)
	}
	return name, rest, ok && name != "" && len(name) <= 64
}

// eachItem calls f for each item of v, a structured field (RFC 9651) that is a list of strings with
// parameters. It reports whether v is well-formed and f returned true for all items.
func eachItem(v string, f func(name string, params map[string]string) bool) bool {
	for v = strings.TrimSpace(v); v != ""; {
		name, rest, ok := itemName(v)
		if !ok {
			return false
		}
		v = strings.TrimSpace(rest)
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
			if key != "qu" {
				value = strings.Trim(value, ` "`) // which some servers put around numbers
			}
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
