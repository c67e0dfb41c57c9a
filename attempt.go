package belay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/deadline"
	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// send is the innermost layer. It sends one request through the base transport and judges the outcome.
func (x *exchange) send(*next) (*http.Response, error) {
	if x.ctx.Err() != nil {
		return nil, x.stop(errkit.Context(x.ctx))
	}
	req, err := x.wire()
	if err != nil {
		return nil, x.stop(err)
	}
	if t := x.body.timeout; t != nil {
		t.Begin()
	}
	began := x.clock()
	b := x.body
	x.sends++
	x.answered = 0 // unread stays: what was done is done, whatever a repetition of it is answered
	if x.limiter == nil {
		x.sent = time.Now().UnixNano()
	}
	if h := x.history; h != nil && h.att.Number > 0 { // of the previous attempt
		h.att = Attempt{}
		x.freeBuffer()
	}
	if x.set.jar != nil {
		req = x.withCookies(req)
	}
	if len(x.set.tracers) > 0 {
		req = x.beginAttempt(req)
	}
	x.passOn() // so late, because the calls that waited for a circuit go on in their order
	resp, err := x.set.base.RoundTrip(req)
	if n := x.trace.repeats(); n > 0 {
		x.sends += n
		if x.limiter != nil {
			x.limiter.engine.Repeated(&x.place, n)
		}
	}
	switch {
	case err != nil && resp != nil:
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		resp = nil
	case err == nil && resp == nil:
		err = &Error{
			Verdict: Verdict{Class: ClassClient, Scope: ScopeCall},
			Err:     errors.New("the transport returned neither response nor error"),
		}
	}
	if s, ok := req.Body.(*source); ok && err == nil {
		if failed := s.failed.Load(); failed != nil { // the partner answers what it got of the body
			_ = resp.Body.Close()
			resp, err = nil, *failed
		}
	}
	if err == nil {
		if x.set.jar != nil {
			if set := resp.Cookies(); len(set) > 0 {
				x.set.jar.SetCookies(req.URL, set)
			}
		}
		resp.Request = x.req // not the clone that carries the credential
		if len(resp.Header["Location"]) > 0 {
			x.stripLocation(resp)
		}
		if err = x.receive(b, resp); err != nil {
			x.answered, x.unread = resp.StatusCode, x.unread || resp.StatusCode/100 == 2
			resp = nil
		}
	} else {
		err = b.explain(redact.WithoutURL(err))
		if strings.Contains(err.Error(), wrongLength) {
			err = errkit.Input(err)
		}
		b.finish()
	}
	if err == nil && resp.StatusCode < 400 && x.set.classifier == nil {
		x.verdict = Verdict{}
	} else {
		x.judge(resp, err)
	}
	if x.observed() {
		x.attemptDone(resp, err, began)
	}
	return resp, err
}

// wrongLength begins net/http's error for a request's body that has another length than it says.
const wrongLength = "http: ContentLength="

// timeProbe starts the time of a probe, which is shorter than the attempt timeout: a partner that hangs then costs
// little of the time in which it may come back. A probe gets an eighth of the time since the circuit opened, but at
// least a second, and three times what half of the partner's answers take. A write that must not be sent twice gets the
// whole attempt timeout, as it may only be slow. The result is stopped when the answer has come; nil needs no stop.
func (x *exchange) timeProbe() *time.Timer {
	t := x.body.timeout
	if t == nil || !x.idempotent() {
		return nil
	}
	longest := max(leastTime, 3*x.set.latency.median(), x.permit.age/8)
	if longest >= t.Keeper.After() {
		return nil
	}
	x.body.probeFor = longest
	t.Context(x.ctx) // Expire needs it
	return time.AfterFunc(longest, t.Expire)
}

// newBody makes the body for the attempt's answer. Until the answer arrives, the body holds the attempt's
// timeout. The body and its deadline share one allocation.
func (x *exchange) newBody() {
	x.trace = nil
	if x.set.timeouts == nil {
		x.body = &body{parent: x.ctx}
		return
	}
	both := &struct {
		body
		deadline.Deadline
	}{body{parent: x.ctx}, deadline.Deadline{Keeper: x.set.timeouts}}
	both.timeout = &both.Deadline
	x.body = &both.body
}

