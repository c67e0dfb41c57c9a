package belay_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// file serves a file, and breaks off after so many bytes of each answer.
type file struct {
	content   []byte
	cut       int // bytes of an answer, 0 for all
	ranges    bool
	etag      string
	digest    bool
	chunked   bool
	requests  []string
	onRequest func(n int, s *file)
}

func (s *file) RoundTrip(req *http.Request) (*http.Response, error) {
	s.requests = append(s.requests, req.Header.Get("Range"))
	if s.onRequest != nil {
		s.onRequest(len(s.requests), s)
	}
	r := testkit.Reply(200, "Content-Type", "application/octet-stream", "Etag", s.etag)
	if s.etag == "" {
		r.Header.Del("Etag")
	}
	if s.digest {
		sum := sha256.Sum256(s.content)
		r.Header.Set("Repr-Digest", "md5=:AAAA:, sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	}
	from := 0
	if spec, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok && s.ranges &&
		(req.Header.Get("If-Range") == "" || req.Header.Get("If-Range") == s.etag) {
		from, _ = strconv.Atoi(strings.TrimSuffix(spec, "-"))
		if from >= len(s.content) {
			return testkit.Reply(416, "Content-Range", fmt.Sprintf("bytes */%d", len(s.content))), nil
		}
		r.StatusCode = 206
		r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.content)-1, len(s.content)))
	}
	body := s.content[from:]
	r.ContentLength = int64(len(body))
	if s.chunked {
		r.ContentLength = -1
	}
	if s.cut > 0 && len(body) >= s.cut {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:s.cut]), breaking{}))
	} else {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return r, nil
}

