package belay

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
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

// Download writes the content at path to w, of any size: [WithMaxResponseBytes] does not bound it. Path and opts are as
// for [Send]. If the body breaks off, or the partner sends only a part of what is left, Download continues from there
// (Range, RFC 9110 section 14), as long as the partner still has the same content (by ETag or Last-Modified). If the
// partner does not support ranges, Download reads the content again and skips the part that is written already. Content
// in gzip, which is not asked for, is decoded; any other encoding is ErrData.
//
// A checksum in Repr-Digest, Digest or Content-MD5 (RFC 9530, RFC 3230) that does not match is ErrData; those of
// encoded content are not compared. So is an answer that does not fit to what came before it. After an error, w holds
// the first Bytes bytes of the content. An error of w is returned as it is. Memory is bounded by 32 KiB, and by that of
// a gzip reader.
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
				err = g.broken(nil, err)
			}
			return g.Downloaded, err
		}
		if errors.Is(err, errMoreParts) {
			stuck = 0
			continue
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

var (
	// errBrokenOff is the error of a body that broke off, so that the download may be resumed.
	errBrokenOff = errors.New("the body broke off")
	// errMoreParts is the error of a part that is complete, while there is more of the content.
	errMoreParts = fmt.Errorf("%w: the partner sent only a part of the rest", errBrokenOff)
)

// download is the state of one Download.
type download struct {
	Downloaded
	client    *Client
	path      string
	w         io.Writer
	opts      []CallOption
	validator string       // the version of the content, for If-Range; empty if unknown
	total     int64        // bytes, -1 if unknown
	sum       *sum         // nil if the partner sends no checksum
	written   maphash.Hash // of the bytes that w has
	noRanges  bool         // the partner refused the range that was left, so the whole content is requested
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
		o.uncached = true
		o.header["Accept-Encoding"] = []string{"identity"} // no compression, so that offsets count the bytes of the content
		if from > 0 && !g.noRanges {
			o.header["Range"] = []string{"bytes=" + strconv.FormatInt(from, 10) + "-"}
			if g.validator != "" {
				o.header["If-Range"] = []string{g.validator}
			}
		}
	})
	x, resp, err := g.client.open(ctx, http.MethodGet, g.path, nil, append(slices.Clip(g.opts), ranged), nil)
	if theirs != nil {
		*theirs = info
	}
	if err != nil {
		if info.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 && !g.noRanges && g.validator != "" {
			if was, now := g.Header.Get("Etag"), info.Header.Get("Etag"); was != "" && now != "" && was != now {
				return g.changed(x, from)
			}
			return g.unsatisfied(info.Header, err)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return g.broken(x, fmt.Errorf("status %d is no answer to a download", resp.StatusCode))
	}
	part, err := partOf(resp)
	if said := resp.Header.Get("Content-Range"); err == nil && said != "" {
		// "items 0-24/319" counts something else. It does not answer a Range.
		if _, ok := headers.ContentRange(said); !ok && (from > 0 || !headers.OtherRange(said)) {
			err = fmt.Errorf("the range %q, which cannot be read", redact.Line(said, 60))
		}
	}
	if err != nil {
		return g.broken(x, err)
	}
	encoded, err := g.decode(x, resp)
	if err != nil {
		return err
	}
	if encoded {
		part = headers.Range{Last: -1, Total: -1}
	}
	if g.Header == nil {
		g.Header, g.validator = resp.Header, strongValidator(resp.Header)
		if !encoded { // the checksum is of what was encoded
			g.sum = sumOf(resp.Header, part.Last < 0 || part.Whole())
		}
	} else if err := g.sameContent(x, resp, part, from); err != nil {
		return err
	}
	if g.total >= 0 && part.Total >= 0 && part.Total != g.total {
		return g.changed(x, from)
	}
	g.total = max(g.total, part.Total)
	if part.First > from || part.Last >= 0 && part.Last < from {
		return g.broken(x, fmt.Errorf("asked for what follows byte %d, got the range %q",
			from, redact.Line(resp.Header.Get("Content-Range"), 60)))
	}
	var skipped maphash.Hash
	skipped.SetSeed(g.written.Seed())
	if _, err := io.CopyN(&skipped, resp.Body, from-part.First); err != nil {
		return g.brokenOff(x, err)
	}
	if part.First == 0 && skipped.Sum64() != g.written.Sum64() { // a part of the content that is not told as one, too
		return g.changed(x, from)
	}
	return g.write(x, resp, part)
}

// decode makes the body of resp the content if it is in gzip, which some partners send in spite of the request, and
// reports whether it was. Such content cannot be resumed at an offset.
func (g *download) decode(x *exchange, resp *http.Response) (bool, error) {
	coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch {
	case resp.Uncompressed || coding == "" || coding == "identity":
		return false, nil
	case coding != "gzip" && coding != "x-gzip" || resp.StatusCode == http.StatusPartialContent:
		return false, g.broken(x, fmt.Errorf("it is encoded as %q, which was not asked for", redact.Line(coding, 40)))
	}
	z, err := gzip.NewReader(resp.Body)
	switch {
	case errors.Is(err, gzip.ErrHeader):
		return false, g.broken(x, fmt.Errorf("it is told as gzip, and is not: %w", err))
	case err != nil:
		return false, g.brokenOff(x, err)
	}
	g.noRanges = true
	resp.Body = struct {
		io.Reader
		io.Closer
	}{z, resp.Body}
	return true, nil
}

