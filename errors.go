package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
)

// The sentinel errors, one for each decision that a caller makes. Test for them with [errors.Is]:
//
//	status or cause                                      sentinels
//	400, 402, 405, 406, 411, 413-417, 421, 422, 426,     ErrInvalid
//	428, 431, 451, a body whose Validate fails,
//	bad input
//	401, any status that says that the token has ended   ErrAuth
//	403                                                  ErrForbidden
//	404, 410                                             ErrNotFound
//	409, 412                                             ErrConflict
//	304 on a typed call                                  ErrNotModified
//	429, 402 and 403 that say it is a limit              ErrRateLimited, ErrUnavailable
//	5xx, 408, 425, connection errors, attempt timeouts   ErrTransient, ErrUnavailable
//	other 4xx, 501, 505, a certificate that does not     none; Class is ClassClient
//	verify, a redirect that is not followed
//	an answer without the promised form                  ErrData (also ErrBodyTooLarge)
//	the circuit is open                                  ErrCircuitOpen, ErrUnavailable
//	switched off by WithEnabled                          ErrDisabled, ErrUnavailable
//	the wait would outlast the deadline or the patience  ErrWaitTooLong, context.DeadlineExceeded, ErrUnavailable
//	too many calls wait already                          ErrQueueFull, ErrUnavailable
//	the budget of calls is spent (BudgetContext)         ErrCallBudget, ErrUnavailable
//	a retry was due, but the retry budget is spent       ErrRetryBudget beside the last failure
//	a retry was due, but the body cannot be sent again   ErrNotReplayable beside the last failure
//	the caller's own cancel or deadline                  context.Canceled, context.DeadlineExceeded
var (
	// ErrUnavailable means that the partner cannot be used at present. Use your fallback.
	ErrUnavailable = errors.New("belay: partner unavailable")
	// ErrTransient means that a failure of the partner or the network outlasted the retries.
	ErrTransient = errors.New("belay: transient failure")
	// ErrRateLimited means that the partner refused the call because calls came too fast.
	ErrRateLimited = errors.New("belay: rate limited")
	// ErrAuth means that the partner does not accept the credential.
	ErrAuth = errors.New("belay: not authenticated")
	// ErrForbidden means that the credential does not permit the call.
	ErrForbidden = errors.New("belay: forbidden")
	// ErrNotFound means that the resource does not exist.
	ErrNotFound = errors.New("belay: not found")
	// ErrNotModified means that the resource is as the caller's If-None-Match or If-Modified-Since says: a typed call
	// has no value to return then.
	ErrNotModified = errors.New("belay: not modified")
	// ErrConflict means that the resource has changed meanwhile, or exists already.
	ErrConflict = errors.New("belay: conflict")
	// ErrInvalid means that the call cannot succeed as it stands.
	ErrInvalid = errkit.ErrInvalid
	// ErrData means that the answer does not have the promised form.
	ErrData = errkit.ErrData
	// ErrCircuitOpen means that the call was not sent, because the calls before it failed.
	ErrCircuitOpen = errors.New("belay: circuit open")
	// ErrDisabled means that the call was not sent, because WithEnabled has switched calls off.
	ErrDisabled = errors.New("belay: disabled")
	// ErrWaitTooLong means that the call was not sent, because its turn would have come too late.
	ErrWaitTooLong = errors.New("belay: wait too long")
	// ErrQueueFull means that the call was not sent, because too many calls wait already.
	ErrQueueFull = errors.New("belay: queue full")
	// ErrCallBudget means that the call was not sent, because BudgetContext allows no more attempts.
	ErrCallBudget = errors.New("belay: call budget spent")
	// ErrRetryBudget means that a retry was not made, because retries are too large a share of the calls
	// already.
	ErrRetryBudget = errors.New("belay: retry budget spent")
	// ErrNotReplayable means that a retry was not made, because the body can be read only once.
	ErrNotReplayable = errors.New("belay: body cannot be replayed")
	// ErrBodyTooLarge means that a body exceeds its limit.
	ErrBodyTooLarge = errkit.ErrBodyTooLarge
)

