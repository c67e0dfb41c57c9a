package belay_test

import (
	"bytes"
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
