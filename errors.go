package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// The sentinels, one for each decision that a caller makes. Test them with [errors.Is]:
//
//	status or cause                                      sentinels
//	400, 422, a body whose Validate fails, bad input     ErrInvalid
//	401                                                  ErrAuth
//	403                                                  ErrForbidden
//	404, 410                                             ErrNotFound
//	409, 412                                             ErrConflict
//	429, 403 that says it is a limit                     ErrRateLimited, ErrUnavailable
//	5xx, 408, 425, connection errors, attempt timeouts   ErrTransient, ErrUnavailable
//	other 4xx, 501, 505, a certificate that does not     none; Class is ClassClient
//	verify, a redirect that is not followed
//	an answer that is not what was promised              ErrData (also ErrBodyTooLarge)
//	the circuit is open                                  ErrCircuitOpen, ErrUnavailable
//	switched off by WithEnabled                          ErrDisabled, ErrUnavailable
//	the wait would outlast the deadline or the patience  ErrWaitTooLong, context.DeadlineExceeded, ErrUnavailable
//	too many calls wait already                          ErrQueueFull, ErrUnavailable
//	the work's budget of calls is spent                  ErrCallBudget
//	a retry was due, but the budget is spent             ErrRetryBudget beside the last failure
//	a retry was due, but the body cannot be sent again   ErrNotReplayable beside the last failure
//	the caller's own cancel or deadline                  context.Canceled, context.DeadlineExceeded
var (
	// ErrUnavailable says: use your fallback. The partner cannot be had just now.
	ErrUnavailable = errors.New("belay: partner unavailable")
	// ErrTransient is trouble of the partner or the network that retries did not outlast.
	ErrTransient = errors.New("belay: transient failure")
	// ErrRateLimited is a refusal by the partner for being too fast.
	ErrRateLimited = errors.New("belay: rate limited")
	// ErrAuth is a credential that the partner does not take.
	ErrAuth = errors.New("belay: not authenticated")
	// ErrForbidden is a credential that may not do this.
	ErrForbidden = errors.New("belay: forbidden")
	// ErrNotFound is a thing that is not there.
	ErrNotFound = errors.New("belay: not found")
	// ErrConflict is a thing that changed meanwhile, or exists already.
	ErrConflict = errors.New("belay: conflict")
	// ErrInvalid is a call that cannot succeed as it stands.
	ErrInvalid = fault.ErrInvalid
	// ErrData is an answer that is not what was promised.
	ErrData = fault.ErrData
	// ErrCircuitOpen is a call that was not sent, because the calls before it failed.
	ErrCircuitOpen = errors.New("belay: circuit open")
	// ErrDisabled is a call that was not sent, because WithEnabled says so.
	ErrDisabled = errors.New("belay: disabled")
	// ErrWaitTooLong is a call that was not sent, because its turn would come too late.
	ErrWaitTooLong = errors.New("belay: wait too long")
	// ErrQueueFull is a call that was not sent, because too many wait already.
	ErrQueueFull = errors.New("belay: queue full")
	// ErrCallBudget is a call that was not sent, because BudgetContext allows no more.
	ErrCallBudget = errors.New("belay: call budget spent")
	// ErrRetryBudget is a retry that was not made, because retries already are too large a share.
	ErrRetryBudget = errors.New("belay: retry budget spent")
	// ErrNotReplayable is a retry that was not made, because the body can be read only once.
	ErrNotReplayable = errors.New("belay: body cannot be replayed")
	// ErrBodyTooLarge is a body above the limit that was set for it.
	ErrBodyTooLarge = fault.ErrBodyTooLarge
)

// Error is a call that did not succeed. Its text is one line, without query, body or credential.
// Treat it as read-only; it is then safe for concurrent use.
type Error struct {
	// Partner and Integration are the names given by WithName and WithIntegration.
	Partner, Integration string
	// Method and URL say what was called. URL holds the path template where there is one, and no
	// values of query parameters that are not known to be harmless.
	Method, URL string
	// Verdict says what became of it. RetryAfter is how long to wait, zero when that is not known.
	Verdict
	// StatusCode is the status of the last answer, 0 when there was none.
	StatusCode int
	// Fields holds the partner's complaints by field, nil when it made none.
	Fields map[string]string
	// RequestID is the partner's own id of the call, to quote to its support.
	RequestID string
	// Attempts is how many attempts were sent.
	Attempts int
	// Body is the beginning (at most 64 KiB) of the last answer's body. It is never printed or marshaled.
	Body []byte
	// Err is the cause: the transport's error, a sentinel, or several joined. It may be nil.
	Err error
}

