package origin

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSame(t *testing.T) {
	same := [][2]string{
		{"https://a.test/x", "https://a.test/y?z"},
		{"https://a.test", "https://A.TEST:443"},
		{"http://a.test:80", "http://a.test"},
		{"https://a.test.", "https://a.test"},
		{"HTTPS://a.test", "https://a.test"},
		{"https://[::1]:8443", "https://[::1]:8443/x"},
	}
	other := [][2]string{
		{"https://a.test", "http://a.test"},
		{"https://a.test", "https://a.test:8443"},
		{"https://a.test", "https://b.a.test"},
		{"https://a.test", "https://a.test.evil"},
		{"https://a.test", "https://xa.test"},
		{"https://a.test", "/x"},
		{"/x", "/x"},
		{"https://a.test", "https://a.test@evil.test/"},
	}
	for _, c := range same {
		require.True(t, Same(parse(t, c[0]), parse(t, c[1])), c)
	}
	for _, c := range other {
		require.False(t, Same(parse(t, c[0]), parse(t, c[1])), c)
	}
	require.Empty(t, Of(nil))
}

func TestLoopback(t *testing.T) {
	for _, s := range []string{
		"http://localhost", "http://x.localhost:1", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]",
	} {
		require.True(t, Loopback(parse(t, s)), s)
	}
	for _, s := range []string{
		"http://localhost.evil", "http://10.0.0.1", "http://0.0.0.0", "http://partner.test", "http://[::]",
	} {
		require.False(t, Loopback(parse(t, s)), s)
	}
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}
