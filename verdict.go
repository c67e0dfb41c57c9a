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

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
)

// Class is the kind of an attempt's outcome. Retries, the breaker, the limiter and metrics decide by the
// class, not by the status; the sentinels of [Error] go by both.
type Class uint8

const (
	// ClassOK is an answer that can be used: 1xx, 2xx and 3xx.
	ClassOK Class = iota
	// ClassTransient is a failure of the partner or of the network: 5xx except 501 and 505, 408, 425,
	// connection errors, attempt timeouts. The attempt is retried if that is safe, and counts against the
	// breaker.
	ClassTransient
	// ClassRateLimited is a refusal because calls came too fast: 429, and 403 if the answer says so. The
	// partner did not process the call, so any method may be sent again.
	ClassRateLimited
	// ClassAuth is a credential that the partner does not accept (401) or that does not permit the call (403).
	ClassAuth
	// ClassClient is a call that cannot succeed as it stands: the other 4xx, 501, 505, and calls that cannot
	// be sent at all.
	ClassClient
	// ClassData is an answer without the promised form: a 200 that is not JSON, a body that is too large.
	ClassData
	// ClassCanceled is the caller's own cancel or deadline.
	ClassCanceled
	// ClassRefused is a call that Belay itself did not send: circuit open, disabled, queue full, wait too
	// long, call budget spent.
	ClassRefused
)

var classNames = [...]string{"ok", "transient", "rate_limited", "auth", "client", "data", "canceled", "refused"}

// String returns the name for logs and metrics, such as "rate_limited".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

// Scope says which calls a pause applies to.
type Scope uint8

const (
	// ScopePartner, the zero value, pauses every call to the partner.
	ScopePartner Scope = iota
	// ScopeRoute pauses the calls of one method and path template. For a raw request, which has no template,
	// it pauses every call.
	ScopeRoute
	// ScopeCredential pauses the calls with the same credential: those of one customer of many, for example.
	// Without a credential, or with one by [Auth] that is neither comparable nor [Identified], it pauses every call.
	ScopeCredential
	// ScopeCall pauses only the call itself.
	ScopeCall
	// ScopeIntegration pauses the calls of the same [WithIntegration]: for a partner that counts by customer although
	// all customers share one credential of the app. Without an integration it pauses every call.
	ScopeIntegration
)

var scopeNames = [...]string{"partner", "route", "credential", "call", "integration"}

// String returns the name for logs and metrics, such as "credential".
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return "unknown"
}

// Verdict is the judgment on one attempt. Its zero value is a success.
type Verdict struct {
	// Class is the kind of the outcome.
	Class Class
	// RetryAfter is how long the partner asks to wait, zero if it does not say.
	RetryAfter time.Duration
	// Scope says which calls RetryAfter applies to.
	Scope Scope
	// Renew says, beside ClassAuth, that another credential would help: the one that was sent has ended. A 401 says so
	// by itself. With a [Refresher] the call is sent once more then.
	Renew bool
	// Code and Message are the partner's own, from the body of its error; empty if there are none. Message is
	// one line of about 300 bytes at most.
	Code, Message string

	ignored string // the name of a header that was malformed
	unsent  bool   // the attempt certainly never reached the partner
	timeout bool   // the attempt timed out
	busy    bool   // a 503 without a wait
	neutral bool   // the attempt says nothing of the partner's health, for example because it had too little time
	final   bool   // the partner says that the call must not be sent again
}

// Unsent reports whether the attempt certainly never reached the partner, as after a failed dial. Then its
// permits go back, and a write may be sent again. [Outcome].Sent is the opposite.
func (v Verdict) Unsent() bool { return v.unsent }

// Classifier judges an attempt: it applies the partner's own rules first, and calls [Classify] for the rest.
// It runs once for each attempt, on the caller's goroutine, and must not keep the attempt. It must be safe for
// concurrent use, which it is without state of its own.
type Classifier func(*Attempt) Verdict

// Attempt is one request and its outcome, as a [Classifier] sees it.
type Attempt struct {
	// Request is the request without credentials. It is never nil.
	Request *http.Request
	// Response is the answer, nil if Err is not nil. A classifier reads its body with [Attempt.Peek] only.
	Response *http.Response
	// Err is the transport's error, or nil.
	Err error
	// Number is the number of the attempt, from 1.
	Number int

	peeked  []byte
	done    bool
	secrets func() []string // values of credentials that the answer might repeat; a func does not print them
}