// Error returns one line: the partner, what was called, the status, the partner's code and message.
func (e *Error) Error() string {
	if e == nil {
		return "belay: <nil>"
	}
	var b strings.Builder
	b.WriteString("belay: ")
	for _, s := range []string{e.Partner, e.Integration} {
		if s != "" {
			b.WriteString(redact.Line(s, 200) + ": ")
		}
	}
	if e.Method != "" {
		b.WriteString(e.Method + " " + e.URL + ": ")
	}
	switch {
	case e.StatusCode != 0:
		b.WriteString(strconv.Itoa(e.StatusCode))
		if t := http.StatusText(e.StatusCode); t != "" {
			b.WriteString(" " + t)
		}
	case e.Err == nil:
		b.WriteString(e.Class.String())
	}
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		if e.StatusCode != 0 || e.Code != "" || e.Message != "" {
			b.WriteString(": ")
		}
		limit := 500
		if errors.Is(e.Err, ErrInvalid) { // the caller's own, as long as it takes
			limit = 16 << 10
		}
		b.WriteString(redact.Line(strings.ReplaceAll(e.Err.Error(), "belay: ", ""), limit))
	}
	var notes []string
	if e.RetryAfter > 0 {
		notes = append(notes, "retry after "+e.RetryAfter.Round(time.Millisecond).String())
	}
	if e.RequestID != "" {
		notes = append(notes, "request id "+e.RequestID)
	}
	if e.Attempts > 1 {
		notes = append(notes, strconv.Itoa(e.Attempts)+" attempts")
	}
	if len(notes) > 0 {
		b.WriteString(" (" + strings.Join(notes, ", ") + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is one of the sentinels that stand for this failure; see the table there.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnavailable:
		return e.Class == ClassTransient || e.Class == ClassRateLimited || e.Class == ClassRefused
	case ErrTransient:
		return e.Class == ClassTransient
	case ErrData:
		return e.Class == ClassData
	case ErrRateLimited:
		return e.Class == ClassRateLimited
	case ErrAuth:
		return e.Class == ClassAuth && e.StatusCode != http.StatusForbidden
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden && e.Class != ClassRateLimited
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusGone
	case ErrConflict:
		return e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusPreconditionFailed
	case ErrInvalid:
		return e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnprocessableEntity
	}
	return false
}

// GoString keeps the body out of %#v.
func (e *Error) GoString() string { return "&belay.Error{" + strconv.Quote(e.Error()) + "}" }

// LogValue logs the parts that a reader searches for, never the body.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("error", e.Error()), slog.String("class", e.Class.String()), slog.Int("status", e.StatusCode),
		slog.String("code", e.Code), slog.String("request_id", e.RequestID), slog.Int("attempts", e.Attempts),
	)
}

// MarshalJSON writes the same parts as LogValue.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"error": e.Error(), "class": e.Class.String(), "status": e.StatusCode,
		"code": e.Code, "request_id": e.RequestID, "attempts": e.Attempts,
	})
}

// RetryAfter tells a job runner when to come back: how long the partner asked to wait, or an open circuit
// stays open, or a limit would have made the call wait. It returns false when err does not say.
func RetryAfter(err error) (time.Duration, bool) {
	var e *Error
	if errors.As(err, &e) && e != nil && e.RetryAfter > 0 {
		return e.RetryAfter, true
	}
	return 0, false
}

// waitError is an ErrWaitTooLong that says which limit and how long.
type waitError struct {
	what string
	wait time.Duration
}

func (e *waitError) Error() string {
	return fmt.Sprintf("belay: wait too long: %s for %s", e.what, e.wait.Round(time.Millisecond))
}

func (e *waitError) Is(target error) bool {
	return target == ErrWaitTooLong || target == context.DeadlineExceeded
}

// refuse makes the error of a call that is not sent. A wait of zero is not known.
func refuse(cause error, wait time.Duration) *Error {
	return &Error{Verdict: Verdict{Class: ClassRefused, Scope: ScopeCall, RetryAfter: wait, unsent: true}, Err: cause}
}

// invalid makes the error of a call that is wrong before it is sent.
func invalid(format string, args ...any) error {
	return &Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}, Err: fault.Input(fmt.Errorf(format, args...))}
}

// fill completes an error with what the answer says.
func (e *Error) fill(resp *http.Response, body []byte, secrets []string) {
	e.Body = body
	if resp != nil {
		e.StatusCode = resp.StatusCode
		e.RequestID = headers.RequestID(resp.Header, secrets)
	}
	d := errbody.Decode(body, secrets)
	e.Fields = d.Fields
	if e.RequestID == "" {
		e.RequestID = d.RequestID
	}
}
