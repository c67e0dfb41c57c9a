package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// final has the error codes that no repetition corrects, each with the action to take. They are those of RFC
// 6749 section 5.2, and others that partners send in their place.
var final = map[string]string{
	"invalid_grant":                "the grant has expired or was revoked: ask the customer to connect again",
	"bad_refresh_token":            "the grant has expired or was revoked: ask the customer to connect again",
	"invalid_refresh_token":        "the grant has expired or was revoked: ask the customer to connect again",
	"token_revoked":                "the grant was revoked: ask the customer to connect again",
	"bad_verification_code":        "the code has expired or was used: begin the consent again",
	"invalid_client":               "the app is not known: check its client id, its secret and the style of sending them",
	"incorrect_client_credentials": "the app is not known: check its client id and secret",
	"unauthorized_client":          "the app may not use this grant: check its settings with the partner",
	"unsupported_grant_type":       "the partner does not know this grant: check the app's settings",
	"invalid_scope":                "the partner does not grant these scopes: check them",
	"invalid_request":              "the partner finds the token request wrong: check the app's settings",
	noToken:                        "there is no token",
	loginRefused:                   "the login was refused: check the customer's name and password",
	noRefreshToken:                 "there is no refresh token",
}

// Codes of errors that this package makes itself.
const (
	noToken        = "no_token"
	noRefreshToken = "no_refresh_token"
	badToken       = "bad_token" // the answer is no token, or the token cannot be used
)

// passing has the error codes of temporary trouble, whatever the status of the answer is, each with its
// class.
var passing = map[string]belay.Class{
	"temporarily_unavailable": belay.ClassTransient,
	"server_error":            belay.ClassTransient,
	"internal_error":          belay.ClassTransient,
	"fatal_error":             belay.ClassTransient,
	"service_unavailable":     belay.ClassTransient,
	"request_timeout":         belay.ClassTransient,
	"slow_down":               belay.ClassRateLimited,
	"ratelimited":             belay.ClassRateLimited,
	"rate_limited":            belay.ClassRateLimited,
	"too_many_requests":       belay.ClassRateLimited,
	"rate_limit_exceeded":     belay.ClassRateLimited,
}

// isFinal reports whether e is a refusal that no repetition corrects. A refusal without such a code, or of a status
// that is not the grammar's (RFC 6749 section 5.2), may come from a proxy.
func isFinal(e *belay.Error) bool {
	if _, known := final[strings.ToLower(e.Code)]; !known || e.Class != belay.ClassAuth {
		return false
	}
	var answer *Error
	return !errors.As(e, &answer) || byGrammar(answer.StatusCode)
}

// byGrammar reports whether a refusal of this status is one of the token endpoint itself.
func byGrammar(status int) bool {
	return status < 400 || status == http.StatusBadRequest || status == http.StatusUnauthorized
}

// explain turns an error of x/oauth2 into an error that says how to correct it and holds no secret. Nil stays
// nil.
func (o *App) explain(ctx context.Context, key string, secrets []string, err error) *belay.Error {
	if err == nil {
		return nil
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		return o.refusal(key, secrets, refused)
	}
	switch {
	case context.Cause(ctx) == errkit.ErrAttemptTimeout:
		v := belay.Classify(&belay.Attempt{Err: errkit.ErrAttemptTimeout})
		return o.failAs(v, key, "timeout", "the token endpoint did not answer in time", errkit.ErrAttemptTimeout)
	case ctx.Err() != nil:
		v := belay.Verdict{Class: belay.ClassCanceled, Scope: belay.ScopeCall}
		return o.failAs(v, key, "", "the token request was canceled", ctx.Err())
	case strings.HasPrefix(err.Error(), "oauth2: "): // tokenAnswers returns read errors without this prefix
		v := belay.Verdict{Class: belay.ClassData, Scope: belay.ScopeCall}
		return o.failAs(v, key, badToken, "the token endpoint's answer is no token; check TokenURL", nil)
	}
	shown := errors.New(redact.Line(redact.Error(err, secrets).Error(), 300))
	return o.failAs(belay.Classify(&belay.Attempt{Err: err}), key, "", "the token endpoint cannot be reached", shown)
}

// refusal returns the error of an answer that holds no token. A known code decides its class, otherwise the
// status does.
func (o *App) refusal(key string, secrets []string, refused *oauth2.RetrieveError) *belay.Error {
	secrets = append(secrets, redact.InBody("application/json", refused.Body)...) // some partners send tokens beside the error
	clean := func(s string) string { return redact.Line(redact.Values(s, secrets), 300) }
	info := errbody.Decode(refused.Body, secrets)
	code, description := refused.ErrorCode, refused.ErrorDescription
	if code == "" {
		code = info.Code
	}
	if description == "" {
		description = info.Message
	}
	resp := refused.Response
	e := o.fail(key, clean(code), clean(description), &Error{StatusCode: resp.StatusCode})
	e.RequestID = headers.RequestID(resp.Header, secrets, "")
	if class, ok := passing[strings.ToLower(code)]; ok {
		e.Class, e.Scope = class, belay.ScopePartner
		e.RetryAfter, _ = headers.RetryAfter(resp.Header, time.Now(), class == belay.ClassRateLimited)
		e.Message = strings.TrimSpace("the token endpoint has trouble " + e.Message)
		return e
	}
	if info.Limit && strings.EqualFold(code, "invalid_request") { // a partner without a code for it
		e.Class, e.Scope, e.RetryAfter = belay.ClassRateLimited, belay.ScopePartner, info.Said.After
		if told, _ := headers.RetryAfter(resp.Header, time.Now(), true); told > 0 {
			e.RetryAfter = told
		}
		e.Message = strings.TrimSpace("the token endpoint has a limit " + e.Message)
		return e
	}
	if action, ok := final[strings.ToLower(code)]; ok && byGrammar(resp.StatusCode) {
		if e.Message = action; description != "" {
			e.Message += " (" + clean(description) + ")"
		}
		return e
	}
	o.byStatus(e, refused)
	return e
}

// byStatus completes e by the status of an answer whose code does not decide.
func (o *App) byStatus(e *belay.Error, refused *oauth2.RetrieveError) {
	resp := refused.Response
	status := resp.StatusCode
	resp.Body = io.NopCloser(bytes.NewReader(refused.Body))
	v := belay.Classify(&belay.Attempt{Request: resp.Request, Response: resp})
	switch {
	case v.Class == belay.ClassRateLimited, v.Class == belay.ClassTransient, status >= 500:
		v.Code, v.Message = e.Code, strings.TrimSpace(fmt.Sprintf("the token endpoint answered %d %s", status, e.Message))
		e.Verdict = v
	case status >= 300 && status < 400:
		e.Message = "the token endpoint redirects, which is not followed: check TokenURL"
	case status < 300:
		e.Message = strings.TrimSpace("the token endpoint refused with a success status " + e.Message)
	default:
		e.Message = strings.TrimSpace(fmt.Sprintf(
			"the token endpoint answered %d, check TokenURL and the app's settings %s", status, e.Message))
	}
}
