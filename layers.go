package belay

import (
	"fmt"
	"maps"
)

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
