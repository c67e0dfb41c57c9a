package belay

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/limiter"
)

// More limits than a ticket has room for by itself.
func TestManyLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var limits []Limit
		for i := range 10 {
			limits = append(limits, Every(10+i, time.Second))
		}
		l, err := NewLimiter(limits...)
		require.NoError(t, err)
		start := time.Now()
		var ticket Ticket
		for range 30 {
			require.NoError(t, l.Acquire(t.Context(), &ticket))
			l.Release(&ticket, Outcome{Sent: true})
		}
		require.InDelta(t, 2, time.Since(start).Seconds(), 0.11)
		require.Equal(t, "10 per 1s", limits[0].String())
		require.Equal(t, "7 in flight", Limit{spec: limiter.Limit{N: 7, Kind: limiter.InFlight}}.String())
		require.InDelta(t, 0.4, PerSecond(10).Headroom(0.8).Headroom(0.5).spec.Headroom, 1e-9)
		require.Equal(t, 1, limiterOf(t, PerSecond(1).Headroom(0.1)).Status().Limits[0].Max)
		require.Equal(t, 24*time.Hour, PerDay(1).spec.Per)
	})
}

func TestWriteDoesNotProbeBeforeAReadThatIsParked(t *testing.T) {
	t.Parallel()
	b := newBreaker(BreakerPolicy{}.withDefaults(0))
	require.False(t, b.otherWaiters())
	b.waiting = []*circuitWaiter{{unsafe: true}, {}}
	require.True(t, b.otherWaiters())
	b.waiting = b.waiting[:1]
	require.False(t, b.otherWaiters())
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	var none *Error
	require.Equal(t, "belay: <nil>", none.Error())
	e := &Error{Verdict: Verdict{Class: ClassTransient}}
	require.Equal(t, "belay: transient", e.Error())
	_, ok := RetryAfter(errors.New("x"))
	require.False(t, ok)
	_, ok = RetryAfter(e)
	require.False(t, ok)
	e.StatusCode = 599
	require.Equal(t, "belay: 599", e.Error())
	require.Equal(t, `&belay.Error{"belay: 599"}`, fmt.Sprintf("%#v", e))
	data, err := json.Marshal(e)
	require.NoError(t, err)
	require.JSONEq(t, `{"error":"belay: 599","class":"transient","status":599,"code":"","request_id":"","attempts":0}`, string(data))
	require.Equal(t, slog.KindGroup, e.LogValue().Kind())
	require.Equal(t, "unknown", Class(99).String())
	require.Equal(t, "unknown", Scope(99).String())
	require.Equal(t, "route", ScopeRoute.String())
	require.Equal(t, "open", BreakerState(7).String())
	why := errors.New("why")
	err = invalid("what: %w", why)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, fault.Join(why, io.EOF), io.EOF)
	require.ErrorIs(t, fault.Join(why, io.EOF), why)
	require.Equal(t, "why; EOF", fault.Join(why, io.EOF).Error())
	require.Equal(t, why, fault.Join(nil, why))
	require.Equal(t, why, fault.Join(why, nil))
}

func TestClassifyCorners(t *testing.T) {
	t.Parallel()
	require.Equal(t, ClassClient, Classify(&Attempt{}).Class)
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range []struct {
		err  error
		want Class
	}{
		{&tls.CertificateVerificationError{Err: errors.New("expired")}, ClassClient},
		{errors.New(`unsupported protocol scheme "gopher"`), ClassClient},
		{refuse(ErrCircuitOpen, time.Second), ClassRefused},
		{fmt.Errorf("x: %w", ErrBodyTooLarge), ClassData},
		{fault.ErrAttemptTimeout, ClassTransient},
	} {
		require.Equal(t, c.want, Classify(&Attempt{Request: req, Err: c.err}).Class, c.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, ClassCanceled, Classify(&Attempt{Request: req.WithContext(ctx), Err: io.EOF}).Class)
	respond := func(status int, body string, kv ...string) *http.Response {
		h := http.Header{}
		for i := 0; i+1 < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
	}
	v := Classify(&Attempt{Request: req, Response: respond(403, `{"ok":false,"error":"missing_scope","needed":"chat:write"}`)})
	require.Equal(t, ClassAuth, v.Class)
	require.Equal(t, "(missing scope: chat:write)", v.Message)
	v = Classify(&Attempt{Request: req, Response: respond(403, `{"message":"Forbidden"}`, "Www-Authenticate", `Bearer error="insufficient_scope", scope="admin"`)})
	require.Equal(t, "Forbidden (missing scope: admin)", v.Message)
	v = Classify(&Attempt{Request: req, Response: respond(403, `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`)})
	require.Equal(t, ClassRateLimited, v.Class)
	require.Equal(t, ScopeCredential, v.Scope)
	v = Classify(&Attempt{Request: req, Response: respond(403, `x`, "Retry-After", "7")})
	require.Equal(t, 7*time.Second, v.RetryAfter)
	v = Classify(&Attempt{Request: req, Response: respond(429, `{"error":{"code":429,"details":[{"retryDelay":"30s"}]}}`, "Retry-After", "0")})
	require.Equal(t, 30*time.Second, v.RetryAfter, "the exact wait stood in the body")
}

func TestPeek(t *testing.T) {
	t.Parallel()
	a := &Attempt{Response: &http.Response{Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: io.NopCloser(strings.NewReader(`{"a":1}` + strings.Repeat(" ", 100<<10)))}}
	require.Len(t, a.Peek(), maxErrorBody)
	require.Len(t, a.Peek(), maxErrorBody)
	data, err := io.ReadAll(a.Response.Body)
	require.NoError(t, err)
	require.Len(t, data, 7+100<<10, "the caller still reads the whole")
	for contentType, text := range map[string]bool{
		"": true, "text/html": true, "application/problem+json": true, "application/xml": true, "application/x-www-form-urlencoded": true,
		"image/png": false, "application/octet-stream": false, "text/bad; =": true, "garbage/=;": false,
	} {
		a := &Attempt{Response: &http.Response{Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader("x"))}}
		require.Equal(t, text, len(a.Peek()) == 1, contentType)
	}
	require.Nil(t, (&Attempt{}).Peek())
}

