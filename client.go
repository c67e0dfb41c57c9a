package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// Client calls one partner. Make it with [New], once for each partner, and keep it; make one for each
// customer's integration with [Client.With]. It is safe for concurrent use.
type Client struct {
	stack
	shared *shared
	owner  bool // of the transport
}

// New returns a client for the partner at baseURL, such as "https://api.example.com/v2", with all layers
// at their defaults. The error joins one for each option out of range.
func New(baseURL string, opts ...Option) (*Client, error) {
	s := &shared{maxInFlight: 10, maxQueue: defaultMaxQueue}
	s.attemptTimeout, s.maxBytes = 30*time.Second, 64<<20
	s.retryPolicy.Budget = NewRetryBudget(0)
	cfg := &config{shared: s, owned: true}
	err := WithBaseURL(baseURL)(cfg)
	if cfg.base != nil {
		s.name = cfg.base.Hostname()
	}
	return build(nil, cfg, append([]error{unlabel(err)}, apply(cfg, opts)...))
}

// unlabel says New where WithBaseURL was not what the caller wrote.
func unlabel(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("New: %w", errors.Unwrap(err))
}

// With returns a client derived from c, which keeps c's options where opts do not replace them, and
// shares its limiter, breaker, retry budget and transport. [WithRateLimit] and [WithMaxInFlight] add to
// the parent's. One that only differs in base URL, integration, credential and rate limits takes a few
// hundred bytes.
func (c *Client) With(opts ...Option) (*Client, error) {
	if c == nil {
		return nil, errNilClient()
	}
	cfg := &config{shared: c.shared, base: c.base, integration: c.integration, auth: c.auth}
	return build(c, cfg, apply(cfg, opts))
}

func errNilClient() error { return invalid("the client is nil; make one with New") }

func apply(cfg *config, opts []Option) (errs []error) {
	for i, o := range opts {
		if o == nil {
			errs = append(errs, fmt.Errorf("option %d is nil", i))
		} else if err := o(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// build makes the client of a configuration; a nil parent makes a new one.
func build(parent *Client, cfg *config, errs []error) (*Client, error) {
	if cfg.auth != nil && cfg.base != nil && cfg.base.Scheme != "https" && !cfg.insecure && !origin.Loopback(cfg.base) {
		errs = append(errs, fmt.Errorf("WithAuth: the credential would go over plain http to %s (WithInsecureCredentials allows it)", cfg.base.Host))
	}
	c := &Client{shared: cfg.shared, owner: parent == nil}
	var err error
	if c.limiter, err = cfg.limiterFor(parent); err != nil {
		errs = append(errs, fmt.Errorf("WithRateLimit: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}, Err: &inputError{flat{err}}}
	}
	if cfg.owned {
		cfg.shared.finish()
	}
	c.stack = stack{set: &cfg.shared.settings, limiter: c.limiter, auth: cfg.auth, base: cfg.base, integration: cfg.integration}
	return c, nil
}

// limiterFor returns the limiter of a client: its parent's, or the given one, or a new one, with the
// limits and the bound in flight that are its own.
func (cfg *config) limiterFor(parent *Client) (*Limiter, error) {
	s := cfg.shared
	if s.without[LayerLimits] {
		return nil, nil
	}
	var base *Limiter
	own := cfg.limits
	switch {
	case parent != nil && parent.limiter != nil && s.givenLimiter == parent.shared.givenLimiter:
		base = parent.limiter
		if len(own) == 0 && !cfg.owned {
			return base, nil
		}
	case s.givenLimiter != nil:
		base = s.givenLimiter
	default:
		base, _ = NewLimiter()
	}
	if parent == nil || base != parent.limiter || s.inFlightSet && s.maxInFlight != parent.shared.maxInFlight {
		own = append(own[:len(own):len(own)], Limit{n: s.maxInFlight, kind: slotLimit})
	}
	view, err := base.with(own...)
	if err == nil {
		view.maxQueue = s.maxQueue
	}
	return view, err
}

// finish fills in what follows from the options.
func (s *shared) finish() {
	if s.without[LayerTimeout] {
		s.attemptTimeout = 0
	}
	s.retry = nil
	if !s.without[LayerRetry] {
		p := s.retryPolicy.withDefaults()
		s.retryPolicy.Budget = p.Budget
		s.retry = &p
	}
	switch {
	case s.without[LayerBreaker]:
		s.settings.breaker = nil
	case s.settings.breaker == nil:
		s.settings.breaker = newBreaker(s.breakerPolicy.withDefaults(s.attemptTimeout))
	}
	if s.transport == nil {
		s.transport = newTransport(s.maxInFlight)
	}
	s.base = Chain(s.transport, s.attempts...)
	s.callMiddleware = nil
	if ms := s.middlewares; len(ms) > 0 {
		s.callMiddleware = func(next http.RoundTripper) http.RoundTripper { return Chain(next, ms...) }
	}
	s.observers = slices.Clone(s.watchers)
	if s.logger != nil {
		s.observers = append(s.observers, logObserver{s.logger})
	}
	s.compile()
}

// newTransport returns the default base transport: net/http's own (HTTP/2, the environment's proxy),
// with room for as many idle connections as there may be calls.
func newTransport(inFlight int) *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second}
	}
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, inFlight
	return t
}

// Transport returns the layers as an http.RoundTripper, for another SDK's http.Client: a status stays a
// response, the last one too when retries are over. Requests to other origins pass through it without
// credential, limits or breaker. Turn that SDK's own retries off.
func (c *Client) Transport() http.RoundTripper {
	if c == nil {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			closeBody(req)
			return nil, errNilClient()
		})
	}
	return &c.stack
}