// Peek returns the beginning of the response's body, up to 64 KiB, and puts it back, so that the caller still
// reads the whole body. For a status of 400 and above it reads for at most 5 s. It returns nil without a
// response, and for a body that is neither JSON nor text (by its Content-Type), or is a stream of events. An error that
// is sent as application/octet-stream may be JSON.
func (a *Attempt) Peek() []byte {
	if a.done || a.Response == nil || a.Response.Body == nil {
		return a.peeked
	}
	kind := a.Response.Header.Get("Content-Type")
	if !textual(kind) && !(a.Response.StatusCode >= 400 && strings.Contains(kind, "octet-stream")) {
		return a.peeked
	}
	a.done = true
	rc := a.Response.Body
	wait := errbody.MaxWait
	if a.Response.StatusCode < 400 {
		wait = 0 // the attempt timeout is bound enough: a slow stream is not a failure
	}
	head, err := errbody.Read(rc, wait, interrupt)
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
	return strings.HasPrefix(t, "text/") && t != "text/event-stream" ||
		strings.Contains(t, "json") || strings.Contains(t, "xml") ||
		t == "application/x-www-form-urlencoded"
}

// Classify returns the verdict for a partner without special rules:
//
//	1xx, 2xx, 3xx                                        OK
//	401, 403                                             Auth
//	400 to 499 that say that the token has ended         Auth, with Renew
//	429; 402 and 403 that say it is a limit              RateLimited, for the credential
//	408, 425; 413, 420, 423, 430 with Retry-After        Transient, for the call
//	409: the idempotency key of a retry is in use        Transient, for the call
//	477: the account is being moved (HubSpot)            Transient, for the credential, for ten minutes or longer
//	5xx except 501 and 505                               Transient, for the partner
//	other 4xx, 501, 505                                  Client
//	connection errors, attempt timeouts                  Transient
//	certificates that do not verify, unknown schemes     Client
//	a client certificate that the partner refuses        Auth
//	the caller's cancel or deadline                      Canceled
//
// The wait comes from Retry-After (seconds, with decimals too, or a date; RFC 9110 section 10.2.3), from the
// headers that stand for it, or from the reset headers that partners send. A date is compared with the response's
// own Date. A longer wait in a field of the error's body counts instead, and one in its words if there is no
// other. docs/dialects.md lists what is understood.
//
// Stripe-Should-Retry and X-Should-Retry count: false ends the call, true makes a Client error Transient, so that a
// call that may be repeated is.
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
	var secrets []string
	if a.secrets != nil {
		secrets = a.secrets()
	}
	text, _ := charset.UTF8(a.Peek(), a.Response.Header.Get("Content-Type")) // the end of a long body may be cut
	body := errbody.Decode(text, secrets)
	v.Code, v.Message = body.Code, body.Message
	h := a.Response.Header
	told, _ := headers.RetryAfter(h, time.Now(), status == 420)
	waits := told > 0 || h.Get("Retry-After") != ""
	switch {
	case status == http.StatusUnauthorized:
		v.Class = ClassAuth
	case status == http.StatusTooManyRequests:
		v.Class, v.Scope = ClassRateLimited, ScopeCredential
	case status == http.StatusForbidden,
		status == http.StatusPaymentRequired && (headers.Exhausted(h) || waits || body.Limit):
		v.Class = ClassAuth
		switch {
		case headers.Exhausted(h) || waits || body.Limit:
			v.Class, v.Scope = ClassRateLimited, ScopeCredential
		case headers.EndedToken(h) || body.Renew:
			v.Renew = true
		case body.Scope == "":
			body.Scope = headers.MissingScope(h)
		}
		if body.Scope != "" && !strings.Contains(v.Message, body.Scope) {
			v.Message = strings.TrimSpace(v.Message + " (missing scope: " + body.Scope + ")")
		}
	case status == 498, status == 440: // no standard: an invalid token (Esri), a login that has ended (IIS)
		v.Class, v.Renew = ClassAuth, true
	case status < 500 && status != http.StatusConflict && status != http.StatusNotFound &&
		(headers.EndedToken(h) || body.Expired):
		v.Class, v.Renew = ClassAuth, true
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		v.Class = ClassTransient
	case status == statusMoving:
		v.Class, v.Scope, v.neutral = ClassTransient, ScopeCredential, true // the partner itself is up
	case (waits || body.RetryAfter > 0) && comesBack[status], status == http.StatusConflict && body.InUse && a.Number > 1:
		v.Class, v.neutral = ClassTransient, true
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
	case status >= 500:
		v.Class, v.Scope = ClassTransient, ScopePartner
	}
	switch headers.ShouldRetry(h) {
	case "false":
		v.final = true
	case "true":
		if v.Class == ClassClient { // the call is repeated only if it may be
			v.Class, v.neutral = ClassTransient, true
		}
	}
	if v.Class == ClassTransient || v.Class == ClassRateLimited {
		a.readWaits(&v, &body)
	}
	return v
}

