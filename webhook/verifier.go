// Package webhook tells a partner's webhooks from anybody's. A [Scheme] says what a partner signs, with what, and where; those of
// some twenty-five partners come ready, such as [Stripe]. [NewVerifier] takes a scheme and the secrets:
//
//	v, err := webhook.NewVerifier(webhook.Stripe(), belay.NewSecret(os.Getenv("STRIPE_WEBHOOK_SECRET")))
//	...
//	d, err := v.VerifyRequest(r) // of an http.Handler; why it is not believed, as belay.ErrBadSignature and its kin
//
// Package inbox receives what is verified, keeps it and hands it out. [SignTest] makes requests for tests.
package webhook

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/fault"
)

// Verifier tells a partner's webhooks from anybody's. It is safe for concurrent use. A nil Verifier believes nothing.
type Verifier struct {
	scheme    Scheme
	keys      []*signingKey
	signed    []signedPart
	fields    fields
	at        places // of the signature
	stamp     places // of its time, where that has a place of its own
	tolerance time.Duration
	limit     int64
	plain     *belay.WebhookVerifier // of a scheme that signs the body alone; nil for the others

	stampInList bool // the time stands in the list of signatures
	dotted      bool // a dot ends the id, and nothing else tells where it ends
	fixedURL    bool // the URL is signed as it is configured
}

