package belaysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/keylock"
	"github.com/belay-go/belay/oauth"
)

// Tokens is an [oauth.Store]: encrypted tokens that all processes on the database share. While an Update runs, no other
// one of its key runs in any process: it holds a lease, a row that it renews. A holder that dies holds others up for
// ten seconds. Create it with [Store.Tokens]. It is safe for concurrent use.
//
// One thing no lock can prevent: a process that dies, or stands still for ten seconds, after the partner has answered
// with a new refresh token and before it is stored. The next refresh sends the old one again. Where the partner takes
// that for a theft, the integration has to be connected anew.
type Tokens struct {
	s     *Store
	seal  *oauth.Sealer
	ttl   time.Duration
	owner string
	local keylock.Locks
}

// saveFor is how long a new token is tried to be stored while the database is away.
const saveFor = 30 * time.Second

// Tokens returns the store of tokens. The key is 32 bytes, from the place where the process keeps its secrets; all
// processes have the same. Any other length is an error.
func (s *Store) Tokens(key belay.Secret) (*Tokens, error) {
	seal, err := oauth.NewSealer(key)
	if err != nil {
		return nil, fmt.Errorf("belaysql: Tokens: %w", err)
	}
	return &Tokens{s: s, seal: seal, ttl: leaseTime, owner: rand.Text()}, nil
}

// Load implements [oauth.Store].
func (t *Tokens) Load(ctx context.Context, key string) (oauth.Token, error) {
	var sealed []byte
	err := t.s.db.QueryRowContext(ctx, "select value from belay_tokens where key = $1", key).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return oauth.Token{}, nil
	}
	if err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: reading a token: %w", err)
	}
	return t.open(key, sealed)
}

func (t *Tokens) open(key string, sealed []byte) (oauth.Token, error) {
	if len(sealed) == 0 {
		return oauth.Token{}, nil
	}
	return t.seal.Open(key, sealed)
}

// Update implements [oauth.Store]. A new token is stored even if ctx ends meanwhile, and for half a minute, while the
// database is away, it is tried again.
func (t *Tokens) Update(
	ctx context.Context, key string, f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	unlock, err := t.local.Lock(ctx, key) // so that the goroutines of one process do not all ask the database
	if err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: waiting for a token: %w", err)
	}
	defer unlock()
	l, err := t.s.acquire(ctx, "belay_tokens", key, t.owner, t.ttl, 100*time.Millisecond)
	if err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: waiting for a token: %w", err)
	}
	held := true
	defer func() { // after an error or a panic of f: others need not wait for the lease to end
		if held {
			l.release(ctx)
		}
	}()
	var sealed []byte // read under the lease
	if err := t.s.db.QueryRowContext(ctx, "select value from belay_tokens where key = $1", key).Scan(&sealed); err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: reading a token: %w", err)
	}
	have, err := t.open(key, sealed)
	if err != nil {
		return oauth.Token{}, err
	}
	within, stop := l.renew(ctx)
	defer stop() // the lease is renewed until the token is stored
	token, err := f(within, have)
	if err != nil {
		if errors.Is(context.Cause(within), ErrLeaseLost) {
			err = errors.Join(ErrLeaseLost, err)
		}
		return oauth.Token{}, err
	}
	began := time.Now()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) { // the partner may have forgotten the old one
		err = t.save(ctx, key, l.fence, token)
		if err == nil || errors.Is(err, ErrLeaseLost) {
			held = false
			return token, err
		}
		if time.Since(began) > saveFor {
			return token, err
		}
		time.Sleep(wait)
	}
}

func (t *Tokens) save(ctx context.Context, key string, fence int64, token oauth.Token) error {
	var sealed []byte
	if token.Access.Reveal() != "" || token.Refresh.Reveal() != "" {
		var err error
		if sealed, err = t.seal.Seal(key, token); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	n, err := changed(t.s.db.ExecContext(ctx, `update belay_tokens set value = $1, owner = null, lease_until = 0
		where key = $2 and fence = $3`, sealed, key, fence))
	switch {
	case err != nil:
		return fmt.Errorf("belaysql: writing a token: %w", err)
	case n == 0:
		return ErrLeaseLost
	}
	return nil
}
