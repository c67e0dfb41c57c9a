package webhook

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/belay-go/belay"
)

// strictBase64 refuses text whose last character has unused bits that are not zero. So a signature can be
// written in one way only.
var strictBase64 = base64.StdEncoding.Strict()

// minBase64Key is the least length of a decoded key, in bytes. Standard Webhooks asks for 24.
const minBase64Key = 16

// signingKey is one secret of a verifier, decoded for its algorithm.
type signingKey struct {
	algorithm Algorithm         // the scheme's; Ed25519 for a "whpk_" key
	prefix    string            // of a signature, the scheme's; "v1a," for a "whpk_" key
	secret    func() []byte     // for an HMAC or WeakSHA256, the hash of a PlainToken; a func, so that it does not print
	edwards   ed25519.PublicKey // for Ed25519
	ecdsa     *ecdsa.PublicKey  // for ECDSAP256
	idle      sync.Pool         // of *scratch: reuses the keyed hash, which saves hashing two blocks for each delivery
}

// scratch is the memory of one verification.
type scratch struct {
	hash hash.Hash // nil for Ed25519 and PlainToken
	// text is the signed text that is not hashed yet, sum is the expected signature or the hash, sig is the
	// decoded signature.
	text, sum, sig []byte
}

// newSigningKey decodes a secret for s. It returns an error if the scheme cannot use the secret.
func newSigningKey(s Scheme, secret belay.Secret) (*signingKey, error) {
	if err := secret.Check(); err != nil {
		return nil, err
	}
	text := secret.Reveal()
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the secret is blank")
	}
	k := &signingKey{algorithm: s.Algorithm, prefix: s.Prefix}
	raw, err := []byte(text), error(nil)
	switch {
	case s.Base64Key && strings.HasPrefix(text, "whpk_"):
		k.algorithm, k.prefix = Ed25519, "v1a,"
		k.edwards, err = edwardsKey(text[len("whpk_"):])
	case s.Base64Key && strings.HasPrefix(text, "whsk_"):
		err = errors.New("it is a private key (whsk_), which only the sender has")
	case s.Base64Key:
		if raw, err = strictBase64.DecodeString(strings.TrimPrefix(text, "whsec_")); err != nil {
			err = errors.New("it is not base64, with or without whsec_ before it")
		} else if len(raw) == 0 {
			err = errors.New("the secret is empty")
		} else if len(raw) < minBase64Key {
			err = fmt.Errorf("it has %d bytes, and must have at least %d", len(raw), minBase64Key)
		}
	case s.HexKey:
		if raw, err = hex.DecodeString(text); err != nil || len(raw) < minBase64Key {
			err = fmt.Errorf("it is not hex of at least %d bytes", minBase64Key)
		}
	case s.Algorithm == Ed25519:
		k.edwards, err = edwardsKey(text)
	case s.Algorithm == ECDSAP256:
		k.ecdsa, err = ecdsaKey(text)
	case s.Algorithm == PlainToken:
		sum := sha256.Sum256(raw)
		raw = sum[:]
	}
	k.secret = func() []byte { return raw }
	k.idle.New = func() any { return &scratch{hash: k.newHash()} }
	return k, err
}

// newHash returns the hash of the signed text, keyed for an HMAC. It returns nil for Ed25519, which signs the
// text itself, and for PlainToken, which signs nothing.
func (k *signingKey) newHash() hash.Hash {
	switch k.algorithm {
	case HMACSHA1:
		return hmac.New(sha1.New, k.secret())
	case HMACSHA512:
		return hmac.New(sha512.New, k.secret())
	case HMACSHA256:
		return hmac.New(sha256.New, k.secret())
	case ECDSAP256, WeakSHA256:
		return sha256.New()
	}
	return nil
}

// edwardsKey decodes an ed25519 public key from hex or base64.
func edwardsKey(text string) (ed25519.PublicKey, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		key, err = strictBase64.DecodeString(text)
	}
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("it is not an ed25519 public key: 32 bytes in hex or base64")
	}
	// Refuse the few keys of small order. For such a key this signature is right for every message, or for
	// one message in eight, so anybody could sign.
	anything := make([]byte, ed25519.SignatureSize)
	anything[0] = 1
	for i := range byte(16) {
		if ed25519.Verify(key, []byte{i}, anything) {
			return nil, errors.New("the public key is one that anybody can sign for")
		}
	}
	return key, nil
}

// ecdsaKey decodes a P-256 public key from the base64 of its DER.
func ecdsaKey(text string) (*ecdsa.PublicKey, error) {
	der, err := strictBase64.DecodeString(text)
	if err == nil {
		var key any
		if key, err = x509.ParsePKIXPublicKey(der); err == nil {
			if k, ok := key.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
				return k, nil
			}
		}
	}
	return nil, errors.New("it is not a P-256 public key: its DER in base64")
}
