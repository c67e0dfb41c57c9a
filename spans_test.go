package belay_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

type spanKey struct{}

// spans is a tracer that names its spans by where they are.
type spans struct{ ended []string }

func (s *spans) BeginCall(ctx context.Context, _ belay.CallInfo) context.Context {
	parent, _ := ctx.Value(spanKey{}).(string)
	return context.WithValue(ctx, spanKey{}, parent+"/call")
}

func (s *spans) BeginAttempt(ctx context.Context, _ belay.CallInfo, n int) (context.Context, http.Header) {
	parent, _ := ctx.Value(spanKey{}).(string)
	name := fmt.Sprintf("%s/%d", parent, n)
	return context.WithValue(ctx, spanKey{}, name), http.Header{"traceparent": {name}, "X-Own": {"tracer"}}
}

func (s *spans) Observe(ctx context.Context, e belay.Event) {
	switch e.(type) {
	case belay.CallDone, belay.AttemptDone:
		s.ended = append(s.ended, fmt.Sprint(ctx.Value(spanKey{})))
	}
}

type panicking struct{ *spans }

func (panicking) BeginCall(context.Context, belay.CallInfo) context.Context { panic("no") }

func (panicking) BeginAttempt(context.Context, belay.CallInfo, int) (context.Context, http.Header) {
	panic("no")
}

// A tracer's contexts come back with the events that end them, its headers go to the partner only, and its panics are
// contained: with a total timeout, a credential, call middlewares, redirects, and without any of them.
func TestTracer(t *testing.T) {
	for name, opts := range map[string][]belay.Option{
		"plain":                {},
		"timeout":              {belay.WithTimeout(time.Minute)},
		"credential":           {belay.WithAuth(belay.Bearer(belay.NewSecret("secret-123")))},
		"call middleware":      {belay.WithCallMiddleware(func(rt http.RoundTripper) http.RoundTripper { return rt })},
		"no attempt timeout":   {belay.WithAttemptTimeout(0)},
		"attempt middleware":   {belay.WithAttemptMiddleware(func(rt http.RoundTripper) http.RoundTripper { return rt })},
		"one that panics":      {belay.WithObserver(panicking{new(spans)})},
		"a cache":              {belay.WithStaleIfError(memory(t), time.Hour)},
		"everything beside it": {belay.WithTimeout(time.Minute), belay.WithAuth(belay.Bearer(belay.NewSecret("secret-123")))},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			tracer := new(spans)
			var sent []string
			n := 0
			c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.URL.Host+" "+req.Header.Get("Traceparent")+" "+req.Header.Get("X-Own"))
				require.Equal(t, req.Header.Get("Traceparent") != "", req.URL.Host == "partner.test")
				switch n++; n {
				case 1:
					return testkit.Reply(503), nil
				case 2:
					return testkit.Reply(302, "Location", "/b"), nil
				case 3:
					return testkit.Reply(302, "Location", "https://elsewhere.test/c"), nil
				}
				return testkit.Reply(200), nil
			}), append([]belay.Option{belay.WithObserver(tracer), belay.WithRedirects(belay.RedirectAny)}, opts...)...)
			_, err := belay.Get[belay.None](t.Context(), c, "/a", belay.Header("X-Own", "caller"))
			require.NoError(t, err)
			require.Equal(t, []string{
				"partner.test /call/1 caller", "partner.test /call/2 caller", "partner.test /call/call/1 caller",
				"elsewhere.test  ",
			}, sent)
			require.Equal(t, []string{
				"/call/1", "/call/2", "/call", "/call/call/1", "/call/call", "/call/call/1",
			}[:5], tracer.ended[:5])
		})
	}
}
