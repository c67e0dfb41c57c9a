package redact

import (
	"regexp"
	"strings"
)

var (
	queries = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>?#]*)[?#][^\s"'<>]*`)
	users   = regexp.MustCompile(`://[^/\s"'<>@]*@`)
	lines   = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n]+`)
	scheme  = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}`)
	pair    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_-]*)(["']?\s*[:=]\s*["']?)([^\s"',;&}\])]{4,})`)
)

// Text returns a free text without the values that look like credentials: those after the names of secrets, as in
// password=x or "token": "x", and after Bearer and Basic, and without the users and queries of URLs.
func Text(s string) string {
	s = withoutQueries(s)
	s = lines.ReplaceAllString(s, "${1}${2}"+Mask)
	s = scheme.ReplaceAllString(s, "$1 "+Mask)
	return pairs(s)
}

// pairs returns a text without the values behind the names of secrets. A value may hold a pair, as in "failed: key=x".
func pairs(s string) string {
	return pair.ReplaceAllStringFunc(s, func(m string) string {
		p := pair.FindStringSubmatch(m)
		if !LooksSecret(p[1]) && !LooksSecretField(p[1]) {
			return p[1] + p[2] + pairs(p[3])
		}
		return p[1] + p[2] + Mask
	})
}

// withoutQueries returns a text without the queries, fragments and users of the URLs in it.
func withoutQueries(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = queries.ReplaceAllString(s, "${1}?"+Mask)
	return users.ReplaceAllString(s, "://"+Mask+"@")
}
