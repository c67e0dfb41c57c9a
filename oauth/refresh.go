package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// refresh is one refresh in progress. It gets a token from the store or from the partner.
type refresh struct {
	done   chan struct{} // closed when the refresh ends
	before uint64        // the version of the current token when it began
	cred   belay.Credential
	err    error
}

// renewal is a new token and the old token that was exchanged for it.
type renewal struct{ spent, got Token }

// run runs one refresh, detached from the context of the call that began it. It always ends the refresh: it
// recovers a panic of the store or the transport, and bounds their time by the context.
func (s *source) run(ctx context.Context, r *refresh) {
	ctx = belay.DetachedContext(ctx) // observers may use its values
	bounded, cancel := context.WithTimeoutCause(ctx, refreshTimeouts*s.app.cfg.Timeout, errkit.ErrAttemptTimeout)
	res := result{err: s.app.storeError(s.key, errors.New("the token store or the transport panicked"))}
	defer func() {
		cancel()
		_ = recover()
		s.finish(ctx, r, res)
	}()
	res = s.obtain(bounded)
}

// result is the outcome of a refresh.
type result struct {
	token   Token
	version uint64 // of token, 0 if the store was not reached
	spent   Token  // the token that was exchanged, or that could not be
	asked   bool   // the partner was asked, now or for a token that could not be stored
	err     *belay.Error
}

// obtain gets a token from the store, or from the partner if the store has none that is good.
func (s *source) obtain(ctx context.Context) (res result) {
	t, err := s.app.cfg.Store.Update(ctx, s.key, func(_ context.Context, have Token) (Token, error) {
		res = result{version: s.app.order.Add(1)}
		d := s.decide(have)
		switch {
		case d.err != nil:
			res.spent, res.err = have, d.err
			return have, d.err
		case d.use:
			res.asked = d.renewed
			return d.token, nil
		}
		res.asked, res.spent = true, have
		var next Token
		if next, res.err = s.exchange(ctx, have); res.err != nil {
			if kept, ok := have.keeping(next); ok {
				return kept, nil
			}
			return have, res.err
		}
		s.mu.Lock()
		s.unsaved = &renewal{have, next}
		s.mu.Unlock()
		return next, nil
	})
	switch {
	case res.err != nil:
	case err != nil:
		if context.Cause(ctx) == errkit.ErrAttemptTimeout {
			err = fmt.Errorf("it was locked for too long: %w", errkit.ErrAttemptTimeout)
		}
		s.mu.Lock()
		tokens := []Token{res.spent, s.current.token}
		if s.unsaved != nil {
			tokens = append(tokens, s.unsaved.got, s.unsaved.spent)
		}
		s.mu.Unlock()
		res.err = s.app.storeError(s.key, err, tokens...)
	default:
		if err := t.check(); err != nil {
			res.err = s.app.storeError(s.key, err)
		}
		res.token = t
	}
	return res
}

// decision is the next step of a refresh: it uses token, fails with err, or exchanges the store's token.
type decision struct {
	use     bool
	token   Token // the token to use
	renewed bool  // the partner issued token before, and the store could not keep it
	err     *belay.Error
}

// decide returns the next step for have, the token of the store.
func (s *source) decide(have Token) decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved != nil && !s.unsaved.spent.sameGrant(have) {
		s.unsaved = nil
	}
	if s.revoked.err != nil && (!s.revoked.token.sameGrant(have) || s.own && time.Since(s.revoked.at) > retryOwn) {
		s.revoked.err = nil // another token or another attempt may succeed
	}
	access, alone := have.Access.Reveal(), !s.own && have.Refresh.Reveal() == ""
	rejected := s.rejection.access.Reveal()
	if alone && rejected != "" && access == rejected && time.Since(s.rejection.at) >= recheckStore {
		// There is no other token, and the partner may have been wrong.
		rejected = ""
		s.rejection.access, s.rejection.restored, s.revoked.err = belay.Secret{}, time.Now(), nil
	}
	use, fresh := have.lasts(time.Now())
	switch {
	case s.unsaved != nil:
		return decision{use: true, token: s.unsaved.got, renewed: true}
	case s.revoked.err != nil:
		return decision{err: s.revoked.err}
	case access != "" && access != rejected && use > 0 && (fresh > 0 || alone || !have.same(s.current.token)):
		return decision{use: true, token: have} // if it is not the current token, another process has renewed it
	case alone && access == "":
		return decision{err: s.app.fail(s.key, noToken, "there is no token in the store: connect the integration", nil)}
	case alone:
		return decision{err: s.app.fail(s.key, noRefreshToken,
			"the token is no longer good and cannot be refreshed: ask the customer to connect again", nil)}
	}
	return decision{}
}

