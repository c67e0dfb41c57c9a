package belay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/belay-go/belay/internal/charset"
	"github.com/belay-go/belay/internal/headers"
)

// None is the result type of a call that does not use the body of its answer.
type None struct{}

// Get sends GET and decodes the JSON of the answer into a T; see [Send].
func Get[T any](ctx context.Context, c *Client, path string, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodGet, path, nil, opts...)
}

// Post sends body with POST and decodes the answer; see [Send].
func Post[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPost, path, body, opts...)
}

// Put sends body with PUT and decodes the answer; see [Send].
func Put[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPut, path, body, opts...)
}

// Patch sends body with PATCH and decodes the answer; see [Send].
func Patch[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPatch, path, body, opts...)
}

// Delete sends DELETE and decodes the answer; see [Send].
func Delete[T any](ctx context.Context, c *Client, path string, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodDelete, path, nil, opts...)
}

// Send sends a request to the partner and decodes the answer. Its errors are [*Error].
//
// The path is a template, such as "/objects/{object}/records/{id}". It is joined to the base URL and may hold a query.
// [PathValue] fills in the names in braces. The template itself, without the values, is the label in logs and metrics.
//
// The body decides the content type; nothing is sniffed:
//
//	nil                                    none
//	url.Values, Form                       application/x-www-form-urlencoded
//	[]byte, an io.Reader                   application/octet-stream
//	JSONBody (JSON that is ready)          application/json
//	BytesBody, ReaderBody, StreamBody      the one that they are given
//	Multipart                              multipart/form-data
//	any other value, a string too          application/json, by encoding/json
//
// A value with a method Validate() error is validated before anything is sent.
//
// T is the type that the JSON of the answer is decoded into, or []byte for the body as it is, or [None]. An answer of
// 204 or 205, or to HEAD, gives the zero value of T. Where JSON is expected, any other body is ErrData; so is null,
// unless T is a pointer, a map, a slice, an interface or a type that decodes itself. JSON that is not UTF-8 is decoded
// if its content type says ISO-8859-1 or windows-1252, and ErrData otherwise. After an answer of 2xx that cannot be
// used, [Error].Done is true. Unless T is None, Send reads the whole body within the attempt, up to
// [WithMaxResponseBytes], so that an attempt whose body breaks off is retried.
func Send[T any](ctx context.Context, c *Client, method, path string, body any, opts ...CallOption) (T, error) {
	var out T
	var decode func(data []byte, resp *http.Response) error
	switch p := any(&out).(type) {
	case *None:
	case *[]byte:
		decode = func(data []byte, resp *http.Response) error {
			if _, err := partOf(resp); err != nil && len(resp.Request.Header["Range"]) == 0 {
				return err
			}
			*p = append([]byte{}, data...)
			return nil
		}
	default:
		decode = func(data []byte, resp *http.Response) error {
			var got T // anew each time: what an answer that does not fit has filled in is not mixed with a kept one
			err := decodeJSON(data, resp.Header, &got)
			if err == nil {
				out = got
			}
			return err
		}
	}
	if err := c.call(ctx, method, path, body, opts, decode); err != nil {
		var zero T
		return zero, err
	}
	return out, nil
}

// decodeJSON decodes the JSON of an answer into out. Null is an error, unless out can hold the absence of a value.
func decodeJSON[T any](data []byte, h http.Header, out *T) error {
	kind := h.Get("Content-Type")
	data, err := charset.UTF8(data, kind)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		if len(data) == 0 {
			return fmt.Errorf("expected JSON, got an empty body")
		}
		var fit *json.UnmarshalTypeError
		if errors.As(err, &fit) {
			return fmt.Errorf("the JSON does not fit: %w", err)
		}
		if len(kind) > 4096 { // cleaned of secrets later, so it must not be cut here
			kind = fmt.Sprintf("a content type of %d bytes", len(kind))
		}
		return fmt.Errorf("expected JSON, got %q: %w", kind, err)
	}
	if string(bytes.TrimSpace(data)) == "null" && !nullable(out) {
		return errors.New("expected a value, got null")
	}
	return nil
}

// nullable reports whether a value of out's type can say that there is none.
func nullable[T any](out *T) bool {
	if _, own := any(out).(json.Unmarshaler); own {
		return true
	}
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return true
	}
	return false
}

