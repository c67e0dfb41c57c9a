package belay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/limiter"
	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// RedirectPolicy says which redirects are followed. None of them takes a credential to an origin other than
// the partner's and those of [WithTrustedOrigins].
type RedirectPolicy uint8

const (
	// RedirectSameOrigin, the default, follows redirects to the same scheme, host and port, and to trusted
	// origins. For any other redirect, Do and typed calls return an error. So they do for a 301 or 302 of a
	// request other than GET and HEAD, which clients repeat as a GET: nothing would be written. Under
	// [Client.HTTPClient] such a redirect is followed as net/http does.
	RedirectSameOrigin RedirectPolicy = iota
	// RedirectNone follows no redirect: the redirect is the response. A typed call that is a write returns an
	// error for it, unless it is a 303.
	RedirectNone
	// RedirectAny also follows redirects to other origins, without credential, cookies and unknown headers,
	// and never with a body.
	RedirectAny
)

const maxRedirects = 10

// carried holds the names of the headers that may go with a redirect to another origin.
var carried = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true,
	"User-Agent": true, "Range": true, "If-Range": true,
}

// checkRedirect is the CheckRedirect of the http.Client. It gives a write that is redirected the idempotency
// key of the request before it.
func (s *stack) checkRedirect(req *http.Request, via []*http.Request) error {
	if err := s.mayRedirect(req, via); err != nil {
		closeBody(req) // net/http has opened the body, and would leave it open
		return err
	}
	// A write that keeps its method is the same write, so it keeps its key.
	if before := req.Response; before != nil && before.Request != nil &&
		before.Request.Method == req.Method && !s.foreign(req) {
		for _, name := range [...]string{"Idempotency-Key", s.set.keyHeader} {
			if key := before.Request.Header[name]; len(key) > 0 && req.Header[name] == nil {
				req.Header[name] = key
			}
		}
	}
	return nil
}

