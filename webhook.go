package belay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The reasons for which a webhook is not believed. An answer of 401 fits all of them. A body above the limit is
// [ErrBodyTooLarge], one that is signed well but is not what the scheme promises [ErrData].
var (
	// ErrNoSignature is a request that is not signed.
	ErrNoSignature = errors.New("belay: webhook is not signed")
	// ErrMalformedSignature is a signature, or a time beside it, that cannot be read.
	ErrMalformedSignature = errors.New("belay: webhook signature is malformed")
	// ErrBadSignature is a signature that none of the secrets makes.
	ErrBadSignature = errors.New("belay: webhook signature does not match")
	// ErrTooOld is a signature that matches, of a time further back than the tolerance.
	ErrTooOld = errors.New("belay: webhook is too old")
	// ErrTooNew is a signature that matches, of a time further ahead than the tolerance.
	ErrTooNew = errors.New("belay: webhook is from the future")
)

// Delivery is one request of a partner, verified. It may carry several events.
type Delivery struct {
	// ID is the same when the partner sends the delivery again. Where it gives none, it is "sha256:" and a hash of the events' IDs, or
	// of the body.
	ID string
	// Partner is the scheme's name, Integration whose events these are: a [Verifier] does not know, a receiver does.
	Partner, Integration string
	// Header and Body are as they came. Neither is copied.
	Header http.Header
	Body   []byte
	// Events has at least one, but when Answer is not nil.
	Events []WebhookEvent
	// Answer is what to answer at once to a request that carries no event, but asks whether the endpoint is alive and
	// ours. Nil for all others.
	Answer *Answer
}

// WebhookEvent is one thing that happened at the partner.
type WebhookEvent struct {
	// ID tells events apart, and is the same when one comes again. Where the partner gives none, it is the delivery's; of several
	// events it is the delivery's with "#" and the event's place behind it or, where that has none either, "sha256:" and the hash of
	// Data, with "#2" and so on behind it for those that say the same.
	ID string
	// Type is the partner's name for what happened, empty when it does not say.
	Type string
	// Time is when it happened by the partner's clock, zero when it does not say.
	Time time.Time
	// Data is the event's JSON: the delivery's body, or one element of it. Nil when the body does not begin as JSON does; whether it is
	// JSON to its end shows when it is decoded.
	Data json.RawMessage
}

// Answer is a response that the partner waits for.
type Answer struct {
	Status      int    // zero means 200
	ContentType string // of Body; empty when there is none
	Body        []byte
}

// Verifier tells a partner's webhooks from anybody's. It is safe for concurrent use. A nil Verifier believes nothing.
type Verifier struct {
	scheme Scheme
	keys   []*webhookKey
	signed []signedPart
	fields fields
	at     places // of the signature
	stamp  places // of its time, where that has a place of its own
	within time.Duration
	limit  int64
	plain  *plainPlaces // nil unless the scheme is as plain as that

	stampInList bool // the time stands in the list of signatures
	dotted      bool // a dot ends the id, and nothing else tells where it ends
	fixedURL    bool // the URL is signed as it is configured
}

