package belay_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// hangs is a body that gives nothing until the request ends.
type hangs struct{ ctx context.Context }

func (h hangs) Read([]byte) (int, error) { <-h.ctx.Done(); return 0, h.ctx.Err() }

// A write that was answered with success is told as done, whatever is wrong with its answer.
func TestWriteThatWasDoneAndIsRefused(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		sent := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if sent++; sent > 1 {
				return testkit.Reply(503), nil
			}
			resp := testkit.Reply(201, "Content-Type", "application/json")
			resp.ContentLength, resp.Body = -1, io.NopCloser(breaking{})
			return resp, nil
		})
		_, err := belay.Post[map[string]any](t.Context(), newClient(t, rt), "/", struct{}{}, belay.IdempotencyKey("k"))
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Greater(t, sent, 1)
		require.True(t, e.Done, "the first answer has said so")
	})
}

func TestWritesThatWereDone(t *testing.T) {
	t.Parallel()
	type made struct{ ID string }
	for name, c := range map[string]struct {
		method string
		body   func(*http.Request) io.Reader
		opts   []belay.CallOption
		sent   int
	}{
		"a cut body":          {"POST", func(*http.Request) io.Reader { return io.MultiReader(strings.NewReader(`{"I`), breaking{}) }, nil, 1},
		"a cut body, no byte": {"PATCH", func(*http.Request) io.Reader { return breaking{} }, nil, 1},
		"a key": {
			"POST", func(*http.Request) io.Reader { return breaking{} },
			[]belay.CallOption{belay.IdempotencyKey("k")},
			4,
		},
		"PUT":            {"PUT", func(*http.Request) io.Reader { return breaking{} }, nil, 4},
		"DELETE":         {"DELETE", func(*http.Request) io.Reader { return breaking{} }, nil, 4},
		"a body hangs":   {"POST", func(r *http.Request) io.Reader { return hangs{r.Context()} }, nil, 1},
		"an empty body":  {"POST", func(*http.Request) io.Reader { return strings.NewReader("") }, nil, 1},
		"a line of text": {"POST", func(*http.Request) io.Reader { return strings.NewReader("created") }, nil, 1},
		"another shape":  {"POST", func(*http.Request) io.Reader { return strings.NewReader(`{"ID":[]}`) }, nil, 1},
		"null":           {"POST", func(*http.Request) io.Reader { return strings.NewReader("null") }, nil, 1},
		"too large":      {"POST", func(*http.Request) io.Reader { return testkit.Endless{} }, nil, 1},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			sent := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				sent++
				resp := testkit.Reply(201, "Content-Type", "application/json")
				resp.ContentLength, resp.Body = -1, io.NopCloser(c.body(req))
				return resp, nil
			})
			var last belay.CallDone
			cl := newClient(t, rt, belay.WithMaxResponseBytes(1000), belay.WithObserver(belay.ObserverFunc(
				func(_ context.Context, e belay.Event) {
					if done, ok := e.(belay.CallDone); ok {
						last = done
					}
				})))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := belay.Send[made](ctx, cl, c.method, "/", made{}, c.opts...)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, 201, e.StatusCode)
			require.True(t, e.Done)
			require.Equal(t, belay.ClassData, e.Class)
			require.Equal(t, belay.ClassData, last.Verdict.Class)
			require.NotErrorIs(t, err, belay.ErrUnavailable)
			require.ErrorContains(t, err, "the call was done")
			require.Equal(t, c.sent, sent)
			_, err = belay.Send[belay.None](ctx, cl, c.method, "/", made{}, c.opts...)
			require.NoError(t, err, "nobody reads the answer")
		})
	}
	testkit.Bubble(t, "a GET is not a write", func(t *testing.T) {
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			resp := testkit.Reply(200)
			resp.Body = io.NopCloser(breaking{})
			return resp, nil
		})
		_, err := belay.Get[made](t.Context(), newClient(t, rt), "/")
		var e *belay.Error
		require.True(t, errors.As(err, &e))
		require.Equal(t, 200, e.StatusCode)
		require.ErrorIs(t, err, belay.ErrUnavailable)
		require.NotContains(t, err.Error(), "was done")
	})
}
