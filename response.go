package belay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/deadline"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
)

// body is the response's body that the caller reads. The attempt ends when the body is closed or has been read
// to its end. Then the body gives back the in-flight slots and ends the contexts of the attempt and of the
// total timeout.
type body struct {
	rc         io.ReadCloser
	slots      limiter.Slots // in flight, held until the attempt ends
	max        int64         // bytes that may be read, negative for no bound
	left       int64         // bytes of max that are left
	parent     context.Context
	timeout    *deadline.Deadline // the attempt's timeout; nil if it has none
	total      context.CancelFunc // ends the total timeout, once the body is handed out
	done       atomic.Bool
	probeFor   time.Duration // the time of a probe, 0 for the attempt timeout
	readsTimed bool          // each Read has the whole attempt timeout to itself
}

// explain returns the transport's error err with the real reason: the caller's cancel or deadline, or the
// attempt timeout. The transport itself only says that a context was canceled.
func (b *body) explain(err error) error {
	if parent := b.parent; parent.Err() != nil {
		if cause := context.Cause(parent); errkit.IsCallTimeout(cause) {
			return cause
		}
		why := errkit.Context(parent)
		if errors.Is(err, why) || why == parent.Err() && errors.Is(err, parent.Err()) {
			return err
		}
		return errkit.Join(why, err)
	}
	if t := b.timeout; t != nil && t.Expired() {
		return errkit.AttemptTimeout(cmp.Or(b.probeFor, t.Keeper.After()))
	}
	return err
}

// Read reads from the answer.
func (b *body) Read(p []byte) (int, error) {
	if b.left >= 0 || b.timeout != nil {
		return b.readBounded(p)
	}
	n, err := b.rc.Read(p)
	if err != nil {
		err = b.ended(err)
	}
	return n, err
}

