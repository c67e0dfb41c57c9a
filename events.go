package belay

import (
	"context"
	"time"
)

// Observer receives events about calls. It runs on the caller's goroutine, outside locks, and the call
// continues when it returns: an observer that may block needs a queue of its own. A panic in it is contained.
// It must be safe for concurrent use. Events hold no credential, no value of an unknown query parameter and,
// except for [AttemptDone].RequestBody and [CallDone].AnswerBody, no body.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// DoneObserver is an [Observer] that gets the two events of every call, [AttemptDone] and [CallDone], by their own methods
// in place of Observe. Nothing is allocated for them then. Both are valid until the method returns: it must not keep e,
// and must not change it. A type that embeds a DoneObserver is one, too: an Observe of its own does not see the two.
type DoneObserver interface {
	Observer
	ObserveAttempt(ctx context.Context, e *AttemptDone)
	ObserveCall(ctx context.Context, e *CallDone)
}

// ObserverFunc is a function that is an [Observer].
type ObserverFunc func(ctx context.Context, e Event)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, e Event) { f(ctx, e) }

// Event is one of [CallDone], [AttemptDone], [Retrying], [Deprecated], [Paused], [Resumed], [LimitNear],
// [CircuitChanged], [PageRead], [TokenLoaded], [TokenRefreshed], [TokenRefreshFailed], [TokenRevoked],
// [CredentialRotated], [RotationRolledBack], [DeliveryReceived], [DeliveryRejected], [EventHandled], [ImportProgress], [RecordImported] and
// [SchemaChanged].
type Event interface{ event() }

// CallInfo identifies the call of an event.
type CallInfo struct {
	// Partner and Integration are the names from [WithName] and [WithIntegration]; empty if there is none. The
	// default of Partner is the host of the base URL.
	Partner, Integration string
	// Method and Route are labels for metrics. Route is the path template; it is empty for a raw request.
	Method, Route string
	// URL is the redacted URL, with the path template if there is one.
	URL string
	// Correlation is the id of [Correlation], empty if there is none. Do not use it as a label for metrics: each call may
	// have its own.
	Correlation string
}

// CallDone reports that a call has ended, or that its response has been handed to the caller.
type CallDone struct {
	Call       CallInfo
	Verdict    Verdict       // of the last attempt
	StatusCode int           // 0 without an answer
	Attempts   int           // number of attempts that were sent
	Waits      Waits         // part of Duration
	Duration   time.Duration // from the beginning to the response's headers; for typed calls, to the end
	TimedOut   bool          // the last attempt had no answer in time
	// Kept says that the caller got a kept answer, without an attempt unless the partner was asked whether it has
	// changed. Stale says that it got one because the partner could not answer: the call has succeeded, and Verdict, and
	// Err are those of the failure.
	Kept, Stale bool
	// AnswerBody shows the body of a failed call's answer: the names and kinds of its values, or what the [Redactor] of
	// [WithRedactor] returns, of the first 4 KiB. It is empty if the call succeeded, if a kept answer served, and if the
	// body was not read.
	AnswerBody string
	Err        error // nil only if the call succeeded; with a response it is an *Error without body
}

func (CallDone) event() {}

// AttemptDone reports that an attempt has ended, or that its response's headers have come.
type AttemptDone struct {
	Call       CallInfo
	Number     int // from 1
	Verdict    Verdict
	StatusCode int // 0 without an answer
	RequestID  string
	Duration   time.Duration
	LimitLeft  int  // permits left under the tightest limit, -1 if no limit is known
	Probe      bool // it was a breaker's probe
	TimedOut   bool // it had no answer in time
	// RequestBody shows the request's body after a 400 or 422, otherwise it is empty: the names and kinds of
	// values, or the result of the [Redactor] of [WithRedactor].
	RequestBody string
	// Ignored is the name of a header of the answer that was malformed and therefore ignored.
	Ignored string
	Err     error
}

func (AttemptDone) event() {}

// Retrying reports that another attempt follows, after Wait.
type Retrying struct {
	Call    CallInfo
	Attempt int           // number of the attempt that failed, from 1
	Verdict Verdict       // of that attempt
	Wait    time.Duration // until the next attempt, at least
}

func (Retrying) event() {}

// PageRead reports that a page of a list has come, in the order of the pages.
type PageRead struct {
	Call   CallInfo // of the list: Route is its path
	Number int      // from 1
	Items  int
	Total  int // of the whole list, 0 if the partner does not say
}

func (PageRead) event() {}

// Deprecated reports that the partner will end an endpoint, as the header Deprecation (RFC 9745) or Sunset (RFC 8594)
// says. A client and those derived from it emit it at most once in 24 hours for each method and endpoint, for the first
// 1,000 of these.
type Deprecated struct {
	Call   CallInfo  // of the answer
	Since  time.Time // when it was, or will be, deprecated; zero if the partner does not say
	Sunset time.Time // when it stops working; zero if the partner does not say
	// Link is the URL of the partner's page about it (relation deprecation, sunset or successor-version), empty if there
	// is none.
	Link string
}

func (Deprecated) event() {}

