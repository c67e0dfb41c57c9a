package driver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// FlexString is text that a partner sends as a string, a number or a boolean. Null and a missing field are
// empty.
type FlexString string

// UnmarshalJSON implements json.Unmarshaler.
func (s *FlexString) UnmarshalJSON(data []byte) error {
	text, _, err := scalar(data, "a FlexString")
	if err == nil {
		*s = FlexString(text)
	}
	return err
}

// FlexInt is a whole number that a partner sends as a number or as text ("12", "12.0", "1e3"). Null and empty
// text are 0.
type FlexInt int64

// UnmarshalJSON implements json.Unmarshaler.
func (i *FlexInt) UnmarshalJSON(data []byte) error {
	text, isText, err := scalar(data, "a FlexInt")
	if err != nil {
		return err
	}
	if text == "" && (isText || string(data) == "null") {
		*i = 0
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		*i = FlexInt(n)
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 || strings.ContainsAny(text, "xXpPiInN_") {
		return fmt.Errorf("%s is not a whole number", shown(text))
	}
	*i = FlexInt(f)
	return nil
}

// FlexBool is a truth value that a partner sends as a boolean, a number (0 is false) or text (true, t, yes,
// y, on, 1 and their opposites, in any case). Null and empty text are false.
type FlexBool bool

// UnmarshalJSON implements json.Unmarshaler.
func (b *FlexBool) UnmarshalJSON(data []byte) error {
	text, _, err := scalar(data, "a FlexBool")
	if err != nil {
		return err
	}
	switch strings.ToLower(text) {
	case "true", "yes", "y", "on", "1", "t":
		*b = true
	case "false", "no", "n", "off", "0", "f", "":
		*b = false
	default:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.ContainsAny(text, "xXpPiInN_") {
			return fmt.Errorf("%s is neither true nor false", shown(text))
		}
		*b = f != 0
	}
	return nil
}

// FlexTime is a time that a partner sends in one of many forms: RFC 3339 with or without zone and fraction,
// with a space instead of the T, without hyphens and colons, a date alone, RFC 1123, RFC 850, the form of C's
// asctime, seconds or milliseconds since 1970, as a number or as text, or .NET's /Date(ms)/. A time without a zone is
// UTC. Null, empty text and 0000-00-00 are the zero time.
type FlexTime struct{ time.Time }

var timeForms = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z0700",
	"2006-01-02 15:04:05.999999999 Z0700", "2006-01-02 15:04:05.999999999 MST", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC,
	"20060102T150405.999999999Z0700", "20060102T150405.999999999", "20060102T1504Z0700", "20060102T1504", "20060102150405Z0700", "20060102 150405",
	"2006-01-02 15:04:05.999999999Z07",
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *FlexTime) UnmarshalJSON(data []byte) error {
	text, isText, err := scalar(data, "a FlexTime")
	if err != nil {
		return err
	}
	text = strings.TrimSpace(text)
	if text == "" || noDate(text) {
		t.Time = time.Time{}
		return nil
	}
	if at, ok, err := dotNetDate(text); ok {
		t.Time = at
		return err
	}
	for _, form := range [...]string{"20060102", "200601021504", "20060102150405"} {
		// Eight digits are a date, as a number too: as seconds they would be of 1970.
		if len(text) == len(form) && (isText || len(text) == 8 && (text[:2] == "19" || text[:2] == "20")) {
			if at, err := time.Parse(form, text); err == nil {
				t.Time = at
				return nil
			}
		}
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil &&
		!(isText && len(text) < len("100000000")) && !strings.ContainsAny(text, "xXpPiInN_") {
		// A number of seconds beyond the year 5138 is taken for milliseconds.
		if math.Abs(f) >= 1e11 {
			f /= 1000
		}
		if math.Abs(f) >= 1e11 {
			return fmt.Errorf("%s is not a time", shown(text))
		}
		whole, part := math.Modf(f)
		t.Time = time.Unix(int64(whole), int64(math.Round(part*1e6))*1000).UTC()
		return nil
	}
	for _, form := range timeForms {
		parsed, err := time.Parse(form, text)
		if err != nil { // a small t or z
			parsed, err = time.Parse(form, strings.ToUpper(text))
		}
		if err != nil {
			continue
		}
		// Package time gives an unknown zone abbreviation an offset of zero, which would be wrong.
		if zone, offset := parsed.Zone(); offset == 0 && zone != "UTC" && zone != "GMT" && zone != "" {
			return fmt.Errorf("the zone of %s is not known", shown(text))
		}
		t.Time = parsed
		return nil
	}
	return fmt.Errorf("%s is not a time in any of the usual forms", shown(text))
}

// noDate reports whether text is how databases write that there is no date: 0000-00-00, with a time or without.
func noDate(text string) bool {
	rest, ok := strings.CutPrefix(text, "0000-00-00")
	return ok && strings.Trim(rest, "0:. TZtz+-") == "" || text == "00000000"
}

// dotNetDate reads the form of older .NET services: /Date(ms)/ or /Date(ms+0200)/. The offset is that of the sender's
// zone, and does not change the time.
func dotNetDate(text string) (at time.Time, ok bool, err error) {
	inner, ok := strings.CutPrefix(text, "/Date(")
	if !ok {
		return at, false, nil
	}
	inner, closed := strings.CutSuffix(inner, ")/")
	if i := strings.LastIndexAny(inner, "+-"); i > 0 {
		if _, err := time.Parse("-0700", inner[i:]); err != nil {
			closed = false
		}
		inner = inner[:i]
	}
	ms, err := strconv.ParseInt(inner, 10, 64)
	if err != nil || !closed || ms > 253402300799999 || ms < -62135596800000 {
		return at, true, fmt.Errorf("%s is not a time", shown(text))
	}
	return time.UnixMilli(ms).UTC(), true, nil
}

// scalar returns the text of a JSON scalar, and whether it was a string. Null is empty. An object or an array
// is an error.
func scalar(data []byte, what string) (text string, isText bool, err error) {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
		return "", false, errors.New("empty JSON")
	case string(data) == "null":
		return "", false, nil
	case data[0] == '"':
		err = json.Unmarshal(data, &text)
		return text, true, err
	case data[0] == '{' || data[0] == '[':
		return "", false, fmt.Errorf("an object or array cannot be %s", what)
	}
	return string(data), false, nil
}

// shown returns the quoted beginning of a value for an error, because a partner may send anything.
func shown(s string) string { return strconv.Quote(s[:min(len(s), 40)]) }
