package belay_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// A partner that signs the body alone: "X-Acme-Signature: sha256=" and the hex of its HMAC-SHA256.
func ExampleNewWebhookVerifier() {
	verifier, err := belay.NewWebhookVerifier(belay.WebhookHMAC{
		Partner: "acme", Header: "X-Acme-Signature", Prefix: "sha256=", ID: "X-Acme-Delivery", Type: "X-Acme-Event",
	}, belay.NewSecret("current"), belay.NewSecret("the one before"))
	check(err)
	handler := func(w http.ResponseWriter, r *http.Request) {
		d, err := verifier.VerifyRequest(r)
		if err != nil {
			http.Error(w, "not believed", http.StatusUnauthorized)
			return
		}
		fmt.Println(d.Partner, d.Events[0].ID, d.Events[0].Type)
	}

	// What acme does.
	body := `{"order":42}`
	mac := hmac.New(crypto.SHA256.New, []byte("current"))
	mac.Write([]byte(body))
	r := httptest.NewRequest(http.MethodPost, "/webhooks/acme", strings.NewReader(body))
	r.Header.Set("X-Acme-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Acme-Delivery", "d-1")
	r.Header.Set("X-Acme-Event", "order.paid")
	handler(httptest.NewRecorder(), r)

	r = httptest.NewRequest(http.MethodPost, "/webhooks/acme", strings.NewReader(`{"order":43}`))
	r.Header.Set("X-Acme-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	w := httptest.NewRecorder()
	handler(w, r)
	fmt.Println(w.Code)
	// Output:
	// acme d-1 order.paid
	// 401
}

// signedBy returns the headers of a body that how signs with secret.
func signedBy(how belay.WebhookHMAC, secret, body string) http.Header {
	hash := how.Hash
	if hash == 0 {
		hash = crypto.SHA256
	}
	mac := hmac.New(hash.New, []byte(secret))
	mac.Write([]byte(body))
	text := hex.EncodeToString(mac.Sum(nil))
	if how.Base64 {
		text = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h := make(http.Header)
	h.Set(how.Header, how.Prefix+text)
	return h
}

// Every hash in either encoding; any of several secrets; no other secret and no other body.
func TestWebhookHMAC(t *testing.T) {
	t.Parallel()
	for _, hash := range []crypto.Hash{0, crypto.SHA1, crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, inBase64 := range []bool{false, true} {
			for _, prefix := range []string{"", "v1="} {
				how := belay.WebhookHMAC{
					Partner: "acme",
					Header:  "x-sig",
					Prefix:  prefix,
					Hash:    hash,
					Base64:  inBase64,
					ID:      "x-id",
					Type:    "x-type",
				}
				v, err := belay.NewWebhookVerifier(how, belay.NewSecret("new"), belay.NewSecret("old"))
				require.NoError(t, err)
				for _, secret := range []string{"new", "old"} {
					const body = ` {"a":1}`
					h := signedBy(how, secret, body)
					h.Set("X-Id", "1")
					h.Set("X-Type", "made")
					d, err := v.Verify(h, []byte(body))
					require.NoError(t, err)
					require.Equal(t, belay.Delivery{
						ID: "1", Partner: "acme", Header: h, Body: []byte(body),
						Events: []belay.WebhookEvent{{ID: "1", Type: "made", Data: []byte(body)}},
					}, d)
					_, err = v.Verify(h, []byte(` {"a":2}`))
					require.ErrorIs(t, err, belay.ErrBadSignature)
				}
				_, err = v.Verify(signedBy(how, "another", "{}"), []byte("{}"))
				require.ErrorIs(t, err, belay.ErrBadSignature)
			}
		}
	}
}

// Each reason for which a webhook is not believed, and nothing of the delivery beside it.
func TestWebhookHMACRefuses(t *testing.T) {
	t.Parallel()
	how := belay.WebhookHMAC{Header: "X-Sig", Prefix: "v=", ID: "X-Id", Type: "X-Type", MaxBytes: 20}
	v, err := belay.NewWebhookVerifier(how, belay.NewSecret("secret"))
	require.NoError(t, err)
	in64, err := belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "X-Sig", Base64: true}, belay.NewSecret("secret"))
	require.NoError(t, err)
	good := func(body string, changes ...func(http.Header)) http.Header {
		h := signedBy(how, "secret", body)
		for _, change := range changes {
			change(h)
		}
		return h
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for name, x := range map[string]struct {
		v    *belay.WebhookVerifier
		h    http.Header
		body string
		want error
	}{
		"unsigned": {v, http.Header{}, "{}", belay.ErrNoSignature},
		"empty":    {v, http.Header{"X-Sig": {""}}, "{}", belay.ErrNoSignature},
		"two headers": {
			v, good("{}", func(h http.Header) { h.Add("X-Sig", h.Get("X-Sig")) }), "{}", belay.ErrMalformedSignature,
		},
		"no prefix":     {v, http.Header{"X-Sig": {good("{}").Get("X-Sig")[2:]}}, "{}", belay.ErrMalformedSignature},
		"only a prefix": {v, http.Header{"X-Sig": {"v="}}, "{}", belay.ErrMalformedSignature},
		"no hex":        {v, http.Header{"X-Sig": {"v=zz"}}, "{}", belay.ErrMalformedSignature},
		"too short":     {v, http.Header{"X-Sig": {"v=00"}}, "{}", belay.ErrMalformedSignature},
		"too long":      {v, http.Header{"X-Sig": {"v=" + strings.Repeat("0", 300)}}, "{}", belay.ErrMalformedSignature},
		"far too long":  {v, http.Header{"X-Sig": {strings.Repeat("0", 20_000)}}, "{}", belay.ErrMalformedSignature},
		"a line break": {
			in64,
			http.Header{"X-Sig": {
				signedBy(belay.WebhookHMAC{Header: "X-Sig", Base64: true}, "secret", "{}").Get("X-Sig") + "\n",
			}},
			"{}", belay.ErrMalformedSignature,
		},
		"another length": {
			v, signedBy(belay.WebhookHMAC{Header: "X-Sig", Prefix: "v=", Hash: crypto.SHA1}, "secret", "{}"),
			"{}", belay.ErrMalformedSignature,
		},
		"wrong":   {v, good("{ }"), "{}", belay.ErrBadSignature},
		"large":   {v, good(strings.Repeat(" ", 21)), strings.Repeat(" ", 21), belay.ErrBodyTooLarge},
		"long id": {v, good("{}", set("X-Id", strings.Repeat("x", 513))), "{}", belay.ErrData},
		"two types": {
			v, good("{}", func(h http.Header) { h["X-Type"] = []string{"a", "b"} }), "{}", belay.ErrMalformedSignature,
		},
		"a byte order mark":    {v, good("\xef\xbb\xbf{}"), "\xef\xbb\xbf{}", belay.ErrData},
		"not the JSON it says": {v, good("a=b", set("Content-Type", "application/json")), "a=b", belay.ErrData},
		"nil":                  {nil, good("{}"), "{}", belay.ErrBadSignature},
	} {
		d, err := x.v.Verify(x.h, []byte(x.body))
		require.ErrorIs(t, err, x.want, name)
		require.Zero(t, d, name)
	}
}

// What has no ID is known by its hash; a form has no data; headers in another case are found.
func TestWebhookHMACEvents(t *testing.T) {
	t.Parallel()
	how := belay.WebhookHMAC{Header: "X-Sig"}
	v, err := belay.NewWebhookVerifier(how, belay.NewSecret("secret"))
	require.NoError(t, err)
	h := http.Header{"x-sig": signedBy(how, "secret", "a=b")["X-Sig"]}
	d, err := v.Verify(h, []byte("a=b"))
	require.NoError(t, err)
	require.Nil(t, d.Events[0].Data)
	require.Equal(t, d.ID, d.Events[0].ID)
	sum := sha256.Sum256([]byte("a=b"))
	require.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), d.ID)
	again := belay.Delivery{Integration: "left over", Answer: &belay.Answer{}, Events: d.Events[:1:1]}
	require.NoError(t, v.VerifyInto(&again, h, []byte("a=b")))
	require.Equal(t, d, again)
}

