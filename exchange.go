package belay

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/limiter"
)

// call is one call on its way through the layers. It belongs to one goroutine until its response is
// handed out; after that only its body is used.
type call struct {
	// What every call needs comes first, close together.
	*stack
	ctx      context.Context
	req      *http.Request // the caller's, never changed
	opts     *callOptions
	layers   *within
	body     *body // of the last attempt, nil before the first
	max      int64 // bytes of the response, negative for no bound
	attempt  int   // from 1; those that were sent
	sends    int   // attempts that reached the transport, probes too
	whole    bool  // read the body within the attempt
	bodyUsed bool  // the request's body has been handed to the transport
	turn     bool  // it is this call's turn to probe, but it has no permit yet
	probe    bool  // this attempt is a breaker's probe
	renewed  bool  // the credential has been refused once
	renew    bool  // and another may be got for one more attempt
	permit   permit
	verdict  Verdict
	place    limiter.Reservation

	cred   Credential
	out    *http.Request // what this attempt sends, when it differs
	signed *http.Request // the last that carried a credential, nil when none did
	past   []string      // secrets of the attempts before

	waits  Waits
	waited time.Duration      // by the hops before
	start  time.Time          // when somebody observes
	cancel context.CancelFunc // of the total timeout

	att   Attempt
	extra error     // a reason beside the answer that is returned
	lost  *result   // the answer before, when the caller cancelled
	again io.Closer // the request's body for the attempt, when it is not the first

	decode func([]byte, *http.Response) error // what was read whole; nil when it has been done
	data   []byte
	buffer *buffer // that data lies in, when it is pooled
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
	c, err := s.begin(req, nil)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	c.max = -1 // a response stays a response
	resp, err := c.run()
	if err != nil {
		return nil, c.clean(c.describe(err))
	}
	c.recycle()
	return resp, nil
}

// describe completes an error of Belay's own with what was called; the transport's stay as they are.
func (c *call) describe(err error) error {
	if e, ok := err.(*Error); ok && e.Method == "" {
		e.Partner, e.Integration = c.set.name, c.integration
		e.Method, e.URL, e.Attempts = c.method(), c.url(), c.sends
	}
	return err
}

// begin makes the call of a request. A nil opts means those of its context.
func (s *stack) begin(req *http.Request, opts *callOptions) (*call, error) {
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
	c := calls.Get().(*call)
	c.stack, c.ctx, c.req, c.opts, c.max = s, ctx, req, opts, s.set.maxBytes
	if opts.unbounded {
		c.max = -1
	}
	if opts.err != nil {
		return nil, opts.err
	}
	c.start = c.clock()
	var of kind
	if c.authenticator() != nil {
		of = withAuth
	}
	if s.enabled != nil {
		of |= switched
	}
	c.layers = s.set.layers[of]
	if s.base != nil && (s.set.adds || len(opts.header) > 0 || opts.key != "" || req.Header == nil) {
		c.addHeaders()
	}
	return c, nil
}

// addHeaders puts the client's and the call's headers onto a clone of the request.
func (c *call) addHeaders() {
	clone := *c.req
	clone.Header = c.req.Header.Clone()
	if clone.Header == nil {
		clone.Header = make(http.Header)
	}
	for name, values := range c.set.header {
		if clone.Header[name] == nil {
			clone.Header[name] = values
		}
	}
	for name, values := range c.opts.header {
		clone.Header[name] = values
	}
	c.req = &clone
	if name := c.keyHeader(); name != "" && !hasKey(clone.Header, name) {
		key := c.opts.key
		if key == "" && !c.idempotent() {
			key = newKey()
		}
		if key != "" {
			clone.Header[name] = []string{key}
		}
	}
}

// keyHeader is the header that an idempotency key goes into, empty when there is no key to send.
func (c *call) keyHeader() string {
	if c.set.keyHeader == "" && c.opts.key != "" {
		return "Idempotency-Key"
	}
	return c.set.keyHeader
}

// run sends the call through all layers.
func (c *call) run() (*http.Response, error) {
	panicked := true
	defer func() {
		if panicked {
			c.letGo()
		}
	}()
	resp, err := c.layers.send(c)
	if c.decode != nil {
		c.decoded(resp)
	}
	panicked = false
	if !c.bodyUsed {
		closeBody(c.req)
	}
	if resp != nil {
		resp.Request = c.req // not the clone that carries the credential
	}
	if c.cancel != nil {
		if resp != nil && c.body != nil && c.body.rc != nil && !c.body.over() {
			c.body.total = c.cancel
		} else {
			c.cancel()
		}
	}
	if c.opts.into != nil {
		c.opts.into.fill(c, resp)
	}
	return resp, err
}

// letGo frees what a call holds when a function of the user's has panicked.
func (c *call) letGo() {
	c.abandon()
	closeBody(c.req) // also what a middleware had in hand
	if c.again != nil {
		_ = c.again.Close()
	}
	if b := c.body; b != nil && !b.over() {
		if b.rc != nil {
			_ = b.Close()
		}
		b.finish()
	}
	if c.cancel != nil {
		c.cancel()
	}
}

// gate is the layer that asks the kill switch and sets the total timeout.
func (c *call) gate(in *within) (*http.Response, error) {
	if err := c.allowed(); err != nil {
		return nil, err
	}
	if c.set.timeout > 0 {
		c.ctx, c.cancel = context.WithTimeout(c.ctx, c.set.timeout)
	}
	return in.send(c)
}

// allowed asks the kill switch: at once, and before each attempt when all waiting is over.
func (c *call) allowed() error {
	if c.enabled == nil || c.enabled() {
		return nil
	}
	return c.stop(refuse(ErrDisabled, 0))
}

// stop notes the verdict of an error that ends the call before it is sent.
func (c *call) stop(err error) error {
	switch e, ok := err.(*Error); {
	case ok:
		c.verdict = e.Verdict
	case c.ctx.Err() != nil:
		c.verdict = Verdict{Class: ClassCanceled, Scope: ScopeCall}
	default:
		c.verdict = Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}
	}
	return err
}

func closeBody(req *http.Request) {
	if req != nil && req.Body != nil {
		_ = req.Body.Close()
	}
}

// method returns the request's method, which is GET when it is empty.
func (c *call) method() string {
	if c.req.Method == "" {
		return http.MethodGet
	}
	return c.req.Method
}

// calls is where calls are taken from and go back to when nothing below can hold on to them any more:
// after a success, without middlewares of the user's.
var calls = sync.Pool{New: func() any { return new(call) }}

func (c *call) recycle() {
	if c.set.callMiddleware != nil {
		return
	}
	if c.uneventful() {
		// What begin and acquire set anew may stay, but for what would keep the caller's memory.
		c.ctx, c.req, c.body, c.place.Request, c.cred, c.signed = nil, nil, nil, nil, nil, nil
		c.attempt, c.sends, c.permit, c.bodyUsed, c.whole = 0, 0, permit{}, false, false
	} else {
		*c = call{}
	}
	calls.Put(c)
}

// uneventful reports whether a call has done no more than most do, so that nothing else is set: clearing the whole of it
// takes longer than any layer.
func (c *call) uneventful() bool {
	return c.attempt <= 1 && c.sends == 1 && !c.whole && !c.turn && !c.probe && !c.place.Returning && !c.observed() &&
		c.cancel == nil && c.waits == Waits{} && c.waited == 0 && c.att.Number == 0
}
