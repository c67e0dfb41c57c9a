// Package link reads the Link header (RFC 8288).
package link

import (
	"regexp"
	"slices"
	"strings"
)

// Next returns the target of the first link with rel="next", as it is written, or "" if there is none. The
// header may occur several times, and one link may have several relations. It also reads what some servers write: no
// brackets around the target, a comma or nothing between the target and the relation, and other quotes around it. What
// is no link is passed over.
func Next(values []string) string { return Find(values, "next") }

// Find returns the target of the first link that has one of rels, "" if there is none. It reads the same forms as Next.
func Find(values []string, rels ...string) string {
	for _, v := range values {
		for v = strings.TrimLeft(v, ", \t"); v != ""; { // elements of a list may be empty (RFC 9110 section 5.6.1)
			target, params, ok := target(v)
			if !ok {
				v = skip(v)
				continue
			}
			found := false
			if found, v = relations(params, rels); found {
				return strings.TrimSpace(target)
			}
		}
	}
	return ""
}

// Told reports whether the header speaks of a next page, in whatever form. Together with no link that can be read, it
// is a mistake, and not the end of a list.
func Told(values []string) bool {
	for _, v := range values {
		if told.MatchString(v) && !none.MatchString(v) {
			return true
		}
	}
	return false
}

var (
	told = regexp.MustCompile(`(?i)\brel\s*[=:]\s*["'\x{201c}\x{201d}]?(?:[\w-]+ )*next\b`)
	none = regexp.MustCompile(`(?i)(?:<\s*(?:null)?\s*>|^\s*(?:null)?\s*;)[^<,]*\brel\s*[=:]\s*["'\x{201c}\x{201d}]?(?:[\w-]+ )*next\b`)
)

// skip returns what follows the element of a list with which s begins: from the next comma or bracket on.
func skip(s string) string {
	if i := strings.IndexAny(s[1:], ",<"); i >= 0 {
		return strings.TrimLeft(s[1+i:], ", \t")
	}
	return ""
}

// target splits a link into its target and what follows.
func target(s string) (target, rest string, ok bool) {
	if s[0] == '<' {
		return strings.Cut(s[1:], ">")
	}
	end := strings.IndexAny(s, "; \t")
	if end <= 0 {
		return "", "", false
	}
	target, rest = strings.TrimRight(s[:end], ","), s[end:] // a comma stands for the semicolon
	return target, rest, strings.Contains(target, "://") || strings.ContainsAny(target[:1], "/?")
}

// relations reads a link's parameters. It reports whether one of its relations is one of rels, and returns the text
// after the link.
func relations(s string, rels []string) (found bool, rest string) {
	seen := false // the first rel counts (RFC 8288 section 3.3)
	for {
		s = strings.TrimLeft(s, "; \t")
		switch {
		case s == "":
			return found, ""
		case s[0] == ',':
			return found, strings.TrimLeft(s, ", \t")
		}
		end := strings.IndexAny(s, "=;,")
		if end < 0 {
			return found, ""
		}
		name := strings.TrimSpace(s[:end])
		if s[end] != '=' {
			s = s[end:]
			continue
		}
		s = strings.TrimLeft(s[end+1:], " \t")
		var value string
		if strings.HasPrefix(s, `"`) {
			value, s = quoted(s[1:])
		} else if inner, after, closed := strings.Cut(strings.TrimPrefix(s, "'"), "'"); closed && s[0] == '\'' {
			value, s = inner, after
		} else {
			end := strings.IndexAny(s, ";,")
			if end < 0 {
				end = len(s)
			}
			value, s = strings.TrimSpace(s[:end]), s[end:]
		}
		if strings.EqualFold(name, "rel") && !seen {
			seen = true
			for _, rel := range strings.Fields(value) {
				found = found || slices.ContainsFunc(rels, func(want string) bool { return strings.EqualFold(rel, want) })
			}
		}
	}
}

// quoted reads a quoted string from after its opening quote. It returns the value and the text after the
// string.
func quoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
