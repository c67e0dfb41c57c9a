package belay

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/deadline"
	"github.com/belay-go/belay/internal/errkit"
)

// requireIdle fails unless nothing is watched any more.
func requireIdle(t *testing.T, k *deadline.Keeper) {
	t.Helper()
	require.Zero(t, k.Watched())
}

// parentContext counts the contexts that are derived from it and not over.
type parentContext struct {
	context.Context
	children int
}

func (w *parentContext) Value(any) any { return nil }

func (w *parentContext) AfterFunc(func()) (stop func() bool) {
	w.children++
	return func() bool { w.children--; return true }
}

// An attempt that ends in any other way than by its timeout is forgotten, and its context is over.
func TestTimeoutsForget(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]Option{
		"answered": nil,
		"failed": {WithTransport(transportFunc(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("reset")
		}))},
		"not signed":      {WithAuth(Sign(func(*http.Request, []byte) error { return errors.New("no key") }))},
		"retried":         {WithTransport(answer(503, "{}"))},
		"panicked":        {WithTransport(transportFunc(func(*http.Request) (*http.Response, error) { panic("mine") }))},
		"protocol change": {WithTransport(answer(101, ""))},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := clientOf(t, answer(200, "{}"), opts...)
			parent := &parentContext{Context: t.Context()}
			func() {
				defer func() { _ = recover() }()
				resp, err := c.HTTPClient().Do((&http.Request{Method: http.MethodGet, URL: c.base}).WithContext(parent))
				if err == nil {
					_ = resp.Body.Close()
				}
			}()
			if name == "protocol change" { // the connection is the caller's, for as long as it likes, and the context with it
				time.Sleep(time.Hour)
				parent.children--
			}
			requireIdle(t, c.set.timeouts)
			require.Zero(t, parent.children, name)
		})
	}
}

// A client that has been used for real, or in a bubble that is gone, has its timeouts in the next one, and after it.
func TestTimeoutsAcrossBubbles(t *testing.T) {
	t.Parallel()
	hangs := false
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		if hangs {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		return answer(200, "{}")(req)
	})
	c := clientOf(t, rt, Without(LayerRetry), WithAttemptTimeout(20*time.Millisecond))
	call := func(t *testing.T) {
		hangs = false
		_, err := Get[None](t.Context(), c, "/")
		require.NoError(t, err)
		hangs = true
		_, err = Get[None](t.Context(), c, "/")
		require.ErrorIs(t, err, errkit.ErrAttemptTimeout)
		hangs = false
		_, err = Get[None](t.Context(), c, "/")
		require.NoError(t, err)
	}
	call(t)
	for range 3 {
		synctest.Test(t, call)
		synctest.Test(t, func(t *testing.T) { // and leaves a body open
			resp, err := c.HTTPClient().Get("https://partner.test/")
			require.NoError(t, err)
			_, err = resp.Body.Read(make([]byte, 1))
			require.NoError(t, err)
		})
	}
	call(t)
}

// stuck is a body that stops in its middle until the attempt is over.
type stuck struct {
	ctx  context.Context
	left string
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.left == "" {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

func (*stuck) Close() error { return nil }

func stuckAfter(text string) transportFunc {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode:    200,
			Header:        http.Header{},
			ContentLength: -1,
			Body:          &stuck{req.Context(), text},
		}, nil
	}
}

// A body that is opened for real, and read when a bubble has used the client, has its own time; and so has one in each
// of many bubbles at once.
func TestTimeoutsOfManyWorlds(t *testing.T) {
	t.Parallel()
	c := clientOf(
		t,
		stuckAfter(""),
		Without(LayerRetry, LayerLimits, LayerBreaker),
		WithAttemptTimeout(50*time.Millisecond),
	)
	open := func() io.ReadCloser {
		resp, err := c.HTTPClient().Get("https://partner.test/")
		require.NoError(t, err)
		return resp.Body
	}
	body := open()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				synctest.Test(t, func(*testing.T) {
					inside := open()
					began := time.Now()
					_, err := inside.Read(make([]byte, 1))
					require.ErrorIs(t, err, errkit.ErrAttemptTimeout)
					require.Equal(t, 50*time.Millisecond, time.Since(began))
					_, _ = c.HTTPClient().Get("https://partner.test/") // never closed
				})
			}
		})
	}
	group.Wait()
	_, err := body.Read(make([]byte, 1))
	require.ErrorIs(t, err, errkit.ErrAttemptTimeout)
	require.NoError(t, body.Close())
	// One that was made in a bubble has them outside.
	synctest.Test(t, func(t *testing.T) {
		c = clientOf(
			t,
			stuckAfter(""),
			Without(LayerRetry, LayerLimits, LayerBreaker),
			WithAttemptTimeout(50*time.Millisecond),
		)
		open() // never closed
	})
	_, err = open().Read(make([]byte, 1))
	require.ErrorIs(t, err, errkit.ErrAttemptTimeout)
}

