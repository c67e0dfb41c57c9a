package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Issuer is a transport with a token endpoint and the partner behind it. The endpoint rotates refresh tokens,
// and revokes the token family if a refresh token is used twice.
type Issuer struct {
	Mu       sync.Mutex
	Lifetime time.Duration
	Requests []url.Values
	Headers  []http.Header
	N        int
	Access   map[string]time.Time // end of each access token, zero for none
	Refresh  string               // the valid refresh token
	Used     map[string]bool
	Reused   int
	Revoked  bool
	Answer   func(n int, form url.Values) *http.Response // replaces the issuer's own answer if it returns one; may be nil
	Calls    int
	Refuse   func(*http.Request) bool // if it returns true, the answer is 401, whatever the token; nil refuses none
}

func (i *Issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != "/token" {
		time.Sleep(time.Millisecond)
		i.Mu.Lock()
		defer i.Mu.Unlock()
		i.Calls++
		until, ok := i.Access[strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")]
		if !ok || !until.IsZero() && !time.Now().Before(until) || i.Refuse != nil && i.Refuse(req) {
			return Reply(401), nil
		}
		return Reply(200), nil
	}
	body, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(body))
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	i.Mu.Lock()
	defer i.Mu.Unlock()
	i.N++
	i.Requests, i.Headers = append(i.Requests, form), append(i.Headers, req.Header)
	if i.Answer != nil {
		if resp := i.Answer(i.N, form); resp != nil {
			return resp, nil
		}
	}
	got := form.Get("refresh_token")
	if form.Get("grant_type") == "refresh_token" {
		if i.Used[got] {
			i.Reused++
			i.Revoked = true
		}
		if i.Revoked || got != i.Refresh {
			return JSONReply(400, map[string]string{"error": "invalid_grant", "error_description": "revoked: " + got}), nil
		}
		i.Used[got] = true
	}
	access := fmt.Sprintf("access-%d-secret", i.N)
	i.Access[access] = time.Now().Add(i.Lifetime)
	answer := map[string]any{"access_token": access, "token_type": "bearer", "expires_in": int(i.Lifetime.Seconds())}
	if form.Get("grant_type") != "client_credentials" {
		i.Refresh = fmt.Sprintf("refresh-%d-secret", i.N)
		answer["refresh_token"] = i.Refresh
	}
	return JSONReply(200, answer), nil
}

func (i *Issuer) Asked() int {
	i.Mu.Lock()
	defer i.Mu.Unlock()
	return i.N
}

func (i *Issuer) Answers(f func(int, url.Values) *http.Response) {
	i.Mu.Lock()
	defer i.Mu.Unlock()
	i.Answer = f
}

// Expire ends all access tokens, as a partner does.
func (i *Issuer) Expire() {
	i.Mu.Lock()
	defer i.Mu.Unlock()
	clear(i.Access)
}

func NewIssuer(lifetime time.Duration) *Issuer {
	return &Issuer{
		Lifetime: lifetime, Access: make(map[string]time.Time), Refresh: "refresh-0-secret", Used: make(map[string]bool),
	}
}

func JSONReply(status int, v any) *http.Response {
	body, _ := json.Marshal(v)
	resp := Reply(status, "Content-Type", "application/json")
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}