// NewVerifier returns a verifier of what any of the secrets has signed: the current one and, while it is changed, the one
// before or after. No secret, an empty one, one that the scheme cannot use and a scheme that lacks something are errors.
//
// What a secret is, is the partner's choice: text that is used as it stands; for [StandardWebhooksScheme] and [SvixScheme]
// base64 behind "whsec_", or a public key behind "whpk_"; for [DiscordScheme] a public key in hex, for [SendGridScheme] one in
// base64.
func NewVerifier(s Scheme, secrets ...Secret) (*Verifier, error) {
	v := &Verifier{scheme: s, within: s.tolerance(), limit: s.maxBytes()}
	errs := []error{v.compile()}
	if len(secrets) == 0 {
		errs = append(errs, errors.New("no secret"))
	}
	for i, secret := range secrets {
		k, err := newWebhookKey(s, secret)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err))
		}
		v.keys = append(v.keys, k)
	}
	if err := errors.Join(errs...); err != nil {
		name := cmp.Or(s.Name, "the scheme")
		return nil, invalid("NewVerifier: %s: %s", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	v.plain = v.plainPlaces()
	return v, nil
}

// Format writes the scheme's name, for every verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	name := "nil"
	if v != nil {
		name = v.scheme.Name
	}
	_, _ = io.WriteString(f, "belay.Verifier("+name+")")
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
func (v *Verifier) Verify(h http.Header, body []byte) (d Delivery, err error) {
	d.Events = make([]WebhookEvent, 1) // on the caller's stack, where this is inlined and d stays there
	err = v.verifyPost(&d, h, body)
	return d, err
}

func (v *Verifier) verifyPost(d *Delivery, h http.Header, body []byte) error {
	if v == nil {
		*d = Delivery{}
		return fmt.Errorf("%w: the verifier is nil", ErrBadSignature)
	}
	return v.verify(d, &incoming{http.MethodPost, v.scheme.URL, h, body})
}

// VerifyRequest reads the request's body, at most Scheme.MaxBytes of it, and returns the delivery, or why it is not believed.
// A body that was read whole can be read again by who comes next. Where the scheme signs the URL, scheme, host and path are those
// of Scheme.URL, whatever proxies have made of them; the query is the request's, and where partners call nothing but Scheme.URL, it
// must be the same.
func (v *Verifier) VerifyRequest(r *http.Request) (d Delivery, err error) {
	if v == nil || r == nil {
		return d, fmt.Errorf("%w: the verifier or the request is nil", ErrBadSignature)
	}
	if !v.at.inBody() {
		if _, err := v.signatures(&incoming{header: r.Header}); err != nil { // the body is not worth reading
			return d, err
		}
	}
	body, err := readWebhook(r, v.limit)
	if err != nil {
		return d, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if r.Method == http.MethodGet && len(body) > 0 {
		return d, fmt.Errorf("%w: a GET with a body", ErrMalformedSignature)
	}
	at := v.scheme.URL
	if at != "" && r.URL != nil {
		bare, query, _ := strings.Cut(at, "?")
		if v.fixedURL && query != r.URL.RawQuery {
			return d, fmt.Errorf("%w: the query is not that of the scheme's URL", ErrBadSignature)
		}
		if at = bare; r.URL.RawQuery != "" {
			at += "?" + r.URL.RawQuery
		}
	}
	d.Events = make([]WebhookEvent, 1)
	err = v.verify(&d, &incoming{r.Method, at, r.Header, body})
	return d, err
}

// readWebhook reads a body of at most limit bytes. It takes memory as the bytes come, not as they are announced.
func readWebhook(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes are announced, %d are taken", ErrBodyTooLarge, r.ContentLength, limit)
	}
	const first = 32 << 10
	size := int64(512)
	if r.ContentLength > 0 {
		size = min(r.ContentLength, first) + 1 // one more, so that the end is seen without growing
	}
	body := make([]byte, 0, size)
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, limit)
		case err == io.EOF:
			return body, nil
		case err != nil:
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, tooLarge.Limit)
			}
			return nil, fmt.Errorf("belay: webhook: reading the body: %w", err)
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(512, min(len(body), int(limit)+1-len(body))))
		}
	}
}

// incoming is what is to be verified.
type incoming struct {
	method, url string
	header      http.Header
	body        []byte
}

// verify fills in d, which has room for one event, or empties it. That room stays where it is, with Verify's caller, for as long as
// nothing below keeps or returns d.Events.
func (v *Verifier) verify(d *Delivery, in *incoming) error {
	if v.plain != nil && v.acceptPlain(d, in.header, in.body) {
		return nil
	}
	err := v.weigh(d, in)
	if err != nil {
		*d = Delivery{}
	}
	return err
}

// weigh does so for every scheme, and for whatever may come.
func (v *Verifier) weigh(d *Delivery, in *incoming) error {
	if int64(len(in.body)) > v.limit {
		return fmt.Errorf("%w: %d bytes, %d are taken", ErrBodyTooLarge, len(in.body), v.limit)
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
		return fmt.Errorf("%w: the time: %w", ErrMalformedSignature, err)
	}
	tolerance := v.within
	if tolerance < 0 {
		if !v.scheme.Unit.usual(raw) {
			return fmt.Errorf("%w: the time has %d digits", ErrMalformedSignature, len(raw))
		}
		return nil
	}
	switch age := time.Since(at); {
	case age > tolerance:
		return fmt.Errorf("%w: signed %v ago, the tolerance is %v", ErrTooOld, age.Round(time.Second), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: signed %v ahead, the tolerance is %v", ErrTooNew, max(-math.MaxInt64, age).Abs().Round(time.Second), tolerance)
	}
	return nil
}

// DeliveryReceived says that a webhook was verified and is kept, or was known already.
type DeliveryReceived struct {
	Partner, Integration string
	ID                   string // the delivery's
	Events               int    // in it
	Stored               bool   // false when all of them were known already
	Bytes                int
	Duration             time.Duration // from the first byte of the body to the answer
}

// DeliveryRejected says that a webhook was not taken.
type DeliveryRejected struct {
	Partner, Integration string
	Status               int    // of the answer
	Reason               string // one of a few words, for a metric's label: "signature", "size", …
	Err                  error
}

// EventHandled says how an attempt to handle a webhook's event has ended.
type EventHandled struct {
	Partner, Integration string
	ID, Type             string
	Attempt              int           // from 1
	Age                  time.Duration // since it was received
	Duration             time.Duration // of the attempt
	// Retry is when the next attempt follows, zero when none does: Err is nil then, or the event is set aside.
	Retry time.Duration
	// Aside is set when no more attempts follow, and the event is kept as it is.
	Aside bool
	Err   error
}

func (DeliveryReceived) event() {}

func (DeliveryRejected) event() {}

func (EventHandled) event() {}