// attemptContext returns the context for the attempt's request, and whether it differs from the context of the
// caller's request.
func (x *exchange) attemptContext() (ctx context.Context, another bool) {
	ctx, another = x.ctx, x.cancel != nil || x.spanCtx != nil // then x.ctx is not the request's own
	if t := x.body.timeout; t != nil {
		ctx, another = t.Context(x.ctx), true
	}
	if x.set.traced {
		ctx, x.trace = withTrace(ctx)
		another = true
	}
	return ctx, another
}

// wire returns the request to send: the signed clone or the caller's own request, with a body that has not
// been read.
func (x *exchange) wire() (*http.Request, error) {
	req := x.req
	if x.out != nil {
		req, x.out = x.out, nil
	} else if ctx, another := x.attemptContext(); another {
		req = req.WithContext(ctx)
	}
	if !x.bodyUsed {
		x.bodyUsed = true
		return req, nil
	}
	if x.req.GetBody == nil {
		return req, nil
	}
	body, err := x.req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("%w: GetBody: %w", ErrNotReplayable, err)
	}
	if req == x.req {
		clone := *req
		req = &clone
	}
	req.Body, x.record().replayed = body, body
	return req, nil
}

// withCookies returns a clone of req with the cookies that the jar has for it, if there are any.
func (x *exchange) withCookies(req *http.Request) *http.Request {
	cookies := x.set.jar.Cookies(req.URL)
	if len(cookies) == 0 {
		return req
	}
	clone := *req
	if clone.Header = req.Header.Clone(); clone.Header == nil {
		clone.Header = make(http.Header)
	}
	for _, c := range cookies {
		clone.AddCookie(c)
		x.record().secrets = append(x.record().secrets, c.Value)
	}
	return &clone
}

// receive prepares the answer. It reads the body to its end if the caller wants it whole, and otherwise wraps
// it in b.
func (x *exchange) receive(b *body, resp *http.Response) error {
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && x.whole {
		_ = resp.Body.Close()
		return &Error{
			Verdict: Verdict{Class: ClassData, Scope: ScopeCall},
			Err:     errors.New("the partner switched protocols (101)"),
		}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if b.timeout != nil {
			b.timeout.Pause()
		}
		b.done.Store(true) // the connection is the caller's now
		return nil
	}
	b.rc, b.max, b.left = resp.Body, x.max, x.max
	resp.Body = b
	if !x.whole {
		// A stream of events is silent while nothing happens, and has no end: it gets no timeout and no bound.
		events := (b.left >= 0 || b.timeout != nil) && eventStream(resp.Header)
		if events {
			b.max, b.left = -1, -1
		}
		if b.rc == http.NoBody {
			_ = b.Close()
			resp.Body = http.NoBody
		} else if b.timeout != nil {
			b.timeout.Pause()
			b.readsTimed = !events
		}
		if !events && x.readsAhead(resp) {
			return b.readAhead(resp)
		}
		return nil
	}
	if resp.StatusCode >= 400 { // the classifier reads as much of the body as it needs
		return nil
	}
	x.buffer = buffers.Get().(*buffer)
	x.buffer.Reset()
	_, err := x.buffer.ReadFrom(b)
	_ = b.Close()
	x.data = x.buffer.Bytes()
	resp.Body = io.NopCloser(bytes.NewReader(x.data))
	if err != nil {
		x.freeBuffer()
		return err
	}
	return nil
}

// freeBuffer returns the answer's buffer to the pool.
func (x *exchange) freeBuffer() {
	if x.buffer != nil {
		putBuffer(x.buffer)
	}
	x.buffer, x.data = nil, nil
}

