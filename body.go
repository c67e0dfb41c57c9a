package belay

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/belay-go/belay/internal/errkit"
)

// Body is the body of a request. Make one with [Form], [JSONBody], [BytesBody], [ReaderBody], [StreamBody] or
// [Multipart]. [Send] also accepts url.Values, []byte and an io.Reader, and sends any other value as JSON.
type Body struct {
	contentType string
	length      int64 // in bytes; -1 if unknown
	open        func() (io.ReadCloser, error)
	once        io.ReadCloser // used in place of open; can be read only once
	err         error
}

// Form returns a body that sends values as application/x-www-form-urlencoded. [Send] does so for any
// url.Values.
func Form(values url.Values) Body {
	return BytesBody("application/x-www-form-urlencoded", []byte(values.Encode()))
}

// JSONBody returns a body that sends raw, which is JSON already, as application/json. Raw must not be changed until the
// call is over. What is no JSON is an error.
func JSONBody(raw []byte) Body {
	if !json.Valid(raw) {
		return Body{err: errors.New("it is not JSON")}
	}
	return BytesBody("application/json", raw)
}

// BytesBody returns a body that sends b as it is. b must not be changed until the call is over.
func BytesBody(contentType string, b []byte) Body {
	return Body{contentType: contentType, length: int64(len(b)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// ReaderBody returns a body that sends the bytes of r, once: a call with it is not retried. r is closed if it
// is an io.Closer. But a *bytes.Buffer, *bytes.Reader or *strings.Reader can be sent again, so its calls are
// retried as usual. A nil r is an error.
func ReaderBody(contentType string, r io.Reader) Body {
	if v := reflect.ValueOf(r); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return Body{err: errors.New("the reader is nil")}
	}
	switch r := r.(type) {
	case *bytes.Buffer:
		return BytesBody(contentType, r.Bytes())
	case *bytes.Reader:
		snapshot := *r
		return Body{contentType: contentType, length: int64(r.Len()), open: func() (io.ReadCloser, error) {
			fresh := snapshot
			return io.NopCloser(&fresh), nil
		}}
	case *strings.Reader:
		snapshot := *r
		return Body{contentType: contentType, length: int64(r.Len()), open: func() (io.ReadCloser, error) {
			fresh := snapshot
			return io.NopCloser(&fresh), nil
		}}
	}
	once, ok := r.(io.ReadCloser)
	if !ok {
		once = io.NopCloser(r)
	}
	return Body{contentType: contentType, length: -1, once: once}
}

// StreamBody returns a body that sends the bytes of the stream that open returns. It calls open again for each attempt.
// The length is in bytes, -1 if it is unknown; a stream of another length is ErrInvalid, and so one byte is held back
// until the next one, or the end, has come. A nil open is an error.
func StreamBody(contentType string, length int64, open func() (io.ReadCloser, error)) Body {
	if open == nil {
		return Body{err: errors.New("the function that opens the stream is nil")}
	}
	return Body{contentType: contentType, length: max(-1, length), open: open}
}

// File is a file in a multipart body.
type File struct {
	// Field is the name of the form field, and Name the name of the file.
	Field, Name string
	// ContentType is the media type of the file. Empty means application/octet-stream.
	ContentType string
	// Size is the number of bytes of the file. If it is known for each file, or Open returns an *os.File, the body has a
	// Content-Length, which some partners require. Zero means that it is not known; another number of bytes than there
	// are fails the call as [ErrInvalid].
	Size int64
	// Open opens the file. It is called for each attempt, and must not be nil.
	Open func() (io.ReadCloser, error)
}

// Multipart returns a body that sends fields and files as multipart/form-data (RFC 7578). Files are streamed.
func Multipart(fields url.Values, files ...File) Body {
	var boundary [16]byte
	_, _ = rand.Read(boundary[:])
	// Everything except the contents of the files is written here. It is cut at the places of the contents.
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	_ = w.SetBoundary(hex.EncodeToString(boundary[:]))
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range fields[name] {
			_ = w.WriteField(name, v)
		}
	}
	var cuts []int
	for _, f := range files {
		if f.Open == nil {
			return Body{err: fmt.Errorf("the file %q of field %q has no Open", f.Name, f.Field)}
		}
		contentType := f.ContentType
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		if strings.ContainsAny(contentType, "\r\n") {
			return Body{err: fmt.Errorf("the content type %q of field %q has a line break", contentType, f.Field)}
		}
		_, _ = w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {multipart.FileContentDisposition(f.Field, f.Name)},
			"Content-Type":        {contentType},
		})
		cuts = append(cuts, head.Len())
	}
	_ = w.Close()
	text := head.Bytes()
	length := int64(len(text))
	for _, f := range files {
		if f.Size < 0 {
			return Body{err: fmt.Errorf("the size %d of the file %q must not be negative", f.Size, f.Name)}
		}
		if f.Size == 0 || length < 0 {
			length = -1
		} else {
			length += f.Size
		}
	}
	return StreamBody(w.FormDataContentType(), length, func() (io.ReadCloser, error) {
		p := &parts{size: int64(len(text))}
		var readers []io.Reader
		from := 0
		for i, cut := range cuts {
			readers = append(readers, bytes.NewReader(text[from:cut]))
			from = cut
			rc, err := files[i].Open()
			if err != nil {
				_ = p.Close()
				return nil, fmt.Errorf("open %q: %w", files[i].Name, err)
			}
			p.closers = append(p.closers, rc)
			content := io.Reader(rc)
			if size := p.add(rc, files[i].Size); size >= 0 {
				content = &exactly{rc, size, "the file " + strconv.Quote(files[i].Name)}
			}
			readers = append(readers, content)
		}
		p.Reader = io.MultiReader(append(readers, bytes.NewReader(text[from:]))...)
		return p, nil
	})
}

