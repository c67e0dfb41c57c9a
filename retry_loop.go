package belay

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/belay-go/belay/internal/errkit"
)

// retry is the layer that makes the attempts of a call.
func (x *exchange) retry(next *next) (*http.Response, error) {
	x.attempt = 1
	resp, err := next.send(x)
	if x.verdict.Class == ClassOK && err == nil {
		x.set.retry.Budget.give(1)
		return resp, nil
	}
	resp, err = x.retryFrom(next, resp, err)
	if err != nil {
		x.doneIfAnswered(false)
	}
	return resp, err
}

// retryFrom continues after a first attempt that failed. It returns the outcome of that attempt, or of a later
// one.
func (x *exchange) retryFrom(next *next, resp *http.Response, err error) (*http.Response, error) {
	p := x.set.retry
	attempts := x.maxAttempts()
	var steps *backoff.ExponentialBackOff
	var kept *result
	var spent int64
	var atCircuit time.Duration // waited there until the last backoff
	for sent := x.sends > 0; ; resp, sent, err = x.resend(next) {
		v := x.verdict
		if v.Class == ClassOK && err == nil {
			p.Budget.give(max(1, spent))
			return resp, nil
		}
		// The attempt was canceled or not sent: the previous outcome counts. But a transient failure before
		// sending, such as in getting a credential, is retried like any other.
		if kept != nil && (v.Class == ClassCanceled || !sent && v.Class != ClassTransient && v.Class != ClassRateLimited) {
			x.attempt--
			p.Budget.give(spent) // the retry was not sent, so the budget gets its cost back
			return x.keepPrevious(kept, err)
		}
		if x.reauthenticate() {
			x.attempt-- // does not count: the credential was at fault, not the call
			kept = x.discard(resp, err)
			continue
		}
		if x.probe && v.Class == ClassTransient && x.patient() && x.replayable() == nil && x.safeToRetry(v) {
			x.attempt-- // does not count: the attempt was a probe for the breaker
			kept = x.discard(resp, err)
			continue
		}
		// With patience, MaxAttempts does not end the call on a transient failure: an outage may have too few
		// failures to open the circuit.
		spentAll := x.attempt >= attempts &&
			(attempts == 1 || x.opts.maxAttempts > 0 || v.Class != ClassTransient || !x.patient())
		if spentAll || x.ctx.Err() != nil || x.noRetry && !x.patient() && x.opts.maxAttempts == 0 || !x.worthRetrying(v) {
			return resp, err
		}
		if !x.safeToRetry(v) {
			return resp, x.alsoBecause(err, &notRetried{x.method()})
		}
		if why := x.replayable(); why != nil {
			return resp, x.alsoBecause(err, why)
		}
		if w := x.past().waits.Circuit; w > atCircuit { // the outage is over: begin with short backoffs again
			atCircuit, steps = w, nil
		}
		if steps == nil {
			steps = backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.BaseDelay), backoff.WithMultiplier(2),
				backoff.WithMaxInterval(p.MaxDelay), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
		}
		wait := max(v.RetryAfter, rand.N(steps.NextBackOff()+1))
		if !x.mayWait(wait, v) {
			return resp, err
		}
		cost := int64(retryCost)
		if v.timeout {
			cost = timeoutCost
		}
		if !p.Budget.take(cost) {
			return resp, x.alsoBecause(err, ErrRetryBudget)
		}
		spent = cost
		kept = x.discard(resp, err)
		x.emit(Retrying{Call: x.info(), Attempt: x.attempt, Verdict: v, Wait: wait})
		if err := x.sleep(wait); err != nil {
			x.verdict = Verdict{Class: ClassCanceled, Scope: ScopeCall}
			p.Budget.give(spent)
			return x.keepPrevious(kept, err)
		}
	}
}

// result is the outcome of an attempt, kept while the next attempt is made.
type result struct {
	resp    *http.Response
	err     error
	verdict Verdict
}

// resend makes another attempt, and reports whether it reached the transport.
func (x *exchange) resend(next *next) (resp *http.Response, sent bool, err error) {
	x.attempt++
	before := x.sends
	resp, err = next.send(x)
	return resp, x.sends > before, err
}

// worthRetrying reports whether another attempt could have a better outcome.
func (x *exchange) worthRetrying(v Verdict) bool {
	return x.set.retry.worthRetrying(&x.record().att, v)
}

