package belay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// Rotating is an [Authenticator] whose credential can be exchanged for another while calls go on. Each call
// uses the old or the new credential, never none. Make it with [NewRotating]. It is safe for concurrent use.
type Rotating struct {
	integration string
	overlap     time.Duration
	observer    Observer

	turn chan struct{} // holds one element during a rotation, so that rotations run one at a time

	mu    sync.Mutex
	now   *inUse
	old   *inUse // the one before, which may be taken back before until; nil for none
	until time.Time
}

// inUse is an authenticator with the time since when it is in use. It is compared by address, because
// authenticators need not be comparable.
type inUse struct {
	Authenticator
	since time.Time
}

// RotatingOption configures [NewRotating].
type RotatingOption func(*Rotating) error

// RotationOverlap says that the old credential stays valid for d after a rotation. If the partner answers the
// new one with a 401 in that time, the old one is taken back, and the call is sent once more with it. If the
// new authenticator is a [Refresher], its Reject decides instead. Zero, the default, means no overlap;
// negative is an error.
func RotationOverlap(d time.Duration) RotatingOption {
	return func(r *Rotating) error {
		if d < 0 {
			return fmt.Errorf("RotationOverlap: %s must not be negative", d)
		}
		r.overlap = d
		return nil
	}
}

// RotationObserver sends the events of rotations to o, under the name of the integration. A nil o receives
// none.
func RotationObserver(o Observer, integration string) RotatingOption {
	return func(r *Rotating) error {
		r.observer, r.integration = o, integration
		return nil
	}
}

// NewRotating returns a Rotating that uses current until it is rotated. A nil current is an error, and so is
// one that is not valid by its Check method.
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

// rotated is a credential with the authenticator that it came from.
type rotated struct {
	Credential
	of *inUse
}

// Credential implements [Authenticator].
func (r *Rotating) Credential(ctx context.Context) (Credential, error) {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	c, err := now.Credential(ctx)
	if err != nil || c == nil {
		return nil, err
	}
	return rotated{c, now}, nil
}

// CredentialID implements [Identified]: it is that of the credential in use.
func (r *Rotating) CredentialID() string {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	if i, ok := now.Authenticator.(Identified); ok {
		return i.CredentialID()
	}
	return ""
}

func (r *Rotating) usesHeader() string {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	return headerOf(now.Authenticator)
}

// Reject implements [Refresher]. Within the overlap it takes the old credential back.
func (r *Rotating) Reject(ctx context.Context, c Credential) (retry bool) {
	was, ok := c.(rotated)
	if !ok {
		return false
	}
	inner, refreshes := was.of.Authenticator.(Refresher)
	if refreshes {
		retry = inner.Reject(ctx, was.Credential)
	} else {
		r.Rejected(c)
	}
	r.mu.Lock()
	switch {
	case was.of != r.now:
		r.mu.Unlock()
		return true // another credential is in use by now
	case !refreshes && r.old != nil && time.Now().Before(r.until):
		r.now, r.old = r.old, nil
		r.mu.Unlock()
		tell(ctx, r.observer, RotationRolledBack{
			Integration: r.integration,
			Action:      "check the new credential with the partner, and rotate again",
			Err:         ErrAuth,
		})
		return true
	}
	r.mu.Unlock()
	return retry
}

// Accepted implements [CredentialObserver]. It passes c on to the authenticator that c came from.
func (r *Rotating) Accepted(c Credential) {
	if was, ok := c.(rotated); ok {
		if o, ok := was.of.Authenticator.(CredentialObserver); ok {
			o.Accepted(was.Credential)
		}
	}
}

// Rejected implements [CredentialObserver]. It passes c on to the authenticator that c came from.
func (r *Rotating) Rejected(c Credential) {
	if was, ok := c.(rotated); ok {
		if o, ok := was.of.Authenticator.(CredentialObserver); ok {
			o.Rejected(was.Credential)
		}
	}
}

// Expired implements [Expirer].
func (r rotated) Expired() bool {
	e, ok := r.Credential.(Expirer)
	return ok && e.Expired()
}

// Check returns an error if r was not made by NewRotating.
func (r *Rotating) Check() error {
	if r == nil || r.turn == nil {
		return errors.New("the Rotating was not made by NewRotating")
	}
	return nil
}

// Rotate exchanges the credential for next. It calls check with next, takes next for all new calls, and calls
// check again, with r. If that fails, the old credential is taken back. The function check makes a call with
// the authenticator that it gets, by [Auth], and returns the error of the call; a nil check checks nothing.
// Rotations run one at a time. The error says which step failed, and wraps the error of check.
func (r *Rotating) Rotate(
	ctx context.Context, next Authenticator, check func(context.Context, Authenticator) error,
) error {
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
		return fmt.Errorf("belay: not rotated: %w", errkit.Context(ctx))
	}
	if check == nil {
		check = func(context.Context, Authenticator) error { return nil }
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fmt.Errorf("belay: waiting for another rotation: %w", errkit.Context(ctx))
	}
	if err := check(ctx, next); err != nil {
		tell(ctx, r.observer, RotationRolledBack{
			Integration: r.integration,
			Action:      "the new credential does not work: check it with the partner; the old one stays",
			Err:         err,
		})
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
	end := func() { // also runs if check panics
		r.mu.Lock()
		defer r.mu.Unlock()
		refused = r.now != taken // a call got a 401 meanwhile, and Reject took the old credential back
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
		tell(ctx, r.observer, RotationRolledBack{
			Integration: r.integration,
			Action:      "the new credential failed after it was taken: check it with the partner; the old one is in use again",
			Err:         err,
		})
		return fmt.Errorf("belay: the old credential was taken back: %w", err)
	}
	tell(ctx, r.observer, CredentialRotated{Integration: r.integration, Was: old.since})
	return nil
}
