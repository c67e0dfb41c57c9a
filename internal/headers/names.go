package headers

import (
	"net/http"
	"strings"

	"github.com/belay-go/belay/internal/redact"
)

// IsToken reports whether s is a token of RFC 9110 section 5.6.2. Methods and header names are tokens.
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// requestIDs are the headers in which partners send their id of a call, the most likely first.
var requestIDs = [...]string{
	"X-Request-Id", "Request-Id", "Trackingid", "X-Github-Request-Id", "X-Hubspot-Correlation-Id",
	"X-Correlation-Id", "X-Ms-Request-Id", "Client-Request-Id", "X-Amzn-Requestid", "X-Amz-Request-Id",
	"X-Slack-Req-Id", "Paypal-Debug-Id", "Twilio-Request-Id", "X-Trace-Id", "X-Trace", "Cf-Ray",
}

// RequestID returns the partner's id of a call, at most 128 bytes of it, or "" if h holds none. Secrets are
// removed before the id is cut.
func RequestID(h http.Header, secrets []string) string {
	for _, name := range requestIDs {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			return redact.Line(redact.Values(v[0], secrets), 128)
		}
	}
	return ""
}
