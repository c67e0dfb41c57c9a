package main

import (
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
)

// handMade is the usual hand-made stack: two rate limiters, a semaphore, a breaker and a retry loop.
type handMade struct {
	next    http.RoundTripper
	limits  []*rate.Limiter
	slots   chan struct{}
	breaker *gobreaker.TwoStepCircuitBreaker[any]
}

func newHandMade(next http.RoundTripper) *handMade {
	return &handMade{
		next:    next,
		limits:  []*rate.Limiter{rate.NewLimiter(1e8, 1e6), rate.NewLimiter(1e8, 1e6)},
		slots:   make(chan struct{}, 10),
		breaker: gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{Interval: time.Minute}),
	}
}

func (h *handMade) RoundTrip(req *http.Request) (*http.Response, error) {
	var wait *backoff.ExponentialBackOff
	for attempt := 1; ; attempt++ {
		resp, err := h.attempt(req)
		if err == nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests || attempt == 4 {
			return resp, err
		}
		if wait == nil {
			wait = backoff.NewExponentialBackOff()
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-req.Context().Done():
			return resp, err
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func (h *handMade) attempt(req *http.Request) (*http.Response, error) {
	for _, l := range h.limits {
		if err := l.Wait(req.Context()); err != nil {
			return nil, err
		}
	}
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	done, err := h.breaker.Allow()
	if err != nil {
		return nil, err
	}
	resp, err := h.next.RoundTrip(req)
	done(err)
	return resp, err
}
