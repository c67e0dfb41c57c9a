package belay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// requireIdle fails unless nothing is watched any more, and no timer outlives the bubble.
func requireIdle(t *testing.T, o *timeouts) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Nil(t, o.first)
	require.Nil(t, o.last)
	require.Nil(t, o.timer)
}

// Each attempt is ended when its own time is up, to the nanosecond, whatever the others do; and one that only pauses is not.
func TestTimeoutsKeepEachTime(t *testing.T) {
	t.Parallel()
	const after = 30 * time.Second
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			o := newTimeouts(after)
			r := rand.New(rand.NewPCG(seed, 1))
			var group sync.WaitGroup
			ended := 0
			var mu sync.Mutex
			for range 200 {
				steps := make([]time.Duration, r.IntN(6))
				for i := range steps {
					steps[i] = time.Duration(r.Int64N(int64(after)))
				}
				start, hangs := time.Duration(r.Int64N(int64(2*after))), r.IntN(2) == 0
				group.Go(func() {
					time.Sleep(start)
					a := &timeout{of: o}
					ctx := a.context(t.Context())
					a.begin()
					for i, d := range steps {
						time.Sleep(d)
						if i%2 == 0 {
							a.pause()
							time.Sleep(2 * after)
						}
						a.begin()
					}
					if !hangs {
						time.Sleep(after - 1)
						a.pause()
						require.NoError(t, ctx.Err(), "a nanosecond before its time")
						a.end()
						return
					}
					began := time.Now()
					<-ctx.Done()
					require.Equal(t, after, time.Since(began))
					require.Equal(t, errAttemptTimeout, context.Cause(ctx))
					a.end()
					mu.Lock()
					ended++
					mu.Unlock()
				})
			}
			group.Wait()
			require.NotZero(t, ended)
			requireIdle(t, o)
		})
	}
}

// One timer serves all attempts for as long as their time, and none that hang makes it look at all others.
func TestTimeoutsTakeOneTimer(t *testing.T) {
	t.Parallel()
	o := newTimeouts(time.Hour)
	for range 1000 {
		a := &timeout{of: o}
		a.context(t.Context())
		a.begin()
		a.end()
	}
	require.EqualValues(t, 1, o.generation)
	require.Nil(t, o.first)
	o.timer.Stop()
}

// watched counts the contexts that are derived from it and not over.
type watched struct {
	context.Context
	children int
}

func (w *watched) Value(any) any { return nil }

func (w *watched) AfterFunc(func()) (stop func() bool) {
	w.children++
	return func() bool { w.children--; return true }
}

// An attempt that ends in any other way than by its timeout is forgotten, and its context is over.
func TestTimeoutsForget(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]Option{
		"answered":        nil,
		"failed":          {WithTransport(transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("reset") }))},
		"not signed":      {WithAuth(Sign(func(*http.Request, []byte) error { return errors.New("no key") }))},
		"not replayable":  {WithTransport(answer(503, "{}"))},
		"panicked":        {WithTransport(transportFunc(func(*http.Request) (*http.Response, error) { panic("mine") }))},
		"protocol change": {WithTransport(answer(101, ""))},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := clientOf(t, answer(200, "{}"), opts...)
			parent := &watched{Context: t.Context()}
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
		require.ErrorIs(t, err, errAttemptTimeout)
		hangs = false
		_, err = Get[None](t.Context(), c, "/")
		require.NoError(t, err)
	}
	call(t)
	for range 3 {
		synctest.Test(t, call)
	}
	call(t)
}
