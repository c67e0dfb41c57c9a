package belay_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
)

// A request whose connection was never made is not sent: a write is tried again, and its permits go back.
func TestRequestsThatWereNeverWritten(t *testing.T) {
	t.Parallel()
	for name, welcome := range map[string]func(net.Conn){
		"the handshake breaks off": func(c net.Conn) { _ = c.Close() },
		"the answer is not TLS":    func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
			var dials atomic.Int32
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					dials.Add(1)
					welcome(c)
				}
			}()
			c, err := belay.New("https://"+l.Addr().String(), belay.WithRateLimit(belay.PerHour(100)),
				belay.WithRetry(belay.RetryPolicy{MaxAttempts: 3, BaseDelay: time.Millisecond}))
			require.NoError(t, err)
			_, err = belay.Post[belay.None](t.Context(), c, "/", map[string]int{"a": 1})
			require.ErrorIs(t, err, belay.ErrUnavailable)
			var e *belay.Error
			require.ErrorAs(t, err, &e)
			require.True(t, e.Unsent())
			require.EqualValues(t, 3, dials.Load(), "a write that was not sent is tried again")
			require.Zero(t, c.Health().Limiter.Limits[0].Used)
		})
	}
}

// The transport sends a request again by itself when its idle connection is dead. That counts as a send.
func TestSendsOfTheTransportItself(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int32
	var kill atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived.Add(1)
		if kill.CompareAndSwap(true, false) { // after the request has arrived, and before a byte of the answer
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	c, err := belay.New(s.URL, belay.WithRateLimit(belay.PerHour(1000)), belay.Without(belay.LayerRetry))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	for i := range 40 {
		kill.Store(i%4 == 3)
		var info belay.Info
		_, err := belay.Get[map[string]any](t.Context(), c, "/", belay.Into(&info))
		require.NoError(t, err)
		if i%4 == 3 {
			require.Equal(t, 2, info.Attempts)
		}
	}
	require.EqualValues(t, 50, arrived.Load())
	require.Equal(t, 50, c.Health().Limiter.Limits[0].Used)
}
