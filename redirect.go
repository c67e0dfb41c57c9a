package belay

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/belay-go/belay/internal/origin"
	"github.com/belay-go/belay/internal/redact"
)

// RedirectPolicy says which redirects are followed. None of them ever takes a credential to another origin.
type RedirectPolicy uint8

const (
	// RedirectSameOrigin, the default, follows redirects within scheme, host and port (and to trusted
	// origins). Do refuses others with an error.
	RedirectSameOrigin RedirectPolicy = iota
	// RedirectNone follows none: the redirect is the response.
	RedirectNone
	// RedirectAny follows redirects elsewhere too, without credential, cookies and unknown headers, and
	// never with a body.
	RedirectAny
)

const maxRedirects = 10

// carried are the headers that may go with a redirect to another origin.
var carried = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "User-Agent": true, "Range": true, "If-Range": true,
}

// checkRedirect is the http.Client's CheckRedirect.
func (s *stack) checkRedirect(req *http.Request, via []*http.Request) error {
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
	return nil
}

// redirected reports whether resp asks to go elsewhere.
func redirected(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// hops lets an http.Client follow the redirects of a response that is there already. Each further hop is
// a call of its own through the layers, or goes straight to another origin.
type hops struct {
	*stack
	first *http.Response
	last  *call // of the response that came out last; nil when it came from another origin
}

func (h *hops) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := h.first; resp != nil {
		h.first = nil
		return resp, nil
	}
	opts, whole := h.last.opts, h.last.whole
	if h.foreign(req) {
		resp, err := h.set.base.RoundTrip(req)
		if err == nil {
			c := &call{stack: h.stack, ctx: req.Context(), req: req, opts: opts}
			c.att = Attempt{Request: req, Response: resp, Number: 1}
			c.verdict = Classify(&c.att)
			h.last = c
		}
		return resp, err
	}
	c, err := h.begin(req, opts)
	if err != nil {
		return nil, err
	}
	c.whole = whole
	h.last = c
	return c.run()
}

// follow follows the redirect of c's response and returns the call that the last response belongs to.
func (c *call) follow(resp *http.Response) (*call, *http.Response, error) {
	h := &hops{stack: c.stack, first: resp, last: c}
	client := http.Client{Transport: h, CheckRedirect: c.checkRedirect}
	resp, err := client.Do(c.req)
	if h.last != c {
		h.last.sends += c.sends
		h.last.waits.add(c.waits)
	}
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if h.last == c { // CheckRedirect refused
			err = c.stop(&Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall}, Err: err})
		}
		return h.last, nil, err
	}
	if redirected(resp) && c.set.redirects == RedirectSameOrigin {
		to, _ := resp.Location()
		_ = resp.Body.Close()
		if to != nil && !c.foreign(&http.Request{URL: to}) {
			err = fmt.Errorf("redirect to %s: %w", redact.URL(to), ErrNotReplayable)
		} else {
			err = fmt.Errorf("redirect to another origin, %s, is not followed (WithRedirects)", origin.Of(to))
		}
		return h.last, nil, h.last.stop(&Error{Verdict: Verdict{Class: ClassClient, Scope: ScopeCall}, Err: err})
	}
	return h.last, resp, nil
}
