package belay

import (
	"errors"
	"net/http"
	"slices"
	"sync"
)

// Middleware wraps an http.RoundTripper. It must keep to the contract of RoundTripper: it does not change the
// request, always closes the request's body, and returns a response only with a nil error.
type Middleware func(http.RoundTripper) http.RoundTripper

// Chain wraps base in middlewares, the first outermost. A nil base means http.DefaultTransport; nil
// middlewares are skipped. The policies join in by their Wrap methods, in the order of the layers:
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
			base = failing("a middleware returned nil")
		}
	}
	return base
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// failing returns a RoundTripper that sends nothing. Every request fails with an ErrInvalid that has the given
// text.
func failing(format string, args ...any) http.RoundTripper {
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		closeBody(req)
		return nil, invalid(format, args...)
	})
}

// newStack wraps next in the layers that s configures.
func newStack(next http.RoundTripper, s *settings) http.RoundTripper {
	s.base = Chain(next)
	s.maxBytes = -1
	s.compile()
	return layered{&stack{set: s, limiter: s.limiter}}
}

// outerMiddleware is the layer of the user's call middlewares. Each request that they send to the partner goes
// through the layers below as an exchange of its own. So they may send the request twice, concurrently, or
// send another one. If they return the outcome of one of these exchanges, its verdict is the call's; any other
// response or error is judged as their own.
func (x *exchange) outerMiddleware(next *next) (*http.Response, error) {
	var inner inners
	rt := x.set.callMiddleware(roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if x.foreign(req) {
			return x.set.base.RoundTrip(req)
		}
		return inner.send(x, next, req)
	}))
	x.bodyUsed = true
	req := x.req
	if x.cancel != nil || x.spanCtx != nil { // x.ctx is not the request's own
		req = req.WithContext(x.ctx)
	}
	panicked := true
	defer func() {
		if panicked {
			inner.abort()
		}
	}()
	resp, err := rt.RoundTrip(req)
	panicked = false
	if resp == nil && err == nil {
		err = errors.New("a call middleware returned neither response nor error")
	}
	if err != nil && resp != nil {
		_ = resp.Body.Close()
		resp = nil
	}
	from := inner.outcomeOf(x, resp, err)
	if from != nil {
		x.verdict, x.signed, x.data, x.buffer, x.body = from.verdict, from.signed, from.data, from.buffer, from.body
		if from.history != nil {
			h := x.record()
			h.note, h.previous, h.att = from.history.note, from.history.previous, from.history.att
		}
		return resp, err
	}
	if err == nil {
		// The middleware's own response: the caller reads it, under the total timeout.
		x.body = &body{parent: x.ctx, rc: resp.Body, max: x.max, left: x.max}
		if x.body.rc == nil {
			x.body.rc = http.NoBody
		}
		resp.Body = x.body
	}
	x.judge(resp, err)
	return resp, err
}

// inners holds the exchanges that the middlewares have made of one call.
type inners struct {
	mu   sync.Mutex
	done []innerCall
}

type innerCall struct {
	*exchange
	resp  *http.Response
	shown http.Response // resp as the middleware received it
	err   error
}

func (in *inners) send(outer *exchange, n *next, req *http.Request) (*http.Response, error) {
	x := &exchange{hot: hot{
		stack: outer.stack, ctx: req.Context(), req: req, opts: outer.opts,
		whole: outer.whole, max: outer.max, start: outer.start,
	}}
	if waited := outer.past().waited; waited > 0 {
		x.record().waited = waited
	}
	panicked := true
	defer func() {
		if panicked {
			x.abort()
		}
	}()
	resp, err := n.send(x)
	panicked = false
	if !x.bodyUsed {
		closeBody(req)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	done := innerCall{exchange: x, resp: resp, err: err}
	if resp != nil {
		done.shown = *resp // to compare with the response that the middleware returns
	}
	in.done = append(in.done, done)
	return resp, err
}

// abort releases everything that the inner exchanges hold.
func (in *inners) abort() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, d := range in.done {
		d.abort()
	}
}

// outcomeOf returns the exchange whose outcome is resp or err, or nil if the middleware made them itself. It
// adds the attempts, waits and secrets of all inner exchanges to x.
func (in *inners) outcomeOf(x *exchange, resp *http.Response, err error) (from *exchange) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, d := range in.done {
		x.attempt, x.sends = x.attempt+d.attempt, x.sends+d.sends
		if d.history != nil {
			x.record().waits.add(d.history.waits)
		}
		if d.signed != nil && d.verdict.Class != ClassOK {
			x.record().secrets = append(x.past().secrets, d.secrets()...)
		} else if s := d.past().secrets; len(s) > 0 {
			x.record().secrets = append(x.past().secrets, s...)
		}
		same := resp != nil && d.resp != nil && d.resp == resp && d.shown.Body == resp.Body &&
			d.shown.StatusCode == resp.StatusCode
		if same || resp == nil && d.resp == nil && err == d.err {
			from = d.exchange
		}
	}
	return from
}

// Wrap returns a RoundTripper that sends through next and retries as p says. It returns the last answer or
// error as it came. If p is out of range, every call fails. A nil next means http.DefaultTransport.
func (p RetryPolicy) Wrap(next http.RoundTripper) http.RoundTripper {
	if err := p.check(); err != nil {
		return failing("%w", err)
	}
	p = p.withDefaults()
	return newStack(next, &settings{retry: &p})
}

// Wrap returns a RoundTripper that sends through next while the circuit is closed. Otherwise it returns an
// [*Error] that is ErrCircuitOpen and says when to try again. A nil next means http.DefaultTransport.
func (b *Breaker) Wrap(next http.RoundTripper) http.RoundTripper {
	if !b.made() {
		return failing("the breaker was not made by NewBreaker")
	}
	return newStack(next, &settings{breaker: b})
}

// Wrap returns a RoundTripper that sends through next within the limits. Each call holds its in-flight slot
// until its body is closed or read to the end. A nil next means http.DefaultTransport.
func (l *Limiter) Wrap(next http.RoundTripper) http.RoundTripper {
	if !l.made() {
		return failing("the limiter was not made by NewLimiter")
	}
	return newStack(next, &settings{limiter: l})
}