// Error is the error of a call that did not succeed. Its text is one line, without query or credential; of the
// body it has only the partner's code and message, at most 400 bytes. Treat it as read-only; it is then safe
// for concurrent use.
type Error struct {
	// Partner and Integration are the names given by WithName and WithIntegration.
	Partner, Integration string
	// Method and URL describe the request. URL holds the path template if there is one, and no values of query
	// parameters that are not known to be harmless.
	Method, URL string
	// Verdict is the verdict on the call. RetryAfter is how long to wait, zero if that is unknown.
	Verdict
	// StatusCode is the status of the last answer, 0 if there was none.
	StatusCode int
	// Done reports that the partner has answered with success (2xx), and only the answer cannot be used: its body
	// broke off, or is not what was expected. A write has been done then, and must not be sent again as a new one.
	Done bool
	// Fields holds the partner's complaints by field, nil if there are none.
	Fields map[string]string
	// RequestID is the partner's own id of the call, to quote to its support. It is empty if there is none.
	RequestID string
	// Attempts is the number of attempts that were sent.
	Attempts int
	// Body is the beginning of the last answer's body, at most 64 KiB. It is never printed or marshaled.
	Body []byte
	// Err is the cause: the transport's error, a sentinel, or several joined. It may be nil.
	Err error
}

// Error returns one line: the partner, the request, the status, the partner's code and message, and the cause.
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
	status := e.Class.String()
	switch {
	case e.StatusCode != 0:
		status = strings.TrimSpace(strconv.Itoa(e.StatusCode) + " " + http.StatusText(e.StatusCode))
	case e.Err != nil:
		status = ""
	}
	said := []string{strings.TrimSpace(status + " " + e.Code), e.Message}
	if e.Err != nil {
		limit := 500
		if errors.Is(e.Err, ErrInvalid) { // an error in the caller's input may be long
			limit = 16 << 10
		}
		said = append(said, redact.Line(strings.ReplaceAll(e.Err.Error(), "belay: ", ""), limit))
	}
	b.WriteString(strings.Join(slices.DeleteFunc(said, func(s string) bool { return s == "" }), ": "))
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		if len(notes) == 3 {
			notes = append(notes, "…")
			break
		}
		notes = append(notes, redact.Line(name+": "+e.Fields[name], 100))
	}
	if e.RetryAfter > 0 {
		notes = append(notes, "retry after "+e.RetryAfter.Round(time.Millisecond).String())
	}
	if e.RequestID != "" {
		notes = append(notes, "request id "+e.RequestID)
	}
	if e.Done && e.Method != http.MethodGet && e.Method != http.MethodHead {
		notes = append(notes, "the call was done")
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

// invalidStatus has the statuses of calls that cannot succeed as they stand.
var invalidStatus = map[int]bool{
	http.StatusBadRequest: true, http.StatusPaymentRequired: true, http.StatusMethodNotAllowed: true,
	http.StatusRequestEntityTooLarge: true, http.StatusRequestURITooLong: true, http.StatusUnsupportedMediaType: true,
	http.StatusUnprocessableEntity: true, http.StatusPreconditionRequired: true,
	http.StatusUnavailableForLegalReasons: true, http.StatusNotAcceptable: true, http.StatusLengthRequired: true,
	http.StatusRequestedRangeNotSatisfiable: true, http.StatusExpectationFailed: true, http.StatusMisdirectedRequest: true,
	http.StatusUpgradeRequired: true, http.StatusRequestHeaderFieldsTooLarge: true,
}

// Is reports whether target is one of the sentinels for this failure; see the table of the sentinels.
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
		return e.Class == ClassAuth && (e.StatusCode != http.StatusForbidden || e.Renew)
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden && e.Class != ClassRateLimited && !e.Renew
	case ErrNotModified:
		return e.StatusCode == http.StatusNotModified
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusGone
	case ErrConflict:
		return e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusPreconditionFailed
	case ErrInvalid:
		return invalidStatus[e.StatusCode] && e.Class != ClassAuth && e.Class != ClassTransient &&
			e.Class != ClassRateLimited
	}
	return false
}

