package belay

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// WithRateLimit adds limits that the partner is known to have. In [Client.With] it adds limits that count
// only the calls of the derived client; they are enforced together with the limits of its parent. By default
// no limit is known. A limit that is out of range is an error.
func WithRateLimit(limits ...Limit) Option {
	return func(c *config) error {
		var errs []error
		for _, l := range limits {
			errs = append(errs, l.check())
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("WithRateLimit: %w", err)
		}
		c.limits = append(c.limits, limits...)
		return nil
	}
}

// WithLimiter makes the client share a limiter with other clients that spend from the same quota. The limits
// of [WithRateLimit] are enforced in addition. In [Client.With] the limiter replaces the parent's limits. Nil
// is an error, and so is a Limiter that was not made by [NewLimiter].
func WithLimiter(l *Limiter) Option {
	return func(c *config) error {
		if !l.made() {
			return errors.New("WithLimiter: the limiter is nil or was not made by NewLimiter")
		}
		c.own().givenLimiter = l
		return nil
	}
}

// WithMaxInFlight bounds the number of attempts in flight. An attempt is in flight from its sending until its
// response's body has been closed or read to the end. The default is 10; less than 1 is an error. In
// [Client.With] it adds a bound of the derived client's own.
func WithMaxInFlight(n int) Option {
	return func(c *config) error {
		if n < 1 {
			return fmt.Errorf("WithMaxInFlight: %d must be at least 1", n)
		}
		s := c.own()
		s.maxInFlight, s.inFlightSet = n, true
		return nil
	}
}

// WithMaxQueue bounds the number of waiting calls of one integration; all integrations together may have ten
// times as many. A call beyond that fails with [ErrQueueFull]. The bound n also applies to the calls that
// wait for an open circuit. The default is 10,000; zero refuses every wait, negative is an error.
func WithMaxQueue(n int) Option {
	return func(c *config) error {
		if n < 0 {
			return fmt.Errorf("WithMaxQueue: %d must not be negative", n)
		}
		c.own().maxQueue = n
		return nil
	}
}

// WithMaxWait bounds each wait of a call for its permits, pauses included. A wait beyond it fails with
// [ErrWaitTooLong], at once if that is known beforehand. Zero, the default, means no bound but the context's
// deadline; negative is an error. The [Patience] of a call takes the place of the bound.
func WithMaxWait(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithMaxWait: %s must not be negative", d)
		}
		c.own().maxWait = d
		return nil
	}
}

// WithPatience gives every call the given [Patience], unless it has one of its own: for clients whose calls can wait,
// such as those of imports. Zero, the default, gives none; negative is an error.
func WithPatience(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithPatience: %s must not be negative", d)
		}
		c.own().patience = d
		return nil
	}
}

// WithCost sets the number of permits that a request takes of each limit, if the call has no [Cost] of its
// own. A result of 0 means 1; a negative result fails the call. The function f runs for each attempt, on the
// caller's goroutine, and must not change the request. Nil, the default, means 1 for every request.
func WithCost(f func(*http.Request) int) Option {
	return func(c *config) error { c.own().cost = f; return nil }
}

// WithAdaptiveLimit sets the policy for limits that are not configured: advertised and inferred limits. The
// policy belongs to the limiter, so in [Client.With] and with [WithLimiter] it applies to all clients that
// share the limiter. A field that is out of range is an error.
func WithAdaptiveLimit(p AdaptivePolicy) Option {
	return func(c *config) error {
		if err := p.check(); err != nil {
			return fmt.Errorf("WithAdaptiveLimit: %w", err)
		}
		c.adaptive = &p
		return nil
	}
}
