package belay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/schema"
)

// A redactor may write into what it gets: it is no part of the answer.
func TestRedactorMayWrite(t *testing.T) {
	t.Parallel()
	body := `{"error":{"code":"E1234","message":"order 5678 is gone"},"filler":"` + strings.Repeat("x", 6000) + `"}`
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Raw(404, "application/json", body), nil })
	c := newClient(t, rt, belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) {})),
		belay.WithRedactor(func(_ string, b []byte) string {
			for i := range b {
				b[i] = '*'
			}
			return string(append(b, " (cut by our log)"...))
		}))
	resp, err := c.HTTPClient().Get("https://partner.test/x")
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, body, string(got))
	var e *belay.Error
	require.ErrorAs(t, get(t.Context(), c, "/x"), &e)
	require.Equal(t, body[:100], string(e.Body[:100]))
}

// No part of a secret is shown where a text is cut: in the bodies, the names of fields, the content type and the link.
func TestSecretsAcrossCuts(t *testing.T) {
	t.Parallel()
	var parts []string
	for i := range 15 {
		parts = append(parts, fmt.Sprintf("Zq%02dkV7w", i))
	}
	token := strings.Join(parts, "") // 135 bytes
	identity := belay.WithRedactor(func(kind string, b []byte) string { return kind + " " + string(b) })
	closed := belay.Expect(&schema.Schema{Fields: map[string]schema.Kind{"id": schema.Number}, Closed: true, Mode: schema.Reject})
	for name, c := range map[string]struct {
		status     int
		kind, body string
		header     []string
		opts       []belay.Option
		call       []belay.CallOption
	}{
		"a body, by a redactor":         {400, "application/json", `{"a":"` + strings.Repeat("x", 4096-60) + token + `"}`, nil, []belay.Option{identity}, nil},
		"a field's name":                {500, "application/json", `{"` + token + `":1}`, nil, nil, nil},
		"a content type":                {500, "text/" + token, `x`, nil, nil, nil},
		"a content type, by a redactor": {500, "text/" + token, `x`, nil, []belay.Option{identity}, nil},
		"a field that is not known":     {200, "application/json", `{"id":1,"` + token + `":{"x":1}}`, nil, nil, []belay.CallOption{closed}},
		"a link": {200, "application/json", `{}`, []string{
			"Sunset", "Wed, 31 Dec 2031 23:59:59 GMT", "Link", "<https://partner.test/" + strings.Repeat("long/", 195) + token + ">; rel=sunset",
		}, nil, nil},
	} {
		var log bytes.Buffer
		var events []string
		client := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			resp := testkit.Raw(c.status, c.kind, c.body)
			for i := 0; i < len(c.header); i += 2 {
				resp.Header.Set(c.header[i], c.header[i+1])
			}
			return resp, nil
		}), append(c.opts, belay.WithAuth(belay.Bearer(belay.NewSecret(token))), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1}),
			belay.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				events = append(events, fmt.Sprintf("%+v", e))
			})))...)
		_, err := belay.Get[map[string]any](t.Context(), client, "/x", c.call...)
		all := fmt.Sprint(log.String(), events, err)
		require.NotEmpty(t, events)
		for _, part := range parts {
			require.NotContains(t, all, part, name)
		}
	}
}

// What another origin says of its endpoints is not the partner's word; an observer that is added is told anew.
func TestDeprecatedElsewhere(t *testing.T) {
	t.Parallel()
	told := func(n *int) belay.Option {
		return belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			if _, ok := e.(belay.Deprecated); ok {
				*n++
			}
		}))
	}
	var first, second int
	c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/away" {
			return testkit.Reply(302, "Location", "https://cdn.test/x"), nil
		}
		return testkit.Reply(200, "Deprecation", "true"), nil
	}), belay.WithRedirects(belay.RedirectAny), told(&first))
	require.NoError(t, get(t.Context(), c, "/away"))
	require.Zero(t, first)
	require.NoError(t, get(t.Context(), c, "/x"))
	derived, err := c.With(told(&second))
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), derived, "/x"))
	require.NoError(t, get(t.Context(), derived, "/x"))
	require.Equal(t, 1, second)
}

// Raw items need not be UTF-8, with a schema neither.
func TestExpectOfOtherText(t *testing.T) {
	t.Parallel()
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(200, "application/json", "{\"items\":[{\"id\":1,\"name\":\"M\xfcller\"}]}"), nil
	}))
	n := 0
	for _, err := range belay.Items[json.RawMessage](t.Context(), c, "/x", belay.CursorPages{Items: "items", Cursor: "next", Param: "after"},
		belay.Expect(&schema.Schema{Fields: map[string]schema.Kind{"items[].id": schema.Number}, Mode: schema.Reject})) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 1, n)
}

// A correlation id makes no other answer of a kept one.
func TestKeptInSpiteOfCorrelation(t *testing.T) {
	t.Parallel()
	calls := 0
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		calls++
		return testkit.Raw(200, "application/json", `{}`), nil
	}), belay.WithCache(memory(t), belay.CachePolicy{TTL: time.Hour}), belay.WithCorrelationHeader("X-Trace"))
	for i := range 3 {
		_, err := belay.Get[map[string]any](t.Context(), c, "/x", belay.Correlation(fmt.Sprint("id", i)))
		require.NoError(t, err)
	}
	require.Equal(t, 1, calls)
}

// A line about many calls has no fields of one; the large heap of an import is logged once a run, however many fail.
func TestLogOfManyHasNoFieldsOfOne(t *testing.T) {
	t.Parallel()
	got := lines(t, slog.LevelInfo, func(l *slog.Logger) {
		o := belay.NewLogObserver(l)
		for i := range 6 {
			o.Observe(belay.LogContext(t.Context(), slog.String("tenant", fmt.Sprint(i))), failedCall("", belay.ClassTransient, 500, nil))
		}
	}, "tenant")
	require.Equal(t, "ERROR failing: the same failures are counted from here", got[len(got)-1])
	require.Equal(t, "ERROR call tenant=4", got[len(got)-2])
	got = lines(t, slog.LevelWarn, func(l *slog.Logger) {
		o := belay.NewLogObserver(l)
		for run := range uint64(1100) {
			e := belay.ImportProgress{Import: "people", Run: run, PeakHeap: 600 << 20}
			o.Observe(t.Context(), e)
			o.Observe(t.Context(), e)
			e.Ended, e.Err = true, io.ErrUnexpectedEOF
			o.Observe(t.Context(), e)
		}
	})
	require.Len(t, got, 2200)
}

func TestCorrelationHeaderNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"content-length", "Host", "Authorization", "Trailer", "Transfer-Encoding"} {
		_, err := belay.New("https://partner.test", belay.WithCorrelationHeader(name))
		require.ErrorContains(t, err, "is used otherwise")
	}
}