// safeToRetry reports whether another attempt cannot run a write twice.
func (x *exchange) safeToRetry(v Verdict) bool { return notProcessed(v) || x.idempotent() }

// idempotent reports whether the call may be run twice: by its request, or because the caller says so.
func (x *exchange) idempotent() bool {
	return !x.opts.once && (x.opts.safe || idempotent(x.req, x.set.keyHeader))
}

// replayable returns ErrNotReplayable if the request's body can be read only once.
func (x *exchange) replayable() error { return replayable(x.req) }

// mayWait reports whether the call may wait before the next attempt. The wait must end before the context's
// deadline and within the call's patience. Without patience, the partner must not ask for more than
// MaxRetryAfter.
func (x *exchange) mayWait(wait time.Duration, v Verdict) bool {
	if deadline, ok := x.ctx.Deadline(); ok && wait >= time.Until(deadline) {
		return false
	}
	if v.RetryAfter > x.set.retry.MaxRetryAfter || x.allPatience() > 0 {
		return x.patient() && wait <= x.patience()
	}
	return true
}

// keepPrevious returns the outcome r of the previous attempt, because the next one ended with err before it
// was sent. If the caller canceled, it returns err, joined with the previous error. If r is nil, it returns
// err.
func (x *exchange) keepPrevious(r *result, err error) (*http.Response, error) {
	refusal := x.verdict
	if r == nil {
		return nil, err
	}
	if e, ok := err.(*Error); ok && e.Method == "" { // the verdict's RetryAfter gets its wait
		err = e.Err
	}
	h := x.record()
	h.att.Response, h.att.Err = r.resp, r.err
	if refusal.Class == ClassCanceled {
		if r.resp != nil {
			_ = r.resp.Body.Close()
		}
		h.previous = r
		return nil, x.alsoBecause(err, r.err)
	}
	x.verdict = r.verdict
	x.verdict.RetryAfter = max(r.verdict.RetryAfter, refusal.RetryAfter)
	if r.resp != nil {
		h.note = err
		return r.resp, nil
	}
	return nil, x.alsoBecause(r.err, err)
}

// alsoBecause adds why to err as a second reason. If err is nil, there is an answer, which stays an answer;
// then the reason goes into the error that Do makes of it.
func (x *exchange) alsoBecause(err, why error) error {
	if err == nil {
		x.record().note = why
		return nil
	}
	if why == nil {
		return err
	}
	return errkit.Join(err, why)
}

// sleep waits for d. If the call's context ends before that, it returns the reason.
func (x *exchange) sleep(d time.Duration) error {
	began := time.Now()
	defer func() { x.record().waits.Backoff += time.Since(began) }()
	return errkit.Sleep(x.ctx, d)
}

// allPatience returns the patience that the call began with: its own, or else its context's or the client's.
func (x *exchange) allPatience() time.Duration {
	if x.opts.patienceSet {
		return x.opts.patience
	}
	return max(x.set.patience, x.opts.patienceLeast)
}

// patient reports whether the call has any of its [Patience] left.
func (x *exchange) patient() bool { return x.allPatience() > 0 && x.patience() > 0 }

// patience returns how long the call may still wait for the partner, zero or less if it may not.
func (x *exchange) patience() time.Duration {
	all := x.allPatience()
	if all <= 0 {
		return 0
	}
	return all - x.past().waited - x.past().waits.forPartner()
}

// backoffs returns the longest time that all backoffs of the call can take together, 0 without retries.
func (x *exchange) backoffs() (total time.Duration) {
	p := x.set.retry
	if p == nil {
		return 0
	}
	step := p.BaseDelay
	for range min(x.maxAttempts(), 100) - 1 {
		total, step = total+step, min(2*step, p.MaxDelay)
	}
	return total
}

// maxAttempts returns the largest number of attempts of the call.
func (x *exchange) maxAttempts() int { return cmp.Or(x.opts.maxAttempts, x.set.retry.MaxAttempts) }

// holdFor returns how long the call may still wait for a circuit without patience.
func (x *exchange) holdFor() time.Duration { return x.backoffs() - x.past().waits.Circuit }

// waits reports whether the call may still wait for a circuit.
func (x *exchange) waits() bool { return x.patient() || x.holdFor() > 0 }
