package belay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// An endpoint that will end is told once a day, with its dates and where to read of it, for all customers together.
func TestDeprecated(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "two days", func(t *testing.T) {
		var events []belay.Deprecated
		var log bytes.Buffer
		c := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/new" {
				return testkit.Reply(200), nil
			}
			return testkit.Reply(200, "Deprecation", "@1688169599", "Sunset", "Wed, 31 Dec 2031 23:59:59 GMT", "Link",
				`</next>; rel="next", </docs?v=2&access_token=tok-12345678>; rel="deprecation"; type="text/html"`), nil
		}), belay.WithName("crm"), belay.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			belay.WithAuth(belay.APIKeyQuery("access_token", belay.NewSecret("tok-12345678"))),
			belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
				if d, ok := e.(belay.Deprecated); ok {
					events = append(events, d)
				}
			})))
		customer, err := c.With(belay.WithIntegration("acme"))
		require.NoError(t, err)
		for range 48 {
			require.NoError(t, get(t.Context(), c, "/things/{id}", belay.PathValue("id", "7")))
			require.NoError(t, get(t.Context(), customer, "/things/{id}", belay.PathValue("id", "8")))
			require.NoError(t, get(t.Context(), c, "/new"))
			time.Sleep(time.Hour)
		}
		require.Len(t, events, 2)
		require.Equal(t, "/things/{id}", events[0].Call.Endpoint())
		require.Equal(t, time.Unix(1688169599, 0).UTC(), events[0].Since.UTC())
		require.Equal(t, 2031, events[0].Sunset.Year())
		require.Contains(t, events[0].Link, "https://partner.test/docs?")
		require.NotContains(t, events[0].Link+log.String(), "tok-12345678")
		require.Regexp(t, `level=WARN msg="belay: deprecated" .* since=2023-06-30T.* sunset=2031-12-31T23:59:59.* link=`, log.String())
	})
}

// A link that is none, and endpoints without end, do no harm.
func TestDeprecatedBadInput(t *testing.T) {
	t.Parallel()
	n := 0
	var link string
	h := func(*http.Request) (*http.Response, error) {
		return testkit.Reply(200, "Deprecation", "true", "Link", "<javascript:alert(1)>; rel=sunset"), nil
	}
	c := newClient(t, testkit.RoundTrip(h), belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if d, ok := e.(belay.Deprecated); ok {
			n++
			link += d.Link
		}
	})))
	for i := range 3000 {
		require.NoError(t, get(t.Context(), c, fmt.Sprintf("/%c%c%c/x", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26)))
	}
	require.Equal(t, 1000, n)
	require.Empty(t, link)
	require.NoError(t, get(t.Context(), newClient(t, testkit.RoundTrip(h)), "/x"))
}
