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

// Option configures a client, for [New] and [Client.With]. Options apply in order, and the last one wins. An
// option that is out of range is an error that names the option and the value.
type Option func(*config) error

// WithName sets the partner's name in errors, logs and metrics. The default is the base URL's host. An empty
// name is an error, and so is one with a line break.
func WithName(name string) Option {
	return func(c *config) error {
		if name == "" || strings.ContainsAny(name, "\r\n") {
			return fmt.Errorf("WithName: %q must be one line and not empty", name)
		}
		c.own().name = name
		return nil
	}
}

// WithIntegration sets the name of the customer's integration that a derived client belongs to. A name with a
// line break is an error.
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

// WithAuth sets the authenticator, which gives the credential. Nil sends no credential. The credential is
// sent only to the origins of the base URL and of [WithTrustedOrigins], and over http without TLS only to
// loopback or with [WithInsecureCredentials].
func WithAuth(a Authenticator) Option {
	return func(c *config) error {
		if a != nil {
			if err := checkAuth(a); err != nil {
				return fmt.Errorf("WithAuth: %w", err)
			}
		}
		c.auth, c.authID = a, idOfClients(a)
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
			p.Budget = s.retryPolicy.Budget // a derived client shares the budget of its parent
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

// WithBreaker makes the client share a breaker with other clients that reach the partner by the same way. Nil
// is an error, and so is a Breaker that was not made by [NewBreaker].
func WithBreaker(b *Breaker) Option {
	return func(c *config) error {
		if !b.made() {
			return errors.New("WithBreaker: the breaker is nil or was not made by NewBreaker")
		}
		s := c.own()
		s.breaker = b
		s.restore(LayerBreaker)
		return nil
	}
}

// WithTimeout bounds a call as a whole, waits and retries included. Zero, the default, means no bound but the
// context's deadline; negative is an error.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithTimeout: %s must not be negative", d)
		}
		c.own().timeout = d
		return nil
	}
}

// WithAttemptTimeout bounds each attempt: for typed calls until the end of the body, for Do and Transport
// until the headers, and after that each Read that blocks. The default is 30 s, or nine tenths of [WithTimeout] if
// that is less; zero means no bound, negative is an error. A value that is not below WithTimeout is logged: a
// partner that hangs then gets one attempt. The context's deadline ends an attempt too.
func WithAttemptTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return fmt.Errorf("WithAttemptTimeout: %s must not be negative", d)
		}
		s := c.own()
		s.attemptTimeout, s.attemptTimeoutSet = d, true
		s.restore(LayerTimeout)
		return nil
	}
}

// WithIdempotencyKeys sends a random key in the given header with every call that has no key and is not
// idempotent by its method. All attempts of a call have the same key. An empty header means
// "Idempotency-Key". Use it only for partners that honor the key: one that ignores it would run a retried
// write twice. By default no keys are made.
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

// WithClassifier sets the classifier with the partner's own rules. Nil means [Classify].
func WithClassifier(f Classifier) Option {
	return func(c *config) error { c.own().classifier = f; return nil }
}

// WithEnabled sets a kill switch: the function f is asked at the beginning of each call and before each
// attempt whether calls may be sent. In [Client.With] it is asked in addition to the parent's. Nil means
// always. It must be fast and safe for concurrent use.
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

// WithCallMiddleware adds middlewares above the retries: they see each call once. The first one is the
// outermost. A nil middleware is an error.
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

// WithAttemptMiddleware adds middlewares just above the base transport: they see each attempt, with its
// credential. The first one is the outermost. A nil middleware is an error.
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

// WithTransport sets the base transport; nil is an error. The default is an http.Transport with HTTP/2, the
// environment's proxy, and as many idle connections to a host as attempts may be in flight.
func WithTransport(rt http.RoundTripper) Option {
	return func(c *config) error {
		if rt == nil {
			return errors.New("WithTransport: the transport is nil")
		}
		c.own().transport = rt
		return nil
	}
}

// WithLogger writes a record for each attempt and each call, and for each retry, pause and change of the
// circuit. Successes are logged at debug, failed calls at error and failed attempts at info at most. Outcomes that a
// caller may have expected are lower: 404, 409, 410 and a canceled call at info; a deadline that has passed,
// other requests that the partner finds wrong (ClassClient, as a 400 or a 422), and calls that Belay did not
// send at warn. A raw request has its URL in place of the route. After a 400 or a 422 the record shows the
// names and kinds of the fields of the request's JSON, without values; if your field names are data, remove
// them by WithRedactor. Nil, the default, writes none.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error { c.own().logger = l; return nil }
}

// WithObserver adds observers. A nil observer is an error.
func WithObserver(o ...Observer) Option {
	return func(c *config) error {
		for i, one := range o {
			if one == nil {
				return fmt.Errorf("WithObserver: observer %d is nil", i)
			}
		}
		s := c.own()
		s.watchers = append(s.watchers[:len(s.watchers):len(s.watchers)], o...)
		s.deprecations = nil // the new ones have not been told
		return nil
	}
}

// WithRedactor sets the function that returns the text to log of a request's body when the partner finds the
// request invalid (400, 422), and of the answer's body when a call has failed. Nil, the default, shows the names and
// kinds of values, but no value. Answers may hold other personal data than your requests.
func WithRedactor(f Redactor) Option {
	return func(c *config) error { c.own().redactor = f; return nil }
}

// WithHeader sets a header on every request that does not have it. An empty value undoes an earlier
// WithHeader of that name.
func WithHeader(name, value string) Option {
	return func(c *config) error {
		if !headers.IsToken(name) {
			return fmt.Errorf("WithHeader: %s is not the name of a header", shownName(name))
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("WithHeader: the value of %s has a line break", name)
		}
		if unsendable[textproto.CanonicalMIMEHeaderKey(name)] {
			return fmt.Errorf("WithHeader: %s is not sent; it follows from the body", name)
		}
		if strings.EqualFold(name, "Host") && value != "" && !isHost(value) {
			return errors.New("WithHeader: the value of Host is no host")
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

// isHost reports whether value may be sent as a Host: net/http would send an empty one for what it may not.
func isHost(value string) bool {
	return value != "" && !strings.ContainsFunc(value, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/\\@?#\"<>^`{|}", r)
	})
}

// WithUserAgent sets the User-Agent of every request that has none. Empty restores Belay's own.
func WithUserAgent(ua string) Option { return WithHeader("User-Agent", ua) }

// WithCookieJar keeps the cookies of the partner's answers in jar, and sends them with later calls, for a partner whose
// login is a session. A jar is the login of one customer: give each customer's client a jar of its own. Cookies are
// treated as credentials. Nil, the default, keeps none.
func WithCookieJar(jar http.CookieJar) Option {
	return func(c *config) error {
		c.own().jar = jar
		return nil
	}
}

// WithTrustedOrigins names origins beside the base URL's, such as "https://files.example.com", that get the
// credential and are under the same limits. It replaces the origins named before.
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

// WithInsecureCredentials allows credentials over http without TLS to hosts other than loopback.
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

// WithMaxResponseBytes bounds the body of a response, in bytes after decompression, for Do and typed calls; a
// response of Transport and HTTPClient stays as it is. The default is 64 MiB; negative means no bound, zero
// is an error.
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n == 0 {
			return errors.New("WithMaxResponseBytes: 0 would refuse every body; negative is no bound")
		}
		c.own().maxBytes = n
		return nil
	}
}