// A request's body is read once, within its bound, and can be read again.
func TestWebhookHMACOfRequests(t *testing.T) {
	t.Parallel()
	how := belay.WebhookHMAC{Header: "X-Sig", MaxBytes: 10}
	v, err := belay.NewWebhookVerifier(how, belay.NewSecret("secret"))
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
	r.Header = signedBy(how, "secret", "{}")
	d, err := v.VerifyRequest(r)
	require.NoError(t, err)
	require.Equal(t, "{}", string(d.Body))
	rest, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "{}", string(rest))

	unread := &untouched{}
	_, err = v.VerifyRequest(&http.Request{Method: http.MethodPost, Body: unread, Header: http.Header{}})
	require.ErrorIs(t, err, belay.ErrNoSignature)
	require.Zero(t, unread.reads, "what is not signed is not read")

	r = httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(strings.Repeat(" ", 11))))
	r.Header = signedBy(how, "secret", strings.Repeat(" ", 11))
	_, err = v.VerifyRequest(r)
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)

	_, err = v.VerifyRequest(nil)
	require.ErrorIs(t, err, belay.ErrBadSignature)
	var none *belay.WebhookVerifier
	_, err = none.VerifyRequest(r)
	require.ErrorIs(t, err, belay.ErrBadSignature)
	require.Equal(t, "belay.WebhookVerifier(nil)", fmt.Sprint(none))
}

