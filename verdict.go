package belay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
)

// Class says what an attempt came to. It is the one thing that retry, breaker, limiter, metrics and
// [Error] go by; nothing else looks at a status.
type Class uint8

const (
	// ClassOK is an answer to use: 1xx, 2xx and 3xx.
	ClassOK Class = iota
	// ClassTransient is the partner's trouble, or the network's: 5xx, 408, 425, connection errors, attempt
	// timeouts. It is retried where that is safe, and counts against the breaker.
	ClassTransient
	// ClassRateLimited is a refusal for being too fast: 429, and 403 where the answer says so. The partner
	// did not process the call, so any method may be sent again.
	ClassRateLimited
	// ClassAuth is a credential that the partner does not take (401) or that may not do this (403).
	ClassAuth
	// ClassClient is a call that will not succeed as it stands: the other 4xx, 501, 505, and calls that
	// cannot be sent at all.
	ClassClient
	// ClassData is an answer that is not what was promised: a 200 that is not JSON, a body that is too large.
	ClassData
	// ClassCanceled is the caller's own cancel or deadline.
	ClassCanceled
	// ClassRefused is a call that Belay itself did not send: circuit open, disabled, queue full, wait too long.
	ClassRefused
)

var classNames = [...]string{"ok", "transient", "rate_limited", "auth", "client", "data", "canceled", "refused"}

// String returns the name used in logs and metrics, such as "rate_limited".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

// Scope says whom a pause concerns.
type Scope uint8

const (
	// ScopePartner, the zero value, pauses every call to the partner.
	ScopePartner Scope = iota
	// ScopeRoute pauses the calls of one method and path template; a raw request's, which has no template,
	// pauses every call.
	ScopeRoute
	// ScopeCredential pauses the calls made with the same credential: one customer of many. Without one, or
	// with an [Authenticator] that cannot be compared, it pauses every call.
	ScopeCredential
	// ScopeCall pauses only the call itself.
	ScopeCall
)

var scopeNames = [...]string{"partner", "route", "credential", "call"}

// String returns the name used in logs and metrics, such as "credential".
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return "unknown"
}

// Verdict is what became of one attempt. Its zero value is a success.
type Verdict struct {
	// Class says what it came to.
	Class Class
	// RetryAfter is how long the partner asks to wait; zero when it did not say.
	RetryAfter time.Duration
	// Scope says whom RetryAfter concerns.
	Scope Scope
	// Code and Message are the partner's own, from the error body; empty when there is none.
	// Message is one line of about 300 bytes at most.
	Code, Message string

	ignored string // the name of a header that was malformed
	unsent  bool   // the attempt certainly never reached the partner
	timeout bool   // the attempt timed out
}

// Unsent reports whether the attempt certainly never reached the partner, as after a failed dial: its permits go back, and a write
// may be sent again. It is for [Outcome].Sent.
func (v Verdict) Unsent() bool { return v.unsent }

// Classifier turns an attempt into a verdict: the partner's own rules first, [Classify] for the rest.
// It runs once for each attempt, on the caller's goroutine, and must not keep the attempt.
// It is safe for concurrent use when its own state is.
type Classifier func(*Attempt) Verdict

// Attempt is one request and what came of it, as a [Classifier] sees it.
type Attempt struct {
	// Request is the request without credentials. Never nil.
	Request *http.Request
	// Response is nil when Err is not. A classifier reads its body with [Attempt.Peek] only.
	Response *http.Response
	// Err is the transport's error, or nil.
	Err error
	// Number counts from 1.
	Number int

	peeked  []byte
	done    bool
	secrets []string // that the partner might say back
}

// Peek returns the beginning of the response's body (up to 64 KiB; of an error, for at most 5 s) and puts
// it back, so that the caller still reads the whole. It returns nil without a response, and for a body
// that is neither JSON nor text, or a stream of events.
func (a *Attempt) Peek() []byte {
	if a.done || a.Response == nil || a.Response.Body == nil || !textual(a.Response.Header.Get("Content-Type")) {
		return a.peeked
	}
	a.done = true
	rc := a.Response.Body
	wait := errorBodyWait
	if a.Response.StatusCode < 400 {
		wait = 0 // the attempt's timeout is enough: a stream that is slow is not at fault
	}
	head, err := readSome(rc, maxErrorBody, wait)
	a.peeked = head
	a.Response.Body = &rejoined{Reader: io.MultiReader(bytes.NewReader(head), &tail{rc, err}), Closer: rc}
	return head
}

func textual(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t = strings.ToLower(contentType)
	}
	return strings.HasPrefix(t, "text/") && t != "text/event-stream" || strings.Contains(t, "json") || strings.Contains(t, "xml") ||
		t == "application/x-www-form-urlencoded"
}

