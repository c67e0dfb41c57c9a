package belay_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// partly answers requests for content in one of the ways in which servers answer ranges.
type partly struct {
	content  []byte
	cut      int // bytes after which the first body breaks off
	say      string
	status   int
	most     int  // bytes of a part, 0 for all that is left
	overlap  int  // bytes before the one that was asked for
	star     bool // the total is not told
	whole    bool // ranges are answered with a 206 of everything
	refuse   bool // ranges are answered with 416
	unasked  int  // bytes of a part that the first request gets
	lie      int  // bytes by which the range says another place
	longer   bool // more bytes than the range says
	noLength bool
	n        int
}

func (s *partly) RoundTrip(req *http.Request) (*http.Response, error) {
	s.n++
	all := len(s.content)
	from, asked := 0, req.Header.Get("Range") != ""
	if asked {
		from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(req.Header.Get("Range"), "bytes="), "-"))
	}
	header := []string{"Etag", `"v1"`}
	ranged := func(first, last int) {
		total := strconv.Itoa(all)
		if s.star {
			total = "*"
		}
		if s.say != "" {
			header = append(header, "Content-Range", fmt.Sprintf(s.say, first, last, total))
		}
	}
	status, body := 200, s.content
	switch {
	case !asked && s.unasked > 0 && s.n == 1:
		status, body = s.status, s.content[:s.unasked]
		ranged(0, s.unasked-1)
	case asked && s.refuse, asked && from >= all:
		status, body = 416, nil
		if !s.refuse {
			header = append(header, "Content-Range", fmt.Sprintf("bytes */%d", all))
		}
	case asked && s.whole:
		status = 206
		ranged(0, all-1)
	case asked:
		first, last := max(0, from-s.overlap), all-1
		if s.most > 0 {
			last = min(last, from+s.most-1)
		}
		status, body = s.status, s.content[first:last+1]
		ranged(max(0, first+s.lie), max(0, last+s.lie))
		if s.longer && last+1 < all {
			body = s.content[first : last+2]
		}
	}
	r := testkit.Reply(status, header...)
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if s.noLength {
		r.ContentLength = -1
	}
	if s.n == 1 && s.cut > 0 && s.cut < len(body) {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:s.cut]), breaking{}))
	}
	return r, nil
}

