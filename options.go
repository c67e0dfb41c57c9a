package belay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/belay-go/belay/internal/headers"
)

// Option configures a client, for [New] and [Client.With]. Options apply in order, the last wins; an
// option out of range is an error that names it and the value.
type Option func(*config) error

// WithName names the partner in errors, logs and metrics. The default is the base URL's host.
func WithName(name string) Option {
	return func(c *config) error {
		if name == "" || strings.ContainsAny(name, "\r\n") {
			return fmt.Errorf("WithName: %q must be one line and not empty", name)
		}
		c.own().name = name
		return nil
	}
}

// WithIntegration names the customer's integration that a derived client belongs to.
func WithIntegration(id string) Option {
	return func(c *config) error {
		if strings.ContainsAny(id, "\r\n") {
			return fmt.Errorf("WithIntegration: %q must be one line", id)
		}
		c.integration = id
		return nil
	}
}

// WithBaseURL replaces the base URL, for partners that give each customer a host of its own.
func WithBaseURL(baseURL string) Option {
	return func(c *config) (err error) {
		if c.base, err = parseBase(baseURL); err != nil {
			return fmt.Errorf("WithBaseURL: %w", err)
		}
		return nil
	}
}

// WithAuth sets the credential. Nil sends none. It is sent to the base URL's origin and to those of
// [WithTrustedOrigins] only, and over plain http only to loopback or with [WithInsecureCredentials].
func WithAuth(a Authenticator) Option {
	return func(c *config) error {
		if a != nil {
			if err := checkAuth(a); err != nil {
				return fmt.Errorf("WithAuth: %w", err)
			}
		}
		c.auth = a
		return nil
	}
}

// WithRetry sets the retry policy.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) error {
		if err := p.check(); err != nil {
			return fmt.Errorf("WithRetry: %w", err)
		}
		s := c.own()
		if p.Budget == nil {
			p.Budget = s.retryPolicy.Budget // derived clients share their parent's
		}
		s.retryPolicy = p
		s.restore(LayerRetry)
		return nil
	}
}

// WithBreakerPolicy sets when the circuit opens, and gives the client a breaker of its own.
func WithBreakerPolicy(p BreakerPolicy) Option {
	return func(c *config) error {
		if err := p.check(); err != nil {
			return fmt.Errorf("WithBreakerPolicy: %w", err)
		}
		s := c.own()
		s.breakerPolicy, s.breaker = p, nil
		s.restore(LayerBreaker)
		return nil
	}
}

// WithBreaker shares a breaker with other clients that reach the partner by the same way. Nil is an error.
func WithBreaker(b *Breaker) Option {
	return func(c *config) error {
		if b == nil || b.cb == nil {
			return errors.New("WithBreaker: the breaker is nil or was not made by NewBreaker")
		}
		s := c.own()
		s.breaker = b
		s.restore(LayerBreaker)
		return nil
	}
}

// WithTimeout bounds a call as a whole, waits and retries included. Zero, the default, is no bound but
// the context's.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithTimeout: %s must not be negative", d)
		}
		c.own().timeout = d
		return nil
	}
}

// WithAttemptTimeout bounds each attempt: for typed calls to the end of the body, for Do and Transport to
// the headers, and after that each Read that blocks. The default is 30 s; zero is no bound, negative an
// error. Set it below the deadlines of your calls: a partner that hangs until your own deadline passes
// looks like your cancel, which does not open the circuit.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithAttemptTimeout: %s must not be negative", d)
		}
		s := c.own()
		s.attemptTimeout = d
		s.restore(LayerTimeout)
		return nil
	}
}

// WithIdempotencyKeys sends a random key in that header with every call that is not idempotent by its
// method and has none, one key for all attempts of a call; an empty header means "Idempotency-Key". Only
// for partners that honour it: one that ignores the key would run a retried write twice. The default is
// to make none.
func WithIdempotencyKeys(header string) Option {
	return func(c *config) error {
		if header == "" {
			header = "Idempotency-Key"
		}
		if !headers.IsToken(header) {
			return fmt.Errorf("WithIdempotencyKeys: %q is not the name of a header", header)
		}
		c.own().keyHeader = textproto.CanonicalMIMEHeaderKey(header)
		return nil
	}
}

// WithClassifier sets the partner's own rules. Nil means [Classify].
func WithClassifier(f Classifier) Option {
	return func(c *config) error { c.own().classifier = f; return nil }
}

// WithEnabled asks f before each attempt whether calls may be sent: a kill switch. In [Client.With] it is asked beside the
// parent's. Nil means always. It must be fast and safe for concurrent use.
func WithEnabled(f func() bool) Option {
	return func(c *config) error {
		parent := c.enabled
		switch {
		case parent == nil:
			c.enabled = f
		case f != nil:
			c.enabled = func() bool { return parent() && f() }
		}
		return nil
	}
}

