package belay

import (
	"errors"
	"net/http"
	"slices"
	"sync"
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
			base = failing("a middleware returned nil")
		}
	}
	return base
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// failing returns a RoundTripper that sends nothing: every request fails with an ErrInvalid of that text.
func failing(format string, args ...any) http.RoundTripper {
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		closeBody(req)
		return nil, invalid(format, args...)
	})
}

// newStack wraps next by the layers that are set.
func newStack(next http.RoundTripper, s *settings) http.RoundTripper {
	s.base = Chain(next)
	s.maxBytes = -1
	s.compile()
	return layered{&stack{set: s, limiter: s.limiter}}
}

// outerMiddleware is the layer of the users' call middlewares. What they send goes on with the layers
// below as a call of its own, so that they may send it twice, at once, or another; what they return is
// taken for what it is: the answer of one of those, or an answer of their own.
func (c *call) outerMiddleware(in *within) (*http.Response, error) {
	var inner inners
	rt := c.set.callMiddleware(roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if c.foreign(req) {
			return c.set.base.RoundTrip(req)
		}
		return inner.send(c, in, req)
	}))
	c.bodyUsed = true
	req := c.req
	if c.cancel != nil { // of the total timeout
		req = req.WithContext(c.ctx)
	}
	panicked := true
	defer func() {
		if panicked {
			inner.letGo()
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
	from := inner.of(c, resp, err)
	if from != nil {
		c.verdict, c.signed, c.extra, c.lost = from.verdict, from.signed, from.extra, from.lost
		c.data, c.buffer, c.body, c.att = from.data, from.buffer, from.body, from.att
		return resp, err
	}
	if err == nil {
		// Its own: read by the caller, with the total timeout on it.
		c.body = &body{parent: c.ctx, rc: resp.Body, max: c.max, left: c.max}
		if c.body.rc == nil {
			c.body.rc = http.NoBody
		}
		resp.Body = c.body
	}
	c.judge(resp, err)
	return resp, err
}

// inners are the calls that middlewares have made of one call.
type inners struct {
	mu   sync.Mutex
	done []innerCall
}

type innerCall struct {
	*call
	resp *http.Response
	err  error
}

func (in *inners) send(c *call, w *within, req *http.Request) (*http.Response, error) {
	k := &call{stack: c.stack, ctx: req.Context(), req: req, opts: c.opts, whole: c.whole, max: c.max, start: c.start, waited: c.waited}
	panicked := true
	defer func() {
		if panicked {
			k.letGo()
		}
	}()
	resp, err := w.send(k)
	panicked = false
	if !k.bodyUsed {
		closeBody(req)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	done := innerCall{k, nil, err}
	if resp != nil {
		shown := *resp // compared with what comes back, body and all
		done.resp = &shown
		k.att.Response = resp
	}
	in.done = append(in.done, done)
	return resp, err
}

// letGo frees what all of them hold.
func (in *inners) letGo() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, d := range in.done {
		d.letGo()
	}
}

// of returns the call that resp or err is the outcome of, nil when it is the middleware's own, and adds
// up what all of them cost.
func (in *inners) of(c *call, resp *http.Response, err error) (from *call) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, d := range in.done {
		c.attempt, c.sends = c.attempt+d.attempt, c.sends+d.sends
		c.waits.add(d.waits)
		if d.signed != nil && d.verdict.Class != ClassOK {
			c.past = append(c.past, d.secrets()...)
		} else {
			c.past = append(c.past, d.past...)
		}
		same := resp != nil && d.resp != nil && d.att.Response == resp && d.resp.Body == resp.Body && d.resp.StatusCode == resp.StatusCode
		if same || resp == nil && d.resp == nil && err == d.err {
			from = d.call
		}
	}
	return from
}

// Wrap returns a RoundTripper that sends through next and retries as p says. The last answer or error
// is returned as it came. A policy that is out of range fails every call. Nil means http.DefaultTransport.
func (p RetryPolicy) Wrap(next http.RoundTripper) http.RoundTripper {
	if err := p.check(); err != nil {
		return failing("%w", err)
	}
	p = p.withDefaults()
	return newStack(next, &settings{retry: &p})
}

// Wrap returns a RoundTripper that sends through next while the circuit is closed, and otherwise
// returns an [*Error] that is ErrCircuitOpen and says when to come back. Nil means http.DefaultTransport.
func (b *Breaker) Wrap(next http.RoundTripper) http.RoundTripper {
	if b == nil || b.cb == nil {
		return failing("the breaker was not made by NewBreaker")
	}
	return newStack(next, &settings{breaker: b})
}

// Wrap returns a RoundTripper that sends through next within the limits, and holds each call's place
// until its body is closed or read to the end. Nil means http.DefaultTransport.
func (l *Limiter) Wrap(next http.RoundTripper) http.RoundTripper {
	if !l.made() {
		return failing("the limiter was not made by NewLimiter")
	}
	return newStack(next, &settings{limiter: l})
}
