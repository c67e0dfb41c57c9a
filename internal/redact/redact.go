// Package redact decides which parts of a request may be printed: no header, the values of query parameters
// on an allow-list, the shape of bodies, and a partner's text without the credentials that were sent to it.
// The allow-list of headers is for recordings (package belaytest).
package redact

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mask replaces a value that was removed.
const Mask = "REDACTED"

// URL returns u as text, without the user, the fragment and the values of unknown query parameters.
func URL(u *url.URL) string { return Line(WholeURL(u), 1024) }

// WholeURL returns what URL returns, of any length.
func WholeURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath() + query(u.RawQuery)
}

func query(raw string) string {
	if raw == "" {
		return ""
	}
	var b strings.Builder
	for i, pair := range strings.Split(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if i == 0 {
			b.WriteByte('?')
		} else {
			b.WriteByte('&')
		}
		if !KnownParam(name) {
			value = Mask
		}
		b.WriteString(name + "=" + value)
	}
	return b.String()
}

// Line returns s as one printable line of at most limit bytes. If s is longer, it is cut and "…" is added.
func Line(s string, limit int) string {
	cut := false
	if len(s) > limit {
		s, cut = s[:limit], true
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
			s = s[:len(s)-1]
			if limit-len(s) >= utf8.UTFMax {
				break
			}
		}
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}

// Shape returns the names in a body and the kinds of their values, but no value. A reader can see from it why
// a request was refused. The result has at most about limit bytes.
func Shape(contentType string, body []byte, limit int) string {
	switch {
	case len(body) == 0:
		return ""
	case strings.Contains(contentType, "json"):
		return shapeJSON(body, limit)
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		v, err := url.ParseQuery(string(body))
		if err != nil && len(v) == 0 {
			return "malformed form"
		}
		for name := range v {
			v[name] = []string{"string"}
		}
		return Line(v.Encode(), limit)
	}
	return "body of " + Line(contentType, 100)
}

func shapeJSON(body []byte, limit int) string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var b strings.Builder
	// stack holds one byte for each open bracket: '[' for an array, '{' for an object before a name, ':' after
	// a name.
	var stack []byte
	first := true
	for b.Len() < limit {
		t, err := d.Token()
		if err != nil {
			if err != io.EOF {
				b.WriteString("…")
			}
			break
		}
		delim, isDelim := t.(json.Delim)
		closing := isDelim && (delim == '}' || delim == ']')
		if !closing && !first && (len(stack) == 0 || stack[len(stack)-1] != ':') {
			b.WriteByte(',')
		}
		first = false
		if closing {
			stack = stack[:len(stack)-1]
			b.WriteByte(byte(delim))
			afterValue(stack)
			continue
		}
		if name, ok := t.(string); ok && len(stack) > 0 && stack[len(stack)-1] == '{' {
			stack[len(stack)-1] = ':'
			b.WriteString(`"` + Line(name, 60) + `":`)
			continue
		}
		if isDelim {
			stack = append(stack, byte(delim))
			b.WriteByte(byte(delim))
			first = true
			continue
		}
		b.WriteString(kind(t))
		afterValue(stack)
	}
	return Line(b.String(), limit)
}

func afterValue(stack []byte) {
	if n := len(stack); n > 0 && stack[n-1] == ':' {
		stack[n-1] = '{'
	}
}

func kind(t json.Token) string {
	switch t.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case json.Number:
		return "number"
	}
	return "string"
}
