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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/errbody"
	"github.com/belay-go/belay/internal/errkit"
)

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
		{errkit.ErrAttemptTimeout, ClassTransient},
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
	v := Classify(
		&Attempt{Request: req, Response: respond(403, `{"ok":false,"error":"missing_scope","needed":"chat:write"}`)},
	)
	require.Equal(t, ClassAuth, v.Class)
	require.Equal(t, "(missing scope: chat:write)", v.Message)
	v = Classify(
		&Attempt{
			Request: req,
			Response: respond(
				403,
				`{"message":"Forbidden"}`,
				"Www-Authenticate",
				`Bearer error="insufficient_scope", scope="admin"`,
			),
		},
	)
	require.Equal(t, "Forbidden (missing scope: admin)", v.Message)
	v = Classify(
		&Attempt{
			Request:  req,
			Response: respond(403, `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`),
		},
	)
	require.Equal(t, ClassRateLimited, v.Class)
	require.Equal(t, ScopeCredential, v.Scope)
	v = Classify(&Attempt{Request: req, Response: respond(403, `x`, "Retry-After", "7")})
	require.Equal(t, 7*time.Second, v.RetryAfter)
	v = Classify(
		&Attempt{
			Request:  req,
			Response: respond(429, `{"error":{"code":429,"details":[{"retryDelay":"30s"}]}}`, "Retry-After", "0"),
		},
	)
	require.Equal(t, 30*time.Second, v.RetryAfter, "the exact wait stood in the body")
}

func TestPeek(t *testing.T) {
	t.Parallel()
	a := &Attempt{
		Response: &http.Response{
			Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
			Body:   io.NopCloser(strings.NewReader(`{"a":1}` + strings.Repeat(" ", 100<<10))),
		},
	}
	require.Len(t, a.Peek(), errbody.MaxBytes)
	require.Len(t, a.Peek(), errbody.MaxBytes)
	data, err := io.ReadAll(a.Response.Body)
	require.NoError(t, err)
	require.Len(t, data, 7+100<<10, "the caller still reads the whole")
	for contentType, text := range map[string]bool{
		"": true, "text/html": true, "application/problem+json": true,
		"application/xml": true, "application/x-www-form-urlencoded": true,
		"image/png": false, "application/octet-stream": false, "text/bad; =": true, "garbage/=;": false,
	} {
		a := &Attempt{
			Response: &http.Response{
				Header: http.Header{"Content-Type": {contentType}},
				Body:   io.NopCloser(strings.NewReader("x")),
			},
		}
		require.Equal(t, text, len(a.Peek()) == 1, contentType)
	}
	require.Nil(t, (&Attempt{}).Peek())
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
	require.JSONEq(
		t,
		`{"error":"belay: 599","class":"transient","status":599,"code":"","request_id":"","attempts":0}`,
		string(data),
	)
	request := Error{Method: "GET", URL: "https://partner.test/x", Err: io.EOF}
	for _, c := range []struct {
		status              int
		code, message, want string
	}{
		{0, "", "", "EOF"},
		{0, "expired", "", "expired: EOF"},
		{0, "", "connect again", "connect again: EOF"},
		{0, "expired", "connect again", "expired: connect again: EOF"},
		{401, "expired", "connect again", "401 Unauthorized expired: connect again: EOF"},
		{599, "", "connect again", "599: connect again: EOF"},
	} {
		e := request
		e.StatusCode, e.Code, e.Message = c.status, c.code, c.message
		require.Equal(t, "belay: GET https://partner.test/x: "+c.want, e.Error())
	}
	require.Equal(t, slog.KindGroup, e.LogValue().Kind())
	require.Equal(t, "unknown", Class(99).String())
	require.Equal(t, "unknown", Scope(99).String())
	require.Equal(t, "route", ScopeRoute.String())
	require.Equal(t, "open", BreakerState(7).String())
	why := errors.New("why")
	err = invalid("what: %w", why)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, errkit.Join(why, io.EOF), io.EOF)
	require.ErrorIs(t, errkit.Join(why, io.EOF), why)
	require.Equal(t, "why; EOF", errkit.Join(why, io.EOF).Error())
	require.Equal(t, why, errkit.Join(nil, why))
	require.Equal(t, why, errkit.Join(why, nil))
}

// The logger leaves out empty attributes, and writes every kind of event.
func TestLogEvents(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	o := NewLogObserver(slog.New(slog.NewTextHandler(&b, nil)))
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
	for _, want := range []string{
		"wait_ms=1000", "scope=route for_ms=1000", "state=open probe_in_ms=5000", "error=EOF", "ignored_header=Retry-After",
	} {
		require.Contains(t, b.String(), want)
	}
}
