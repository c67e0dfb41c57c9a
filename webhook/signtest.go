package webhook

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/headers"
	"github.com/belay-go/belay/internal/jsonscan"
)

// SignTest returns a signed request as the partner would send it, for tests of a webhook receiver. It is a
// POST of e.Data to Scheme.URL (https://example.com/webhooks if that is empty), signed with the secret.
//
// e.ID and e.Type are sent in the scheme's headers for them, and e.Time is the time of the signature. An
// empty ID becomes a random one, a zero Time becomes the current time. If the scheme has the time or the
// signature in the body, SignTest puts it there, as well as a signed token that Data does not have, and
// encodes the body again. Of a scheme that has the ID or the type in the body, for example [Stripe], e.ID or
// e.Type is ignored: write it into Data. Data that is not JSON is sent as a form. To send the request to a
// server, set the Scheme and Host of its URL, and its Host; the signature remains that of Scheme.URL.
//
// For an algorithm with public keys, the secret is the private key: "whsk_" and base64 for Standard Webhooks,
// 32 or 64 bytes in hex or base64 for ed25519, the base64 of the DER (PKCS #8 or SEC 1) for ECDSA.
func SignTest(s Scheme, secret belay.Secret, e belay.WebhookEvent) (*http.Request, error) {
	req, err := signTest(s, secret, e)
	if err != nil {
		return nil, fmt.Errorf("belay: SignTest: %s: %w", s.Name, err)
	}
	return req, nil
}

