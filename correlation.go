package belay

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/belay-go/belay/internal/headers"
)

// Correlation gives a call the id of what it is made for: a request to your own service, a task, an event of a webhook.
// The call's events ([CallInfo].Correlation) and log lines have it, and [WithCorrelationHeader] sends it to the
// partner. With [CallContext] it is the id of all calls with the context. Only visible ASCII characters are kept, and
// only of the first 128 bytes, because such ids come from outside. Empty means no id.
func Correlation(id string) CallOption {
	id = plainID(id)
	return callOption(func(o *callOptions) { o.correlation = id })
}

// CorrelationID returns the id that [Correlation] has put into ctx by [CallContext], empty if there is none.
func CorrelationID(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	return optionsOf(ctx).correlation
}

// WithCorrelationHeader sends the id of [Correlation] in a header, unless the call has that header. It is sent to the
// partner's own origin only. An empty name means X-Correlation-ID. A name that is not a valid header name is an error,
// and so is one that net/http or the credential uses: Content-Length, Transfer-Encoding, Trailer, Host, Authorization.
func WithCorrelationHeader(name string) Option {
	return func(c *config) error {
		if name == "" {
			name = defaultCorrelation
		}
		if !headers.IsToken(name) {
			return fmt.Errorf("WithCorrelationHeader: %s is not the name of a header", shownName(name))
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if unsendable[name] || name == "Host" || name == "Authorization" {
			return fmt.Errorf("WithCorrelationHeader: %s is used otherwise", name)
		}
		c.own().correlation = name
		return nil
	}
}

// CorrelationHandler wraps a handler of your own service. It takes the id from the request's header of that name, or
// makes a new one, and puts it into the request's context and into the answer's header. An empty name means
// X-Correlation-ID. next must not be nil.
func CorrelationHandler(name string, next http.Handler) http.Handler {
	if name == "" {
		name = defaultCorrelation
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := plainID(r.Header.Get(name))
		if id == "" {
			id = rand.Text()
		}
		w.Header().Set(name, id)
		next.ServeHTTP(w, r.WithContext(CallContext(r.Context(), Correlation(id))))
	})
}

const (
	defaultCorrelation = "X-Correlation-ID"
	longestID          = 128
)

// plainID returns the visible ASCII of an id, bounded.
func plainID(id string) string {
	id = id[:min(len(id), longestID)]
	if !strings.ContainsFunc(id, invisible) {
		return id
	}
	return strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, id)
}

func invisible(r rune) bool { return r <= ' ' || r > '~' }
