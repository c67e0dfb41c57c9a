package belay

import (
	"context"
	"net/http"
	"net/textproto"
)

// Tracer is an [Observer] that also learns when a call and each of its attempts begins, to make spans of them. The
// contexts that it returns come back with their events: the call's with [CallDone] and all others of the call, the
// attempt's with [AttemptDone]. Give it to [WithObserver]. Its methods run on the call's goroutine, and a panic in one
// is contained. A redirect that is followed is a call of its own, within the context of the first one. Module belayotel
// has one for OpenTelemetry.
type Tracer interface {
	Observer
	// BeginCall returns the context of a call.
	BeginCall(ctx context.Context, call CallInfo) context.Context
	// BeginAttempt returns the context of an attempt, and the headers to add to its request, such as traceparent; nil
	// means none. They are sent to the partner's own origin only. Number counts from 1.
	BeginAttempt(ctx context.Context, call CallInfo, number int) (context.Context, http.Header)
}

// beginCall tells the tracers that the call begins.
func (x *exchange) beginCall() {
	ctx, info := x.ctx, x.info()
	for _, t := range x.set.tracers {
		ctx = callContext(t, ctx, info)
	}
	x.ctx, x.spanCtx = ctx, ctx
}

func callContext(t Tracer, ctx context.Context, info CallInfo) (of context.Context) {
	defer func() {
		if recover() != nil || of == nil {
			of = ctx
		}
	}()
	return t.BeginCall(ctx, info)
}

// beginAttempt tells the tracers that an attempt begins, and returns its request.
func (x *exchange) beginAttempt(req *http.Request) *http.Request {
	ctx, info := req.Context(), x.info()
	foreign := x.foreign(req)
	var all http.Header
	for _, t := range x.set.tracers {
		var add http.Header
		ctx, add = attemptContext(t, ctx, info, x.number())
		if foreign || len(add) == 0 {
			continue
		}
		if all == nil {
			if all = req.Header.Clone(); all == nil {
				all = make(http.Header, len(add))
			}
		}
		for name, values := range add {
			if name = textproto.CanonicalMIMEHeaderKey(name); all[name] == nil { // what the caller sends stays
				all[name] = values
			}
		}
	}
	x.attemptCtx = ctx
	req = req.WithContext(ctx)
	if all != nil {
		req.Header = all
	}
	return req
}

func attemptContext(t Tracer, ctx context.Context, info CallInfo, number int) (of context.Context, add http.Header) {
	defer func() {
		if recover() != nil || of == nil {
			of = ctx
		}
	}()
	return t.BeginAttempt(ctx, info, number)
}
