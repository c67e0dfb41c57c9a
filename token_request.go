package belay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// secrets returns what is sent with every token request and must not be seen.
func (o *OAuth2) secrets() []string {
	secret := o.cfg.ClientSecret.Reveal()
	// As x/oauth2 writes it into the header, by RFC 6749 section 2.3.1.
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(o.cfg.ClientID) + ":" + url.QueryEscape(secret)))
	return []string{secret, basic}
}

// refresh makes a token request for t's refresh token, or with the app's own credentials.
func (o *OAuth2) refresh(ctx context.Context, key string, t Token, own bool) (Token, *Error) {
	form := o.params()
	if !own {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", t.Refresh.Reveal())
	}
	return o.request(ctx, key, form, own, t.Access.Reveal())
}

// exchange makes the token request for a code.
func (o *OAuth2) exchange(ctx context.Context, key, code, verifier string) (Token, error) {
	form := o.params()
	form.Set("grant_type", "authorization_code")
	form.Set("code", code)
	form.Set("code_verifier", verifier)
	form.Set("redirect_uri", o.cfg.RedirectURL)
	t, err := o.request(ctx, key, form, false)
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

// send makes one request of any grant: x/oauth2's form of client credentials takes every parameter, its others do not.
func (o *OAuth2) send(ctx context.Context, form url.Values, scopes bool) (*oauth2.Token, error) {
	grant := clientcredentials.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret.Reveal(), TokenURL: o.cfg.TokenURL,
		EndpointParams: form, AuthStyle: o.cfg.Style.style(),
	}
	if scopes {
		grant.Scopes = o.cfg.Scopes
	}
	return grant.Token(context.WithValue(ctx, oauth2.HTTPClient, o.client))
}

// Token requests that fail for no lasting reason are repeated within their own small budget; a flight with the wait for
// the store takes that many timeouts at the most.
const (
	tokenAttempts  = 3
	flightTimeouts = 6
	tokenBackoff   = 500 * time.Millisecond
)

// request makes a token request within the endpoint's limits, and repeats it after a 5xx, a 429, or trouble on the way,
// where the wait is not longer than a request may take.
func (o *OAuth2) request(ctx context.Context, key string, form url.Values, scopes bool, secrets ...string) (Token, *Error) {
	for name, values := range form {
		if redact.LooksSecretField(name) {
			secrets = append(secrets, values...)
		}
	}
	secrets = append(secrets, o.secrets()...)
	for attempt := 1; ; attempt++ {
		t, err := o.attempt(ctx, key, form, scopes, secrets)
		if err == nil || attempt == tokenAttempts || err.Class != ClassTransient && err.Class != ClassRateLimited {
			return t, err
		}
		wait := max(err.RetryAfter, tokenBackoff<<(attempt-1))
		if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) || wait > o.cfg.Timeout {
			return t, err
		}
		if fault.Sleep(ctx, wait) != nil {
			return t, err
		}
	}
}

func (o *OAuth2) attempt(ctx context.Context, key string, form url.Values, scopes bool, secrets []string) (t Token, e *Error) {
	ticket := Ticket{Tenant: key}
	if err := o.limiter.Acquire(ctx, &ticket); err != nil {
		e := o.fail(key, "", "the limit of the token endpoint leaves no request now", err)
		e.Verdict = Verdict{Class: ClassRefused, Scope: ScopeCall, Message: e.Message, unsent: true}
		e.Verdict.RetryAfter, _ = RetryAfter(err)
		return Token{}, e
	}
	outcome := Outcome{Verdict: Verdict{Class: ClassCanceled}, Sent: true} // of a panic
	defer func() { o.limiter.Release(&ticket, outcome) }()
	ctx, cancel := context.WithTimeoutCause(ctx, o.cfg.Timeout, errAttemptTimeout)
	defer cancel()
	began := time.Now()
	raw, err := o.send(ctx, form, scopes)
	if e = o.explain(ctx, key, secrets, err); e == nil {
		t = tokenOf(raw, began)
		if bad := t.check(); bad != nil {
			e = o.fail(key, "bad_token", "the token endpoint's answer cannot be used: "+bad.Error(), nil)
			e.Class, t = ClassData, Token{}
		}
	}
	outcome.Verdict = Verdict{}
	if e != nil {
		outcome = Outcome{Verdict: e.Verdict, Sent: !e.unsent}
	}
	return t, e
}

// fail makes the error of a token request: ErrAuth, with what to do.
func (o *OAuth2) fail(key, code, action string, err error) *Error {
	return &Error{
		Partner: o.cfg.Name, Integration: key, Method: http.MethodPost, URL: redact.Line(o.endpoint(), 1024), Err: err, ofToken: true,
		Verdict: Verdict{Class: ClassAuth, Scope: ScopeCall, Code: code, Message: action},
	}
}

func (o *OAuth2) endpoint() string {
	u, err := url.Parse(o.cfg.TokenURL)
	if err != nil {
		return ""
	}
	return redact.URL(u)
}

func (o *OAuth2) storeError(key string, err error) *Error {
	e := o.fail(key, "token_store", "the token store failed", err)
	if !errors.Is(err, ErrTokenFile) { // which no repetition mends
		e.Class = ClassTransient
	}
	e.unsent = true
	return e
}

