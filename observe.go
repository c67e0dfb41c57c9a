package belay

import (
	"context"
	"net/http"
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
	e := CallDone{
		Call: x.info(), Verdict: x.verdict, Attempts: x.sends, Waits: x.past().waits, Duration: time.Since(x.start),
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
	if x.spanCtx != nil { // x.ctx may have been replaced
		x.emitIn(x.spanCtx, e)
	} else {
		x.emit(e)
	}
	return resp, err
}

func (x *exchange) observed() bool { return len(x.set.observers) > 0 }

// clock returns the present time, or the zero time if there are no observers, because only events need it.
func (x *exchange) clock() (t time.Time) {
	if x.observed() {
		t = time.Now()
	}
	return t
}

func (x *exchange) emit(e Event) { x.emitIn(x.ctx, e) }

func (x *exchange) emitIn(ctx context.Context, e Event) {
	for _, o := range x.set.observers {
		tell(ctx, o, e)
	}
}

func (x *exchange) emitAttempt(resp *http.Response, err error, began time.Time) {
	e := AttemptDone{
		Call: x.info(), Number: x.number(), Verdict: x.verdict, Duration: time.Since(began), LimitLeft: -1,
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
	if x.attemptCtx != nil {
		x.emitIn(x.attemptCtx, e)
		x.attemptCtx = nil
	} else {
		x.emit(e)
	}
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
