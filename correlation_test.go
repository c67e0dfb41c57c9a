package belay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// An id that came with a request to one's own service is in the partner's request, in each event and in each line of the
// log.
func TestCorrelationFromEndToEnd(t *testing.T) {
	t.Parallel()
	var events []belay.Event
	var log bytes.Buffer
	var got []string
	n := 0
	c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("X-Request-Id"))
		if n++; n == 1 {
			return testkit.Reply(429, "Retry-After", "0"), nil
		}
		return testkit.Raw(200, "application/json", `{"items":[]}`), nil
	}), belay.WithCorrelationHeader("x-request-id"), belay.WithLogger(slog.New(slog.NewJSONHandler(&log,
		&slog.HandlerOptions{Level: slog.LevelDebug}))),
		belay.WithRetry(belay.RetryPolicy{BaseDelay: 1}),
		belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) { events = append(events, e) })))
	var failed error
	h := belay.CorrelationHandler("X-Request-ID", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, "abc-1", belay.CorrelationID(r.Context()))
		failed = get(r.Context(), c, "/x")
		for _, err := range belay.Pages[belay.None](r.Context(), c, "/list", belay.CursorPages{Items: "items", Cursor: "next", Param: "after"}) {
			require.NoError(t, err)
		}
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Request-ID", "abc-1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.NoError(t, failed)
	require.Equal(t, "abc-1", w.Header().Get("X-Request-ID"))
	require.Equal(t, []string{"abc-1", "abc-1", "abc-1"}, got)
	require.NotEmpty(t, events)
	for _, e := range events {
		raw, err := json.Marshal(e)
		require.NoError(t, err)
		require.Contains(t, string(raw), `"Correlation":"abc-1"`, "%T", e)
	}
	for line := range strings.Lines(log.String()) {
		require.Contains(t, line, `"correlation_id":"abc-1"`)
	}
}

// An id from outside is bounded and cannot break a header or a line; without one there is a new one.
func TestCorrelationBadInput(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a b\r\nX: y\x00ü": "abX:y", strings.Repeat("x", 500): strings.Repeat("x", 128),
	} {
		require.Equal(t, want, belay.CorrelationID(belay.CallContext(t.Context(), belay.Correlation(in))))
	}
	var ids []string
	h := belay.CorrelationHandler("", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ids = append(ids, belay.CorrelationID(r.Context()))
	}))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, ids[len(ids)-1], w.Header().Get("X-Correlation-Id"))
	}
	require.Len(t, ids[0], 26)
	require.NotEqual(t, ids[0], ids[1])
	_, err := belay.New("https://partner.test", belay.WithCorrelationHeader("a b"))
	require.ErrorContains(t, err, "WithCorrelationHeader: \"a b\" is not the name of a header")
	var nothing context.Context
	require.Empty(t, belay.CorrelationID(nothing))
}

// The caller's own header stays, a call without an id sends none, and another origin gets none.
func TestCorrelationIsSentWhereItBelongs(t *testing.T) {
	t.Parallel()
	got := make(map[string][]string)
	c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got[req.URL.Host+req.URL.Path] = req.Header["X-Correlation-Id"]
		if req.URL.Path == "/away" {
			return testkit.Reply(302, "Location", "https://elsewhere.test/there"), nil
		}
		return testkit.Reply(200), nil
	}), belay.WithCorrelationHeader(""), belay.WithRedirects(belay.RedirectAny))
	ctx := belay.CallContext(t.Context(), belay.Correlation("abc"))
	require.NoError(t, get(ctx, c, "/away"))
	require.NoError(t, get(ctx, c, "/own", belay.Header("X-Correlation-ID", "mine")))
	require.NoError(t, get(ctx, c, "/other", belay.Correlation("xyz")))
	require.NoError(t, get(t.Context(), c, "/none"))
	require.Equal(t, map[string][]string{
		"partner.test/away": {"abc"}, "elsewhere.test/there": nil, "partner.test/own": {"mine"},
		"partner.test/other": {"xyz"}, "partner.test/none": nil,
	}, got)
}
