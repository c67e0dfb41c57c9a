package belay_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// A resumed download is of the same bytes, all of them, or an error.
func TestDownloadNeverMixes(t *testing.T) {
	t.Parallel()
	part := func(status int, body string, length int64, breaks bool, header ...string) func() *http.Response {
		return func() *http.Response {
			r := testkit.Reply(status, header...)
			r.ContentLength = length
			r.Body = io.NopCloser(strings.NewReader(body))
			if breaks {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), breaking{}))
			}
			return r
		}
	}
	for name, c := range map[string]struct {
		first, then func() *http.Response
		want        string // empty is an error
		says        string
	}{
		"416 of something shorter": {
			part(200, "AAAA", 8, true, "Etag", `"1"`), part(416, "", 0, false, "Content-Range", "bytes */3"), "", "416",
		},
		"416 at the end": {
			part(200, "AAAA", -1, true, "Etag", `"1"`), part(416, "", 0, false, "Content-Range", "bytes */4"), "AAAA", "",
		},
		"no validator": {
			part(200, "AAAA", 8, true), part(206, "BBBB", 4, false, "Content-Range", "bytes 4-7/8"), "", "does not say whether",
		},
		"weak tags that differ": {
			part(200, "AAAA", 8, true, "Etag", `W/"1"`, "Last-Modified", "x"),
			part(206, "BBBB", 4, false, "Content-Range", "bytes 4-7/8", "Etag", `W/"2"`, "Last-Modified", "x"), "", "changed",
		},
		"another length": {
			part(200, "AAAA", 8, true, "Etag", `"1"`),
			part(206, "BBBB", 4, false, "Content-Range", "bytes 4-7/9", "Etag", `"1"`), "", "changed",
		},
		"a part from elsewhere": {
			part(200, "AAAA", 8, true, "Etag", `"1"`),
			part(206, "BBBB", 4, false, "Content-Range", "bytes 0-3/8", "Etag", `"1"`), "", "got the range",
		},
		"the same": {
			part(200, "AAAA", 8, true, "Etag", `"1"`),
			part(206, "BBBB", 4, false, "Content-Range", "bytes 4-7/8", "Etag", `"1"`), "AAAABBBB", "",
		},
		"parts that are less than asked": {part(200, "AAAA", -1, true, "Etag", `"1"`), nil, "AAAABBCC", ""},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				n++
				switch {
				case n == 1:
					return c.first(), nil
				case c.then != nil:
					return c.then(), nil
				case req.Header.Get("Range") == "bytes=4-":
					return part(206, "BB", 2, false, "Content-Range", "bytes 4-5/8", "Etag", `"1"`)(), nil
				}
				require.Equal(t, "bytes=6-", req.Header.Get("Range"))
				return part(206, "CC", 2, false, "Content-Range", "bytes 6-7/8", "Etag", `"1"`)(), nil
			})
			var w bytes.Buffer
			var info belay.Info
			_, err := belay.Download(t.Context(), newClient(t, rt), "/f", &w, belay.Into(&info))
			require.Positive(t, info.StatusCode)
			if c.want == "" {
				require.ErrorContains(t, err, c.says)
				require.Equal(t, "AAAA", w.String())
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, w.String())
		})
	}
	_, err := belay.Download(
		t.Context(),
		newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil })),
		"/f",
		io.Discard,
		belay.Header("Range", "bytes=1-"),
	)
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// Content that comes in gzip although nobody asked for that is decoded, and read anew when it breaks off.
func TestDownloadOfGzip(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef, and so on. "), 5000)
	for i := range content {
		content[i] ^= byte(i * i >> 7)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(content)
	require.NoError(t, w.Close())
	packed := z.Bytes()
	answer := func(data []byte, breaks bool, header ...string) *http.Response {
		r := testkit.Reply(200, append([]string{"Etag", `"1"`}, header...)...)
		r.ContentLength, r.Body = int64(len(data)), io.NopCloser(bytes.NewReader(data))
		if breaks {
			r.ContentLength, r.Body = -1, io.NopCloser(io.MultiReader(bytes.NewReader(data), breaking{}))
		}
		return r
	}
	for name, c := range map[string]struct {
		answers []*http.Response
		fails   string
	}{
		"gzip":                  {[]*http.Response{answer(packed, false, "Content-Encoding", "gzip")}, ""},
		"x-gzip":                {[]*http.Response{answer(packed, false, "Content-Encoding", "X-Gzip", "Content-Md5", "AAAA")}, ""},
		"identity":              {[]*http.Response{answer(content, false, "Content-Encoding", "identity")}, ""},
		"it breaks off":         {[]*http.Response{answer(packed[:len(packed)/2], true, "Content-Encoding", "gzip"), answer(packed, false, "Content-Encoding", "gzip")}, ""},
		"it breaks off at once": {[]*http.Response{answer(packed[:5], true, "Content-Encoding", "gzip"), answer(packed, false, "Content-Encoding", "gzip")}, ""},
		"it is cut":             {[]*http.Response{answer(packed[:len(packed)-9], false, "Content-Encoding", "gzip"), answer(packed, false, "Content-Encoding", "gzip")}, ""},
		"another one then":      {[]*http.Response{answer(packed[:len(packed)/2], true, "Content-Encoding", "gzip"), answer(content, false)}, "changed"},
		"it is not":             {[]*http.Response{answer(content, false, "Content-Encoding", "gzip")}, "is not"},
		"Brotli":                {[]*http.Response{answer(content, false, "Content-Encoding", "br")}, `"br"`},
		"two":                   {[]*http.Response{answer(packed, false, "Content-Encoding", "gzip, gzip")}, `"gzip, gzip"`},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				require.Equal(t, "identity", req.Header.Get("Accept-Encoding"))
				require.Empty(t, req.Header.Get("Range"))
				r := c.answers[min(n, len(c.answers)-1)]
				n++
				r.Request = req
				return r, nil
			})
			var out bytes.Buffer
			d, err := belay.Download(t.Context(), newClient(t, rt), "/f", &out)
			require.True(t, bytes.HasPrefix(content, out.Bytes()))
			require.EqualValues(t, out.Len(), d.Bytes)
			if c.fails != "" {
				require.ErrorIs(t, err, belay.ErrData)
				require.ErrorContains(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, len(content), out.Len())
		})
	}
}
