package belay

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// WithRateLimit adds limits that the partner is known to have. In [Client.With] it adds limits that only
// the derived client counts; they are taken together with its parent's. The default is to know none.
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

// WithLimiter shares a limiter with other clients that spend from the same quota; limits of WithRateLimit
// come on top of it. In [Client.With] it takes the place of the parent's limits. Nil is an error.
func WithLimiter(l *Limiter) Option {
	return func(c *config) error {
		if !l.made() {
			return errors.New("WithLimiter: the limiter is nil or was not made by NewLimiter")
		}
		c.own().givenLimiter = l
		return nil
	}
}

// WithMaxInFlight bounds the attempts in flight, from sending until the body is closed or read. The
// default is 10, and less than 1 an error. In [Client.With] it adds a bound of the derived client's own.
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

// WithMaxQueue bounds the calls of one integration that wait for their turn, and those of all integrations at
// ten times as many; beyond it they fail with ErrQueueFull. The default is 10,000; zero refuses every wait.
func WithMaxQueue(n int) Option {
	return func(c *config) error {
		if n < 0 {
			return fmt.Errorf("WithMaxQueue: %d must not be negative", n)
		}
		c.own().maxQueue = n
		return nil
	}
}

// WithMaxWait bounds how long a call waits in line for its turn, pauses included; beyond it it fails with
// ErrWaitTooLong, at once where that is known. Zero, the default, is no bound but the context's and the
// call's [Patience], which goes before it; negative is an error.
func WithMaxWait(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithMaxWait: %s must not be negative", d)
		}
		c.own().maxWait = d
		return nil
	}
}

// WithCost says how many permits a request takes of each limit, where the call has no [Cost] of its own:
// 0 means 1, and a negative number fails the call. It runs once for each attempt, on the caller's goroutine,
// and must not change the request. Nil, the default, is 1 for every request.
func WithCost(f func(*http.Request) int) Option {
	return func(c *config) error { c.own().cost = f; return nil }
}

// WithAdaptiveLimit says how limits are found out that nobody told. It belongs to the limiter, so that in
// [Client.With] and with [WithLimiter] it holds for all who share that.
func WithAdaptiveLimit(p AdaptivePolicy) Option {
	return func(c *config) error {
		if err := p.check(); err != nil {
			return fmt.Errorf("WithAdaptiveLimit: %w", err)
		}
		c.adaptive = &p
		return nil
	}
}