// readBounded is Read with a bound on the bytes, a timeout, or both.
func (b *body) readBounded(p []byte) (int, error) {
	if b.left == 0 && len(p) > 0 {
		var one [1]byte
		n, err := b.readTimed(one[:])
		if n == 0 {
			if err != nil {
				err = b.ended(err)
			}
			return 0, err
		}
		_ = b.Close()
		return 0, fmt.Errorf("%w: above %d bytes (WithMaxResponseBytes)", ErrBodyTooLarge, b.max)
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.readTimed(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil {
		err = b.ended(err)
	}
	return n, err
}

// readTimed reads from the transport's body once. If readsTimed is true, the timeout begins anew for this
// Read.
func (b *body) readTimed(p []byte) (int, error) {
	t := b.timeout
	if t == nil || !b.readsTimed {
		return b.rc.Read(p)
	}
	t.Begin()
	n, err := b.rc.Read(p)
	t.Pause()
	return n, err
}

// ended ends the attempt because a Read returned err, and returns the error for the caller.
func (b *body) ended(err error) error {
	if err != io.EOF {
		err = b.explain(err)
	}
	b.finish()
	return err
}

// Close closes the body and ends the attempt.
func (b *body) Close() error {
	err := b.rc.Close()
	b.finish()
	return err
}

// over reports whether the attempt has ended.
func (b *body) over() bool { return b.done.Load() }

// finish releases everything that the attempt holds. A second call does nothing.
func (b *body) finish() {
	if b.done.Load() || b.done.Swap(true) {
		return
	}
	if t := b.timeout; t != nil {
		t.End()
	}
	if b.total != nil {
		b.total()
	}
	b.slots.Release()
}

// maxAhead is how much of a body is read within the attempt, in bytes, if it is to be handed out as a stream.
const maxAhead = 1 << 20

// readsAhead reports whether the beginning of an answer is read within the attempt although the caller reads the body,
// so that a body that breaks off is a failed attempt, which is retried. It is for answers that are of use only whole,
// which are documents, to calls that may be retried and change nothing.
func (x *exchange) readsAhead(resp *http.Response) bool {
	if x.set.retry == nil || resp.Body == http.NoBody || resp.StatusCode != http.StatusOK ||
		x.req.Method != "" && x.req.Method != http.MethodGet || x.req.Header["Range"] != nil {
		return false
	}
	v := resp.Header["Content-Type"]
	return len(v) > 0 && document(v[0])
}

// document reports whether a content type is that of a JSON or XML document. Lines of JSON are a stream.
func document(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	_, kind, _ = strings.Cut(strings.ToLower(strings.TrimSpace(kind)), "/")
	return kind == "json" || kind == "xml" || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}

// readAhead reads the beginning of the body, and puts it back. It returns the error of a body that breaks off. It
// stops where a JSON document ends, because there may follow another one, much later.
func (b *body) readAhead(resp *http.Response) error {
	buf := buffers.Get().(*buffer)
	buf.Reset()
	ahead := &aheadBody{buf: buf, rest: b}
	var nesting jsonNesting
	for buf.Len() < maxAhead {
		buf.Grow(512)
		room := buf.AvailableBuffer()
		n, err := b.Read(room[:min(cap(room), maxAhead-buf.Len())])
		buf.Write(room[:n])
		if err == io.EOF {
			_ = b.Close() // the attempt is over
			break
		}
		if errors.Is(err, ErrBodyTooLarge) {
			ahead.err = err // for the caller to find out
			break
		}
		if err != nil {
			_ = b.Close()
			putBuffer(buf)
			return err
		}
		if nesting.ends(buf.Bytes()[buf.Len()-n:]) {
			break
		}
	}
	resp.Body = ahead
	return nil
}

// jsonNesting finds the end of a JSON object or array by its brackets.
type jsonNesting struct {
	depth          int
	quoted, escape bool
}

// ends reports whether the document ends within p, the next part of it.
func (j *jsonNesting) ends(p []byte) bool {
	for _, c := range p {
		switch {
		case j.escape:
			j.escape = false
		case j.quoted:
			j.escape, j.quoted = c == '\\', c != '"'
		case c == '"':
			j.quoted = true
		case c == '{' || c == '[':
			j.depth++
		case c == '}' || c == ']':
			if j.depth--; j.depth == 0 {
				return true
			}
		}
	}
	return false
}

// aheadBody is a body whose beginning has been read. Close may be called during a Read.
type aheadBody struct {
	mu   sync.Mutex
	buf  *buffer // nil once it has been read or the body is closed
	rest *body
	err  error // after what has been read
}

func (a *aheadBody) Read(p []byte) (int, error) {
	if n, err := a.readBuffer(p); n > 0 || err != nil || len(p) == 0 {
		return n, err
	}
	return a.rest.Read(p)
}

// readBuffer reads what is left of the beginning. It returns 0 and nil if the rest has to be read.
func (a *aheadBody) readBuffer(p []byte) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buf != nil {
		if n, _ = a.buf.Read(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		a.free()
	}
	if a.err == nil && a.rest.over() {
		a.err = io.EOF
	}
	return 0, a.err
}

// Close closes the body.
func (a *aheadBody) Close() error {
	a.mu.Lock()
	if a.buf != nil {
		a.free()
		a.err = http.ErrBodyReadAfterClose
	}
	a.mu.Unlock()
	if a.rest.over() {
		return nil
	}
	return a.rest.Close()
}

func (a *aheadBody) free() {
	putBuffer(a.buf)
	a.buf = nil
}

// eventStream reports whether an answer is a stream of server-sent events (HTML, section 9.2).
func eventStream(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && len(v[0]) >= len(eventStreamType) &&
		strings.EqualFold(v[0][:len(eventStreamType)], eventStreamType)
}

const eventStreamType = "text/event-stream"

// buffer is a pooled buffer for bodies that are read whole.
type buffer struct{ bytes.Buffer }

// putBuffer returns a buffer to the pool. Buffers above 1 MiB are left to the garbage collector.
func putBuffer(b *buffer) {
	if b.Cap() <= 1<<20 {
		buffers.Put(b)
	}
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// interrupt ends a Read of rc in progress. It cancels the attempt's context, if there is one, because
// net/http's gzip reader cannot be closed during a Read. Then it closes rc.
func interrupt(rc io.ReadCloser) {
	inner := rc
	if r, ok := rc.(*rejoined); ok {
		inner, _ = r.Closer.(io.ReadCloser)
	}
	if b, ok := inner.(*body); ok && b.timeout != nil {
		b.timeout.Expire()
	}
	_ = rc.Close()
}

type rejoined struct {
	io.Reader
	io.Closer
}

// tail is the rest of a body whose beginning has been read. It repeats the error of that, or reads on.
type tail struct {
	r   io.Reader
	err error
}

func (t *tail) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	return t.r.Read(p)
}