// signTest is SignTest, with errors that do not name the scheme.
func signTest(s Scheme, secret belay.Secret, e belay.WebhookEvent) (*http.Request, error) {
	signer, public, err := testSigner(s, secret)
	if err != nil {
		return nil, err
	}
	v, err := NewVerifier(s, public)
	if err != nil {
		return nil, err
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.ID == "" {
		e.ID = "msg_" + rand.Text()
	}
	m := message{timestamp: s.Unit.write(e.Time), id: e.ID, urls: noURL}
	at := s.URL
	if at == "" {
		at = "https://example.com/webhooks"
	}
	in := incoming{http.MethodPost, at, make(http.Header), bytes.Clone(e.Data)}
	kind := "application/json"
	if isJSON, err := delivery.IsJSON(nil, in.body); !isJSON || err != nil {
		kind = "application/x-www-form-urlencoded"
	}
	in.header.Set("Content-Type", kind)
	for _, x := range []struct{ at, value string }{{s.ID, e.ID}, {s.Type, e.Type}, {s.Timestamp, m.timestamp}} {
		if first, _, _ := strings.Cut(x.at, "|"); first == hashOfBody {
			continue
		} else if name, ok := strings.CutPrefix(first, "query:"); ok {
			in.url = addParameter(in.url, name, x.value)
		} else if headers.IsToken(first) && x.value != "" {
			name, rest, several := strings.Cut(first, "+")
			in.header.Set(name, x.value)
			for several { // the further parts of an ID
				name, rest, several = strings.Cut(rest, "+")
				in.header.Set(name, "1")
			}
		} else if x.at == s.Timestamp {
			if in.body, err = insert(in.body, first, m.timestamp); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range v.signed {
		switch p.kind {
		case partJSON:
			value, _ := p.at.find(&in)
			if value == "" {
				if value = rand.Text(); p.text == s.ID {
					value = e.ID
				}
				if in.body, err = insert(in.body, p.text, value); err != nil {
					return nil, err
				}
			}
			m.json = append(m.json, value)
		case partForm:
			if m.form, err = in.readForm(); err != nil {
				return nil, err
			}
		}
	}
	sign := func(in *incoming, m *message) (string, error) {
		k := v.keys[0]
		room := k.idle.Get().(*scratch)
		at := in.url
		if s.writings != nil && strings.HasPrefix(s.Header, "query:") { // what is signed in place of the URL
			forms, err := s.writings(in.url)
			if err != nil {
				return "", err
			}
			at = forms[0]
		}
		k.digest(v, room, in, m, at)
		signature, err := signer(room)
		if err != nil {
			return "", err
		}
		text := hex.EncodeToString(signature)
		switch {
		case s.Algorithm == PlainToken && s.Encoding == Base64:
			text = base64.StdEncoding.EncodeToString([]byte(secret.Reveal()))
		case s.Algorithm == PlainToken:
			text = secret.Reveal()
		case s.Encoding == Base64:
			text = base64.StdEncoding.EncodeToString(signature)
		}
		text = k.prefix + text
		if v.stampInList {
			text = s.Timestamp + m.timestamp + s.Separator + text
		}
		return text, nil
	}
	first, _, _ := strings.Cut(s.Header, "|")
	if s.PerItem {
		if in.body, err = signItems(v, in.body, first, sign); err != nil {
			return nil, err
		}
	} else {
		text, err := sign(&in, &m)
		if err != nil {
			return nil, err
		}
		if name, ok := strings.CutPrefix(first, "query:"); ok {
			in.url = addParameter(in.url, name, text)
		} else if headers.IsToken(first) {
			in.header.Set(first, text)
		} else if in.body, err = insert(in.body, first, text); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequest(in.method, in.url, bytes.NewReader(in.body))
	if err != nil {
		return nil, err
	}
	req.Header = in.header
	switch err := v.verify(&belay.Delivery{Events: make([]belay.WebhookEvent, 1)}, &in); {
	case err == nil, errors.Is(err, belay.ErrTooOld), errors.Is(err, belay.ErrTooNew),
		errors.Is(err, belay.ErrData), errors.Is(err, belay.ErrBodyTooLarge):
		return req, nil // a test may ask for such a time or such data
	default:
		return nil, fmt.Errorf("what is signed so is refused: %w", err)
	}
}

// addParameter returns rawURL with one more query parameter.
func addParameter(rawURL, name, value string) string {
	separator := "?"
	if strings.Contains(rawURL, "?") {
		separator = "&"
	}
	return rawURL + separator + url.QueryEscape(name) + "=" + url.QueryEscape(value)
}

// signItems returns body with a signature at place in each of its events.
func signItems(
	v *Verifier, body []byte, place string, sign func(*incoming, *message) (string, error),
) ([]byte, error) {
	doc := jsonscan.New(body)
	n, _, _, err := doc.Array(strings.TrimPrefix(v.scheme.Events, "."))
	if err != nil || n == 0 {
		return nil, fmt.Errorf("the data must have an array of events at %q", v.scheme.Events)
	}
	array, elements := doc.Raw(), doc.Elements()
	var signed [][]byte
	for range n {
		data, _, err := elements.Next()
		if err != nil {
			return nil, err
		}
		item, m := incoming{body: data}, message{urls: noURL}
		for _, p := range v.signed {
			if p.kind == partJSON {
				value, err := p.at.find(&item)
				if err != nil {
					return nil, err
				}
				m.json = append(m.json, value)
			}
		}
		text, err := sign(&item, &m)
		if err != nil {
			return nil, err
		}
		if data, err = insert(data, place, text); err != nil {
			return nil, err
		}
		signed = append(signed, data)
	}
	all := append(append([]byte("["), bytes.Join(signed, []byte(","))...), ']')
	return bytes.Replace(body, array, all, 1), nil
}

// testSigner returns a function that makes the signature after digest has run, and the secret that verifies
// it: the public key of a private one, or the secret itself.
func testSigner(s Scheme, secret belay.Secret) (func(*scratch) ([]byte, error), belay.Secret, error) {
	text := secret.Reveal()
	private, isPrivate := strings.CutPrefix(text, "whsk_")
	switch {
	case s.Base64Key && isPrivate, s.Algorithm == Ed25519:
		raw, err := hex.DecodeString(private)
		if err != nil {
			raw, err = strictBase64.DecodeString(private)
		}
		var key ed25519.PrivateKey
		switch {
		case err == nil && len(raw) == ed25519.SeedSize:
			key = ed25519.NewKeyFromSeed(raw)
		case err == nil && len(raw) == ed25519.PrivateKeySize:
			key = raw
		default:
			return nil, belay.Secret{}, errors.New("the secret is not an ed25519 private key: 32 or 64 bytes in hex or base64")
		}
		public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
		if isPrivate {
			public = "whpk_" + public
		}
		return func(s *scratch) ([]byte, error) { return ed25519.Sign(key, s.text), nil }, belay.NewSecret(public), nil
	case s.Algorithm == ECDSAP256:
		key, err := ecdsaPrivateKey(text)
		if err != nil {
			return nil, belay.Secret{}, err
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		sign := func(s *scratch) ([]byte, error) { return key.Sign(rand.Reader, s.sum, crypto.SHA256) }
		return sign, belay.NewSecret(base64.StdEncoding.EncodeToString(der)), err
	}
	return func(s *scratch) ([]byte, error) { return s.sum, nil }, secret, nil
}

// ecdsaPrivateKey decodes a P-256 private key from the base64 of its DER, in PKCS #8 or SEC 1.
func ecdsaPrivateKey(text string) (*ecdsa.PrivateKey, error) {
	if der, err := strictBase64.DecodeString(text); err == nil {
		if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			if k, ok := key.(*ecdsa.PrivateKey); ok && k.Curve == elliptic.P256() {
				return k, nil
			}
		}
		if k, err := x509.ParseECPrivateKey(der); err == nil && k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, errors.New("the secret is not a P-256 private key: its DER in base64")
}

// insert writes value to the place at, "json:" and a path, and returns the new body. It makes the objects on
// the path where they are missing. A value of digits alone becomes a number. The body must be a JSON object.
// If at is not a place in the body, body is returned as it is.
func insert(body []byte, at, value string) ([]byte, error) {
	path, ok := strings.CutPrefix(at, "json:")
	if !ok {
		return body, nil
	}
	var whole map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&whole); err != nil || whole == nil {
		return nil, errors.New("the data must be a JSON object, as the signature or its time stand in it")
	}
	names, object := strings.Split(path, "."), whole
	for _, name := range names[:len(names)-1] {
		inner, _ := object[name].(map[string]any)
		if inner == nil {
			inner = make(map[string]any)
			object[name] = inner
		}
		object = inner
	}
	object[names[len(names)-1]] = value
	if strings.Trim(value, "0123456789") == "" {
		object[names[len(names)-1]] = json.Number(value)
	}
	return json.Marshal(whole)
}
