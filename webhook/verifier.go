// Package webhook verifies webhooks: it tells a partner's deliveries from those of anybody else. A [Scheme]
// describes how a partner signs; for some forty partners there is a function that returns it, such as
// [Stripe]. [NewVerifier] takes a scheme and the secrets:
//
//	v, err := webhook.NewVerifier(webhook.Stripe(), belay.NewSecret(os.Getenv("STRIPE_WEBHOOK_SECRET")))
//	...
//	d, err := v.VerifyRequest(r) // in an http.Handler; belay.ErrBadSignature, for example, if it is not the partner's
//
// Package inbox receives deliveries, has them verified, stores their events and passes them to handlers.
// [SignTest] makes signed requests for tests.
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
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/jsonscan"
)

// Verifier verifies a partner's webhooks. Make it with [NewVerifier]. It is safe for concurrent use. A nil
// Verifier refuses every delivery with [belay.ErrBadSignature].
type Verifier struct {
	scheme    Scheme
	keys      []*signingKey
	signed    []signedPart
	fields    fields
	at        places // of the signature
	stamp     places // of the signature's time; nil if there is none or it is in the list of signatures
	tolerance time.Duration
	limit     int64                  // of the body, in bytes
	plain     *belay.WebhookVerifier // for a scheme that signs the body alone; nil for other schemes

	inQuery     bool // the signature or its time is in the query
	stampInList bool // the signature's time is an element of the list of signatures
	dotted      bool // the id must have no dot: a dot ends it in the signed text, and no time is compared with the clock
	fixedURL    bool // Signed has {url}, so the query of a request must be the query of Scheme.URL
}

// NewVerifier returns a verifier that accepts deliveries signed with any of the secrets: the current one and,
// while the secret is being changed, the previous or the next one. It returns a [belay.ErrInvalid] if there
// is no secret, if a secret is empty or the scheme cannot use it, and if the scheme is incomplete or wrong.
//
// The partner chooses the form of the secret. Most secrets are text that is used as it is. For
// [StandardWebhooks] and [Svix] it is base64 after "whsec_", or a public key after "whpk_"; for [Discord] it
// is a public key in hex, for [SendGrid] a public key in base64.
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
		return nil, errkit.Invalidf("NewVerifier: %s: %w", cmp.Or(s.Name, "the scheme"), err)
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

// Scheme returns the scheme that the verifier was made with. It holds no secret. For a nil Verifier it is the
// zero Scheme.
func (v *Verifier) Scheme() Scheme {
	if v == nil {
		return Scheme{}
	}
	return v.scheme
}

// Verify verifies a delivery from its header and its body, and returns it, or an error that says why it is
// refused. The body must be byte for byte as it was received. Verify is for deliveries that come from a queue
// or a cloud function; use [Verifier.VerifyRequest] for an HTTP request.
//
// The method counts as POST. If the scheme signs the URL, Scheme.URL must be the URL that was called, with
// its query. The delivery keeps h and body.
//
// The error is [belay.ErrNoSignature], [belay.ErrMalformedSignature], [belay.ErrBadSignature],
// [belay.ErrTooOld], [belay.ErrTooNew], [belay.ErrBodyTooLarge] or [belay.ErrData].
func (v *Verifier) Verify(h http.Header, body []byte) (d belay.Delivery, err error) {
	// On the caller's stack if Verify is inlined and d does not escape there. This saves an allocation
	// (TestAllocationsOfVerify is red otherwise).
	d.Events = make([]belay.WebhookEvent, 1)
	err = v.verifyPost(&d, h, body)
	return d, err
}

// verifyPost is Verify for a d that has room for one event. On an error it empties d.
func (v *Verifier) verifyPost(d *belay.Delivery, h http.Header, body []byte) error {
	if v == nil {
		*d = belay.Delivery{}
		return fmt.Errorf("%w: the verifier is nil", belay.ErrBadSignature)
	}
	return v.verify(d, &incoming{http.MethodPost, v.scheme.URL, h, body})
}

