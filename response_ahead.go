package belay

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

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
