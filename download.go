package belay

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/redact"
)

// Downloaded is the result of a [Download].
type Downloaded struct {
	// Bytes is the number of bytes that were written, and Requests the number of requests that brought them.
	Bytes    int64
	Requests int
	// Header is the header of the first answer.
	Header http.Header
	// Verified names the partner's checksum that matched: "sha-256", "sha-512" or "md5". It is empty if the
	// partner sent none.
	Verified string
}

const (
	mostResumes = 5                      // consecutive resumes without progress, after which a download fails
	progress    = 16 << 10               // bytes that count as progress
	resumeWait  = 100 * time.Millisecond // before a resume; doubled for each consecutive one without progress
)

// Download writes the content at path to w, of any size: [WithMaxResponseBytes] does not bound it. Path and
// opts are as for [Send]. If the body breaks off, Download continues from there (Range, RFC 9110 section 14),
// as long as the partner still has the same content (by ETag or Last-Modified). If the partner does not
// support ranges, Download reads the content again and skips the part that is written already.
//
// A checksum in Repr-Digest, Digest or Content-MD5 (RFC 9530, RFC 3230) that does not match is ErrData. After
// an error, w holds the first Bytes bytes of the content. An error of w is returned as it is. Memory is
// bounded by 32 KiB.
func Download(ctx context.Context, c *Client, path string, w io.Writer, opts ...CallOption) (d Downloaded, err error) {
	if w == nil {
		return d, invalid("Download: the writer is nil")
	}
	g := download{client: c, path: path, w: w, opts: opts, total: -1}
	for stuck := 0; ; {
		before := g.Bytes
		err := g.next(ctx)
		if err == nil {
			if g.Verified, err = g.sum.check(); err != nil {
				err = g.broken(err)
			}
			return g.Downloaded, err
		}
		if stuck++; g.Bytes-before >= progress {
			stuck = 0
		}
		if !errors.Is(err, errBrokenOff) || ctx.Err() != nil || stuck == mostResumes {
			return g.Downloaded, err
		}
		if errkit.Sleep(ctx, resumeWait<<stuck) != nil {
			return g.Downloaded, err
		}
	}
}

// errBrokenOff is the error of a body that broke off, so that the download may be resumed.
var errBrokenOff = errors.New("the body broke off")

// download is the state of one Download.
type download struct {
	Downloaded
	client    *Client
	path      string
	w         io.Writer
	opts      []CallOption
	validator string // the version of the content, for If-Range; empty if unknown
	total     int64  // bytes, -1 if unknown
	sum       *sum   // nil if the partner sends no checksum
}

