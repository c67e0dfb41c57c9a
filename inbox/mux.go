package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// ErrUnhandled is the error for an event without a handler. A [Worker] keeps the event until it is replayed,
// and does not count it as a failure.
var ErrUnhandled = errors.New("inbox: no handler")

// Mux passes each event to the handler for its partner and type. The zero value has no handlers. It is safe
// for concurrent use.
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

// On registers h as the handler for a partner's events of one type. The partner is the one in the request's
// path, or the scheme's Name if the path has none; an empty partner stands for any partner. A type that ends
// in "*" stands for every type with that prefix; "*" alone also stands for an event without a type. A handler
// of the event's own partner takes precedence over a handler of any partner, and then the exact type over the
// longest prefix. A nil handler, an empty type and a second handler for the same partner and type panic,
// because they are mistakes in the program.
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

// Otherwise registers h as the handler for events without another handler. Without it, [Mux.Handle] returns
// [ErrUnhandled] for them.
func (m *Mux) Otherwise(h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unknown = h
}

// Handle passes an event to its handler. It is a [Handler].
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
