package belay_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// cut is a body that breaks off.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// A document that breaks off is a failed attempt, although the caller reads the body.
func TestCutDocumentIsRetried(t *testing.T) {
	t.Parallel()
	const whole = `{"items":["a \"}]{[ b",{"c":[1,2]}]}`
	for contentType, again := range map[string]bool{
		"application/json": true, "application/vnd.api+json; charset=utf-8": true, "application/atom+xml": true,
		"text/csv": false, "application/x-ndjson": false, "application/octet-stream": false, "": false,
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
			testkit.Bubble(t, contentType+" "+method, func(t *testing.T) {
				rt := testkit.Script(func(n int, _ *http.Request) (*http.Response, error) {
					resp := testkit.Raw(200, contentType, whole)
					if n == 1 {
						resp.Body = io.NopCloser(cut{strings.NewReader(whole[:20])})
					}
					return resp, nil
				})
				c := newClient(t, rt, belay.WithMaxInFlight(1))
				req, err := http.NewRequestWithContext(t.Context(), method, "https://partner.test/", nil)
				require.NoError(t, err)
				resp, err := c.HTTPClient().Do(req)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				if again && method == http.MethodGet {
					require.NoError(t, err)
					require.Equal(t, whole, string(body))
					require.Zero(t, c.Health().Limiter.Limits[0].Used, "the attempt is over before the caller reads")
				} else {
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					require.Len(t, rt.Log, 1)
				}
				require.NoError(t, resp.Body.Close())
				_, err = resp.Body.Read(make([]byte, 1))
				require.Error(t, err)
				require.Zero(t, c.Health().Limiter.Limits[0].Used)
			})
		}
	}
	testkit.Bubble(t, "one that breaks off every time is the last error", func(t *testing.T) {
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			resp := testkit.Raw(200, "application/json", "")
			resp.Body = io.NopCloser(cut{strings.NewReader(whole[:20])})
			return resp, nil
		})
		_, err := newClient(t, rt).HTTPClient().Get("https://partner.test/")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Len(t, rt.Log, 4)
	})
}

// What is too large to read ahead, and documents that follow one another, are a stream.
func TestDocumentsAreStillStreams(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "large", func(t *testing.T) {
		body := `["` + strings.Repeat("x", 3<<20) + `"]`
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			return testkit.Raw(200, "application/json", body), nil
		})
		c := newClient(t, rt)
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.Equal(t, 1, c.Health().Limiter.Limits[0].Used)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, len(body), len(got))
		require.NoError(t, resp.Body.Close())
		c = newClient(t, rt, belay.WithMaxResponseBytes(1000))
		req, _ := c.NewRequest(t.Context(), "GET", "/", nil)
		resp, err = c.Do(req)
		require.NoError(t, err)
		got, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, belay.ErrBodyTooLarge)
		require.Len(t, got, 1000)
	})
	testkit.Bubble(t, "one after another", func(t *testing.T) {
		r, w := io.Pipe()
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) {
			resp := testkit.Raw(200, "application/json", "")
			resp.Body = r
			return resp, nil
		})
		go func() {
			for i := range 3 {
				_, _ = fmt.Fprintf(w, `{"event":%d}`+"\n", i)
				time.Sleep(20 * time.Second)
			}
			_ = w.Close()
		}()
		began := time.Now()
		resp, err := newClient(t, rt).HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		require.Zero(t, time.Since(began), "the first document is handed out at once")
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 3, strings.Count(string(got), "event"))
		require.NoError(t, resp.Body.Close())
	})
}

// Over real connections: replies are cut in the middle, and every document arrives whole.
func TestCutRepliesOfARealServer(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	body := `{"records":"` + strings.Repeat("x", 100_000) + `"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if n.Add(1)%3 != 0 {
			_, _ = io.WriteString(w, body)
			return
		}
		_, _ = io.WriteString(w, body[:50_000])
		w.(http.Flusher).Flush()
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	}))
	t.Cleanup(s.Close)
	c, err := belay.New(s.URL, belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Millisecond}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	for range 20 {
		resp, err := c.HTTPClient().Get(s.URL)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, len(body), len(got))
		require.NoError(t, resp.Body.Close())
	}
}
