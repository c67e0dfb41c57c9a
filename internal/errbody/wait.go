package errbody

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/moment"
)

// waitFields are the fields of a body that hold a wait, in lower case and without "_" and "-", each with the unit of
// its numbers.
var waitFields = map[string]time.Duration{
	"retryafter": time.Second, "retryafterseconds": time.Second, "retryaftersec": time.Second, "retryin": time.Second,
	"retryinseconds": time.Second, "retrydelay": time.Second, "retryafterms": time.Millisecond,
	"retryaftermillis": time.Millisecond, "retryaftermilliseconds": time.Millisecond, "retryinms": time.Millisecond,
}

// resetFields are the fields of a body that hold the time at which a quota begins anew, written as waitFields are.
var resetFields = map[string]bool{
	"reset": true, "resetat": true, "resetsat": true, "resettime": true, "resetin": true, "retryat": true,
}

// plainName returns the name of a field in lower case, without "_" and "-".
func plainName(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// waits reads the fields of m that hold a wait or a time. A longer wait than before counts.
func (in *Info) waits(m map[string]json.RawMessage) {
	for name, raw := range m {
		if len(name) > 40 {
			continue
		}
		plain := plainName(name)
		if unit, ok := waitFields[plain]; ok {
			in.wait(text(raw), unit, &in.RetryAfter, &in.RetryAt)
		} else if resetFields[plain] {
			in.wait(text(raw), time.Second, &in.Said.After, &in.Said.At)
		}
	}
}

// wait reads a wait or a time into after or at, if it is longer than what is there.
func (in *Info) wait(s string, unit time.Duration, after *time.Duration, at *time.Time) {
	later := func(t time.Time) {
		if t.After(*at) {
			*at = t
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(n) {
		if t, ok := moment.Epoch(n); ok {
			later(t)
			return
		}
		*after = max(*after, moment.Limit(n*float64(unit)))
	} else if t, _, ok := moment.Time(s); ok {
		later(t)
	} else if d, ok := span(s); ok {
		*after = max(*after, d)
	}
}

// before is what comes before a wait in a sentence.
var before = regexp.MustCompile(`(?i)(?:\b(?:retry(?:ing)?|try again(?: later)?|come back|please wait|wait|resets?|replenished|` +
	`available(?: again)?)(?: your request| the request)?,?(?: after|[ -]after| in| at least| at| until| for)|\bwait)` +
	`(?: at least| about| approximately| another)?:? ?["']?`)

// said reads the wait that a sentence asks for, such as "please retry after 25s" or "Retry after 2024-05-01T10:00:00Z".
func (in *Info) said(sentence string) {
	sentence = sentence[:min(len(sentence), 4<<10)]
	for _, at := range before.FindAllStringIndex(sentence, 8) {
		rest := sentence[at[1]:]
		if t, _, ok := moment.Time(rest); ok {
			if t.After(in.Said.At) {
				in.Said.At = t
			}
		} else if d, ok := span(rest); ok {
			in.Said.After = max(in.Said.After, d)
		}
	}
}

var bare = regexp.MustCompile(`^(\d{1,20}(?:\.\d{1,9})?)(?:\s*$|[.,;)"'!<](?:\D|$))`)

// span reads the duration with which s begins; a number alone is of seconds.
func span(s string) (time.Duration, bool) {
	if d, _, ok := moment.Span(s); ok {
		return d, d > 0
	}
	if m := bare.FindStringSubmatch(s); m != nil {
		n, _ := strconv.ParseFloat(m[1], 64)
		return moment.Limit(n * float64(time.Second)), n > 0
	}
	return 0, false
}
