package belay

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
)

// observe is the outermost layer. It emits CallDone when the call has ended. It decodes the answer before
// that, so that the event has the final verdict.
func (x *exchange) observe(next *next) (*http.Response, error) {
	if len(x.set.tracers) > 0 {
		x.beginCall()
	}
	resp, err := next.send(x)
	if x.decode != nil {
		x.decoded(resp)
	}
	e := &x.events().call
	*e = CallDone{
		Call: x.info(), Verdict: x.verdict, Attempts: x.sends, Waits: x.past().waits, Duration: clock() - x.start,
		TimedOut: x.verdict.timeout,
		Err:      errkit.Join(x.clean(err), x.clean(x.past().note)),
	}
	if resp != nil {
		e.StatusCode = resp.StatusCode
	}
	if k := x.past().kept; k != nil && k.served {
		if e.Kept, e.Stale = true, k.stale; k.stale {
			e.Verdict, e.TimedOut, e.StatusCode, e.Err = k.verdict, k.verdict.timeout, k.status, x.clean(k.err)
		}
	}
	if e.Verdict.Class != ClassOK && resp != nil && !e.Stale && x.observed() {
		e.AnswerBody = x.shownAnswer(resp)
	}
	if e.Err == nil && e.Verdict.Class != ClassOK {
		e.Err = &Error{
			Partner: x.set.name, Integration: x.integration, Method: x.method(), URL: x.url(),
			Verdict: e.Verdict, StatusCode: e.StatusCode, Attempts: x.sends,
		}
	}
	emitDone(cmp.Or(x.spanCtx, x.ctx), x, e, tellCall) // x.ctx may have been replaced
	x.endEvents()
	return resp, err
}

// told is memory for the events of a call that are told by pointer. It is empty between them.
type told struct {
	attempt AttemptDone
	call    CallDone
}

var tolds = sync.Pool{New: func() any { return new(told) }}

// events returns the memory for the events of x.
func (x *exchange) events() *told {
	if x.told == nil {
		x.told = tolds.Get().(*told)
	}
	return x.told
}

// endEvents gives the memory for the events back.
func (x *exchange) endEvents() {
	tolds.Put(x.told)
	x.told = nil
}

// emitDone tells e by pointer to the observers that take it so, by the function by, and a copy to those that may keep
// it. It empties e.
func emitDone[E Event](ctx context.Context, x *exchange, e *E, by func(context.Context, DoneObserver, *E)) {
	var copied Event
	for i, o := range x.set.observers {
		if d := x.set.dones[i]; d != nil {
			by(ctx, d, e)
			continue
		}
		if copied == nil {
			copied = *e
		}
		tell(ctx, o, copied)
	}
	var none E
	*e = none
}

func (x *exchange) observed() bool { return len(x.set.observers) > 0 }

// clock returns the time since a moment of its own, of which only differences count. It reads one clock, where time.Now
// reads two.
func clock() time.Duration { return time.Since(clockZero) }

var clockZero = time.Now()

// clock is the function clock, or 0 if there are no observers, because only events need it.
func (x *exchange) clock() time.Duration {
	if !x.observed() {
		return 0
	}
	return clock()
}

func (x *exchange) emit(e Event) {
	for _, o := range x.set.observers {
		tell(x.ctx, o, e)
	}
}

// attemptDone emits AttemptDone for an attempt that began at that time of clock.
func (x *exchange) attemptDone(resp *http.Response, err error, began time.Duration) {
	e := &x.events().attempt
	*e = AttemptDone{
		Call: x.info(), Number: x.number(), Verdict: x.verdict, Duration: clock() - began, LimitLeft: -1,
		Probe: x.probe, TimedOut: x.verdict.timeout, Ignored: x.verdict.ignored, Err: x.clean(err),
	}
	if x.limiter != nil {
		e.LimitLeft = x.place.Left
	}
	if resp != nil {
		e.StatusCode = resp.StatusCode
		if e.RequestID = headers.RequestID(resp.Header, nil, ""); e.RequestID != "" {
			e.RequestID = headers.RequestID(resp.Header, x.credentials(), "")
		}
		if e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnprocessableEntity {
			e.RequestBody = x.shownBody()
		}
	}
	emitDone(cmp.Or(x.attemptCtx, x.ctx), x, e, tellAttempt)
	x.attemptCtx = nil
	if resp != nil && (len(resp.Header["Deprecation"]) > 0 || len(resp.Header["Sunset"]) > 0) {
		x.noteDeprecation(resp)
	}
}

func (x *exchange) info() CallInfo {
	if !x.observed() {
		return CallInfo{}
	}
	if x.shownURL == "" {
		x.shownURL = x.url()
	}
	return CallInfo{x.set.name, x.integration, x.method(), x.opts.route, x.shownURL, x.opts.correlation}
}
