package belaytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Tokens make a partner issue access tokens and require them (RFC 6749, RFC 6750): every call needs one in
// "Authorization: Bearer", or is answered with 401. The token endpoint accepts every client, code and refresh
// token, except a spent refresh token. Its calls count against no limit.
type Tokens struct {
	// Path is the path of the token endpoint, such as "/oauth/token". Empty means that the partner requires
	// no token.
	Path string
	// Lifetime is the lifetime of an access token. Zero or less means an hour.
	Lifetime time.Duration
	// Rotate issues a new refresh token with each access token, and ends the previous one.
	Rotate bool
}

// issued is the state of the token endpoint.
type issued struct {
	n     int
	until map[string]time.Time // expiry of each access token
	spent map[string]bool      // refresh tokens that were rotated
}

// EndTokens ends all access tokens at once: calls are answered with 401 until they carry a new one.
func (p *Partner) EndTokens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens.until)
}

// issue answers a request to the token endpoint.
func (p *Partner) issue(body []byte, now time.Time) answer {
	form, err := url.ParseQuery(string(body))
	grant, refresh := form.Get("grant_type"), form.Get("refresh_token")
	switch {
	case err != nil || grant == "":
		return answer{status: http.StatusBadRequest, body: []byte(`{"error":"invalid_request"}`)}
	case grant == "refresh_token" && (refresh == "" || p.tokens.spent[refresh]):
		return answer{
			status: http.StatusBadRequest,
			body:   []byte(`{"error":"invalid_grant","error_description":"the refresh token was spent or is missing"}`),
		}
	}
	lifetime := p.cfg.Tokens.Lifetime
	if lifetime <= 0 {
		lifetime = time.Hour
	}
	p.tokens.n++
	access := fmt.Sprintf("access-%d", p.tokens.n)
	p.tokens.until[access] = now.Add(lifetime)
	out := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": max(1, int(lifetime.Seconds()))}
	switch {
	case grant == "client_credentials":
	case refresh == "" || p.cfg.Tokens.Rotate:
		if refresh != "" {
			p.tokens.spent[refresh] = true
		}
		out["refresh_token"] = fmt.Sprintf("refresh-%d", p.tokens.n)
	}
	text, _ := json.Marshal(out)
	return answer{status: http.StatusOK, body: text}
}

// authorized reports whether a call carries a valid access token.
func (p *Partner) authorized(req *http.Request, now time.Time) bool {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	return ok && now.Before(p.tokens.until[token])
}
