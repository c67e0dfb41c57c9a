package belay

import (
	"context"
	"time"
)

// Observer is told what happens to calls. It runs on the caller's goroutine, outside locks, and the call
// goes on when it returns: what may block needs a queue of its own. A panic in it is contained. It must
// be safe for concurrent use. Events hold no credential, no body and no value of an unknown query
// parameter.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// ObserverFunc makes a function an [Observer].
type ObserverFunc func(ctx context.Context, e Event)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, e Event) { f(ctx, e) }

// Event is one of [CallDone], [AttemptDone], [Retrying], [Paused], [Resumed], [LimitNear], [CircuitChanged],
// [TokenRefreshed], [TokenRefreshFailed], [TokenRevoked], [CredentialRotated], [RotationRolledBack], [DeliveryReceived],
// [DeliveryRejected] and [EventHandled].
type Event interface{ event() }

// CallInfo says which call an event belongs to.
type CallInfo struct {
	// Partner and Integration are the names given by WithName and WithIntegration; empty when there is none.
	Partner, Integration string
	// Method and Route are a metric's labels: Route is the path template, empty for a raw request.
	Method, Route string
	// URL is the redacted URL.
	URL string
}

// CallDone says that a call has ended, or that its response has been handed out.
type CallDone struct {
	Call       CallInfo
	Verdict    Verdict       // of the last attempt
	StatusCode int           // 0 without an answer
	Attempts   int           // that were sent
	Waits      Waits         // part of Duration
	Duration   time.Duration // from the beginning to the response's headers, or for typed calls its end
	Err        error         // nil when the answer is a response
}

func (CallDone) event() {}

// AttemptDone says that an attempt has ended, or that its response's headers have come.
type AttemptDone struct {
	Call       CallInfo
	Number     int // from 1
	Verdict    Verdict
	StatusCode int // 0 without an answer
	RequestID  string
	Duration   time.Duration
	LimitLeft  int  // what the tightest limit has left, -1 when none is known
	Probe      bool // it asked for an open circuit whether the partner is back
	// RequestBody shows, for a 400 or 422 only, what was sent: names and kinds of values, or what
	// WithRedactor makes of it.
	RequestBody string
	// Ignored names a header of the answer that was malformed, and so ignored.
	Ignored string
	Err     error
}

func (AttemptDone) event() {}

// Retrying says that another attempt follows, after Wait.
type Retrying struct {
	Call    CallInfo
	Attempt int           // the number of the one that failed, from 1
	Verdict Verdict       // of that attempt
	Wait    time.Duration // until the next, at least
}

func (Retrying) event() {}

// Paused says that all calls in the scope wait, because the partner asked for it by the call.
type Paused struct {
	Call    CallInfo      // whose answer asked for it
	Scope   Scope         // whom it concerns
	For     time.Duration // from now
	Verdict Verdict       // of the answer
}

func (Paused) event() {}

// Resumed says that a pause is over. The first call that goes on tells it.
type Resumed struct {
	Call    CallInfo      // that goes on
	Scope   Scope         // whom the pause concerned
	After   time.Duration // how long it was
	Verdict Verdict       // that it came by
}

func (Resumed) event() {}

// LimitNear says that four fifths of a limit are in use. It comes once, and again when the use has been
// below three fifths in between.
type LimitNear struct {
	Call   CallInfo // that took the last of it
	Limit  string   // as [Limit.String] shows it
	Source LimitSource
	Used   int // permits
	Max    int
}

func (LimitNear) event() {}

// CircuitChanged says that the circuit opened or closed.
type CircuitChanged struct {
	Call    CallInfo // the call that brought it about
	State   BreakerState
	OpenFor time.Duration // until the next probe
}

func (CircuitChanged) event() {}

// TokenRefreshed says that an integration has a new token.
type TokenRefreshed struct {
	Partner, Integration string
	Expiry               time.Time // of the new one, zero when the partner does not say
}

func (TokenRefreshed) event() {}

// TokenRefreshFailed says that a token could not be had for a reason that may pass. The old one serves as long as it is good.
type TokenRefreshFailed struct {
	Partner, Integration string
	LastWorked           time.Time // when a token was last got, zero for never
	Action               string    // what to do
	Err                  error
}

func (TokenRefreshFailed) event() {}

// TokenRevoked says that an integration's grant was refused for good: no more is asked for until there is another.
type TokenRevoked struct {
	Partner, Integration string
	LastWorked           time.Time // when a token was last got, zero for never
	Action               string    // what to do
	Err                  error
}

func (TokenRevoked) event() {}

// CredentialRotated says that [Rotating] has taken a new credential.
type CredentialRotated struct {
	Integration string
	Was         time.Time // since when the old one was in use
}

func (CredentialRotated) event() {}

// RotationRolledBack says that a new credential did not work, and the old one is in use again.
type RotationRolledBack struct {
	Integration string
	Action      string // what to do
	Err         error  // what the new one failed with
}

func (RotationRolledBack) event() {}

// Waits says what a call waited for.
type Waits struct {
	Backoff time.Duration // between attempts
	Queue   time.Duration // for its turn under the limits, and for pauses
	Circuit time.Duration // for an open circuit to close
}

// Total returns the sum.
func (w Waits) Total() time.Duration { return w.Backoff + w.Queue + w.Circuit }

func (w *Waits) add(o Waits) {
	w.Backoff, w.Queue, w.Circuit = w.Backoff+o.Backoff, w.Queue+o.Queue, w.Circuit+o.Circuit
}

// Redactor returns what may be logged of a request's body; "" for nothing. It gets at most 4 KiB.
type Redactor func(contentType string, body []byte) string

// tell hands an event to an observer, which may be nil, and contains its panic.
func tell(ctx context.Context, o Observer, e Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}
