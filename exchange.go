package belay

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/limiter"
)

// exchange is one call on its way through the layers: the attempts that it makes, and what it holds meanwhile. It belongs to one
// goroutine until its response is handed out; after that only its body is used.
type exchange struct {
	hot
	place limiter.Reservation // the attempt's permits; its memory serves the next exchange too
	spare *history            // memory for hot.history
}

// hot is what every exchange needs. One assignment resets it, whatever happened: no field can be forgotten.
type hot struct {
	*stack
	ctx       context.Context
	req       *http.Request // the caller's, never changed
	opts      *callOptions
	layers    *next
	body      *body // of the last attempt, nil before the first
	max       int64 // bytes of the response, negative for no bound
	attempt   int   // the number of the attempt, from 1; probes do not count
	sends     int   // attempts that reached the transport, probes too
	whole     bool  // the body is read within the attempt
	bodyUsed  bool  // the request's body has been handed to the transport
	probeSlot bool  // a probe is promised to this call, but it has no permit yet
	probe     bool  // the attempt is a breaker's probe
	renewed   bool  // the credential has been refused once
	renew     bool  // another credential may be had for one more attempt
	permit    permit
	verdict   Verdict

	cred   Credential
	out    *http.Request // the request that this attempt sends, when it differs from req
	signed *http.Request // the last request that carried a credential, nil when none did

	start  time.Time                          // when the call began; zero unless somebody observes
	cancel context.CancelFunc                 // of the total timeout
	decode func([]byte, *http.Response) error // of a body that is read whole; nil once it has been called
	data   []byte                             // of that body
	buffer *buffer                            // that data lies in, when it is pooled

	history *history // nil while all goes well
}

// history is what only trouble needs, and calls that have waited.
type history struct {
	att      Attempt // the last one, as a classifier sees it
	waits    Waits
	waited   time.Duration // by the hops before this one
	secrets  []string      // of the attempts before
	note     error         // a reason beside the answer that is returned
	previous *result       // the answer before, when the caller canceled
	replayed io.Closer     // the request's body of an attempt that is not the first
}

var noHistory history // read-only

// past returns the history to read from. It is never nil.
func (x *exchange) past() *history {
	if x.history == nil {
		return &noHistory
	}
	return x.history
}

// record returns the history to write to, after making it where there is none.
func (x *exchange) record() *history {
	if x.history == nil {
		if x.spare == nil {
			x.spare = new(history)
		}
		x.history = x.spare
	}
	return x.history
}

// exchanges are used again after a success: the memory for one costs more than any layer. A call that passed through a user's
// middleware is left to the collector, because the middleware may still hold its request or its response.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// recycle makes the exchange ready for another call.
func (x *exchange) recycle() {
	if x.set.callMiddleware != nil {
		return
	}
	if x.history != nil {
		*x.history = history{}
	}
	x.hot = hot{}
	x.place.Forget()
	exchanges.Put(x)
}

var noOptions callOptions

// layered is a stack as a RoundTripper: a status stays a status.
type layered struct{ *stack }

// RoundTrip sends req through the layers.
func (s layered) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.set == nil {
		closeBody(req)
		return nil, errNilClient()
	}
	if s.foreign(req) {
		return s.set.base.RoundTrip(req)
	}
	x, err := s.begin(req, nil)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	x.max = -1 // a response stays a response
	resp, err := x.run()
	if err != nil {
		return nil, x.clean(x.describe(err))
	}
	x.recycle()
	return resp, nil
}

// describe completes an error of Belay's own with what was called; the transport's stay as they are.
func (x *exchange) describe(err error) error {
	if e, ok := err.(*Error); ok && e.Method == "" {
		e.Partner, e.Integration = x.set.name, x.integration
		e.Method, e.URL, e.Attempts = x.method(), x.url(), x.sends
	}
	return err
}

