package webhook_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/webhook"
)

// Adyen's own examples, and deliveries of which one item is not signed.
func TestAdyen(t *testing.T) {
	t.Parallel()
	const key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
	const item = `{"NotificationRequestItem":{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},` +
		`"pspReference":"7914073381342284","merchantReference":"TestPayment-1407325143704","merchantAccountCode":"TestMerchant",` +
		`"amount":{"currency":"EUR","value":1130},"eventCode":"AUTHORISATION","success":"true",` +
		`"eventDate":"2019-05-06T17:15:34.121+02:00","paymentMethod":"visa"}}`
	v := mustVerifier(t, webhook.Adyen(), key)
	body := func(items ...string) []byte {
		return []byte(`{"live":"false","notificationItems":[` + strings.Join(items, ",") + `]}`)
	}
	d, err := v.Verify(http.Header{}, body(item, item))
	require.NoError(t, err)
	require.Len(t, d.Events, 2)
	require.Equal(t, "AUTHORISATION", d.Events[0].Type)
	require.Equal(t, `"7914073381342284"-"AUTHORISATION"-"true"`, d.Events[0].ID)
	require.True(t, time.Date(2019, 5, 6, 15, 15, 34, 121e6, time.UTC).Equal(d.Events[0].Time))
	second := mustVerifier(t, webhook.Adyen(), "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00")
	_, err = second.Verify(http.Header{}, body(`{"NotificationRequestItem":{"additionalData":{`+
		`"hmacSignature":"ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="},"pspReference":"pspReference",`+
		`"originalReference":"originalReference","merchantAccountCode":"merchantAccount","merchantReference":"reference",`+
		`"amount":{"value":1000,"currency":"EUR"},"eventCode":"EVENT","success":true}}`))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		body []byte
		want error
	}{
		"another amount":       {body(strings.Replace(item, "1130", "1131", 1)), belay.ErrBadSignature},
		"another outcome":      {body(strings.Replace(item, `"true"`, `"false"`, 1)), belay.ErrBadSignature},
		"one that is unsigned": {body(item, `{"NotificationRequestItem":{}}`), belay.ErrNoSignature},
		"one that is null":     {body(item, `null`), belay.ErrNoSignature},
		"none":                 {body(), belay.ErrNoSignature},
		"no array":             {[]byte(`{}`), belay.ErrNoSignature},
		"not JSON":             {[]byte(`a=b`), belay.ErrMalformedSignature},
		"a second item, by another case": {
			body(strings.TrimSuffix(item, "}") + `,"notificationRequestItem":{"pspReference":"psp9","success":"true"}}`),
			belay.ErrMalformedSignature,
		},
		"a second outcome, by another case": {
			body(strings.Replace(item, `"success"`, `"Success":"true","success"`, 1)), belay.ErrMalformedSignature,
		},
		"a second amount, by another case": {
			body(strings.Replace(item, `"value"`, `"Value":1,"value"`, 1)), belay.ErrMalformedSignature,
		},
		"a second name, by another letter": {
			body(strings.Replace(item, `"success"`, `"\u017fuccess":"true","success"`, 1)), belay.ErrMalformedSignature,
		},
		"the same name twice": {
			body(strings.Replace(item, `"success"`, `"success":"false","success"`, 1)), belay.ErrMalformedSignature,
		},
		"a second list of items": {
			[]byte(strings.TrimSuffix(string(body(item)), "}") + `,"NotificationItems":[{}]}`), belay.ErrMalformedSignature,
		},
		"parts moved": {
			body(strings.Replace(strings.Replace(item, `"TestMerchant"`, `"TestMerchant:TestPayment"`, 1),
				`"TestPayment-1407325143704"`, `"1407325143704"`, 1)), belay.ErrBadSignature,
		},
	} {
		_, err := v.Verify(http.Header{}, c.body)
		require.ErrorIs(t, err, c.want, name)
	}
	for _, bad := range []string{"44782DEF", "zz", strings.Repeat("g", 64)} {
		_, err := webhook.NewVerifier(webhook.Adyen(), belay.NewSecret(bad))
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.NotContains(t, err.Error(), bad)
	}
}

