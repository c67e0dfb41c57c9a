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

// order is the one place where the order of the layers stands, from the outside in. Below the last one
// lies the base transport, under the user's attempt middlewares.
var order = [...]struct {
	step layer
	on   func(s *settings, of variant) bool
}{
	{(*exchange).observe, func(s *settings, _ variant) bool { return len(s.observers) > 0 }},
	{(*exchange).gate, func(s *settings, of variant) bool { return of&withSwitch != 0 || s.timeout > 0 }},
	{(*exchange).outerMiddleware, func(s *settings, _ variant) bool { return s.callMiddleware != nil }},
	{(*exchange).retry, func(s *settings, _ variant) bool { return s.retry != nil }},
	{(*exchange).token, func(_ *settings, of variant) bool { return of&withAuth != 0 }},
	{(*exchange).admit, always},
	{(*exchange).sign, func(_ *settings, of variant) bool { return of&withAuth != 0 }},
	{(*exchange).send, always},
}

func always(*settings, variant) bool { return true }

// kind is what tells calls of the same settings apart: whether they have a credential, and a kill switch.
type variant uint8

const (
	withAuth variant = 1 << iota
	withSwitch
	variants
)

// step is one layer: it does its part and sends the call inward, as often as it likes.
type layer func(c *exchange, next *next) (*http.Response, error)

// within is what lies within a layer: the next one, with what lies within that.
type next struct {
	layer layer
	next  *next
}

// send sends c inward. It is small enough to be no call of its own: processors predict the returns of some
// sixteen calls, and with two for each layer there would be more.
func (n *next) send(x *exchange) (*http.Response, error) { return n.layer(x, n.next) }

// settings is what a client and all clients derived from it share. It does not change once it is built.
type settings struct {
	name           string
	retry          *RetryPolicy     // nil: no retries
	breaker        *Breaker         // nil: none
	limiter        *Limiter         // nil: none
	classifier     Classifier       // nil: Classify
	timeout        time.Duration    // 0: none
	attemptTimeout time.Duration    // 0: none
	timeouts       *deadline.Keeper // of attempts, nil: none
	keyHeader      string           // canonical, empty: no keys are made
	header         http.Header      // set on every request that lacks them
	observers      []Observer
	redactor       Redactor
	trusted        []*url.URL
	insecure       bool
	redirects      RedirectPolicy
	cost           func(*http.Request) int // nil: 1
	maxWait        time.Duration           // in line, 0: no bound but the context's
	maxBytes       int64                   // of a response, negative: no bound
	callMiddleware Middleware
	base           http.RoundTripper
	layers         [variants]*next // of order, those that are on
	adds           bool            // header or keyHeader are set
}

func (s *settings) compile() {
	s.adds = len(s.header) > 0 || s.keyHeader != ""
	for k := range variants {
		s.layers[k] = nil
		for _, o := range slices.Backward(order[:]) {
			if o.on(s, k) {
				s.layers[k] = &next{o.step, s.layers[k]}
			}
		}
	}
}

// stack is the layers with what belongs to one integration.
type stack struct {
	set         *settings
	limiter     *Limiter // nil: none
	auth        Authenticator
	who         uint64   // auth, as limits know it
	base        *url.URL // nil: every request is the partner's
	integration string
	enabled     func() bool // nil: always
	outcomes    outcomes
}

// Layer is a layer that [Without] can leave out.
type Layer uint8

const (
	// LayerRetry is the retries.
	LayerRetry Layer = iota + 1
	// LayerBreaker is the circuit breaker.
	LayerBreaker
	// LayerLimits is the rate limits, the pauses that the partner asks for, and the bound on calls in flight.
	LayerLimits
	// LayerTimeout is the attempt timeout.
	LayerTimeout
)

const lastLayer = LayerTimeout

// restore takes back a Without, for an option after it that configures the layer.
func (s *shared) restore(l Layer) {
	if s.without[l] {
		s.without = maps.Clone(s.without)
		delete(s.without, l)
	}
}

// Without leaves layers out. An option after it that configures such a layer brings it back.
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