// begin makes the call of a request. A nil opts means those of its context.
func (s *stack) begin(req *http.Request, opts *callOptions) (*exchange, error) {
	if req == nil {
		return nil, invalid("the request is nil")
	}
	if req.URL == nil {
		return nil, invalid("the request's URL is nil")
	}
	ctx := req.Context()
	if opts == nil {
		opts = optionsOf(ctx)
	}
	x := exchanges.Get().(*exchange)
	x.stack, x.ctx, x.req, x.opts, x.max = s, ctx, req, opts, s.set.maxBytes
	if opts.unbounded {
		x.max = -1
	}
	if opts.err != nil {
		return nil, opts.err
	}
	x.start = x.clock()
	var of variant
	if x.authenticator() != nil {
		of = withAuth
	}
	if s.enabled != nil {
		of |= withSwitch
	}
	x.layers = s.set.layers[of]
	if s.base != nil && (s.set.adds || len(opts.header) > 0 || opts.key != "" || req.Header == nil) {
		x.addHeaders()
	}
	return x, nil
}

// addHeaders puts the client's and the call's headers onto a clone of the request.
func (x *exchange) addHeaders() {
	clone := *x.req
	clone.Header = x.req.Header.Clone()
	if clone.Header == nil {
		clone.Header = make(http.Header)
	}
	for name, values := range x.set.header {
		if clone.Header[name] == nil {
			clone.Header[name] = values
		}
	}
	for name, values := range x.opts.header {
		clone.Header[name] = values
	}
	x.req = &clone
	if name := x.keyHeader(); name != "" && !hasKey(clone.Header, name) {
		key := x.opts.key
		if key == "" && !x.idempotent() {
			key = newKey()
		}
		if key != "" {
			clone.Header[name] = []string{key}
		}
	}
}

// keyHeader is the header that an idempotency key goes into, empty when there is no key to send.
func (x *exchange) keyHeader() string {
	if x.set.keyHeader == "" && x.opts.key != "" {
		return "Idempotency-Key"
	}
	return x.set.keyHeader
}

// run sends the call through all layers.
func (x *exchange) run() (*http.Response, error) {
	panicked := true
	defer func() {
		if panicked {
			x.abort()
		}
	}()
	resp, err := x.layers.send(x)
	if x.decode != nil {
		x.decoded(resp)
	}
	panicked = false
	if !x.bodyUsed {
		closeBody(x.req)
	}
	if resp != nil {
		resp.Request = x.req // not the clone that carries the credential
	}
	if x.cancel != nil {
		if resp != nil && x.body != nil && x.body.rc != nil && !x.body.over() {
			x.body.total = x.cancel
		} else {
			x.cancel()
		}
	}
	if x.opts.into != nil {
		x.opts.into.fill(x, resp)
	}
	return resp, err
}

// letGo frees what a call holds when a function of the user's has panicked.
func (x *exchange) abort() {
	x.abandon()
	closeBody(x.req) // also what a middleware had in hand
	if r := x.past().replayed; r != nil {
		_ = r.Close()
	}
	if b := x.body; b != nil && !b.over() {
		if b.rc != nil {
			_ = b.Close()
		}
		b.finish()
	}
	if x.cancel != nil {
		x.cancel()
	}
}

// gate is the layer that asks the kill switch and sets the total timeout.
func (x *exchange) gate(next *next) (*http.Response, error) {
	if err := x.allowed(); err != nil {
		return nil, err
	}
	if x.set.timeout > 0 {
		x.ctx, x.cancel = context.WithTimeout(x.ctx, x.set.timeout)
	}
	return next.send(x)
}

// allowed asks the kill switch: at once, and before each attempt when all waiting is over.
func (x *exchange) allowed() error {
	if x.enabled == nil || x.enabled() {
		return nil
	}
	return x.stop(refuse(ErrDisabled, 0))
}

// stop notes the verdict of an error that ends the call before it is sent.
func (x *exchange) stop(err error) error {
	switch e, ok := err.(*Error); {
	case ok:
		x.verdict = e.Verdict
	case x.ctx.Err() != nil:
		x.verdict = Verdict{Class: ClassCanceled, Scope: ScopeCall}
	default:
		x.verdict = Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}
	}
	return err
}

func closeBody(req *http.Request) {
	if req != nil && req.Body != nil {
		_ = req.Body.Close()
	}
}

// method returns the request's method, which is GET when it is empty.
func (x *exchange) method() string {
	if x.req.Method == "" {
		return http.MethodGet
	}
	return x.req.Method
}
