// Package webhook verifies the webhooks of about forty partners. This file has the parts that all
// webhooks have in common. It also verifies the most common kind of signature: an HMAC over the raw body in
// one header.

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
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/headers"
)

// The reasons why a webhook is refused. An answer of 401 fits all of them. A body above the limit is
// [ErrBodyTooLarge]; a body with a valid signature but without the promised form is [ErrData].
var (
	// ErrNoSignature means that the request is not signed.
	ErrNoSignature = delivery.ErrNoSignature
	// ErrMalformedSignature means that the signature, or a time beside it, cannot be read.
	ErrMalformedSignature = delivery.ErrMalformedSignature
	// ErrBadSignature means that the signature matches none of the secrets.
	ErrBadSignature = delivery.ErrBadSignature
	// ErrTooOld means that the signature matches, but its time is further back than the tolerance.
	ErrTooOld = delivery.ErrTooOld
	// ErrTooNew means that the signature matches, but its time is further ahead than the tolerance.
	ErrTooNew = delivery.ErrTooNew
)

// Delivery is one verified request of a partner. It may carry several events.
type Delivery struct {
	// ID identifies the delivery. It is the same if the partner sends the delivery again. If the partner gives
	// no ID, it is "sha256:" and a hash of the events' IDs, or of the body.
	ID string
	// Partner is the name that the verifier was given. Integration is the customer to which the events belong:
	// a verifier does not know it, a receiver does.
	Partner, Integration string
	// Header and Body are as they were received. Neither is copied.
	Header http.Header
	Body   []byte
	// Events has at least one event, unless Answer is not nil.
	Events []WebhookEvent
	// Answer is the answer to send at once if the request carries no event, but checks that the endpoint is
	// alive and yours. It is nil for all other requests.
	Answer *Answer
}

// WebhookEvent is one event at the partner.
type WebhookEvent struct {
	// ID identifies the event. It is the same if the event is sent again. If the partner gives no ID, it is
	// the delivery's. If there are several events, it is the delivery's ID with "#" and the event's index
	// (from 0). If the delivery has no ID either, it is "sha256:" and the hash of what was signed, the time of the
	// signature with it, with "#2" and so on for further events with the same Data.
	ID string
	// Anonymous reports that nothing tells this event from a later one that says the same: the partner gives no
	// ID, and signs no time. ID is the hash of the body then. Two such deliveries may be two events, or one that was
	// sent twice; package inbox handles both.
	Anonymous bool
	// Type is the partner's name for the kind of event, empty if it does not say.
	Type string
	// Time is the time of the event by the partner's clock, zero if it does not say.
	Time time.Time
	// Data is the event's JSON: the body of the delivery, or one element of it. It is nil if the body does not
	// begin as JSON does. The rest of the JSON is not checked before it is decoded.
	Data json.RawMessage
}

// Answer is a response that the partner expects.
type Answer struct {
	Status      int    // zero means 200
	ContentType string // of Body; empty if there is none
	Body        []byte
}

// WebhookHMAC describes how a partner signs its webhooks, if the signature is the HMAC of the raw body in one
// header (RFC 2104), as at GitHub, Shopify and many others. Header is required; the zero value of every other
// field works. For signatures over more than the body, and for public keys, use package webhook.
//
// Only the body is signed: an attacker who sends a delivery again can change its ID and its type.
type WebhookHMAC struct {
	// Partner becomes [Delivery].Partner.
	Partner string
	// Header is the name of the header that holds the signature.
	Header string
	// Prefix is the text before the signature, such as "sha256=". Empty means that there is none.
	Prefix string
	// Hash is the hash function of the HMAC. Zero means crypto.SHA256; crypto.MD5 is an error.
	Hash crypto.Hash
	// Base64 says that the signature is in base64 (the standard alphabet, with padding). Otherwise it is in
	// hex.
	Base64 bool
	// ID and Type are the names of the headers with the event's ID and type. If the name or the header is
	// empty, the ID is "sha256:" and the hash of the body, the event is Anonymous, and the type is empty.
	ID, Type string
	// MaxBytes is the greatest size of a body in bytes. Zero means 1 MiB; negative is an error.
	MaxBytes int64
}

// WebhookVerifier tells a partner's webhooks from forged ones. Make it with [NewWebhookVerifier]. It is safe
// for concurrent use. A nil one refuses everything.
type WebhookVerifier struct {
	how    WebhookHMAC
	header string // how.Header, canonical
	keys   []*webhookKey
}

// webhookKey is a secret with its keyed state. Keeping the state saves two blocks of hashing for each delivery
// (about 150 ns of 900).
type webhookKey struct {
	secret func() []byte // a func, so that fmt does not print the secret
	idle   sync.Pool     // of *webhookHash
}

// webhookHash is the working memory of one verification.
type webhookHash struct {
	mac            hash.Hash
	want, received []byte
}

// strictBase64 refuses a last character with unused bits that are not zero, so that a signature has only one
// encoding.
var strictBase64 = base64.StdEncoding.Strict()

