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

	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/redact"
)

// Downloaded is what became of a [Download].
type Downloaded struct {
	// Bytes were written, in as many requests that brought some.
	Bytes    int64
	Requests int
	// Header is the first answer's.
	Header http.Header
	// Verified names the checksum that the partner sent and that fits: "sha-256", "sha-512" or "md5". Empty when it sent none.
	Verified string
}

const (
	mostResumes = 5                      // in a row that made no progress
	progress    = 16 << 10               // bytes
	resumeWait  = 100 * time.Millisecond // doubled for each of them
)

// Download writes what is at path to w, however long it is; [WithMaxResponseBytes] does not bound it. Path and opts are as for [Send].
// When the body breaks off, it goes on from there (Range, RFC 9110 section 14), as long as the partner still has the same
// (ETag or Last-Modified); one that knows no ranges is read again, and what has been written is skipped. A checksum in Repr-Digest, Digest or
// Content-MD5 (RFC 9530, RFC 3230) that does not fit is ErrData. On an error w holds the beginning, as Bytes says; an error of w is
// returned as it is. Memory is bounded by 32 KiB.
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
		if fault.Sleep(ctx, resumeWait<<stuck) != nil {
			return g.Downloaded, err
		}
	}
}

// errBrokenOff is a body that can be gone on with.
var errBrokenOff = errors.New("the body broke off")

// download is a download under way.
type download struct {
	Downloaded
	client    *Client
	path      string
	w         io.Writer
	opts      []CallOption
	validator string // of what is being downloaded
	total     int64  // bytes, -1 when it is not known
	sum       *sum   // nil when the partner sends none
}

// next makes a request for what is still to come, and returns nil when that was all.
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
		o.header["Accept-Encoding"] = []string{"identity"} // so that bytes are counted as they are stored
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
		if info.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 && g.validator != "" && g.total < 0 && info.Header.Get("Content-Range") == end {
			return nil // it broke off behind the last byte
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return g.broken(fmt.Errorf("status %d is no answer to a download", resp.StatusCode))
	}
	if g.Header == nil {
		g.Header, g.validator, g.total, g.sum = resp.Header, strongValidator(resp.Header), resp.ContentLength, sumOf(resp.Header)
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
		return g.brokenOff(io.ErrUnexpectedEOF) // a part of what was asked for
	case g.total >= 0 && g.Bytes != g.total:
		return g.broken(fmt.Errorf("%d bytes came of %d", g.Bytes, g.total))
	}
	return nil
}

// skip goes to where the answer's bytes follow those that there are, and makes sure that they are of the same.
func (g *download) skip(resp *http.Response, from int64) error {
	if from == 0 {
		return nil
	}
	have := strongValidator(resp.Header)
	changed := g.broken(fmt.Errorf("it changed while it was downloaded, after %d bytes", from))
	if have != "" && g.validator != "" && have != g.validator {
		return changed
	}
	if was, now := g.Header.Get("Etag"), resp.Header.Get("Etag"); was != "" && now != "" && was != now { // weak ones too
		return changed
	}
	partial := resp.StatusCode == http.StatusPartialContent
	if g.validator == "" || have == "" && !partial { // a part came by If-Range, so it is of the same
		return g.broken(fmt.Errorf("the partner does not say whether it is still the same, after %d bytes", from))
	}
	if partial {
		begin, total, ok := contentRange(resp.Header.Get("Content-Range"))
		switch {
		case !ok || begin != from:
			return g.broken(fmt.Errorf("asked for what follows byte %d, got the range %q", from, redact.Line(resp.Header.Get("Content-Range"), 60)))
		case g.total >= 0 && total >= 0 && total != g.total:
			return changed
		}
		g.total = max(g.total, total)
		return nil
	}
	// The whole again.
	if _, err := io.CopyN(io.Discard, resp.Body, from); err != nil {
		return g.brokenOff(err)
	}
	return nil
}

// broken makes the error of an answer that is not what was promised.
func (g *download) broken(err error) error { return g.client.dataFault(http.MethodGet, g.path, err) }

// brokenOff makes the error of a body that ended too early.
func (g *download) brokenOff(err error) error {
	v := Verdict{Class: ClassTransient, Scope: ScopeCall}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		v.Class = ClassCanceled
	}
	return g.client.fault(http.MethodGet, g.path, v, fault.Join(errBrokenOff, redact.WithoutURL(err)))
}

// counting writes to w and to the checksum, and remembers what w failed with.
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

// strongValidator returns what says that two answers are of the same bytes: a strong ETag, or the date.
func strongValidator(h http.Header) string {
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes 100-199/1000": where it begins, and of how many, -1 when that is not said.
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

// sum is the checksum that the partner sent.
type sum struct {
	hash.Hash
	kind, want string
}

// sumOf returns the strongest of h, nil when there is none.
func sumOf(h http.Header) *sum {
	sent := make(map[string]string)
	for _, name := range [...]string{"Digest", "Repr-Digest"} {
		for part := range strings.SplitSeq(h.Get(name), ",") {
			if kind, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
				sent[strings.ToLower(kind)] = strings.Trim(value, ":") // RFC 9530 puts colons around it
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

// check returns the name of a checksum that fits.
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