// Timeout reports whether the call took too long: an attempt, the call as a whole, or a wait that would have
// outlasted its deadline. With Temporary it makes *Error a net.Error.
func (e *Error) Timeout() bool { return e != nil && (e.timeout || errkit.TimedOut(e.Err)) }

// Temporary reports whether the same call may succeed later: it is what [ErrUnavailable] matches.
func (e *Error) Temporary() bool { return e != nil && e.Is(ErrUnavailable) }

// Format writes the text of the error for every verb, and so for a value too, which would otherwise print the body.
func (e Error) Format(f fmt.State, verb rune) {
	text := e.Error()
	switch {
	case verb == 'v' && f.Flag('#'):
		text = "&belay.Error{" + strconv.Quote(text) + "}"
	case verb == 'q':
		text = strconv.Quote(text)
	case verb == 'x' || verb == 'X':
		text = fmt.Sprintf(fmt.FormatString(f, verb), text)
	}
	_, _ = io.WriteString(f, text)
}

// LogValue returns the parts that a reader searches for, never the body.
func (e Error) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("error", e.Error()), slog.String("class", e.Class.String()), slog.Int("status", e.StatusCode),
		slog.String("code", e.Code), slog.String("request_id", e.RequestID), slog.Int("attempts", e.Attempts),
	)
}

// MarshalJSON writes the same parts as LogValue.
func (e Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"error": e.Error(), "class": e.Class.String(), "status": e.StatusCode,
		"code": e.Code, "request_id": e.RequestID, "attempts": e.Attempts,
	})
}

// RetryAfter returns how long a job runner should wait before the next try: the wait that the partner asked
// for, the time for which the circuit stays open, or the wait that a limit would have required. It returns
// false if err does not say.
func RetryAfter(err error) (time.Duration, bool) {
	var e *Error
	if errors.As(err, &e) && e != nil && e.RetryAfter > 0 {
		return e.RetryAfter, true
	}
	return 0, false
}

// waitError is an ErrWaitTooLong that names the limit and the wait.
type waitError struct {
	what string
	wait time.Duration
}

func (e *waitError) Error() string {
	return fmt.Sprintf("belay: wait too long: %s for %s", e.what, e.wait.Round(time.Millisecond))
}

func (e *waitError) Timeout() bool { return true }

func (e *waitError) Is(target error) bool {
	return target == ErrWaitTooLong || target == context.DeadlineExceeded
}

// notRetried says why a call was not sent again.
type notRetried struct{ method string }

func (e *notRetried) Error() string {
	return "not retried: " + e.method + " without a key (WithIdempotencyKeys, Idempotent)"
}

// refuse returns the error of a call that is not sent. A wait of zero means that the wait is unknown.
func refuse(cause error, wait time.Duration) *Error {
	return &Error{Verdict: Verdict{Class: ClassRefused, Scope: ScopeCall, RetryAfter: wait, unsent: true}, Err: cause}
}

// invalid returns the error of a call that is wrong before it is sent.
func invalid(format string, args ...any) error {
	return &Error{
		Verdict: Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true},
		Err:     errkit.Input(fmt.Errorf(format, args...)),
	}
}

// fill adds the details of the answer to the error.
func (e *Error) fill(resp *http.Response, body []byte, secrets []string) {
	e.Body = body
	if resp != nil {
		e.StatusCode = resp.StatusCode
	}
	d := errbody.Decode(body, secrets)
	if e.Fields = d.Fields; resp != nil {
		e.RequestID = headers.RequestID(resp.Header, secrets, d.RequestID)
	}
}

// OrElse returns v, or fallback if err says that the partner cannot answer now ([ErrUnavailable]); any other error
// stays:
//
//	rates, err := belay.OrElse(belay.Get[Rates](ctx, c, "/rates"))(defaultRates)
func OrElse[T any](v T, err error) func(fallback T) (T, error) {
	return func(fallback T) (T, error) {
		if errors.Is(err, ErrUnavailable) {
			return fallback, nil
		}
		return v, err
	}
}
