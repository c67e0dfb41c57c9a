// Package moment reads the times and the durations that partners write in headers and in sentences.
package moment

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Longest is the longest wait that is believed: a year. A longer one is a year, because it is beyond any patience.
const Longest = 366 * 24 * time.Hour

var instant = regexp.MustCompile(
	`^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:Z|z|UTC|GMT|[+-]\d\d:?\d\d))?`)

// dated is a date as in HTTP, with or without the name of the day and with any zone.
var dated = regexp.MustCompile(
	`^(?:[A-Z][a-z]{2}, )?\d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|Z|[+-]\d{4})`)

// Time reads the time with which s begins, and returns what follows it: RFC 3339, with a blank or without seconds too,
// or a date as in HTTP. A time without a zone is UTC.
func Time(s string) (t time.Time, rest string, ok bool) {
	if found := instant.FindString(s); found != "" {
		plain := strings.NewReplacer(" UTC", "Z", "UTC", "Z", " GMT", "Z", "GMT", "Z", " +", "+", " -", "-", " Z", "Z").Replace(found)
		plain = strings.ToUpper(plain[:10] + "T" + plain[11:])
		for _, layout := range [...]string{
			time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05",
			"2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", "2006-01-02T15:04",
		} {
			if t, err := time.Parse(layout, plain); err == nil {
				return t, s[len(found):], true
			}
		}
		return time.Time{}, s, false
	}
	if found := dated.FindString(s); found != "" {
		plain := found
		if _, after, named := strings.Cut(plain, ", "); named {
			plain = after
		}
		for _, zone := range [...]string{" GMT", " UTC", " Z"} {
			if bare, is := strings.CutSuffix(plain, zone); is {
				plain = bare + " +0000"
			}
		}
		if t, err := time.Parse("2 Jan 2006 15:04:05 -0700", plain); err == nil {
			return t, s[len(found):], true
		}
	}
	if len(s) <= 64 { // RFC 850 and ANSI C
		if t, err := http.ParseTime(s); err == nil {
			return t, "", true
		}
	}
	return time.Time{}, s, false
}

var (
	part = regexp.MustCompile(`^(?:,|and| )*(\d{1,15}(?:\.\d{1,9})?) ?(milliseconds?|millis|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|` +
		`hours?|hrs?|h|days?|d)(?:[^a-zA-Z]|$)`)
	compact = regexp.MustCompile(`^(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)`) // 1m30s
	iso     = regexp.MustCompile(`^P(?:(\d{1,9})D)?T?(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?`)
	clock   = regexp.MustCompile(`^(\d{1,4}):(\d\d):(\d\d)(?:\.\d{1,9})?`)
)

// Span reads the duration with which s begins, and returns what follows it: "25s", "1m30s", "2 minutes and 5 seconds",
// "94ms", "PT30S" (ISO 8601), "00:00:30". A number without a unit is none.
func Span(s string) (d time.Duration, rest string, ok bool) {
	total, rest := 0.0, s
	add := func(n string, unit time.Duration) {
		f, _ := strconv.ParseFloat(n, 64)
		total += f * float64(unit)
	}
	switch {
	case iso.MatchString(s):
		m := iso.FindStringSubmatch(s)
		for i, unit := range [...]time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
			add(m[i+1], unit)
			ok = ok || m[i+1] != ""
		}
		rest = s[len(m[0]):]
	case clock.MatchString(s):
		m := clock.FindStringSubmatch(s)
		add(m[1], time.Hour)
		add(m[2], time.Minute)
		add(m[3], time.Second)
		ok, rest = true, s[len(m[0]):]
	default:
		for range 6 {
			m := part.FindStringSubmatchIndex(rest)
			if m == nil {
				if m = compact.FindStringSubmatchIndex(rest); m == nil {
					break
				}
			}
			add(rest[m[2]:m[3]], unitOf(rest[m[4]:m[5]]))
			ok, rest = true, rest[m[5]:]
		}
	}
	if !ok {
		return 0, s, false
	}
	return Limit(total), rest, true
}

// Limit returns nanoseconds as a duration, at most a year and at least zero.
func Limit(nanoseconds float64) time.Duration {
	if !(nanoseconds > 0) {
		return 0
	}
	if nanoseconds >= float64(Longest) {
		return Longest
	}
	return time.Duration(math.Ceil(nanoseconds))
}

// Epoch returns the time that n says, if n is one as seconds, milliseconds, microseconds or nanoseconds since 1970.
// From 1998 on, because virtual time begins in 2000.
func Epoch(n float64) (t time.Time, ok bool) {
	switch {
	case n >= 9e8 && n <= 1e11:
		return time.UnixMilli(int64(n * 1e3)), true
	case n > 1e11 && n < 1e14:
		return time.UnixMilli(int64(n)), true
	case n >= 1e14 && n < 1e17:
		return time.UnixMicro(int64(n)), true
	case n >= 1e17 && n < 9e18:
		return time.Unix(0, int64(n)), true
	}
	return time.Time{}, false
}

func unitOf(name string) time.Duration {
	switch {
	case name == "ms" || strings.HasPrefix(name, "mil") || strings.HasPrefix(name, "mse"):
		return time.Millisecond
	case name[0] == 's':
		return time.Second
	case name[0] == 'm':
		return time.Minute
	case name[0] == 'h':
		return time.Hour
	}
	return 24 * time.Hour
}