// MessageBird signs the time, the URL and the hash of the body.
func TestMessageBird(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		body := `{"service":"channels","event":"sms.inbound"}`
		at := fmt.Sprint(time.Now().Unix())
		sum := sha256.Sum256([]byte(body))
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write([]byte(at + "\nhttps://us.example/hook?a=b\n" + string(sum[:])))
		h := headersOf("MessageBird-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)), "MessageBird-Request-Timestamp", at)
		v := mustVerifier(t, webhook.MessageBird("https://us.example/hook?a=b"), "key")
		_, err := v.Verify(h, []byte(body))
		require.NoError(t, err)
		_, err = v.Verify(h, []byte(body+" "))
		require.ErrorIs(t, err, belay.ErrBadSignature)
		time.Sleep(6 * time.Minute)
		_, err = v.Verify(h, []byte(body))
		require.ErrorIs(t, err, belay.ErrTooOld)
	})
}

// Where the query is signed, it belongs to what an event without an ID is known by.
func TestEventsThatDifferInTheQuery(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		const at = "https://us.example/hook"
		v := mustVerifier(t, webhook.MessageBird(at), "key")
		ids := make(map[string]bool)
		for _, query := range []string{"id=1&status=sent", "id=1&status=delivered", "id=2&status=sent", "id=2&status=sent"} {
			sum := sha256.Sum256(nil)
			stamp := fmt.Sprint(time.Now().Unix())
			mac := hmac.New(sha256.New, []byte("key"))
			mac.Write([]byte(stamp + "\n" + at + "?" + query + "\n" + string(sum[:])))
			r := httptest.NewRequest(http.MethodPost, "/hook?"+query, http.NoBody)
			r.Header = headersOf("MessageBird-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)), "MessageBird-Request-Timestamp", stamp)
			d, err := v.VerifyRequest(r)
			require.NoError(t, err)
			ids[d.ID] = true
		}
		require.Len(t, ids, 3)
	})
}

// Shopify's own examples of a signed query.
func TestShopifyQueries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scheme webhook.Scheme
		query  string
		at     int64
	}{
		"app proxy": {
			webhook.ShopifyProxy("https://us.example/proxy"),
			"extra=1&extra=2&shop=shop-name.myshopify.com&logged_in_customer_id=1&path_prefix=%2Fapps%2Fawesome_reviews&" +
				"timestamp=1317327555&signature=4c68c8624d737112c91818c11017d24d334b524cb5c2b8ba08daa056f7395ddb", 1317327555,
		},
		"app proxy, without a customer": {
			webhook.ShopifyProxy("https://us.example/proxy"),
			"extra=1&extra=2&shop=shop-name.myshopify.com&path_prefix=%2Fapps%2Fawesome_reviews&timestamp=1317327555&" +
				"signature=a9718877bea71c2484f91608a7eaea1532bdf71f5c56825065fa4ccabe549ef3", 1317327555,
		},
		"OAuth callback": {
			webhook.ShopifyCallback("https://us.example/proxy"),
			"code=0907a61c0c8d55e99db179b68161bc00&hmac=700e2dadb827fcc8609e9d5ce208b2e9cdaab9df07390d2cbca10d7c328fc4bf&" +
				"shop=some-shop.myshopify.com&state=0.6784241404160823&timestamp=1337178173", 1337178173,
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			until(c.at)
			v := mustVerifier(t, c.scheme, "hush")
			verify := func(query string) error {
				_, err := v.VerifyRequest(httptest.NewRequest(http.MethodGet, "/proxy?"+query, nil))
				return err
			}
			require.NoError(t, verify(c.query))
			require.ErrorIs(t, verify(strings.Replace(c.query, "shop=s", "shop=t", 1)), belay.ErrBadSignature)
			require.ErrorIs(t, verify(c.query+"&more=1"), belay.ErrBadSignature)
			require.ErrorIs(t, verify(c.query+"&signature=1&hmac=2"), belay.ErrMalformedSignature)
			require.ErrorIs(t, verify("shop=x"), belay.ErrNoSignature)
			require.ErrorIs(t, verify(""), belay.ErrNoSignature)
			require.ErrorIs(t, verify("%zz"), belay.ErrMalformedSignature)
			_, err := v.Verify(http.Header{}, nil)
			require.ErrorIs(t, err, belay.ErrNoSignature)
			time.Sleep(91 * time.Second)
			require.ErrorIs(t, verify(c.query), belay.ErrTooOld)
		})
	}
}