// write writes the body of resp, which is at the first byte that is missing, to the end of its part.
func (g *download) write(x *exchange, resp *http.Response, part headers.Range) error {
	g.Requests++
	out := &counting{w: g.w, sum: g.sum, written: &g.written}
	content := io.Reader(resp.Body)
	if part.Last >= 0 {
		content = io.LimitReader(content, part.Last+1-g.Bytes)
	}
	_, err := io.Copy(out, content)
	g.Bytes += out.n
	if out.err != nil {
		return out.err
	}
	if err == nil && part.Last >= 0 && g.Bytes <= part.Last {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && (g.total < 0 || g.Bytes < g.total) {
		return g.brokenOff(x, err)
	}
	if part.Last >= 0 {
		if n, _ := io.ReadFull(resp.Body, make([]byte, 1)); n > 0 {
			return g.broken(x, fmt.Errorf("more came than the range %q", redact.Line(resp.Header.Get("Content-Range"), 60)))
		}
	}
	switch {
	case part.Last >= 0 && (g.total < 0 || g.Bytes < g.total):
		if g.validator == "" {
			return g.broken(x, fmt.Errorf("only %d bytes came, and the partner names no version for asking for the rest", g.Bytes))
		}
		return g.brokenOff(x, errMoreParts)
	case g.total >= 0 && g.Bytes != g.total:
		return g.broken(x, fmt.Errorf("%d bytes came of %d", g.Bytes, g.total))
	}
	return nil
}

// unsatisfied handles a 416: nothing follows the bytes that are written. That is the end, if the content is as long as
// they are. Otherwise the whole content is requested again.
func (g *download) unsatisfied(h http.Header, err error) error {
	total, told := headers.UnsatisfiedRange(h.Get("Content-Range"))
	switch {
	case told && total == g.Bytes && g.total < 0:
		return nil
	case told && (total < g.Bytes || g.total >= 0 && total != g.total):
		return err
	}
	g.noRanges = true
	return errkit.Join(errBrokenOff, err)
}

// partOf returns the part of the content that resp holds. Last is -1 if the body's own end is the end of it. Some
// servers answer a range with 200 instead of 206.
func partOf(resp *http.Response) (headers.Range, error) {
	whole := headers.Range{Last: -1, Total: resp.ContentLength}
	said := resp.Header.Get("Content-Range")
	part, ok := headers.ContentRange(said)
	switch {
	case resp.StatusCode == http.StatusPartialContent && !ok:
		return whole, fmt.Errorf("a part of the content (206) with the range %q", redact.Line(said, 60))
	case !ok, resp.StatusCode == http.StatusOK && part.Total >= 0 && part.Total == resp.ContentLength:
		return whole, nil
	}
	return part, nil
}

// cutShort returns an error if resp holds a part of the content, although the request has not asked for a part.
func cutShort(resp *http.Response) error {
	if len(resp.Header["Content-Range"]) == 0 || len(resp.Request.Header["Range"]) > 0 {
		return nil
	}
	if part, err := partOf(resp); err == nil && part.Last >= 0 && !part.Whole() {
		return fmt.Errorf("nobody asked for a part of the content, got the range %q",
			redact.Line(resp.Header.Get("Content-Range"), 60))
	}
	return nil
}

// sameContent returns an error unless resp is of the same content as the first answer.
func (g *download) sameContent(x *exchange, resp *http.Response, part headers.Range, from int64) error {
	have := strongValidator(resp.Header)
	if have != "" && g.validator != "" && have != g.validator ||
		resp.Header.Get("Content-Encoding") != g.Header.Get("Content-Encoding") {
		return g.changed(x, from)
	}
	if was, now := g.Header.Get("Etag"), resp.Header.Get("Etag"); was != "" && now != "" && was != now { // also weak ETags
		return g.changed(x, from)
	}
	// A partial answer to If-Range has the same content.
	if from > 0 && (g.validator == "" || have == "" && (part.Last < 0 || g.noRanges)) {
		return g.broken(x, fmt.Errorf("the partner does not say whether it is still the same, after %d bytes", from))
	}
	return nil
}

// changed returns the error for content that is not the same as before.
func (g *download) changed(x *exchange, from int64) error {
	return g.broken(x, fmt.Errorf("it changed while it was downloaded, after %d bytes", from))
}

// broken returns the error for an answer without the promised form.
func (g *download) broken(x *exchange, err error) error {
	if x != nil {
		err = x.clean(err)
	}
	return g.client.dataFault(http.MethodGet, g.path, err)
}

// brokenOff returns the error for a body that ended too early.
func (g *download) brokenOff(x *exchange, err error) error {
	v := Verdict{Class: ClassTransient, Scope: ScopeCall}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		v.Class = ClassCanceled
	}
	return g.client.fault(http.MethodGet, g.path, v, errkit.Join(errBrokenOff, x.clean(err)))
}

// counting writes to w and to the checksum, counts the bytes, and keeps the error of w.
type counting struct {
	w       io.Writer
	sum     *sum
	written *maphash.Hash
	n       int64
	err     error
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if n = max(0, min(n, len(p))); n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	if c.sum != nil {
		_, _ = c.sum.Write(p[:n])
	}
	_, _ = c.written.Write(p[:n])
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