// judge computes the verdict on the attempt from its response or its error.
func (x *exchange) judge(resp *http.Response, err error) {
	att := &x.record().att
	*att = Attempt{Request: x.req, Response: resp, Err: err, Number: x.number()}
	if err != nil || resp.StatusCode >= 400 {
		secrets := x.secrets()
		att.secrets = func() []string { return secrets }
	}
	switch {
	case err != nil && x.ctx.Err() != nil:
		x.verdict = x.interrupted()
		x.verdict.unsent = x.trace.unsent()
		x.doneIfAnswered(x.idempotent())
		return
	case x.set.classifier == nil:
		x.verdict = Classify(att)
	default:
		x.verdict = x.set.classifier(att)
		if err != nil {
			// Whether the request was sent and whether it timed out do not depend on the partner's rules.
			own := Classify(&Attempt{Request: x.req, Err: err, Number: x.number()})
			x.verdict.unsent, x.verdict.timeout = own.unsent, own.timeout
		}
	}
	if err != nil && x.trace.unsent() {
		x.verdict.unsent = true
	}
	x.doneIfAnswered(x.idempotent())
	if x.verdict.Class != ClassOK {
		secrets := x.secrets()
		x.verdict.Message = redact.Line(redact.Values(x.verdict.Message, secrets), 300)
		x.verdict.Code = redact.Line(redact.Values(x.verdict.Code, secrets), 100)
		x.verdict.RetryAfter = max(0, x.verdict.RetryAfter)
	}
}

// doneIfAnswered turns the verdict on a write whose answer of success broke off into Data: the partner was available,
// and has done the write. A write that is repeated keeps its verdict until it is given up.
func (x *exchange) doneIfAnswered(repeated bool) {
	m := x.req.Method
	if x.unread && !repeated && x.verdict.Class == ClassTransient && m != "" && m != http.MethodGet && m != http.MethodHead {
		x.verdict.Class, x.verdict.Scope, x.verdict.RetryAfter = ClassData, ScopeCall, 0
	}
}

// interrupted returns the verdict on an attempt during which the call's context ended. A deadline that ends it without
// an answer is a failure of the partner. It counts for the breaker and for health only if the attempt had enough
// time: a second, or three times what half of the partner's answers take if that is more, but no more than the
// attempt timeout.
func (x *exchange) interrupted() Verdict {
	v := x.ended()
	if v.Class == ClassCanceled && x.ctx.Err() == context.DeadlineExceeded {
		v = Verdict{Class: ClassTransient, Scope: ScopeCall, timeout: true}
	}
	if v.Class == ClassTransient {
		enough := max(leastTime, 3*x.set.latency.median())
		if t := x.set.attemptTimeout; t > 0 {
			enough = min(enough, t)
		}
		v.neutral = time.Duration(time.Now().UnixNano()-x.sentAt()) < enough
	}
	return v
}

// leastTime is the time below which an attempt without an answer says nothing of the partner.
const leastTime = time.Second

// sentAt returns when the attempt was sent, in nanoseconds since 1970. The limiter has already read the clock.
func (x *exchange) sentAt() int64 {
	if x.limiter != nil {
		return x.limiter.engine.Sent(&x.place)
	}
	return x.sent
}

// number returns the number of the attempt, from 1. Without the retry layer, which counts the attempts, it is
// 1.
func (x *exchange) number() int { return max(1, x.attempt) }

// discard reads the rest of an answer that is not needed, so that its connection can be used again. It keeps
// the beginning of the body, because the answer may turn out to be the last one.
func (x *exchange) discard(resp *http.Response, err error) *result {
	r := &result{resp: resp, err: err, verdict: x.verdict}
	if resp == nil || resp.Body == nil {
		return r
	}
	body := resp.Body
	if resp.ContentLength > errbody.MaxBytes {
		resp.Body = io.NopCloser(&tail{http.NoBody, io.ErrUnexpectedEOF}) // the rest was not read
		_ = body.Close()
		return r
	}
	head, err := errbody.Read(body, errbody.DiscardWait, interrupt)
	_ = body.Close()
	if err == io.EOF {
		err = nil
	} else if err == nil {
		err = io.ErrUnexpectedEOF // the rest was not read
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(head), &tail{http.NoBody, err}))
	return r
}