// WithCallMiddleware adds middlewares above the retries: they see each call once. The first is outermost.
func WithCallMiddleware(m ...Middleware) Option {
	return func(c *config) error {
		if err := noneNil(m); err != nil {
			return fmt.Errorf("WithCallMiddleware: %w", err)
		}
		s := c.own()
		s.middlewares = append(s.middlewares[:len(s.middlewares):len(s.middlewares)], m...)
		return nil
	}
}

// WithAttemptMiddleware adds middlewares just above the base transport: they see each attempt, signed.
func WithAttemptMiddleware(m ...Middleware) Option {
	return func(c *config) error {
		if err := noneNil(m); err != nil {
			return fmt.Errorf("WithAttemptMiddleware: %w", err)
		}
		s := c.own()
		s.attempts = append(s.attempts[:len(s.attempts):len(s.attempts)], m...)
		return nil
	}
}

func noneNil(ms []Middleware) error {
	for i, m := range ms {
		if m == nil {
			return fmt.Errorf("middleware %d is nil", i)
		}
	}
	return nil
}

// WithTransport sets the base transport; nil is an error. The default is an http.Transport with as many idle connections
// as attempts may be in flight, HTTP/2, and the proxy that the environment names.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *config) error {
		if rt == nil {
			return errors.New("WithTransport: the transport is nil")
		}
		c.own().transport = rt
		return nil
	}
}

// WithLogger writes a record for each attempt and call, and one when a retry, a pause or a change of the circuit comes. Successes are
// at debug, failed calls at error and failed attempts at warn; but what a caller may have expected is lower: 404, 409, 410 and a
// cancelled call at info; a deadline that passed, other refusals of what was asked for (400, 422), and calls that Belay did not send, at warn. Nil, the
// default, writes none.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error { c.own().logger = l; return nil }
}

// WithObserver adds observers; a nil one is an error.
func WithObserver(o ...Observer) Option {
	return func(c *config) error {
		for i, one := range o {
			if one == nil {
				return fmt.Errorf("WithObserver: observer %d is nil", i)
			}
		}
		s := c.own()
		s.watchers = append(s.watchers[:len(s.watchers):len(s.watchers)], o...)
		return nil
	}
}

// WithRedactor says what of a request's body may be logged when the partner finds it invalid. Nil, the
// default, shows names and kinds of values, but no value.
func WithRedactor(f Redactor) Option {
	return func(c *config) error { c.own().redactor = f; return nil }
}

// WithHeader sets a header on every request that does not have it. An empty value takes it back.
func WithHeader(name, value string) Option {
	return func(c *config) error {
		if !headers.IsToken(name) {
			return fmt.Errorf("WithHeader: %q is not the name of a header", name)
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("WithHeader: the value of %s has a line break", name)
		}
		s := c.own()
		s.header = s.header.Clone()
		if s.header == nil {
			s.header = make(http.Header)
		}
		if s.header.Set(name, value); value == "" {
			s.header.Del(name)
		}
		return nil
	}
}

// WithUserAgent sets the User-Agent of every request that has none. Empty takes it back to Belay's own.
func WithUserAgent(ua string) Option { return WithHeader("User-Agent", ua) }

// WithTrustedOrigins names origins beside the base URL's, such as "https://files.example.com", that get
// the credential and are under the same limits. It replaces those named before.
func WithTrustedOrigins(origins ...string) Option {
	return func(c *config) error {
		var trusted []*url.URL
		for _, o := range origins {
			u, err := parseBase(o)
			if err != nil {
				return fmt.Errorf("WithTrustedOrigins: %w", err)
			}
			trusted = append(trusted, u)
		}
		c.own().trusted = trusted
		return nil
	}
}

// WithInsecureCredentials lets credentials go over plain http to hosts other than loopback.
func WithInsecureCredentials() Option {
	return func(c *config) error { c.own().insecure = true; return nil }
}

// WithRedirects says which redirects Do, typed calls and HTTPClient follow. The default is
// [RedirectSameOrigin].
func WithRedirects(p RedirectPolicy) Option {
	return func(c *config) error {
		if p > RedirectAny {
			return fmt.Errorf("WithRedirects: policy %d is not known", p)
		}
		c.own().redirects = p
		return nil
	}
}

// WithMaxResponseBytes bounds a response's body after decompression, for Do and typed calls (a response of
// Transport and HTTPClient stays as it is). The default
// is 64 MiB; negative is no bound, and zero an error.
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n == 0 {
			return errors.New("WithMaxResponseBytes: 0 would refuse every body; negative is no bound")
		}
		c.own().maxBytes = n
		return nil
	}
}