// A request with a context of its own, and what belongs to it, comes back unchanged.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(200, "ok"), WithTimeout(time.Minute), WithEnabled(func() bool { return true }))
	req := httptest.NewRequest(http.MethodGet, "https://partner.test/x", nil)
	req.RequestURI, req.Header, req.Method = "", nil, ""
	resp, err := c.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "ok", string(data))
	n, err := resp.Body.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, resp.Body.Close(), "closing twice is no harm")
	require.Zero(t, c.limiter.Status().Limits[0].Used)

	bad := CallContext(t.Context(), Cost(-1))
	req, err = http.NewRequestWithContext(bad, http.MethodPost, "https://partner.test/x", strings.NewReader("x"))
	require.NoError(t, err)
	_, err = c.Do(req)
	require.ErrorContains(t, err, "Cost: -1")
	_, err = c.Transport().RoundTrip(req)
	require.ErrorContains(t, err, "Cost: -1")
	require.Equal(t, ErrInvalid.Error(), "belay: invalid")
}

// An upgraded connection is the caller's.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	type pipe struct{ io.ReadWriteCloser }
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 101, Header: http.Header{}, Body: pipe{}, Request: req}, nil
	})
	c := clientOf(t, rt, WithMaxInFlight(1), WithMaxQueue(0))
	for range 3 {
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/ws", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		require.IsType(t, pipe{}, resp.Body)
	}
}

// A body that cannot be opened again for a retry is named.
func TestGetBodyFails(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(500, ""), WithRetry(RetryPolicy{BaseDelay: time.Nanosecond}))
	opened := 0
	_, err := Put[None](t.Context(), c, "/", StreamBody("text/plain", -1, func() (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return nil, errors.New("the file is gone")
		}
		return io.NopCloser(strings.NewReader("x")), nil
	}))
	require.ErrorContains(t, err, "the file is gone")
	require.ErrorIs(t, err, ErrNotReplayable)
}

type odd struct{ err error }

func (o odd) Credential(context.Context) (Credential, error) { return o, nil }
func (o odd) Apply(*http.Request) error                      { return o.err }

// An authenticator that cannot be compared, and a credential that cannot be applied.
func TestOddAuthenticators(t *testing.T) {
	t.Parallel()
	type slice struct {
		odd
		_ []int
	}
	c := clientOf(t, answer(200, "{}"), WithAuth(slice{}))
	_, err := Get[None](t.Context(), c, "/")
	require.NoError(t, err)
	_, err = Get[None](t.Context(), c, "/", Auth(odd{errors.New("no key for the signature")}))
	require.ErrorContains(t, err, "no key for the signature")
	require.Zero(t, c.limiter.Status().Limits[0].Used)
}

// A classifier's word holds, but what the transport knows stays.
func TestClassifierAndTransportErrors(t *testing.T) {
	t.Parallel()
	n := 0
	rt := transportFunc(func(*http.Request) (*http.Response, error) { n++; return nil, io.EOF })
	c := clientOf(t, rt, WithClassifier(func(*Attempt) Verdict { return Verdict{Class: ClassTransient, RetryAfter: -5} }), WithRetry(RetryPolicy{BaseDelay: time.Nanosecond}))
	_, err := Post[None](t.Context(), c, "/", nil)
	require.ErrorIs(t, err, ErrTransient)
	require.Equal(t, 1, n, "EOF may have been processed")
	fine := clientOf(t, answer(404, "{}"), WithClassifier(func(*Attempt) Verdict { return Verdict{} }))
	got, err := Get[map[string]any](t.Context(), fine, "/")
	require.NoError(t, err, "404 is an answer for this partner")
	require.Empty(t, got)
}

