package belay

import (
	"net/http"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/link"
	"github.com/belay-go/belay/internal/redact"
)

// deprecations remembers when it was told of an endpoint that it is deprecated.
type deprecations struct {
	mu   sync.Mutex
	told map[deprecatedEndpoint]time.Time
}

type deprecatedEndpoint struct{ method, endpoint string }

const (
	tellAgain      = 24 * time.Hour
	mostDeprecated = 1000 // endpoints; others are not told
)

// due reports whether to tell of an endpoint, and notes that it is told.
func (d *deprecations) due(at deprecatedEndpoint, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, known := d.told[at]
	if known && now.Sub(last) < tellAgain || !known && len(d.told) >= mostDeprecated {
		return false
	}
	if d.told == nil {
		d.told = make(map[deprecatedEndpoint]time.Time)
	}
	d.told[at] = now
	return true
}

// noteDeprecation tells the observers of an endpoint that the partner says will end.
func (x *exchange) noteDeprecation(resp *http.Response) {
	if x.foreign(x.req) { // behind a redirect
		return
	}
	since, sunset, told := headers.Deprecation(resp.Header)
	if !told {
		return
	}
	call := x.info()
	if !x.set.deprecations.due(deprecatedEndpoint{call.Method, call.Endpoint()}, time.Now()) {
		return
	}
	e := Deprecated{Call: call, Since: since, Sunset: sunset}
	if to := link.Find(resp.Header["Link"], "deprecation", "sunset", "successor-version"); to != "" {
		if u, err := x.req.URL.Parse(to); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
			e.Link = redact.Line(redact.Values(redact.WholeURL(u), x.secrets()), 1024)
		}
	}
	x.emit(e)
}
