package belay

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type transportFunc = roundTripperFunc

func answer(status int, body string) transportFunc {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode:    status,
			Header:        http.Header{},
			Body:          io.NopCloser(strings.NewReader(body)),
			ContentLength: -1,
			Request:       req,
		}, nil
	}
}

func clientOf(t *testing.T, rt http.RoundTripper, opts ...Option) *Client {
	t.Helper()
	c, err := New("https://partner.test", append([]Option{WithTransport(rt)}, opts...)...)
	require.NoError(t, err)
	return c
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// NewTransportForTest returns the default base transport.
func NewTransportForTest() *http.Transport { return newTransport(1) }
