package belay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"
	"weak"

	"github.com/belay-go/belay/internal/deadline"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
	"github.com/belay-go/belay/internal/origin"
)

// unlabel returns err with New in place of WithBaseURL, because the caller wrote no WithBaseURL. Nil stays
// nil.
func unlabel(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("New: %w", errors.Unwrap(err))
}

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

// build returns the client of a configuration, or an error that joins errs and its own. A nil parent makes a
// new client, any other a derived one.
func build(parent *Client, cfg *config, errs []error) (*Client, error) {
	if cfg.auth != nil && cfg.base != nil && cfg.base.Scheme != "https" && !cfg.insecure && !origin.Loopback(cfg.base) {
		errs = append(errs, fmt.Errorf(
			"WithAuth: the credential would go over plain http to %s (WithInsecureCredentials allows it)", cfg.base.Host))
	}
	if cfg.auth != nil {
		if name := headerOf(cfg.auth); name != "" && len(cfg.header[name]) > 0 {
			errs = append(errs, fmt.Errorf("WithHeader: %s stands beside the credential of WithAuth", name))
		}
	}
	c := &Client{shared: cfg.shared, owner: parent == nil}
	var err error
	if c.limits, err = cfg.limiterFor(parent); err != nil {
		errs = append(errs, fmt.Errorf("WithRateLimit: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &Error{
			Verdict: Verdict{Class: ClassClient, Scope: ScopeCall, unsent: true}, Err: errkit.Input(err),
		}
	}
	if cfg.owned {
		cfg.shared.finish()
	}
	if cfg.adaptive != nil && c.limits != nil {
		c.limits.engine.Adapt(limiter.Policy(*cfg.adaptive))
	}
	if b := cfg.shared.settings.breaker; b != nil && c.limits != nil {
		root := c.limits.engine.Root()
		root.TrackPace()
		view := weak.Make(c.limits.engine)
		b.subscribe(weak.Make(root), func() circuitListener {
			if l := view.Value(); l != nil {
				return l
			}
			return nil
		})
	}
	limits, key := c.limits, uint64(0)
	if limits != nil && cfg.base != nil {
		key = limits.engine.OriginKey(originOf(cfg.base).String())
		switch {
		case parent != nil && limits == parent.limits && key == parent.originKey:
			limits = parent.limiter
		case key != 0:
			limits = &Limiter{limits.engine.ForOrigin(key)}
		}
	}
	c.stack = stack{
		set: &cfg.shared.settings, limiter: limits, auth: cfg.auth, authID: cfg.authID,
		base: cfg.base, originKey: key, integration: cfg.integration, enabled: cfg.enabled,
	}
	switch {
	case cfg.base == nil:
	case parent != nil && parent.base != nil && *parent.base == *cfg.base:
		c.stack.basePath, c.stack.inBase, c.stack.urls = parent.basePath, parent.inBase, parent.urls
	default:
		c.stack.basePath, c.stack.inBase = shownPath(cfg.base.EscapedPath())
		if parent == nil { // thousands of customers with hosts of their own keep no URLs
			c.stack.urls = new(shownURLs)
		}
	}
	return c, nil
}

// limiterFor returns the limiter of a client, apart from its origin: its parent's, the one given by WithLimiter or a
// new one, with the client's own limits and its own bound on attempts in flight added. It is nil if Without leaves
// the limits out.
func (cfg *config) limiterFor(parent *Client) (*Limiter, error) {
	s := cfg.shared
	if s.without[LayerLimits] {
		if len(cfg.limits) > 0 {
			return nil, errors.New("the limits would not count, as Without(LayerLimits) leaves them out")
		}
		return nil, nil
	}
	var base *Limiter
	own := cfg.limits
	switch {
	case parent != nil && parent.limits != nil && s.givenLimiter == parent.shared.givenLimiter:
		base = parent.limits
		if len(own) == 0 && !cfg.owned {
			return base, nil
		}
	case s.givenLimiter != nil:
		base = s.givenLimiter
	default:
		base, _ = NewLimiter()
	}
	if parent == nil || base != parent.limits || s.inFlightSet && s.maxInFlight != parent.shared.maxInFlight {
		own = append(own[:len(own):len(own)], Limit{spec: limiter.Limit{N: s.maxInFlight, Kind: limiter.InFlight}})
	}
	specs, err := checkLimits(own)
	if err != nil {
		return nil, err
	}
	view, err := base.with(specs...)
	if err == nil {
		view.engine.MaxQueue = s.maxQueue
	}
	return view, err
}

// finish computes the settings that follow from the options.
func (s *shared) finish() {
	switch {
	case s.without[LayerTimeout]:
		s.attemptTimeout = 0
	case !s.attemptTimeoutSet:
		s.attemptTimeout = defaultAttemptTimeout
		if s.timeout > 0 {
			s.attemptTimeout = min(s.attemptTimeout, s.timeout-s.timeout/10)
		}
	case s.timeout > 0 && s.attemptTimeout >= s.timeout && s.logger != nil && !s.warned:
		s.warned = true
		s.logger.Warn("the attempt timeout is not below the timeout of the call: a partner that hangs gets one attempt",
			"partner", s.name, "attempt_timeout", s.attemptTimeout, "timeout", s.timeout)
	}
	s.timeouts = deadline.New(s.attemptTimeout, errkit.ErrAttemptTimeout)
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
	_, s.traced = s.transport.(*http.Transport)
	s.base = Chain(s.transport, s.attempts...)
	s.callMiddleware = nil
	if ms := s.middlewares; len(ms) > 0 {
		s.callMiddleware = func(next http.RoundTripper) http.RoundTripper { return Chain(next, ms...) }
	}
	s.observers = slices.Clone(s.watchers)
	if s.logger != nil {
		s.observers = append(s.observers, NewLogObserver(s.logger))
	}
	if len(s.observers) > 0 && s.deprecations == nil {
		s.deprecations = new(deprecations)
	}
	s.tracers, s.dones = nil, make([]DoneObserver, len(s.observers))
	for i, o := range s.observers {
		s.dones[i], _ = o.(DoneObserver)
		if t, ok := o.(Tracer); ok {
			s.tracers = append(s.tracers, t)
		}
	}
	s.compile()
}

const defaultAttemptTimeout = 30 * time.Second

// newTransport returns the default base transport: net/http's own (HTTP/2, the environment's proxy), which
// keeps as many idle connections to a host as attempts may be in flight.
func newTransport(inFlight int) *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second}
	}
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, inFlight
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		return &proxyRefusal{resp.StatusCode}
	}
	return t
}