// exchange asks the partner for the next token. It leaves time to store the answer, because a refresh token
// may be valid only once.
func (s *source) exchange(ctx context.Context, have Token) (Token, *belay.Error) {
	if end, ok := ctx.Deadline(); ok {
		if time.Until(end) < 2*s.app.cfg.Timeout {
			return Token{}, s.app.storeError(s.key, errors.New("it was locked for too long"))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, end.Add(-s.app.cfg.Timeout), errkit.ErrAttemptTimeout)
		defer cancel()
	}
	next, err := s.app.refresh(ctx, s.key, have, s.own)
	if err == nil && next.Refresh.Reveal() == "" {
		next.Refresh = have.Refresh // the old one stays valid if the answer has none
	}
	if len(have.Extra) > 0 { // a refresh may tell less than the first answer did
		extra := maps.Clone(have.Extra)
		maps.Copy(extra, next.Extra)
		next.Extra = extra
	}
	return next, err
}

// finish ends a refresh: it takes the new token into use, or remembers why there is none, and informs the
// observer.
func (s *source) finish(ctx context.Context, r *refresh, res result) {
	s.mu.Lock()
	now := time.Now()
	s.refresh, s.revoked.checked = nil, now
	lastGot, newlyRevoked, another := s.current.got, false, false
	switch {
	case res.err == nil:
		s.unsaved, s.current.got, another = nil, now, !s.current.token.same(res.token)
		if have, from := s.current.token, res.spent; !have.empty() {
			if !res.asked {
				from = res.token
			}
			if !have.sameGrant(from) { // another process has stored another grant, perhaps another customer's
				s.grants.Add(1)
			}
		}
		s.take(res.token, res.version)
		r.cred = s.current.cred
	case s.current.version != r.before: // another token was stored meanwhile
		r.cred, res.err, res.asked = s.current.cred, nil, false
	case isFinal(res.err):
		r.err = res.err
		newlyRevoked = s.revoke(res)
	default:
		r.err = s.postpone(res.err, now)
	}
	s.mu.Unlock()
	close(r.done)
	partner := s.app.cfg.Name
	switch {
	case res.err == nil && res.asked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshed{
			Partner: partner, Integration: s.key, Expiry: res.token.Expiry, RefreshExpiry: res.token.RefreshExpiry(),
		})
	case another:
		s.app.loaded(ctx, s.key, res.token)
	case newlyRevoked:
		tell(ctx, s.app.cfg.Observer, belay.TokenRevoked{
			Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err,
		})
	case res.err != nil && !isFinal(res.err):
		tell(ctx, s.app.cfg.Observer, belay.TokenRefreshFailed{
			Partner: partner, Integration: s.key, LastWorked: lastGot, Action: res.err.Message, Err: res.err,
		})
	}
}

// revoke remembers a grant that was refused for good, and reports whether observers get an event. They get
// none for a missing token, and no second one for a token that was restored and refused again at once.
func (s *source) revoke(res result) (tell bool) {
	restored := s.rejection.restored
	again := !restored.IsZero() && s.revoked.token.sameGrant(res.spent) &&
		s.rejection.at.Sub(restored).Abs() < restoredRecent
	if s.revoked.err == nil && !again {
		tell = res.err.Code != noToken
		s.revoked.token, s.revoked.at = res.spent, time.Now()
	}
	s.revoked.err, s.backoff.err = res.err, nil
	return tell
}

// postpone remembers a failure that may pass, and returns the error for the calls that wait.
func (s *source) postpone(err *belay.Error, now time.Time) error {
	most := retryRefresh
	if err.Class == belay.ClassAuth {
		most = retryRefusal
	}
	wait := min(most, time.Second<<min(s.backoff.failures, maxBackoffShift))
	if good, _ := s.good(now); good {
		wait = retryRefresh
	}
	s.backoff.failures++
	s.backoff.err, s.backoff.at = err, now
	s.backoff.notBefore = now.Add(max(wait, min(err.RetryAfter, maxWait)))
	if err.Class != belay.ClassTransient && err.Class != belay.ClassRateLimited {
		return err
	}
	e := *err
	e.RetryAfter = max(e.RetryAfter, s.backoff.notBefore.Sub(now))
	return &e
}

// tell passes an event to o, which may be nil, and recovers a panic of it.
func tell(ctx context.Context, o belay.Observer, e belay.Event) {
	if o == nil {
		return
	}
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}
