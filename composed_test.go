package belay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tracked counts what happens to a body.
type tracked struct {
	r           io.Reader
	closed, eof *atomic.Int32
}

func (b *tracked) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		b.eof.Add(1)
	}
	return n, err
}

func (b *tracked) Close() error { b.closed.Add(1); return nil }

// script is a transport that always answers the same way, and counts.
type Script struct {
	status int
	header http.Header
	err    error
	hang   bool
	body   string

	sent, opened, respClosed, drained atomic.Int32
	reqClosed, keys                   atomic.Int32
	bodies                            []string
	key                               string
}

func (s *Script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.sent.Add(1)
	if req.Body != nil {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		s.bodies = append(s.bodies, string(data))
	}
	if k := req.Header.Get("Idempotency-Key"); k != s.key || k == "" {
		s.key = k
		s.keys.Add(1)
	}
	if s.hang {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	h := s.header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if v := h.Get("Retry-After"); strings.HasPrefix(v, "date+") {
		d, _ := time.ParseDuration(strings.TrimPrefix(v, "date+"))
		h.Set("Retry-After", time.Now().Add(d).UTC().Format(http.TimeFormat))
	}
	if s.status == http.StatusNoContent {
		return &http.Response{StatusCode: s.status, Header: h, Body: http.NoBody, Request: req}, nil
	}
	s.opened.Add(1)
	return &http.Response{
		StatusCode: s.status, Header: h, ContentLength: int64(len(s.body)), Request: req,
		Body: &tracked{strings.NewReader(s.body), &s.respClosed, &s.drained},
	}, nil
}

// row is one combination, and what must come of it.
type row struct {
	name              string
	script            *Script
	method            string
	key               bool
	once, with        bool // the body can be read once only; there is one
	deadline          time.Duration
	mode              string
	class             Class
	attempts          int
	slept, sleptMost  time.Duration
	failures, permits int
	is                []error
}

// rows generates the combinations. The expectations follow from the rules as they are documented, not from
// the code: what class an answer is of, which calls may be sent again, and how long to wait.
func rows() (all []row) {
	type answer struct {
		name     string
		status   int
		header   http.Header
		err      error
		hang     bool
		class    Class
		unsent   bool
		after    time.Duration // the wait that is told
		takes    time.Duration // by each attempt
		minPause time.Duration // a 429 without a wait pauses everybody, longer each time
	}
	ra := func(v string) http.Header { return http.Header{"Retry-After": {v}} }
	var answers []answer
	for _, s := range []int{200, 201, 204, 304} {
		answers = append(answers, answer{status: s, class: ClassOK})
	}
	for _, s := range []int{400, 402, 404, 405, 409, 410, 412, 413, 418, 422, 451, 501, 505} {
		answers = append(answers, answer{status: s, class: ClassClient})
	}
	answers = append(
		answers,
		answer{status: 401, class: ClassAuth},
		answer{status: 403, class: ClassAuth},
		answer{
			name:   "403 limit",
			status: 403,
			header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"2"}},
			class:  ClassRateLimited,
			after:  2 * time.Second,
		},
	)
	for _, s := range []int{408, 425, 500, 502, 503, 504, 520, 599} {
		answers = append(answers, answer{status: s, class: ClassTransient})
	}
	answers = append(answers, answer{status: 429, class: ClassRateLimited, minPause: 500 * time.Millisecond})
	for _, s := range []int{429, 503} {
		class := ClassRateLimited
		if s == 503 {
			class = ClassTransient
		}
		for v, after := range map[string]time.Duration{
			"2": 2 * time.Second, "2.0": 2 * time.Second, "date+3s": 3 * time.Second,
			"60": time.Minute, "61": 61 * time.Second, "86400": 24 * time.Hour,
		} {
			answers = append(
				answers,
				answer{name: fmt.Sprintf("%d Retry-After %s", s, v), status: s, header: ra(v), class: class, after: after},
			)
		}
		answers = append(
			answers,
			answer{
				name:   fmt.Sprintf("%d ms", s),
				status: s,
				header: http.Header{"Retry-After-Ms": {"2500"}},
				class:  class,
				after:  2500 * time.Millisecond,
			},
		)
		for _, v := range []string{"99999999999999999999", "40000000", "Fri, 31 Dec 9999 23:59:59 GMT"} {
			answers = append(answers, answer{
				name: fmt.Sprintf("%d Retry-After %.20s", s, v), status: s, header: ra(v), class: class, after: 366 * 24 * time.Hour,
			})
		}
		for _, v := range []string{
			"0", "-1", "Mon", "NaN", "1e999", strings.Repeat("9", 64<<10), "date+-10s",
		} {
			a := answer{name: fmt.Sprintf("%d Retry-After %.20s", s, v), status: s, header: ra(v), class: class}
			if s == 429 {
				a.minPause = 500 * time.Millisecond
			}
			answers = append(answers, a)
		}
	}
	answers = append(
		answers,
		answer{
			name:   "refused",
			err:    &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
			class:  ClassTransient,
			unsent: true,
		},
		answer{
			name:   "no such host",
			err:    &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}},
			class:  ClassTransient,
			unsent: true,
		},
		answer{name: "reset", err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}, class: ClassTransient},
		answer{name: "EOF", err: io.EOF, class: ClassTransient},
		answer{name: "attempt timeout", hang: true, class: ClassTransient, takes: 30 * time.Second},
	)

	kinds := []struct {
		method          string
		key, with, once bool
	}{
		{method: "GET"},
		{method: "HEAD"},
		{method: "DELETE"},
		{method: "PUT", with: true},
		{method: "PUT", with: true, once: true},
		{method: "POST", with: true},
		{method: "POST"},
		{method: "POST", with: true, once: true},
		{method: "POST", with: true, key: true},
		{method: "PATCH", with: true},
	}
	for _, a := range answers {
		if a.name == "" {
			a.name = fmt.Sprint(a.status)
		}
		for _, k := range kinds {
			for _, deadline := range []time.Duration{0, time.Second, canceled} {
				for _, mode := range []string{"Do", "Transport", "Send"} {
					r := row{
						script: &Script{
							status: a.status,
							header: a.header,
							err:    a.err,
							hang:   a.hang,
							body:   `{"message":"as scripted"}`,
						},
						method: k.method, key: k.key, with: k.with, once: k.once, deadline: deadline, mode: mode, class: a.class,
					}
					r.name = fmt.Sprintf(
						"%s/%s key=%t body=%t once=%t/deadline %s/%s",
						a.name,
						k.method,
						k.key,
						k.with,
						k.once,
						deadline,
						mode,
					)
					if deadline == canceled {
						r.class, r.attempts, r.is = ClassCanceled, 0, []error{context.Canceled}
						all = append(all, r)
						continue
					}
					idempotent := k.method != "POST" && k.method != "PATCH" || k.key
					again := a.class == ClassRateLimited || a.class == ClassTransient && (idempotent || a.unsent)
					r.attempts = 1
					if again && k.once {
						r.is = append(r.is, ErrNotReplayable)
						again = false
					}
					if a.hang && deadline > 0 {
						// The caller's own deadline passes first.
						r.slept, again = deadline, false
						r.is = []error{context.DeadlineExceeded}
					}
					if a.after > time.Minute {
						again = false
					}
					if deadline > 0 && max(a.after, a.minPause) > 0 && again {
						// The first wait is told (or, for a 429 without one, at most 500 ms); waits beyond the deadline are not begun.
						if a.after >= deadline {
							again = false
						} else {
							again = false
							r.attempts = -1 // one to three
							r.sleptMost = deadline
						}
					}
					switch {
					case again && deadline > 0:
						r.attempts, r.sleptMost = -1, deadline
					case again:
						r.attempts = 4
						r.slept = 4*a.takes + 3*a.after
						r.sleptMost = r.slept
						if a.after == 0 {
							r.sleptMost += 3500 * time.Millisecond // the jittered backoff, at most
						}
						if a.after > 0 && a.after < 2*time.Second {
							r.sleptMost += 2 * time.Second
						}
						if a.minPause > 0 {
							r.slept = 3500 * time.Millisecond
						}
					case r.attempts == 1:
						if r.slept == 0 {
							r.slept = a.takes
						}
						r.sleptMost = r.slept
					}
					if r.class == ClassTransient {
						r.failures = 1 // for each attempt
					}
					r.permits = 1
					if a.unsent {
						r.permits = 0
					}
					switch {
					case r.class == ClassTransient:
						r.is = append(r.is, ErrTransient, ErrUnavailable)
					case r.class == ClassRateLimited:
						r.is = append(r.is, ErrRateLimited, ErrUnavailable)
					case a.status == 401:
						r.is = append(r.is, ErrAuth)
					case a.status == 403:
						r.is = append(r.is, ErrForbidden)
					case a.status == 404, a.status == 410:
						r.is = append(r.is, ErrNotFound)
					case a.status == 409, a.status == 412:
						r.is = append(r.is, ErrConflict)
					case a.status == 400, a.status == 422:
						r.is = append(r.is, ErrInvalid)
					}
					if mode == "Send" && a.status == http.StatusNotModified {
						r.class, r.is = ClassClient, []error{ErrNotModified}
					}
					all = append(all, r)
				}
			}
		}
	}
	return all
}

