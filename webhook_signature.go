package belay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	maxSignatures     = 16       // in one header
	maxSignatureBytes = 16 << 10 // of all of them
	maxFormFields     = 2000
	keptScratch       = 64 << 10
)

var strictBase64 = base64.StdEncoding.Strict() // else the last character has bits that nobody looks at

// webhookKey is a secret, ready for use.
type webhookKey struct {
	algorithm Algorithm
	prefix    string
	secret    []byte // of the HMACs and WeakSHA256; the hash of a PlainToken
	edwards   ed25519.PublicKey
	ecdsa     *ecdsa.PublicKey
	idle      sync.Pool // of *scratch: the keyed state is kept, which saves two blocks of hashing for each delivery
}

// scratch is what one verification writes to.
type scratch struct {
	hash           hash.Hash // nil for ed25519 and a token
	text, sum, sig []byte
	room           [256]byte
}

func newWebhookKey(s Scheme, secret Secret) (*webhookKey, error) {
	if err := secret.check(); err != nil {
		return nil, err
	}
	text := secret.Reveal()
	k := &webhookKey{algorithm: s.Algorithm, prefix: s.Prefix, secret: []byte(text)}
	var err error
	switch {
	case s.Base64Key && strings.HasPrefix(text, "whpk_"):
		k.algorithm, k.prefix = Ed25519, "v1a,"
		k.edwards, err = edwardsKey(text[len("whpk_"):])
	case s.Base64Key && strings.HasPrefix(text, "whsk_"):
		err = errors.New("it is a private key (whsk_), which only the sender has")
	case s.Base64Key:
		k.secret, err = strictBase64.DecodeString(strings.TrimPrefix(text, "whsec_"))
		if err != nil {
			err = errors.New("it is not base64, with or without whsec_ before it")
		} else if len(k.secret) == 0 {
			err = errors.New("the secret is empty")
		}
	case s.Algorithm == Ed25519:
		k.edwards, err = edwardsKey(text)
	case s.Algorithm == ECDSAP256:
		k.ecdsa, err = ecdsaKey(text)
	case s.Algorithm == PlainToken:
		sum := sha256.Sum256(k.secret)
		k.secret = sum[:]
	}
	k.idle.New = func() any { return &scratch{hash: k.newHash()} }
	return k, err
}

func (k *webhookKey) newHash() hash.Hash {
	switch k.algorithm {
	case HMACSHA1:
		return hmac.New(sha1.New, k.secret)
	case HMACSHA512:
		return hmac.New(sha512.New, k.secret)
	case HMACSHA256:
		return hmac.New(sha256.New, k.secret)
	case ECDSAP256, WeakSHA256:
		return sha256.New()
	}
	return nil
}

func edwardsKey(text string) (ed25519.PublicKey, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		key, err = strictBase64.DecodeString(text)
	}
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("it is not an ed25519 public key: 32 bytes in hex or base64")
	}
	if bytes.Count(key, []byte{0}) == len(key) {
		return nil, errors.New("the public key is zero")
	}
	return key, nil
}

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

// message is what a delivery says of its signature.
type message struct {
	signatures, timestamp, id, form string
	urls                            []string // that the partner may have signed; one "" where it signs none
}

// read finds the signatures and what is signed beside the body.
func (v *Verifier) read(in *incoming, m *message) (err error) {
	if m.signatures, err = v.at.find(in); err != nil {
		return err
	}
	if m.signatures == "" {
		return fmt.Errorf("%w: no %s", ErrNoSignature, v.scheme.Header)
	}
	if len(m.signatures) > maxSignatureBytes {
		return fmt.Errorf("%w: %d bytes", ErrMalformedSignature, len(m.signatures))
	}
	switch t := v.scheme.Timestamp; {
	case strings.HasSuffix(t, "="):
		m.timestamp = element(m.signatures, v.scheme.Separator, t)
	case t != "":
		if m.timestamp, err = v.stamp.find(in); err != nil {
			return err
		}
	}
	if m.timestamp == "" && v.scheme.Timestamp != "" {
		return fmt.Errorf("%w: no time at %s", ErrMalformedSignature, v.scheme.Timestamp)
	}
	m.urls = noURL
	for i := range v.signed {
		p := &v.signed[i]
		switch p.kind {
		case partID:
			if m.id, err = p.at.find(in); err != nil {
				return err
			}
			if m.id == "" || len(m.id) > maxEventText {
				return fmt.Errorf("%w: an id of %d bytes", ErrMalformedSignature, len(m.id))
			}
		case partURL:
			m.urls = nil // below, as a form may change it
		case partForm:
			if err := in.readForm(m); err != nil {
				return err
			}
		}
	}
	if m.urls == nil {
		m.urls = writings(in.url)
	}
	return nil
}

var noURL = []string{""}

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
			same, some := k.among(m.signatures, &v.scheme, s)
			if readable = readable || some; same {
				k.keep(s)
				return nil
			}
		}
		k.keep(s)
	}
	if !readable {
		return ErrMalformedSignature
	}
	return ErrBadSignature
}

