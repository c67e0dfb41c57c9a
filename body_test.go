package belay_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Bodies of every kind are sent, and sent again.
func TestBodies(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		contentType := req.Header.Get("Content-Type")
		if strings.HasPrefix(contentType, "multipart/") {
			boundary := contentType[strings.LastIndexByte(contentType, '=')+1:]
			data = bytes.ReplaceAll(data, []byte(boundary), []byte("B"))
			contentType = "multipart"
		}
		got = append(got, fmt.Sprintf("%s %d %s", contentType, req.ContentLength, data))
		return testkit.Reply(500), nil
	})
	c := newClient(
		t,
		rt,
		belay.Without(belay.LayerBreaker),
		belay.WithRetry(belay.RetryPolicy{MaxAttempts: 2, BaseDelay: time.Nanosecond}),
	)
	open := func(s string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
	}
	seeker := strings.NewReader("skipped read")
	_, _ = seeker.Seek(8, io.SeekStart)
	for _, b := range []struct {
		body any
		want string
		once bool
	}{
		{map[string]int{"a": 1}, `application/json 7 {"a":1}`, false},
		{url.Values{"a": {"1", "2"}}, "application/x-www-form-urlencoded 7 a=1&a=2", false},
		{[]byte("raw"), "application/octet-stream 3 raw", false},
		{bytes.NewBufferString("buffer"), "application/octet-stream 6 buffer", false},
		{bytes.NewReader([]byte("reader")), "application/octet-stream 6 reader", false},
		{seeker, "application/octet-stream 4 read", false},
		{io.LimitReader(strings.NewReader("once"), 9), "application/octet-stream -1 once", true},
		{belay.ReaderBody("text/plain", io.NopCloser(strings.NewReader("once"))), "text/plain -1 once", true},
		{belay.StreamBody("text/csv", -1, open("a,b")), "text/csv -1 a,b", false},
		{belay.BytesBody("text/plain", []byte("b")), "text/plain 1 b", false},
		{belay.BytesBody("text/plain", nil), "text/plain 0 ", false},
		{
			belay.Multipart(url.Values{"b": {"2"}, "a": {"1"}}, belay.File{Field: "f", Name: "x.txt", Open: open("content")}),
			"multipart -1 --B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n2\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: application/octet-stream\r\n\r\ncontent\r\n--B--\r\n",
			false,
		},
	} {
		got = nil
		_, err := belay.Put[belay.None](t.Context(), c, "/", b.body)
		require.Error(t, err)
		if b.once {
			require.ErrorIs(t, err, belay.ErrNotReplayable)
			require.Equal(t, []string{b.want}, got)
		} else {
			require.Equal(t, []string{b.want, b.want}, got)
		}
	}
}

// A body that cannot be sent is closed all the same, and named.
func TestBodiesThatAreNotSent(t *testing.T) {
	t.Parallel()
	closed := false
	c := newClient(t, stub{})
	_, err := belay.Post[belay.None](t.Context(), c, "/{id}", closing{strings.NewReader("x"), &closed})
	require.ErrorContains(
		t,
		err,
		`belay: partner.test: POST https://partner.test/{id}: the path "/{id}" needs PathValue("id", …)`,
	)
	require.True(t, closed)
	_, err = belay.Get[belay.None](t.Context(), c, "https://evil.test/next?token=abc")
	require.ErrorContains(t, err, "evil.test")
	require.NotContains(t, err.Error(), "abc")
	_, err = belay.Post[belay.None](
		t.Context(),
		c,
		"/",
		belay.Multipart(
			nil,
			belay.File{Field: "f", ContentType: "a\r\nb", Open: func() (io.ReadCloser, error) { return http.NoBody, nil }},
		),
	)
	require.ErrorContains(t, err, "line break")
	for _, nothing := range []io.Reader{(*strings.Reader)(nil), (*closingReader)(nil)} {
		_, err = belay.Post[belay.None](t.Context(), c, "/", belay.ReaderBody("text/plain", nothing))
		require.ErrorContains(t, err, "reader is nil")
	}
}

type closingReader struct{}

func (*closingReader) Read([]byte) (int, error) { return 0, io.EOF }
