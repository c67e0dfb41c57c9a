package belay

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
	"github.com/belay-go/belay/internal/origin"
)

// exchange is one call on its way through the layers, with its attempts and everything that it holds
// meanwhile. It belongs to one goroutine until its response is handed out; after that only its body is used.
type exchange struct {
	hot
	place limiter.Reservation // the attempt's permits; the next exchange reuses the memory
	spare *history            // memory for hot.history
}

// hot holds the fields that every exchange needs. One assignment resets all of them, so no field can be
// forgotten.
type hot struct {
	*stack
	ctx        context.Context
	req        *http.Request // the caller's request, or a clone with more headers; never changed
	opts       *callOptions
	layers     *next
	body       *body         // of the last attempt; nil before the first
	max        int64         // bytes of the response, negative for no bound
	attempt    int           // the number of the attempt, from 1; probes do not count
	sends      int           // attempts that reached the transport, probes included
	whole      bool          // the body is read within the attempt
	bodyUsed   bool          // the request's body has been handed to the transport
	probe      bool          // the attempt is a probe of the breaker
	renewed    bool          // a Refresher has been asked in this call
	renew      bool          // another credential is available for one more attempt
	noRetry    bool          // the failure is of an authenticator that has tried again by itself
	unread     bool          // the partner answered with success, but the answer cannot be used
	answered   int           // the status of the last attempt's answer if its body broke off, otherwise 0
	askedAfter time.Duration // waitedOutside when the credential was asked for
	permit     permit
	verdict    Verdict
	spanCtx    context.Context // of the call, from the tracers; nil without them
	attemptCtx context.Context // of the attempt, from the tracers
	trace      *wireTrace      // of the attempt; nil if the transport is not net/http's
	slot       *circuit        // the call has a probe slot of it, but no permit yet
	released   *circuit        // the call has waited for it, and wakes the next one that did
	sent       int64           // when the attempt was sent, in nanoseconds since 1970; only without a limiter
	seq        uint64          // the call's place among those that wait for circuits, 0 before it waits

	cred   Credential
	out    *http.Request // the signed clone that this attempt sends; nil without one
	signed *http.Request // the last request that carried a credential; nil if none did

	shownURL string                             // as events show it; it is the same for all attempts
	start    time.Duration                      // when the call began, by clock
	cancel   context.CancelFunc                 // ends the total timeout; nil without one
	decode   func([]byte, *http.Response) error // decodes a body that is read whole; nil after it has been called
	data     []byte                             // the body that is read whole
	buffer   *buffer                            // holds data, if data is pooled

	history *history // nil until it is needed
	told    *told    // memory for the events; nil until there is one
}

// history holds the fields that only calls with failures or waits need.
type history struct {
	att      Attempt // the last attempt, as a classifier sees it
	waits    Waits
	waited   time.Duration // by the exchanges before this one, such as earlier redirect hops
	secrets  []string      // of the earlier attempts
	kept     *kept         // the answer that is kept, or was; nil without one
	inBody   []string      // the credentials in the request's body
	bodyRead bool          // inBody is known
	note     error         // a second reason, beside the answer that is returned
	previous *result       // the outcome before the last attempt, if the caller canceled
	replayed io.Closer     // the request's body of a repeated attempt
}

var noHistory history // read-only

// past returns the history to read from. It is never nil.
func (x *exchange) past() *history {
	if x.history == nil {
		return &noHistory
	}
	return x.history
}

// record returns the history to write to, and creates it if necessary.
func (x *exchange) record() *history {
	if x.history == nil {
		if x.spare == nil {
			x.spare = new(history)
		}
		x.history = x.spare
	}
	return x.history
}

// exchanges is the pool of exchanges that are used again after a success: allocating one costs more time than
// any layer. An exchange that passed through a user's middleware is left to the garbage collector, because the
// middleware may still hold its request or its response.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// recycle returns the exchange to the pool.
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

