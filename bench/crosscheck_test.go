package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v75/github"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	stripe "github.com/stripe/stripe-go/v82/webhook"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// sent is a webhook on its way.
type sent struct {
	header http.Header
	body   []byte
}

func (s sent) clone() sent { return sent{s.header.Clone(), bytes.Clone(s.body)} }

// theirs is a partner's own library, beside the scheme that must agree with it.
type theirs struct {
	scheme          webhook.Scheme
	id, stamp, sign string // headers; no id where none is signed, no stamp where it stands within sign
	secret          func(*rand.Rand) string
	make            func(secret, id string, at time.Time, body []byte) (sent, error)
	check           func(secret string, s sent) error
}

func libraries() []theirs {
	family := func(scheme webhook.Scheme, prefix string, open func(string) (signer, error)) theirs {
		names := []string{prefix + "-id", prefix + "-timestamp", prefix + "-signature"}
		return theirs{
			scheme: scheme, id: names[0], stamp: names[1], sign: names[2], secret: keySecret,
			make: func(secret, id string, at time.Time, body []byte) (sent, error) {
				w, err := open(secret)
				if err != nil {
					return sent{}, err
				}
				signature, err := w.Sign(id, at, body)
				h := http.Header{}
				h.Set(names[0], id)
				h.Set(names[1], strconv.FormatInt(at.Unix(), 10))
				h.Set(names[2], signature)
				return sent{h, body}, err
			},
			check: func(secret string, s sent) error {
				w, err := open(secret)
				if err != nil {
					return err
				}
				return w.Verify(s.body, s.header)
			},
		}
	}
	openSvix := func(secret string) (signer, error) { return svix.NewWebhook(secret) }
	openStandard := func(secret string) (signer, error) { return standardwebhooks.NewWebhook(secret) }
	return []theirs{
		family(webhook.Svix(), "svix", openSvix),
		family(webhook.StandardWebhooks(), "webhook", openStandard),
		{
			scheme: webhook.Stripe(), sign: "Stripe-Signature", secret: textSecret,
			make: func(secret, _ string, at time.Time, body []byte) (sent, error) {
				p := stripe.GenerateTestSignedPayload(&stripe.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at})
				return sent{http.Header{"Stripe-Signature": {p.Header}}, p.Payload}, nil
			},
			check: func(secret string, s sent) error {
				return stripe.ValidatePayload(s.body, s.header.Get("Stripe-Signature"), secret)
			},
		},
		{
			// go-github signs nothing: what belay signs is all there is.
			scheme: webhook.GitHub(), sign: github.SHA256SignatureHeader, secret: textSecret,
			check: func(secret string, s sent) error {
				err := github.ValidateSignature(s.header.Get(github.SHA256SignatureHeader), s.body, []byte(secret))
				req := &http.Request{Header: s.header.Clone(), Body: io.NopCloser(bytes.NewReader(s.body))}
				req.Header.Set("Content-Type", "application/json") // a form is read before its signature is
				payload, whole := github.ValidatePayload(req, []byte(secret))
				if (err == nil) != (whole == nil) || err == nil && !bytes.Equal(payload, s.body) {
					return fmt.Errorf("go-github is of two minds: %v, %v", err, whole)
				}
				return err
			},
		},
	}
}

type signer interface {
	Sign(id string, at time.Time, body []byte) (string, error)
	Verify(body []byte, h http.Header) error
}

func keySecret(r *rand.Rand) string {
	key := make([]byte, 24+r.IntN(41))
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	return []string{"", "whsec_"}[r.IntN(2)] + base64.StdEncoding.EncodeToString(key)
}

func textSecret(r *rand.Rand) string {
	return []string{"", "whsec_", "é"}[r.IntN(3)] + printable(r, 1+r.IntN(100))
}

func printable(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN('~'-'!'+1))
	}
	return string(b)
}