// VerifyRequest reads the request's body, verifies the delivery and returns it, or an error that says why it
// is refused. A body above Scheme.MaxBytes is a [belay.ErrBodyTooLarge]. A body that was read to its end can
// be read again from r.
//
// If the scheme signs the URL, its scheme, host and path are taken from Scheme.URL, because proxies may
// change them in the request. The query is the request's. If Signed has {url}, the query must be the same as
// in Scheme.URL.
//
// The error is one that Verify returns, or the error of reading the body.
func (v *Verifier) VerifyRequest(r *http.Request) (d belay.Delivery, err error) {
	if v == nil || r == nil {
		return d, fmt.Errorf("%w: the verifier or the request is nil", belay.ErrBadSignature)
	}
	if d, ok, err := v.echo(r); ok {
		return d, err
	}
	at := v.scheme.URL
	if at == "" && v.inQuery && r.URL != nil {
		at = "?" + r.URL.RawQuery
	} else if at != "" && r.URL != nil {
		bare, query, _ := strings.Cut(at, "?")
		if v.fixedURL && query != r.URL.RawQuery {
			return d, fmt.Errorf("%w: the query is not that of the scheme's URL", belay.ErrBadSignature)
		}
		if at = bare; r.URL.RawQuery != "" {
			at += "?" + r.URL.RawQuery
		}
	}
	if !v.at.inBody() {
		// Do not read the body of a request without a usable signature.
		if _, err := v.signatures(&incoming{header: r.Header, url: at}); err != nil {
			return d, err
		}
	}
	body, err := delivery.ReadBody(r, v.limit)
	if err != nil {
		return d, err
	}
	d.Events = make([]belay.WebhookEvent, 1)
	err = v.verify(&d, &incoming{r.Method, at, r.Header, body})
	return d, err
}

// maxEcho is the most bytes of a parameter that are sent back.
const maxEcho = 1 << 10

// echo returns the answer to a request that wants the parameter Scheme.Echo back, or that is Scheme.Probe, and whether r
// is one. Nobody has signed it, so it carries no event.
func (v *Verifier) echo(r *http.Request) (d belay.Delivery, ok bool, err error) {
	if r.Method == v.scheme.Probe && r.Method != "" {
		return belay.Delivery{Partner: v.scheme.Name, Header: r.Header, Answer: &belay.Answer{Status: http.StatusOK}}, true, nil
	}
	if v.scheme.Echo == "" || r.ContentLength > 0 || r.URL == nil || !strings.Contains(r.URL.RawQuery, v.scheme.Echo) {
		return d, false, nil
	}
	token := r.URL.Query().Get(v.scheme.Echo)
	switch {
	case token == "":
		return d, false, nil
	case len(token) > maxEcho:
		return d, true, fmt.Errorf("%w: %s has %d bytes, at most %d", belay.ErrMalformedSignature, v.scheme.Echo,
			len(token), maxEcho)
	}
	answer := belay.Answer{Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(token)}
	return belay.Delivery{Partner: v.scheme.Name, Header: r.Header, Answer: &answer}, true, nil
}

// incoming is a delivery that is not verified yet.
type incoming struct {
	method, url string
	header      http.Header
	body        []byte
}

// verify fills in d, which has room for one event, or empties it on an error. That event stays on the stack
// of Verify's caller, which saves an allocation, as long as no function below keeps or returns d.Events
// (TestAllocationsOfVerify is red otherwise).
//
// A scheme that signs the body alone has a fast path, v.plain. It must agree with verifyAny, which is for any
// scheme (TestBodyAloneIsVerifiedAlike compares them).
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

// bodyHMAC returns the scheme as a WebhookHMAC, and whether it can be one: an HMAC signs the body alone, and
// the ID, type and time of the event are in headers.
func (v *Verifier) bodyHMAC() (how belay.WebhookHMAC, ok bool) {
	s, f := &v.scheme, &v.fields
	hash, isHMAC := hmacs[s.Algorithm]
	if !isHMAC || s.Separator != "" || s.Base64Key || s.Timestamp != "" || s.Handshake != nil || s.Events != "" ||
		len(f.paths) > 0 || len(v.signed) != 1 || v.signed[0].kind != partBody || len(v.at) != 1 || v.at.inBody() ||
		len(f.id) > 1 || len(f.typ) > 1 || len(f.id) == 1 && (f.id[0].body || len(f.id[0].headers) > 1) ||
		len(f.typ) == 1 && len(f.typ[0].headers) > 1 {
		return how, false
	}
	how = belay.WebhookHMAC{
		Partner: s.Name, Header: s.Header, Prefix: s.Prefix, Hash: hash, Base64: s.Encoding == Base64, MaxBytes: v.limit,
	}
	for _, x := range f.id {
		how.ID = x.headers[0]
	}
	for _, x := range f.typ {
		how.Type = x.headers[0]
	}
	return how, true
}

