package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

const (
	maxEvents = 10_000 // in one delivery
)

// appendText appends the JSON string or number in raw to the text in to: a string without its quotes and
// escapes, a number as it is written. For other values it appends nothing.
func appendText(to, raw []byte) ([]byte, error) {
	switch {
	case len(raw) == 0:
		return to, nil
	case raw[0] != '"':
		if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
			if len(bytes.Trim(raw, "+-.0123456789Ee")) > 0 {
				return to, fmt.Errorf("%w: webhook: a number that is none", belay.ErrData)
			}
			return append(to, raw...), nil
		}
		return to, nil
	case len(raw) > 8*delivery.MaxText:
		return to, fmt.Errorf("%w: webhook: %d bytes where an id, a type or a time should be", belay.ErrData, len(raw))
	case bytes.IndexByte(raw, '\\') < 0:
		return append(to, raw[1:len(raw)-1]...), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return to, fmt.Errorf("%w: webhook: text that is not JSON", belay.ErrData)
	}
	return append(to, s...), nil
}

// eventTime parses a time: text by RFC 3339, or a number of seconds, milliseconds or microseconds since 1970,
// which its size tells apart. It returns the zero time for anything else.
func eventTime(raw []byte) time.Time {
	if len(raw) == 0 || len(raw) > 40 {
		return time.Time{}
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		t, err := time.Parse(time.RFC3339, string(raw))
		if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 { // encoding/json cannot write a year above 9999
			return time.Time{}
		}
		return t
	}
	switch {
	case !(n > 0): // true for NaN as well
		return time.Time{}
	case n < 1e11: // the year 5138
		sec, frac := math.Modf(n)
		return time.Unix(int64(sec), int64(frac*1e9)).UTC()
	case n < 1e14:
		return time.UnixMilli(int64(n)).UTC()
	case n < 1e17:
		return time.UnixMicro(int64(n)).UTC()
	}
	return time.Time{}
}