// A download goes on where it broke off, skips what it has where the partner knows no ranges, and never mixes
// two versions.
func TestDownload(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<10) // 128 KiB
	for _, c := range []struct {
		name     string
		store    file
		requests int
		verified string
		says     string
	}{
		{"whole", file{digest: true, etag: `"a"`}, 1, "sha-256", ""},
		{"nothing to check", file{}, 1, "", ""},
		{"ranges", file{ranges: true, etag: `"a"`, cut: 50_000, digest: true}, 3, "sha-256", ""},
		{"ranges without a validator", file{ranges: true, cut: 50_000}, 2, "", "does not say whether it is still the same"},
		{
			"no ranges, still the same",
			file{etag: `"a"`, cut: 0, onRequest: func(n int, s *file) { s.cut = []int{0, 50_000, 100_000, 0}[n] }},
			3, "", "",
		},
		{"no ranges, and nobody knows", file{cut: 50_000}, 2, "", "does not say whether it is still the same"},
		{"changed", file{ranges: true, etag: `"a"`, cut: 50_000, onRequest: func(n int, s *file) {
			if n == 2 {
				s.etag = `"b"`
			}
		}}, 2, "", "changed while it was downloaded, after 50000 bytes"},
		{"broken off behind the last byte", file{ranges: true, etag: `"a"`, cut: len(content), chunked: true}, 2, "", ""},
		{
			"broken off behind the last byte, of a length that is known",
			file{ranges: true, etag: `"a"`, cut: len(content)},
			1, "", "",
		},
		{"no progress", file{ranges: true, etag: `"a"`, cut: 1}, 5, "", "broke off"},
		{"another checksum", file{etag: `"a"`, digest: true, onRequest: func(_ int, s *file) {
			s.content = append([]byte("x"), s.content[1:]...)
		}}, 1, "sha-256", ""},
	} {
		testkit.Bubble(t, c.name, func(t *testing.T) {
			c.store.content = bytes.Clone(content)
			client := newClient(t, &c.store, belay.WithMaxResponseBytes(1000))
			var w bytes.Buffer
			d, err := belay.Download(t.Context(), client, "/files/{id}", &w, belay.PathValue("id", "7"))
			require.Len(t, c.store.requests, c.requests)
			require.EqualValues(t, w.Len(), d.Bytes)
			require.True(t, bytes.HasPrefix(c.store.content, w.Bytes()) || c.says != "", "never a byte that is not its own")
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.store.content, w.Bytes())
			require.Equal(t, c.verified, d.Verified)
		})
	}
	testkit.Bubble(t, "a checksum that does not fit", func(t *testing.T) {
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			return replyWithBody("abc", "Digest", "SHA-256=AAAA"), nil
		})
		_, err := belay.Download(t.Context(), newClient(t, rt), "/", io.Discard)
		require.ErrorIs(t, err, belay.ErrData)
		require.ErrorContains(t, err, "the sha-256 of what came")
	})
	testkit.Bubble(t, "a writer that fails, a cancel, a 404", func(t *testing.T) {
		full := errors.New("disk full")
		s := &file{content: content}
		_, err := belay.Download(
			t.Context(),
			newClient(t, s),
			"/",
			writerFunc(func(p []byte) (int, error) { return 0, full }),
		)
		require.ErrorIs(t, err, full)
		_, err = belay.Download(
			t.Context(),
			newClient(t, s),
			"/",
			writerFunc(func(p []byte) (int, error) { return 1, nil }),
		)
		require.ErrorIs(t, err, io.ErrShortWrite)
		ctx, cancel := context.WithCancel(t.Context())
		s = &file{content: content, cut: 50_000, ranges: true, onRequest: func(int, *file) { cancel() }}
		_, err = belay.Download(ctx, newClient(t, s), "/", io.Discard)
		require.ErrorIs(t, err, context.Canceled)
		_, err = belay.Download(
			t.Context(),
			newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(404), nil })),
			"/",
			io.Discard,
		)
		require.ErrorIs(t, err, belay.ErrNotFound)
		_, err = belay.Download(t.Context(), newClient(t, s), "/", nil)
		require.ErrorIs(t, err, belay.ErrInvalid)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func replyWithBody(body string, header ...string) *http.Response {
	r := testkit.Reply(200, header...)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

// Work that goes on at the partner's is asked after as the partner says, at its own origin only.
func TestAwaitAndPoll(t *testing.T) {
	t.Parallel()
	type op struct{ Status string }
	testkit.Bubble(t, "202, Location, Retry-After", func(t *testing.T) {
		var asked []string
		began := time.Now()
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			asked = append(asked, fmt.Sprint(req.Method, " ", req.URL.RequestURI(), " ", time.Since(began)))
			switch len(asked) {
			case 1:
				return testkit.Reply(202, "Location", "/operations/9?k=v"), nil
			case 2:
				return testkit.Reply(202, "Retry-After", "20"), nil
			case 3:
				return testkit.Reply(
					202,
					"Operation-Location",
					"https://partner.test/operations/10",
					"Location",
					"/elsewhere",
				), nil
			}
			return testkit.Raw(200, "application/json", `{"status":"done"}`), nil
		})
		got, err := belay.Await[op](
			t.Context(),
			newClient(t, rt),
			"POST",
			"/exports/{id}?a=b",
			map[string]int{"x": 1},
			belay.PathValue("id", "1"),
			belay.IdempotencyKey("k"),
		)
		require.NoError(t, err)
		require.Equal(t, "done", got.Status)
		require.Equal(
			t,
			[]string{
				"POST /exports/1?a=b 0s",
				"GET /operations/9?k=v 1s",
				"GET /operations/9?k=v 21s",
				"GET /operations/10 23.25s",
			},
			asked,
		)
	})
	testkit.Bubble(t, "no link: the same path", func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if n++; n < 3 {
				return testkit.Reply(202), nil
			}
			return testkit.Raw(204, "", ""), nil
		})
		_, err := belay.Await[op](t.Context(), newClient(t, rt), "GET", "/report", nil)
		require.NoError(t, err)
		require.Equal(t, 3, n)
	})
	testkit.Bubble(t, "elsewhere, and too late", func(t *testing.T) {
		for _, link := range []string{"https://evil.test/", "http://partner.test/", "https://u:p@partner.test/", "%zz"} {
			n := 0
			rt := testkit.RoundTrip(
				func(*http.Request) (*http.Response, error) { n++; return testkit.Reply(202, "Location", link), nil },
			)
			_, err := belay.Await[op](t.Context(), newClient(t, rt), "POST", "/", nil)
			require.ErrorIs(t, err, belay.ErrData, link)
			require.Equal(t, 1, n)
		}
		rt := testkit.RoundTrip(
			func(*http.Request) (*http.Response, error) { return testkit.Reply(202, "Retry-After", "100"), nil },
		)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := belay.Await[op](ctx, newClient(t, rt), "POST", "/", nil)
		require.ErrorIs(t, err, belay.ErrWaitTooLong)
		require.Zero(t, time.Since(began), "at once")
		wait, ok := belay.RetryAfter(err)
		require.True(t, ok)
		require.Equal(t, 100*time.Second, wait)
	})
	testkit.Bubble(t, "Poll", func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			n++
			return testkit.Raw(200, "application/json", fmt.Sprintf(`{"status":"%d"}`, n)), nil
		})
		c := newClient(t, rt)
		got, err := belay.Poll(
			t.Context(),
			c,
			"/operations/{id}",
			func(o op) (bool, error) { return o.Status == "4", nil },
			belay.PathValue("id", "7"),
		)
		require.NoError(t, err)
		require.Equal(t, "4", got.Status)
		failed := errors.New("it failed")
		_, err = belay.Poll(t.Context(), c, "/", func(op) (bool, error) { return false, failed })
		require.ErrorIs(t, err, failed)
		ctx, cancel := context.WithCancel(t.Context())
		_, err = belay.Poll(ctx, c, "/", func(op) (bool, error) { cancel(); return false, nil })
		require.ErrorIs(t, err, context.Canceled)
		_, err = belay.Poll[op](t.Context(), c, "/", nil)
		require.ErrorIs(t, err, belay.ErrInvalid)
	})
}

