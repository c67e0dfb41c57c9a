// Package headers reads the headers of a partner's answers: how long to wait, how much of a quota is left,
// and the id of the call.
package headers

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// plausible is the longest wait that is believed. A longer one is a mistake of the partner.
const plausible = 366 * 24 * time.Hour

// RetryAfter returns the wait that h asks for, zero if it asks for none, and the name of the first header
// that was malformed. A date is read against the Date of the same answer, so that a skewed clock changes
// nothing. It is read against now if there is no Date, or if Age says that the answer comes from a cache. The
// reset headers of quotas count only if limited is true, and only for a quota that is used up.
func RetryAfter(h http.Header, now time.Time, limited bool) (wait time.Duration, malformed string) {
	now = sentAt(h, now)
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
	var ds drafts
	if ds.gather(h, now); malformed == "" {
		malformed = ds.malformed
	}
	said := false // whether h says how much of some quota is left or used
	for _, d := range ds.list[:ds.n] {
		said = said || d.left >= 0 || d.used >= 0
	}
	for _, d := range ds.list[:ds.n] {
		if said && d.left < 0 && d.used < 0 {
			continue // a reset alone says nothing beside such a quota
		}
		if d.usedUp() && d.reset > 0 {
			wait = max(wait, d.reset)
		} else if d.left == 0 && d.reset < 0 {
			wait = max(wait, d.window)
		}
	}
	return wait, malformed
}

// Exhausted reports whether h says that a quota is used up. GitHub says so on a 403.
func Exhausted(h http.Header) bool {
	var ds drafts
	ds.gather(h, time.Now())
	for _, d := range ds.list[:ds.n] {
		if d.left >= 0 && d.usedUp() {
			return true
		}
	}
	return false
}

// usedUp reports whether no permits are left, or the answer does not say how many are.
func (d *draft) usedUp() bool { return d.left <= 0 && (d.used < 0 || d.used >= d.limit) }

// Reset reads a reset header in any unit: a number below 10^7 is seconds from now, a larger one an epoch time
// in seconds or, above 10^11, in milliseconds; RFC 3339; an HTTP date; a Go duration. It reports false for
// any other text and for a wait that is not plausible.
func Reset(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		switch {
		case math.IsNaN(f) || f < 0:
			return 0, false
		case f < 1e7:
			return seconds(f, time.Second)
		case f >= 9e8 && f <= 1e11: // from 1998 on, because virtual time begins in 2000
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
	if err != nil || strings.ContainsAny(s, "xXpPiInN_") { // ParseFloat also accepts hexadecimal, infinities and 1_000
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

// MissingScope returns the scope that a 403 says is missing, or "" if it names none. It reads
// insufficient_scope of RFC 6750 section 3.1, or GitHub's X-Accepted-OAuth-Scopes.
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

// first returns the first value of a header, or "" if there is none or it is longer than 1024 bytes.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 && len(v[0]) <= 1024 {
		return v[0]
	}
	return ""
}
