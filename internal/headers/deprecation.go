package headers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/moment"
)

// Deprecation returns since when an endpoint is deprecated (RFC 9745, Deprecation: @1688169599) and when it ends (RFC
// 8594, Sunset: an HTTP date), zero for what is not told, and whether one of the two is told at all. It also reads what
// was sent before the RFC: an HTTP date, true. What is malformed is not told.
func Deprecation(h http.Header) (since, end time.Time, told bool) {
	if len(h["Deprecation"]) > 0 {
		if at, ok := deprecated(strings.TrimSpace(first(h, "Deprecation"))); ok {
			since, told = at, true
		}
	}
	if len(h["Sunset"]) > 0 {
		if t, rest, ok := moment.Time(strings.TrimSpace(first(h, "Sunset"))); ok && rest == "" && plausibleDate(t) {
			end, told = t, true
		}
	}
	return since, end, told
}

func deprecated(s string) (since time.Time, told bool) {
	s, _, _ = strings.Cut(s, ";") // parameters of a structured field
	s = strings.TrimSpace(s)
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseInt(seconds, 10, 64)
		since = time.Unix(n, 0)
		return since, err == nil && plausibleDate(since)
	}
	if strings.EqualFold(s, "true") || s == "?1" || s == "1" {
		return since, true
	}
	since, rest, ok := moment.Time(s)
	return since, ok && rest == "" && plausibleDate(since)
}

// plausibleDate reports whether a date is one of an API's life.
func plausibleDate(t time.Time) bool { return t.UTC().Year() >= 1990 && t.UTC().Year() <= 2200 }