// next requests the rest of the content, and returns nil when the content is complete.
func (g *download) next(ctx context.Context) error {
	from := g.Bytes
	var info Info
	var theirs *Info
	ranged := callOption(func(o *callOptions) {
		o.unbounded = true
		theirs, o.into = o.into, &info
		if o.header.Get("Range") != "" {
			o.fail("Download: the Range is its own")
		}
		if o.header = o.header.Clone(); o.header == nil {
			o.header = make(http.Header)
		}
		o.header["Accept-Encoding"] = []string{"identity"} // no compression, so that offsets count the bytes of the content
		if from > 0 {
			o.header["Range"] = []string{"bytes=" + strconv.FormatInt(from, 10) + "-"}
			if g.validator != "" {
				o.header["If-Range"] = []string{g.validator}
			}
		}
	})
	_, resp, err := g.client.open(ctx, http.MethodGet, g.path, nil, append(slices.Clip(g.opts), ranged), nil)
	if theirs != nil {
		*theirs = info
	}
	if err != nil {
		end := "bytes */" + strconv.FormatInt(from, 10)
		if info.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 && g.validator != "" &&
			g.total < 0 && info.Header.Get("Content-Range") == end {
			return nil // the body broke off after its last byte
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return g.broken(fmt.Errorf("status %d is no answer to a download", resp.StatusCode))
	}
	if g.Header == nil {
		g.Header, g.validator, g.total, g.sum = resp.Header, strongValidator(resp.Header),
			resp.ContentLength, sumOf(resp.Header)
	}
	if err := g.skip(resp, from); err != nil {
		return err
	}
	g.Requests++
	out := &counting{w: g.w, sum: g.sum}
	_, err = io.Copy(out, resp.Body)
	g.Bytes += out.n
	switch {
	case out.err != nil:
		return out.err
	case err != nil && (g.total < 0 || g.Bytes < g.total):
		return g.brokenOff(err)
	case resp.StatusCode == http.StatusPartialContent && g.Bytes < g.total:
		return g.brokenOff(io.ErrUnexpectedEOF) // less than was requested
	case g.total >= 0 && g.Bytes != g.total:
		return g.broken(fmt.Errorf("%d bytes came of %d", g.Bytes, g.total))
	}
	return nil
}

// skip makes the body of resp continue at byte from, and checks that it is the same content as before.
func (g *download) skip(resp *http.Response, from int64) error {
	if from == 0 {
		return nil
	}
	have := strongValidator(resp.Header)
	changed := g.broken(fmt.Errorf("it changed while it was downloaded, after %d bytes", from))
	if have != "" && g.validator != "" && have != g.validator {
		return changed
	}
	if was, now := g.Header.Get("Etag"), resp.Header.Get("Etag"); was != "" && now != "" && was != now { // also weak ETags
		return changed
	}
	partial := resp.StatusCode == http.StatusPartialContent
	if g.validator == "" || have == "" && !partial { // a partial answer to If-Range has the same content
		return g.broken(fmt.Errorf("the partner does not say whether it is still the same, after %d bytes", from))
	}
	if partial {
		begin, total, ok := contentRange(resp.Header.Get("Content-Range"))
		switch {
		case !ok || begin != from:
			return g.broken(fmt.Errorf("asked for what follows byte %d, got the range %q",
				from, redact.Line(resp.Header.Get("Content-Range"), 60)))
		case g.total >= 0 && total >= 0 && total != g.total:
			return changed
		}
		g.total = max(g.total, total)
		return nil
	}
	// The answer is the whole content again.
	if _, err := io.CopyN(io.Discard, resp.Body, from); err != nil {
		return g.brokenOff(err)
	}
	return nil
}

// broken returns the error for an answer without the promised form.
func (g *download) broken(err error) error { return g.client.dataFault(http.MethodGet, g.path, err) }

// brokenOff returns the error for a body that ended too early.
func (g *download) brokenOff(err error) error {
	v := Verdict{Class: ClassTransient, Scope: ScopeCall}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		v.Class = ClassCanceled
	}
	return g.client.fault(http.MethodGet, g.path, v, errkit.Join(errBrokenOff, redact.WithoutURL(err)))
}

// counting writes to w and to the checksum, counts the bytes, and keeps the error of w.
type counting struct {
	w   io.Writer
	sum *sum
	n   int64
	err error
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if n = max(0, min(n, len(p))); n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	if c.sum != nil {
		_, _ = c.sum.Write(p[:n])
	}
	c.n += int64(n)
	c.err = err
	return n, err
}

// strongValidator returns the value by which two answers have the same bytes: a strong ETag, or else
// Last-Modified.
func strongValidator(h http.Header) string {
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange parses a range such as "bytes 100-199/1000". It returns the first byte and the total size, -1
// if the total size is unknown.
func contentRange(s string) (begin, total int64, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), "bytes ")
	if !ok {
		return 0, 0, false
	}
	first, rest, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, 0, false
	}
	begin, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	_, of, _ := strings.Cut(rest, "/")
	if total, perr := strconv.ParseInt(strings.TrimSpace(of), 10, 64); perr == nil {
		return begin, total, err == nil
	}
	return begin, -1, err == nil
}

// sum is a checksum that the partner sent, with the hash to compare it with.
type sum struct {
	hash.Hash
	kind, want string
}

// sumOf returns the strongest checksum in h, nil if there is none.
func sumOf(h http.Header) *sum {
	sent := make(map[string]string)
	for _, name := range [...]string{"Digest", "Repr-Digest"} {
		for part := range strings.SplitSeq(h.Get(name), ",") {
			if kind, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
				sent[strings.ToLower(kind)] = strings.Trim(value, ":") // RFC 9530 puts colons around the value
			}
		}
	}
	if v := h.Get("Content-Md5"); v != "" {
		sent["md5"] = v
	}
	for _, known := range [...]struct {
		kind string
		of   func() hash.Hash
	}{{"sha-512", sha512.New}, {"sha-256", sha256.New}, {"md5", md5.New}} {
		if want := sent[known.kind]; want != "" {
			return &sum{known.of(), known.kind, want}
		}
	}
	return nil
}

// check returns the name of the checksum if it matches, or an error. For a nil s it returns "".
func (s *sum) check() (string, error) {
	if s == nil {
		return "", nil
	}
	got := s.Sum(nil)
	if s.want == base64.StdEncoding.EncodeToString(got) || strings.EqualFold(s.want, hex.EncodeToString(got)) {
		return s.kind, nil
	}
	return "", fmt.Errorf("the %s of what came is not the one that the partner sent", s.kind)
}
