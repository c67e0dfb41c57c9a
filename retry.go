package belay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// RetryPolicy says how often and how soon a call is tried again. The zero value is the default of every
// field; a negative one is an error. A Transient or RateLimited attempt is tried again when that cannot run a write twice: the
// method is idempotent, the call has an idempotency key or says it is safe, or the attempt certainly was
// not processed (a failed dial, a 429).
type RetryPolicy struct {
	// MaxAttempts counts the first attempt too. Zero means 4; 1 turns retries off. [Patience] outlasts it.
	MaxAttempts int
	// BaseDelay is the upper bound of the first backoff, doubled for each one after it; the wait is drawn
	// evenly between zero and the bound (full jitter). Zero means 500 ms, or MaxDelay if that is less.
	BaseDelay time.Duration
	// MaxDelay bounds the backoff. Zero means 20 s, or BaseDelay if that is more.
	MaxDelay time.Duration
	// MaxRetryAfter is the longest wait asked for by the partner that is honoured; when it asks for more,
	// the call ends at once with the wait in the error. Zero means 60 s. [Patience] raises it for a call.
	MaxRetryAfter time.Duration
	// Budget bounds the share of retries among all calls. Nil means one of the client's own, of 500 tokens.
	Budget *RetryBudget
	// RetryIf decides in place of the verdict's class whether an attempt is worth another. It cannot
	// make an unsafe call be sent twice. Nil means Transient and RateLimited.
	// It must not keep the attempt.
	RetryIf func(*Attempt, Verdict) bool
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	def := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	if p.MaxAttempts == 0 {
		p.MaxAttempts = 4
	}
	if def(&p.BaseDelay, 500*time.Millisecond); p.MaxDelay > 0 {
		p.BaseDelay = min(p.BaseDelay, p.MaxDelay)
	}
	def(&p.MaxDelay, max(20*time.Second, p.BaseDelay))
	def(&p.MaxRetryAfter, defaultMaxRetryAfter)
	if p.Budget == nil {
		p.Budget = NewRetryBudget(0)
	}
	return p
}

const defaultMaxRetryAfter = time.Minute

func (p RetryPolicy) check() error {
	var errs []error
	bad := func(cond bool, field string, value any, want string) {
		if cond {
			errs = append(errs, fmt.Errorf("RetryPolicy.%s is %v, %s", field, value, want))
		}
	}
	bad(p.MaxAttempts < 0, "MaxAttempts", p.MaxAttempts, "must not be negative (1 turns retries off)")
	bad(p.BaseDelay < 0, "BaseDelay", p.BaseDelay, "must not be negative")
	bad(p.MaxDelay < 0, "MaxDelay", p.MaxDelay, "must not be negative")
	bad(p.MaxDelay > 0 && p.MaxDelay < p.BaseDelay, "MaxDelay", p.MaxDelay, "must not be below BaseDelay")
	bad(p.MaxRetryAfter < 0, "MaxRetryAfter", p.MaxRetryAfter, "must not be negative")
	return errors.Join(errs...)
}

// Wrap returns a RoundTripper that sends through next and retries as p says. The last answer or error
// is returned as it came. A policy that is out of range fails every call. Nil means http.DefaultTransport.
func (p RetryPolicy) Wrap(next http.RoundTripper) http.RoundTripper {
	if err := p.check(); err != nil {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			closeBody(req)
			return nil, invalid("%w", err)
		})
	}
	p = p.withDefaults()
	return newStack(next, &settings{retry: &p})
}

// RetryBudget keeps retries a small share of all calls, so that they do not add to an outage: a retry
// costs 5 tokens, after a timeout 10; a retried call that succeeds gives its last cost back, and one
// that succeeds at once adds 1. It is safe for concurrent use, and clients may share one. Make it with
// [NewRetryBudget]: the zero value is spent, and allows no retry.
type RetryBudget struct {
	max    int64
	tokens atomic.Int64
}

const (
	retryCost   = 5
	timeoutCost = 10
)

