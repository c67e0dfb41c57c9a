package headers

import (
	"strings"
	"time"
	"unicode"
)

// role is the part of a quota that a header carries.
type role uint8

const (
	isLimit    role = iota // permits in all
	isLeft                 // permits left
	isUsed                 // permits used
	isReset                // when the window begins anew
	isWindow               // length of the window
	isShare                // "39/40": used and limit
	isUsage                // "api-usage=18/5000"
	isTriple               // "total=100; remaining=99; resets=41"
	isItems                // RateLimit of the IETF drafts
	isPolicy               // RateLimit-Policy of the IETF drafts
	isResource             // name of a quota that is for some requests only
)

// unit is the form in which a time is written.
type unit uint8

const (
	auto    unit = iota // any form, see Reset
	delta               // seconds from now, also with decimals
	millis              // milliseconds
	counted             // not a time
)

// row is one known header.
type row struct {
	header string        // canonical name
	quota  string        // the quota that the header belongs to
	role   role          // the part of the quota that it carries
	unit   unit          // form of a time
	window time.Duration // length of the window, if the name says it; otherwise 0
	other  bool          // the quota does not count requests, or may not
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// table has an entry for each header that partners are known to send. Calls cannot be counted against quotas
// of tokens and bytes, so those quotas only say how long to wait once they are used up.
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
	{"X-Rate-Limit", "x-rate-limit", isLimit, counted, 0, false}, // Zendesk, beside Ratelimit-*, which has the reset
	{"Rate-Limit", "", isLimit, counted, 0, false},
	{"X-Ratelimit", "", isLimit, counted, 0, false},
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
	// Aircall: epoch seconds.
	{"X-Aircallapi-Limit", "aircall", isLimit, counted, 0, false},
	{"X-Aircallapi-Remaining", "aircall", isLeft, counted, 0, false},
	{"X-Aircallapi-Reset", "aircall", isReset, auto, 0, false},
	// Salesforce: a rolling day.
	{"Sforce-Limit-Info", "api-usage", isUsage, counted, day, false},
	// The IETF's drafts: three separate headers up to -06, one dictionary in -07, lists of named quotas since.
	{"Ratelimit-Limit", "ratelimit", isLimit, counted, 0, false},
	{"Ratelimit-Remaining", "ratelimit", isLeft, counted, 0, false},
	{"Ratelimit-Reset", "ratelimit", isReset, delta, 0, false},
	{"Ratelimit-Resettime", "ratelimit", isReset, auto, 0, false}, // GitLab: an HTTP date
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

// find returns the entry for a header: one of the table, or one made from the name if that is plausible.
func find(name string) (r row, ok bool) {
	if !strings.Contains(name, "imit") && !strings.HasPrefix(name, "X-Aircallapi-") || len(name) > 64 {
		return r, false
	}
	if r, ok = table[name]; ok {
		return r, true
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) { // no name of a header
		return r, false
	}
	lower := strings.ToLower(name)
	before, after, ok := strings.Cut(lower, "ratelimit-")
	if !ok {
		before, after, ok = strings.Cut(lower, "rate-limit-")
	}
	if !ok {
		return r, false
	}
	if before == "zendesk-" { // Zendesk has one header for each endpoint
		return row{name, after, isTriple, delta, 0, false}, true
	}
	for _, other := range [...]string{
		"type", "policy", "scope", "date", "reason", "tier", "bucket", "resource", "interval",
	} {
		if strings.Contains(after, other) {
			return r, false
		}
	}
	for _, part := range [...]struct {
		word string
		role role
		unit unit
	}{
		{"limit", isLimit, counted},
		{"remaining", isLeft, counted},
		{"used", isUsed, counted},
		{"reset-ms", isReset, millis},
		{"reset-time", isReset, auto},
		{"resettime", isReset, auto},
		{"reset", isReset, auto},
	} {
		rest, ok := strings.CutSuffix(after, part.word)
		if !ok {
			rest, ok = strings.CutPrefix(after, part.word)
		}
		if ok && (rest == "" || strings.HasSuffix(rest, "-") || strings.HasPrefix(rest, "-")) {
			rest = strings.Trim(rest, "-")
			// A name with other words may belong to another kind of quota: uploads, credits, tokens.
			window, ofRequests := windowOf(rest)
			other := !ofRequests || !partnersOwn(before)
			return row{name, before + rest, part.role, part.unit, window, other}, true
		}
	}
	return r, false
}

// windowOf returns the length of the window that the words between the parts of a name state, 0 for none, and whether
// they are about requests.
func windowOf(words string) (window time.Duration, ofRequests bool) {
	for word := range strings.SplitSeq(words, "-") {
		switch word {
		case "", "request", "requests", "req", "reqs", "call", "calls", "api", "per":
		default:
			w, ok := named[word]
			if !ok {
				return 0, false
			}
			window = w
		}
	}
	return window, true
}

// partnersOwn reports whether the text before "ratelimit-" in a name can be that of a partner, and not that of a kind
// of quota that does not count requests.
func partnersOwn(before string) bool {
	before = strings.TrimSuffix(strings.TrimPrefix(before, "x-"), "-")
	for word := range strings.SplitSeq(before, "-") {
		for _, kind := range [...]string{
			"upload", "download", "credit", "token", "byte", "point", "cost", "image", "search", "export", "import", "message",
			"sms", "mail", "media", "file", "storage", "graphql", "write", "read", "user", "ip", "concurren", "burst", "job",
			"query", "event", "webhook", "row", "record", "data",
		} {
			if strings.HasPrefix(word, kind) {
				return false
			}
		}
	}
	return strings.Count(before, "-") <= 1
}

// named are the lengths of windows that a header's name may state.
var named = map[string]time.Duration{
	"second": time.Second, "secondly": time.Second, "minute": minute, "minutely": minute,
	"hour": hour, "hourly": hour, "day": day, "daily": day,
}