// Discarded answers: large ones are not read, endless ones not for long.
func TestDiscard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, rt := range map[string]transportFunc{
			"large": func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}}, ContentLength: 1 << 20, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))}, nil
			},
			"endless": func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}}, ContentLength: -1, Body: io.NopCloser(zeros{})}, nil
			},
			"stuck": func(req *http.Request) (*http.Response, error) {
				r, w := io.Pipe()
				_ = w
				return &http.Response{StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}}, ContentLength: -1, Body: r}, nil
			},
		} {
			c := clientOf(t, rt, WithRetry(RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}))
			start := time.Now()
			_, err := Get[None](t.Context(), c, "/")
			require.ErrorIs(t, err, ErrTransient, name)
			require.Less(t, time.Since(start), 6*time.Second, name)
			require.Zero(t, c.limiter.Status().Limits[0].Used, name)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestSmallParts(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/a/b", joinPath("/a", "b"))
	require.Equal(t, "/a/b", joinPath("/a/", "/b"))
	require.Equal(t, "/a/b", joinPath("/a/", "b"))
	require.Equal(t, "/a", joinPath("/a", ""))
	require.Nil(t, mustBody(t, (*Body)(nil)))
	require.NotNil(t, mustBody(t, &Body{open: func() (io.ReadCloser, error) { return http.NoBody, nil }}))
	old := http.DefaultTransport
	http.DefaultTransport = answer(200, "")
	defer func() { http.DefaultTransport = old }()
	require.Equal(t, 7, newTransport(7).MaxIdleConnsPerHost)
	resp, err := Chain(nil).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	c := clientOf(t, answer(200, `{"a":1}`))
	for _, send := range []func() (map[string]int, error){
		func() (map[string]int, error) { return Put[map[string]int](t.Context(), c, "/", nil) },
		func() (map[string]int, error) { return Patch[map[string]int](t.Context(), c, "/", nil) },
		func() (map[string]int, error) { return Delete[map[string]int](t.Context(), c, "/") },
	} {
		got, err := send()
		require.NoError(t, err)
		require.Equal(t, 1, got["a"])
	}
	none := clientOf(t, answer(204, ""))
	got, err := Get[map[string]int](t.Context(), none, "/")
	require.NoError(t, err)
	require.Nil(t, got)
	again, err := c.With(Without(LayerRetry), Without(LayerBreaker, LayerLimits, LayerTimeout))
	require.NoError(t, err)
	require.Nil(t, again.limiter)
	require.Nil(t, again.set.retry)
	require.Nil(t, again.set.breaker)
	require.Zero(t, again.set.attemptTimeout)
	_, err = Get[None](t.Context(), again, "/")
	require.NoError(t, err)
	_, err = c.With(WithRateLimit(make([]Limit, 70)...))
	require.Error(t, err)
	limits := make([]Limit, 70)
	for i := range limits {
		limits[i] = PerSecond(1)
	}
	_, err = c.With(WithRateLimit(limits...))
	require.ErrorContains(t, err, "at most 64")
}

func mustBody(t *testing.T, v any) *Body {
	t.Helper()
	b, err := bodyOf(v)
	require.NoError(t, err)
	return b
}

// A redirect elsewhere whose answer is read whole, bounded, and one that breaks off.
func TestRedirectElsewhere(t *testing.T) {
	t.Parallel()
	body := io.Reader(strings.NewReader(`{"a":1}`))
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host == "partner.test" {
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://files.test/x"}}, Body: http.NoBody, Request: req}, nil
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1, Request: req}, nil
	})
	c := clientOf(t, rt, WithRedirects(RedirectAny), WithMaxResponseBytes(1<<20))
	got, err := Get[map[string]int](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, 1, got["a"])
	body = io.MultiReader(strings.NewReader(`{"a":`), &tail{nil, io.ErrUnexpectedEOF})
	_, err = Get[map[string]int](t.Context(), c, "/")
	require.ErrorIs(t, err, ErrTransient)
	body = zeros{}
	_, err = Get[map[string]int](t.Context(), c, "/")
	require.ErrorIs(t, err, ErrBodyTooLarge)
	same := &stack{set: &settings{}}
	req := httptest.NewRequest(http.MethodGet, "https://a.test/", nil)
	require.NoError(t, same.checkRedirect(req, []*http.Request{req}))
	require.Error(t, same.checkRedirect(httptest.NewRequest(http.MethodGet, "https://b.test/", nil), []*http.Request{req}))
}

// The logger leaves out what is empty, and writes every kind of event.
func TestLogEvents(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	o := logObserver{slog.New(slog.NewTextHandler(&b, nil))}
	for _, e := range []Event{
		CallDone{},
		AttemptDone{},
		Retrying{Wait: time.Second},
		Paused{Scope: ScopeRoute, For: time.Second},
		CircuitChanged{State: BreakerOpen, OpenFor: 5 * time.Second},
		AttemptDone{Verdict: Verdict{Class: ClassTransient}, Err: io.EOF, Ignored: "Retry-After"},
	} {
		e.event()
		o.Observe(t.Context(), e)
	}
	require.Equal(t, 4, strings.Count(b.String(), "\n"), b.String())
	for _, want := range []string{"wait_ms=1000", "scope=route for_ms=1000", "state=open open_ms=5000", "error=EOF", "ignored_header=Retry-After"} {
		require.Contains(t, b.String(), want)
	}
}
