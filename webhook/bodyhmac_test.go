package webhook

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/delivery"
)

// What verifies the body alone, and what verifies any scheme, make the same of a delivery, whatever becomes of
// it on its way.
func TestBodyAloneIsVerifiedAlike(t *testing.T) {
	t.Parallel()
	ours := Scheme{
		Name:      "ours",
		Header:    "X-Sig",
		Prefix:    "v=",
		Algorithm: HMACSHA512,
		ID:        "X-Id",
		Type:      "X-Type",
		Time:      "X-Time",
		MaxBytes:  90,
	}
	bare := Scheme{Name: "bare", Header: "X-Sig", Encoding: Base64, Algorithm: HMACSHA1, Type: "X-Type"}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range []Scheme{GitHub(), Shopify(), ShopifyEvents(), ours, bare} {
		v, err := NewVerifier(s, belay.NewSecret("the secret of today"), belay.NewSecret("the secret of yesterday"))
		require.NoError(t, err)
		require.NotNil(t, v.plain, s.Name)
		accepted, refused := 0, 0
		for range 1500 {
			h, body, changed := disturbed(t, rng, s)
			want := belay.Delivery{Events: make([]belay.WebhookEvent, 1)}
			err := v.verifyAny(&want, &incoming{http.MethodPost, s.URL, h, body})
			if err != nil {
				require.True(t, changed, "%s: %v %q", s.Name, h, body)
				want = belay.Delivery{}
				refused++
			} else {
				accepted++
			}
			got, gotErr := v.Verify(h, body)
			require.Equal(t, err, gotErr)
			require.Equal(t, want, got)
		}
		require.Greater(t, accepted, 300, s.Name)
		require.Greater(t, refused, 200, s.Name)
	}
}

// A secret may make another kind of signature of the scheme's: then nothing is plain.
func TestPublicKeysAreNotPlain(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s := Scheme{Name: "ours", Header: "X-Sig", Base64Key: true, ID: "X-Id", Type: "X-Type"}
	secret := belay.NewSecret("whpk_" + base64.StdEncoding.EncodeToString(public))
	v, err := NewVerifier(s, secret)
	require.NoError(t, err)
	require.Nil(t, v.plain)
	req, err := SignTest(
		s,
		belay.NewSecret("whsk_"+base64.StdEncoding.EncodeToString(private)),
		belay.WebhookEvent{ID: "1", Type: "a", Data: []byte("{}")},
	)
	require.NoError(t, err)
	d, err := v.VerifyRequest(req)
	require.NoError(t, err)
	require.Equal(t, "1", d.ID)
	_, err = v.Verify(http.Header{"X-Sig": {"x"}, "X-Id": {"1"}, "X-Type": {"a"}}, []byte("{}"))
	require.ErrorIs(t, err, belay.ErrMalformedSignature)
	v, err = NewVerifier(s, belay.NewSecret("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24))), secret)
	require.NoError(t, err)
	require.Nil(t, v.plain)
	_, err = v.Verify(req.Header, []byte("{}"))
	require.NoError(t, err, "the second secret's")
}

// disturbed returns a delivery, most of the time with something about it that is not as it nearly always is.
func disturbed(t *testing.T, rng *rand.Rand, s Scheme) (h http.Header, body []byte, changed bool) {
	secret := belay.NewSecret("the secret of today")
	body = []byte(`{"n":` + strings.Repeat("1", 1+rng.IntN(90)) + `}`)
	e := belay.WebhookEvent{ID: "id-1", Type: "made", Data: body}
	what := rng.IntN(26) // half of them nothing
	switch what {
	case 0:
		e.Data = []byte("a=b")
	case 1:
		e.Data = []byte(" [1]")
	case 2:
		secret = belay.NewSecret("the secret of yesterday")
	case 3:
		secret = belay.NewSecret("another secret")
	case 4:
		e.ID = strings.Repeat("x", delivery.MaxText+1)
	}
	req, err := SignTest(s, secret, e)
	require.NoError(t, err)
	h, body = req.Header, bytes.Clone(e.Data)
	if s.Time != "" {
		h.Set(s.Time, "2026-11-22T10:00:00Z")
	}
	at := []string{s.Header, cmp.Or(s.ID, s.Header), s.Type}[rng.IntN(3)]
	switch what {
	case 5:
		h.Add(at, h.Get(at))
	case 6:
		h[strings.ToLower(at)] = h[at]
		delete(h, at)
	case 7:
		h.Del(at)
	case 8:
		h.Set(at, "")
	case 9:
		text := []byte(h.Get(s.Header))
		text[rng.IntN(len(text))] ^= 1 << rng.IntN(7)
		h.Set(s.Header, string(text))
	case 10:
		body[rng.IntN(len(body))] ^= 1 << rng.IntN(8)
	case 11:
		h.Set(s.Header, h.Get(s.Header)+strings.Repeat("a", 1+rng.IntN(600)))
	case 12:
		h.Set(s.Header, strings.ToUpper(h.Get(s.Header)))
	}
	return h, body, what < 13 || s.MaxBytes > 0 && int64(len(body)) > s.MaxBytes
}
