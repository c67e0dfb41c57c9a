package errbody

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// longest is the longest wait that is believed.
const longest = 366 * 24 * time.Hour

// waitFields are the fields of a body that hold a wait, each with the unit of its numbers.
var waitFields = [...]struct {
	name string
	unit time.Duration
}{
	{"retry_after", time.Second},
	{"retryAfter", time.Second},
	{"retry_after_seconds", time.Second},
	{"retryAfterSeconds", time.Second},
	{"retry-after", time.Second},
	{"retry_in", time.Second},
	{"retryAfterMs", time.Millisecond},
	{"retry_after_ms", time.Millisecond},
	{"retryAfterMillis", time.Millisecond},
	{"retryDelay", time.Second},
}

// resetFields are the fields of a body that hold the time at which a quota begins anew.
var resetFields = [...]string{"reset", "reset_at", "resetAt", "resets_at", "retry_at", "retryAt"}

// waits reads the fields of m that hold a wait or a time. A longer wait than before counts.
func (in *Info) waits(m map[string]json.RawMessage) {
	for _, f := range waitFields {
		s := text(m[f.name])
		if n, err := strconv.ParseFloat(s, 64); err == nil {
			if d := math.Ceil(n * float64(f.unit)); d > 0 && d <= float64(longest) {
				in.RetryAfter = max(in.RetryAfter, time.Duration(d))
			}
		} else if d, ok := span(s); ok {
			in.RetryAfter = max(in.RetryAfter, d)
		} else if t, ok := moment(s); ok && t.After(in.RetryAt) {
			in.RetryAt = t
		}
	}
	for _, name := range resetFields {
		if t, ok := moment(text(m[name])); ok && t.After(in.RetryAt) {
			in.RetryAt = t
		}
	}
}

// before is what comes before a wait in a sentence.
var before = regexp.MustCompile(`(?i)\b(?:retry(?:ing)?|try again|please wait|wait|resets?|available(?: again)?)` +
	`(?: your request| the request)?,? (?:after|in|at|until|for)(?: about| approximately| another)?:? ?["']?`)

// said reads the wait that a sentence asks for, such as "please retry after 25s" or "Retry after 2024-05-01T10:00:00Z".
func (in *Info) said(sentence string) {
	sentence = sentence[:min(len(sentence), 4<<10)]
	for _, at := range before.FindAllStringIndex(sentence, 8) {
		rest := sentence[at[1]:]
		if t, ok := moment(rest); ok {
			if t.After(in.Said.At) {
				in.Said.At = t
			}
		} else if d, ok := span(rest); ok {
			in.Said.After = max(in.Said.After, d)
		}
	}
}

var (
	instant = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:Z|z|UTC|[+-]\d\d:?\d\d))?`)
	part    = regexp.MustCompile(`^(?:,|and| )*(\d{1,9}(?:\.\d{1,9})?) ?(milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|` +
		`hours?|hrs?|h|days?|d)(?:[^a-zA-Z]|$)`)
	bare = regexp.MustCompile(`^(\d{1,9}(?:\.\d{1,9})?)(?:\s*$|[.,;)"'!<](?:\D|$))`)
)

// moment reads the time with which s begins: RFC 3339, or an HTTP date. A time without a zone is UTC.
func moment(s string) (time.Time, bool) {
	if found := instant.FindString(s); found != "" {
		plain := strings.NewReplacer(" UTC", "Z", " +", "+", " -", "-").Replace(found)
		plain = plain[:10] + "T" + plain[11:]
		for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04"} {
			if t, err := time.Parse(layout, strings.ToUpper(plain)); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	}
	if len(s) >= len(http.TimeFormat) {
		if t, err := http.ParseTime(s[:len(http.TimeFormat)]); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// span reads the duration with which s begins: "25s", "1m30s", "2 minutes and 5 seconds", "94ms", or a number of
// seconds.
func span(s string) (time.Duration, bool) {
	total := 0.0
	for range 4 {
		m := part.FindStringSubmatchIndex(s)
		if m == nil {
			break
		}
		n, _ := strconv.ParseFloat(s[m[2]:m[3]], 64)
		total += n * float64(unitOf(s[m[4]:m[5]]))
		s = s[m[5]:]
	}
	if total == 0 {
		if m := bare.FindStringSubmatch(s); m != nil {
			n, _ := strconv.ParseFloat(m[1], 64)
			total = n * float64(time.Second)
		}
	}
	if total <= 0 || total > float64(longest) {
		return 0, false
	}
	return time.Duration(math.Ceil(total)), true
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
