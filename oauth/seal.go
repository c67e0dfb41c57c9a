package oauth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// Sealer encrypts tokens (AES-256-GCM) for a [Store] of your own, each for its key only. Create it with [NewSealer]. It
// is safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD // it would print its key, so Sealer has Format
}

// NewSealer returns a Sealer. The key is 32 bytes, from the place where the process keeps its secrets.
func NewSealer(key belay.Secret) (*Sealer, error) {
	k := []byte(key.Reveal())
	if len(k) != 32 {
		return nil, errkit.Invalidf("NewSealer: the key has %d bytes, must be 32", len(k))
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, errkit.Invalidf("NewSealer: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, errkit.Invalidf("NewSealer: %w", err)
	}
	return &Sealer{aead}, nil
}

// Format prints no key, for any verb.
func (s Sealer) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "oauth.Sealer") }

const fileMagic = "belay1\n"

// stored is a token in its written form, before encryption.
type stored struct {
	Access   string    `json:"access"`
	Refresh  string    `json:"refresh,omitempty"`
	Type     string    `json:"type,omitempty"`
	Obtained time.Time `json:"obtained"`
	Expiry   time.Time `json:"expiry"`

	Extra map[string]string `json:"extra,omitempty"`
}

// Seal returns the token of a key, encrypted.
func (s *Sealer) Seal(key string, t Token) ([]byte, error) {
	plain, err := json.Marshal(stored{
		t.Access.Reveal(), t.Refresh.Reveal(), t.Type, t.Obtained, t.Expiry, reveal(t.Extra),
	})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	data := append([]byte(fileMagic), nonce...)
	return s.aead.Seal(data, nonce, plain, []byte(key)), nil
}

// Open returns the token of a key. What was sealed with another key of either kind, and what is damaged, is
// [ErrUnreadable].
func (s *Sealer) Open(key string, sealed []byte) (Token, error) {
	t, err := s.open(key, sealed)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return t, err
}

func (s *Sealer) open(key string, data []byte) (Token, error) {
	rest, ok := bytes.CutPrefix(data, []byte(fileMagic))
	n := s.aead.NonceSize()
	if !ok || len(rest) < n {
		return Token{}, fmt.Errorf("%d bytes that are no token's", len(data))
	}
	plain, err := s.aead.Open(nil, rest[:n], rest[n:], []byte(key))
	if err != nil {
		return Token{}, errors.New("another key, or damaged")
	}
	var t stored
	if err := json.Unmarshal(plain, &t); err != nil {
		return Token{}, errors.New("its content is no token's")
	}
	return Token{
		belay.NewSecret(t.Access), belay.NewSecret(t.Refresh), t.Type, t.Obtained, t.Expiry, conceal(t.Extra),
	}, nil
}