// A value with a blank is signed in each writing of one.
func TestShopifyBlanks(t *testing.T) {
	t.Parallel()
	const at = "1337178173"
	for _, signed := range []string{
		"code=c&name=a b&shop=s.myshopify.com&timestamp=" + at,
		"code=c&name=a%20b&shop=s.myshopify.com&timestamp=" + at,
		"code=c&name=a+b&shop=s.myshopify.com&timestamp=" + at,
	} {
		for _, sent := range []string{"a+b", "a%20b"} {
			testkit.Bubble(t, signed+sent, func(t *testing.T) {
				until(1337178173)
				mac := hmac.New(sha256.New, []byte("hush"))
				mac.Write([]byte(signed))
				query := "shop=s.myshopify.com&name=" + sent + "&timestamp=" + at + "&code=c&hmac=" + hex.EncodeToString(mac.Sum(nil))
				v := mustVerifier(t, webhook.ShopifyCallback("https://us.example/cb"), "hush")
				_, err := v.VerifyRequest(httptest.NewRequest(http.MethodGet, "/cb?"+query, nil))
				require.NoError(t, err)
				_, err = v.VerifyRequest(httptest.NewRequest(http.MethodGet, "/cb?"+strings.Replace(query, "name=a", "name=x", 1), nil))
				require.ErrorIs(t, err, belay.ErrBadSignature)
			})
		}
	}
}

// Twilio signs some characters as they are where it sends them escaped, and a URL with its user and password.
func TestWritingsOfTwilio(t *testing.T) {
	t.Parallel()
	sign := func(at, form string) string {
		mac := hmac.New(sha1.New, []byte("12345"))
		fields, err := url.ParseQuery(form)
		require.NoError(t, err)
		mac.Write([]byte(at + "From" + fields.Get("From")))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	const form = "From=%2B1"
	for name, c := range map[string]struct{ url, query, signed string }{
		"as it is":                  {"https://us.example/sms", "to=a%40b", "https://us.example/sms?to=a%40b"},
		"an @ as it is":             {"https://us.example/sms", "to=a%40b", "https://us.example/sms?to=a@b"},
		"a colon as it is":          {"https://us.example/sms", "at=10%3A30", "https://us.example/sms?at=10:30"},
		"a quote as it is":          {"https://us.example/sms", "n=o%27x", "https://us.example/sms?n=o'x"},
		"all three, with a port":    {"https://us.example/sms", "n=%27%3a%40", "https://us.example:443/sms?n=':@"},
		"one plain, one escaped":    {"https://us.example/sms", "e=a%40b&f=12%3A30", "https://us.example/sms?e=a%40b&f=12:30"},
		"sent one of each":          {"https://us.example/sms", "e=a@b&f=O%27N", "https://us.example/sms?e=a%40b&f=O'N"},
		"small digits":              {"https://us.example/sms", "f=12%3a30", "https://us.example/sms?f=12%3A30"},
		"sent as they are":          {"https://us.example/sms", "n=':@", "https://us.example/sms?n=%27%3A%40"},
		"a user and a password":     {"https://u:pw@us.example/sms", "a=b", "https://u:pw@us.example/sms?a=b"},
		"and a port":                {"https://u:pw@us.example/sms", "a=b", "https://u:pw@us.example:443/sms?a=b"},
		"a user that is not signed": {"https://u:pw@us.example/sms", "a=b", "https://us.example/sms?a=b"},
		"a user with an @":          {"https://u%40d.c:pw@us.example/sms", "a=b", "https://u@d.c:pw@us.example/sms?a=b"},
		"a user with an @, escaped": {"https://u%40d.c:pw@us.example/sms", "a=b", "https://u%40d.c:pw@us.example/sms?a=b"},
		"and one not signed":        {"https://u%40d.c:pw@us.example/sms", "a=b", "https://us.example/sms?a=b"},
		"another port":              {"https://u:pw@us.example:8443/sms", "a=b", "https://u:pw@us.example:8443/sms?a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			v := mustVerifier(t, webhook.Twilio(c.url), "12345")
			ask := func(query, signature string) error {
				r := httptest.NewRequest(http.MethodPost, "/sms?"+query, strings.NewReader(form))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("X-Twilio-Signature", signature)
				_, err := v.VerifyRequest(r)
				return err
			}
			require.NoError(t, ask(c.query, sign(c.signed, form)))
			require.ErrorIs(t, ask(c.query+"x", sign(c.signed, form)), belay.ErrBadSignature)
			require.ErrorIs(t, ask(c.query, sign("https://evil.example/sms?"+c.query, form)), belay.ErrBadSignature)
		})
	}
	_, err := webhook.NewVerifier(webhook.Square("https://u:pw-canary@us.example/sms"), belay.NewSecret("12345"))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.NotContains(t, err.Error(), "canary")
}

