package webhook

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

const (
	maxSignatures     = 16       // tried per secret in one header
	maxPublicKeyTries = 4        // the same for public keys, which take longer to verify
	keptScratch       = 64 << 10 // the largest text buffer that is kept for reuse, in bytes
)

// message holds the signatures of a delivery and the signed values beside its body.
type message struct {
	signatures, timestamp, id string
	key                       *signingKey // the one that matched
	query                     string      // the query of the URL, if it is signed
	form                      string      // the form's fields, as they are signed
	json                      []string    // the values of the {json:path} parts of Scheme.Signed, in their order
	urls                      []string    // forms of the URL that the partner may have signed; noURL where it signs none
}

var noURL = []string{""}

// read fills in m from the headers and the body. {form} may extend in.url.
func (v *Verifier) read(in *incoming, m *message) (err error) {
	if m.signatures, err = v.signatures(in); err != nil {
		return err
	}
	switch {
	case v.stampInList:
		m.timestamp = element(m.signatures, v.scheme.Separator, v.scheme.Timestamp)
	case v.stamp != nil:
		if m.timestamp, err = v.stamp.find(in); err != nil {
			return err
		}
	}
	if m.timestamp == "" && v.scheme.Timestamp != "" {
		return fmt.Errorf("%w: no time at %s", belay.ErrMalformedSignature, v.scheme.Timestamp)
	}
	m.urls = noURL
	for i := range v.signed {
		p := &v.signed[i]
		switch p.kind {
		case partID:
			if m.id, err = p.at.find(in); err != nil {
				return err
			}
			if m.id == "" || len(m.id) > delivery.MaxText || v.dotted && strings.Contains(m.id, ".") {
				return fmt.Errorf("%w: an id of %d bytes, or with a dot in it", belay.ErrMalformedSignature, len(m.id))
			}
		case partURL, partURLQuery:
			m.urls = nil // filled in below, because readForm may change in.url
		case partForm:
			if m.form, err = in.readForm(); err != nil {
				return err
			}
		case partJSON:
			value, err := p.at.find(in)
			if err != nil {
				return err
			}
			if value == "" && !v.scheme.PerItem {
				return fmt.Errorf("%w: no %s in the body", belay.ErrMalformedSignature, p.text)
			}
			m.json = append(m.json, value)
		}
	}
	if m.urls == nil {
		m.urls, err = v.scheme.urls(in.url)
		_, m.query, _ = strings.Cut(in.url, "?")
	}
	return err
}

// signatures returns the text at the place of the signatures, or an error if it is empty or too long. With a Separator,
// it is that of all places.
func (v *Verifier) signatures(in *incoming) (text string, err error) {
	if v.scheme.Separator == "" {
		text, err = v.at.find(in)
	} else {
		for i := 0; i < len(v.at) && err == nil; i++ {
			var one string
			if one, err = v.at[i : i+1].find(in); text != "" && one != "" {
				text += v.scheme.Separator
			}
			text += one
		}
	}
	if err != nil {
		return "", err
	}
	return text, delivery.CheckSignature(text, v.scheme.Header)
}

// element returns the rest of the first element of list that begins with prefix, and "" if there is none.
func element(list, separator, prefix string) string {
	for rest, more := list, true; more; {
		var e string
		e, rest, more = strings.Cut(rest, separator)
		if value, ok := strings.CutPrefix(strings.TrimSpace(e), prefix); ok {
			return value
		}
	}
	return ""
}

// match returns nil if one of the signatures is right for one of the secrets. Otherwise it returns
// ErrBadSignature, or ErrMalformedSignature if no signature can be decoded.
func (v *Verifier) match(in *incoming, m *message) error {
	readable := false
	for _, k := range v.keys {
		s := k.idle.Get().(*scratch)
		for _, at := range m.urls {
			k.digest(v, s, in, m, at)
			same, some := k.matchAny(m.signatures, &v.scheme, s)
			if readable = readable || some; same {
				k.keep(s)
				m.key = k
				return nil
			}
		}
		k.keep(s)
	}
	if !readable {
		return fmt.Errorf("%w: no part of it can be decoded as a signature", belay.ErrMalformedSignature)
	}
	return belay.ErrBadSignature
}

// keep puts s back into the pool, unless its text buffer has grown too large.
func (k *signingKey) keep(s *scratch) {
	if cap(s.text) <= keptScratch {
		k.idle.Put(s)
	}
}