// comesBack has the statuses of refusals that pass, if the partner says when: a content that is too large for now (RFC
// 9110 section 15.5.14), calls too fast (420, 430), a resource that is locked.
var comesBack = map[int]bool{
	http.StatusRequestEntityTooLarge: true, 420: true, http.StatusLocked: true, 430: true,
}

// readWaits sets the wait of a verdict by the headers and the body of the answer.
func (a *Attempt) readWaits(v *Verdict, body *errbody.Info) {
	h, now, limited := a.Response.Header, time.Now(), v.Class == ClassRateLimited
	v.RetryAfter, v.ignored = headers.RetryAfter(h, now, limited || a.Response.StatusCode == 420)
	inBody := body.RetryAfter
	if !body.RetryAt.IsZero() {
		inBody = max(inBody, headers.Until(h, body.RetryAt, now))
	}
	switch { // one of the two may be written in milliseconds
	case headers.Thousandfold(v.RetryAfter, inBody):
		v.RetryAfter = inBody
	case headers.Thousandfold(inBody, v.RetryAfter):
	default:
		v.RetryAfter = max(v.RetryAfter, inBody)
	}
	if limited && v.RetryAfter == 0 { // what the words say is a guess
		v.RetryAfter = body.Said.After
		if !body.Said.At.IsZero() {
			v.RetryAfter = max(v.RetryAfter, headers.Until(h, body.Said.At, now))
		}
	}
	v.busy = a.Response.StatusCode == http.StatusServiceUnavailable && v.RetryAfter == 0
	switch {
	case v.RetryAfter > 0:
	case a.Response.StatusCode == statusMoving:
		v.RetryAfter = movingWait
	case limited && strings.Contains(strings.ToLower(v.Message), "secondary rate limit"):
		v.RetryAfter = time.Minute // the least that GitHub's "Rate limits for the REST API" asks for
	}
}

// statusMoving is HubSpot's status while it moves an account between data centers ("Error handling", 477), which takes
// up to a day. It comes with Retry-After; movingWait is for one without.
const (
	statusMoving = 477
	movingWait   = 10 * time.Minute
)

func classifyError(a *Attempt) Verdict {
	v := Verdict{Scope: ScopeCall}
	var ours *Error
	var cert *tls.CertificateVerificationError
	proxy := proxyStatus(a.Err)
	switch {
	case a.Request != nil && a.Request.Context().Err() != nil:
		v.Class = ClassCanceled
	case errors.As(a.Err, &ours):
		v = ours.Verdict
	case errors.Is(a.Err, ErrBodyTooLarge):
		v.Class = ClassData
	case errors.Is(a.Err, errkit.ErrAttemptTimeout):
		v.Class, v.timeout = ClassTransient, true
	case proxy == http.StatusProxyAuthRequired:
		v.Class, v.unsent, v.Message = ClassClient, true, "the proxy wants a credential"
	case proxy > 0:
		v.Class, v.unsent = ClassTransient, true
	case errors.As(a.Err, &cert), strings.Contains(a.Err.Error(), "unsupported protocol scheme"),
		strings.Contains(a.Err.Error(), "net/http: invalid header field"):
		v.Class, v.unsent = ClassClient, true
	case refusedCertificate(a.Err):
		v.Class, v.unsent, v.Message = ClassAuth, true, "the partner does not take the client certificate"
	case errors.Is(a.Err, ErrInvalid), strings.Contains(a.Err.Error(), wrongLength):
		v.Class = ClassClient // the request's own body is at fault; a part of it may have been sent
	default:
		v.Class, v.unsent = ClassTransient, neverSent(a.Err)
		var ne net.Error
		v.timeout = errors.Is(a.Err, context.DeadlineExceeded) || errors.As(a.Err, &ne) && ne.Timeout()
	}
	return v
}

// proxyStatus returns the status with which a proxy refused to make a connection, 0 if err is of no proxy. For a
// transport of the user's it goes by the text of the error, which is that of the status.
func proxyStatus(err error) int {
	var refused *proxyRefusal
	if errors.As(err, &refused) {
		return refused.status
	}
	switch err.Error() {
	case http.StatusText(http.StatusProxyAuthRequired):
		return http.StatusProxyAuthRequired
	case http.StatusText(http.StatusBadGateway), http.StatusText(http.StatusServiceUnavailable),
		http.StatusText(http.StatusGatewayTimeout), http.StatusText(http.StatusForbidden):
		return http.StatusBadGateway
	}
	return 0
}

// refusedCertificate reports whether the partner ended the TLS handshake because it does not accept the client
// certificate, or requires one (RFC 8446 section 6.2). It checks the text of the error, because crypto/tls has
// no type for an alert from the other side.
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