// NewRetryBudget returns a full budget of that many tokens. Zero or less means 500.
func NewRetryBudget(tokens int) *RetryBudget {
	if tokens <= 0 {
		tokens = 500
	}
	b := &RetryBudget{max: int64(tokens)}
	b.tokens.Store(b.max)
	return b
}

// Tokens returns how many tokens are left.
func (b *RetryBudget) Tokens() int { return int(b.tokens.Load()) }

func (b *RetryBudget) take(n int64) bool {
	for {
		have := b.tokens.Load()
		if have < n {
			return false
		}
		if b.tokens.CompareAndSwap(have, have-n) {
			return true
		}
	}
}

func (b *RetryBudget) give(n int64) {
	if b.tokens.Load() >= b.max { // nearly always, on the successful path
		return
	}
	for {
		have := b.tokens.Load()
		if b.tokens.CompareAndSwap(have, min(b.max, have+n)) {
			return
		}
	}
}

// result is what an attempt left, kept while the next one is on its way.
type result struct {
	resp    *http.Response
	err     error
	verdict Verdict
}

// retry is the layer that owns the attempts.
func (c *call) retry(in *within) (*http.Response, error) {
	c.attempt = 1
	resp, err := in.send(c)
	if c.verdict.Class == ClassOK && err == nil {
		c.set.retry.Budget.give(1)
		return resp, nil
	}
	return c.retryFrom(in, resp, err)
}

// resend makes another attempt, and reports whether it reached the transport.
func (c *call) resend(in *within) (resp *http.Response, sent bool, err error) {
	c.attempt++
	before := c.sends
	resp, err = in.send(c)
	return resp, c.sends > before, err
}

// retryFrom goes on from a first attempt that was no success: its outcome is the call's, or others follow it.
func (c *call) retryFrom(in *within, resp *http.Response, err error) (*http.Response, error) {
	p := c.set.retry
	attempts := p.MaxAttempts
	if c.opts.maxAttempts > 0 {
		attempts = c.opts.maxAttempts
	}
	var steps *backoff.ExponentialBackOff
	var kept *result
	var spent int64
	for sent := c.sends > 0; ; resp, sent, err = c.resend(in) {
		v := c.verdict
		if v.Class == ClassOK && err == nil {
			p.Budget.give(max(1, spent))
			return resp, nil
		}
		// Trouble in getting a credential is tried again like any other.
		if kept != nil && (v.Class == ClassCanceled || !sent && v.Class != ClassTransient && v.Class != ClassRateLimited) {
			c.attempt--
			p.Budget.give(spent) // it was not sent
			return c.keep(kept, err)
		}
		if c.reauthenticate() {
			c.attempt-- // the credential was at fault, not the call
			kept = c.discard(resp, err)
			continue
		}
		if c.probe && v.Class == ClassTransient && c.patient() && c.replayable() == nil && c.safe(v) {
			c.attempt-- // the breaker asked, not the caller
			kept = c.discard(resp, err)
			continue
		}
		// Patience outlasts the attempts of an outage that is too quiet to open the circuit.
		spentAll := c.attempt >= attempts && (attempts == 1 || c.opts.maxAttempts > 0 || v.Class != ClassTransient || !c.patient())
		if spentAll || !c.worth(v) || !c.safe(v) {
			return resp, err
		}
		if why := c.replayable(); why != nil {
			return resp, c.also(err, why)
		}
		if steps == nil {
			steps = backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.BaseDelay), backoff.WithMultiplier(2),
				backoff.WithMaxInterval(p.MaxDelay), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
		}
		wait := max(v.RetryAfter, rand.N(steps.NextBackOff()+1))
		if !c.mayWait(wait, v) {
			return resp, err
		}
		cost := int64(retryCost)
		if v.timeout {
			cost = timeoutCost
		}
		if !p.Budget.take(cost) {
			return resp, c.also(err, ErrRetryBudget)
		}
		spent = cost
		kept = c.discard(resp, err)
		c.emit(Retrying{Call: c.info(), Attempt: c.attempt, Verdict: v, Wait: wait})
		if err := c.sleep(wait); err != nil {
			c.verdict = Verdict{Class: ClassCanceled, Scope: ScopeCall}
			p.Budget.give(spent)
			return c.keep(kept, err)
		}
	}
}

