package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

// Scheme describes how a partner signs its webhooks: the algorithm, the signed text and the place of the
// signature. A function such as [Stripe] returns the scheme of a partner; its fields can be changed before it
// is passed to [NewVerifier]. For any other partner, fill in a Scheme: Header alone makes it the HMAC-SHA256
// of the body in hex.
//
// A place says where a value is in a delivery: the name of a header, or "json:" and a path in the body, such
// as "json:data.id". Several places with "|" between them are tried in order. The places of the signature and of its
// time may also be "query:" and the name of a query parameter: a partner that signs nothing can be given a URL with a
// secret in its query, which Header "query:token" and [PlainToken] verify.
type Scheme struct {
	// Name becomes [belay.Delivery].Partner. A receiver that has its own name for the partner replaces it.
	Name string
	// Algorithm is the algorithm of the signature. Zero is [HMACSHA256].
	Algorithm Algorithm
	// Header is the place of the signature. It must not be empty.
	Header string
	// Separator is the text between several signatures in one header. Empty means that there is one
	// signature. With a Separator, the signatures of all places count, and not those of the first place alone.
	Separator string
	// Prefix is the text before the signature. Without a Separator, a signature must have it; with a
	// Separator, elements without it are skipped.
	Prefix string
	// Encoding is the encoding of the signature. Zero is [Hex].
	Encoding Encoding
	// Signed is the signed text. It may have {body}, {sha256} (of the body, as bytes), {timestamp}, {id}, {url},
	// {url+query} (with the request's own query), {method}, {secret}, {form} (a form's fields, as Twilio writes them)
	// and {json:path} in it. Empty is "{body}". Without {body} or {form}, a change of the body is not noticed.
	Signed string
	// URL is the full URL of the endpoint, as the partner calls it. It is needed where Signed has {url} or
	// {url+query}. It is never taken from a request, because a proxy may change that and any sender may
	// choose it.
	URL string
	// Timestamp is the place of the time of the signature. A text that ends in "=", such as "t=", is the
	// prefix of the element that holds the time in the header of the signatures. Empty means that the partner
	// signs no time.
	Timestamp string
	// Unit is the unit of Timestamp. Zero is [UnixSeconds].
	Unit TimeUnit
	// Tolerance is the greatest difference between Timestamp and our clock, in either direction. Zero is 5
	// minutes. Negative means that Timestamp is not compared with the clock, for deliveries that have waited
	// in a queue of your own.
	Tolerance time.Duration
	// Base64Key says that the secret is base64, with or without "whsec_" before it, as in Standard Webhooks.
	// A secret with "whpk_" before it is a public key: it verifies ed25519 signatures with the prefix "v1a,".
	Base64Key bool
	// HexKey says that the secret is hex.
	HexKey bool
	// PerItem says that each element of Events has a signature of its own: the places in the body are places in the
	// element, and a {json:path} may be missing there. A delivery without elements is not signed then.
	PerItem bool
	// ID, Type and Time are the places of the fields of [belay.WebhookEvent] with the same names. Paths are
	// paths in the event. Several paths, or names of headers, with "+" between them make one ID together, joined by
	// dashes, if each of them has a value. The ID may also be "body",
	// the hash of the body, for a partner whose bodies tell events apart; not with Events. A header that is not
	// signed is not protected: anybody who sends a delivery again can change it. Time is text by RFC 3339, or
	// a number of seconds, milliseconds or microseconds since 1970; its size tells which.
	ID, Type, Time string
	// Events is the path of an array of events in the body, without "json:", or "." for the body itself.
	// Empty means one event.
	Events string
	// Forms says that a body may also be a form. No ID, Type and Time are looked for in a form. Without
	// Forms, a body that is not JSON is a [belay.ErrData] where Events is not empty or ID has a path in the
	// body.
	Forms bool
	// Status is the status code that the partner requires for an accepted delivery, a 2xx. Zero means any
	// 2xx. Reply is the text that it requires as the body of the answer; empty means none.
	Status int
	Reply  string
	// Echo is the name of the query parameter that an unsigned request wants back as text, by which Microsoft Graph
	// finds out whether the endpoint is ours. At most 1 KiB is answered. Empty means that there is none.
	Echo string
	// Retries says in words when the partner sends a delivery again that failed. It changes nothing.
	Retries string
	// MaxBytes is the greatest size of a body, in bytes. Zero is 1 MiB; negative is an error.
	MaxBytes int64
	// Probe is the method, GET or HEAD, of the unsigned request with which the partner asks whether anybody answers at
	// the URL. It gets 200 and nothing else. Empty means that there is none.
	Probe string
	// Handshake returns the answer to a verified request that carries no event, and nil for any other
	// request. A nil Handshake means that the partner sends no such requests. It is not for PerItem. Of a request
	// whose body is not signed, believe no more of the body than that its sender knows the token.
	Handshake func(Greeting) *belay.Answer

	// writings returns the forms of a URL that the partner may have signed, or what it signs in place of one. Nil
	// means that it signs the URL as it is.
	writings func(url string) ([]string, error)
	// withUser says that the URL may hold a user and a password.
	withUser bool
}

