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
// reset headers of quotas count only if limited is true, and only for a quota that is used up. A wait of more than a
// year is a year: it is valid (RFC 9110 section 10.2.3), and beyond any patience.
func RetryAfter(h http.Header, now time.Time, limited bool) (wait time.Duration, malformed string) {
	now = sentAt(h, now)
	for _, name := range [...]string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if first(h, name) != "" {
			if d, ok := waitOf(h[name], time.Millisecond, now); ok {
				return d, malformed
			}
			malformed = name
		}
	}
	if first(h, "Retry-After") != "" {
		if d, ok := waitOf(h["Retry-After"], time.Second, now); ok {
			return inSeconds(h, d, now), malformed
		}
		if malformed == "" {
			malformed = "Retry-After"
		}
	}
	if d, ok := alias(h, now); ok {
		return d, malformed
	}
	if !limited {
		return 0, malformed
	}
	wait, told := resets(h, now)
	if malformed == "" {
		malformed = told
	}
	for _, name := range [...]string{"X-Toggl-Quota-Resets-In", "X-Aircallapi-Reset"} {
		if d, ok := Reset(first(h, name), now); ok {
			wait = max(wait, d)
		}
	}
	return wait, malformed
}

// resets returns the longest wait for a quota that h says is used up, and the first header that was malformed.
func resets(h http.Header, now time.Time) (wait time.Duration, malformed string) {
	var ds drafts
	ds.gather(h, now)
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
	return wait, ds.malformed
}

// alias returns the longest wait of the headers that stand for Retry-After, such as X-Retry-After,
// X-RateLimit-Retry-After, X-RateLimit-After and Retry-After-Seconds.
func alias(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	for name, values := range h {
		if len(name) > 64 || len(name) < len("X-Retry-After") || name == "X-Ms-Retry-After-Ms" {
			continue
		}
		lower := strings.ToLower(name)
		unit := time.Second
		plain, inSeconds := strings.CutSuffix(lower, "-seconds")
		if !inSeconds {
			var inMillis bool
			if plain, inMillis = strings.CutSuffix(lower, "-ms"); inMillis {
				unit = time.Millisecond
			}
		}
		if !strings.HasSuffix(plain, "retry-after") && !strings.HasSuffix(plain, "limit-after") {
			continue
		}
		if d, good := waitOf(values, unit, now); good {
			wait, ok = max(wait, d), true
		}
	}
	return wait, ok
}

// waitOf reads the values of a Retry-After: numbers, dates and durations. Where several are told, as several proxies do
// it, the longest counts.
func waitOf(values []string, unit time.Duration, now time.Time) (wait time.Duration, ok bool) {
	for i, v := range values {
		if i == most || len(v) > 1024 {
			break
		}
		if d, good := oneWait(v, unit, now); good {
			wait, ok = max(wait, d), true
			continue
		}
		elements := strings.Split(v, ",")
		for k := 0; k < len(elements) && k < 2*most; k++ {
			d, good := oneWait(elements[k], unit, now)
			if !good && k+1 < len(elements) { // a date has a comma in it
				if d, good = oneWait(elements[k]+","+elements[k+1], unit, now); good {
					k++
				}
			}
			if good {
				wait, ok = max(wait, d), true
			}
		}
	}
	return wait, ok
}

// oneWait reads one wait: a number, an HTTP date, a date with a zone as a number, RFC 3339, or a duration such as 30s.
func oneWait(s string, unit time.Duration, now time.Time) (time.Duration, bool) {
	s = strings.Trim(s, " \t\"")
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789.") == "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && f == 0 || !(f >= 0) { // too many digits are an infinity with an error
			return 0, false
		}
		if d := f * float64(unit); d < float64(plausible) {
			return time.Duration(math.Ceil(d)), true
		}
		return plausible, true
	}
	at, err := http.ParseTime(s)
	for _, layout := range [...]string{time.RFC1123Z, time.RFC3339, "Mon, 02 Jan 2006 15:04:05 UTC"} {
		if err != nil {
			at, err = time.Parse(layout, s)
		}
	}
	if err == nil {
		return max(0, min(plausible, at.Sub(now))), true
	}
	s = strings.Replace(strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), "ond"), "onds"), " sec", "s", 1)
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return min(plausible, d), true
	}
	return 0, false
}

// inSeconds corrects a Retry-After that was written in milliseconds: it is a thousand times the reset of the same
// answer.
func inSeconds(h http.Header, d time.Duration, now time.Time) time.Duration {
	if d < 1000*time.Second {
		return d
	}
	reset, _ := resets(h, now)
	if off := (d/1000 - reset).Abs(); reset > 0 && off <= max(5*time.Second, reset/10) {
		return d / 1000
	}
	return d
}

// Exhausted reports whether h says that a quota is used up. GitHub says so on a 403.
func Exhausted(h http.Header) bool {
	if first(h, "X-Toggl-Quota-Remaining") == "0" {
		return true
	}
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

// EndedToken reports whether h says that the access token is not valid any more (RFC 6750 section 3.1).
func EndedToken(h http.Header) bool {
	for _, v := range h["Www-Authenticate"] {
		if strings.Contains(v, `error="invalid_token"`) || strings.Contains(v, "error=invalid_token") {
			return true
		}
	}
	return false
}

// ShouldRetry returns what the partner says of sending the call again: "true", "false", or "" if it says nothing
// (Stripe, OpenAI and others).
func ShouldRetry(h http.Header) string {
	for _, name := range [...]string{"Stripe-Should-Retry", "X-Should-Retry"} {
		switch v := strings.ToLower(strings.TrimSpace(first(h, name))); v {
		case "true", "false":
			return v
		}
	}
	return ""
}

// Until returns the time from the answer until at, at most a year and at least zero.
func Until(h http.Header, at, now time.Time) time.Duration {
	return max(0, min(plausible, at.Sub(sentAt(h, now))))
}

// first returns the first value of a header, or "" if there is none or it is longer than 1024 bytes.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 && len(v[0]) <= 1024 {
		return v[0]
	}
	return ""
}
