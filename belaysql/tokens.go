package belaysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
)

// ErrLeaseLost is the error of an Update whose process did not renew its lease in time, because it stood still or could
// not reach the database: another process may have updated the token meanwhile, so nothing was stored.
var ErrLeaseLost = errors.New("belaysql: the lease was lost")

// Tokens is an [oauth.Store]: encrypted tokens that all processes on the database share. While an Update runs, no other
// one of its key runs in any process: it holds a lease, a row that it renews. A holder that dies holds others up for ten
// seconds. Create it with [Store.Tokens]. It is safe for concurrent use.
//
// One thing no lock can prevent: a process that dies, or stands still for ten seconds, after the partner has answered with
// a new refresh token and before it is stored. The next refresh sends the old one again. Where the partner takes that for a
// theft, the integration has to be connected anew.
type Tokens struct {
	s     *Store
	seal  *oauth.Sealer
	ttl   time.Duration
	owner string
	local keyLocks
}

const leaseTime = 10 * time.Second

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

// Update implements [oauth.Store]. A new token is stored even if ctx ends meanwhile.
func (t *Tokens) Update(
	ctx context.Context, key string, f func(context.Context, oauth.Token) (oauth.Token, error),
) (oauth.Token, error) {
	unlock, err := t.local.lock(ctx, key) // so that the goroutines of one process do not all ask the database
	if err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: waiting for a token: %w", err)
	}
	defer unlock()
	sealed, fence, err := t.acquire(ctx, key)
	if err != nil {
		return oauth.Token{}, fmt.Errorf("belaysql: waiting for a token: %w", err)
	}
	held := true
	defer func() { // after an error or a panic of f: others need not wait for the lease to end
		if held {
			t.release(ctx, key, fence)
		}
	}()
	have, err := t.open(key, sealed)
	if err != nil {
		return oauth.Token{}, err
	}
	within, stop := t.renew(ctx, key, fence)
	token, err := f(within, have)
	stop()
	if err != nil {
		if errors.Is(context.Cause(within), ErrLeaseLost) {
			err = errors.Join(ErrLeaseLost, err)
		}
		return oauth.Token{}, err
	}
	held = false
	return token, t.save(ctx, key, fence, token)
}

// acquire waits for the lease of a key, and returns what is stored.
func (t *Tokens) acquire(ctx context.Context, key string) (sealed []byte, fence int64, err error) {
	if _, err := t.s.db.ExecContext(ctx, "insert into belay_tokens (key) values ($1) on conflict (key) do nothing", key); err != nil {
		return nil, 0, err
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := t.s.db.QueryRowContext(ctx, t.s.sql(`update belay_tokens set owner = $1, lease_until = {now} + $2, fence = fence + 1
			where key = $3 and lease_until < {now} returning value, fence`), t.owner, t.ttl.Milliseconds(), key).Scan(&sealed, &fence)
		if !errors.Is(err, sql.ErrNoRows) {
			return sealed, fence, err
		}
		timer := time.NewTimer(wait/2 + mrand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, 0, context.Cause(ctx)
		}
	}
}

// renew renews the lease until stop is called. The context that it returns ends when the lease is lost.
func (t *Tokens) renew(ctx context.Context, key string, fence int64) (within context.Context, stop func()) {
	within, cancel := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	quit := make(chan struct{})
	done.Go(func() {
		ends := time.Now().Add(t.ttl)
		for {
			timer := time.NewTimer(t.ttl / 3)
			select {
			case <-timer.C:
			case <-quit:
				timer.Stop()
				return
			}
			began := time.Now()
			query, end := context.WithTimeout(context.WithoutCancel(ctx), t.ttl/3)
			n, err := changed(t.s.db.ExecContext(query, t.s.sql("update belay_tokens set lease_until = {now} + $1 where key = $2 and fence = $3"),
				t.ttl.Milliseconds(), key, fence))
			end()
			switch {
			case err == nil && n == 1:
				ends = began.Add(t.ttl)
			case err == nil, time.Now().After(ends):
				cancel(ErrLeaseLost)
				return
			}
		}
	})
	return within, func() {
		close(quit)
		done.Wait()
		cancel(nil)
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
	n, err := changed(t.s.db.ExecContext(ctx, `update belay_tokens set value = $1, version = version + 1, owner = null, lease_until = 0
		where key = $2 and fence = $3`, sealed, key, fence))
	switch {
	case err != nil:
		return fmt.Errorf("belaysql: writing a token: %w", err)
	case n == 0:
		return ErrLeaseLost
	}
	return nil
}

func (t *Tokens) release(ctx context.Context, key string, fence int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	_, _ = t.s.db.ExecContext(ctx, "update belay_tokens set owner = null, lease_until = 0 where key = $1 and fence = $2", key, fence)
}

// keyLocks admits one holder for each key.
type keyLocks struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

type keyLock struct {
	held  chan struct{} // full while the lock is held
	users int           // holder and waiters
}

func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	k := l.keys[key]
	if k == nil {
		if l.keys == nil {
			l.keys = make(map[string]*keyLock)
		}
		k = &keyLock{held: make(chan struct{}, 1)}
		l.keys[key] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.keys, key)
		}
	}
	select {
	case k.held <- struct{}{}:
		return func() { <-k.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
