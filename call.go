package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/redact"
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
// The path is a template, such as "/objects/{object}/records/{id}". It is joined to the base URL and may hold
// a query. [PathValue] fills in the names in braces. The template itself, without the values, is the label in
// logs and metrics.
//
// The body is any value that encoding/json can write, url.Values for a form, []byte, an io.Reader, a [Body],
// or nil for none. A value with a method Validate() error is validated before anything is sent.
//
// T is the type that the JSON of the answer is decoded into, or []byte for the body as it is, or [None]. An
// answer of 204 or 205, or to HEAD, gives the zero value of T. Where JSON is expected, any other body is
// ErrData. Unless T is None, Send reads the whole body within the attempt, up to [WithMaxResponseBytes], so
// that an attempt whose body breaks off is retried.
func Send[T any](ctx context.Context, c *Client, method, path string, body any, opts ...CallOption) (T, error) {
	var out T
	var decode func(data []byte, resp *http.Response) error
	switch p := any(&out).(type) {
	case *None:
	case *[]byte:
		decode = func(data []byte, _ *http.Response) error {
			*p = append([]byte{}, data...)
			return nil
		}
	default:
		decode = func(data []byte, resp *http.Response) error { return decodeJSON(data, resp.Header, &out) }
	}
	if err := c.call(ctx, method, path, body, opts, decode); err != nil {
		var zero T
		return zero, err
	}
	return out, nil
}

func decodeJSON(data []byte, h http.Header, out any) error {
	if err := json.Unmarshal(data, out); err != nil {
		if len(data) == 0 {
			return fmt.Errorf("expected JSON, got an empty body")
		}
		var fit *json.UnmarshalTypeError
		if errors.As(err, &fit) {
			return fmt.Errorf("the JSON does not fit: %w", err)
		}
		return fmt.Errorf("expected JSON, got %q: %w", redact.Line(h.Get("Content-Type"), 100), err)
	}
	return nil
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
	}
	if resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusResetContent ||
		x.req.Method == http.MethodHead {
		return
	}
	if err := decode(data, resp); err != nil {
		x.verdict, x.record().note = Verdict{Class: ClassData, Scope: ScopeCall}, err
		x.noteOutcome(resp)
	}
}

func (in *Info) fill(x *exchange, resp *http.Response) {
	*in = Info{Attempts: x.sends, Waited: x.past().waits.Total()}
	if resp != nil {
		in.StatusCode, in.Header = resp.StatusCode, resp.Header
		in.RequestID = headers.RequestID(resp.Header, x.secrets())
	}
}