// digest writes the expected signature to s.sum: the HMAC, the WeakSHA256 hash, or the hash of a PlainToken.
// For a public key it writes the message to verify: its hash to s.sum for ECDSAP256, its text to s.text for
// Ed25519. The parameter at is the form of the URL to try.
func (k *signingKey) digest(v *Verifier, s *scratch, in *incoming, m *message, at string) {
	s.text, s.sum = s.text[:0], s.sum[:0]
	if s.hash != nil {
		s.hash.Reset()
	}
	inBody := 0
	for i := range v.signed {
		p := &v.signed[i]
		switch p.kind {
		case partText:
			s.text = append(s.text, p.text...)
		case partTimestamp:
			s.text = append(s.text, m.timestamp...)
		case partID:
			s.text = append(s.text, m.id...)
		case partURL, partURLQuery:
			s.text = append(s.text, at...)
		case partMethod:
			s.text = append(s.text, in.method...)
		case partSecret:
			s.text = append(s.text, k.secret()...)
		case partForm:
			s.text = append(s.text, m.form...)
		case partJSON:
			s.text = append(s.text, m.json[inBody]...)
			inBody++
		case partSHA256:
			sum := sha256.Sum256(in.body)
			s.text = append(s.text, sum[:]...)
		case partBody:
			if s.hash == nil {
				s.text = append(s.text, in.body...)
				break
			}
			if len(s.text) > 0 {
				s.hash.Write(s.text)
				s.text = s.text[:0]
			}
			s.hash.Write(in.body)
		}
	}
	switch {
	case k.algorithm == PlainToken:
		s.sum = append(s.sum, k.secret()...)
	case s.hash != nil:
		if len(s.text) > 0 {
			s.hash.Write(s.text)
		}
		s.sum = s.hash.Sum(s.sum)
	}
}

// sign returns the signature of text, or "" if k cannot sign. A nil k cannot.
func (k *signingKey) sign(encoding Encoding, text string) string {
	if k == nil || hmacs[k.algorithm] == 0 {
		return ""
	}
	s := k.idle.Get().(*scratch)
	defer k.keep(s)
	s.hash.Reset()
	s.hash.Write([]byte(text))
	s.sum = s.hash.Sum(s.sum[:0])
	if encoding == Base64 {
		return base64.StdEncoding.EncodeToString(s.sum)
	}
	return hex.EncodeToString(s.sum)
}

// matchAny reports whether one of the signatures in list is right, and whether at least one could be decoded.
// The time it takes does not depend on which byte of a signature is wrong.
func (k *signingKey) matchAny(list string, scheme *Scheme, s *scratch) (same, readable bool) {
	if scheme.Separator == "" {
		text, ok := strings.CutPrefix(list, k.prefix)
		readable = ok && k.decode(text, scheme.Encoding, s)
		return readable && k.equal(s), readable
	}
	left := maxSignatures
	if k.algorithm == Ed25519 || k.algorithm == ECDSAP256 {
		left = maxPublicKeyTries
	}
	for e := range strings.SplitSeq(list, scheme.Separator) {
		text, ok := strings.CutPrefix(strings.TrimSpace(e), k.prefix)
		if !ok {
			continue
		}
		if k.decode(text, scheme.Encoding, s) {
			readable = true
			same = k.equal(s) || same
		}
		if left--; left == 0 {
			break
		}
	}
	return same, readable
}

// decode decodes a signature into s.sig, and the hash of a PlainToken. It reports whether text can be a
// signature: its encoding and its length must be right.
func (k *signingKey) decode(text string, encoding Encoding, s *scratch) bool {
	switch {
	case text == "":
		return false
	case k.algorithm == PlainToken:
		token := []byte(text)
		if encoding == Base64 {
			var err error
			if token, err = base64.StdEncoding.DecodeString(text); err != nil {
				return false
			}
		}
		sum := sha256.Sum256(token)
		s.sig = append(s.sig[:0], sum[:]...)
		return true
	case len(text) > delivery.MaxSignature:
		return false
	}
	var err error
	switch {
	case encoding == Hex:
		s.sig, err = hex.AppendDecode(s.sig[:0], []byte(text))
	case strings.ContainsAny(text, "\r\n"): // the decoder would skip them
		return false
	default:
		s.sig, err = strictBase64.AppendDecode(s.sig[:0], []byte(text))
	}
	if err != nil {
		return false
	}
	switch k.algorithm {
	case Ed25519:
		return len(s.sig) == ed25519.SignatureSize
	case ECDSAP256:
		return len(s.sig) > 0
	}
	return len(s.sig) == len(s.sum)
}

// equal reports whether s.sig is right. It compares with s.sum in constant time, or verifies with the public
// key.
func (k *signingKey) equal(s *scratch) bool {
	switch k.algorithm {
	case Ed25519:
		return ed25519.Verify(k.edwards, s.text, s.sig)
	case ECDSAP256:
		return ecdsa.VerifyASN1(k.ecdsa, s.sum, s.sig)
	case PlainToken:
		return subtle.ConstantTimeCompare(s.sum, s.sig) == 1
	}
	return hmac.Equal(s.sum, s.sig)
}
