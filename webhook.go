// Package webhook verifies the webhooks of some twenty-five partners. This file has what all webhooks have in common, and
// verifies the commonest kind by itself: an HMAC over the raw body in one header.

package belay

import (
	"crypto"
	"crypto/hmac"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/delivery"
	"github.com/belay-go/belay/internal/fault"
	"github.com/belay-go/belay/internal/headers"
)

// The reasons for which a webhook is not believed. An answer of 401 fits all of them. A body above the limit is
// [ErrBodyTooLarge], a body that is signed well but is not what was promised [ErrData].
var (
	// ErrNoSignature is a request that is not signed.
	ErrNoSignature = delivery.ErrNoSignature
	// ErrMalformedSignature is a signature, or a time beside it, that cannot be read.
	ErrMalformedSignature = delivery.ErrMalformedSignature
	// ErrBadSignature is a signature that none of the secrets makes.
	ErrBadSignature = delivery.ErrBadSignature
	// ErrTooOld is a signature that matches, of a time further back than the tolerance.
	ErrTooOld = delivery.ErrTooOld
	// ErrTooNew is a signature that matches, of a time further ahead than the tolerance.
	ErrTooNew = delivery.ErrTooNew
)

// Delivery is one request of a partner, verified. It may carry several events.
type Delivery struct {
	// ID is the same when the partner sends the delivery again. Where it gives none, it is "sha256:" and a hash of the events' IDs, or
	// of the body.
	ID string
	// Partner is the name that the verifier was given, Integration the customer whose events these are: a verifier does not
	// know it, a receiver does.
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

// WebhookHMAC says how a partner signs its webhooks where that is the HMAC of the raw body in one header (RFC 2104), as GitHub,
// Shopify and many others do. Header is needed; the zero value of every other field works. For signatures over more than the
// body, and for public keys, use package webhook.
//
// Nothing but the body is signed: whoever sends a delivery again can change its ID and its type.
type WebhookHMAC struct {
	// Partner becomes [Delivery].Partner.
	Partner string
	// Header is the name of the header that holds the signature.
	Header string
	// Prefix stands before the signature, such as "sha256=". Empty means that nothing does.
	Prefix string
	// Hash is the HMAC's. Zero means crypto.SHA256; crypto.MD5 is refused.
	Hash crypto.Hash
	// Base64 says that the signature is written in base64 (the standard alphabet, with padding). Otherwise it is in hex.
	Base64 bool
	// ID and Type are the names of the headers with the event's ID and type. Where the name or the header is empty, the ID is
	// "sha256:" and the hash of the body, and the type is empty.
	ID, Type string
	// MaxBytes is how large a body may be. Zero means 1 MiB; negative is an error.
	MaxBytes int64
}

// WebhookVerifier tells a partner's webhooks from anybody's. Make it with [NewWebhookVerifier]. It is safe for concurrent use. A
// nil one believes nothing.
type WebhookVerifier struct {
	how    WebhookHMAC
	header string // how.Header, canonical
	keys   []*webhookKey
}

// webhookKey is a secret with its keyed state. Keeping that saves two blocks of hashing for each delivery (about 150 ns of 900).
type webhookKey struct {
	secret func() []byte // a func, so that it does not print
	idle   sync.Pool     // of *webhookHash
}

// webhookHash is what one verification works with.
type webhookHash struct {
	mac            hash.Hash
	want, received []byte
}

// strictBase64 refuses a last character that has bits which do not count: one signature has one text.
var strictBase64 = base64.StdEncoding.Strict()

// NewWebhookVerifier returns a verifier of what any of the secrets has signed: the current one and, while it is changed, the one
// before or after. Secrets are used as they stand. No secret, an empty or blank one, and a field out of range are errors.
func NewWebhookVerifier(how WebhookHMAC, secrets ...Secret) (*WebhookVerifier, error) {
	var faults fault.List
	for _, x := range []struct{ field, name string }{{"Header", how.Header}, {"ID", how.ID}, {"Type", how.Type}} {
		needed := x.field == "Header"
		faults.If((x.name != "" || needed) && !headers.IsToken(x.name), "%s %q is not the name of a header", x.field, x.name)
	}
	how.ID, how.Type = http.CanonicalHeaderKey(how.ID), http.CanonicalHeaderKey(how.Type)
	if how.Hash == 0 {
		how.Hash = crypto.SHA256
	}
	switch how.Hash {
	case crypto.MD4, crypto.MD5, crypto.MD5SHA1:
		faults.If(true, "Hash %s is broken", how.Hash)
	default:
		faults.If(!how.Hash.Available(), "Hash %s is not linked into the program", how.Hash)
	}
	faults.If(how.MaxBytes < 0, "MaxBytes %d must not be negative", how.MaxBytes)
	if how.MaxBytes == 0 {
		how.MaxBytes = delivery.DefaultMaxBytes
	}
	faults.If(len(secrets) == 0, "no secret")
	for i, s := range secrets {
		err := s.Check()
		if err == nil && strings.TrimSpace(s.Reveal()) == "" {
			err = errors.New("the secret is blank")
		}
		if err != nil {
			faults.Add(fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err))
		}
	}
	if err := faults.Err(); err != nil {
		return nil, invalid("NewWebhookVerifier: %w", fault.OneLine(err))
	}
	v := &WebhookVerifier{how: how, header: http.CanonicalHeaderKey(how.Header)}
	for _, s := range secrets {
		k := &webhookKey{secret: func() []byte { return []byte(s.Reveal()) }}
		k.idle.New = func() any { return &webhookHash{mac: hmac.New(how.Hash.New, k.secret())} }
		v.keys = append(v.keys, k)
	}
	return v, nil
}