// A stream of events may be silent for hours, and longer than any other answer; other streams may not.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "silent for an hour", func(t *testing.T) {
		for contentType, survives := range map[string]bool{
			"text/event-stream":                true,
			"Text/Event-Stream; charset=utf-8": true,
			"application/x-ndjson":             false,
		} {
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				r := testkit.Reply(200, "Content-Type", contentType)
				r.Body = &slowBody{ctx: req.Context(), parts: []string{"data: 1\n\n", "data: 2\n\n"}}
				return r, nil
			})
			c := newClient(t, rt, belay.WithMaxResponseBytes(4))
			if !survives {
				c = newClient(t, rt)
			}
			req, err := c.NewRequest(t.Context(), http.MethodGet, "/events", nil)
			require.NoError(t, err)
			resp, err := c.Do(req)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, resp.Body.Close())
			if survives {
				require.NoError(t, err)
				require.Equal(t, "data: 1\n\ndata: 2\n\n", string(data))
			} else {
				require.Error(t, err)
			}
		}
	})
}

// slowBody yields each part after an hour.
type slowBody struct {
	ctx   context.Context
	parts []string
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.parts) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(time.Hour):
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	n := copy(p, b.parts[0])
	b.parts = b.parts[1:]
	return n, nil
}

func (b *slowBody) Close() error { return nil }

// A redirect that is not followed is no part of a file.
func TestDownloadOfARedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 307, 308, 204} {
		c, err := belay.New(
			"https://partner.test",
			belay.WithRedirects(belay.RedirectNone),
			belay.WithTransport(testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				resp := replyWithBody("moved", "Location", "/elsewhere")
				resp.StatusCode = status
				return resp, nil
			})),
		)
		require.NoError(t, err)
		var to bytes.Buffer
		_, err = belay.Download(t.Context(), c, "/file", &to)
		require.ErrorIs(t, err, belay.ErrData, status)
		require.Zero(t, to.Len())
	}
}
