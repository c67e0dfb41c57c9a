package belay_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

func TestTimeouts(t *testing.T) {
	t.Parallel()
	hang := func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	testkit.Bubble(t, "an attempt's is not the caller's", func(t *testing.T) {
		rt := testkit.Script(hang)
		c := newClient(
			t,
			rt,
			belay.WithAttemptTimeout(2*time.Second),
			belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}),
		)
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.ErrorContains(t, err, "attempt timed out after 2s")
		require.Len(t, rt.Log, 2)
		var timeout interface{ Timeout() bool }
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	})
	testkit.Bubble(t, "the total one covers waits", func(t *testing.T) {
		rt := testkit.Script(hang)
		c := newClient(t, rt, belay.WithAttemptTimeout(2*time.Second), belay.WithTimeout(5*time.Second))
		took, err := testkit.After(0, func() error { return get(t.Context(), c, "/") })()
		require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, belay.ErrTransient), err)
		require.LessOrEqual(t, took, 5*time.Second)
	})
	testkit.Bubble(t, "a stream has it for each Read", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode:    200,
				Header:        http.Header{},
				ContentLength: -1,
				Request:       req,
				Body:          &drip{ctx: req.Context(), every: 2 * time.Second, n: 10},
			}, nil
		})
		c := newClient(t, rt, belay.WithAttemptTimeout(3*time.Second), belay.WithMaxInFlight(1), belay.WithMaxQueue(0))
		do := func() (*http.Response, error) {
			req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
			require.NoError(t, err)
			return c.Do(req)
		}
		resp, err := do()
		require.NoError(t, err)
		_, err = do()
		require.ErrorIs(t, err, belay.ErrQueueFull, "the stream holds its place")
		time.Sleep(time.Minute) // the caller's own time is nobody's timeout
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err, "20 s of drips, none of them late")
		require.Len(t, data, 10)
		resp2, err := do()
		require.NoError(t, err, "its place is free at the end, before Close")
		require.NoError(t, resp.Body.Close())
		require.NoError(t, resp2.Body.Close())

		slow, err := c.With(belay.WithAttemptTimeout(time.Second))
		require.NoError(t, err)
		req, err := slow.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err = slow.Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorContains(t, err, "attempt timed out after 1s")
		require.NoError(t, resp.Body.Close())
	})
	testkit.Bubble(t, "the total one ends with the body, not with Do", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode:    200,
				Header:        http.Header{},
				ContentLength: -1,
				Request:       req,
				Body:          &drip{ctx: req.Context(), every: time.Second, n: 3},
			}, nil
		})
		c := newClient(t, rt, belay.WithTimeout(10*time.Second))
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Len(t, data, 3)
		resp, err = c.Do(req)
		require.NoError(t, err)
		time.Sleep(11 * time.Second)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, resp.Body.Close())
	})
}

// drip is a body that yields a byte every so often.
type drip struct {
	ctx   context.Context
	every time.Duration
	n     int
}

func (d *drip) Read(p []byte) (int, error) {
	if d.n == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(d.every):
		d.n--
		p[0] = '.'
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (d *drip) Close() error { return nil }

// Four attempts at a real server use one connection.
func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Repeat("x", 50<<10))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c, err := belay.New(s.URL, belay.WithRetry(belay.RetryPolicy{BaseDelay: time.Nanosecond}))
	require.NoError(t, err)
	var info belay.Info
	require.ErrorIs(t, get(t.Context(), c, "/", belay.Into(&info)), belay.ErrTransient)
	require.Equal(t, 4, info.Attempts)
	require.EqualValues(t, 1, conns.Load())
	require.NoError(t, c.Close())
}

// What a partner may send, and what must come of it: a typed error, soon, and never a panic.
func TestHostileAnswers(t *testing.T) {
	big := strings.Repeat("x", 64<<10)
	type answer struct {
		name   string
		h      http.HandlerFunc
		is     error
		text   string
		number int // attempts, 0 for any
	}
	for _, a := range []answer{
		{"HTML for JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>login</html>")
		}, belay.ErrData, "text/html", 1},
		{"empty for JSON", func(http.ResponseWriter, *http.Request) {}, belay.ErrData, "empty body", 1},
		{
			"half a JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":`) },
			belay.ErrData, "JSON", 1,
		},
		{
			"another JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":{}}`) },
			belay.ErrData, "JSON", 1,
		},
		{"breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"id":"1"`)
		}, belay.ErrTransient, "unexpected EOF", 4},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 64 {
				_, _ = z.Write(make([]byte, 1<<20))
			}
			_ = z.Close()
		}, belay.ErrBodyTooLarge, "1048576", 1},
		{"endless error body", func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			for req.Context().Err() == nil {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, belay.ErrInvalid, "400", 1},
		{"endless success", func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, belay.ErrBodyTooLarge, "1048576", 1},
		{"error body that hangs", func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"half`)
			_ = http.NewResponseController(w).Flush()
			<-req.Context().Done()
		}, belay.ErrConflict, "409", 1},
		{"header of 64 KiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", big)
			w.Header().Set("X-Request-Id", big)
			w.WriteHeader(http.StatusTooManyRequests)
		}, belay.ErrRateLimited, "429", 4},
		{"error in odd JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(
				w, `{"error":{"error":{"error":{"error":[1,[2]]}}},"errors":[null,1,"no",{"field":7}],"message":{}}`,
			)
		}, belay.ErrNotFound, "404", 1},
		{"redirect loop", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/again")
			w.WriteHeader(http.StatusFound)
		}, nil, "10 redirects", 0},
		{"redirect nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz")
			w.WriteHeader(http.StatusFound)
		}, nil, "Location", 0},
		{
			"closed", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, belay.ErrTransient, "EOF", 4,
		},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, a.h, belay.WithMaxResponseBytes(1<<20), belay.Without(belay.LayerLimits))
			start := time.Now()
			_, err := belay.Get[struct{ ID string }](t.Context(), c, "/things")
			require.Less(t, time.Since(start), 10*time.Second)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, a.text)
			if a.is != nil {
				require.ErrorIs(t, err, a.is)
			}
			if a.number > 0 {
				require.Equal(t, a.number, e.Attempts)
			}
			require.LessOrEqual(t, len(e.Body), 64<<10)
			require.Less(t, len(err.Error()), 2000)
		})
	}
}

