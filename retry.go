package belay

import (
	"cmp"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// RetryPolicy says how often and how soon a call is retried. The zero value of a field means its default; a
// negative value is an error.
//
// An attempt that is Transient or RateLimited is retried if the retry cannot run a write twice: the method is
// idempotent (RFC 9110 section 9.2.2), the call has an idempotency key or is [Idempotent] or [ReadOnly], or
// the partner certainly did not process the attempt (a failed dial, a 429).
type RetryPolicy struct {
	// MaxAttempts is the largest number of attempts of a call, the first one included. Zero means 4; 1 turns
	// retries off. Unless it is 1, a call with [Patience] makes more attempts while the failures are
	// Transient.
	MaxAttempts int
	// BaseDelay is the upper bound of the first backoff. The bound doubles for each further backoff, and the
	// wait is drawn evenly between zero and the bound (full jitter). Zero means 500 ms, or MaxDelay if that
	// is less.
	BaseDelay time.Duration
	// MaxDelay is the largest upper bound of a backoff. Zero means 20 s, or BaseDelay if that is more. A
	// value below BaseDelay is an error.
	MaxDelay time.Duration
	// MaxRetryAfter is the longest wait that is honored when the partner asks for it. If the partner asks for
	// more, the call ends at once, with the wait in the error. Zero means 60 s. [Patience] raises it for a
	// call.
	MaxRetryAfter time.Duration
	// Budget bounds the share of retries among all calls. Nil means a budget of the client's own, of 500
	// tokens.
	Budget *RetryBudget
	// RetryIf decides whether an attempt is worth a retry, in place of the verdict's class. It cannot make an
	// unsafe call be sent twice, and it is not asked about attempts that are Refused or Canceled. It must not
	// keep the attempt. Nil means Transient and RateLimited.
	RetryIf func(*Attempt, Verdict) bool
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	p.MaxAttempts = cmp.Or(p.MaxAttempts, 4)
	if p.BaseDelay = cmp.Or(p.BaseDelay, 500*time.Millisecond); p.MaxDelay > 0 {
		p.BaseDelay = min(p.BaseDelay, p.MaxDelay)
	}
	p.MaxDelay = cmp.Or(p.MaxDelay, max(20*time.Second, p.BaseDelay))
	p.MaxRetryAfter = cmp.Or(p.MaxRetryAfter, defaultMaxRetryAfter)
	if p.Budget == nil {
		p.Budget = NewRetryBudget(0)
	}
	return p
}

const defaultMaxRetryAfter = time.Minute

func (p RetryPolicy) check() error {
	var faults errkit.List
	bad := func(wrong bool, field string, value any, want string) {
		faults.If(wrong, "RetryPolicy.%s is %v, %s", field, value, want)
	}
	bad(p.MaxAttempts < 0, "MaxAttempts", p.MaxAttempts, "must not be negative (1 turns retries off)")
	bad(p.BaseDelay < 0, "BaseDelay", p.BaseDelay, "must not be negative")
	bad(p.MaxDelay < 0, "MaxDelay", p.MaxDelay, "must not be negative")
	bad(p.BaseDelay > longestWindow, "BaseDelay", p.BaseDelay, "must be at most a year")
	bad(p.MaxDelay > longestWindow, "MaxDelay", p.MaxDelay, "must be at most a year")
	bad(p.MaxDelay > 0 && p.MaxDelay < p.BaseDelay, "MaxDelay", p.MaxDelay, "must not be below BaseDelay")
	bad(p.MaxRetryAfter < 0, "MaxRetryAfter", p.MaxRetryAfter, "must not be negative")
	return faults.Err()
}

// worthRetrying reports whether another attempt could have a better outcome.
func (p *RetryPolicy) worthRetrying(a *Attempt, v Verdict) bool {
	if v.Class == ClassRefused || v.Class == ClassCanceled {
		return false
	}
	if p.RetryIf != nil {
		return p.RetryIf(a, v)
	}
	if v.final {
		return false
	}
	return v.Class == ClassTransient || v.Class == ClassRateLimited
}

// notProcessed reports whether the partner certainly has not processed the attempt, so that any call may be sent again.
// RetryIf has no influence on it.
func notProcessed(v Verdict) bool { return v.unsent || v.Class == ClassRateLimited }

// idempotent reports whether the request may be run twice: by its method (RFC 9110 section 9.2.2), or because it has
// an idempotency key, in the usual headers or in keyHeader.
func idempotent(req *http.Request, keyHeader string) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodTrace:
		return true
	}
	return hasKey(req.Header, keyHeader)
}

func hasKey(h http.Header, keyHeader string) bool {
	return len(h["Idempotency-Key"]) > 0 || len(h["X-Idempotency-Key"]) > 0 || keyHeader != "" && len(h[keyHeader]) > 0
}

// replayable returns ErrNotReplayable if the request's body can be read only once.
func replayable(req *http.Request) error {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody != nil {
		return nil
	}
	return ErrNotReplayable
}

// RetryBudget keeps retries a small share of all calls, so that they do not add to an outage. A retry takes 5
// tokens, or 10 after a timeout. A retried call that succeeds gives back the tokens of its last retry, and a
// call that succeeds at once gives 1. It is safe for concurrent use, and clients may share one. Make it with
// [NewRetryBudget]: the zero value has no tokens and allows no retry.
type RetryBudget struct {
	max    int64
	tokens atomic.Int64
}

const (
	retryCost   = 5
	timeoutCost = 10
)

// NewRetryBudget returns a full budget of the given number of tokens. Zero or less means 500.
func NewRetryBudget(tokens int) *RetryBudget {
	if tokens <= 0 {
		tokens = 500
	}
	b := &RetryBudget{max: int64(tokens)}
	b.tokens.Store(b.max)
	return b
}

// Tokens returns the number of tokens that are left.
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
	if b.tokens.Load() >= b.max { // nearly always true on the successful path, which then writes nothing
		return
	}
	for {
		have := b.tokens.Load()
		if b.tokens.CompareAndSwap(have, min(b.max, have+n)) {
			return
		}
	}
}