var hmacs = map[Algorithm]crypto.Hash{HMACSHA1: crypto.SHA1, HMACSHA256: crypto.SHA256, HMACSHA512: crypto.SHA512}

// verifyAny verifies a delivery of any scheme and fills in d. On an error it may leave d half filled in.
func (v *Verifier) verifyAny(d *belay.Delivery, in *incoming) error {
	if err := delivery.CheckSize(len(in.body), v.limit); err != nil {
		return err
	}
	var m message
	if v.scheme.PerItem {
		if err := v.eachItem(in); err != nil {
			return err
		}
	} else if err := v.signedBy(in, &m); err != nil {
		return err
	}
	// Check the time after the signature, so that a sender without the secret learns nothing about it.
	if v.scheme.Timestamp != "" {
		if err := v.checkTime(m.timestamp); err != nil {
			return err
		}
	}
	d.Partner, d.Header, d.Body = v.scheme.Name, in.header, in.body
	if v.scheme.Handshake != nil {
		if d.Answer = v.scheme.Handshake(Greeting{in.header, in.body, m.key, v.scheme.Encoding}); d.Answer != nil {
			d.Events = nil
			return nil
		}
	}
	return v.fields.extract(d, in, &m)
}

// signedBy reads the signatures and the signed values into m, and returns an error unless one of the signatures is
// right.
func (v *Verifier) signedBy(in *incoming, m *message) error {
	if err := v.read(in, m); err != nil {
		return err
	}
	return v.match(in, m)
}

// eachItem returns an error unless every element of Scheme.Events has a right signature of its own.
func (v *Verifier) eachItem(in *incoming) error {
	doc := jsonscan.New(in.body)
	n, _, _, err := doc.Array(strings.TrimPrefix(v.scheme.Events, "."))
	switch {
	case err != nil:
		return fmt.Errorf("%w: the events: %v", belay.ErrMalformedSignature, err)
	case n == 0:
		return fmt.Errorf("%w: there is no event", belay.ErrNoSignature)
	case n > maxEvents:
		return fmt.Errorf("%w: %d events, at most %d", belay.ErrMalformedSignature, n, maxEvents)
	}
	if err := ambiguous(in.body, []string{v.scheme.Events + "."}); err != nil {
		return err
	}
	elements := doc.Elements()
	for i := range n {
		data, _, err := elements.Next()
		if err != nil {
			return fmt.Errorf("%w: event %d: %v", belay.ErrMalformedSignature, i+1, err)
		}
		if err := ambiguous(data, v.fieldPaths()); err != nil {
			return fmt.Errorf("event %d of %d: %w", i+1, n, err)
		}
		var m message
		if err := v.signedBy(&incoming{in.method, in.url, in.header, data}, &m); err != nil {
			return fmt.Errorf("event %d of %d: %w", i+1, n, err)
		}
	}
	return nil
}

// fieldPaths returns the paths of the fields that are signed by themselves, and that of the signature.
func (v *Verifier) fieldPaths() (paths []string) {
	for i := range v.signed {
		for _, p := range v.signed[i].at {
			paths = append(paths, p.path)
		}
	}
	if path, ok := strings.CutPrefix(v.scheme.Header, "json:"); ok {
		paths = append(paths, path)
	}
	return paths
}

// checkTime returns an error if the signed time is outside the tolerance. With a negative tolerance it checks
// only the form of raw.
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
		return fmt.Errorf("%w: signed %v ahead, the tolerance is %v",
			belay.ErrTooNew, max(-math.MaxInt64, age).Abs().Round(time.Second), tolerance)
	}
	return nil
}
