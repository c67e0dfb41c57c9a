package httpcache

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func header(kv ...string) http.Header {
	h := make(http.Header)
	for i := 0; i+1 < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

// How long an answer is kept and fresh (RFC 9111, sections 3, 4.2 and 5.2).
func TestKeep(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Minute
	for _, c := range []struct {
		name  string
		h     http.Header
		keep  bool
		fresh time.Duration // 0 for not fresh
	}{
		{"says nothing", header(), true, ttl},
		{"max-age", header("Cache-Control", "max-age=60"), true, time.Minute},
		{"in upper case, quoted, with others", header("Cache-Control", `Private="a,b", MAX-AGE="60"`), true, time.Minute},
		{"two lines", header("Cache-Control", "private", "Cache-Control", "max-age=60"), true, time.Minute},
		{"s-maxage is for shared caches", header("Cache-Control", "s-maxage=9, max-age=60"), true, time.Minute},
		{"max-age before Expires", header("Cache-Control", "max-age=60", "Expires", "0"), true, time.Minute},
		{"some of it is over", header("Cache-Control", "max-age=60", "Age", "20"), true, 40 * time.Second},
		{"max-age=0", header("Cache-Control", "max-age=0"), true, 0},
		{"no number", header("Cache-Control", "max-age=soon"), true, 0},
		{"negative", header("Cache-Control", "max-age=-5"), true, 0},
		{"too large", header("Cache-Control", "max-age=99999999999999999999"), true, 1 << 31 * time.Second},
		{"no-cache", header("Cache-Control", "no-cache, max-age=60"), true, 0},
		{"no-store", header("Cache-Control", "no-store"), false, 0},
		{"Expires", header("Expires", "Sun, 01 Mar 2026 12:10:00 GMT"), true, 10 * time.Minute},
		{"Expires by the partner's clock", header("Expires", "Sun, 01 Mar 2026 13:10:00 GMT", "Date", "Sun, 01 Mar 2026 13:00:00 GMT"), true, 10 * time.Minute},
		{"Expires: 0", header("Expires", "0"), true, 0},
		{"Expires in the past", header("Expires", "Sun, 01 Mar 2020 12:10:00 GMT"), true, 0},
		{"Vary: *", header("Vary", "*"), false, 0},
		{"Vary: Accept, *", header("Vary", "Accept, *"), false, 0},
		{"a part", header("Content-Range", "bytes 0-1/2"), false, 0},
	} {
		e, ok := Keep(200, c.h, now, ttl)
		require.Equal(t, c.keep, ok, c.name)
		if !ok {
			continue
		}
		if c.fresh == 0 {
			require.False(t, e.Fresh.After(now), c.name)
			continue
		}
		require.Equal(t, c.fresh, e.Fresh.Sub(now), c.name)
	}
	for _, status := range []int{201, 204, 206, 301, 304, 404, 500} {
		_, ok := Keep(status, header(), now, ttl)
		require.False(t, ok, "%d", status)
	}
	e, _ := Keep(200, header("Set-Cookie", "session=1", "Connection", "close", "Etag", `"a"`), now, ttl)
	require.Equal(t, header("Etag", `"a"`), e.Header, "no session is kept")
	require.Equal(t, header("If-None-Match", `"a"`), e.Validators())
	require.Nil(t, Entry{}.Validators())
	e, ok := e.Refreshed(header("Cache-Control", "max-age=7", "Content-Length", "0"), now.Add(time.Hour), ttl)
	require.True(t, ok)
	require.Equal(t, now.Add(time.Hour+7*time.Second), e.Fresh)
	require.Equal(t, header("Etag", `"a"`, "Cache-Control", "max-age=7"), e.Header)
	e, ok = e.Refreshed(header("Cache-Control", "no-store", "Set-Cookie", "a=b"), now.Add(time.Hour), ttl)
	require.False(t, ok)
	require.Equal(t, now.Add(time.Hour), e.Stored)
	require.Empty(t, e.Header["Set-Cookie"])
}

func TestBypass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		h          http.Header
		look, keep bool
	}{
		{header(), true, true},
		{header("Cache-Control", "no-cache"), false, true},
		{header("Cache-Control", "max-age=0"), false, true},
		{header("Cache-Control", "no-store"), false, false},
		{header("Pragma", "no-cache"), false, true},
	} {
		look, keep := Bypass(c.h)
		require.Equal(t, []bool{c.look, c.keep}, []bool{look, keep}, "%v", c.h)
	}
}

// An entry comes back as it was; a large body takes less room.
func TestBytes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 10, 100_000} {
		e, _ := Keep(200, header("Etag", "x"), now, time.Minute)
		e.Body = bytes.Repeat([]byte("0123456789"), n/10)
		data, err := e.Bytes()
		require.NoError(t, err)
		if n > 1000 {
			require.Less(t, len(data), n/10)
		}
		got, err := Parse(data, 1<<20)
		require.NoError(t, err)
		require.Equal(t, e.Header, got.Header)
		require.True(t, e.Fresh.Equal(got.Fresh))
		require.Equal(t, string(e.Body), string(got.Body))
		_, err = Parse(data, int64(n)-1)
		require.Error(t, err)
	}
}

func FuzzParse(f *testing.F) {
	e, _ := Keep(200, header("Etag", "x"), now, time.Minute)
	e.Body = bytes.Repeat([]byte("abc"), 1000)
	data, _ := e.Bytes()
	f.Add(data, "max-age=60, no-cache")
	f.Add([]byte{1, 1, 0, 0, 0, 2, '{', '}'}, `a="b,c", max-age=9999999999999999999`)
	f.Fuzz(func(t *testing.T, data []byte, control string) {
		if e, err := Parse(data, 1<<16); err == nil && (len(e.Body) > 1<<16 || e.Header == nil || e.Status != 200) {
			t.Fatalf("%+v", e)
		}
		if e, ok := Keep(200, header("Cache-Control", control), now, time.Minute); ok && e.Fresh.Sub(now) > 1<<31*time.Second {
			t.Fatal(e.Fresh)
		}
	})
}
