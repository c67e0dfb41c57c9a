package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// ErrUnhandled is an event that no handler is for. A [Worker] keeps it, without counting it as a failure, until it is replayed.
var ErrUnhandled = errors.New("inbox: no handler")

// Mux hands events to the handler of their type. The zero value has none. It is safe for concurrent use.
type Mux struct {
	mu       sync.RWMutex
	exact    map[route]Handler
	prefixes []prefixRoute
	unknown  Handler
}

type route struct{ partner, typ string }

type prefixRoute struct {
	route
	handler Handler
}

// On makes h the handler of a partner's events of a type. The partner is the one in the request's path, or the scheme's Name where
// the path has none; an empty one is any. A type that ends in "*" is every one that begins like it, "*" alone also none. The partner's own goes before any's, the exact type before the longest beginning. A nil handler, an empty
// type and one that has a handler already panic, as they are mistakes in the program.
func (m *Mux) On(partner, typ string, h Handler) {
	if h == nil || typ == "" {
		panic("inbox: Mux.On: the type must not be empty, nor the handler nil")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if prefix, ok := strings.CutSuffix(typ, "*"); ok {
		r := route{partner, prefix}
		for _, p := range m.prefixes {
			if p.route == r {
				panic(fmt.Sprintf("inbox: Mux.On: %q %q has a handler already", partner, typ))
			}
		}
		m.prefixes = append(m.prefixes, prefixRoute{r, h})
		return
	}
	r := route{partner, typ}
	if m.exact[r] != nil {
		panic(fmt.Sprintf("inbox: Mux.On: %q %q has a handler already", partner, typ))
	}
	if m.exact == nil {
		m.exact = make(map[route]Handler)
	}
	m.exact[r] = h
}

// Otherwise makes h the handler of all that no other is for. Without it such events are [ErrUnhandled].
func (m *Mux) Otherwise(h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unknown = h
}

// Handle is a [Handler].
func (m *Mux) Handle(ctx context.Context, it Item) error {
	h := m.handler(it.Partner, it.Type)
	if h == nil {
		return fmt.Errorf("%w: %s %q", ErrUnhandled, it.Partner, it.Type)
	}
	return h(ctx, it)
}

func (m *Mux) handler(partner, typ string) Handler {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range [2]string{partner, ""} {
		if h := m.exact[route{p, typ}]; h != nil {
			return h
		}
		var best prefixRoute
		for _, x := range m.prefixes {
			if x.partner == p && strings.HasPrefix(typ, x.typ) && (best.handler == nil || len(x.typ) > len(best.typ)) {
				best = x
			}
		}
		if best.handler != nil {
			return best.handler
		}
	}
	return m.unknown
}