// NewWebhookVerifier returns a verifier that accepts the signatures of any of the secrets: the current one
// and, while it is being changed, the one before or after. Secrets are used as they stand. No secret, an empty
// or blank secret, and a field out of range are errors.
func NewWebhookVerifier(how WebhookHMAC, secrets ...Secret) (*WebhookVerifier, error) {
	var faults errkit.List
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
		return nil, invalid("NewWebhookVerifier: %w", err)
	}
	v := &WebhookVerifier{how: how, header: http.CanonicalHeaderKey(how.Header)}
	for _, s := range secrets {
		k := &webhookKey{secret: func() []byte { return []byte(s.Reveal()) }}
		k.idle.New = func() any { return &webhookHash{mac: hmac.New(how.Hash.New, k.secret())} }
		v.keys = append(v.keys, k)
	}
	return v, nil
}

// Format writes the partner's name, for every verb, so that no secret is printed.
func (v *WebhookVerifier) Format(f fmt.State, _ rune) {
	name := "nil"
	if v != nil {
		name = v.how.Partner
	}
	_, _ = io.WriteString(f, "belay.WebhookVerifier("+name+")")
}

// Verify verifies a webhook that arrived by a queue or a function. h and body are its header and its body,
// byte by byte as received. It returns the delivery, or an error that says why the webhook is refused. The
// delivery keeps h and body.
func (v *WebhookVerifier) Verify(h http.Header, body []byte) (d Delivery, err error) {
	// The event is on the caller's stack if Verify is inlined and d does not escape: that saves an allocation
	// of 96 bytes. To be inlined, Verify must stay small, so VerifyInto must not be inlined into it
	// (TestAllocationsOfWebhookHMAC is red otherwise).
	d.Events = make([]WebhookEvent, 1)
	err = v.VerifyInto(&d, h, body)
	return d, err
}

// VerifyRequest reads the request's body, at most MaxBytes of it, and verifies the webhook. It returns the
// delivery, or an error that says why the webhook is refused. A body that was read whole can be read again.
func (v *WebhookVerifier) VerifyRequest(r *http.Request) (d Delivery, err error) {
	if v == nil || r == nil {
		return d, fmt.Errorf("%w: the verifier or the request is nil", ErrBadSignature)
	}
	if _, err := v.signature(r.Header); err != nil { // refused without reading the body
		return d, err
	}
	body, err := delivery.ReadBody(r, v.how.MaxBytes)
	if err != nil {
		return d, err
	}
	return v.Verify(r.Header, body)
}

// VerifyInto is Verify for a delivery whose memory is used again. It uses the first element of d.Events, and
// allocates one if there is none. After an error d is the zero value.
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
		e.ID, e.Anonymous = delivery.HashID(body), true
	}
	d.ID, d.Partner, d.Integration, d.Header, d.Body, d.Answer = e.ID, v.how.Partner, "", h, body, nil
	return nil
}

// signature returns the value of the signature's header.
func (v *WebhookVerifier) signature(h http.Header) (string, error) {
	text, err := delivery.Header(h, v.header)
	if err != nil {
		return "", err
	}
	return text, delivery.CheckSignature(text, v.how.Header)
}

// match returns nil if one of the secrets makes the signature in text. Its time does not depend on which byte
// of a signature is wrong.
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
		return fmt.Errorf("%w: no part of it can be decoded as a signature", ErrMalformedSignature)
	}
	return ErrBadSignature
}

// read decodes a signature into s.received, and reports whether it is as long as the hash.
func (s *webhookHash) read(text string, inBase64 bool) bool {
	var err error
	switch {
	case !inBase64:
		s.received, err = hex.AppendDecode(s.received[:0], []byte(text))
	case strings.ContainsAny(text, "\r\n"): // the decoder would skip them
		return false
	default:
		s.received, err = strictBase64.AppendDecode(s.received[:0], []byte(text))
	}
	return err == nil && len(s.received) == s.mac.Size()
}

// DeliveryReceived says that a webhook was verified and stored, or was known already.
type DeliveryReceived struct {
	Partner, Integration string
	ID                   string   // of the delivery
	Events               int      // number of events in it
	Types                []string // of the events
	Stored               bool     // false if all events were known already
	Bytes                int
	Duration             time.Duration // from the first byte of the body to the answer
}

// DeliveryRejected says that a webhook was not accepted.
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
	Age                  time.Duration // since the event was received
	Duration             time.Duration // of the attempt
	// Retry is the time until the next attempt. It is zero if none follows: Err is nil then, or the event is a
	// dead letter.
	Retry time.Duration
	// DeadLettered is true if no more attempts follow, and the event is kept as a dead letter.
	DeadLettered bool
	Err          error
	// Stack is the stack of a handler that panicked, at most 2 KiB; otherwise it is empty.
	Stack string
}

func (DeliveryReceived) event() {}
func (DeliveryRejected) event() {}
func (EventHandled) event()     {}