// A delivery without events is a test of the endpoint, and is right if it is signed.
func TestDeliveriesWithoutEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scheme webhook.Scheme
		body   string
	}{
		"Xero":             {webhook.Xero(), `{"events":[],"firstEventSequence":0,"lastEventSequence":0}`},
		"HubSpot":          {webhook.HubSpotV1(), `[]`},
		"HubSpot, a space": {webhook.HubSpotV1(), `[ ]`},
		"Attio":            {webhook.Attio(), `{"webhook_id":"w","events":[]}`},
	} {
		h, v := signAny(t, c.scheme, c.body)
		d, err := v.Verify(h, []byte(c.body))
		require.NoError(t, err, name)
		require.Empty(t, d.Events)
		require.NotEmpty(t, d.ID)
		_, err = v.Verify(h, []byte(c.body+" "))
		require.ErrorIs(t, err, belay.ErrBadSignature)
	}
}

// Microsoft Graph gets its token back, and nobody else's text is taken for a notification.
func TestMicrosoftGraph(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.MicrosoftGraph(), "client-state-1")
	ask := func(query, body string) (belay.Delivery, error) {
		return v.VerifyRequest(httptest.NewRequest(http.MethodPost, "/graph?"+query, strings.NewReader(body)))
	}
	d, err := ask("validationToken=Validation%3a+Testing+%3Cb%3E", "")
	require.NoError(t, err)
	require.Equal(t, "Validation: Testing <b>", string(d.Answer.Body))
	require.Equal(t, "text/plain; charset=utf-8", d.Answer.ContentType)
	require.Empty(t, d.Events)
	_, err = ask("validationToken="+strings.Repeat("x", 1025), "")
	require.ErrorIs(t, err, belay.ErrMalformedSignature)
	const right = `{"value":[{"subscriptionId":"s","clientState":"client-state-1","changeType":"updated","id":"n1"}]}`
	d, err = ask("", right)
	require.NoError(t, err)
	require.Equal(t, "n1", d.Events[0].ID)
	for body, want := range map[string]error{
		strings.Replace(right, "state-1", "state-2", 1):        belay.ErrBadSignature,
		strings.Replace(right, "client-state-1", "", 1):        belay.ErrNoSignature,
		`{"value":[{"clientState":"client-state-1"},{"a":1}]}`: belay.ErrNoSignature,
		`{"value":[]}`: belay.ErrNoSignature,
	} {
		_, err := ask("", body)
		require.ErrorIs(t, err, want, body)
	}
}