// layered is a stack as an http.RoundTripper. A response stays a response, regardless of its status.
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
	x.max = -1 // no bound, because a response stays as it is
	resp, err := x.run()
	if err != nil {
		return nil, x.clean(x.describe(err))
	}
	if x.set.redirects == RedirectAny && redirected(resp) {
		x.stripPath(resp)
	}
	x.recycle()
	return resp, nil
}

// describe adds the request to an error of Belay's own. Errors of the transport stay as they are.
func (x *exchange) describe(err error) error {
	if e, ok := err.(*Error); ok && e.Method == "" {
		e.Partner, e.Integration = x.set.name, x.integration
		e.Method, e.URL, e.Attempts = x.method(), x.url(), x.sends
	}
	return err
}

// begin makes the exchange for a request. Nil opts means the options in the request's context.
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
	if opts.err != nil {
		return nil, opts.err
	}
	if req.URL.RawQuery != "" {
		req = wellEscaped(req)
	}
	x := exchanges.Get().(*exchange)
	x.stack, x.ctx, x.req, x.opts, x.max = s, ctx, req, opts, s.set.maxBytes
	if opts.unbounded {
		x.max = -1
	}
	x.start = x.clock()
	var of variant
	if a := x.authenticator(); a != nil {
		of = withAuth
		if len(opts.header) > 0 {
			if name := headerOf(a); name != "" && len(opts.header[name]) > 0 {
				exchanges.Put(x)
				return nil, invalid("Header(%s) stands beside the call's credential: give it another one by Auth", name)
			}
		}
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

// addHeaders replaces the request with a clone that has the client's and the call's headers too, and an
// idempotency key where one is needed.
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
	if host := clone.Header["Host"]; len(host) > 0 { // net/http sends it from the request's own field
		if x.base == nil || origin.Same(clone.URL, x.base) { // a redirect to another origin is another host
			clone.Host = host[0]
		}
		delete(clone.Header, "Host")
	}
	if name, id := x.set.correlation, x.opts.correlation; name != "" && id != "" && clone.Header[name] == nil {
		clone.Header[name] = []string{id}
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

// keyHeader returns the name of the header for an idempotency key, empty if there is no key to send.
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

// abort releases everything that the call holds, after a function of the user's has panicked.
func (x *exchange) abort() {
	x.abandon()
	closeBody(x.req) // even if a middleware had taken it over
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

// gate is the layer of the kill switch and the total timeout.
func (x *exchange) gate(next *next) (*http.Response, error) {
	if err := x.allowed(); err != nil {
		return nil, err
	}
	if x.set.timeout > 0 {
		x.ctx, x.cancel = context.WithTimeoutCause(x.ctx, x.set.timeout, errkit.CallTimeout(x.set.timeout))
	}
	return next.send(x)
}

// allowed checks the kill switch: when the call begins, and before each attempt after all waiting.
func (x *exchange) allowed() error {
	if x.enabled == nil || x.enabled() {
		return nil
	}
	return x.stop(refuse(ErrDisabled, 0))
}

// stop records the verdict for an error that ends the attempt before it is sent. It returns err.
func (x *exchange) stop(err error) error {
	switch e, ok := err.(*Error); {
	case ok:
		x.verdict = e.Verdict
	case x.ctx.Err() != nil:
		x.verdict = x.ended()
		x.verdict.unsent = x.verdict.Class == ClassTransient
	default:
		x.verdict = Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}
	}
	return err
}

// ended returns the verdict on a call whose context has ended: Transient if its total timeout is over.
func (x *exchange) ended() Verdict {
	if errkit.IsCallTimeout(context.Cause(x.ctx)) {
		return Verdict{Class: ClassTransient, Scope: ScopeCall, timeout: true}
	}
	return Verdict{Class: ClassCanceled, Scope: ScopeCall}
}

func closeBody(req *http.Request) {
	if req != nil && req.Body != nil {
		_ = req.Body.Close()
	}
}

// method returns the request's method, GET if it is empty.
func (x *exchange) method() string {
	if x.req.Method == "" {
		return http.MethodGet
	}
	return x.req.Method
}
