package belay

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/belay-go/belay/internal/deadline"
)

// order lists the layers from the outside in, each with the condition under which a call has it. No other
// place defines the order. Below the last layer are the user's attempt middlewares, and below these the base
// transport.
var order = [...]struct {
	layer layer
	on    func(s *settings, of variant) bool
}{
	{(*exchange).observe, func(s *settings, _ variant) bool { return len(s.observers) > 0 }},
	{(*exchange).gate, func(s *settings, of variant) bool { return of&withSwitch != 0 || s.timeout > 0 }},
	{(*exchange).keep, func(s *settings, _ variant) bool { return s.caching.cache != nil || s.caching.stale != nil }},
	{(*exchange).outerMiddleware, func(s *settings, _ variant) bool { return s.callMiddleware != nil }},
	{(*exchange).retry, func(s *settings, _ variant) bool { return s.retry != nil }},
	{(*exchange).token, func(_ *settings, of variant) bool { return of&withAuth != 0 }},
	{(*exchange).admit, always},
	{(*exchange).sign, func(_ *settings, of variant) bool { return of&withAuth != 0 }},
	{(*exchange).send, always},
}

func always(*settings, variant) bool { return true }

// variant distinguishes calls with the same settings: whether they have a credential, and whether they have a
// kill switch.
type variant uint8

const (
	withAuth variant = 1 << iota
	withSwitch
	variants
)

// layer is one layer of the stack. It does its part and calls next.send, as often as it likes.
type layer func(x *exchange, next *next) (*http.Response, error)

// next is the rest of the stack below a layer.
type next struct {
	layer layer
	next  *next
}

// send runs the next layer. Keep it inlinable: CPUs predict about 16 nested returns, and one more real call
// for each layer would exceed that.
func (n *next) send(x *exchange) (*http.Response, error) { return n.layer(x, n.next) }

// settings is the configuration that a client shares with the clients derived from it, until one of them
// changes it. It does not change once it is built.
type settings struct {
	name           string
	retry          *RetryPolicy     // nil means no retries
	breaker        *Breaker         // nil means none
	limiter        *Limiter         // of a Limiter that wraps a transport by itself; nil means none
	classifier     Classifier       // nil means Classify
	timeout        time.Duration    // of a whole call; 0 means none
	attemptTimeout time.Duration    // 0 means none
	timeouts       *deadline.Keeper // ends attempts after attemptTimeout; nil means none
	latency        *latency         // of the partner's answers; nil if it is not measured
	keyHeader      string           // canonical; empty means that no keys are made
	correlation    string           // the header for its id, canonical; empty means that it is not sent
	header         http.Header      // added to requests that lack them
	observers      []Observer
	tracers        []Tracer       // those of observers that are
	dones          []DoneObserver // each of observers that is one, or nil
	redactor       Redactor
	trusted        []*url.URL
	insecure       bool
	redirects      RedirectPolicy
	cost           func(*http.Request) int // nil means 1
	maxWait        time.Duration           // in the queue; 0 means no bound but the context
	patience       time.Duration           // of calls that have none of their own
	maxBytes       int64                   // of a response; negative means no bound
	callMiddleware Middleware
	jar            http.CookieJar // nil means none
	caching        caching
	deprecations   *deprecations // nil without observers
	base           http.RoundTripper
	traced         bool            // base leads to net/http's transport, so an attempt can be traced
	layers         [variants]*next // the layers that each variant has
	adds           bool            // header, keyHeader or correlation adds to requests
}

// compile builds the stack of layers for each variant.
func (s *settings) compile() {
	s.adds = len(s.header) > 0 || s.keyHeader != "" || s.correlation != ""
	for k := range variants {
		s.layers[k] = nil
		for _, o := range slices.Backward(order[:]) {
			if o.on(s, k) {
				s.layers[k] = &next{o.layer, s.layers[k]}
			}
		}
	}
}

// stack is the layers together with the values that belong to one integration.
type stack struct {
	set         *settings
	limiter     *Limiter // nil means none
	auth        Authenticator
	authID      uint64   // identifies auth for the limiter
	base        *url.URL // nil means that every request leads to the partner
	basePath    string   // of base, as errors and events show it
	inBase      []string // the credentials in it
	urls        *shownURLs
	originKey   uint64 // of base, for the limiter
	integration string
	enabled     func() bool // nil means always
	outcomes    outcomes
}

// Layer names a layer that [Without] can leave out.
type Layer uint8

const (
	// LayerRetry is the layer of retries.
	LayerRetry Layer = iota + 1
	// LayerBreaker is the circuit breaker.
	LayerBreaker
	// LayerLimits is the rate limits, the pauses that the partner asks for, and the bound on attempts in
	// flight.
	LayerLimits
	// LayerTimeout is the attempt timeout.
	LayerTimeout
)

const lastLayer = LayerTimeout

// restore undoes a Without of the layer l, for a later option that configures the layer.
func (s *shared) restore(l Layer) {
	if s.without[l] {
		s.without = maps.Clone(s.without)
		delete(s.without, l)
	}
}

// Without leaves layers out. A later [WithRetry], [WithBreakerPolicy], [WithBreaker] or [WithAttemptTimeout]
// brings its layer back. LayerLimits stays left out; limits from [WithRateLimit] are an error then. An
// unknown layer is an error.
func Without(layers ...Layer) Option {
	return func(c *config) error {
		s := c.own()
		without := make(map[Layer]bool)
		for l := range s.without {
			without[l] = true
		}
		for _, l := range layers {
			if l == 0 || l > lastLayer {
				return fmt.Errorf("Without: layer %d is not known", l)
			}
			without[l] = true
		}
		s.without = without
		return nil
	}
}
