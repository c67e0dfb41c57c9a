package belay_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// GitHub's secondary limit says in its text alone what it is: then it is a minute.
func TestSecondaryLimit(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "secondary", func(t *testing.T) {
		n := 0
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n > 1 {
				return testkit.Reply(200), nil
			}
			resp := testkit.Reply(
				403,
				"Content-Type",
				"application/json",
				"X-RateLimit-Limit",
				"5000",
				"X-RateLimit-Remaining",
				"4000",
			)
			resp.Body = io.NopCloser(
				strings.NewReader(
					`{"message":"You have exceeded a secondary rate limit. Please wait.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`,
				),
			)
			return resp, nil
		}))
		start := time.Now()
		require.NoError(t, get(t.Context(), c, "/"))
		require.InDelta(t, 60, time.Since(start).Seconds(), 1)
	})
}

// What the caller got wrong does not count against the partner.
func TestCallersOwnFaults(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(
		http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { _, _ = io.Copy(io.Discard, req.Body) }),
	)
	defer s.Close()
	breaker, err := belay.NewBreaker(belay.BreakerPolicy{Failures: 1})
	require.NoError(t, err)
	c, err := belay.New(s.URL, belay.WithBreaker(breaker))
	require.NoError(t, err)
	defer c.Close()
	req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	req.Header.Set("X-Note", "a\nb")
	var e *belay.Error
	_, err = c.Do(req)
	require.ErrorAs(t, err, &e)
	require.Equal(t, belay.ClassClient, e.Class)
	for name, body := range map[string]belay.Body{
		"fails": belay.StreamBody(
			"text/plain", -1, func() (io.ReadCloser, error) { return io.NopCloser(&failingReader{}), nil },
		),
		"short": belay.StreamBody(
			"text/plain", 100, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil },
		),
	} {
		_, err := belay.Put[belay.None](t.Context(), c, "/", body)
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, belay.ClassClient, e.Class, "%s: %v", name, err)
		require.Equal(t, 1, e.Attempts, name)
	}
	state, _ := breaker.State()
	require.Equal(t, belay.BreakerClosed, state)
}

type failingReader struct{ n int }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.n++; r.n > 1 {
		return 0, errors.New("disk on fire")
	}
	return copy(p, "begin"), nil
}
