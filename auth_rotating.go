package belay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/fault"
)

// Rotating is a credential that can be exchanged for another while calls go on: each of them uses the old or the new one,
// never neither. Make it with [NewRotating]. It is safe for concurrent use.
type Rotating struct {
	integration string
	overlap     time.Duration
	observer    Observer

	turn chan struct{} // has room while nobody rotates

	mu    sync.Mutex
	now   *inUse
	old   *inUse // good too until then
	until time.Time
}

// inUse is a credential from when it was taken. It is compared by its address, as authenticators need not be comparable.
type inUse struct {
	Authenticator
	since time.Time
}

// RotatingOption configures a [Rotating].
type RotatingOption func(*Rotating) error

// RotationOverlap says that for d after a rotation the old credential is good too: a call whose new one is answered with a
// 401 is sent once more with the old one, unless the new one is a [Refresher], which is asked first. Zero, the default, is no overlap; negative is an error.
func RotationOverlap(d time.Duration) RotatingOption {
	return func(r *Rotating) error {
		if d < 0 {
			return fmt.Errorf("RotationOverlap: %s must not be negative", d)
		}
		r.overlap = d
		return nil
	}
}

// RotationObserver tells o of rotations, of the integration with that name. A nil o tells nobody.
func RotationObserver(o Observer, integration string) RotatingOption {
	return func(r *Rotating) error {
		r.observer, r.integration = o, integration
		return nil
	}
}

// NewRotating returns a credential that is current until it is rotated. Nil is an error, and so is one that is not valid.
func NewRotating(current Authenticator, opts ...RotatingOption) (*Rotating, error) {
	r := &Rotating{now: &inUse{current, time.Now()}, turn: make(chan struct{}, 1)}
	errs := []error{checkAuth(current)}
	for _, o := range opts {
		if o != nil {
			errs = append(errs, o(r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, invalid("NewRotating: %w", err)
	}
	return r, nil
}

// rotated is a credential and whose it is.
type rotated struct {
	Credential
	of *inUse
}

// Credential implements Authenticator.
func (r *Rotating) Credential(ctx context.Context) (Credential, error) {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	c, err := now.Credential(ctx)
	if err != nil {
		return nil, err
	}
	return rotated{c, now}, nil
}

// Reject implements Refresher: within the overlap the old credential is taken back.
func (r *Rotating) Reject(ctx context.Context, c Credential) bool {
	was, ok := c.(rotated)
	if !ok {
		return false
	}
	r.mu.Lock()
	if was.of != r.now {
		r.mu.Unlock()
		return true // it has been rotated since
	}
	if inner, ok := was.of.Authenticator.(Refresher); ok {
		r.mu.Unlock()
		return inner.Reject(ctx, was.Credential)
	}
	if r.old != nil && time.Now().Before(r.until) {
		r.now, r.old = r.old, nil
		r.mu.Unlock()
		tell(ctx, r.observer, RotationRolledBack{Integration: r.integration, Action: "check the new credential with the partner, and rotate again", Err: ErrAuth})
		return true
	}
	r.mu.Unlock()
	return false
}

// Accepted implements CredentialObserver, for the authenticator that c is of.
func (r *Rotating) Accepted(c Credential) {
	if was, ok := c.(rotated); ok {
		if o, ok := was.of.Authenticator.(CredentialObserver); ok {
			o.Accepted(was.Credential)
		}
	}
}

// Rejected implements CredentialObserver, for the authenticator that c is of.
func (r *Rotating) Rejected(c Credential) {
	if was, ok := c.(rotated); ok {
		if o, ok := was.of.Authenticator.(CredentialObserver); ok {
			o.Rejected(was.Credential)
		}
	}
}

// Expired implements Expirer.
func (r rotated) Expired() bool {
	e, ok := r.Credential.(Expirer)
	return ok && e.Expired()
}

// Check returns why r cannot be used: it was not made by NewRotating.
func (r *Rotating) Check() error {
	if r == nil || r.turn == nil {
		return errors.New("the Rotating was not made by NewRotating")
	}
	return nil
}

// Rotate exchanges the credential for next. It calls check with next first, then takes next for all new
// calls, then calls check again; where that fails, the old one is taken back. Check makes a call with the
// credential that it is given, by [Auth], and returns what became of it; nil checks nothing. Rotations go one at a
// time. The error says which step failed, and wraps check's.
func (r *Rotating) Rotate(ctx context.Context, next Authenticator, check func(context.Context, Authenticator) error) error {
	if err := errors.Join(r.Check(), checkAuth(next)); err != nil {
		return invalid("Rotate: %w", err)
	}
	if n, ok := next.(*Rotating); ok && n == r {
		return invalid("Rotate: the next credential is the Rotating itself")
	}
	if ctx == nil {
		return invalid("Rotate: the context is nil")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("belay: not rotated: %w", fault.Context(ctx))
	}
	if check == nil {
		check = func(context.Context, Authenticator) error { return nil }
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fmt.Errorf("belay: waiting for another rotation: %w", fault.Context(ctx))
	}
	if err := check(ctx, next); err != nil {
		tell(ctx, r.observer, RotationRolledBack{Integration: r.integration, Action: "the new credential does not work: check it with the partner; the old one stays", Err: err})
		return fmt.Errorf("belay: the new credential was not taken, as it does not work: %w", err)
	}
	r.mu.Lock()
	old, taken := r.now, &inUse{next, time.Now()}
	r.now = taken
	if r.old = nil; r.overlap > 0 {
		r.old, r.until = old, time.Now().Add(r.overlap)
	}
	r.mu.Unlock()
	works, refused := false, false
	end := func() { // after a panic of check too
		r.mu.Lock()
		defer r.mu.Unlock()
		refused = r.now != taken // a call was answered with a 401 meanwhile, and went back to the old one
		if !works && !refused {
			r.now, r.old = old, nil
		}
	}
	err := func() error {
		defer end()
		err := check(ctx, r)
		works = err == nil
		return err
	}()
	if refused {
		return fmt.Errorf("belay: the old credential was taken back: the new one was answered with a 401: %w", ErrAuth)
	}
	if err != nil {
		tell(ctx, r.observer, RotationRolledBack{Integration: r.integration, Action: "the new credential failed after it was taken: check it with the partner; the old one is in use again", Err: err})
		return fmt.Errorf("belay: the old credential was taken back: %w", err)
	}
	tell(ctx, r.observer, CredentialRotated{Integration: r.integration, Was: old.since})
	return nil
}