// Greeting is a verified request that may want to know whether the endpoint is ours.
type Greeting struct {
	Header http.Header
	Body   []byte

	key      *signingKey
	encoding Encoding
}

// Sign returns the signature of a text, in the scheme's Encoding, by the secret that verified the request. It is
// empty where the secret cannot sign: a public key, a [PlainToken], a [WeakSHA256]. Never sign a text of the form of
// Scheme.Signed: it would be the signature of a delivery.
func (g Greeting) Sign(text string) string { return g.key.sign(g.encoding, text) }

// Algorithm is the way in which a signature is made from a secret and the signed text.
type Algorithm uint8

// The algorithms. Zero is [HMACSHA256].
const (
	// HMACSHA256 is the HMAC of RFC 2104 with SHA-256.
	HMACSHA256 Algorithm = iota
	// HMACSHA1 is the HMAC with SHA-1. SHA-1 is broken as a hash, but an HMAC with it is still safe.
	HMACSHA1
	// HMACSHA512 is the HMAC with SHA-512.
	HMACSHA512
	// Ed25519 is the signature of RFC 8032. The secret is the public key, in hex or base64.
	Ed25519
	// ECDSAP256 is ECDSA over P-256 with SHA-256, with the signature in ASN.1. The secret is the public key:
	// the base64 of its DER.
	ECDSAP256
	// WeakSHA256 is the SHA-256 of a text that has the {secret} in it, without HMAC. With the secret first,
	// anybody who sees one signature can make more; with the secret last, it is as strong as SHA-256 is
	// against collisions.
	WeakSHA256
	// PlainToken is the secret itself in the header, and its base64 where Encoding is [Base64], as in HTTP Basic. It
	// signs nothing: anybody who sees one request can send any other.
	PlainToken
)

// Encoding is the encoding of a signature as text.
type Encoding uint8

// The encodings. Zero is [Hex].
const (
	// Hex is hexadecimal, in lower or upper case.
	Hex Encoding = iota
	// Base64 is base64 with the standard alphabet and padding.
	Base64
)

// TimeUnit is the format of the time of a signature.
type TimeUnit uint8

// The units. Zero is [UnixSeconds].
const (
	// UnixSeconds is a whole number of seconds since 1970.
	UnixSeconds TimeUnit = iota
	// UnixMilliseconds is a whole number of milliseconds since 1970.
	UnixMilliseconds
	// RFC3339Time is text by RFC 3339, such as 2026-11-22T10:00:00Z.
	RFC3339Time
	// HTTPDate is text by RFC 9110, section 5.6.7, such as Sun, 22 Nov 2026 10:00:00 GMT.
	HTTPDate
)

// maxBytes returns MaxBytes, or its default.
func (s Scheme) maxBytes() int64 {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return delivery.DefaultMaxBytes
}

// tolerance returns Tolerance, or its default.
func (s Scheme) tolerance() time.Duration {
	if s.Tolerance != 0 {
		return s.Tolerance
	}
	return 5 * time.Minute
}

// parse returns the time in raw. It is strict: a number may have digits only, and at most 15 of them.
func (u TimeUnit) parse(raw string) (time.Time, error) {
	switch u {
	case RFC3339Time:
		t, err := time.Parse(time.RFC3339, raw)
		if err != nil {
			return t, errors.New("it is not of RFC 3339")
		}
		return t, nil
	case HTTPDate:
		t, err := time.Parse(http.TimeFormat, raw)
		if err != nil {
			return t, errors.New("it is not an HTTP date")
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

// plausible reports whether raw has as many digits as a time in the years 2001 to 2286. Text is always
// plausible. Where the time is not compared with the clock, an attacker could otherwise move digits
// between the time and the signed text beside it.
func (u TimeUnit) plausible(raw string) bool {
	switch u {
	case UnixSeconds:
		return len(raw) == 10
	case UnixMilliseconds:
		return len(raw) == 13
	}
	return true
}

// write returns t as text that parse reads.
func (u TimeUnit) write(t time.Time) string {
	switch u {
	case UnixMilliseconds:
		return strconv.FormatInt(t.UnixMilli(), 10)
	case RFC3339Time:
		return t.UTC().Format(time.RFC3339)
	case HTTPDate:
		return t.UTC().Format(http.TimeFormat)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// Presets returns the schemes of all partners, by name, for lists of them. Their URL is empty.
func Presets() map[string]Scheme {
	all := make(map[string]Scheme, len(schemes))
	for name := range schemes {
		all[name] = scheme(name, name)
	}
	return all
}
