package belay

import (
	"strings"
	"sync"
	"unicode"
)

// Endpoint returns a label for metrics: the path template of the call or, for a raw request, the path of its URL. Each
// segment that may be of one resource is {id}: ids, numbers, UUIDs, hashes, e-mail addresses and escaped text. It
// holds no query. The number of paths is not bounded; whoever makes labels of them must bound them.
func (c CallInfo) Endpoint() string {
	if c.Route != "" && !absolute(c.Route) {
		return routeLabel(c.Route)
	}
	return routeLabel(c.URL)
}

// routeLabel returns the path of a route or of a URL as a label.
func routeLabel(route string) string {
	route, _, _ = strings.Cut(route, "?")
	if _, rest, ok := strings.Cut(route, "://"); ok {
		_, route, _ = strings.Cut(rest, "/")
	}
	return labelPath(route)
}

// mostSegments is the number of a path's segments that a label keeps.
const mostSegments = 8

// labelPath returns a path as a label. It folds more than the route of a circuit does (foldPath): names of people, too.
func labelPath(path string) string {
	var b strings.Builder
	n := 0
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		if n++; n > mostSegments {
			return b.String() + "/…"
		}
		b.WriteByte('/')
		if isName(segment) {
			b.WriteString(segment)
		} else {
			b.WriteString("{id}")
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// isName reports whether a segment of a path names a kind of resource or a version, and not one resource.
func isName(segment string) bool {
	if len(segment) > 32 {
		return false
	}
	if segment[0] == '{' && segment[len(segment)-1] == '}' { // of a template
		return true
	}
	letters, digits, hex := 0, 0, true
	for _, r := range segment {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r < unicode.MaxASCII && unicode.IsLetter(r):
			letters++
			hex = hex && r|0x20 <= 'f'
		case r == '-' || r == '_' || r == '.':
		default:
			return false
		}
	}
	switch {
	case letters == 0, digits > 2:
		return false
	case digits > 0:
		return len(segment) <= 12 && !(hex && len(segment) >= 8)
	}
	return len(segment) <= 24 || strings.ContainsAny(segment, "-_.")
}

// shownURLs holds the URLs of routes as events show them, so that an event makes no text. A nil one makes each anew.
type shownURLs struct {
	mu sync.RWMutex
	of map[string]string
}

// mostShown is the number of routes whose URLs are kept.
const mostShown = 500

func (s *shownURLs) get(of *stack, route string) string {
	if s == nil {
		return of.labelled(route)
	}
	s.mu.RLock()
	shown, ok := s.of[route]
	s.mu.RUnlock()
	if ok {
		return shown
	}
	shown = of.labelled(route)
	s.mu.Lock()
	if s.of == nil {
		s.of = make(map[string]string)
	}
	if len(s.of) < mostShown {
		s.of[route] = shown
	}
	s.mu.Unlock()
	return shown
}
