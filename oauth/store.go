package oauth

import (
	"context"
	"sync"

	"github.com/belay-go/belay/internal/keylock"
)

// Store keeps the tokens of integrations, by key.
type Store interface {
	// Load returns the token of key, or the zero Token if there is none.
	Load(ctx context.Context, key string) (Token, error)
	// Update calls f with the token of key, stores the token that f returns, and returns it. While f runs, no
	// other Update of the key runs in any process, because f sends a refresh token, which must not be sent
	// twice. An error of f is returned, and nothing is stored. A token that is returned without an error has
	// been stored; the zero Token removes the stored one. Update must honor ctx and run f on the goroutine of
	// its caller.
	Update(ctx context.Context, key string, f func(ctx context.Context, have Token) (Token, error)) (Token, error)
}

// MemoryStore keeps tokens until the process ends, for this process alone. Make it with [NewMemoryStore]. It
// is safe for concurrent use.
type MemoryStore struct {
	mu     sync.Mutex
	tokens map[string]Token
	locks  keylock.Locks
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{tokens: make(map[string]Token)}
}

// Load implements Store.
func (m *MemoryStore) Load(_ context.Context, key string) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tokens[key], nil
}

// Update implements Store.
func (m *MemoryStore) Update(
	ctx context.Context, key string, f func(context.Context, Token) (Token, error),
) (Token, error) {
	unlock, err := m.locks.Lock(ctx, key)
	if err != nil {
		return Token{}, err
	}
	defer unlock()
	have, _ := m.Load(ctx, key)
	t, err := f(ctx, have)
	if err != nil {
		return Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens[key] = t; t.empty() {
		delete(m.tokens, key)
	}
	return t, nil
}
