package belay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/redact"
)

// None is the result of a call whose answer's body does not matter.
type None struct{}

// Get fetches the JSON at path and decodes it into T; see [Send].
func Get[T any](ctx context.Context, c *Client, path string, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodGet, path, nil, opts...)
}

// Post sends body with POST; see [Send].
func Post[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPost, path, body, opts...)
}

// Put sends body with PUT; see [Send].
func Put[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPut, path, body, opts...)
}

// Patch sends body with PATCH; see [Send].
func Patch[T any](ctx context.Context, c *Client, path string, body any, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodPatch, path, body, opts...)
}

// Delete sends DELETE; see [Send].
func Delete[T any](ctx context.Context, c *Client, path string, opts ...CallOption) (T, error) {
	return Send[T](ctx, c, http.MethodDelete, path, nil, opts...)
}

// Send calls the partner and decodes its answer.
//
// Path is a template, such as "/objects/{object}/records/{id}", joined to the base URL; [PathValue]
// fills it in, and the template itself is the label in logs and metrics. It may hold a query.
//
// Body is any value that encoding/json can write, url.Values for a form, []byte, an io.Reader, a [Body],
// or nil for none. One with a method Validate() error is validated before anything is sent.
//
// T is what the answer's JSON is decoded into, or []byte for the body as it is, or [None]. An answer of
// 204 or 205 gives the zero value; any other that is not JSON is ErrData. The body is read whole within
// the attempt, up to [WithMaxResponseBytes], so that one that breaks off is retried. Errors are [*Error].
func Send[T any](ctx context.Context, c *Client, method, path string, body any, opts ...CallOption) (T, error) {
	var out T
	var decode func(data []byte, h http.Header) error
	switch p := any(&out).(type) {
	case *None:
	case *[]byte:
		decode = func(data []byte, _ http.Header) error {
			*p = append([]byte{}, data...)
			return nil
		}
	default:
		decode = func(data []byte, h http.Header) error { return decodeJSON(data, h, &out) }
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

// call is Send without its type. A nil decode does not read the body.
func (c *Client) call(ctx context.Context, method, path string, content any, opts []CallOption, decode func([]byte, http.Header) error) (err error) {
	sent := false
	defer func() {
		if sent {
			return
		}
		if closer, ok := content.(io.Closer); ok {
			_ = closer.Close()
		}
		if e, ok := err.(*Error); ok && !c.isNil() {
			named := *e // the options' error is shared by all calls of a context
			route, _, _ := strings.Cut(path, "?")
			named.Partner, named.Integration = c.set.name, c.integration
			named.Method, named.URL = method, redact.Line(c.base.Scheme+"://"+c.base.Host+joinPath(c.base.EscapedPath(), route), 1024)
			if absolute(path) {
				named.URL = redact.URL(c.base)
			}
			err = &named
		}
	}()
	if c.isNil() {
		return errNilClient()
	}
	if ctx == nil {
		return invalid("the context is nil")
	}
	o := optionsOf(ctx).with(opts)
	if o.route, _, _ = strings.Cut(path, "?"); absolute(path) {
		o.route = "" // such as a next link, which is no template
	}
	if o.err != nil {
		return o.err
	}
	target, err := o.expand(path)
	if err != nil {
		return err
	}
	u, err := c.resolve(target)
	if err != nil {
		return err
	}
	if len(o.query) > 0 {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += o.query.Encode()
	}
	req, err := c.newRequest(ctx, method, u, content)
	if err != nil {
		return err
	}
	sent = true
	k, resp, err := c.exchange(req, o, decode)
	if err != nil {
		return err
	}
	if decode == nil {
		k.discard(resp, nil)
		return nil
	}
	_ = resp.Body.Close()
	k.freeBuffer()
	return nil
}

// decoded decodes an answer that is to be read whole, once. An answer that is not what was promised is the
// call's verdict, which events and error tell alike.
func (c *call) decoded(resp *http.Response) {
	if c.decode == nil || resp == nil || c.verdict.Class != ClassOK || redirected(resp) && c.set.redirects != RedirectNone {
		return
	}
	decode := c.decode
	c.decode = nil
	data := c.data
	if c.buffer == nil { // a middleware's own
		var err error
		if data, err = io.ReadAll(&body{rc: resp.Body, parent: c.ctx, max: c.max, left: c.max}); err != nil {
			c.verdict, c.extra = Classify(&Attempt{Request: c.req, Err: err, Number: 1}), err
			return
		}
	}
	if resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusResetContent || c.req.Method == http.MethodHead {
		return
	}
	if err := decode(data, resp.Header); err != nil {
		c.verdict, c.extra = Verdict{Class: ClassData, Scope: ScopeCall}, err
	}
}

// CallOption configures a single call, typed or by [CallContext].
type CallOption interface {
	applyCall(*callOptions)
}

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

// callOptions are the options of one call. They do not change once the call has begun.
type callOptions struct {
	values      map[string]string
	query       url.Values
	header      http.Header
	cost        int
	key         string
	safe        bool
	patience    time.Duration
	maxAttempts int
	auth        Authenticator
	noAuth      bool
	into        *Info
	route       string
	err         error
}

type optionsKey struct{}

// CallContext returns a context that carries opts to the calls made with it: raw requests, and those of
// another SDK over [Client.Transport]. A typed call's own options come after them. PathValue and Query
// mean nothing to a request that is made already, and an IdempotencyKey is that of every call made with the
// context. A nil ctx means context.Background.
func CallContext(ctx context.Context, opts ...CallOption) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithValue(ctx, optionsKey{}, optionsOf(ctx).with(opts))
}

func optionsOf(ctx context.Context) *callOptions {
	if o, ok := ctx.Value(optionsKey{}).(*callOptions); ok {
		return o
	}
	return &noOptions
}

// with returns a copy to which opts have been applied.
func (o *callOptions) with(opts []CallOption) *callOptions {
	clone := *o
	clone.values, clone.query, clone.header = maps.Clone(o.values), maps.Clone(o.query), o.header.Clone()
	for _, opt := range opts {
		if opt != nil {
			opt.applyCall(&clone)
		}
	}
	return &clone
}

func (o *callOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = invalid(format, args...)
	}
}

