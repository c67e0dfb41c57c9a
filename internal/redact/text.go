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
	// The names are those of LooksSecret and LooksSecretField.
	pair = regexp.MustCompile(`(?i)((?:[a-z][a-z0-9_.-]*)?(?:auth|token|key|secret|cookie|passw|session|signature|assertion|jwt|oidc|credential)` +
		`[a-z0-9_.-]*|\b(?:code|sig|hmac|pwd|pin))(["']?\s*[:=]\s*["']?)([^\s"',;&}\])]{4,})`)
)

// Text returns a free text without the values that look like credentials: those after the names of secrets, as in
// password=x or "token": "x", and after Bearer and Basic, and without the users and queries of URLs.
func Text(s string) string {
	s = withoutQueries(s)
	s = lines.ReplaceAllString(s, "${1}${2}"+Mask)
	s = scheme.ReplaceAllString(s, "$1 "+Mask)
	return Pairs(s, func(name, value string) string {
		if !LooksSecret(name) && !LooksSecretField(name) {
			return value
		}
		return Mask
	})
}

// Pairs returns a text with what mask returns in place of the values behind the names that look like secrets, as in
// password=x and "token": "x". The time is linear in the text.
func Pairs(s string, mask func(name, value string) string) string {
	var b strings.Builder
	at := 0
	for _, p := range pair.FindAllStringSubmatchIndex(s, -1) {
		b.WriteString(s[at:p[6]])
		b.WriteString(mask(s[p[2]:p[3]], s[p[6]:p[7]]))
		at = p[7]
	}
	return b.String() + s[at:]
}

// withoutQueries returns a text without the queries, fragments and users of the URLs in it.
func withoutQueries(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = queries.ReplaceAllString(s, "${1}?"+Mask)
	return users.ReplaceAllString(s, "://"+Mask+"@")
}
