package headers

import (
	"strconv"
	"strings"
)

// Range is the part of the content that an answer holds. First and Last are positions in bytes, and Last is included.
// Total is the length of the whole content, -1 if the answer does not say it.
type Range struct {
	First, Last, Total int64
}

// Whole reports whether the range is the whole content.
func (r Range) Whole() bool { return r.First == 0 && r.Total >= 0 && r.Last+1 == r.Total }

// ContentRange parses a Content-Range such as "bytes 100-199/1000" (RFC 9110 section 14.4). It returns false for
// another unit, and for a range that contradicts itself.
func ContentRange(s string) (Range, bool) {
	rest, ok := byteRange(s)
	if !ok {
		return Range{}, false
	}
	span, size, _ := strings.Cut(rest, "/")
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return Range{}, false
	}
	r := Range{Total: -1}
	if r.First, ok = position(first); !ok {
		return Range{}, false
	}
	if r.Last, ok = position(last); !ok || r.Last < r.First {
		return Range{}, false
	}
	if size = strings.TrimSpace(size); size == "" || size == "*" {
		return r, true
	}
	if r.Total, ok = position(size); !ok || r.Last >= r.Total {
		return Range{}, false
	}
	return r, true
}

// UnsatisfiedRange parses the Content-Range of a 416, such as "bytes */1000", and returns the length of the content.
func UnsatisfiedRange(s string) (total int64, ok bool) {
	rest, ok := byteRange(s)
	if !ok {
		return 0, false
	}
	span, size, _ := strings.Cut(rest, "/")
	if strings.TrimSpace(span) != "*" {
		return 0, false
	}
	return position(size)
}

// byteRange returns what follows the unit. Some servers write the unit in upper case, in the singular, or with "=" or
// ":" behind it.
func byteRange(s string) (rest string, ok bool) {
	s = strings.TrimSpace(s)
	for _, unit := range [...]string{"bytes", "byte"} {
		if len(s) > len(unit) && strings.EqualFold(s[:len(unit)], unit) {
			rest = strings.TrimLeft(s[len(unit):], " \t=:")
			return rest, len(rest) < len(s)-len(unit)
		}
	}
	return "", false
}

// OtherRange reports whether a Content-Range counts in another unit than bytes, such as "items 0-24/319".
func OtherRange(s string) bool {
	unit, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	lower := strings.ToLower(strings.TrimRight(unit, ":="))
	return lower != "" && strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz-_") == "" && lower != "bytes" && lower != "byte" &&
		lower != "octets"
}

// position parses a number of bytes: digits only.
func position(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < 1<<62
}