func (k *webhookKey) keep(s *scratch) {
	if cap(s.text) <= keptScratch {
		k.idle.Put(s)
	}
}

// digest leaves what the signature must be in s.sum; for public keys and tokens, what it must fit.
func (k *webhookKey) digest(v *Verifier, s *scratch, in *incoming, m *message, at string) {
	s.text, s.sum = s.text[:0], s.sum[:0]
	if s.hash != nil {
		s.hash.Reset()
	}
	for i := range v.signed {
		p := &v.signed[i]
		switch p.kind {
		case partText:
			s.text = append(s.text, p.text...)
		case partTimestamp:
			s.text = append(s.text, m.timestamp...)
		case partID:
			s.text = append(s.text, m.id...)
		case partURL:
			s.text = append(s.text, at...)
		case partMethod:
			s.text = append(s.text, in.method...)
		case partSecret:
			s.text = append(s.text, k.secret...)
		case partForm:
			s.text = append(s.text, m.form...)
		case partJSON:
			value, _ := p.at.find(in)
			s.text = append(s.text, value...)
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
		s.sum = append(s.sum, k.secret...)
	case s.hash != nil:
		if len(s.text) > 0 {
			s.hash.Write(s.text)
		}
		s.sum = s.hash.Sum(s.sum)
	}
}

// among reports whether one of the signatures in list fits, and whether one could be read at all. Which byte is wrong makes no
// difference to the time it takes.
func (k *webhookKey) among(list string, scheme *Scheme, s *scratch) (same, readable bool) {
	n := 0
	for rest, more := list, true; more && n < maxSignatures; {
		e := rest
		if more = false; scheme.Separator != "" {
			e, rest, more = strings.Cut(rest, scheme.Separator)
			e = strings.TrimSpace(e)
		}
		text, ok := strings.CutPrefix(e, k.prefix)
		if !ok {
			continue
		}
		n++
		if !k.decode(text, scheme.Encoding, s) {
			continue
		}
		readable = true
		if k.fits(s) {
			same = true
		}
	}
	return same, readable
}

// decode leaves a signature in s.sig.
func (k *webhookKey) decode(text string, encoding Encoding, s *scratch) bool {
	switch {
	case text == "":
		return false
	case k.algorithm == PlainToken:
		sum := sha256.Sum256([]byte(text))
		s.sig = append(s.sig[:0], sum[:]...)
		return true
	case len(text) > 256:
		return false
	}
	s.sig = append(s.sig[:0], text...)
	var n int
	var err error
	switch {
	case encoding == Hex:
		n, err = hex.Decode(s.sig, s.sig) // in place, as hex.DecodeString does
	case strings.ContainsAny(text, "\r\n"): // which the decoder passes over
		return false
	default:
		s.sig, err = strictBase64.AppendDecode(s.sig[:0], s.room[:copy(s.room[:], text)])
		n = len(s.sig)
	}
	if err != nil {
		return false
	}
	s.sig = s.sig[:n]
	switch k.algorithm {
	case Ed25519:
		return n == ed25519.SignatureSize
	case ECDSAP256:
		return n > 0
	}
	return n == len(s.sum)
}

// fits compares in constant time, or asks the public key.
func (k *webhookKey) fits(s *scratch) bool {
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

// writings returns the ways in which partners may have written a URL before they signed it: as it stands, with and without the
// port that goes without saying (Twilio), and with some escapes of the query undone (HubSpot v3).
func writings(raw string) []string {
	all := []string{raw}
	scheme, rest, _ := strings.Cut(raw, "://")
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	host := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host = rest[:i]
	}
	path := rest[len(host):]
	if bare, ok := strings.CutSuffix(host, port); ok && port != "" {
		all = append(all, scheme+"://"+bare+path)
	} else if u, err := url.Parse(raw); err == nil && u.Port() == "" {
		all = append(all, scheme+"://"+host+port+path)
	}
	if plain := hubSpotEscapes.Replace(raw); plain != raw {
		all = append(all, plain)
	}
	return all
}

var hubSpotEscapes = strings.NewReplacer("%3A", ":", "%2F", "/", "%3F", "?", "%40", "@", "%21", "!", "%24", "$", "%27", "'", "%28", "(",
	"%29", ")", "%2A", "*", "%2C", ",", "%3B", ";", "%3a", ":", "%2f", "/", "%3f", "?", "%2a", "*", "%2c", ",", "%3b", ";")

// readForm leaves a form's fields as Twilio signs them: sorted by name, name and value without anything between, of several
// values of one name each once. A body that is no form is signed by its hash in the URL's query.
func (in *incoming) readForm(m *message) error {
	kind, _, _ := mime.ParseMediaType(in.header.Get("Content-Type"))
	form := kind == "application/x-www-form-urlencoded"
	u, err := url.Parse(in.url)
	if err != nil {
		return fmt.Errorf("%w: the URL", ErrMalformedSignature)
	}
	const param = "bodySHA256"
	sum := sha256.Sum256(in.body)
	want := hex.EncodeToString(sum[:])
	if told, _ := url.ParseQuery(u.RawQuery); told.Has(param) {
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(told.Get(param))), []byte(want)) != 1 {
			return fmt.Errorf("%w: the body is not the one that %s names", ErrBadSignature, param)
		}
	} else if !form && len(in.body) > 0 {
		separator := "?"
		if u.RawQuery != "" {
			separator = "&"
		}
		in.url += separator + param + "=" + want
	}
	if !form {
		return nil
	}
	if bytes.Count(in.body, []byte("&")) >= maxFormFields {
		return fmt.Errorf("%w: more than %d form fields", ErrMalformedSignature, maxFormFields)
	}
	fields, err := url.ParseQuery(string(in.body))
	if err != nil {
		return fmt.Errorf("%w: the form cannot be read", ErrMalformedSignature)
	}
	var b strings.Builder
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := fields[name]
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	m.form = b.String()
	return nil
}

