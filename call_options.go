package belay

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/schema"
)

// CallOption configures a single call: a typed call directly, any other call by [CallContext].
type CallOption interface {
	PageOption
	applyCall(*callOptions)
}

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

func (f callOption) applyPage(o *pageOptions) { o.calls = append(o.calls, f) }

// callOptions are the options of one call. They do not change after the call has begun.
type callOptions struct {
	values        map[string]string
	query         url.Values
	header        http.Header
	cost          int
	priority      Priority
	budget        *callBudget
	key           string
	safe          bool
	readOnly      bool
	patience      time.Duration
	patienceLeast time.Duration // of PatienceContext
	patienceSet   bool          // patience is the call's own, and not the client's
	maxAttempts   int
	auth          Authenticator
	noAuth        bool
	into          *Info
	route         string
	correlation   string
	expect        *schema.Schema // of the answer
	unbounded     bool           // no bound on the size of the answer
	literal       bool           // the path is a link from the partner, not a template
	uncached      bool           // no answer is kept, and none that is kept is used
	once          bool           // the call moves something on, regardless of its method
	err           error
}

type optionsKey struct{}

// CallContext returns a context that carries opts to the calls made with it: raw requests, and the requests of
// another SDK over [Client.Transport]. A typed call applies its own options after them. PathValue and Query
// have no effect on a request that is already made. An IdempotencyKey is sent with every call made with the
// context. A nil ctx means context.Background.
func CallContext(ctx context.Context, opts ...CallOption) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithValue(ctx, optionsKey{}, optionsOf(ctx).with(opts))
}

// DetachedContext returns a context with the values of ctx, but without its deadline, its cancel and its call
// options. It is for work that a call begins and that outlives the call, such as the refresh of a token. A nil
// ctx means context.Background.
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

// with returns a copy of o to which opts have been applied.
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

// PathValue replaces {name} in the path with the escaped value. An empty value, "." and ".." are errors,
// because they would make it another path.
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

// Query adds a query parameter. A second one with the same name is added beside the first.
func Query(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if o.query == nil {
			o.query = make(url.Values)
		}
		o.query.Add(name, value)
	})
}

// Header sets a header of the request, in place of the client's header. An empty value is sent as an empty header. Host
// replaces the URL's host in the request. Content-Length, Transfer-Encoding and Trailer are errors, because net/http
// sends its own; and so is the header of the call's credential, which [Auth] replaces.
func Header(name, value string) CallOption {
	return callOption(func(o *callOptions) {
		if !headers.IsToken(name) || strings.ContainsAny(value, "\r\n\x00") {
			o.fail("Header: %s is not the name of a header, or its value has a line break", shownName(name))
			return
		}
		if unsendable[textproto.CanonicalMIMEHeaderKey(name)] {
			o.fail("Header: %s is not sent; it follows from the body", name)
			return
		}
		if strings.EqualFold(name, "Host") && !isHost(value) {
			o.fail("Header: the value of Host is no host")
			return
		}
		if o.header == nil {
			o.header = make(http.Header)
		}
		o.header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	})
}

// unsendable are the headers that net/http does not send from a request's header.
var unsendable = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Trailer": true}

// Cost sets the number of permits that the call takes of each limit. Zero means the number by [WithCost], or
// else 1; negative is an error.
func Cost(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("Cost: %d must not be negative", n)
		}
		o.cost = n
	})
}

// IdempotencyKey sends key, in the header of [WithIdempotencyKeys] or else in "Idempotency-Key", so that the
// call may be retried. The key has 1 to 255 printable ASCII characters, as Stripe accepts them; any other key
// is an error.
func IdempotencyKey(key string) CallOption {
	return callOption(func(o *callOptions) {
		if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			o.fail("IdempotencyKey: must be 1 to 255 printable characters, has %d", len(key))
		}
		o.key = key
	})
}

// Idempotent says that the call may be run twice, regardless of its method.
func Idempotent() CallOption { return callOption(func(o *callOptions) { o.safe = true }) }

// ReadOnly says that the call only reads, regardless of its method, such as a search by POST. It may be run
// twice, and limits with [Reads] count it.
func ReadOnly() CallOption {
	return callOption(func(o *callOptions) { o.safe, o.readOnly = true, true })
}