// HTTPClient returns an http.Client over [Client.Transport] that follows redirects as [WithRedirects] says.
func (c *Client) HTTPClient() *http.Client {
	if c == nil {
		return &http.Client{Transport: c.Transport()}
	}
	return &http.Client{Transport: &c.stack, CheckRedirect: c.checkRedirect}
}

// Close lets go of idle connections. Calls under way end as they would; new ones open new connections. On
// a derived client it does nothing, as the connections are its parent's; on a transport given by
// [WithTransport] it calls CloseIdleConnections, if there is one.
func (c *Client) Close() error {
	if c == nil {
		return errNilClient()
	}
	if t, ok := c.shared.transport.(interface{ CloseIdleConnections() }); ok && c.owner {
		t.CloseIdleConnections()
	}
	return nil
}

// Do sends a request to the partner. It differs from http.Client.Do in that a response that is not a
// success (by the verdict: any status of 400 and above, unless a [Classifier] says otherwise) is an
// [*Error], and the response's body is closed then. Otherwise the caller must close it; its place in
// flight is held until then, or until it has been read to the end.
//
// The request may be made by [Client.NewRequest] or net/http; it must lead to the partner's own origin.
// It is not changed. Options for a single request come with its context, see [CallContext].
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if c == nil {
		closeBody(req)
		return nil, errNilClient()
	}
	k, resp, err := c.exchange(req, nil, false)
	if err != nil {
		return nil, err
	}
	k.recycle()
	return resp, nil
}

// exchange sends req, follows redirects, and makes an error of what is not a success.
func (s *stack) exchange(req *http.Request, opts *callOptions, whole bool) (*call, *http.Response, error) {
	if s.foreign(req) {
		closeBody(req)
		return nil, nil, invalid("the request leads to %s, not to the partner at %s (WithTrustedOrigins)", origin.Of(req.URL), origin.Of(s.base))
	}
	c, err := s.begin(req, opts)
	if err != nil {
		closeBody(req)
		return nil, nil, err
	}
	c.whole = whole
	resp, err := c.run()
	if err == nil && redirected(resp) && s.set.redirects != RedirectNone && c.verdict.Class == ClassOK {
		c, resp, err = c.follow(resp)
	}
	if err != nil || c.verdict.Class != ClassOK {
		return c, nil, c.failure(resp, err)
	}
	return c, resp, nil
}

