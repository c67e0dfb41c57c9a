// Package charset turns the text of an answer into UTF-8.
package charset

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

// ErrNotUTF8 means that a text is not UTF-8, and that no other charset is declared for it.
var ErrNotUTF8 = errors.New("the text is not UTF-8")

// UTF8 returns data as UTF-8, without a byte order mark before it. Text that is UTF-8 stays as it is, whatever its
// content type declares: some servers declare ISO-8859-1 for everything. Otherwise it decodes ISO-8859-1 and
// windows-1252; for any other charset it returns an error that names it, or ErrNotUTF8. The result may share memory
// with data.
func UTF8(data []byte, contentType string) ([]byte, error) {
	data = WithoutMark(data)
	if utf8.Valid(data) {
		return data, nil
	}
	declared := of(contentType)
	switch plainName.Replace(declared) {
	case "", "utf8":
		return data, ErrNotUTF8
	case "iso88591", "iso885911987", "isoir100", "csisolatin1", "latin1", "l1", "cp819", "ibm819",
		"windows1252", "cp1252", "xcp1252":
		if mostlyUTF8(data) {
			return data, fmt.Errorf("%w, nor %s as declared: bytes of it are broken", ErrNotUTF8, declared)
		}
		return decode1252(data), nil
	default:
		return data, fmt.Errorf("the charset %q is not known, and the text is not UTF-8", declared)
	}
}

var plainName = strings.NewReplacer("-", "", "_", "", ":", "", " ", "")

// mostlyUTF8 reports whether data has more characters of several bytes in UTF-8 than bytes that are none: UTF-8 with a
// broken byte. Text in another charset has next to none of them.
func mostlyUTF8(data []byte) bool {
	whole, broken := 0, 0
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			broken++
		case n > 1:
			whole++
		}
		data = data[n:]
	}
	return whole > broken
}

// WithoutMark returns data without a byte order mark of UTF-8 before it.
func WithoutMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) }

// of returns the charset that a content type declares, in lower case and of at most 40 bytes.
func of(contentType string) string {
	declared := ""
	if _, params, err := mime.ParseMediaType(contentType); err == nil {
		declared = params["charset"]
	} else if _, rest, ok := strings.Cut(strings.ToLower(contentType), "charset="); ok {
		declared, _, _ = strings.Cut(rest, ";")
	}
	declared = strings.ToLower(strings.Trim(declared, " \t'\""))
	return declared[:min(len(declared), 40)]
}

// decode1252 decodes windows-1252. It is ISO-8859-1, with characters in place of the control codes from 0x80 to 0x9F
// (WHATWG Encoding Standard, index windows-1252).
func decode1252(data []byte) []byte {
	out := make([]byte, 0, len(data)+len(data)/8)
	for _, b := range data {
		r := rune(b)
		if b >= 0x80 && b < 0xa0 {
			r = high[b-0x80]
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

var high = [...]rune{
	'€', 0x81, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 0x8d, 'Ž', 0x8f,
	0x90, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', 0x9d, 'ž', 'Ÿ',
}