// worth reports whether another attempt could end better.
func (c *call) worth(v Verdict) bool {
	if v.Class == ClassRefused || v.Class == ClassCanceled {
		return false
	}
	if f := c.set.retry.RetryIf; f != nil {
		return f(&c.att, v)
	}
	return v.Class == ClassTransient || v.Class == ClassRateLimited
}

// safe reports whether another attempt cannot run a write twice. It goes by the request alone.
func (c *call) safe(v Verdict) bool {
	return v.unsent || v.Class == ClassRateLimited || c.idempotent()
}

// idempotent reports whether the call may be run twice (RFC 9110 section 9.2.2, or a key, or its caller's word).
func (c *call) idempotent() bool {
	if c.opts.safe {
		return true
	}
	switch c.req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodTrace:
		return true
	}
	return hasKey(c.req.Header, c.set.keyHeader)
}

func hasKey(h http.Header, own string) bool {
	return len(h["Idempotency-Key"]) > 0 || len(h["X-Idempotency-Key"]) > 0 || own != "" && len(h[own]) > 0
}

// replayable returns ErrNotReplayable when the body can be read only once.
func (c *call) replayable() error {
	if c.req.Body == nil || c.req.Body == http.NoBody || c.req.GetBody != nil {
		return nil
	}
	return ErrNotReplayable
}

// mayWait reports whether a wait is worth beginning: not beyond the deadline, not beyond what the
// partner may ask for, or the caller's patience.
func (c *call) mayWait(wait time.Duration, v Verdict) bool {
	if deadline, ok := c.ctx.Deadline(); ok && wait >= time.Until(deadline) {
		return false
	}
	if v.RetryAfter > c.set.retry.MaxRetryAfter || c.opts.patience > 0 {
		return c.patient() && wait <= c.patience()
	}
	return true
}

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

// keep returns the answer of the attempt before, when the next one could not be made because of err.
func (c *call) keep(r *result, err error) (*http.Response, error) {
	refusal := c.verdict
	if r == nil {
		return nil, err
	}
	if e, ok := err.(*Error); ok && e.Method == "" { // its wait is told by RetryAfter
		err = e.Err
	}
	c.att.Response, c.att.Err = r.resp, r.err
	if refusal.Class == ClassCanceled {
		if r.resp != nil {
			_ = r.resp.Body.Close()
		}
		c.lost = r
		return nil, c.also(err, r.err)
	}
	c.verdict = r.verdict
	c.verdict.RetryAfter = max(r.verdict.RetryAfter, refusal.RetryAfter)
	if r.resp != nil {
		c.extra = err
		return r.resp, nil
	}
	return nil, c.also(r.err, err)
}

// also adds a second reason. Where there is an answer it stays one, and the reason goes into the error
// that Do makes of it.
func (c *call) also(err, why error) error {
	if err == nil {
		c.extra = why
		return nil
	}
	if why == nil {
		return err
	}
	return both(err, why)
}

// sleep waits for d, or returns the cause of the caller's cancel.
func (c *call) sleep(d time.Duration) error {
	began := time.Now()
	defer func() { c.waits.Backoff += time.Since(began) }()
	return sleep(c.ctx, d)
}

// sleep waits for d, or returns why ctx ended before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// patient reports whether the call waits for the partner beyond the ordinary.
func (c *call) patient() bool { return c.opts.patience > 0 && c.patience() > 0 }

// patience returns how long the call may still wait for the partner.
func (c *call) patience() time.Duration {
	if c.opts.patience <= 0 {
		return 0
	}
	return c.opts.patience - c.waited - c.waits.Total()
}
