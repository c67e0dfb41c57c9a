// Package hint reads from a refusal how long the partner asks to wait.
package hint

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A longer wait than this is a mistake of the sender's, not a wish.
const plausible = 366 * 24 * time.Hour

// resets are the headers that tell when a used-up quota comes back, each with the header that tells
// how much of it is left.
var resets = [...]struct{ reset, remaining string }{
	{"X-Ratelimit-Reset-After", "X-Ratelimit-Remaining"},
	{"X-Ratelimit-Reset", "X-Ratelimit-Remaining"},
	{"X-Rate-Limit-Reset", "X-Rate-Limit-Remaining"},
	{"Ratelimit-Reset", "Ratelimit-Remaining"},
	{"X-Ratelimit-Reset-Requests", "X-Ratelimit-Remaining-Requests"},
	{"X-Ratelimit-Reset-Tokens", "X-Ratelimit-Remaining-Tokens"},
}

// Wait returns the wait that h asks for, zero when it asks for none, and the name of the first header
// that was malformed. A date is read against the Date of the same answer, unless Age says that the
// answer comes from a cache, so that a skewed clock changes nothing; otherwise against now. The reset
// headers of quotas count only with limited, and only where the quota is used up.
func Wait(h http.Header, now time.Time, limited bool) (wait time.Duration, malformed string) {
	if d, err := http.ParseTime(first(h, "Date")); err == nil && first(h, "Age") == "" {
		now = d
	}
	for _, name := range [...]string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if s := first(h, name); s != "" {
			if d, ok := number(s, time.Millisecond); ok {
				return d, malformed
			}
			malformed = name
		}
	}
	if s := first(h, "Retry-After"); s != "" {
		if d, ok := number(s, time.Second); ok {
			return d, malformed
		}
		if d, ok := date(s, now); ok {
			return d, malformed
		}
		malformed = "Retry-After"
	}
	if !limited {
		return 0, malformed
	}
	for _, r := range resets {
		s := first(h, r.reset)
		if s == "" || !usedUp(first(h, r.remaining)) {
			continue
		}
		d, ok := Reset(s, now)
		if !ok {
			malformed = r.reset
			continue
		}
		wait = max(wait, d)
	}
	return wait, malformed
}

// Exhausted reports whether h says that a quota is used up, as GitHub does on a 403.
func Exhausted(h http.Header) bool {
	for _, r := range resets {
		if s := first(h, r.remaining); s != "" && usedUp(s) {
			return true
		}
	}
	return false
}

func usedUp(remaining string) bool {
	if remaining == "" {
		return true
	}
	f, err := strconv.ParseFloat(remaining, 64)
	return err == nil && f < 1
}

// Reset reads a reset header in whatever unit it has: below 10^7 seconds from now, then an epoch in
// seconds or, above 10^11, in milliseconds; RFC 3339; an HTTP date; a Go duration.
func Reset(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		switch {
		case math.IsNaN(f) || f < 0:
			return 0, false
		case f < 1e7:
			return seconds(f, time.Second)
		case f >= 1e9 && f <= 1e11:
			return until(time.UnixMilli(int64(f*1e3)), now)
		case f > 1e11 && f < 1e14:
			return until(time.UnixMilli(int64(f)), now)
		}
		return 0, false
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return until(t, now)
	}
	if d, ok := date(s, now); ok {
		return d, true
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 && d <= plausible {
		return d, true
	}
	return 0, false
}

func number(s string, unit time.Duration) (time.Duration, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || strings.ContainsAny(s, "xXpPiInN_") { // ParseFloat also takes hexadecimal, infinities and 1_000
		return 0, false
	}
	return seconds(f, unit)
}

func seconds(f float64, unit time.Duration) (time.Duration, bool) {
	d := f * float64(unit)
	if !(d >= 0 && d <= float64(plausible)) {
		return 0, false
	}
	return time.Duration(math.Ceil(d)), true
}

func date(s string, now time.Time) (time.Duration, bool) {
	t, err := http.ParseTime(strings.TrimSpace(s))
	if err != nil {
		return 0, false
	}
	return until(t, now)
}

func until(t, now time.Time) (time.Duration, bool) {
	d := t.Sub(now)
	if d > plausible {
		return 0, false
	}
	return max(d, 0), true
}

// MissingScope returns the scope that a 403 says is missing: RFC 6750 section 3.1 insufficient_scope,
// or GitHub's X-Accepted-OAuth-Scopes.
func MissingScope(h http.Header) string {
	if auth := first(h, "Www-Authenticate"); strings.Contains(auth, "insufficient_scope") {
		if _, rest, ok := strings.Cut(auth, `scope="`); ok {
			if scope, _, ok := strings.Cut(rest, `"`); ok {
				return scope
			}
		}
	}
	return first(h, "X-Accepted-Oauth-Scopes")
}

// first returns the first value of a header, or none when it is absurdly long.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 && len(v[0]) <= 1024 {
		return v[0]
	}
	return ""
}
