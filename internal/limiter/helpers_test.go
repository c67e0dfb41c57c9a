package limiter

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every, PerSecond, PerMinute, PerHour and PerDay make limits as the root package does.
func Every(n int, per time.Duration) Limit { return Limit{N: n, Per: per} }

func PerSecond(n int) Limit { return Every(n, time.Second) }
func PerMinute(n int) Limit { return Every(n, time.Minute) }
func PerHour(n int) Limit   { return Every(n, time.Hour) }
func PerDay(n int) Limit    { return Every(n, 24*time.Hour) }

func (l Limit) Shared(q Quota) Limit {
	l.Quota, l.Fallback = q, DefaultFallback
	return l
}

func (l Limit) FailOpen() Limit        { l.Fallback = FailOpen; return l }
func (l Limit) FailClosed() Limit      { l.Fallback = FailClosed; return l }
func (l Limit) Fixed() Limit           { l.Kind = Fixed; return l }
func (l Limit) Bucket(burst int) Limit { l.Kind, l.Burst = Bucket, burst; return l }

// when makes l count only the requests that match.
func when(l Limit, match func(*http.Request) bool) Limit {
	l.When = match
	return l
}

// Writes matches POST.
func Writes(req *http.Request) bool { return req.Method == http.MethodPost }

// acquire is what the root package does: the fast path, and then the other.
func acquire(ctx context.Context, l *Limiter, r *Reservation) error {
	if ctx.Err() == nil && l.TryAcquire(r) {
		return nil
	}
	return l.Acquire(ctx, r)
}

// release settles and releases.
func release(l *Limiter, r *Reservation, o Outcome) {
	l.Settle(r, o)
	l.Release(r)
}

// requireTooLong requires a Refusal for a wait that is too long.
func requireTooLong(t *testing.T, err error) {
	t.Helper()
	var r *Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, WaitTooLong, r.Reason)
}

func limiterOf(t *testing.T, limits ...Limit) *Limiter {
	t.Helper()
	l, err := New(limits...)
	require.NoError(t, err)
	return l
}

// ticketFor returns the ticket of a request.
func ticketFor(method string) *Reservation {
	return &Reservation{
		Ask: Ask{Request: &http.Request{Method: method, URL: &url.URL{Scheme: "https", Host: "partner.test"}}},
	}
}

// send sends a call that waits for at most an hour and is answered at once, with headers.
func send(t *testing.T, l *Limiter, r *Reservation, headers ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := acquire(ctx, l, r); err != nil {
		t.Error(err)
		return
	}
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	l.Read(r, h)
	release(l, r, Outcome{Answered: true})
}

// sendSome makes n calls one after the other and returns how many of them go at once; those are not answered.
func sendSome(t *testing.T, l *Limiter, n int) (gone int) {
	t.Helper()
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if acquire(ctx, l, &Reservation{}) == nil {
			gone++
		}
		cancel()
	}
	return gone
}

// rounds returns how often l has looked at the calls that wait.
func rounds(l *Limiter) uint64 {
	l.sched.mu.Lock()
	defer l.sched.mu.Unlock()
	return l.sched.looks
}

type quotaFunc func(ctx context.Context, n int) (time.Duration, error)

func (q quotaFunc) Take(ctx context.Context, n int) (time.Duration, error) { return q(ctx, n) }

var errStoreDown = errors.New("the store is down")
