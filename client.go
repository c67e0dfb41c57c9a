package belay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/limiter"
	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// Client calls one partner. Make one with [New] for each partner, and keep it; make one for each customer's
// integration with [Client.With]. It is safe for concurrent use.
type Client struct {
	stack
	shared *shared
	limits *Limiter // what limiter is derived from if the client has another origin than its parent; nil means none
	owner  bool     // made by New: Close closes the idle connections
}

// New returns a client for the partner at baseURL, such as "https://api.example.com/v2", with all layers at
// their defaults. The error joins one error for each option that is out of range.
func New(baseURL string, opts ...Option) (*Client, error) {
	s := &shared{maxInFlight: 10, maxQueue: limiter.DefaultMaxQueue}
	s.attemptTimeout, s.maxBytes, s.latency = defaultAttemptTimeout, 64<<20, new(latency)
	s.retryPolicy.Budget = NewRetryBudget(0)
	cfg := &config{shared: s, owned: true}
	err := WithBaseURL(baseURL)(cfg)
	if cfg.base != nil {
		s.name = cfg.base.Hostname()
	}
	return build(nil, cfg, append([]error{unlabel(err)}, apply(cfg, opts)...))
}

// Format writes the partner's name, the integration and the origin, for every verb: the client's headers and its
// credential are not printed.
func (c *Client) Format(f fmt.State, _ rune) {
	if c.isNil() {
		_, _ = io.WriteString(f, "belay.Client(nil)")
		return
	}
	parts := []string{c.set.name}
	if c.integration != "" {
		parts = append(parts, c.integration)
	}
	_, _ = io.WriteString(f, redact.Line("belay.Client("+strings.Join(append(parts, origin.Of(c.base)), ", ")+")", 500))
}

func (c *Client) isNil() bool { return c == nil || c.set == nil }

// With returns a client derived from c. It keeps c's options unless opts replace them, and shares c's
// limiter, breaker, retry budget and transport. [WithRateLimit] and [WithMaxInFlight] add to the parent's
// limits. A derived client that differs only in base URL, integration and credential takes a few hundred
// bytes, and 8 bytes more for each permit in use of a limit of its own.
func (c *Client) With(opts ...Option) (*Client, error) {
	if c.isNil() {
		return nil, errNilClient()
	}
	cfg := &config{shared: c.shared, base: c.base, integration: c.integration, auth: c.auth, authID: c.authID, enabled: c.enabled}
	return build(c, cfg, apply(cfg, opts))
}

const nilClient = "the client is nil; make one with New"

func errNilClient() error { return invalid(nilClient) }

// Transport returns the layers as an http.RoundTripper, for the http.Client of another SDK. Every status
// stays a response, and so does the last one after retries. Requests to other origins pass through it without
// credential, limits or breaker. Turn the retries of that SDK off.
func (c *Client) Transport() http.RoundTripper {
	if c.isNil() {
		return failing(nilClient)
	}
	return layered{&c.stack}
}

// HTTPClient returns an http.Client over [Client.Transport] that follows redirects as [WithRedirects] says.
func (c *Client) HTTPClient() *http.Client {
	if c.isNil() {
		return &http.Client{Transport: c.Transport()}
	}
	return &http.Client{Transport: layered{&c.stack}, CheckRedirect: c.checkRedirect}
}

// Limiter returns the limiter that the client uses, for [Limiter.Status] and [Limiter.SetLimits]. It is nil
// if [Without] has left the limits out.
func (c *Client) Limiter() *Limiter {
	if c.isNil() {
		return nil
	}
	return c.limiter
}

// Close closes idle connections. Calls in progress end as usual, and new calls open new connections. On a
// derived client it does nothing, because the connections are not its own. On a transport given by
// [WithTransport] it calls the method CloseIdleConnections, if there is one.
func (c *Client) Close() error {
	if c.isNil() {
		return errNilClient()
	}
	if t, ok := c.shared.transport.(interface{ CloseIdleConnections() }); ok && c.owner {
		t.CloseIdleConnections()
	}
	return nil
}

// Do sends a request to the partner. Unlike http.Client.Do, it returns an [*Error] for a response that is not
// a success, and closes the response's body then. The verdict decides: any status of 400 and above is not a
// success, unless a [Classifier] says otherwise. The body of a success must be closed by the caller; the
// attempt stays in flight until then, or until the body has been read to the end.
//
// The request may be made by [Client.NewRequest] or by net/http; it must lead to the partner's own origin or
// to a trusted one. It is not changed. Options for a single request come with its context, see [CallContext].
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if c.isNil() {
		closeBody(req)
		return nil, errNilClient()
	}
	x, resp, err := c.do(req, nil, nil)
	if err != nil {
		return nil, err
	}
	x.recycle()
	return resp, nil
}

// do sends req, follows redirects and decodes the answer; a nil decode leaves the body to be read. For an
// answer that is not a success it returns an *Error.
func (s *stack) do(
	req *http.Request, opts *callOptions, decode func([]byte, *http.Response) error,
) (*exchange, *http.Response, error) {
	if s.foreign(req) {
		closeBody(req)
		return nil, nil, invalid("the request leads to %s, not to the partner at %s (WithTrustedOrigins)",
			origin.Of(req.URL), origin.Of(s.base))
	}
	x, err := s.begin(req, opts)
	if err != nil {
		closeBody(req)
		return nil, nil, err
	}
	x.decode, x.whole = decode, decode != nil
	resp, err := x.run()
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 && x.verdict.Class == ClassOK {
		switch {
		case redirected(resp) && s.set.redirects != RedirectNone:
			x, resp, err = x.follow(resp)
		case opts != nil:
			if err = x.notFollowed(resp); err != nil {
				resp = nil
			}
		}
	}
	if err != nil || x.verdict.Class != ClassOK {
		return x, nil, x.failure(resp, err)
	}
	return x, resp, nil
}

// NewRequest returns a request to the partner. Path is joined to the base URL and may hold a query; an
// absolute URL must lead to the partner's own origin or to a trusted one. A path with {names} is an error:
// only typed calls fill them in. An empty method means GET. Body is as for [Send]; nil sends none. The result
// is for [Client.Do], or for [Client.Transport] and [Client.HTTPClient].
func (c *Client) NewRequest(ctx context.Context, method, path string, body any) (*http.Request, error) {
	if c.isNil() {
		return nil, errNilClient()
	}
	if ctx == nil {
		return nil, invalid("NewRequest: the context is nil")
	}
	if before, _, _ := strings.Cut(path, "?"); strings.ContainsAny(before, "{}") {
		return nil, invalid("NewRequest: the path is a template, with { or } in it, which only typed calls fill in")
	}
	u, err := c.resolve(path)
	if err != nil {
		return nil, err
	}
	return c.newRequest(ctx, method, u, body)
}

func (s *stack) newRequest(ctx context.Context, method string, u *url.URL, body any) (*http.Request, error) {
	b, err := bodyOf(body)
	if err != nil {
		return nil, err
	}
	if method == "" {
		method = http.MethodGet
	} else if !headers.IsToken(method) {
		return nil, invalid("%q is not a method", method)
	}
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, 4),
	}).WithContext(ctx)
	for name, value := range map[string]string{"User-Agent": userAgent, "Accept": "application/json"} {
		if s.set.header[name] == nil {
			req.Header[name] = []string{value}
		}
	}
	if b != nil {
		if err := b.attach(req); err != nil {
			return nil, err
		}
	}
	return req, nil
}

const userAgent = "belay (Go)"