// The same for streams that the caller reads.
func TestStreamIsBoundedAfterDecompression(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 2<<20))
		_ = z.Close()
	}, belay.WithMaxResponseBytes(1<<20))
	req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)
	require.EqualValues(t, 1<<20, n)
	require.NoError(t, resp.Body.Close())

	unbounded, err := c.With(belay.WithMaxResponseBytes(-1))
	require.NoError(t, err)
	resp, err = unbounded.Do(req)
	require.NoError(t, err)
	n, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, n)
	require.NoError(t, resp.Body.Close())
}

// Transports that break the contract cannot break the client.
func TestBrokenTransports(t *testing.T) {
	t.Parallel()
	closed := 0
	for name, rt := range map[string]testkit.RoundTrip{
		"neither": func(*http.Request) (*http.Response, error) { return nil, nil },
		"both": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: closer{&closed}}, errors.New("both")
		},
		"no body": func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 404}, nil },
		"never reads": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 500, Body: io.NopCloser(nothing{})}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := belay.New("https://partner.test", belay.WithTransport(rt))
				require.NoError(t, err)
				_, err = belay.Get[map[string]any](t.Context(), c, "/")
				require.Error(t, err)
				req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
				require.NoError(t, err)
				resp, err := c.HTTPClient().Do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
			})
		})
	}
	require.Positive(t, closed)
}

type closer struct{ n *int }

func (closer) Read([]byte) (int, error) { return 0, io.EOF }

func (c closer) Close() error { *c.n++; return nil }

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// A body of exactly the bound is whole.
func TestBodyOfExactlyTheBound(t *testing.T) {
	t.Parallel()
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		resp := testkit.Reply(200)
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader("12345678")), -1
		return resp, nil
	}), belay.WithMaxResponseBytes(8))
	data, err := belay.Get[[]byte](t.Context(), c, "/")
	require.NoError(t, err)
	require.Equal(t, "12345678", string(data))
	less, err := c.With(belay.WithMaxResponseBytes(7))
	require.NoError(t, err)
	_, err = belay.Get[[]byte](t.Context(), less, "/")
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)
	resp, err := less.HTTPClient().Get("https://partner.test/")
	require.NoError(t, err)
	data, err = io.ReadAll(resp.Body)
	require.NoError(t, err, "under another SDK a response stays a response")
	require.Len(t, data, 8)
}

// A typed call does not hang on an upgraded connection; a status that is none is no success.
func TestStatusesThatAreNone(t *testing.T) {
	t.Parallel()
	closed := false
	status := 101
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status,
			Header:     http.Header{},
			Body:       closing{strings.NewReader("{}"), &closed},
		}, nil
	})
	c := newClient(t, rt)
	_, err := belay.Get[map[string]any](t.Context(), c, "/")
	require.ErrorIs(t, err, belay.ErrData)
	require.True(t, closed)
	status = 0
	_, err = belay.Get[map[string]any](t.Context(), newClient(t, rt, belay.WithClassifier(belay.Classify)), "/")
	require.ErrorIs(t, err, belay.ErrData)
}

// An answer that a classifier has read beyond the bound on bytes holds its place until it is closed, by whomever.
func TestPeekBeyondTheBoundHoldsThePlace(t *testing.T) {
	t.Parallel()
	open, most := 0, 0
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		open++
		most = max(most, open)
		resp := testkit.Reply(200, "Content-Type", "text/plain")
		resp.Body = &opened{Reader: strings.NewReader(strings.Repeat("x", 20)), n: &open}
		return resp, nil
	}), belay.WithMaxInFlight(1), belay.WithMaxQueue(0), belay.WithMaxResponseBytes(10), belay.Without(belay.LayerTimeout),
		belay.WithClassifier(func(a *belay.Attempt) belay.Verdict { a.Peek(); return belay.Classify(a) }))
	for range 3 {
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		if resp, err := c.Do(req); err == nil {
			defer func() { _ = resp.Body.Close() }()
			_, err = io.ReadAll(resp.Body)
			require.ErrorIs(t, err, belay.ErrBodyTooLarge)
		}
	}
	require.Equal(t, 1, most)
	require.Zero(t, open)
}