// Patience sets the total time that the call may wait for the partner: for an open circuit to close, for a
// pause longer than the retry policy's MaxRetryAfter to end, in backoff, and in the queue, where otherwise
// only the context and [WithMaxWait] bound the wait.
//
// A call with patience that may be sent again survives an outage instead of failing: during the outage, the
// policy's MaxAttempts does not end the call (unless it is 1). A write that may not be sent twice is not
// repeated after a 503 even with patience, but it waits for an open circuit. Zero means no patience; without
// this option the call has that of [PatienceContext] or [WithPatience]. Negative is an error.
func Patience(d time.Duration) CallOption {
	return callOption(func(o *callOptions) {
		if d < 0 {
			o.fail("Patience: %s must not be negative", d)
		}
		o.patience, o.patienceSet = d, true
	})
}

// PatienceContext returns a context whose calls have at least the given [Patience], unless they have one of their
// own: for a piece of work that can wait, such as an import. The longest counts, of the contexts around each other
// and of [WithPatience]. A nil ctx means context.Background; a negative d means 0.
func PatienceContext(ctx context.Context, d time.Duration) context.Context {
	return CallContext(ctx, callOption(func(o *callOptions) { o.patienceLeast = max(d, o.patienceLeast) }))
}

// MaxAttempts replaces the retry policy's MaxAttempts. Patience does not outlast it. Zero means the policy's
// number, 1 means no retries, negative is an error.
func MaxAttempts(n int) CallOption {
	return callOption(func(o *callOptions) {
		if n < 0 {
			o.fail("MaxAttempts: %d must not be negative", n)
		}
		o.maxAttempts = n
	})
}

// Auth uses another credential for the call; nil sends none. It has no effect on a policy that wraps a
// transport by itself, because such a policy does not know the origin that may get the credential.
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

// Info holds details of a call beside its result.
type Info struct {
	// StatusCode and Header are those of the last answer; 0 and nil if there was none. The header is not printed, nor
	// written as JSON.
	StatusCode int
	Header     http.Header `json:"-"`
	// RequestID is the partner's own id of the call.
	RequestID string
	// Location is the URL to which redirects that were followed have led, empty if there were none. It has no
	// query if it is of another origin.
	Location string
	// Attempts is the number of attempts that were sent.
	Attempts int
	// Waited is the time spent in backoff, in the queue and for an open circuit.
	Waited time.Duration
	// Age is how old a kept answer is (WithCache, WithStaleIfError), 0 for one that has just come. Stale says that it is
	// kept, and that the partner could not give a newer one.
	Age   time.Duration
	Stale bool
}

// Format implements fmt.Formatter. It prints no header, because one may set a cookie, and no query.
func (i Info) Format(f fmt.State, _ rune) {
	location, _, _ := strings.Cut(i.Location, "?")
	_, _ = fmt.Fprintf(f, "belay.Info(%d, request %q, location %q, attempts %d, waited %s)",
		i.StatusCode, i.RequestID, location, i.Attempts, i.Waited)
}

// Into fills in info when the call is over, whether or not it succeeded. A nil info is not filled in. Do not
// use one info for concurrent calls.
func Into(info *Info) CallOption { return callOption(func(o *callOptions) { o.into = info }) }

// Reads reports whether a request only reads, for [Limit.When]: GET, HEAD, OPTIONS, and calls with [ReadOnly].
func Reads(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return optionsOf(req.Context()).readOnly
}

// Writes reports the opposite of [Reads], for [Limit.When].
func Writes(req *http.Request) bool { return !Reads(req) }

func (p Priority) applyPage(o *pageOptions) { o.calls = append(o.calls, p) }

func (p Priority) applyCall(o *callOptions) {
	if p < Low || p > High {
		o.fail("Priority: %d is none of Low, Normal and High", int8(p))
	}
	o.priority = p
}

// callBudget is the number of attempts that a piece of work may still send. A nil budget has no bound.
type callBudget struct {
	left  atomic.Int64
	outer *callBudget
}

// BudgetContext returns a context whose calls together may send n attempts, retries included. It bounds the
// part of a quota that a piece of work spends. An attempt beyond the budget is not sent; its call fails with
// ErrCallBudget, as Refused. An attempt that certainly did not reach the partner does not count. If n is below
// 1, nothing is sent. A budget inside another spends from both. A nil ctx means context.Background.
func BudgetContext(ctx context.Context, n int) context.Context {
	return CallContext(ctx, callOption(func(o *callOptions) {
		o.budget = &callBudget{outer: o.budget}
		o.budget.left.Store(int64(n))
	}))
}

// spend takes one attempt from b and from all budgets around it, or returns false and takes none.
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

// giveBack undoes one spend.
func (b *callBudget) giveBack() {
	for at := b; at != nil; at = at.outer {
		at.left.Add(1)
	}
}