// call is Send without the type parameter. With a nil decode, the body of the answer is discarded.
func (c *Client) call(
	ctx context.Context, method, path string, content any, opts []CallOption,
	decode func([]byte, *http.Response) error,
) error {
	x, resp, err := c.open(ctx, method, path, content, opts, decode)
	if err != nil {
		return err
	}
	if decode == nil {
		x.discard(resp, nil)
		return nil
	}
	_ = resp.Body.Close()
	x.freeBuffer()
	return nil
}

// open makes the request and sends it. The caller must free the buffer of the answer.
func (c *Client) open(
	ctx context.Context, method, path string, content any, opts []CallOption,
	decode func([]byte, *http.Response) error,
) (x *exchange, resp *http.Response, err error) {
	sent := false
	defer func() {
		if sent {
			return
		}
		if closer, ok := content.(io.Closer); ok {
			_ = closer.Close()
		}
		if e, ok := err.(*Error); ok && !c.isNil() {
			named := *e // a copy, because all calls with one context share the options' error
			named.Partner, named.Integration = c.set.name, c.integration
			named.Method, named.URL = method, c.labelled(path)
			err = &named
		}
	}()
	if c.isNil() {
		return nil, nil, errNilClient()
	}
	if ctx == nil {
		return nil, nil, invalid("the context is nil")
	}
	o := optionsOf(ctx).with(opts)
	if o.route == "" && !absolute(path) { // an absolute URL, such as a next link, is not a template
		o.route, _, _ = strings.Cut(path, "?")
	}
	if o.err != nil {
		return nil, nil, o.err
	}
	target := path
	if !o.literal {
		if target, err = o.expand(path); err != nil {
			return nil, nil, err
		}
	}
	u, err := c.resolve(target)
	if err != nil {
		return nil, nil, err
	}
	if len(o.query) > 0 {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += o.query.Encode()
	}
	if o.readOnly {
		ctx = context.WithValue(ctx, optionsKey{}, o) // Reads looks for the options in the context
	}
	req, err := c.newRequest(ctx, method, u, content)
	if err != nil {
		return nil, nil, err
	}
	sent = true
	return c.do(req, o, decode)
}

// decoded passes the body of a successful answer to x.decode, once. A body that cannot be decoded becomes the
// call's verdict, so that the events and the error agree.
func (x *exchange) decoded(resp *http.Response) {
	if resp == nil || x.verdict.Class != ClassOK || redirected(resp) && x.set.redirects != RedirectNone {
		return
	}
	decode := x.decode
	x.decode = nil
	if resp.StatusCode == http.StatusNotModified {
		x.verdict = Verdict{Class: ClassClient, Scope: ScopeCall}
		return
	}
	data := x.data
	if x.buffer == nil { // the response is a middleware's own
		var err error
		if data, err = io.ReadAll(&body{rc: resp.Body, parent: x.ctx, max: x.max, left: x.max}); err != nil {
			x.verdict, x.record().note = Classify(&Attempt{Request: x.req, Err: err, Number: 1}), err
			return
		}
		x.data = data // to be kept
	}
	if resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusResetContent ||
		x.req.Method == http.MethodHead {
		return
	}
	err := cutShort(resp)
	if err == nil {
		err = decode(data, resp)
	}
	if err == nil {
		err = x.expected(data, resp)
	}
	if err != nil {
		x.unread = x.unread || resp.StatusCode/100 == 2
		x.verdict, x.record().note = Verdict{Class: ClassData, Scope: ScopeCall}, err
		x.noteOutcome(resp)
	}
}

func (in *Info) fill(x *exchange, resp *http.Response) {
	*in = Info{Attempts: x.sends, Waited: x.past().waits.forPartner()}
	if k := x.past().kept; k != nil {
		in.Age, in.Stale = k.age, k.stale
	}
	if resp != nil {
		in.StatusCode, in.Header = resp.StatusCode, resp.Header
		in.RequestID = headers.RequestID(resp.Header, x.secrets(), "")
	}
}

// led notes where redirects have led: to the URL of resp, which is nil after a failure.
func (in *Info) led(s *stack, resp *http.Response) {
	if resp == nil || resp.Request == nil || resp.Request.URL == nil {
		return
	}
	to := *resp.Request.URL
	if to.User, to.Fragment, to.RawFragment = nil, "", ""; s.foreign(resp.Request) {
		to.RawQuery, to.ForceQuery = "", false
	}
	in.Location = to.String()
}