// PathValue fills {name} in the path. It is escaped. An empty value, "." and ".." are refused: they would
// make it another path.
func PathValue(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if value == "" || value == "." || value == ".." {
			o.fail("PathValue: %s is %q, which would make it another path", name, value)
		}
		if o.values == nil {
			o.values = make(map[string]string)
		}
		o.values[name] = value
	})
}

// Query adds a query parameter; a second one of the same name stands beside the first.
func Query(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if o.query == nil {
			o.query = make(url.Values)
		}
		o.query.Add(name, value)
	})
}

// Header sets a header of the request, in place of the client's. An empty value sends it empty.
func Header(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			o.fail("Header: %q is not the name of a header, or its value has a line break", name)
			return
		}
		if o.header == nil {
			o.header = make(http.Header)
		}
		o.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	})
}

// Cost says how many permits of each limit the call takes. Zero means 1, negative is an error.
func Cost(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("Cost: %d must not be negative", n)
		}
		o.cost = n
	})
}

// IdempotencyKey sends key, in the header of [WithIdempotencyKeys] or else "Idempotency-Key", and lets
// the call be retried. At most 255 bytes, as Stripe takes them.
func IdempotencyKey(key string) CallOption {
	return callOption(func(o *callOptions) {
		if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			o.fail("IdempotencyKey: must be 1 to 255 printable characters, has %d", len(key))
		}
		o.key = key
	})
}

// Idempotent says that the call may be run twice, whatever its method.
func Idempotent() CallOption { return callOption(func(o *callOptions) { o.safe = true }) }

// ReadOnly says that the call only reads, whatever its method: a search by POST.
func ReadOnly() CallOption { return callOption(func(o *callOptions) { o.safe = true }) }

// Patience is the time the call may wait in all for the partner: for an open circuit to close, for a
// pause longer than the retry policy's MaxRetryAfter to end, in backoff, and in line, which is otherwise
// bounded by the context alone. A call with patience that may be sent again survives an outage instead of
// failing: while it lasts, the policy's MaxAttempts (unless it is 1) does not end it. A write that may not be sent
// twice is not repeated after a 503 all the same, but waits for an open circuit. Zero, the default, waits
// for no open circuit.
func Patience(d time.Duration) CallOption {
	return callOption(func(o *callOptions) {
		if d < 0 {
			o.fail("Patience: %s must not be negative", d)
		}
		o.patience = d
	})
}

// MaxAttempts replaces the retry policy's, and is not outlasted by patience. Zero means the policy's, 1 that
// the call is not retried, negative is an error.
func MaxAttempts(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("MaxAttempts: %d must not be negative", n)
		}
		o.maxAttempts = n
	})
}

// Auth uses another credential for the call; nil sends none. It has no effect on a policy that wraps a
// transport by itself, which knows no origin to keep it for.
func Auth(a Authenticator) CallOption {
	return callOption(func(o *callOptions) {
		if s, ok := a.(interface{ check() error }); ok {
			if err := s.check(); err != nil {
				o.fail("Auth: %w", err)
			}
		}
		o.auth, o.noAuth = a, a == nil
	})
}

// Info is what there is to know of a call beside its result.
type Info struct {
	// StatusCode and Header are the last answer's; 0 and nil when there was none.
	StatusCode int
	Header     http.Header
	// RequestID is the partner's own id of the call.
	RequestID string
	// Attempts is how many were sent.
	Attempts int
	// Waited is the time spent in backoff, in line and for an open circuit.
	Waited time.Duration
}

// Into fills info when the call is over, whether or not it succeeded. Nil fills nothing. Not for concurrent
// calls with one info.
func Into(info *Info) CallOption { return callOption(func(o *callOptions) { o.into = info }) }

func (in *Info) fill(c *call, resp *http.Response) {
	*in = Info{Attempts: c.sends, Waited: c.waits.Total()}
	if resp != nil {
		in.StatusCode, in.Header = resp.StatusCode, resp.Header
		in.RequestID = redact.Values(requestID(resp.Header), c.secrets())
	}
}

// expand fills the template's {names}.
func (o *callOptions) expand(template string) (string, error) {
	var b strings.Builder
	used := 0
	rest := template
	for {
		before, after, ok := strings.Cut(rest, "{")
		b.WriteString(before)
		if !ok {
			break
		}
		name, tail, ok := strings.Cut(after, "}")
		value, given := o.values[name]
		if !ok || !given {
			return "", invalid("the path %q needs PathValue(%q, …)", template, name)
		}
		if strings.Contains(b.String(), "?") {
			b.WriteString(url.QueryEscape(value))
		} else {
			b.WriteString(url.PathEscape(value))
		}
		used++
		rest = tail
	}
	if used < len(o.values) {
		for name := range o.values {
			if !strings.Contains(template, "{"+name+"}") {
				return "", invalid("the path %q has no {%s}", template, name)
			}
		}
	}
	return b.String(), nil
}
