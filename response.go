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