type untouched struct{ reads int }

func (u *untouched) Read([]byte) (int, error) { u.reads++; return 0, io.EOF }
func (u *untouched) Close() error             { return nil }

// Each field out of range is named with its value, and secrets are not printed.
func TestNewWebhookVerifierRefuses(t *testing.T) {
	t.Parallel()
	secret := belay.NewSecret(testkit.Canary)
	for want, make := range map[string]func() (*belay.WebhookVerifier, error){
		`Header "" is not the name of a header`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{}, secret)
		},
		`Header "a b" is not`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "a b"}, secret)
		},
		`ID "json:id" is not`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A", ID: "json:id"}, secret)
		},
		`Type "é" is not`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A", Type: "é"}, secret)
		},
		`Hash MD5 is broken`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A", Hash: crypto.MD5}, secret)
		},
		`Hash unknown hash value 99 is not linked`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A", Hash: 99}, secret)
		},
		`MaxBytes -1 must not be negative`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A", MaxBytes: -1}, secret)
		},
		`no secret`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A"})
		},
		`secret 2 of 2: the secret is empty`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A"}, secret, belay.Secret{})
		},
		`secret 1 of 1: the secret is blank`: func() (*belay.WebhookVerifier, error) {
			return belay.NewWebhookVerifier(belay.WebhookHMAC{Header: "A"}, belay.NewSecret("  "))
		},
	} {
		v, err := make()
		require.Nil(t, v, want)
		require.ErrorIs(t, err, belay.ErrInvalid, want)
		require.ErrorContains(t, err, want)
		require.False(t, testkit.Seen(err.Error()), err)
		var e *belay.Error
		require.True(t, errors.As(err, &e))
	}
	v, err := belay.NewWebhookVerifier(belay.WebhookHMAC{Partner: "acme", Header: "A"}, secret)
	require.NoError(t, err)
	require.False(t, testkit.Seen(testkit.Verbs(v)+testkit.Verbs(*v)), "a verifier prints no secret")
	require.Equal(t, "belay.WebhookVerifier(acme)", fmt.Sprint(v))
}

// The commonest webhook is verified without an allocation.
func TestAllocationsOfWebhookHMAC(t *testing.T) {
	if testkit.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	how := belay.WebhookHMAC{Header: "X-Sig", ID: "X-Id", Type: "X-Type"}
	v, err := belay.NewWebhookVerifier(how, belay.NewSecret("secret"))
	require.NoError(t, err)
	body := bytes.Repeat([]byte("{}"), 512)
	h := signedBy(how, "secret", string(body))
	h.Set("X-Id", "1")
	h.Set("X-Type", "made")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if d, err := v.Verify(h, body); err != nil || d.Events[0].ID != "1" {
			t.Fatal(err)
		}
	}))
}
