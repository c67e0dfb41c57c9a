package belay_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

func TestPathsAndBodiesThatCannotBeSent(t *testing.T) {
	t.Parallel()
	var got string
	c, err := belay.New(
		"https://partner.test/v2/",
		belay.WithTransport(testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			got = req.Method + " " + req.URL.String()
			return stub{}.RoundTrip(req)
		})),
	)
	require.NoError(t, err)
	get := func(path string, opts ...belay.CallOption) error {
		got = ""
		_, err := belay.Get[belay.None](t.Context(), c, path, opts...)
		return err
	}
	v := belay.PathValue
	require.NoError(t, get("/a/{id}/b?x=1", v("id", "1/2 ü?%"), belay.Query("q", "a b"), belay.Query("q", "c")))
	require.Equal(t, "GET https://partner.test/v2/a/1%2F2%20%C3%BC%3F%25/b?x=1&q=a+b&q=c", got)
	require.NoError(t, get("a"))
	require.Equal(t, "GET https://partner.test/v2/a", got)
	require.NoError(t, get(""))
	require.Equal(t, "GET https://partner.test/v2/", got)
	for _, bad := range []struct {
		path, text string
		opts       []belay.CallOption
	}{
		{"/a/{id}", `PathValue("id"`, nil},
		{"/a/{id", "needs PathValue", []belay.CallOption{v("id", "1")}},
		{"/a", "no {id}", []belay.CallOption{v("id", "1")}},
		{"/a/{id}", "another path", []belay.CallOption{v("id", "")}},
		{"/a/{id}", "another path", []belay.CallOption{v("id", "..")}},
		{"/a%zz", "badly escaped", nil},
		{"https://evil.test/a", "evil.test", nil},
		{"http://[::1/://", "cannot be parsed", nil},
		{"/a", "Header", []belay.CallOption{belay.Header("X-A", "1\n2")}},
		{"/a", "Cost: -1", []belay.CallOption{belay.Cost(-1)}},
		{"/a", "IdempotencyKey", []belay.CallOption{belay.IdempotencyKey("")}},
		{"/a", "IdempotencyKey", []belay.CallOption{belay.IdempotencyKey("a\nb")}},
		{"/a", "Patience: -1s", []belay.CallOption{belay.Patience(-time.Second)}},
		{"/a", "MaxAttempts: -1", []belay.CallOption{belay.MaxAttempts(-1)}},
		{"/a", "Auth: Bearer", []belay.CallOption{belay.Auth(belay.Bearer(belay.Secret{}))}},
	} {
		err := get(bad.path, bad.opts...)
		require.ErrorIs(t, err, belay.ErrInvalid, bad.path)
		require.ErrorContains(t, err, bad.text)
		require.Empty(t, got, "nothing was sent")
	}
	for _, bad := range []struct {
		body any
		text string
	}{
		{make(chan int), "JSON"},
		{strict{}, "name is missing"},
		{belay.ReaderBody("text/plain", nil), "reader is nil"},
		{belay.StreamBody("text/plain", -1, nil), "is nil"},
		{belay.StreamBody("text/plain", -1, func() (io.ReadCloser, error) { return nil, errors.New("no disk") }), "no disk"},
		{belay.Multipart(nil, belay.File{Field: "f", Name: "n"}), `"n"`},
		{
			belay.Multipart(nil, belay.File{Open: func() (io.ReadCloser, error) { return nil, errors.New("no file") }}),
			"no file",
		},
	} {
		got = ""
		_, err := belay.Post[belay.None](t.Context(), c, "/a", bad.body)
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, bad.text)
		require.Empty(t, got)
	}
	_, err = belay.Send[belay.None](t.Context(), c, "BAD METHOD", "/a", nil)
	require.ErrorContains(t, err, "BAD METHOD")
	_, err = belay.Send[belay.None](t.Context(), c, "", "/a", belay.Body{})
	require.NoError(t, err)
	require.Equal(t, "GET https://partner.test/v2/a", got)
}

// Values stay values, whatever else the template holds.
func TestPathValuesStayEscaped(t *testing.T) {
	t.Parallel()
	var got string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = req.URL.RequestURI()
		return testkit.Reply(200), nil
	})
	c := newClient(t, rt)
	for template, want := range map[string]string{
		"/My Lists/{id}":       "/My%20Lists/..%2F..%2Fadmin&x=1",
		"/é/{id}":              "/%C3%A9/..%2F..%2Fadmin&x=1",
		"/search?q={id}":       "/search?q=..%2F..%2Fadmin%26x%3D1",
		"search?u=https://a.b": "/search?u=https://a.b",
	} {
		opts := []belay.CallOption{belay.PathValue("id", "../../admin&x=1")}
		if !strings.Contains(template, "{id}") {
			opts = nil
		}
		require.NoError(t, get(t.Context(), c, template, opts...))
		require.Equal(t, want, got)
	}
	_, err := c.NewRequest(t.Context(), http.MethodGet, "/a/{id}", nil)
	require.ErrorContains(t, err, "template")
}
