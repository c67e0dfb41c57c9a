package belay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Request bodies are logged as their shape, or as the redactor says.
func TestRedactor(t *testing.T) {
	t.Parallel()
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(422), nil })
	var shown []string
	see := belay.ObserverFunc(func(_ context.Context, e belay.Event) {
		if a, ok := e.(belay.AttemptDone); ok {
			shown = append(shown, a.RequestBody)
		}
	})
	c := newClient(t, rt, belay.WithObserver(see))
	own, err := c.With(
		belay.WithRedactor(func(contentType string, body []byte) string { return contentType + " " + string(body[:5]) }),
	)
	require.NoError(t, err)
	_ = post(t.Context(), c, "/")
	_ = post(t.Context(), own, "/")
	_, _ = belay.Post[belay.None](
		t.Context(),
		c,
		"/",
		belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("x"))),
	)
	require.Equal(t, []string{`{"a":string}`, `application/json {"a":`, ""}, shown)
}

// No URL of a transport's error is shown, however deep it stands; a redactor's panic is contained.
func TestDeepURLAndPanickingRedactor(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost {
			return testkit.Reply(422), nil
		}
		return nil, fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: req.URL.String(), Err: io.EOF})
	})
	c := newClient(
		t,
		rt,
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond, Budget: belay.NewRetryBudget(4)}),
		belay.WithRedactor(
			func(string, []byte) string { panic("redactor") },
		),
		belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) {})),
	)
	err := get(t.Context(), c, "/x", belay.Query("ssn", "123-45-6789"))
	require.ErrorIs(t, err, belay.ErrRetryBudget)
	require.ErrorIs(t, err, io.EOF)
	require.NotContains(t, err.Error(), "123-45")
	require.ErrorContains(t, err, "middleware: EOF; retry budget spent")
	require.ErrorIs(t, post(t.Context(), c, "/"), belay.ErrInvalid)
}

// A secret that a long message would cut in two is not shown in part.
func TestEchoCutInTwo(t *testing.T) {
	t.Parallel()
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		resp := testkit.Reply(400)
		resp.Body = io.NopCloser(
			strings.NewReader(`{"message":"` + strings.Repeat("x", 290) + req.Header.Get("X-Api-Key") + `"}`),
		)
		return resp, nil
	})
	c := newClient(t, rt, belay.WithAuth(belay.APIKey("X-Api-Key", belay.NewSecret("s3cr3t-token-abcdefgh"))))
	require.NotContains(t, get(t.Context(), c, "/").Error(), "s3cr3t")
}

// A partner that says the query back in a redirect does not take a query credential elsewhere.
func TestRedirectThatEchoesTheQuery(t *testing.T) {
	t.Parallel()
	var urls []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		urls = append(urls, req.URL.String())
		if len(urls) == 1 {
			return testkit.Reply(302, "Location", "https://other.test"+req.URL.RequestURI()), nil
		}
		return testkit.Reply(200), nil
	})
	c := newClient(
		t,
		rt,
		belay.WithAuth(belay.APIKeyQuery("api_key", belay.NewSecret("s3cr3t"))),
		belay.WithRedirects(belay.RedirectAny),
	)
	require.NoError(t, get(t.Context(), c, "/x", belay.Query("q", "1")))
	require.Equal(t, []string{"https://partner.test/x?q=1&api_key=s3cr3t", "https://other.test/x?q=1"}, urls)
}

// A credential of an attempt before is not shown either, where a middleware stands between.
func TestEarlierSecretsBehindMiddlewares(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "echo", func(t *testing.T) {
		through := belay.WithCallMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })
		for _, also := range [][]belay.Option{nil, {through}} {
			first := true
			c, err := belay.New("https://partner.test", append(also, belay.WithAuth(&turning{}),
				belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					if first {
						first = false
						return testkit.Reply(503, "X-Request-Id", req.Header.Get("Authorization")), nil
					}
					<-req.Context().Done()
					return nil, req.Context().Err()
				})))...)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err = belay.Get[belay.None](ctx, c, "/")
			cancel()
			require.Error(t, err)
			require.NotContains(t, err.Error(), "secret-token")
			require.NotContains(t, err.Error(), "\n")
		}
	})
}

// An answer that is told after a rotation does not show the credential of before.
func TestKeptAnswerShowsNoFormerCredential(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "rotated meanwhile", func(t *testing.T) {
		r, err := belay.NewRotating(belay.Bearer(belay.NewSecret("old-key-secret")))
		require.NoError(t, err)
		d := &diary{}
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			require.NoError(t, r.Rotate(t.Context(), belay.Bearer(belay.NewSecret("new-key-secret")), nil))
			key := req.Header.Get("Authorization")
			resp := testkit.JSONReply(
				503,
				map[string]any{"errors": map[string]string{"auth": "saw " + key}, "message": "saw " + key},
			)
			resp.Header.Set("X-Request-Id", "r-"+key)
			return resp, nil
		})
		opened := 0
		body := belay.StreamBody("text/plain", 1, func() (io.ReadCloser, error) {
			if opened++; opened > 1 {
				return nil, errors.New("the file is gone")
			}
			return io.NopCloser(strings.NewReader("x")), nil
		})
		_, err = belay.Put[belay.None](t.Context(), newClient(t, rt, belay.WithAuth(r), belay.WithObserver(d)), "/x", body)
		var e *belay.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 503, e.StatusCode)
		require.ErrorContains(t, err, "the file is gone")
		require.NotContains(t, shown(err)+d.Text(), "key-secret")
	})
}
