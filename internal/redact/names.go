package redact

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// headers are the headers whose values may be printed in recordings.
var headers = set(
	"Accept", "Accept-Encoding", "Accept-Language", "Age", "Cache-Control", "Connection", "Content-Encoding",
	"Content-Language", "Content-Length", "Content-Range", "Content-Type", "Date", "Expires", "Retry-After",
	"Retry-After-Ms", "X-Ms-Retry-After-Ms", "Server", "Transfer-Encoding", "User-Agent", "Vary",
	"X-Request-Id", "Request-Id",
	"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Ratelimit-Reset-After",
	"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset",
	"Ratelimit", "Ratelimit-Policy", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset",
)

// params are the query parameters whose values may be printed.
var params = set("limit", "page", "per_page", "page_size", "pagesize", "offset", "sort", "order", "direction",
	"api-version", "version", "fields", "include", "expand", "expand[]", "format", "locale")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// LooksSecret reports whether a header of this name is likely to hold a credential.
func LooksSecret(name string) bool {
	if headers[name] {
		return false
	}
	name = strings.ToLower(name)
	for _, part := range [...]string{
		"auth", "token", "key", "secret", "cookie", "password", "session", "signature", "assertion", "jwt", "oidc",
		"credential",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// LooksSecretField reports whether a parameter or a JSON field of this name is likely to hold a credential.
func LooksSecretField(name string) bool {
	switch name = strings.ToLower(name); name {
	case "code", "sig", "hmac", "jwt", "pwd", "pin":
		return true
	}
	return strings.Contains(name, "assertion") || strings.Contains(name, "credential") ||
		strings.Contains(name, "passw") || LooksSecret(name)
}

// KnownHeader reports whether the values of a header of this name may be printed.
func KnownHeader(name string) bool { return headers[name] }

// KnownParam reports whether the values of a query parameter of this name may be printed.
func KnownParam(name string) bool { return params[strings.ToLower(name)] }

// LooksSecretInput reports whether what a caller gives under this name, in a body or in a path, is a credential. It is
// stricter than LooksSecretField: a partner's complaint that names a key or a page must stay readable.
func LooksSecretInput(name string) bool {
	name = plain.Replace(strings.ToLower(name))
	for _, part := range [...]string{
		"passw", "secret", "credential", "assertion", "apikey", "privatekey", "accesskey", "cvc", "cvv",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	if name == "pwd" || name == "pin" || name == "otp" || name == "authorization" {
		return true
	}
	rest, ok := strings.CutSuffix(name, "token")
	return ok && !strings.HasSuffix(rest, "page") && !strings.HasSuffix(rest, "sync") && !strings.HasSuffix(rest, "next") &&
		!strings.HasSuffix(rest, "continuation") && !strings.HasSuffix(rest, "cursor")
}

var plain = strings.NewReplacer("_", "", "-", "", ".", "")

// InBody returns the credentials in a body of JSON or a form, by the names of their fields.
func InBody(contentType string, body []byte) []string {
	if strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		var found []string
		for pair := range strings.SplitSeq(string(body), "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(name); err == nil && LooksSecretInput(name) {
				if value, err := url.QueryUnescape(value); err == nil {
					found = append(found, value)
				}
			}
		}
		return found
	}
	var v any
	if strings.Contains(contentType, "json") && json.Unmarshal(bytes.TrimPrefix(body, mark), &v) == nil {
		return inJSON(nil, v, false)
	}
	return nil
}

var mark = []byte("\xef\xbb\xbf") // that some writers put before UTF-8

// inJSON appends the texts and numbers within v that are credentials, which all are inside a field that is one.
func inJSON(found []string, v any, inside bool) []string {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			found = inJSON(found, value, inside || LooksSecretInput(name))
		}
	case []any:
		for _, value := range v {
			found = inJSON(found, value, inside)
		}
	case string:
		if inside {
			found = append(found, v)
		}
	case float64:
		if inside {
			found = append(found, strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	return found
}

// The lengths from which a segment of a path may be a credential: of letters in both cases and digits, or of
// hexadecimal digits without the hyphens of a UUID.
const (
	shortestMixed = 24 // of small letters and digits, which follow one another often
	shortestToken = 20
	shortestHex   = 32
)

// changes returns how often digits follow letters, or letters digits.
func changes(s string) (n int) {
	for i := 1; i < len(s); i++ {
		if (s[i] <= '9') != (s[i-1] <= '9') {
			n++
		}
	}
	return n
}

// LooksRandom reports whether a segment of a path looks like a credential, as in Slack's webhooks and Telegram's bots.
func LooksRandom(segment string) bool {
	if len(segment) < shortestToken || strings.Contains(segment, ".") && len(segment) < 2*shortestToken {
		return false
	}
	upper := strings.ContainsAny(segment, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	lower := strings.ContainsAny(segment, "abcdefghijklmnopqrstuvwxyz")
	digit := strings.ContainsAny(segment, "0123456789")
	if strings.ContainsAny(segment, " /{}") || !digit {
		return false
	}
	if len(segment) >= shortestMixed && strings.Trim(segment, "0123456789abcdefghijklmnopqrstuvwxyz") == "" && changes(segment) >= 6 {
		return true
	}
	return upper && lower || len(segment) >= shortestHex && strings.Trim(segment, "0123456789abcdefABCDEF") == ""
}