// NewVerifier returns a verifier of what any of the secrets has signed: the current one and, while it is changed, the one
// before or after. No secret, an empty one, one that the scheme cannot use and a scheme that lacks something are errors.
//
// What a secret is, is the partner's choice: text that is used as it stands; for [StandardWebhooks] and [Svix]
// base64 behind "whsec_", or a public key behind "whpk_"; for [Discord] a public key in hex, for [SendGrid] one in
// base64.
func NewVerifier(s Scheme, secrets ...belay.Secret) (*Verifier, error) {
	v := &Verifier{scheme: s, tolerance: s.tolerance(), limit: s.maxBytes()}
	errs := []error{v.compile()}
	if len(secrets) == 0 {
		errs = append(errs, errors.New("no secret"))
	}
	for i, secret := range secrets {
		k, err := newSigningKey(s, secret)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err))
		}
		v.keys = append(v.keys, k)
	}
	if err := errors.Join(errs...); err != nil {
		name := cmp.Or(s.Name, "the scheme")
		return nil, fault.Invalidf("NewVerifier: %s: %s", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if how, ok := v.bodyHMAC(); ok {
		var err error
		if v.plain, err = belay.NewWebhookVerifier(how, secrets...); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Format writes the scheme's name, for every verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	name := "nil"
	if v != nil {
		name = v.scheme.Name
	}
	_, _ = io.WriteString(f, "webhook.Verifier("+name+")")
}

// Scheme returns what the verifier was made with. It holds no secret.
func (v *Verifier) Scheme() Scheme {
	if v == nil {
		return Scheme{}
	}
	return v.scheme
}

// Verify returns the delivery of which h and body are the header and the body, byte by byte as they came, or why it is not
// believed. It is for what comes by a queue or a function; a scheme that signs the URL takes Scheme.URL with its query as it
// was called, and POST as the method. The delivery keeps h and body.
func (v *Verifier) Verify(h http.Header, body []byte) (d belay.Delivery, err error) {
	d.Events = make([]belay.WebhookEvent, 1) // on the caller's stack, where this is inlined and d stays there
	err = v.verifyPost(&d, h, body)
	return d, err
}

func (v *Verifier) verifyPost(d *belay.Delivery, h http.Header, body []byte) error {
	if v == nil {
		*d = belay.Delivery{}
		return fmt.Errorf("%w: the verifier is nil", belay.ErrBadSignature)
	}
	return v.verify(d, &incoming{http.MethodPost, v.scheme.URL, h, body})
}

// VerifyRequest reads the request's body, at most Scheme.MaxBytes of it, and returns the delivery, or why it is not believed.
// A body that was read whole can be read again by who comes next. Where the scheme signs the URL, scheme, host and path are those
// of Scheme.URL, whatever proxies have made of them; the query is the request's, and where partners call nothing but Scheme.URL, it
// must be the same.
func (v *Verifier) VerifyRequest(r *http.Request) (d belay.Delivery, err error) {
	if v == nil || r == nil {
		return d, fmt.Errorf("%w: the verifier or the request is nil", belay.ErrBadSignature)
	}
	if !v.at.inBody() {
		if _, err := v.signatures(&incoming{header: r.Header}); err != nil { // the body is not worth reading
			return d, err
		}
	}
	body, err := delivery.ReadBody(r, v.limit)
	if err != nil {
		return d, err
	}
	at := v.scheme.URL
	if at != "" && r.URL != nil {
		bare, query, _ := strings.Cut(at, "?")
		if v.fixedURL && query != r.URL.RawQuery {
			return d, fmt.Errorf("%w: the query is not that of the scheme's URL", belay.ErrBadSignature)
		}
		if at = bare; r.URL.RawQuery != "" {
			at += "?" + r.URL.RawQuery
		}
	}
	d.Events = make([]belay.WebhookEvent, 1)
	err = v.verify(&d, &incoming{r.Method, at, r.Header, body})
	return d, err
}

// incoming is what is to be verified.
type incoming struct {
	method, url string
	header      http.Header
	body        []byte
}

// verify fills in d, which has room for one event, or empties it. That room stays where it is, with Verify's caller, as long as
// nothing below keeps or returns d.Events (TestAllocations is red then).
func (v *Verifier) verify(d *belay.Delivery, in *incoming) error {
	if v.plain != nil {
		err := v.plain.VerifyInto(d, in.header, in.body)
		if err == nil && len(v.fields.at) > 0 {
			d.Events[0].Time = v.fields.time(in.header, nil)
		}
		return err
	}
	err := v.verifyAny(d, in)
	if err != nil {
		*d = belay.Delivery{}
	}
	return err
}

// bodyHMAC returns the scheme as a WebhookHMAC, where it is one: the body alone is signed, and the headers have what there is to
// know of the event.
func (v *Verifier) bodyHMAC() (how belay.WebhookHMAC, ok bool) {
	s, f := &v.scheme, &v.fields
	hash, isHMAC := hmacs[s.Algorithm]
	if !isHMAC || s.Separator != "" || s.Base64Key || s.Timestamp != "" || s.Handshake != nil || s.Events != "" || len(f.paths) > 0 ||
		len(v.signed) != 1 || v.signed[0].kind != partBody || len(v.at) != 1 || v.at.inBody() || len(f.id) > 1 || len(f.typ) > 1 {
		return how, false
	}
	how = belay.WebhookHMAC{Partner: s.Name, Header: s.Header, Prefix: s.Prefix, Hash: hash, Base64: s.Encoding == Base64, MaxBytes: v.limit}
	for _, x := range f.id {
		how.ID = x.header
	}
	for _, x := range f.typ {
		how.Type = x.header
	}
	return how, true
}

var hmacs = map[Algorithm]crypto.Hash{HMACSHA1: crypto.SHA1, HMACSHA256: crypto.SHA256, HMACSHA512: crypto.SHA512}

// verifyAny verifies a delivery of any scheme.
func (v *Verifier) verifyAny(d *belay.Delivery, in *incoming) error {
	if err := delivery.CheckSize(len(in.body), v.limit); err != nil {
		return err
	}
	var m message
	if err := v.read(in, &m); err != nil {
		return err
	}
	if err := v.match(in, &m); err != nil {
		return err
	}
	// The time comes after the signature: who cannot sign learns nothing of it.
	if v.scheme.Timestamp != "" {
		if err := v.checkTime(m.timestamp); err != nil {
			return err
		}
	}
	d.Partner, d.Header, d.Body = v.scheme.Name, in.header, in.body
	if v.scheme.Handshake != nil {
		if d.Answer = v.scheme.Handshake(in.header, in.body); d.Answer != nil {
			d.Events = nil
			return nil
		}
	}
	return v.fields.extract(d, in, m.form)
}

// checkTime compares the signed time with the clock.
func (v *Verifier) checkTime(raw string) error {
	at, err := v.scheme.Unit.parse(raw)
	if err != nil {
		return fmt.Errorf("%w: the time: %w", belay.ErrMalformedSignature, err)
	}
	tolerance := v.tolerance
	if tolerance < 0 {
		if !v.scheme.Unit.plausible(raw) {
			return fmt.Errorf("%w: the time has %d digits", belay.ErrMalformedSignature, len(raw))
		}
		return nil
	}
	switch age := time.Since(at); {
	case age > tolerance:
		return fmt.Errorf("%w: signed %v ago, the tolerance is %v", belay.ErrTooOld, age.Round(time.Second), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: signed %v ahead, the tolerance is %v", belay.ErrTooNew, max(-math.MaxInt64, age).Abs().Round(time.Second), tolerance)
	}
	return nil
}