// mayRedirect returns nil if req may follow the redirect, http.ErrUseLastResponse if the redirect is the
// result, or an error. For another origin it removes headers from req.
func (s *stack) mayRedirect(req *http.Request, via []*http.Request) error {
	if s.set.redirects == RedirectNone {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	if !s.foreign(req) && (s.base != nil || origin.Same(req.URL, via[0].URL)) {
		return nil
	}
	if s.set.redirects != RedirectAny {
		return http.ErrUseLastResponse
	}
	if req.Body != nil && req.Body != http.NoBody {
		return fmt.Errorf("redirect to %s would take the request's body to another origin", origin.Of(req.URL))
	}
	for name := range req.Header {
		if !carried[name] {
			delete(req.Header, name)
		}
	}
	req.URL.User = nil // net/http would make an Authorization of it
	return nil
}

// redirected reports whether resp is a redirect with a Location.
func redirected(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// movedWrite reports whether resp redirects a write in a way in which clients repeat it as a GET (301 and 302, RFC 9110
// section 15.4): nothing would be written then.
func movedWrite(resp *http.Response) bool {
	if resp.StatusCode != http.StatusMovedPermanently && resp.StatusCode != http.StatusFound {
		return false
	}
	m := resp.Request.Method
	return m != "" && m != http.MethodGet && m != http.MethodHead
}

// notFollowed returns the error of a typed call for a redirect that is its answer; nil if it may be one.
func (x *exchange) notFollowed(resp *http.Response) error {
	fail := func(c Class, err error) error {
		_ = resp.Body.Close()
		x.freeBuffer()
		return x.stop(&Error{Verdict: Verdict{Class: c, Scope: ScopeCall}, StatusCode: resp.StatusCode, Err: err})
	}
	switch m := x.method(); {
	case resp.StatusCode == http.StatusNotModified:
	case !redirected(resp):
		return fail(ClassData, errors.New("a redirect without a Location"))
	case m != http.MethodGet && m != http.MethodHead && resp.StatusCode != http.StatusSeeOther:
		to, _ := resp.Location()
		return fail(ClassClient, fmt.Errorf("the partner redirects the %s to %s, which WithRedirects does not allow",
			m, x.shownTarget(to)))
	}
	return nil
}

// hops is a transport with which an http.Client follows the redirects of a response that is there already.
// A hop within the origin goes through the layers as a call of its own; a hop to another origin goes through
// the last layer only.
type hops struct {
	*stack
	first *http.Response // handed out for the first request, then nil
	last  *exchange      // the call of the latest response
	err   error          // of the hop that failed
}

func (h *hops) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := h.first; resp != nil {
		h.first = nil
		return resp, nil
	}
	before := h.last
	secrets := before.secrets()
	var resp *http.Response
	if h.foreign(req) && redact.Holds(req.URL.Host+req.URL.EscapedPath(), before.carriedOver()) {
		return nil, fmt.Errorf("redirect to %s would take a credential in its path to another origin", origin.Of(req.URL))
	}
	if h.foreign(req) {
		resp, h.err = h.elsewhere(req)
	} else {
		x, err := h.begin(req, before.opts)
		if err != nil {
			return nil, err
		}
		x.whole, x.decode, h.last = before.whole, before.decode, x
		if len(secrets) > 0 { // the answer of this hop may repeat what was sent to the one before
			x.record().secrets = secrets
		}
		if waited := before.past().waits.forPartner(); waited > 0 { // the waits of all hops before it, for the patience
			x.record().waited = waited
		}
		resp, h.err = x.run()
	}
	h.last.sends += before.sends
	if before.history != nil {
		h.last.record().waits.add(before.history.waits)
	}
	return resp, h.err
}

// elsewhere sends req to another origin without any layer but the last. The attempt's timeout and the bound
// on the body still apply.
func (h *hops) elsewhere(req *http.Request) (*http.Response, error) {
	x := &exchange{
		hot:   hot{stack: h.stack, ctx: req.Context(), req: req, opts: h.last.opts, max: h.last.max},
		place: limiter.Reservation{Report: limiter.Report{Left: -1}},
	}
	x.newBody()
	x.record().secrets = h.last.secrets()
	x.whole, x.decode, h.last = h.last.whole, h.last.decode, x
	resp, err := x.send(nil)
	if resp == nil {
		x.body.finish()
	}
	if x.decode != nil {
		x.decoded(resp)
	}
	return resp, err
}

// follow follows the redirect in resp. It returns the last response and the call that it belongs to.
func (x *exchange) follow(resp *http.Response) (*exchange, *http.Response, error) {
	h := &hops{stack: x.stack, first: resp, last: x}
	client := http.Client{Transport: h, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if movedWrite(req.Response) {
			closeBody(req)
			return http.ErrUseLastResponse
		}
		return x.checkRedirect(req, via)
	}}
	req, cancel := x.req, context.CancelFunc(nil)
	if x.spanCtx != nil {
		req = req.WithContext(x.spanCtx)
	}
	if deadline, ok := x.ctx.Deadline(); ok && x.cancel != nil { // of the total timeout, which all hops share
		var ctx context.Context
		ctx, cancel = context.WithDeadlineCause(req.Context(), deadline, errkit.CallTimeout(x.set.timeout))
		req = req.WithContext(ctx)
	}
	panicked := true
	defer func() {
		if panicked {
			h.last.abort()
		}
	}()
	resp, err := client.Do(req)
	panicked = false
	last := h.last
	if cancel != nil {
		if err != nil || last.body == nil || last.body.over() {
			cancel()
		} else {
			last.body.total = cancel
		}
	}
	switch {
	case h.err != nil: // keep the hop's own verdict
		err = h.err
	case err != nil:
		if err = redact.WithoutURL(err); strings.Contains(err.Error(), "Location header") { // net/http shows it whole
			err = errors.New("the Location of a redirect is malformed")
		}
		err = last.stop(&Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall}, Err: err})
	case movedWrite(resp), redirected(resp) && x.set.redirects == RedirectSameOrigin:
		to, _ := resp.Location()
		_ = resp.Body.Close()
		switch {
		case movedWrite(resp):
			err = fmt.Errorf("the partner redirects the %s to %s; a client would repeat it there as a GET, so it was not done",
				resp.Request.Method, last.shownTarget(to))
		case to != nil && !x.foreign(&http.Request{URL: to}):
			err = fmt.Errorf("redirect to %s: %w", last.shownTarget(to), ErrNotReplayable)
		default:
			err = fmt.Errorf("redirect to another origin, %s, is not followed (WithRedirects)", origin.Of(to))
		}
		verdict := Verdict{Class: ClassClient, Scope: ScopeCall}
		err = last.stop(&Error{Verdict: verdict, StatusCode: resp.StatusCode, Err: err})
	}
	if err != nil {
		resp = nil
	}
	if x.opts.into != nil {
		x.opts.into.fill(last, resp)
		x.opts.into.led(x.stack, resp)
	}
	return last, resp, err
}
