package belay_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
)

func newClient(t *testing.T, rt http.RoundTripper, opts ...belay.Option) *belay.Client {
	t.Helper()
	c, err := belay.New("https://partner.test", append([]belay.Option{belay.WithTransport(rt)}, opts...)...)
	require.NoError(t, err)
	return c
}

func get(ctx context.Context, c *belay.Client, path string, opts ...belay.CallOption) error {
	_, err := belay.Get[belay.None](ctx, c, path, opts...)
	return err
}

func post(ctx context.Context, c *belay.Client, path string, opts ...belay.CallOption) error {
	_, err := belay.Post[belay.None](ctx, c, path, map[string]string{"a": "b"}, opts...)
	return err
}