// randomBody is JSON, nearly JSON or just bytes, of 0 to 4 KiB.
func randomBody(r *rand.Rand) []byte {
	switch r.IntN(4) {
	case 0:
		b := make([]byte, r.IntN(4<<10+1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 1: // nearly
		b := randomJSON(r)
		if i := r.IntN(len(b)); r.IntN(2) == 0 {
			b = b[:i]
		} else {
			b[i] ^= byte(1 << r.IntN(8))
		}
		return b
	}
	return randomJSON(r)
}

func randomJSON(r *rand.Rand) []byte {
	value := map[string]any{
		"id":      "evt_" + printable(r, r.IntN(40)),
		"type":    printable(r, r.IntN(40)),
		"created": r.IntN(2e9),
	}
	for range r.IntN(8) {
		value[printable(r, r.IntN(12))] = randomValue(r, 3)
	}
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	if r.IntN(4) == 0 {
		var wide bytes.Buffer
		_ = json.Indent(&wide, b, " \t", "\r\n")
		b = wide.Bytes()
	}
	if len(b) > 4<<10 {
		return []byte(`{"id":"evt_long"}` + "\n")
	}
	return b
}

func randomValue(r *rand.Rand, depth int) any {
	switch k := r.IntN(7); {
	case k == 0:
		return nil
	case k == 1:
		return r.Float64() * 1e6
	case k == 2:
		return r.IntN(2) == 0
	case k == 3 && depth > 0:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomValue(r, depth-1)
		}
		return list
	case k == 4 && depth > 0:
		return map[string]any{printable(r, 5): randomValue(r, depth-1), "id": randomValue(r, depth-1)}
	}
	runes := make([]rune, r.IntN(60))
	for i := range runes {
		runes[i] = rune(r.IntN(0x3000))
	}
	return string(runes)
}

// spoil changes one byte of the body, of a header that is signed or of the signature, and says which.
func (l *theirs) spoil(r *rand.Rand, s sent) (sent, string) {
	s = s.clone()
	const hexes, base64s = "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	change := func(name, alphabet string, from, to int) (sent, string) {
		b := []byte(s.header.Get(name))
		i := from + r.IntN(to-from)
		for old := b[i]; b[i] == old; {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		s.header.Set(name, string(b))
		return s, fmt.Sprintf("byte %d of %s", i, name)
	}
	value := s.header.Get(l.sign)
	begin := strings.LastIndexAny(strings.TrimRight(value, "="), "=,") + 1 // of the signature alone
	switch k := r.IntN(4); {
	case k == 0 && l.id != "":
		return change(l.id, base64s, 0, len(s.header.Get(l.id)))
	case k == 1 && l.stamp != "":
		return change(l.stamp, hexes[:10], 0, len(s.header.Get(l.stamp)))
	case k == 1 && strings.HasPrefix(value, "t="):
		return change(l.sign, hexes[:10], len("t="), strings.IndexByte(value, ','))
	case k == 2 || len(s.body) == 0:
		if l.scheme.Encoding == webhook.Hex {
			return change(l.sign, hexes, begin, len(value))
		}
		return change(l.sign, base64s, begin, len(strings.TrimRight(value, "=")))
	}
	i := r.IntN(len(s.body))
	s.body[i] ^= byte(1 << r.IntN(8))
	return s, fmt.Sprintf("byte %d of the body", i)
}

// What the partners' own libraries sign is accepted, they accept what SignTest signs, and one byte changed both refuse.
func TestCrossCheck(t *testing.T) {
	t.Parallel()
	const messages = 10_000
	for _, l := range libraries() {
		t.Run(l.scheme.Name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(len(l.scheme.Name))))
			signed, notJSON, spoilt := 0, 0, 0
			for n := range messages {
				secret, id, body := l.secret(r), "msg_"+printable(r, r.IntN(200)), randomBody(r)
				at := time.Now().Add(time.Duration(r.IntN(480)-240) * time.Second)
				v, err := webhook.NewVerifier(l.scheme, belay.NewSecret(l.secret(r)), belay.NewSecret(secret))
				if err != nil {
					t.Fatal(err)
				}
				req, err := webhook.SignTest(
					l.scheme,
					belay.NewSecret(secret),
					belay.WebhookEvent{ID: id, Type: "push", Time: at, Data: body},
				)
				if err != nil {
					t.Fatal(err)
				}
				ours, err := io.ReadAll(req.Body)
				if err != nil || !bytes.Equal(ours, body) {
					t.Fatalf("message %d: the body was changed: %v", n, err)
				}
				both := []sent{{req.Header, ours}}
				if l.make != nil {
					s, err := l.make(secret, id, at, body)
					if err != nil {
						t.Fatal(err)
					}
					if a, b := s.header.Get(l.sign), req.Header.Get(l.sign); a != b {
						t.Fatalf("message %d: they sign %s, we %s", n, a, b)
					}
					both = append(both, s)
				}
				for _, s := range both {
					signed++
					if err := l.check(secret, s); err != nil {
						t.Fatalf("message %d: they refuse: %v\n%v\n%q", n, err, s.header, s.body)
					}
					// A body that is no JSON object or array is refused, but for that and not for its signature.
					event := json.Valid(s.body) && bytes.IndexByte([]byte("{["), bytes.TrimSpace(s.body)[0]) >= 0
					switch d, err := v.Verify(s.header, s.body); {
					case errors.Is(err, belay.ErrData) && !event:
						notJSON++
					case err != nil:
						t.Fatalf("message %d: we refuse: %v\n%v\n%q", n, err, s.header, s.body)
					case !bytes.Equal(d.Body, body) || d.ID == "" || l.id != "" && d.ID != id:
						t.Fatalf("message %d: another delivery: %+v", n, d)
					}
					bad, what := l.spoil(r, s)
					if l.check(secret, bad) == nil {
						t.Fatalf("message %d, %s changed: they accept", n, what)
					}
					if _, err := v.Verify(bad.header, bad.body); err == nil || errors.Is(err, belay.ErrData) {
						t.Fatalf("message %d, %s changed: %v", n, what, err)
					}
					spoilt++
				}
			}
			t.Logf(
				"%d signed and %d changed, of one mind about all; %d of the signed are no JSON, which belay refuses as ErrData",
				signed,
				spoilt,
				notJSON,
			)
		})
	}
}
