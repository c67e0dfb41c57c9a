// Package delivery reads the parts of a webhook delivery: a header, the body up to a limit, and whether the
// body is JSON.
package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/belay-go/belay/internal/errkit"
)

// The errors for a webhook that is refused. The root package exports them under the same names.
var (
	ErrNoSignature        = errors.New("belay: webhook is not signed")
	ErrMalformedSignature = errors.New("belay: webhook signature is malformed")
	ErrBadSignature       = errors.New("belay: webhook signature does not match")
	ErrTooOld             = errors.New("belay: webhook is too old")
	ErrTooNew             = errors.New("belay: webhook is from the future")
)

const (
	// MaxText is the greatest length of an id or a type, in bytes.
	MaxText = 512
	// MaxSignature is the greatest length of one encoded signature, in bytes. MaxSignatures is the same for
	// the whole header of the signatures.
	MaxSignature  = 256
	MaxSignatures = 16 << 10
	// DefaultMaxBytes is the greatest size of a body where none is configured, in bytes.
	DefaultMaxBytes = 1 << 20
)

// Header returns the value of a header, and "" if there is none. Several values are an error, because a proxy
// or a firewall may have checked another one. If no header has exactly this name, Header looks for it in any
// case, because queues and cloud functions may change the case of names.
func Header(h http.Header, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	values := h[name]
	if len(values) == 1 {
		return values[0], nil
	}
	if len(values) == 0 {
		values = nil // append to a new slice, because h belongs to the caller
		for k, v := range h {
			if len(k) == len(name) && strings.EqualFold(k, name) {
				values = append(values, v...)
			}
		}
	}
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", fmt.Errorf("%w: %d headers %s", ErrMalformedSignature, len(values), name)
}

// Text is Header for an id or a type. A value above MaxText bytes is an ErrData.
func Text(h http.Header, name string) (string, error) {
	value, err := Header(h, name)
	if err == nil && len(value) > MaxText {
		return "", fmt.Errorf("%w: webhook: %d bytes of %s, at most %d", errkit.ErrData, len(value), name, MaxText)
	}
	return value, err
}

// CheckSignature returns an error if value, the text of the signatures at place, is empty (ErrNoSignature) or
// above MaxSignatures bytes (ErrMalformedSignature).
func CheckSignature(value, place string) error {
	switch {
	case value == "":
		return fmt.Errorf("%w: no %s", ErrNoSignature, place)
	case len(value) > MaxSignatures:
		return fmt.Errorf("%w: %d bytes", ErrMalformedSignature, len(value))
	}
	return nil
}

// MediaType returns the media type of Content-Type, in lower case and without parameters. It returns "" if
// there is none.
func MediaType(h http.Header) (string, error) {
	kind, err := Header(h, "Content-Type")
	kind, _, _ = strings.Cut(kind, ";")
	return strings.ToLower(strings.TrimSpace(kind)), err
}

// IsJSON reports whether a body begins like a JSON object or array. It returns an ErrData if the body does
// not, but is JSON by its Content-Type, and if the body begins with a byte order mark.
func IsJSON(h http.Header, body []byte) (bool, error) {
	if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return false, fmt.Errorf("%w: webhook: the body begins with a byte order mark", errkit.ErrData)
	}
	for _, c := range body {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			return true, nil
		}
		break
	}
	kind, err := MediaType(h)
	if err == nil && strings.HasSuffix(kind, "json") {
		return false, fmt.Errorf("%w: webhook: the body is JSON by its header, and is not", errkit.ErrData)
	}
	return false, nil
}

// HashID returns an id for an event or a delivery that has none: "sha256:" and the SHA-256 of data in hex.
func HashID(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// CheckSize returns an ErrBodyTooLarge if n, the size of a body, is above limit. Both are in bytes.
func CheckSize(n int, limit int64) error {
	if int64(n) > limit {
		return fmt.Errorf("%w: %d bytes, %d are taken", errkit.ErrBodyTooLarge, n, limit)
	}
	return nil
}

// ReadBody returns the body of r, and puts it back into r so that it can be read again. A body above limit
// bytes is an ErrBodyTooLarge. Memory grows with the bytes received, not with the size in Content-Length. A
// GET with a body is an ErrMalformedSignature.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := readBody(r, limit)
	if err != nil {
		return nil, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if r.Method == http.MethodGet && len(body) > 0 {
		return nil, fmt.Errorf("%w: a GET with a body", ErrMalformedSignature)
	}
	return body, nil
}

// readBody reads the body of r to its end, at most limit bytes. It does not put it back.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes are announced, %d are taken", errkit.ErrBodyTooLarge, r.ContentLength, limit)
	}
	const first = 32 << 10
	size := int64(512)
	if r.ContentLength > 0 {
		size = min(r.ContentLength, first) + 1 // one more byte, so that the read that finds the end needs no larger buffer
	}
	body := make([]byte, 0, size)
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, fmt.Errorf("%w: more than %d bytes", errkit.ErrBodyTooLarge, limit)
		case err == io.EOF:
			return body, nil
		case err != nil:
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				return nil, fmt.Errorf("%w: more than %d bytes", errkit.ErrBodyTooLarge, tooLarge.Limit)
			}
			return nil, fmt.Errorf("belay: webhook: reading the body: %w", err)
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(512, min(len(body), int(limit)+1-len(body))))
		}
	}
}