// proxyRefusal is the error for a proxy that does not make the connection: the partner has not been reached.
type proxyRefusal struct{ status int }

func (e *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy refused the connection: %d %s", e.status, http.StatusText(e.status))
}

// config holds the values that options write. A derived client copies shared before the first option that
// changes it, so that clients that differ only in the values of an integration share one copy.
type config struct {
	*shared
	owned bool // shared is this config's own copy

	base        *url.URL
	integration string
	auth        Authenticator
	authID      uint64
	enabled     func() bool
	limits      []Limit         // to add to the limiter
	adaptive    *AdaptivePolicy // for the limiter; nil leaves its policy unchanged
}

// shared is the configuration that the clients of a partner have in common.
type shared struct {
	settings
	retryPolicy   RetryPolicy
	breakerPolicy BreakerPolicy
	givenLimiter  *Limiter
	maxInFlight   int
	maxQueue      int
	inFlightSet   bool

	attemptTimeoutSet bool
	warned            bool // of an attempt timeout that is too long
	without           map[Layer]bool
	middlewares       []Middleware      // of calls
	attempts          []Middleware      // middlewares of attempts
	transport         http.RoundTripper // below the attempt middlewares
	logger            *slog.Logger
	watchers          []Observer
}

// own returns the shared part, after copying it if it is not this config's own.
func (c *config) own() *shared {
	if !c.owned {
		clone := *c.shared
		c.shared, c.owned = &clone, true
	}
	return c.shared
}
