package belay

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/belay-go/belay/internal/origin"
)

// token is the layer that gets a fresh credential. It may block, so it comes before anything is held.
func (c *call) token(in *within) (*http.Response, error) {
	if err := c.confidential(); err != nil {
		return nil, c.stop(err)
	}
	auth := c.authenticator()
	if err := c.credential(auth); err != nil {
		return nil, err
	}
	resp, err := in.send(c)
	observer, observed := auth.(CredentialObserver)
	switch refused := resp != nil && resp.StatusCode == http.StatusUnauthorized && c.verdict.Class == ClassAuth; {
	case refused && !c.renewed:
		if r, ok := auth.(Refresher); ok {
			c.renewed = true
			c.renew = r.Reject(c.ctx, c.cred)
		}
	case !observed:
	case refused:
		observer.Rejected(c.cred)
	case err == nil && c.verdict.Class == ClassOK:
		observer.Accepted(c.cred)
	}
	return resp, err
}

// authenticator returns the call's own, or the client's, or nil.
//
// A policy that wraps a transport by itself knows no origin to send a credential to, so it sends none.
func (c *call) authenticator() Authenticator {
	switch {
	case c.base == nil || c.opts.noAuth:
		return nil
	case c.opts.auth != nil:
		return c.opts.auth
	}
	return c.auth
}

// credential asks auth for one.
func (c *call) credential(auth Authenticator) error {
	cred, err := auth.Credential(c.ctx)
	if err == nil && cred == nil {
		err = errors.New("the authenticator returned no credential")
	}
	if err != nil {
		c.stop(err)
		if c.verdict.Class == ClassClient {
			c.verdict.Class = ClassAuth
		}
		c.verdict.unsent = true
		c.noteOutcome(nil)
		return err
	}
	c.cred = cred
	return nil
}

// reauthenticate reports whether the call is to be sent again with another credential, after a 401.
func (c *call) reauthenticate() bool {
	again := c.renew
	c.renew = false
	return again && c.replayable() == nil
}

// confidential refuses to send a credential where others can read it.
func (c *call) confidential() error {
	u := c.req.URL
	if u.Scheme == "https" || c.set.insecure || origin.Loopback(u) {
		return nil
	}
	return invalid("refusing to send a credential to %s: not https, and not loopback (WithInsecureCredentials)", origin.Of(u))
}

// sign is the layer that puts the credential onto a clone, when all waiting is over.
func (c *call) sign(in *within) (*http.Response, error) {
	if e, ok := c.cred.(Expirer); ok && e.Expired() {
		// The token expired in the queue. Fetch another one without giving up the reserved permits.
		if err := c.credential(c.authenticator()); err != nil {
			return nil, err
		}
		if c.limiter != nil {
			c.limiter.engine.Restart(&c.place)
		}
	}
	if c.signed != nil { // the attempt before
		c.past = c.secrets()
	}
	ctx, _ := c.attemptContext()
	clone := &struct {
		req http.Request
		url url.URL
	}{*c.req.WithContext(ctx), *c.req.URL}
	out := &clone.req
	out.URL = &clone.url
	if out.Header = c.req.Header.Clone(); out.Header == nil {
		out.Header = make(http.Header)
	}
	if err := c.cred.Apply(out); err != nil {
		return nil, c.stop(err)
	}
	c.out, c.signed = out, out
	return in.send(c)
}