// canceled stands for a context that is over before the call begins.
const canceled = time.Duration(-1)

func TestComposedPath(t *testing.T) {
	t.Parallel()
	all := rows()
	require.GreaterOrEqual(t, len(all), 200)
	t.Logf("%d rows", len(all))
	for _, r := range all {
		synctest.Test(t, func(t *testing.T) { r.run(t) })
		if t.Failed() {
			t.Fatalf("row %s", r.name)
		}
	}
}

func (r row) run(t *testing.T) {
	defer func() {
		if t.Failed() {
			t.Log("row", r.name)
		}
	}()
	const permits = 1000
	c, err := New("https://partner.test", WithTransport(r.script), WithRateLimit(Every(permits, 100*time.Hour)))
	require.NoError(t, err)
	ctx := context.Background()
	switch {
	case r.deadline > 0:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.deadline)
		defer cancel()
	case r.deadline == canceled:
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	}
	var reqEOF atomic.Int32
	var body any
	switch {
	case r.once:
		body = &tracked{strings.NewReader("content"), &r.script.reqClosed, &reqEOF}
	case r.with:
		body = []byte("content")
	}
	req, err := c.NewRequest(ctx, r.method, "/things", body)
	require.NoError(t, err)
	if r.key {
		req.Header.Set("Idempotency-Key", "k1")
	}
	before := req.Header.Clone()
	budget := c.set.retry.Budget.Tokens()

	start := time.Now()
	var resp *http.Response
	switch r.mode {
	case "Do":
		resp, err = c.Do(req)
	case "Transport":
		resp, err = c.Transport().RoundTrip(req)
	case "Send":
		var opts []CallOption
		if r.key {
			opts = append(opts, IdempotencyKey("k1"))
		}
		_, err = Send[map[string]any](ctx, c, r.method, "/things", body, opts...)
	}
	took := time.Since(start)
	sent := int(r.script.sent.Load())

	// The answer.
	answered := r.script.err == nil && !r.script.hang
	switch {
	case r.mode == "Send" && r.class == ClassOK:
		require.NoError(t, err)
	case r.mode != "Transport" && r.class != ClassOK:
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, r.class, e.Class)
		assert.Equal(t, sent, e.Attempts)
		if answered && sent > 0 && r.script.status != http.StatusNotModified {
			assert.Equal(t, r.script.status, e.StatusCode)
			assert.Equal(t, "as scripted", e.Message)
			assert.Equal(t, r.script.body, string(e.Body))
		}
		for _, target := range r.is {
			assert.ErrorIs(t, err, target)
		}
		assert.NotContains(t, err.Error(), "\n")
	case answered && r.class != ClassCanceled:
		require.NoError(t, err)
		assert.Equal(t, r.script.status, resp.StatusCode)
		assert.Same(t, req.URL, resp.Request.URL)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		if r.script.status != http.StatusNoContent {
			assert.Equal(t, r.script.body, string(data), "the last answer is whole")
		}
		require.NoError(t, resp.Body.Close())
	default:
		require.Error(t, err)
		if r.script.err != nil && sent > 0 {
			assert.ErrorIs(t, err, r.script.err)
		}
	}

	// The attempts, and the time.
	if r.attempts >= 0 {
		assert.Equal(t, r.attempts, sent, "attempts")
	} else {
		assert.GreaterOrEqual(t, sent, 1)
		assert.LessOrEqual(t, sent, 4)
	}
	assert.GreaterOrEqual(t, took, r.slept, "time")
	assert.LessOrEqual(t, took, r.sleptMost, "time")
	assert.Equal(t, before, req.Header, "the request was changed")

	// The bodies: every one closed and read to its end, so that its connection is used again.
	assert.Equal(t, r.script.opened.Load(), r.script.drained.Load(), "response bodies drained")
	assert.GreaterOrEqual(t, r.script.respClosed.Load(), r.script.opened.Load(), "response bodies closed")
	if r.once {
		assert.LessOrEqual(t, sent, 1)
		assert.GreaterOrEqual(t, r.script.reqClosed.Load(), int32(1), "request body closed")
	}
	if r.with {
		for _, b := range r.script.bodies {
			assert.Equal(t, "content", b, "every attempt sends the whole body")
		}
	}

	// What breaker, limiter and budget saw.
	failures := 0
	if o := c.set.breaker.of(originOf(c.base)); o != nil {
		failures = int(o.byPart[callPart{}].cb.Counts().TotalFailures)
	}
	if took < 30*time.Second { // and none has left the window
		assert.Equal(t, r.failures*sent, failures, "failures")
	}
	state, _ := c.set.breaker.State()
	assert.Equal(t, BreakerClosed, state)
	status := c.limiter.Status()
	assert.Equal(t, r.permits*sent, status.Limits[0].Used, "permits used")
	assert.Zero(t, status.Limits[1].Used, "places in flight")
	assert.Zero(t, status.Waiting)
	if r.class != ClassOK && sent > 0 && r.script.hang {
		assert.Equal(t, budget-timeoutCost*(sent-1), c.set.retry.Budget.Tokens())
	} else if r.class != ClassOK && sent > 0 {
		assert.Equal(t, budget-retryCost*(sent-1), c.set.retry.Budget.Tokens())
	}
	if errors.Is(err, context.DeadlineExceeded) && r.class != ClassCanceled && !r.script.hang {
		assert.Less(t, took, r.deadline, "slept to the deadline for nothing")
	}
}
