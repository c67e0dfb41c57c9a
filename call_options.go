package belay

import (
	"context"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/headers"
)

// CallOption configures a single call, typed or by [CallContext].
type CallOption interface {
	PageOption
	applyCall(*callOptions)
}

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

func (f callOption) applyPage(o *pageOptions) { o.calls = append(o.calls, f) }

// callOptions are the options of one call. They do not change once the call has begun.
type callOptions struct {
	values      map[string]string
	query       url.Values
	header      http.Header
	cost        int
	priority    Priority
	budget      *callBudget
	key         string
	safe        bool
	readOnly    bool
	patience    time.Duration
	maxAttempts int
	auth        Authenticator
	noAuth      bool
	into        *Info
	route       string
	unbounded   bool // no bound on the answer
	literal     bool // the path is a link of the partner's, not a template
	err         error
}

type optionsKey struct{}

// CallContext returns a context that carries opts to the calls made with it: raw requests, and those of
// another SDK over [Client.Transport]. A typed call's own options come after them. PathValue and Query
// mean nothing to a request that is made already, and an IdempotencyKey is that of every call made with the
// context. A nil ctx means context.Background.
func CallContext(ctx context.Context, opts ...CallOption) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithValue(ctx, optionsKey{}, optionsOf(ctx).with(opts))
}

// DetachedContext returns a context with the values of ctx, but without its end and without call options: for work that a call
// begins and that outlives it, such as the refresh of a token. A nil ctx means context.Background.
func DetachedContext(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return context.WithValue(context.WithoutCancel(ctx), optionsKey{}, &noOptions)
}

func optionsOf(ctx context.Context) *callOptions {
	if o, ok := ctx.Value(optionsKey{}).(*callOptions); ok {
		return o
	}
	return &noOptions
}

// with returns a copy to which opts have been applied.
func (o *callOptions) with(opts []CallOption) *callOptions {
	clone := *o
	clone.values, clone.query, clone.header = maps.Clone(o.values), maps.Clone(o.query), o.header.Clone()
	for _, opt := range opts {
		if opt != nil {
			opt.applyCall(&clone)
		}
	}
	return &clone
}

func (o *callOptions) fail(format string, args ...any) {
	if o.err == nil {
		o.err = invalid(format, args...)
	}
}

// PathValue fills {name} in the path. It is escaped. An empty value, "." and ".." are refused: they would
// make it another path.
func PathValue(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if value == "" || value == "." || value == ".." {
			o.fail("PathValue: %s is %q, which would make it another path", name, value)
		}
		if o.values == nil {
			o.values = make(map[string]string)
		}
		o.values[name] = value
	})
}

// Query adds a query parameter; a second one of the same name stands beside the first.
func Query(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if o.query == nil {
			o.query = make(url.Values)
		}
		o.query.Add(name, value)
	})
}

// Header sets a header of the request, in place of the client's. An empty value sends it empty.
func Header(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if !headers.IsToken(name) || strings.ContainsAny(value, "\r\n\x00") {
			o.fail("Header: %q is not the name of a header, or its value has a line break", name)
			return
		}
		if o.header == nil {
			o.header = make(http.Header)
		}
		o.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	})
}

// Cost says how many permits of each limit the call takes. Zero means 1, negative is an error.
func Cost(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("Cost: %d must not be negative", n)
		}
		o.cost = n
	})
}

// IdempotencyKey sends key, in the header of [WithIdempotencyKeys] or else "Idempotency-Key", and lets
// the call be retried. At most 255 bytes, as Stripe takes them.
func IdempotencyKey(key string) CallOption {
	return callOption(func(o *callOptions) {
		if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			o.fail("IdempotencyKey: must be 1 to 255 printable characters, has %d", len(key))
		}
		o.key = key
	})
}

// Idempotent says that the call may be run twice, whatever its method.
func Idempotent() CallOption { return callOption(func(o *callOptions) { o.safe = true }) }

