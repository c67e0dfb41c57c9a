package belay

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/belay-go/belay/internal/fault"
)

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

// result is what an attempt left, kept while the next one is on its way.
type result struct {
	resp    *http.Response
	err     error
	verdict Verdict
}

// resend makes another attempt, and reports whether it reached the transport.
func (c *call) resend(in *within) (resp *http.Response, sent bool, err error) {
	c.attempt++
	before := c.sends
	resp, err = in.send(c)
	return resp, c.sends > before, err
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
	return fault.Join(err, why)
}

// sleep waits for d, or returns the cause of the caller's cancel.
func (c *call) sleep(d time.Duration) error {
	began := time.Now()
	defer func() { c.waits.Backoff += time.Since(began) }()
	return fault.Sleep(c.ctx, d)
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