// Classify is the verdict for a partner of whom nothing special is known:
//
//	1xx, 2xx, 3xx                                        OK
//	401, 403                                             Auth
//	429; 403 that says it is a limit                     RateLimited, for the credential
//	408, 425, 5xx but 501 and 505                        Transient, for the partner
//	other 4xx, 501, 505                                  Client
//	connection errors, attempt timeouts                  Transient
//	certificates that do not verify, unknown schemes     Client
//	a client certificate that is not taken               Auth
//	the caller's cancel or deadline                      Canceled
//
// The wait comes from Retry-After (seconds, with decimals too, or a date; RFC 9110 section 10.2.3),
// Retry-After-Ms, or the reset headers that partners send; a date is read against the response's own Date.
func Classify(a *Attempt) Verdict {
	if a.Err != nil {
		return classifyError(a)
	}
	if a.Response == nil {
		return Verdict{Class: ClassClient, Message: "no response"}
	}
	status := a.Response.StatusCode
	if status < 100 {
		return Verdict{Class: ClassData, Scope: ScopeCall, Message: "not a status: " + strconv.Itoa(status)}
	}
	if status < 400 {
		return Verdict{}
	}
	v := Verdict{Class: ClassClient, Scope: ScopeCall}
	body := errbody.Decode(a.Peek(), a.secrets)
	v.Code, v.Message = body.Code, body.Message
	switch {
	case status == http.StatusUnauthorized:
		v.Class = ClassAuth
	case status == http.StatusTooManyRequests:
		v.Class, v.Scope = ClassRateLimited, ScopeCredential
	case status == http.StatusForbidden:
		v.Class = ClassAuth
		if headers.Exhausted(a.Response.Header) || a.Response.Header.Get("Retry-After") != "" || body.Limit {
			v.Class, v.Scope = ClassRateLimited, ScopeCredential
		} else if body.Scope == "" {
			body.Scope = headers.MissingScope(a.Response.Header)
		}
		if body.Scope != "" && !strings.Contains(v.Message, body.Scope) {
			v.Message = strings.TrimSpace(v.Message + " (missing scope: " + body.Scope + ")")
		}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		v.Class = ClassTransient
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
	case status >= 500:
		v.Class, v.Scope = ClassTransient, ScopePartner
	}
	if v.Class == ClassTransient || v.Class == ClassRateLimited {
		v.RetryAfter, v.ignored = headers.RetryAfter(a.Response.Header, time.Now(), v.Class == ClassRateLimited)
		v.RetryAfter = max(v.RetryAfter, body.RetryAfter)
		if v.RetryAfter == 0 && v.Class == ClassRateLimited && strings.Contains(strings.ToLower(v.Message), "secondary rate limit") {
			v.RetryAfter = time.Minute // GitHub's, "Rate limits for the REST API": at least that long
		}
	}
	return v
}

func classifyError(a *Attempt) Verdict {
	v := Verdict{Scope: ScopeCall}
	var ours *Error
	var cert *tls.CertificateVerificationError
	switch {
	case a.Request != nil && a.Request.Context().Err() != nil:
		v.Class = ClassCanceled
	case errors.As(a.Err, &ours):
		v = ours.Verdict
	case errors.Is(a.Err, ErrBodyTooLarge):
		v.Class = ClassData
	case errors.Is(a.Err, fault.ErrAttemptTimeout):
		v.Class, v.timeout = ClassTransient, true
	case errors.As(a.Err, &cert), strings.Contains(a.Err.Error(), "unsupported protocol scheme"),
		strings.Contains(a.Err.Error(), "net/http: invalid header field"):
		v.Class, v.unsent = ClassClient, true
	case refusedCertificate(a.Err):
		v.Class, v.unsent, v.Message = ClassAuth, true, "the partner does not take the client certificate"
	case errors.Is(a.Err, ErrInvalid), strings.Contains(a.Err.Error(), "http: ContentLength="):
		v.Class = ClassClient // the request's own body is at fault; some of it may have been sent
	default:
		v.Class, v.unsent = ClassTransient, neverSent(a.Err)
		var ne net.Error
		v.timeout = errors.Is(a.Err, context.DeadlineExceeded) || errors.As(a.Err, &ne) && ne.Timeout()
	}
	return v
}

// refusedCertificate reports whether the partner ended the handshake for want of a client certificate that it takes
// (RFC 8446 section 6.2). crypto/tls has no type for the alerts of the other side.
func refusedCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	text := op.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}

// neverSent reports whether the request certainly did not reach the partner.
func neverSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.Is(err, syscall.ECONNREFUSED)
}
