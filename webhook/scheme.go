package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

// Scheme says what a partner signs, with what, and where it writes the signature. Those of the partners below come
// ready; the fields say what is particular to one, and can be changed before [NewVerifier] gets it. For a partner that is not
// among them fill in a Scheme: Header alone makes it the HMAC-SHA256 of the body in hex.
//
// A place is where in a delivery a value stands: the name of a header, or "json:" and a path within the body, as in
// "json:data.id". Several with "|" between them are tried in order.
type Scheme struct {
	// Name becomes [Delivery].Partner; a receiver that knows better replaces it.
	Name string
	// Algorithm makes the signature; zero is [HMACSHA256].
	Algorithm Algorithm
	// Header is the place of the signature. It cannot be empty.
	Header string
	// Separator is what stands between several signatures in one header, empty when there is one alone.
	Separator string
	// Prefix stands before the signature. Without a Separator it must be there; with one, what has another prefix is passed over.
	Prefix string
	// Encoding of the signature; zero is [Hex].
	Encoding Encoding
	// Signed is what is signed: text with {body}, {timestamp}, {id}, {url}, {url+query} (with the request's own query), {method},
	// {secret}, {form} (a form's fields, as Twilio writes them) and {json:path} in it. Empty is "{body}". Without {body} or {form} a
	// changed body goes unnoticed.
	Signed string
	// URL is the endpoint's, as the partner calls it and in full, where Signed has {url} or {url+query}. It is never made from a request: a
	// proxy changes that, and a stranger chooses it.
	URL string
	// Timestamp is the place of the time of the signature; "t=" is the value of that element of the signature's own header.
	// Empty when there is none.
	Timestamp string
	// Unit of Timestamp; zero is [UnixSeconds].
	Unit TimeUnit
	// Tolerance is how far Timestamp may be from our clock, either way. Zero is 5 minutes; negative means that it is not
	// looked at, for deliveries that have waited in a queue of one's own.
	Tolerance time.Duration
	// Base64Key is a secret that is base64, behind "whsec_" or not, as Standard Webhooks have it. One behind "whpk_" is a public
	// key, which makes it ed25519 under "v1a,".
	Base64Key bool
	// ID, Type and Time are the places of what [WebhookEvent] has by these names, paths being within the event. Several paths with "+"
	// between them make one ID together. A header that is not signed can be changed by who sends a delivery again. Time is text by RFC 3339, or a number of seconds or milliseconds since 1970.
	ID, Type, Time string
	// Events is the path of an array of events in the body, "." for the body itself. Empty means one event.
	Events string
	// Forms says that a body may also be a form, in which no ID, Type and Time are looked for. Otherwise, where the ID or Events stand
	// in the body, one that is no JSON is [ErrData].
	Forms bool
	// Status is the answer that the partner insists on for what was taken; zero means any 2xx.
	Status int
	// MaxBytes is how large a body may be. Zero is 1 MiB; negative is an error.
	MaxBytes int64
	// Handshake returns what to answer to a request that is signed well, but is no event. Nil when there is no such thing.
	Handshake func(h http.Header, body []byte) *belay.Answer

	writings func(url string) ([]string, error) // what the partner may have made of the URL before it signed it; nil for nothing
}

// Algorithm makes a signature from a secret and what is signed.
type Algorithm uint8

// The algorithms.
const (
	// HMACSHA256 is HMAC of RFC 2104 with SHA-256.
	HMACSHA256 Algorithm = iota
	// HMACSHA1 is HMAC with SHA-1, which as an HMAC still holds.
	HMACSHA1
	// HMACSHA512 is HMAC with SHA-512.
	HMACSHA512
	// Ed25519 is of RFC 8032. The secret is the public key, in hex or base64.
	Ed25519
	// ECDSAP256 is ECDSA over P-256 with SHA-256, the signature in ASN.1. The secret is the public key: base64 of its DER.
	ECDSAP256
	// WeakSHA256 is SHA-256 of text that has the {secret} in it, without HMAC. With the secret first, who sees one signature
	// can make more; with the secret last, it is as strong as SHA-256 is against collisions.
	WeakSHA256
	// PlainToken is the secret itself in the header. It signs nothing: who sees one request can send any other.
	PlainToken
)

// Encoding is how a signature is written.
type Encoding uint8

// The encodings.
const (
	// Hex is hexadecimal, in lower or upper case.
	Hex Encoding = iota
	// Base64 is the standard alphabet with padding.
	Base64
)

// TimeUnit is how the time of a signature is written.
type TimeUnit uint8

// The units.
const (
	// UnixSeconds are seconds since 1970.
	UnixSeconds TimeUnit = iota
	// UnixMilliseconds are milliseconds since 1970.
	UnixMilliseconds
	// RFC3339Time is text like 2026-11-22T10:00:00Z.
	RFC3339Time
)

func (s Scheme) maxBytes() int64 {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return delivery.DefaultMaxBytes
}

func (s Scheme) tolerance() time.Duration {
	if s.Tolerance != 0 {
		return s.Tolerance
	}
	return 5 * time.Minute
}

// parse reads a time strictly: what is not just it is refused.
func (u TimeUnit) parse(raw string) (time.Time, error) {
	if u == RFC3339Time {
		t, err := time.Parse(time.RFC3339, raw)
		if err != nil {
			return t, errors.New("it is not of RFC 3339")
		}
		return t, nil
	}
	n, err := strconv.ParseUint(raw, 10, 63)
	switch {
	case err != nil || len(raw) > 15:
		return time.Time{}, errors.New("it is not a number, or too large a one")
	case u == UnixMilliseconds:
		return time.UnixMilli(int64(n)), nil
	}
	return time.Unix(int64(n), 0), nil
}

// usual reports whether a time is one of the years 2001 to 2286, by how long it is. Where nobody compares it with the clock, what is
// signed beside it could else lend it digits, or take some.
func (u TimeUnit) plausible(raw string) bool {
	switch u {
	case UnixSeconds:
		return len(raw) == 10
	case UnixMilliseconds:
		return len(raw) == 13
	}
	return true
}

// write is the opposite of parse.
func (u TimeUnit) write(t time.Time) string {
	switch u {
	case UnixMilliseconds:
		return strconv.FormatInt(t.UnixMilli(), 10)
	case RFC3339Time:
		return t.UTC().Format(time.RFC3339)
	}
	return strconv.FormatInt(t.Unix(), 10)
}