// ReadOnly says that the call only reads, whatever its method: a search by POST. It may be run twice, and
// limits of [Reads] count it.
func ReadOnly() CallOption {
	return callOption(func(o *callOptions) { o.safe, o.readOnly = true, true })
}

// Patience is the time the call may wait in all for the partner: for an open circuit to close, for a
// pause longer than the retry policy's MaxRetryAfter to end, in backoff, and in line, which is otherwise
// bounded by the context alone. A call with patience that may be sent again survives an outage instead of
// failing: while it lasts, the policy's MaxAttempts (unless it is 1) does not end it. A write that may not be sent
// twice is not repeated after a 503 all the same, but waits for an open circuit. Zero, the default, waits
// for no open circuit.
func Patience(d time.Duration) CallOption {
	return callOption(func(o *callOptions) {
		if d < 0 {
			o.fail("Patience: %s must not be negative", d)
		}
		o.patience = d
	})
}

// MaxAttempts replaces the retry policy's, and is not outlasted by patience. Zero means the policy's, 1 that
// the call is not retried, negative is an error.
func MaxAttempts(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("MaxAttempts: %d must not be negative", n)
		}
		o.maxAttempts = n
	})
}

// Auth uses another credential for the call; nil sends none. It has no effect on a policy that wraps a
// transport by itself, which knows no origin to keep it for.
func Auth(a Authenticator) CallOption {
	return callOption(func(o *callOptions) {
		if a != nil {
			if err := checkAuth(a); err != nil {
				o.fail("Auth: %w", err)
			}
		}
		o.auth, o.noAuth = a, a == nil
	})
}

// Info is what there is to know of a call beside its result.
type Info struct {
	// StatusCode and Header are the last answer's; 0 and nil when there was none.
	StatusCode int
	Header     http.Header
	// RequestID is the partner's own id of the call.
	RequestID string
	// Attempts is how many were sent.
	Attempts int
	// Waited is the time spent in backoff, in line and for an open circuit.
	Waited time.Duration
}

// Into fills info when the call is over, whether or not it succeeded. Nil fills nothing. Not for concurrent
// calls with one info.
func Into(info *Info) CallOption { return callOption(func(o *callOptions) { o.into = info }) }

// Reads matches requests that only read, for [Limit.When]: GET, HEAD, OPTIONS, and those that [ReadOnly] says so of.
func Reads(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return optionsOf(req.Context()).readOnly
}

// Writes matches all requests that Reads does not, for [Limit.When].
func Writes(req *http.Request) bool { return !Reads(req) }

func (p Priority) applyPage(o *pageOptions) { o.calls = append(o.calls, p) }

func (p Priority) applyCall(o *callOptions) {
	if p < Low || p > High {
		o.fail("Priority: %d is none of Low, Normal and High", int8(p))
	}
	o.priority = p
}

// callBudget is how many attempts a piece of work may still send. A nil one has no end.
type callBudget struct {
	left  atomic.Int64
	outer *callBudget
}

// BudgetContext returns a context whose calls may send n attempts together, retries among them: a bound on
// what a piece of work spends of a quota. An attempt beyond it is not sent; its call fails with
// ErrCallBudget, as Refused. One that certainly did not reach the partner counts for nothing. With n below
// 1 nothing is sent. A budget inside another spends from both. A nil ctx means context.Background.
func BudgetContext(ctx context.Context, n int) context.Context {
	return CallContext(ctx, callOption(func(o *callOptions) {
		o.budget = &callBudget{outer: o.budget}
		o.budget.left.Store(int64(n))
	}))
}

// spend takes one attempt from the budget and those around it, or returns false and takes none.
func (b *callBudget) spend() bool {
	for at := b; at != nil; at = at.outer {
		if at.left.Add(-1) < 0 {
			at.left.Add(1)
			for undo := b; undo != at; undo = undo.outer {
				undo.left.Add(1)
			}
			return false
		}
	}
	return true
}

// giveBack takes back a spend.
func (b *callBudget) giveBack() {
	for at := b; at != nil; at = at.outer {
		at.left.Add(1)
	}
}
