package belay

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/belay-go/belay/internal/origin"
)

// token is the layer that gets a credential. It may block, so it comes before the layers that hold something.
// After the attempt it tells the authenticator whether the partner accepted the credential.
func (x *exchange) token(next *next) (*http.Response, error) {
	if err := x.confidential(); err != nil {
		return nil, x.stop(err)
	}
	auth := x.authenticator()
	if err := x.credential(auth); err != nil {
		return nil, err
	}
	x.askedAfter = x.waitedOutside()
	resp, err := next.send(x)
	refused := resp != nil && x.verdict.Class == ClassAuth && (resp.StatusCode == http.StatusUnauthorized || x.verdict.Renew)
	if refused && !x.renewed {
		if r, ok := auth.(Refresher); ok {
			x.renewed = true
			x.renew = r.Reject(x.ctx, x.cred)
			return resp, err
		}
	}
	if o, ok := auth.(CredentialObserver); ok {
		switch {
		case refused:
			o.Rejected(x.cred)
		case err == nil && x.verdict.Class == ClassOK:
			o.Accepted(x.cred)
		}
	}
	return resp, err
}

// waitedOutside returns how long the call has waited for permits and for circuits.
func (x *exchange) waitedOutside() time.Duration {
	return x.past().waits.Queue + x.past().waits.Circuit
}

// lastLookTime bounds the time for which an attempt keeps its permits while it asks for another credential.
const lastLookTime = 2 * time.Second

// lastLook replaces a credential that has expired while the attempt waited for the circuit or in the queue, or that may
// have: one that does not say so is asked for again after any wait. The attempt keeps its permits meanwhile, but not
// for long, and it holds no probe. If it takes longer, again is true: the attempt has given its permits back. An error
// becomes the verdict; the attempt has given its permits back then too.
func (x *exchange) lastLook() (again bool, err error) {
	if x.cred == nil {
		return false, nil
	}
	if e, ok := x.cred.(Expirer); ok && !e.Expired() || !ok && x.waitedOutside() <= x.askedAfter {
		return false, nil
	}
	x.queued()
	auth := x.authenticator()
	ctx, cancel := context.WithTimeout(x.ctx, lastLookTime)
	err = x.ask(ctx, auth)
	slow := ctx.Err() != nil && x.ctx.Err() == nil
	cancel()
	switch {
	case err == nil:
		if x.limiter != nil {
			x.limiter.engine.Restart(&x.place)
		}
	case slow:
		x.giveBack()
		if err = x.credential(auth); err == nil {
			again, x.place.Returning = true, true
		}
	default:
		x.giveBack()
		x.noteOutcome(nil)
	}
	x.askedAfter = x.waitedOutside()
	return again, err
}

// triedAgain reports whether err is of an authenticator that has asked for a credential more than once by itself. The
// call does not multiply that.
func triedAgain(err error) bool {
	var by interface{ TriedAgain() bool }
	return errors.As(err, &by) && by.TriedAgain()
}

// authenticator returns the authenticator of the call, or that of the client, or nil if there is none. A
// policy that wraps a transport by itself sends no credential, because it knows no origin to send one to.
func (x *exchange) authenticator() Authenticator {
	switch {
	case x.base == nil || x.opts.noAuth:
		return nil
	case x.opts.auth != nil:
		return x.opts.auth
	}
	return x.auth
}

// credential gets a credential from auth for the next attempt. An error becomes the verdict, with ClassAuth
// in place of ClassClient.
func (x *exchange) credential(auth Authenticator) error {
	err := x.ask(x.ctx, auth)
	if err != nil {
		x.noteOutcome(nil)
	}
	return err
}

// ask is credential within ctx, without a note for the client's health.
func (x *exchange) ask(ctx context.Context, auth Authenticator) error {
	began := x.clock()
	cred, err := auth.Credential(ctx)
	if waited := x.clock() - began; waited >= time.Millisecond {
		x.record().waits.Credential += waited
	}
	if err == nil && cred == nil {
		err = errors.New("the authenticator returned no credential")
	}
	if err != nil {
		x.stop(err)
		if x.verdict.Class == ClassClient {
			x.verdict.Class = ClassAuth
		}
		x.verdict.unsent, x.noRetry = true, triedAgain(err)
		return err
	}
	x.cred, x.noRetry = cred, false
	return nil
}

// reauthenticate reports whether to send the call again with another credential after a refusal. It reports true
// at most once for a call.
func (x *exchange) reauthenticate() bool {
	again := x.renew
	x.renew = false
	return again && x.replayable() == nil
}

// confidential returns an error if others could read the credential on its way: without https, to a host
// other than loopback, unless WithInsecureCredentials allows it.
func (x *exchange) confidential() error {
	u := x.req.URL
	if u.Scheme == "https" || x.set.insecure || origin.Loopback(u) {
		return nil
	}
	return invalid("refusing to send a credential to %s: not https, and not loopback (WithInsecureCredentials)",
		origin.Of(u))
}

// sign is the layer that puts the credential onto a clone of the request. It runs after all waiting, so that
// a signature's timestamp is fresh.
func (x *exchange) sign(next *next) (*http.Response, error) {
	if x.signed != nil { // an earlier attempt was signed: its secrets must stay hidden too
		x.record().secrets = x.credentials()
	}
	ctx, _ := x.attemptContext()
	clone := &struct {
		req http.Request
		url url.URL
	}{*x.req.WithContext(ctx), *x.req.URL}
	out := &clone.req
	out.URL = &clone.url
	if out.Header = x.req.Header.Clone(); out.Header == nil {
		out.Header = make(http.Header)
	}
	if err := x.cred.Apply(out); err != nil {
		return nil, x.stop(err)
	}
	x.out, x.signed = out, out
	return next.send(x)
}