// Box signs with two keys, and either of them is enough: one is changed while the other goes on.
func TestBox(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "box", func(t *testing.T) {
		const body = `{"type":"webhook_event","id":"b-1","trigger":"FILE.UPLOADED"}`
		at := time.Now().Format(time.RFC3339)
		deliver := func(primary, secondary string, headers ...string) error {
			h := headersOf("BOX-SIGNATURE-VERSION", "1", "BOX-DELIVERY-TIMESTAMP", at)
			if primary != "" {
				h.Set("BOX-SIGNATURE-PRIMARY", hmacBase64(primary, body+at))
			}
			if secondary != "" {
				h.Set("BOX-SIGNATURE-SECONDARY", hmacBase64(secondary, body+at))
			}
			d, err := mustVerifier(t, webhook.Box(), headers...).Verify(h, []byte(body))
			if err == nil {
				require.Equal(t, "b-1", d.ID)
			}
			return err
		}
		require.NoError(t, deliver("one", "two", "one", "two"))
		require.NoError(t, deliver("new one", "two", "one", "two"), "the primary key has changed")
		require.NoError(t, deliver("one", "new two", "one", "two"), "the secondary key has changed")
		require.NoError(t, deliver("", "two", "one", "two"))
		require.NoError(t, deliver("one", "", "one"))
		require.ErrorIs(t, deliver("new one", "new two", "one", "two"), belay.ErrBadSignature)
		require.ErrorIs(t, deliver("", "", "one", "two"), belay.ErrNoSignature)
		at = time.Now().Add(-11 * time.Minute).Format(time.RFC3339)
		require.ErrorIs(t, deliver("one", "two", "one", "two"), belay.ErrTooOld)
	})
}

// A time is an HTTP date.
func TestKlaviyo(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "klaviyo", func(t *testing.T) {
		v := mustVerifier(t, webhook.Klaviyo(), "0123456789abcdef")
		deliver := func(at string) error {
			const body = `{"data":[{"external_id":"k-1","topic":"event:klaviyo.opened_email"}]}`
			_, err := v.Verify(headersOf("Klaviyo-Timestamp", at, "Klaviyo-Signature", hmacHex("0123456789abcdef", body+at)),
				[]byte(body))
			return err
		}
		now := time.Now().UTC()
		require.NoError(t, deliver(now.Format(http.TimeFormat)))
		require.NoError(t, deliver(now.Add(5*time.Hour).Format(http.TimeFormat)), "as it has been seen")
		require.ErrorIs(t, deliver(now.Add(-6*time.Hour).Format(http.TimeFormat)), belay.ErrTooOld)
		require.ErrorIs(t, deliver(now.Add(6*time.Hour).Format(http.TimeFormat)), belay.ErrTooNew)
		for _, wrong := range []string{now.Format(time.RFC3339), fmt.Sprint(now.Unix()), now.Format(time.RFC850), "now"} {
			require.ErrorIs(t, deliver(wrong), belay.ErrMalformedSignature, wrong)
		}
	})
}

// Where nothing is signed, the user and the password are what is verified.
func TestBasicWebhooks(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.Pipedrive(), "user:old password", "user:pass:word")
	deliver := func(authorization string) error {
		r := httptest.NewRequest(http.MethodPost, "/pipedrive", strings.NewReader(`{"meta":{"id":"d-1","entity":"deal"}}`))
		r.Header.Set("Authorization", authorization)
		d, err := v.VerifyRequest(r)
		if err == nil {
			require.Equal(t, `"deal"-"d-1"`, d.ID)
		}
		return err
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.SetBasicAuth("user", "pass:word")
	require.NoError(t, deliver(r.Header.Get("Authorization")))
	r.SetBasicAuth("user", "old password")
	require.NoError(t, deliver(r.Header.Get("Authorization")))
	r.SetBasicAuth("user", "another")
	require.ErrorIs(t, deliver(r.Header.Get("Authorization")), belay.ErrBadSignature)
	require.ErrorIs(t, deliver("Basic user:pass:word"), belay.ErrMalformedSignature)
	require.ErrorIs(t, deliver("Bearer user:pass:word"), belay.ErrMalformedSignature)
	require.ErrorIs(t, deliver("user:pass:word"), belay.ErrMalformedSignature)
	require.ErrorIs(t, deliver(""), belay.ErrNoSignature)
}