// Format writes the partner's name, for every verb.
func (v *WebhookVerifier) Format(f fmt.State, _ rune) {
	name := "nil"
	if v != nil {
		name = v.how.Partner
	}
	_, _ = io.WriteString(f, "belay.WebhookVerifier("+name+")")
}

// Verify returns the delivery of which h and body are the header and the body, byte by byte as they came, or why it is not
// believed. It is for what comes by a queue or a function. The delivery keeps h and body.
func (v *WebhookVerifier) Verify(h http.Header, body []byte) (d Delivery, err error) {
	// On the caller's stack, where Verify is inlined and d stays there: 96 bytes fewer to allocate. That takes a Verify that is
	// small, so VerifyInto must not be inlined into it (TestAllocationsOfWebhookHMAC is red otherwise).
	d.Events = make([]WebhookEvent, 1)
	err = v.VerifyInto(&d, h, body)
	return d, err
}

// VerifyRequest reads the request's body, at most MaxBytes of it, and returns the delivery, or why it is not believed. A body
// that was read whole can be read again.
func (v *WebhookVerifier) VerifyRequest(r *http.Request) (d Delivery, err error) {
	if v == nil || r == nil {
		return d, fmt.Errorf("%w: the verifier or the request is nil", ErrBadSignature)
	}
	if _, err := v.signature(r.Header); err != nil { // the body is not worth reading
		return d, err
	}
	body, err := delivery.ReadBody(r, v.how.MaxBytes)
	if err != nil {
		return d, err
	}
	return v.Verify(r.Header, body)
}

// VerifyInto is Verify for a delivery whose memory is used again: d.Events has room for one event, or gets it. On an error d is
// emptied.
//
//go:noinline
func (v *WebhookVerifier) VerifyInto(d *Delivery, h http.Header, body []byte) (err error) {
	defer func() {
		if err != nil {
			*d = Delivery{}
		}
	}()
	if v == nil {
		return fmt.Errorf("%w: the verifier is nil", ErrBadSignature)
	}
	if err := delivery.CheckSize(len(body), v.how.MaxBytes); err != nil {
		return err
	}
	text, err := v.signature(h)
	if err != nil {
		return err
	}
	if err := v.match(text, body); err != nil {
		return err
	}
	if len(d.Events) == 0 {
		d.Events = make([]WebhookEvent, 1)
	}
	d.Events = d.Events[:1]
	e := &d.Events[0]
	*e = WebhookEvent{}
	isJSON, err := delivery.IsJSON(h, body)
	if err != nil {
		return err
	}
	if isJSON {
		e.Data = body
	}
	if e.ID, err = delivery.Text(h, v.how.ID); err != nil {
		return err
	}
	if e.Type, err = delivery.Text(h, v.how.Type); err != nil {
		return err
	}
	if e.ID == "" {
		e.ID = delivery.HashID(body)
	}
	d.ID, d.Partner, d.Integration, d.Header, d.Body, d.Answer = e.ID, v.how.Partner, "", h, body, nil
	return nil
}

// signature returns what stands where the signature should.
func (v *WebhookVerifier) signature(h http.Header) (string, error) {
	text, err := delivery.Header(h, v.header)
	if err != nil {
		return "", err
	}
	return text, delivery.CheckSignature(text, v.how.Header)
}

// match reports by its error whether one of the secrets makes the signature. Which byte is wrong makes no difference to the time
// that it takes.
func (v *WebhookVerifier) match(text string, body []byte) error {
	text, readable := strings.CutPrefix(text, v.how.Prefix)
	readable = readable && text != "" && len(text) <= delivery.MaxSignature
	for i := 0; readable && i < len(v.keys); i++ {
		k := v.keys[i]
		s := k.idle.Get().(*webhookHash)
		same := false
		if readable = s.read(text, v.how.Base64); readable {
			s.mac.Reset()
			s.mac.Write(body)
			s.want = s.mac.Sum(s.want[:0])
			same = hmac.Equal(s.want, s.received)
		}
		k.idle.Put(s)
		if same {
			return nil
		}
	}
	if !readable {
		return fmt.Errorf("%w: none can be read as one of %s", ErrMalformedSignature, v.how.Partner)
	}
	return ErrBadSignature
}

// read leaves a signature in s.received, and reports whether it is as long as the hash.
func (s *webhookHash) read(text string, inBase64 bool) bool {
	var err error
	switch {
	case !inBase64:
		s.received, err = hex.AppendDecode(s.received[:0], []byte(text))
	case strings.ContainsAny(text, "\r\n"): // the decoder would pass over them
		return false
	default:
		s.received, err = strictBase64.AppendDecode(s.received[:0], []byte(text))
	}
	return err == nil && len(s.received) == s.mac.Size()
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
	DeadLettered bool
	Err          error
}

func (DeliveryReceived) event() {}
func (DeliveryRejected) event() {}
func (EventHandled) event()     {}