// partKind is what a part of Scheme.Signed stands for.
type partKind uint8

const (
	partText partKind = iota
	partBody
	partTimestamp
	partID
	partURL
	partMethod
	partSecret
	partForm
	partJSON
)

type signedPart struct {
	kind partKind
	text string
	at   places
}

// compile reads the scheme, and returns what it lacks.
func (v *Verifier) compile() error {
	s := v.scheme
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var err error
	if v.at, err = newPlaces(s.Header); err != nil || s.Header == "" {
		add("Header %q: it must name where the signature stands", s.Header)
	}
	inList := strings.HasSuffix(s.Timestamp, "=")
	if inList && s.Separator == "" {
		add("Timestamp %q: there is no list without a Separator", s.Timestamp)
	}
	if !inList {
		if v.stamp, err = newPlaces(s.Timestamp); err != nil {
			add("Timestamp: %w", err)
		}
	}
	if v.fields, err = newFields(s); err != nil {
		errs = append(errs, err)
	}
	if s.Algorithm > PlainToken {
		add("Algorithm %d: there is none", s.Algorithm)
	}
	if s.Encoding > Base64 {
		add("Encoding %d: there is none", s.Encoding)
	}
	if s.Unit > RFC3339Time {
		add("Unit %d: there is none", s.Unit)
	}
	if s.MaxBytes < 0 {
		add("MaxBytes %d: must not be negative", s.MaxBytes)
	}
	if s.Status != 0 && (s.Status < 200 || s.Status > 299) {
		add("Status %d: must be a 2xx", s.Status)
	}
	v.signed = nil
	uses := map[partKind]bool{}
	rest := s.Signed
	switch {
	case s.Algorithm == PlainToken:
		rest = ""
	case rest == "":
		rest = "{body}"
	}
	for rest != "" {
		text, after, found := strings.Cut(rest, "{")
		if text != "" {
			v.signed = append(v.signed, signedPart{text: text})
		}
		if !found {
			break
		}
		name, after, found := strings.Cut(after, "}")
		p, ok := signedPart{}, found
		if path, json := strings.CutPrefix(name, "json:"); json {
			p.kind = partJSON
			p.at, err = newPlaces("json:" + path)
			ok = ok && err == nil
		} else if ok {
			p.kind, ok = map[string]partKind{
				"body": partBody, "timestamp": partTimestamp, "id": partID, "url": partURL, "method": partMethod, "secret": partSecret, "form": partForm,
			}[name]
		}
		if !ok {
			add("Signed %q: {%s} is not known", s.Signed, name)
		}
		if p.kind == partID {
			if p.at, err = newPlaces(s.ID); err != nil || s.ID == "" {
				add("ID %q: it is signed, so it must be one place", s.ID)
			}
		}
		uses[p.kind] = true
		v.signed = append(v.signed, p)
		rest = after
	}
	if uses[partTimestamp] && s.Timestamp == "" {
		add("Timestamp: it is signed, so it must have a place")
	}
	if uses[partURL] {
		if err := checkURL(s.URL); err != nil {
			add("URL %q: %w", shownURL(s.URL), err)
		}
	}
	if s.Algorithm == WeakSHA256 && !uses[partSecret] {
		add("Signed %q: WeakSHA256 needs the {secret} in it", s.Signed)
	}
	if s.Algorithm != WeakSHA256 && uses[partSecret] {
		add("Signed %q: only WeakSHA256 takes the {secret}", s.Signed)
	}
	return errors.Join(errs...)
}

// shownURL is a URL as errors show it.
func shownURL(raw string) string {
	before, _, _ := strings.Cut(raw, "?")
	if strings.Contains(before, "@") {
		return redacted
	}
	return before
}

// places are where a value may stand.
type places []place

type place struct{ header, path string }

func newPlaces(text string) (places, error) {
	if text == "" {
		return nil, nil
	}
	var ps places
	for part := range strings.SplitSeq(text, "|") {
		if path, ok := strings.CutPrefix(part, "json:"); ok && jsonPath(path) && !strings.Contains(path, "+") {
			ps = append(ps, place{path: path})
		} else if !ok && headerName(part) {
			ps = append(ps, place{header: http.CanonicalHeaderKey(part)})
		} else {
			return nil, fmt.Errorf("%q is neither a header's name nor json: and a path", part)
		}
	}
	return ps, nil
}
