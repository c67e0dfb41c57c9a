// Package headers reads the headers of a partner's answers: how long to wait, how much of a quota is left,
// and the id of the call.
package headers

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/moment"
)

// plausible is the longest wait that is believed. A longer one counts as this long: it is beyond any patience.
const plausible = moment.Longest

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

// aliases are the ends of the names of headers that stand for Retry-After, in lower case.
var aliases = [...]string{"retry-after", "ratelimit-after", "rate-limit-after"}

// alias returns the longest wait of the headers that stand for Retry-After, such as X-Retry-After,
// X-RateLimit-Retry-After, X-RateLimit-After and Retry-After-Seconds.
func alias(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	for name, values := range h {
		if len(name) > 64 || len(name) < len("Retry-In") || name == "Retry-After" || name == "X-Ms-Retry-After-Ms" {
			continue
		}
		plain, unit := strings.ToLower(name), time.Second
		for _, suffix := range [...]string{"-milliseconds", "-millis", "-ms", "-seconds", "-secs"} {
			if before, is := strings.CutSuffix(plain, suffix); is {
				if plain = before; suffix[1] == 'm' {
					unit = time.Millisecond
				}
				break
			}
		}
		stands := plain == "retryafter" || plain == "retry-in"
		for _, end := range aliases {
			stands = stands || strings.HasSuffix(plain, end)
		}
		if !stands {
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

// oneWait reads one wait: a number, a time or a duration in any form of [moment], or seconds since 1970, if they are of
// about now.
func oneWait(s string, unit time.Duration, now time.Time) (time.Duration, bool) {
	s = strings.Trim(s, " \t\";+")
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789.") == "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && f == 0 || !(f >= 0) { // too many digits are an infinity with an error
			return 0, false
		}
		if at, ok := moment.Epoch(f); ok {
			if d := at.Sub(now); d > -24*time.Hour && d < plausible {
				return max(0, d), true
			}
		}
		return moment.Limit(f * float64(unit)), true
	}
	if at, rest, ok := moment.Time(s); ok && rest == "" {
		return max(0, min(plausible, at.Sub(now))), true
	}
	if d, rest, ok := moment.Span(strings.ToLower(s)); ok && rest == "" {
		return d, true
	}
	if d, rest, ok := moment.Span(strings.ToUpper(s)); ok && rest == "" { // ISO 8601
		return d, true
	}
	return 0, false
}

// inSeconds corrects a Retry-After that was written in milliseconds: it is a thousand times a reset of the same
// answer. A reset of a few seconds is that of another, shorter quota.
func inSeconds(h http.Header, d time.Duration, now time.Time) time.Duration {
	if d < 10_000*time.Second {
		return d
	}
	var ds drafts
	ds.gather(h, now)
	for _, q := range ds.list[:ds.n] {
		if Thousandfold(d, q.reset) {
			return d / 1000
		}
	}
	return d
}

// Thousandfold reports whether d is about a thousand times the wait other, which is of ten seconds or more. It was
// written in milliseconds, and read as seconds.
func Thousandfold(d, other time.Duration) bool {
	return other >= 10*time.Second && (d/1000-other).Abs() <= max(2*time.Second, other/10)
}

// Exhausted reports whether h says that a quota is used up. GitHub says so on a 403.
func Exhausted(h http.Header) bool {
	if first(h, "X-Toggl-Quota-Remaining") == "0" {
		return true
	}
	var ds drafts
	ds.gather(h, time.Now())
	for _, d := range ds.list[:ds.n] {
		if d.left >= 0 && d.limit != 0 && d.usedUp() { // a limit of 0 is none
			return true
		}
	}
	return false
}

// usedUp reports whether no permits are left, or the answer does not say how many are.
func (d *draft) usedUp() bool { return d.left <= 0 && (d.used < 0 || d.used >= d.limit) }

// Reset reads a reset header in any unit: a number below 10^7 is seconds from now, a larger one an epoch time, in
// seconds or in smaller units; a time or a duration in any form of [moment]. It reports false for any other text.
func Reset(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if first, _, several := strings.Cut(s, ","); several && strings.Trim(first, "0123456789.") == "" {
		s = first // two proxies that each add theirs
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil || math.IsInf(f, 1) && strings.Trim(s, "0123456789") == "" {
		switch at, ok := moment.Epoch(f); {
		case math.IsNaN(f) || f < 0:
			return 0, false
		case f < 1e7:
			return seconds(f, time.Second)
		case ok:
			return until(at, now)
		case f >= 9e18:
			return plausible, true
		}
		return 0, false
	}
	if t, rest, ok := moment.Time(s); ok && strings.TrimSpace(rest) == "" {
		return until(t, now)
	}
	if d, rest, ok := moment.Span(s); ok && strings.TrimSpace(rest) == "" {
		return d, true
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return min(d, plausible), true
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
	if !(d >= 0) {
		return 0, false
	}
	return moment.Limit(d), true
}

func until(t, now time.Time) (time.Duration, bool) {
	return max(0, min(plausible, t.Sub(now))), true
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

var endedToken = regexp.MustCompile(`(?i)\berror\s*=\s*"?invalid_token\b`)

// EndedToken reports whether h says that the access token is not valid any more (RFC 6750 section 3.1).
func EndedToken(h http.Header) bool {
	for _, v := range h["Www-Authenticate"] {
		if len(v) <= 1024 && endedToken.MatchString(v) {
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