// Google's ID is that of the channel and the number of the message: the body is empty.
func TestGoogle(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.Google(), "token")
	deliver := func(channel, number string) belay.WebhookEvent {
		r := httptest.NewRequest(http.MethodPost, "/google", nil)
		r.Header = headersOf("X-Goog-Channel-Token", "token", "X-Goog-Resource-State", "exists",
			"Content-Type", "application/json; utf-8") // of a body that is empty
		for name, value := range map[string]string{"X-Goog-Channel-ID": channel, "X-Goog-Message-Number": number} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		d, err := v.VerifyRequest(r)
		require.NoError(t, err)
		require.Len(t, d.Events, 1)
		require.Equal(t, "exists", d.Events[0].Type)
		return d.Events[0]
	}
	require.Equal(t, `"c-1"-"7"`, deliver("c-1", "7").ID)
	require.NotEqual(t, deliver("c-1", "1-7").ID, deliver("c-1-1", "7").ID)
	require.False(t, deliver("c-1", "7").Anonymous)
	for _, e := range []belay.WebhookEvent{deliver("c-1", ""), deliver("", "7"), deliver("", "")} {
		require.True(t, e.Anonymous, "one of the two is not enough: all would be one event")
	}
}

// Okta and Dropbox ask by a GET whether the endpoint is ours: Okta with the secret, Dropbox without.
func TestQuestionsByGET(t *testing.T) {
	t.Parallel()
	ask := func(s webhook.Scheme, target string, headers ...string) (belay.Delivery, error) {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header = headersOf(headers...)
		return mustVerifier(t, s, "my-shared-secret").VerifyRequest(r)
	}
	const header = "X-Okta-Verification-Challenge"
	d, err := ask(webhook.Okta(), "/okta", "Authorization", "my-shared-secret", header, `Me_rSh"K8`)
	require.NoError(t, err)
	require.Equal(t, &belay.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"verification":"Me_rSh\"K8"}`)},
		d.Answer)
	require.Empty(t, d.Events)
	_, err = ask(webhook.Okta(), "/okta", "Authorization", "another", header, "x")
	require.ErrorIs(t, err, belay.ErrBadSignature)
	_, err = ask(webhook.Okta(), "/okta", header, "x")
	require.ErrorIs(t, err, belay.ErrNoSignature)
	r := httptest.NewRequest(http.MethodPost, "/okta", strings.NewReader(`{"data":{"events":[{"uuid":"1"}]}}`))
	r.Header = headersOf("Authorization", "my-shared-secret", header, "x")
	d, err = mustVerifier(t, webhook.Okta(), "my-shared-secret").VerifyRequest(r)
	require.NoError(t, err)
	require.Nil(t, d.Answer)
	require.Len(t, d.Events, 1, "an event is not swallowed by a question")
	d, err = ask(webhook.Okta(), "/okta", "Authorization", "my-shared-secret", header, strings.Repeat("x", 1025))
	require.NoError(t, err)
	require.Nil(t, d.Answer)

	d, err = ask(webhook.Dropbox(), "/dropbox?challenge=abc%3Cb%3E")
	require.NoError(t, err)
	require.Equal(t, "abc<b>", string(d.Answer.Body))
	require.Equal(t, "text/plain; charset=utf-8", d.Answer.ContentType)
	_, err = ask(webhook.Dropbox(), "/dropbox")
	require.ErrorIs(t, err, belay.ErrNoSignature)
	r = mustSign(t, webhook.Dropbox(), "my-shared-secret", `{"list_folder":{"accounts":["1"]}}`)
	r.URL.RawQuery = "challenge=x"
	d, err = mustVerifier(t, webhook.Dropbox(), "my-shared-secret").VerifyRequest(r)
	require.NoError(t, err)
	require.Len(t, d.Events, 1, "nor here")

	d, err = ask(webhook.Mailchimp(), "/mailchimp")
	require.NoError(t, err)
	require.Equal(t, &belay.Answer{Status: 200}, d.Answer)
}

// What cannot sign signs nothing.
func TestGreetingSigns(t *testing.T) {
	t.Parallel()
	require.Empty(t, webhook.Greeting{}.Sign("text"))
	for _, x := range []struct {
		scheme webhook.Scheme
		want   string
	}{
		{webhook.Scheme{Header: "S"}, hmacHex("right", "text")},
		{webhook.Scheme{Header: "S", Encoding: webhook.Base64}, hmacBase64("right", "text")},
		{webhook.Scheme{Header: "S", Algorithm: webhook.PlainToken}, ""},
		{webhook.Scheme{Header: "S", Algorithm: webhook.WeakSHA256, Signed: "{secret}{body}"}, ""},
	} {
		var got []string
		x.scheme.Handshake = func(g webhook.Greeting) *belay.Answer {
			got = append(got, g.Sign("text"), g.Sign("text"))
			return &belay.Answer{}
		}
		v := mustVerifier(t, x.scheme, "wrong", "right")
		r := mustSign(t, x.scheme, "right", "{}") // which asks, too
		got = nil
		_, err := v.VerifyRequest(r)
		require.NoError(t, err)
		require.Equal(t, []string{x.want, x.want}, got, "by the secret that verified, and not by the first one")
	}
}

// A secret in the query of the URL verifies a partner that signs nothing.
func TestSecretInTheURL(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.Scheme{Name: "mews", Header: "query:token", Algorithm: webhook.PlainToken}, "secret")
	for target, want := range map[string]error{
		"/mews?token=secret":           nil,
		"/mews?a=b&token=secret":       nil,
		"/mews?token=another":          belay.ErrBadSignature,
		"/mews?token=secre":            belay.ErrBadSignature,
		"/mews?token=":                 belay.ErrNoSignature,
		"/mews":                        belay.ErrNoSignature,
		"/mews?token=a&token=secret":   belay.ErrMalformedSignature,
		"/mews?token=secret&%74oken=a": belay.ErrMalformedSignature,
	} {
		d, err := v.VerifyRequest(httptest.NewRequest(http.MethodPost, target, strings.NewReader(`{"a":1}`)))
		require.ErrorIs(t, err, want, target)
		require.Equal(t, want == nil, len(d.Events) == 1, target)
	}
}

// Version 1 of Pipedrive's webhooks has the object's id where version 2 has the event's: none of its events is taken for
// another one.
func TestPipedriveV1(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.Pipedrive(), "user:password")
	ids := make(map[string]bool)
	for _, event := range []string{"added.deal", "updated.deal", "deleted.person"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"v":1,"meta":{"id":30},"event":"`+event+`"}`))
		r.SetBasicAuth("user", "password")
		d, err := v.VerifyRequest(r)
		require.NoError(t, err)
		require.Equal(t, event, d.Events[0].Type)
		require.True(t, d.Events[0].Anonymous)
		ids[d.Events[0].ID] = true
	}
	require.Len(t, ids, 3)
}

// A body that is an empty object has no events where they are in an array, such as a heartbeat.
func TestEmptyObjects(t *testing.T) {
	t.Parallel()
	for body, events := range map[string]int{`{}`: 0, ` { } `: 1, `{"events":[]}`: 0, `{"other":1}`: 1} {
		d, err := mustVerifier(t, webhook.Asana(), "secret").Verify(headersOf("X-Hook-Signature", hmacHex("secret", body)), []byte(body))
		require.NoError(t, err)
		require.Len(t, d.Events, events, body)
	}
}
