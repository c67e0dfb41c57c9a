package belay

import (
	"bytes"
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
	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/limiter"
)

// body is the response's body as the caller reads it. It ends the attempt: the place in flight, the
// attempt's context and the total timeout's are let go when it is closed or has been read to the end.
type body struct {
	rc         io.ReadCloser
	slots      limiter.Slots // in flight, which are held until the end
	max        int64         // bytes that may be read, negative for no bound
	left       int64         // of those
	parent     context.Context
	timeout    *deadline.Deadline // the attempt's, nil when it has none
	total      context.CancelFunc // of the call's total timeout, once the body is handed out
	done       atomic.Bool
	readsTimed bool // each Read has the attempt's time to itself
}

// explain names the attempt's timeout where the transport only speaks of a cancelled context.
func (b *body) explain(err error) error {
	if parent := b.parent; parent.Err() != nil {
		if errors.Is(err, parent.Err()) {
			return err
		}
		return fault.Join(parent.Err(), err)
	}
	if t := b.timeout; t != nil && t.Expired() {
		return fmt.Errorf("%w after %s", fault.ErrAttemptTimeout, t.Keeper.After())
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

// readBounded is Read within a bound, or a time, or both.
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

// readTimed is one Read of what the transport gave, with the time to itself where it has one.
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

// ended ends the attempt at the body's end or an error, and returns what the caller is told.
func (b *body) ended(err error) error {
	if err != io.EOF {
		err = b.explain(err)
	}
	b.finish()
	return err
}

// Close ends the attempt.
func (b *body) Close() error {
	err := b.rc.Close()
	b.finish()
	return err
}

// over reports whether the attempt has ended.
func (b *body) over() bool { return b.done.Load() }

// finish lets go of what the attempt holds, once.
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
	return len(v) > 0 && len(v[0]) >= len(eventStreamType) && strings.EqualFold(v[0][:len(eventStreamType)], eventStreamType)
}

const eventStreamType = "text/event-stream"

// buffer is a pooled buffer for bodies that are read whole.
type buffer struct{ bytes.Buffer }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

const (
	maxErrorBody    = 64 << 10
	errorBodyWait   = 5 * time.Second
	discardBodyWait = 100 * time.Millisecond
)

// readSome reads up to limit bytes, for at most wait; zero is no bound. The error is nil when the
// limit was reached, io.EOF when the body ended.
func readSome(rc io.ReadCloser, limit int, wait time.Duration) ([]byte, error) {
	stop := func() bool { return false }
	if wait > 0 {
		late := make(chan struct{})
		timer := time.AfterFunc(wait, func() {
			interrupt(rc) // wakes the Read below
			close(late)
		})
		stop = func() bool {
			if timer.Stop() {
				return false
			}
			<-late // so that nobody else has hold of rc when this returns
			return true
		}
	}
	buf := make([]byte, 0, 512)
	for empty := 0; len(buf) < limit; {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := rc.Read(buf[len(buf):min(cap(buf), limit)])
		buf = buf[:len(buf)+n]
		if err != nil {
			if stop() {
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			stop()
			return buf, io.ErrNoProgress
		}
	}
	if stop() {
		return buf, io.ErrUnexpectedEOF
	}
	return buf, nil
}

// interrupt makes a Read of rc that is under way return: by the attempt's context where there is one, as
// net/http's gzip reader cannot be closed while it reads, and by closing it.
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

// tail goes on reading where readSome stopped, or repeats the error that it met.
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