// failure makes the error of a call from its verdict, its last answer and its cause.
func (c *call) failure(resp *http.Response, err error) error {
	e := &Error{
		Partner: c.set.name, Integration: c.integration, Method: c.method(), URL: c.url(),
		Verdict: c.verdict, Attempts: c.sends,
	}
	var ours *Error
	if errors.As(err, &ours) && ours.Method == "" {
		e.StatusCode = ours.StatusCode
		if err == error(ours) {
			err = ours.Err
		}
	}
	e.Err = both(c.clean(err), c.clean(c.extra))
	if c.lost != nil && resp == nil && c.lost.resp != nil {
		e.StatusCode, e.RequestID = c.lost.resp.StatusCode, requestID(c.lost.resp.Header)
	}
	if resp != nil {
		head := c.att.peeked
		if !c.att.done {
			if c.whole && c.buffer != nil {
				head = append([]byte(nil), c.data[:min(len(c.data), maxErrorBody)]...)
			} else {
				head, _ = readSome(resp.Body, maxErrorBody, errorBodyWait)
			}
		}
		_ = resp.Body.Close()
		e.fill(resp, head)
		secrets := secretsOf(c.cred)
		for name, s := range e.Fields {
			e.Fields[name] = redact.Values(s, secrets)
		}
		c.freeBuffer()
	}
	return e
}

// clean takes out of an error's text what must not be seen: a url.Error's URL, and the credential.
func (c *call) clean(err error) error {
	for {
		ue, ok := err.(*url.Error)
		if !ok {
			break
		}
		err = ue.Err
	}
	if err == nil {
		return nil
	}
	if secrets := secretsOf(c.cred); len(secrets) > 0 {
		text := err.Error()
		if clean := redact.Values(text, secrets); clean != text {
			return &cleaned{err, clean}
		}
	}
	return err
}

// cleaned is an error with another text.
type cleaned struct {
	err  error
	text string
}

func (e *cleaned) Error() string        { return e.text }
func (e *cleaned) Is(target error) bool { return errors.Is(e.err, target) }

// flat is a joined error in one line.
type flat struct{ error }

func (e flat) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e flat) Unwrap() error { return e.error }

// both joins two reasons in one line.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return flat{errors.Join(a, b)}
}

// NewRequest makes a request to the partner: path is joined to the base URL and may hold a query; an
// absolute URL must be of the partner's origin. Body is as for [Send]; nil sends none. The result is for
// [Client.Do], Transport or HTTPClient.
func (c *Client) NewRequest(ctx context.Context, method, path string, body any) (*http.Request, error) {
	if c == nil {
		return nil, errNilClient()
	}
	if ctx == nil {
		return nil, invalid("NewRequest: the context is nil")
	}
	u, err := c.resolve(path)
	if err != nil {
		return nil, err
	}
	return newRequest(ctx, method, u, body)
}

func newRequest(ctx context.Context, method string, u *url.URL, body any) (*http.Request, error) {
	b, err := bodyOf(body)
	if err != nil {
		return nil, err
	}
	if method == "" {
		method = http.MethodGet
	} else if !token(method) {
		return nil, invalid("%q is not a method", method)
	}
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {userAgent}, "Accept": {"application/json"}},
	}).WithContext(ctx)
	if b != nil {
		if err := b.attach(req); err != nil {
			return nil, err
		}
	}
	return req, nil
}

const userAgent = "belay (Go)"

// resolve joins path to the base URL.
func (s *stack) resolve(path string) (*url.URL, error) {
	if strings.Contains(path, "://") && !strings.HasPrefix(path, "/") {
		u, err := url.Parse(path)
		if err != nil {
			return nil, invalid("the URL cannot be parsed")
		}
		if s.foreign(&http.Request{URL: u}) {
			return nil, invalid("the URL leads to %s, not to the partner at %s (WithTrustedOrigins)", origin.Of(u), origin.Of(s.base))
		}
		u.User, u.Fragment = nil, ""
		return u, nil
	}
	u := *s.base
	path, query, _ := strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	joined := joinPath(s.base.EscapedPath(), path)
	plain, err := url.PathUnescape(joined)
	if err != nil {
		return nil, invalid("the path %q is badly escaped", path)
	}
	u.Path, u.RawPath, u.RawQuery = plain, joined, query
	return &u, nil
}

func joinPath(base, path string) string {
	switch {
	case path == "":
		return base
	case strings.HasSuffix(base, "/") && strings.HasPrefix(path, "/"):
		return base + path[1:]
	case strings.HasSuffix(base, "/") || strings.HasPrefix(path, "/"):
		return base + path
	}
	return base + "/" + path
}
