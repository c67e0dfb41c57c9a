package belay

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/origin"
)

// Middleware wraps a RoundTripper. It must keep to the RoundTripper contract: the request is not
// changed, its body always closed, and a response comes with a nil error.
type Middleware func(http.RoundTripper) http.RoundTripper

// Chain puts middlewares around base, the first outermost. A nil base means http.DefaultTransport, and nil
// middlewares are left out. The policies fit in by their Wrap methods, in the order of the layers:
//
//	rt := belay.Chain(http.DefaultTransport, policy.Wrap, breaker.Wrap, limiter.Wrap)
func Chain(base http.RoundTripper, middlewares ...Middleware) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	for _, m := range slices.Backward(middlewares) {
		if m == nil {
			continue
		}
		if base = m(base); base == nil {
			base = roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				closeBody(req)
				return nil, invalid("a middleware returned nil")
			})
		}
	}
	return base
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// step is one layer: it does its part and sends the call inward, as often as it likes.
type step func(c *call, in *within) (*http.Response, error)

// within is what lies within a layer: the next one, with what lies within that.
type within struct {
	step step
	in   *within
}

// send sends c inward. It is small enough to be no call of its own: processors predict the returns of some
// sixteen calls, and with two for each layer there would be more.
func (w *within) send(c *call) (*http.Response, error) { return w.step(c, w.in) }

// order is the one place where the order of the layers stands, from the outside in. Below the last one
// lies the base transport, under the user's attempt middlewares.
var order = [...]struct {
	step step
	on   func(s *settings, of kind) bool
}{
	{(*call).observe, func(s *settings, _ kind) bool { return len(s.observers) > 0 }},
	{(*call).gate, func(s *settings, of kind) bool { return of&switched != 0 || s.timeout > 0 }},
	{(*call).outerMiddleware, func(s *settings, _ kind) bool { return s.callMiddleware != nil }},
	{(*call).retry, func(s *settings, _ kind) bool { return s.retry != nil }},
	{(*call).token, func(_ *settings, of kind) bool { return of&withAuth != 0 }},
	{(*call).admit, always},
	{(*call).sign, func(_ *settings, of kind) bool { return of&withAuth != 0 }},
	{(*call).send, always},
}

func always(*settings, kind) bool { return true }

// kind is what tells calls of the same settings apart: whether they have a credential, and a kill switch.
type kind uint8

const (
	withAuth kind = 1 << iota
	switched
	kinds
)

// settings is what a client and all clients derived from it share. It does not change once it is built.
type settings struct {
	name           string
	retry          *RetryPolicy  // nil: no retries
	breaker        *Breaker      // nil: none
	limiter        *Limiter      // nil: none
	classifier     Classifier    // nil: Classify
	timeout        time.Duration // 0: none
	attemptTimeout time.Duration // 0: none
	timeouts       *timeouts     // that end attempts, nil: none
	keyHeader      string        // canonical, empty: no keys are made
	header         http.Header   // set on every request that lacks them
	observers      []Observer
	redactor       Redactor
	trusted        []*url.URL
	insecure       bool
	redirects      RedirectPolicy
	cost           func(*http.Request) int // nil: 1
	maxWait        time.Duration           // in line, 0: no bound but the context's
	maxBytes       int64                   // of a response, negative: no bound
	callMiddleware Middleware
	base           http.RoundTripper
	layers         [kinds]*within // of order, those that are on
	adds           bool           // header or keyHeader are set
}

// stack is the layers with what belongs to one integration.
type stack struct {
	set         *settings
	limiter     *Limiter // nil: none
	auth        Authenticator
	who         uint64   // auth, as limits know it
	base        *url.URL // nil: every request is the partner's
	integration string
	enabled     func() bool // nil: always
	outcomes    outcomes
}

// newStack wraps next by the layers that are set.
func newStack(next http.RoundTripper, s *settings) http.RoundTripper {
	s.base = Chain(next)
	s.maxBytes = -1
	s.compile()
	return layered{&stack{set: s, limiter: s.limiter}}
}

func (s *settings) compile() {
	s.adds = len(s.header) > 0 || s.keyHeader != ""
	for k := range kinds {
		s.layers[k] = nil
		for _, o := range slices.Backward(order[:]) {
			if o.on(s, k) {
				s.layers[k] = &within{o.step, s.layers[k]}
			}
		}
	}
}

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
	caller   caller
	ticket   Ticket

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

// foreign reports whether req leads elsewhere than to the partner.
func (s *stack) foreign(req *http.Request) bool {
	if s.base == nil || req == nil || req.URL == nil || origin.Same(s.base, req.URL) {
		return false
	}
	for _, t := range s.set.trusted {
		if origin.Same(t, req.URL) {
			return false
		}
	}
	return true
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
