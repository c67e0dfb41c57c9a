package webhook

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

const (
	maxSignatures     = 16 // in one header; of public keys, which cost more,
	maxPublicKeyTries = 4
	keptScratch       = 64 << 10
)

// message is what a delivery says of its signature.
type message struct {
	signatures, timestamp, id string
	form                      string   // fields, as they are signed
	json                      []string // of the parts that stand in the body
	urls                      []string // that the partner may have signed; one "" where it signs none
}

var noURL = []string{""}

// read finds the signatures and what is signed beside the body.
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
			m.urls = nil // below, as a form may change it
		case partForm:
			if m.form, err = in.readForm(); err != nil {
				return err
			}
		case partJSON:
			value, err := p.at.find(in)
			if err != nil {
				return err
			}
			if value == "" {
				return fmt.Errorf("%w: no %s in the body", belay.ErrMalformedSignature, p.text)
			}
			m.json = append(m.json, value)
		}
	}
	if m.urls == nil {
		m.urls, err = v.scheme.urls(in.url)
	}
	return err
}

// signatures returns what stands where the signatures should.
func (v *Verifier) signatures(in *incoming) (string, error) {
	text, err := v.at.find(in)
	if err != nil {
		return "", err
	}
	return text, delivery.CheckSignature(text, v.scheme.Header)
}

// element returns what stands behind prefix in the first element of list that has it.
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

// match looks for a signature that one of the secrets makes.
func (v *Verifier) match(in *incoming, m *message) error {
	readable := false
	for _, k := range v.keys {
		s := k.idle.Get().(*scratch)
		for _, at := range m.urls {
			k.digest(v, s, in, m, at)
			same, some := k.matchAny(m.signatures, &v.scheme, s)
			if readable = readable || some; same {
				k.keep(s)
				return nil
			}
		}
		k.keep(s)
	}
	if !readable {
		return fmt.Errorf("%w: none can be read as one of %s", belay.ErrMalformedSignature, v.scheme.Name)
	}
	return belay.ErrBadSignature
}

func (k *signingKey) keep(s *scratch) {
	if cap(s.text) <= keptScratch {
		k.idle.Put(s)
	}
}

// digest leaves what the signature must be in s.sum; for public keys and tokens, what it must fit.
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

// among reports whether one of the signatures in list fits, and whether one could be read at all. Which byte is wrong makes no
// difference to the time it takes.
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

// decode leaves a signature in s.sig.
func (k *signingKey) decode(text string, encoding Encoding, s *scratch) bool {
	switch {
	case text == "":
		return false
	case k.algorithm == PlainToken:
		sum := sha256.Sum256([]byte(text))
		s.sig = append(s.sig[:0], sum[:]...)
		return true
	case len(text) > delivery.MaxSignature:
		return false
	}
	var err error
	switch {
	case encoding == Hex:
		s.sig, err = hex.AppendDecode(s.sig[:0], []byte(text))
	case strings.ContainsAny(text, "\r\n"): // which the decoder passes over
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

// fits compares in constant time, or asks the public key.
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