// Paused reports that all calls in Scope wait, because the partner has asked for it.
type Paused struct {
	Call    CallInfo      // the call whose answer asked for it
	Scope   Scope         // the calls that wait
	For     time.Duration // from now
	Verdict Verdict       // of that answer
}

func (Paused) event() {}

// Resumed reports that a pause is over. The first call after the pause emits it.
type Resumed struct {
	Call    CallInfo      // the first call after the pause
	Scope   Scope         // the calls that have waited
	After   time.Duration // the length of the pause
	Verdict Verdict       // of the answer that asked for the pause
}

func (Resumed) event() {}

// LimitNear reports that 80 % of a limit's permits are in use. It is emitted once, and again only after the
// use has been below 60 %.
type LimitNear struct {
	Call   CallInfo // the call that took the last of these permits
	Limit  string   // as [Limit.String] shows it
	Source LimitSource
	Used   int // permits in use
	Max    int // permits in all
}

func (LimitNear) event() {}

// CircuitChanged reports that a circuit has opened or closed. A probe that fails changes nothing: its AttemptDone
// shows it.
type CircuitChanged struct {
	Call CallInfo // the call that caused it
	// Origin, Route and Integration say which calls the circuit is for; an empty field stands for all. Route has
	// the method, as in "GET /things/{id}".
	Origin, Route, Integration string
	State                      BreakerState  // BreakerOpen or BreakerClosed
	OpenFor                    time.Duration // until the first probe; 0 when the circuit has closed
	Lasted                     time.Duration // for how long it was open; 0 when it has opened
}

func (CircuitChanged) event() {}

// TokenRefreshed reports that an integration has a new token.
type TokenRefreshed struct {
	Partner, Integration string
	Expiry               time.Time // of the new token, zero if the partner does not say
	// RefreshExpiry is when the refresh token ends if it is not used before, zero if the partner does not say.
	RefreshExpiry time.Time
}

func (TokenRefreshed) event() {}

// TokenLoaded reports that an integration has another token that was not refreshed here: the first that came from the
// store, one that another process has stored, or one that was put there. All times are zero if its token was removed.
type TokenLoaded struct {
	Partner, Integration string
	// Obtained is when it was got, Expiry when it ends, and RefreshExpiry when its refresh token ends if it is not used
	// before, each zero if it is not known.
	Obtained, Expiry, RefreshExpiry time.Time
}

func (TokenLoaded) event() {}

// TokenRefreshFailed reports that a token could not be refreshed, for a reason that may pass. The old token
// stays in use as long as it is valid.
type TokenRefreshFailed struct {
	Partner, Integration string
	LastWorked           time.Time // when a token was last obtained, zero for never
	Action               string    // advice for an operator
	Err                  error
}

func (TokenRefreshFailed) event() {}

// TokenRevoked reports that the grant of an integration was refused for good. No token is requested until
// there is another grant.
type TokenRevoked struct {
	Partner, Integration string
	LastWorked           time.Time // when a token was last obtained, zero for never
	Action               string    // advice for an operator
	Err                  error
}

func (TokenRevoked) event() {}

// CredentialRotated reports that [Rotating] uses a new credential.
type CredentialRotated struct {
	Integration string
	Was         time.Time // when the old credential was taken into use
}

func (CredentialRotated) event() {}

// RotationRolledBack reports that a new credential did not work, and that the old one stays in use or is in
// use again.
type RotationRolledBack struct {
	Integration string
	Action      string // advice for an operator
	Err         error  // the failure of the new credential
}

func (RotationRolledBack) event() {}

// Waits holds how long a call waited, by reason.
type Waits struct {
	Backoff    time.Duration // between attempts
	Queue      time.Duration // for permits and for pauses
	Circuit    time.Duration // for an open circuit to close
	Credential time.Duration // for the authenticator, such as while a token is refreshed; 0 if it took less than a millisecond
}

// Total returns the sum of the waits.
func (w Waits) Total() time.Duration { return w.forPartner() + w.Credential }

// forPartner returns the sum of the waits that the partner has caused, which [Patience] bounds.
func (w Waits) forPartner() time.Duration { return w.Backoff + w.Queue + w.Circuit }

func (w *Waits) add(o Waits) {
	w.Backoff, w.Queue = w.Backoff+o.Backoff, w.Queue+o.Queue
	w.Circuit, w.Credential = w.Circuit+o.Circuit, w.Credential+o.Credential
}

// Redactor returns the text of a body that may be logged, of a request or of the answer to a call that failed; "" means
// that nothing may be. It gets at most the first 4 KiB of the body.
type Redactor func(contentType string, body []byte) string

// tell hands e to o and contains a panic of o. A nil o gets nothing.
func tell(ctx context.Context, o Observer, e Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}

// tellAttempt is tell for an event by pointer.
func tellAttempt(ctx context.Context, o DoneObserver, e *AttemptDone) {
	defer func() { _ = recover() }()
	o.ObserveAttempt(ctx, e)
}

// tellCall is tell for an event by pointer.
func tellCall(ctx context.Context, o DoneObserver, e *CallDone) {
	defer func() { _ = recover() }()
	o.ObserveCall(ctx, e)
}