// Whichever way a server answers ranges, the writer gets the content or an error, and never a wrong byte.
func TestDownloadOfParts(t *testing.T) {
	t.Parallel()
	content := make([]byte, 65536)
	for i := range content {
		content[i] = byte(i >> 8)
	}
	const usual = "bytes %d-%d/%s"
	for name, c := range map[string]struct {
		s    partly
		fail string // empty: the whole content comes
	}{
		"200 with a range":             {partly{cut: 20000, noLength: true, status: 200, say: usual}, ""},
		"200 with a range and a total": {partly{cut: 20000, status: 200, say: usual}, ""},
		"upper case":                   {partly{cut: 20000, status: 206, say: "Bytes %d-%d/%s"}, ""},
		"an equals sign":               {partly{cut: 20000, status: 206, say: "bytes=%d-%d/%s"}, ""},
		"an overlap":                   {partly{cut: 20000, status: 206, say: usual, overlap: 3616}, ""},
		"everything again as 206":      {partly{cut: 20000, status: 206, say: usual, whole: true}, ""},
		"parts without a total":        {partly{cut: 20000, noLength: true, status: 206, say: usual, most: 9000, star: true}, ""},
		"small parts":                  {partly{cut: 60000, status: 206, say: usual, most: 500}, ""},
		"a part that nobody asked for": {partly{status: 206, say: usual, unasked: 1000}, ""},
		"and as 200":                   {partly{status: 200, say: usual, unasked: 1000}, ""},
		"and without a total":          {partly{status: 206, say: usual, unasked: 1000, star: true}, ""},
		"200 in the singular":          {partly{cut: 20000, noLength: true, status: 200, say: "byte %d-%d/%s"}, ""},
		"200 with a colon":             {partly{cut: 20000, noLength: true, status: 200, say: "bytes: %d-%d/%s"}, ""},
		"200 with a range alone":       {partly{cut: 20000, noLength: true, status: 200, say: "%d-%d/%s"}, "cannot be read"},
		"200 in octets":                {partly{cut: 20000, noLength: true, status: 200, say: "octets %d-%d/%s"}, "cannot be read"},
		"200 without an end":           {partly{cut: 20000, noLength: true, status: 200, say: "bytes %d-/%[3]s"}, "cannot be read"},
		"200 with the rest's length":   {partly{cut: 20000, noLength: true, status: 200, say: "bytes %d-%d/45536"}, "cannot be read"},
		"200 that says nothing":        {partly{cut: 20000, noLength: true, status: 200}, "it changed"},
		"and with a length":            {partly{cut: 20000, status: 200}, "it changed"},
		"a range alone, unasked":       {partly{status: 200, say: "%d-%d/%s", unasked: 1000, noLength: true}, "cannot be read"},
		"416 at a resume":              {partly{cut: 20000, status: 206, say: usual, refuse: true}, ""},
		"a range of elsewhere":         {partly{cut: 20000, status: 206, say: usual, lie: 7, most: 100}, "got the range"},
		"a range before":               {partly{cut: 20000, status: 206, say: usual, lie: -20000, most: 100}, "got the range"},
		"more than the range":          {partly{cut: 20000, status: 206, say: usual, most: 100, longer: true}, "more came than"},
		"another unit":                 {partly{cut: 20000, status: 206, say: "items %d-%d/%s"}, "a part of the content"},
		"a range that is none":         {partly{cut: 20000, status: 206, say: "bytes %[2]d-%[1]d/%[3]s"}, "a part of the content"},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			s := c.s
			s.content = content
			var w bytes.Buffer
			d, err := belay.Download(t.Context(), newClient(t, &s), "/f", &w)
			require.EqualValues(t, w.Len(), d.Bytes)
			require.True(t, bytes.HasPrefix(content, w.Bytes()), "a wrong byte")
			if c.fail != "" {
				require.ErrorIs(t, err, belay.ErrData)
				require.ErrorContains(t, err, c.fail)
				return
			}
			require.NoError(t, err)
			require.Equal(t, len(content), w.Len())
		})
	}
	testkit.Bubble(t, "at random", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		done := 0
		for range 2000 {
			s := partly{
				content: content[:1+rng.IntN(3000)], cut: rng.IntN(3000), status: 200 + 6*rng.IntN(2), most: rng.IntN(2000),
				overlap: rng.IntN(2) * rng.IntN(900), star: rng.IntN(3) == 0, whole: rng.IntN(5) == 0, refuse: rng.IntN(9) == 0,
				noLength: rng.IntN(2) == 0, longer: rng.IntN(9) == 0,
				say: []string{usual, "Bytes %d-%d/%s", "bytes=%d-%d/%s", "items %d-%d/%s"}[rng.IntN(4)],
			}
			if s.status == 200 && strings.HasPrefix(s.say, "items") { // a lie that nobody can see, without a Range
				s.say = usual
			}
			s.unasked = rng.IntN(len(s.content)) * rng.IntN(2)
			var w bytes.Buffer
			_, err := belay.Download(t.Context(), newClient(t, &s), "/f", &w)
			require.True(t, bytes.HasPrefix(s.content, w.Bytes()), "a wrong byte")
			if err == nil {
				done++
				require.Equal(t, len(s.content), w.Len())
			}
		}
		require.Greater(t, done, 1000)
	})
}

// A typed call does not take a part for the whole.
func TestPartThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header string
		ask    bool
		ok     bool
	}{
		"a part":           {206, "bytes 0-1/65536", false, false},
		"a part as 200":    {200, "bytes 0-1/65536", false, false},
		"no total":         {206, "bytes 0-1/*", false, false},
		"without a range":  {206, "", false, false},
		"the whole":        {206, "bytes 0-1/2", false, true},
		"asked for":        {206, "bytes 0-1/65536", true, true},
		"a part of a list": {200, "items 0-24/53", false, true},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				r := testkit.Reply(c.status, "Content-Range", c.header)
				if c.header == "" {
					r.Header.Del("Content-Range")
				}
				r.ContentLength = -1
				return r, nil
			})
			var opts []belay.CallOption
			if c.ask {
				opts = append(opts, belay.Header("Range", "bytes=0-1"))
			}
			got, err := belay.Get[[]byte](t.Context(), newClient(t, rt), "/f", opts...)
			if c.ok {
				require.NoError(t, err)
				require.Equal(t, "{}", string(got))
				return
			}
			require.ErrorIs(t, err, belay.ErrData)
		})
	}
}