type parts struct {
	io.Reader
	closers []io.Closer
	size    int64 // in bytes, -1 if it is not known
}

// add adds a file's size: as it is told, or else as the file system tells it. It returns the size, -1 if it is not
// known.
func (p *parts) add(rc io.ReadCloser, told int64) int64 {
	size := told
	if told == 0 {
		size = restOf(rc)
	}
	switch {
	case size < 0:
		p.size = -1
	case p.size >= 0:
		p.size += size
	}
	return size
}

// restOf returns how many bytes of a regular file follow, -1 for anything else.
func restOf(rc io.ReadCloser) int64 {
	f, ok := rc.(*os.File)
	if !ok {
		return -1
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || at > info.Size() {
		return -1
	}
	return info.Size() - at
}

func (p *parts) Close() error {
	var errs []error
	for _, c := range p.closers {
		errs = append(errs, c.Close())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// bodyOf makes a Body of the value that the caller passes, nil for none.
func bodyOf(v any) (*Body, error) {
	if v == nil {
		return nil, nil
	}
	if val, ok := v.(interface{ Validate() error }); ok {
		if err := val.Validate(); err != nil {
			return nil, invalid("the body is not valid: %w", err)
		}
	}
	var b Body
	switch v := v.(type) {
	case Body:
		b = v
	case *Body:
		if v == nil {
			return nil, nil
		}
		b = *v
	case url.Values:
		b = Form(v)
	case []byte:
		b = BytesBody("application/octet-stream", v)
	case io.Reader:
		b = ReaderBody("application/octet-stream", v)
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return nil, invalid("the body cannot be written as JSON: %w", err)
		}
		b = BytesBody("application/json", data)
	}
	if b.err != nil {
		return nil, invalid("the body cannot be sent: %w", b.err)
	}
	if b.open == nil && b.once == nil {
		return nil, nil // the zero Body sends nothing
	}
	return &b, nil
}

// attach puts the body into req.
func (b *Body) attach(req *http.Request) error {
	if b.contentType != "" {
		req.Header["Content-Type"] = []string{b.contentType}
	}
	req.ContentLength = b.length
	if b.once != nil {
		req.Body = newSource(b.once, -1)
		return nil
	}
	if b.length == 0 {
		req.Body, req.GetBody = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }
		return nil
	}
	rc, err := b.open()
	if err != nil {
		return invalid("the body cannot be opened: %w", err)
	}
	if p, ok := rc.(*parts); ok && b.length < 0 {
		req.ContentLength = p.size
	}
	length := req.ContentLength
	req.Body = newSource(rc, length)
	req.GetBody = func() (io.ReadCloser, error) {
		rc, err := b.open()
		if err != nil {
			return nil, err
		}
		return newSource(rc, length), nil
	}
	return nil
}

// source is a request's body from the caller. An error in reading it is ErrInvalid, because it is not the
// partner's failure.
type source struct {
	exactly
	io.Closer
	failed atomic.Pointer[error] // an answer that came in spite of it is of a body that was cut
}

// newSource returns the body rc of length bytes, -1 if that is not known.
func newSource(rc io.ReadCloser, length int64) *source {
	return &source{exactly: exactly{rc, length, "the request's body"}, Closer: rc}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.exactly.Read(p)
	if err != nil && err != io.EOF {
		err = errkit.Input(fmt.Errorf("the request's body cannot be read: %w", err))
		s.failed.Store(&err)
	}
	return n, err
}

// exactly reads content that must have as many bytes as are left. It fails before the last byte if there are more, so
// that nobody takes a part for the whole.
type exactly struct {
	from io.Reader
	left int64 // -1 if it is not known
	what string
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left < 0 {
		return e.from.Read(p)
	}
	if int64(len(p)) > e.left && e.left > 0 {
		p = p[:e.left]
	}
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.from.Read(p)
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		return n, fmt.Errorf("%s is %d bytes shorter than it was said to be", e.what, e.left)
	}
	if e.left == 0 && err == nil {
		var next [1]byte
		more, err := io.ReadFull(e.from, next[:])
		if more > 0 {
			return 0, fmt.Errorf("%s is longer than it was said to be", e.what)
		}
		return n, err
	}
	return n, err
}

// newKey returns a random idempotency key, a UUID of version 4 (RFC 9562 section 5.4).
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // rand.Read never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