// The Read that looks whether there is more than may be has the attempt's time too.
func TestTimeoutOfTheLastRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, stuckAfter("0123456789"), WithMaxResponseBytes(10), WithAttemptTimeout(time.Minute))
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		began := time.Now()
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, errkit.ErrAttemptTimeout)
		require.Equal(t, time.Minute, time.Since(began))
		require.NoError(t, resp.Body.Close())
	})
}

// A timeout that nobody lives to see ends nothing, and its breaker counts.
func TestTimeoutsWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{
		math.MaxInt64, math.MaxInt64 - time.Second, math.MaxInt64 / 2, 100 * 365 * 24 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			status := 503
			c := clientOf(t, transportFunc(func(req *http.Request) (*http.Response, error) {
				time.Sleep(time.Hour)
				if req.Context().Err() != nil {
					return nil, req.Context().Err()
				}
				return answer(status, "{}")(req)
			}), WithAttemptTimeout(after), Without(LayerRetry))
			time.Sleep(time.Minute)
			_, err := Get[None](t.Context(), c, "/")
			require.ErrorIs(t, err, ErrTransient)
			status = 200
			_, err = Get[None](t.Context(), c, "/")
			require.NoError(t, err)
		})
	}
}

// An attempt at another origin is forgotten too, whatever its answer.
func TestTimeoutsElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		left := []int{}
		c := clientOf(t, transportFunc(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host != "partner.test" {
				return answer(101, "")(req)
			}
			resp, err := answer(302, "")(req)
			resp.Header.Set("Location", "https://other.test/")
			return resp, err
		}), WithRedirects(RedirectAny), WithObserver(ObserverFunc(func(_ context.Context, e Event) {
			if done, ok := e.(AttemptDone); ok {
				left = append(left, done.LimitLeft)
			}
		})))
		parent := &parentContext{Context: t.Context()}
		_, err := Get[[]byte](parent, c, "/")
		require.ErrorContains(t, err, "101")
		requireIdle(t, c.set.timeouts)
		require.Zero(t, parent.children)
		require.Equal(t, []int{-1, -1}, left)
	})
}

// An upgraded connection is the caller's.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	type pipe struct{ io.ReadWriteCloser }
	rt := transportFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 101, Header: http.Header{}, Body: pipe{}, Request: req}, nil
	})
	c := clientOf(t, rt, WithMaxInFlight(1), WithMaxQueue(0))
	for range 3 {
		req, err := c.NewRequest(t.Context(), http.MethodGet, "/ws", nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		require.NoError(t, err)
		require.IsType(t, pipe{}, resp.Body)
	}
}

// A body that cannot be opened again for a retry is named.
func TestGetBodyFails(t *testing.T) {
	t.Parallel()
	c := clientOf(t, answer(500, ""), WithRetry(RetryPolicy{BaseDelay: time.Nanosecond}))
	opened := 0
	_, err := Put[None](t.Context(), c, "/", StreamBody("text/plain", -1, func() (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return nil, errors.New("the file is gone")
		}
		return io.NopCloser(strings.NewReader("x")), nil
	}))
	require.ErrorContains(t, err, "the file is gone")
	require.ErrorIs(t, err, ErrNotReplayable)
}

// A classifier's word holds, but what the transport knows stays.
func TestClassifierAndTransportErrors(t *testing.T) {
	t.Parallel()
	n := 0
	rt := transportFunc(func(*http.Request) (*http.Response, error) { n++; return nil, io.EOF })
	c := clientOf(
		t,
		rt,
		WithClassifier(func(*Attempt) Verdict { return Verdict{Class: ClassTransient, RetryAfter: -5} }),
		WithRetry(RetryPolicy{BaseDelay: time.Nanosecond}),
	)
	_, err := Post[None](t.Context(), c, "/", nil)
	require.ErrorIs(t, err, ErrTransient)
	require.Equal(t, 1, n, "EOF may have been processed")
	fine := clientOf(t, answer(404, "{}"), WithClassifier(func(*Attempt) Verdict { return Verdict{} }))
	got, err := Get[map[string]any](t.Context(), fine, "/")
	require.NoError(t, err, "404 is an answer for this partner")
	require.Empty(t, got)
}

// Discarded answers: large ones are not read, endless ones not for long.
func TestDiscard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, rt := range map[string]transportFunc{
			"large": func(req *http.Request) (*http.Response, error) {
				return &http.Response{
					StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}},
					ContentLength: 1 << 20, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20))),
				}, nil
			},
			"endless": func(req *http.Request) (*http.Response, error) {
				return &http.Response{
					StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}},
					ContentLength: -1, Body: io.NopCloser(zeros{}),
				}, nil
			},
			"stuck": func(req *http.Request) (*http.Response, error) {
				r, w := io.Pipe()
				_ = w
				return &http.Response{
					StatusCode: 503, Header: http.Header{"Content-Type": {"image/png"}}, ContentLength: -1, Body: r,
				}, nil
			},
		} {
			c := clientOf(t, rt, WithRetry(RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}))
			start := time.Now()
			_, err := Get[None](t.Context(), c, "/")
			require.ErrorIs(t, err, ErrTransient, name)
			require.Less(t, time.Since(start), 6*time.Second, name)
			require.Zero(t, c.limiter.Status().Limits[0].Used, name)
		}
	})
}
