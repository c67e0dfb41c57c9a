package belay

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type transportFunc = roundTripperFunc

func answer(status int, body string) transportFunc {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: req}, nil
	}
}

func clientOf(t *testing.T, rt http.RoundTripper, opts ...Option) *Client {
	t.Helper()
	c, err := New("https://partner.test", append([]Option{WithTransport(rt)}, opts...)...)
	require.NoError(t, err)
	return c
}

func limiterOf(t *testing.T, limits ...Limit) *Limiter {
	t.Helper()
	l, err := NewLimiter(limits...)
	require.NoError(t, err)
	return l
}

type quotaFunc func(ctx context.Context, n int) (time.Duration, error)

func (q quotaFunc) Take(ctx context.Context, n int) (time.Duration, error) { return q(ctx, n) }
