package headers

import (
	"cmp"
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

// requestIDs are the headers in which partners send their id of a call: those of one partner first, because a gateway
// before it may send a common one of its own.
var requestIDs = [...]string{
	"X-Github-Request-Id", "X-Hubspot-Correlation-Id", "X-Slack-Req-Id", "Paypal-Debug-Id", "Twilio-Request-Id",
	"X-Contentful-Request-Id", "X-Ep-Request-Uuid", "Apim-Request-Id", "X-Ms-Request-Id", "X-Amzn-Requestid",
	"X-Amz-Request-Id", "Trackingid", "X-Dropbox-Request-Id", "Intuit_tid",
	"X-Request-Id", "Request-Id", "X-Correlation-Id", "Client-Request-Id", "X-Trace-Id",
}

// requestIDRank has the place of each of requestIDs. TestRequestIDsEndAlike is red if one does not end with a d: then
// RequestID would not look at it.
var requestIDRank = func() map[string]int {
	ranks := make(map[string]int, len(requestIDs))
	for i, name := range requestIDs {
		ranks[name] = i
	}
	return ranks
}()

// proxyIDs are the headers in which proxies send their id of a call.
var proxyIDs = [...]string{"X-Trace", "Cf-Ray"}

// RequestID returns the partner's id of a call, at most 128 bytes of it, or "" if h holds none. Secrets are
// removed before the id is cut. Without an id of the partner's it returns otherwise or, if that is empty, the id that a
// proxy gave the call.
func RequestID(h http.Header, secrets []string, otherwise string) string {
	shown := func(id string) string { return redact.Line(redact.Values(id, secrets), 128) }
	id, best := "", len(requestIDs)
	for name, v := range h { // an answer has fewer headers than there are names
		if !strings.HasSuffix(name, "d") || len(v) == 0 || v[0] == "" {
			continue
		}
		if rank, known := requestIDRank[name]; known && rank < best {
			id, best = v[0], rank
		}
	}
	if id != "" {
		id = shown(id)
	}
	if id != "" || otherwise != "" {
		return cmp.Or(id, otherwise)
	}
	for _, name := range proxyIDs {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			return shown(v[0])
		}
	}
	return ""
}
