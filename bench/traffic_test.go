package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/sony/gobreaker/v2"

	"github.com/belay-go/belay"
)

// stacks are the ways to call the partner, by name, in the order of the table.
var stacks = []string{"belay", "belay patience", "handmade", "retryablehttp"}

// stack returns the function that makes a call by the stack of that name. Each attempt may take timeout, if that
// is not zero.
func stack(t *testing.T, name string, o *outage, timeout time.Duration) doer {
	t.Helper()
	switch name {
	case "handmade":
		return (&byHand{
			next: o, timeout: timeout,
			breaker: gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
				Timeout:     5 * time.Second,
				ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
			}),
			jitter: func(most time.Duration) time.Duration { return o.draw(0, most) },
		}).Do
	case "retryablehttp":
		c := retryablehttp.NewClient()
		c.Logger, c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = nil, 3, 500*time.Millisecond, 20*time.Second
		c.HTTPClient = &http.Client{Transport: o, Timeout: timeout}
		return c.StandardClient().Do
	}
	opts := []belay.Option{belay.WithTransport(o)}
	if timeout > 0 {
		opts = append(opts, belay.WithAttemptTimeout(timeout))
	}
	c, err := belay.New("https://partner.test", opts...)
	if err != nil {
		t.Fatal(err)
	}
	if name == "belay" {
		return c.HTTPClient().Do
	}
	return func(req *http.Request) (*http.Response, error) {
		ctx := belay.CallContext(req.Context(), belay.Patience(5*time.Minute))
		return c.HTTPClient().Do(req.WithContext(ctx))
	}
}

var errDown = errors.New("the partner is down")

// byHand is what many services write: four attempts with full jitter around a breaker with a fixed open time.
type byHand struct {
	next    http.RoundTripper
	timeout time.Duration
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	jitter  func(time.Duration) time.Duration
}

func (h *byHand) Do(req *http.Request) (*http.Response, error) {
	for wait := 500 * time.Millisecond; ; wait *= 2 {
		resp, err := h.attempt(req)
		if err == nil && resp.StatusCode < 500 || wait > 2*time.Second {
			return resp, err
		}
		if pass(req.Context(), h.jitter(wait)) != nil {
			return resp, err
		}
	}
}

func (h *byHand) attempt(req *http.Request) (*http.Response, error) {
	done, err := h.breaker.Allow()
	if err != nil {
		return nil, err
	}
	if h.timeout > 0 {
		ctx, cancel := context.WithTimeout(req.Context(), h.timeout)
		defer cancel()
		req = req.WithContext(ctx)
	}
	resp, err := h.next.RoundTrip(req)
	if err == nil && resp.StatusCode >= 500 {
		done(errDown)
	} else {
		done(err)
	}
	return resp, err
}

// trip is one call.
type trip struct {
	began, arrived, ended time.Time // arrived is the arrival of the request that succeeded
	ok                    bool
}

type tripKey struct{}

// traffic makes the calls of a scene and keeps them.
type traffic struct {
	do doer

	mu    sync.Mutex
	trips []*trip // by their ends
}

func (r *traffic) call(ctx context.Context) (ok bool) {
	c := &trip{began: time.Now()}
	ctx = context.WithValue(ctx, tripKey{}, c)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://partner.test/things", nil)
	if err != nil {
		panic(err)
	}
	if resp, err := r.do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		c.ok = resp.StatusCode < 400
	}
	c.ended = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trips = append(r.trips, c)
	return c.ok
}

// begin starts the traffic, which ends when stop is closed.
func (r *traffic) begin(ctx context.Context, mode string, wg *sync.WaitGroup, stop <-chan struct{}) {
	if mode == "open" {
		wg.Go(func() {
			for tick := time.NewTicker(openPace); ; {
				select {
				case <-tick.C:
					wg.Go(func() { r.call(ctx) })
				case <-stop:
					tick.Stop()
					return
				}
			}
		})
		return
	}
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !r.call(ctx) {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
}

// successes returns the ends of the calls that succeeded from since on.
func (r *traffic) successes(since time.Time) (ends []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.trips {
		if c.ok && !c.ended.Before(since) {
			ends = append(ends, c.ended)
		}
	}
	return ends
}
