package belay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/belay-go/belay/internal/deadline"
	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/redact"
)

// send is the innermost layer: one request through the base transport, and the verdict on it.
func (c *call) send(*within) (*http.Response, error) {
	if c.ctx.Err() != nil {
		return nil, c.stop(fault.Context(c.ctx))
	}
	req, err := c.wire()
	if err != nil {
		return nil, c.stop(err)
	}
	if t := c.body.timeout; t != nil {
		t.Begin()
	}
	began := c.clock()
	b := c.body
	c.sends++
	if c.att.Number > 0 { // what the attempt before has left
		c.att = Attempt{}
		c.freeBuffer()
	}
	resp, err := c.set.base.RoundTrip(req)
	switch {
	case err != nil && resp != nil:
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		resp = nil
	case err == nil && resp == nil:
		err = &Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall}, Err: errors.New("the transport returned neither response nor error")}
	}
	if err == nil {
		resp.Request = c.req // not the clone that carries the credential
		if c.signed != nil {
			c.stripLocation(resp)
		}
		if err = c.receive(b, resp); err != nil {
			resp = nil
		}
	} else {
		err = b.explain(redact.WithoutURL(err))
		b.finish()
	}
	if err == nil && resp.StatusCode < 400 && c.set.classifier == nil {
		c.verdict = Verdict{}
	} else {
		c.judge(resp, err)
	}
	if c.observed() {
		c.emitAttempt(resp, err, began)
	}
	return resp, err
}

// newBody makes what will be the body of the attempt's answer, and holds what the attempt does until then.
func (c *call) newBody() {
	if c.set.timeouts == nil {
		c.body = &body{parent: c.ctx}
		return
	}
	both := &struct {
		body
		deadline.Deadline
	}{body{parent: c.ctx}, deadline.Deadline{Keeper: c.set.timeouts}}
	both.timeout = &both.Deadline
	c.body = &both.body
}

// attemptContext returns the context that requests of the attempt have, and whether it is another than the caller's.
func (c *call) attemptContext() (ctx context.Context, another bool) {
	if t := c.body.timeout; t != nil {
		return t.Context(c.ctx), true
	}
	return c.ctx, c.cancel != nil // of the total timeout
}

// wire returns the request to send: the signed clone, or the caller's own, with a body that has not been read.
func (c *call) wire() (*http.Request, error) {
	req := c.req
	if c.out != nil {
		req, c.out = c.out, nil
	} else if ctx, another := c.attemptContext(); another {
		req = req.WithContext(ctx)
	}
	if !c.bodyUsed {
		c.bodyUsed = true
		return req, nil
	}
	if c.req.GetBody == nil {
		return req, nil
	}
	body, err := c.req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("%w: GetBody: %w", ErrNotReplayable, err)
	}
	if req == c.req {
		clone := *req
		req = &clone
	}
	req.Body, c.again = body, body
	return req, nil
}

// receive takes in the answer: read to the end where the caller wants it whole, otherwise wrapped.
func (c *call) receive(b *body, resp *http.Response) error {
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && c.whole {
		_ = resp.Body.Close()
		return &Error{Verdict: Verdict{Class: ClassData, Scope: ScopeCall}, Err: errors.New("the partner switched protocols (101)")}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if b.timeout != nil {
			b.timeout.Pause()
		}
		b.done.Store(true) // the connection is the caller's now
		return nil
	}
	b.rc, b.max, b.left = resp.Body, c.max, c.max
	resp.Body = b
	if !c.whole {
		events := (b.left >= 0 || b.timeout != nil) && eventStream(resp.Header) // silent for as long as nothing happens, and without end
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
		return nil
	}
	if resp.StatusCode >= 400 { // read by the classifier as far as it is of use
		return nil
	}
	c.buffer = buffers.Get().(*buffer)
	c.buffer.Reset()
	_, err := c.buffer.ReadFrom(b)
	_ = b.Close()
	c.data = c.buffer.Bytes()
	resp.Body = io.NopCloser(bytes.NewReader(c.data))
	if err != nil {
		c.freeBuffer()
		return err
	}
	return nil
}

// freeBuffer gives the buffer of the answer back. Very large ones are left to the collector.
func (c *call) freeBuffer() {
	if c.buffer != nil && c.buffer.Cap() <= 1<<20 {
		buffers.Put(c.buffer)
	}
	c.buffer, c.data = nil, nil
}

// judge sets the verdict of the attempt.
func (c *call) judge(resp *http.Response, err error) {
	var secrets []string
	if err != nil || resp.StatusCode >= 400 {
		secrets = c.secrets()
	}
	c.att = Attempt{Request: c.req, Response: resp, Err: err, Number: c.number(), secrets: secrets}
	switch {
	case err != nil && c.ctx.Err() != nil:
		c.verdict = Verdict{Class: ClassCanceled, Scope: ScopeCall}
		return
	case c.set.classifier == nil:
		c.verdict = Classify(&c.att)
	default:
		c.verdict = c.set.classifier(&c.att)
		if err != nil {
			// What the transport knows does not depend on the partner.
			own := Classify(&Attempt{Request: c.req, Err: err, Number: c.number()})
			c.verdict.unsent, c.verdict.timeout = own.unsent, own.timeout
		}
	}
	if c.verdict.Class != ClassOK {
		secrets = c.secrets()
		c.verdict.Message = redact.Line(redact.Values(c.verdict.Message, secrets), 300)
		c.verdict.Code = redact.Line(redact.Values(c.verdict.Code, secrets), 100)
		c.verdict.RetryAfter = max(0, c.verdict.RetryAfter)
	}
}

// number is the attempt's, from 1, with or without the layer that counts.
func (c *call) number() int { return max(1, c.attempt) }

// discard reads the rest of an answer that is not wanted, so that its connection can be used again, and
// keeps its beginning in case it turns out to be the last.
func (c *call) discard(resp *http.Response, err error) *result {
	r := &result{resp: resp, err: err, verdict: c.verdict}
	if resp == nil || resp.Body == nil {
		return r
	}
	body := resp.Body
	if resp.ContentLength > maxErrorBody {
		resp.Body = io.NopCloser(&tail{http.NoBody, io.ErrUnexpectedEOF}) // there was more
		_ = body.Close()
		return r
	}
	head, err := readSome(body, maxErrorBody, discardBodyWait)
	_ = body.Close()
	if err == io.EOF {
		err = nil
	} else if err == nil {
		err = io.ErrUnexpectedEOF // there was more
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(head), &tail{http.NoBody, err}))
	return r
}