// final are the errors of RFC 6749 section 5.2, and what partners send in their place, that no repetition
// mends, with what to do.
var final = map[string]string{
	"invalid_grant":                "the grant has expired or was revoked: ask the customer to connect again",
	"bad_refresh_token":            "the grant has expired or was revoked: ask the customer to connect again",
	"invalid_refresh_token":        "the grant has expired or was revoked: ask the customer to connect again",
	"token_revoked":                "the grant was revoked: ask the customer to connect again",
	"bad_verification_code":        "the code has expired or was used: begin the consent again",
	"invalid_client":               "the app is not known: check its client id, its secret and the style in which they are sent",
	"incorrect_client_credentials": "the app is not known: check its client id and secret",
	"unauthorized_client":          "the app may not use this grant: check its settings with the partner",
	"unsupported_grant_type":       "the partner does not know this grant: check the app's settings",
	"invalid_scope":                "the partner does not grant these scopes: check them",
	"invalid_request":              "the partner finds the token request wrong: check the app's settings",
	noToken:                        "there is no token",
	noRefreshToken:                 "there is no refresh token",
}

// Codes of our own.
const (
	noToken        = "no_token"
	noRefreshToken = "no_refresh_token"
)

// passing are codes that partners send at statuses that would be final.
var passing = map[string]Class{
	"temporarily_unavailable": ClassTransient, "server_error": ClassTransient, "internal_error": ClassTransient, "fatal_error": ClassTransient,
	"service_unavailable": ClassTransient, "request_timeout": ClassTransient,
	"slow_down": ClassRateLimited, "ratelimited": ClassRateLimited, "rate_limited": ClassRateLimited, "too_many_requests": ClassRateLimited,
	"rate_limit_exceeded": ClassRateLimited,
}

// explain turns what x/oauth2 returns into an error that holds no secret.
func (o *OAuth2) explain(ctx context.Context, key string, secrets []string, err error) *Error {
	if err == nil {
		return nil
	}
	clean := func(s string) string { return redact.Line(redact.Values(s, secrets), 300) }
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		var e *Error
		switch {
		case context.Cause(ctx) == errAttemptTimeout:
			e = o.fail(key, "timeout", "the token endpoint did not answer in time", errAttemptTimeout)
			e.Class, e.timeout = ClassTransient, true
		case ctx.Err() != nil:
			e = o.fail(key, "", "the token request was cancelled", ctx.Err())
			e.Class = ClassCanceled
		case strings.HasPrefix(err.Error(), "oauth2: "): // reading has been done by tokenAnswers
			e = o.fail(key, "bad_token", "the token endpoint's answer is no token; check TokenURL", nil)
			e.Class = ClassData
		default:
			v := classifyError(&Attempt{Err: err})
			e = o.fail(key, "", "the token endpoint cannot be reached", errors.New(clean(redact.WithoutURL(err).Error())))
			v.Code, v.Message = e.Code, e.Message
			e.Verdict = v
		}
		return e
	}
	status := refused.Response.StatusCode
	code, description := refused.ErrorCode, refused.ErrorDescription
	var handed struct { // beside the error
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(refused.Body, &handed)
	secrets = append(secrets, handed.Access, handed.Refresh)
	info := decodeError(refused.Body, secrets)
	if code == "" {
		code = info.Code
	}
	if description == "" {
		description = info.Message
	}
	e := o.fail(key, clean(code), clean(description), nil)
	e.StatusCode, e.RequestID = status, headers.RequestID(refused.Response.Header, secrets)
	action, known := final[strings.ToLower(code)]
	class, passes := passing[strings.ToLower(code)]
	switch {
	case passes:
		e.Class, e.Scope = class, ScopePartner
		e.RetryAfter, _ = headers.RetryAfter(refused.Response.Header, time.Now(), class == ClassRateLimited)
		e.Message = strings.TrimSpace("the token endpoint has trouble " + e.Message)
	case known && (status < 400 || status == http.StatusBadRequest || status == http.StatusUnauthorized):
		e.Message = action
		if description != "" {
			e.Message += " (" + clean(description) + ")"
		}
	case status == http.StatusTooManyRequests, status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status == http.StatusForbidden && refused.Response.Header.Get("Retry-After") != "":
		at := Attempt{Request: refused.Response.Request, Response: refused.Response, peeked: refused.Body, done: true, secrets: secrets}
		v := Classify(&at)
		v.Code, v.Message = e.Code, strings.TrimSpace(fmt.Sprintf("the token endpoint answered %d %s", status, e.Message))
		e.Verdict = v
	case status >= 300 && status < 400:
		e.Message = "the token endpoint redirects, which is not followed: check TokenURL"
	case status < 300:
		e.Message = strings.TrimSpace("the token endpoint refused with a success status " + e.Message)
	default:
		e.Message = strings.TrimSpace(fmt.Sprintf("the token endpoint answered %d, check TokenURL and the app's settings %s", status, e.Message))
	}
	return e
}

// lasting reports whether a refusal is one that no repetition mends. Others may come from something in between.
func lasting(code string) bool {
	_, known := final[strings.ToLower(code)]
	return known
}
