package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
	"github.com/belay-go/belay/webhook"
)

// partnerWebhook is a delivery of one scheme, and what is to be read from it.
type partnerWebhook struct {
	name    string // of the constructor, and what is particular
	scheme  webhook.Scheme
	signs   string // the secret that signs
	proves  string // the secret that verifies
	another string // one that verifies nothing of it
	data    string
	id, typ string    // of the first event; an empty id is a hash of the body
	at      time.Time // zero where the scheme has none
}

// The id and the type that SignTest is given; where a scheme has headers for them, they come back.
const (
	signedID   = "delivery-1"
	signedType = "thing.created"
)

const webhookURL = "https://hooks.example.com/in/partner?tenant=7&x=%3Aa"

// partnerWebhooks has one for each constructor, and more where there are several kinds.
func partnerWebhooks(tb testing.TB) []partnerWebhook {
	edwards := func() (private, public []byte) {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(tb, err)
		return priv, pub
	}
	privateA, publicA := edwards()
	_, publicB := edwards()
	encode := base64.StdEncoding.EncodeToString
	elliptical := func() (private, public string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(tb, err)
		priv, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(tb, err)
		pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		require.NoError(tb, err)
		return encode(priv), encode(pub)
	}
	sendGridA, sendGridPublicA := elliptical()
	_, sendGridPublicB := elliptical()
	shared := func(name string, s webhook.Scheme, data, id, typ string, at int64) partnerWebhook {
		w := partnerWebhook{name, s, "current-secret", "current-secret", "another-secret", data, id, typ, time.Time{}}
		if at != 0 {
			w.at = time.UnixMilli(at)
		}
		return w
	}
	keyed := func(name string, s webhook.Scheme, typ string) partnerWebhook {
		w := shared(name, s, `{"type":"invoice.paid","timestamp":"2023-11-14T22:13:20Z"}`, signedID, typ, 0)
		w.signs = "whsec_" + encode(bytes.Repeat([]byte{1}, 24))
		w.proves, w.another = w.signs, "whsec_"+encode(bytes.Repeat([]byte{2}, 24))
		if typ != signedType && typ != "" {
			w.at = time.Unix(1700000000, 0)
		}
		return w
	}
	asymmetric := func(w partnerWebhook, signs, proves, another string) partnerWebhook {
		w.signs, w.proves, w.another = signs, proves, another
		return w
	}
	const (
		at      = 1700000000000
		hubSpot = `[{"eventId":1,"subscriptionId":2,"objectId":3,"occurredAt":1700000000000,"subscriptionType":"contact.creation"}]`
	)
	adyen := shared("Adyen", webhook.Adyen(), `{"live":"false","notificationItems":[{"NotificationRequestItem":{`+
		`"pspReference":"7914073381342284","merchantAccountCode":"TestMerchant","merchantReference":"a:b",`+
		`"amount":{"value":1130,"currency":"EUR"},"eventCode":"AUTHORISATION","success":"true",`+
		`"eventDate":"2023-11-14T23:13:20+01:00"}}]}`, `"7914073381342284"-"AUTHORISATION"-"true"`, "AUTHORISATION", at)
	adyen.signs = strings.Repeat("4a", 32)
	adyen.proves, adyen.another = adyen.signs, strings.Repeat("4b", 32)
	airtable := shared("Airtable", webhook.Airtable(),
		`{"base":{"id":"app1"},"webhook":{"id":"ach1"},"timestamp":"2023-11-14T22:13:20.000Z"}`, "", "", at)
	airtable.signs = encode(bytes.Repeat([]byte{1}, 24))
	airtable.proves, airtable.another = airtable.signs, encode(bytes.Repeat([]byte{2}, 24))
	return []partnerWebhook{
		adyen,
		airtable,
		shared("Asana", webhook.Asana(), `{"events":[{"action":"changed","created_at":"2023-11-14T22:13:20.000Z"}]}`, "",
			"changed", at),
		shared("Box", webhook.Box(), `{"type":"webhook_event","id":"b-1","created_at":"2023-11-14T14:13:20-08:00",`+
			`"trigger":"FILE.UPLOADED"}`, "b-1", "FILE.UPLOADED", at),
		shared("Dropbox", webhook.Dropbox(), `{"list_folder":{"accounts":["dbid:1"]},"delta":{"users":[1]}}`, "", "", 0),
		shared("Google", webhook.Google(), "", `"`+signedID+`"-"1"`, signedType, 0),
		shared("Hostaway", webhook.Hostaway(), `{"event":"reservation.created"}`, "", "reservation.created", 0),
		shared("Jira", webhook.Jira(), `{"timestamp":1700000000000,"webhookEvent":"jira:issue_updated"}`, signedID,
			"jira:issue_updated", at),
		shared("Klaviyo", webhook.Klaviyo(), `{"data":[{"external_id":"k-1","topic":"event:klaviyo.clicked_email"}]}`, "k-1",
			"event:klaviyo.clicked_email", 0),
		shared("Okta", webhook.Okta(), `{"data":{"events":[{"uuid":"o-1","eventType":"user.lifecycle.create",`+
			`"published":"2023-11-14T22:13:20.000Z"}]}}`, "o-1", "user.lifecycle.create", at),
		shared("PagerDuty", webhook.PagerDuty(), `{"event":{"id":"p-1","event_type":"incident.triggered",`+
			`"occurred_at":"2023-11-14T22:13:20Z"}}`, "p-1", "incident.triggered", at),
		shared("Pipedrive", webhook.Pipedrive(), `{"meta":{"id":"d-1","action":"change","entity":"deal",`+
			`"timestamp":"2023-11-14T22:13:20.000Z"}}`, `"deal"-"d-1"`, "deal", at),
		shared("QuickBooks", webhook.QuickBooks(), `[{"id":"q-1","type":"qbo.invoice.created.v1","time":"2023-11-14T22:13:20Z"}]`,
			"q-1", "qbo.invoice.created.v1", at),
		shared("Zoom", webhook.Zoom(), `{"event":"meeting.started","event_ts":1700000000000}`, "", "meeting.started", at),
		shared("MessageBird", webhook.MessageBird(webhookURL), `{"service":"channels","event":"sms.inbound"}`, "", "sms.inbound", 0),
		shared("MicrosoftGraph", webhook.MicrosoftGraph(),
			`{"value":[{"id":"n1","changeType":"updated","resource":"users/7"}]}`, "n1", "updated", 0),
		shared("ShopifyProxy", webhook.ShopifyProxy(webhookURL), `{}`, "", "", 0),
		shared("ShopifyCallback", webhook.ShopifyCallback(webhookURL), `{}`, "", "", 0),
		shared("Xero", webhook.Xero(), `{"events":[{"tenantId":"t","resourceId":"r","eventCategory":"CONTACT",`+
			`"eventType":"UPDATE","eventDateUtc":"2023-11-14T22:13:20.000"}]}`,
			`"t"-"r"-"CONTACT"-"UPDATE"-"2023-11-14T22:13:20.000"`, "UPDATE", 0),
		shared(
			"Attio",
			webhook.Attio(),
			`{"webhook_id":"w","events":[{"event_type":"record.created"}]}`,
			signedID+"#0",
			"record.created",
			0,
		),
		shared(
			"Calendly",
			webhook.Calendly(),
			`{"event":"invitee.created","created_at":"2023-11-14T22:13:20.000000Z"}`,
			"",
			"invitee.created",
			at,
		),
		asymmetric(
			shared(
				"Discord",
				webhook.Discord(),
				`{"version":1,"type":1,"event":{"type":"ENTITLEMENT_CREATE","timestamp":"2023-11-14T22:13:20Z"}}`,
				"",
				"ENTITLEMENT_CREATE",
				at,
			),
			hex.EncodeToString(privateA),
			hex.EncodeToString(publicA),
			hex.EncodeToString(publicB),
		),
		shared("Gitea", webhook.Gitea(), `{"ref":"main"}`, signedID, signedType, 0),
		shared("GitHub", webhook.GitHub(), `{"ref":"main"}`, signedID, signedType, 0),
		shared("GitHub, a form", webhook.GitHub(), `payload=%7B%22yo%22%3Atrue%7D`, signedID, signedType, 0),
		keyed("GitLab", webhook.GitLab(), ""),
		shared("GitLabToken", webhook.GitLabToken(), `{"ref":"main"}`, signedID, signedType, 0),
		shared("HubSpot", webhook.HubSpot(webhookURL), hubSpot, "2-3-1700000000000-1", "contact.creation", at),
		shared("HubSpotV1", webhook.HubSpotV1(), hubSpot, "2-3-1700000000000-1", "contact.creation", at),
		shared("HubSpotV2", webhook.HubSpotV2(webhookURL), hubSpot, "2-3-1700000000000-1", "contact.creation", at),
		shared(
			"Intercom",
			webhook.Intercom(),
			`{"id":"notif_1","topic":"user.created","created_at":1700000000}`,
			"notif_1",
			"user.created",
			at,
		),
		shared(
			"Linear",
			webhook.Linear(),
			`{"type":"Issue","createdAt":"2023-11-14T22:13:20.000Z"}`,
			"",
			"Issue",
			at,
		),
		shared("Mailchimp", webhook.Mailchimp(), `type=subscribe&data%5Bid%5D=1`, "", "", 0),
		shared(
			"Mailgun",
			webhook.Mailgun(),
			`{"event-data":{"id":"mg-1","event":"delivered","timestamp":1700000000.5}}`,
			signedID,
			"delivered",
			at+500,
		),
		shared(
			"Notion",
			webhook.Notion(),
			`{"id":"n-1","type":"page.created","timestamp":"2023-11-14T22:13:20Z"}`,
			"n-1",
			"page.created",
			at,
		),
		asymmetric(
			shared(
				"SendGrid",
				webhook.SendGrid(),
				`[{"sg_event_id":"sg-1","event":"dropped","timestamp":1700000000}]`+"\r\n",
				"sg-1",
				"dropped",
				at,
			),
			sendGridA,
			sendGridPublicA,
			sendGridPublicB,
		),
		shared("Shopify", webhook.Shopify(), `{"id":1}`, signedID, signedType, 0),
		shared("ShopifyEvents", webhook.ShopifyEvents(), `{"id":1}`, signedID, signedType, 0),
		shared(
			"Slack",
			webhook.Slack(),
			`{"type":"event_callback","event_id":"Ev1","event_time":1700000000,"event":{"type":"app_mention"}}`,
			"Ev1",
			"app_mention",
			at,
		),
		shared("Slack, a command", webhook.Slack(), `token=x&command=%2Fdeploy`, "", "", 0),
		shared(
			"Square",
			webhook.Square(webhookURL),
			`{"event_id":"sq-1","type":"payment.updated","created_at":"2023-11-14T22:13:20Z"}`,
			"sq-1",
			"payment.updated",
			at,
		),
		keyed("StandardWebhooks", webhook.StandardWebhooks(), "invoice.paid"),
		asymmetric(keyed("StandardWebhooks, v1a", webhook.StandardWebhooks(), "invoice.paid"),
			"whsk_"+encode(privateA), "whpk_"+encode(publicA), "whpk_"+encode(publicB)),
		shared(
			"Stripe",
			webhook.Stripe(),
			`{"id":"evt_1","type":"customer.created","created":1700000000}`,
			"evt_1",
			"customer.created",
			at,
		),
		keyed("Svix", webhook.Svix(), "invoice.paid"),
		asymmetric(keyed("Svix, v1a", webhook.Svix(), "invoice.paid"),
			"whsk_"+encode(privateA), "whpk_"+encode(publicA), "whpk_"+encode(publicB)),
		shared("Twilio", webhook.Twilio(webhookURL), `To=%2B1800&From=%2B1415&Body=a+b&Body=a`, signedID, "", 0),
		shared("Twilio, JSON", webhook.Twilio(webhookURL), `{"a":1}`, signedID, "", 0),
		shared(
			"Typeform",
			webhook.Typeform(),
			`{"event_id":"tf-1","event_type":"form_response","form_response":{"submitted_at":"2023-11-14T22:13:20Z"}}`,
			"tf-1",
			"form_response",
			at,
		),
		shared(
			"Zendesk",
			webhook.Zendesk(),
			`{"id":"z-1","type":"zen:event","time":"2023-11-14T22:13:20Z"}`,
			signedID,
			"zen:event",
			at,
		),
	}
}

func mustVerifier(tb testing.TB, s webhook.Scheme, secrets ...string) *webhook.Verifier {
	tb.Helper()
	var all []belay.Secret
	for _, secret := range secrets {
		all = append(all, belay.NewSecret(secret))
	}
	v, err := webhook.NewVerifier(s, all...)
	require.NoError(tb, err)
	return v
}

func mustSign(tb testing.TB, s webhook.Scheme, secret, data string) *http.Request {
	tb.Helper()
	req, err := webhook.SignTest(
		s,
		belay.NewSecret(secret),
		belay.WebhookEvent{ID: signedID, Type: signedType, Data: []byte(data)},
	)
	require.NoError(tb, err)
	return req
}

func requestBody(tb testing.TB, req *http.Request) []byte {
	tb.Helper()
	body, err := io.ReadAll(req.Body)
	require.NoError(tb, err)
	req.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// hmacOf is HMAC-SHA256, for what SignTest would not sign.
func hmacOf(secret, text string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hmacHex(secret, text string) string { return hex.EncodeToString(hmacOf(secret, text)) }

func hmacBase64(secret, text string) string {
	return base64.StdEncoding.EncodeToString(hmacOf(secret, text))
}

// headersOf makes headers of names and values.
func headersOf(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// Every constructor is in the table.
func TestWebhookTableIsComplete(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "partners.go", nil, 0)
	require.NoError(t, err)
	missing := map[string]bool{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() {
			missing[f.Name.Name] = true
		}
	}
	require.GreaterOrEqual(t, len(missing), 25)
	for _, w := range partnerWebhooks(t) {
		name, _, _ := strings.Cut(w.name, ",")
		delete(missing, name)
	}
	require.Empty(t, missing)
}

// What SignTest signs goes over the wire, is accepted, and says what it is to say. Another secret refuses it,
// and so it is with another body.
func TestWebhookRoundTrip(t *testing.T) {
	t.Parallel()
	for _, w := range partnerWebhooks(t) {
		testkit.Bubble(t, w.name, func(t *testing.T) {
			req := mustSign(t, w.scheme, w.signs, w.data)
			require.Equal(t, http.MethodPost, req.Method)
			sent := requestBody(t, req)
			var line bytes.Buffer
			require.NoError(t, req.Write(&line))
			served := readRequest(t, line.Bytes())
			d, err := mustVerifier(t, w.scheme, w.proves).VerifyRequest(served)
			require.NoError(t, err)
			require.Equal(t, w.scheme.Name, d.Partner)
			require.Empty(t, d.Integration)
			require.Nil(t, d.Answer)
			require.Equal(t, string(sent), string(d.Body))
			require.Len(t, d.Events, 1)
			if w.id == "" {
				require.Equal(t, w.scheme.Timestamp == "" && w.scheme.ID != "body", d.Events[0].Anonymous)
				if w.scheme.Timestamp == "" || w.scheme.ID == "body" {
					hashed := d.Body
					if w.scheme.Events != "" {
						hashed = d.Events[0].Data
					}
					require.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(hashed)), d.Events[0].ID)
				}
				require.Regexp(t, "^sha256:[0-9a-f]{64}$", d.ID)
				if w.scheme.Events == "" {
					require.Equal(t, d.ID, d.Events[0].ID)
				}
			} else {
				require.Equal(t, w.id, d.Events[0].ID)
			}
			require.NotEmpty(t, d.ID)
			require.Equal(t, w.typ, d.Events[0].Type)
			require.True(t, w.at.Equal(d.Events[0].Time), "%v", d.Events[0].Time)
			require.Equal(t, json.Valid([]byte(w.data)), d.Events[0].Data != nil)
			if d.Events[0].Data != nil {
				require.True(t, json.Valid(d.Events[0].Data))
			}
			require.Equal(t, string(d.Body), string(requestBody(t, served)), "the body can be read again")

			_, err = mustVerifier(t, w.scheme, w.another).VerifyRequest(readRequest(t, line.Bytes()))
			require.ErrorIs(t, err, belay.ErrBadSignature)

			// Mailgun and GitLab's token do not sign the body.
			served = readRequest(t, line.Bytes())
			body := append(requestBody(t, served), ' ')
			served.Body, served.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			_, err = mustVerifier(t, w.scheme, w.proves).VerifyRequest(served)
			if !signsBody(w.scheme) {
				require.NotErrorIs(t, err, belay.ErrBadSignature)
			} else {
				require.ErrorIs(t, err, belay.ErrBadSignature)
			}
		})
	}
}

// signsBody reports whether a scheme signs the whole body.
func signsBody(s webhook.Scheme) bool {
	return s.Name != "mailgun" && s.Algorithm != webhook.PlainToken && !s.PerItem && !inQuery(s)
}

// inQuery reports whether a scheme signs the query, which only a request has.
func inQuery(s webhook.Scheme) bool { return strings.HasPrefix(s.Header, "query:") }

func readRequest(t *testing.T, line []byte) *http.Request {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(line)))
	require.NoError(t, err)
	return req
}

// A signature is good for as long as the tolerance, either way, and where none is told for five minutes.
func TestWebhookTolerance(t *testing.T) {
	t.Parallel()
	for _, w := range partnerWebhooks(t) {
		if w.scheme.Timestamp == "" {
			continue
		}
		testkit.Bubble(t, w.name, func(t *testing.T) {
			within := w.scheme.Tolerance
			if within == 0 {
				within = 5 * time.Minute
			}
			never := w.scheme
			never.Tolerance = -1
			until(1_100_000_000) // where it is not compared, a time must have as many digits as it has had since 2001
			for ahead, want := range map[time.Duration]error{
				0: nil, within: nil, within + time.Second: belay.ErrTooNew, -within: nil, -within - time.Second: belay.ErrTooOld,
			} {
				e := belay.WebhookEvent{ID: signedID, Time: time.Now().Add(ahead), Data: []byte(w.data)}
				req, err := webhook.SignTest(w.scheme, belay.NewSecret(w.signs), e)
				require.NoError(t, err)
				_, err = mustVerifier(t, w.scheme, w.proves).VerifyRequest(req)
				require.ErrorIs(t, err, want, "%v", ahead)
				if want != nil { // a sender without the secret does not learn that it is too late
					_, err = mustVerifier(t, w.scheme, w.another).VerifyRequest(req)
					require.ErrorIs(t, err, belay.ErrBadSignature)
				}
				_, err = mustVerifier(t, never, w.proves).VerifyRequest(req)
				require.NoError(t, err, "%v, not looked at", ahead)
			}
		})
	}
}

// While a secret is changed, either is accepted, in either order; a third is not.
func TestWebhookRotation(t *testing.T) {
	t.Parallel()
	for _, w := range partnerWebhooks(t) {
		testkit.Bubble(t, w.name, func(t *testing.T) {
			req := mustSign(t, w.scheme, w.signs, w.data)
			for _, secrets := range [][]string{
				{w.proves, w.another}, {w.another, w.proves}, {w.another, w.another, w.proves}, {w.proves, w.proves},
			} {
				_, err := mustVerifier(t, w.scheme, secrets...).VerifyRequest(req)
				require.NoError(t, err)
			}
			if w.signs == w.proves { // the other signs, too
				v := mustVerifier(t, w.scheme, w.proves, w.another)
				_, err := v.VerifyRequest(mustSign(t, w.scheme, w.another, w.data))
				require.NoError(t, err)
				third := w.another[:len(w.another)-4] + "AAAA"
				_, err = v.VerifyRequest(mustSign(t, w.scheme, third, w.data))
				require.ErrorIs(t, err, belay.ErrBadSignature)
			}
		})
	}
}

// Two signatures in one header: a receiver with either secret accepts, one with neither refuses.
func TestWebhookTwoSignatures(t *testing.T) {
	t.Parallel()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	public := "whpk_" + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
	signing := "whsk_" + base64.StdEncoding.EncodeToString(private)
	const one, two, three = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
		"whsec_AgICAgICAgICAgICAgICAgICAgICAgIC",
		"whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD"
	for _, row := range []struct {
		name                     string
		scheme                   webhook.Scheme
		signs                    [2]string
		proves                   [2]string
		header, separator, begin string // begin is where in a header the signatures begin
	}{
		{"Stripe", webhook.Stripe(), [2]string{one, two}, [2]string{one, two}, "Stripe-Signature", ",", "v1="},
		{
			"Standard Webhooks", webhook.StandardWebhooks(),
			[2]string{one, two},
			[2]string{one, two},
			"webhook-signature", " ", "v1,",
		},
		{
			"Standard Webhooks, v1 and v1a", webhook.StandardWebhooks(),
			[2]string{one, signing},
			[2]string{one, public},
			"webhook-signature", " ", "v1",
		},
		{"Svix", webhook.Svix(), [2]string{one, two}, [2]string{one, two}, "svix-signature", " ", "v1,"},
	} {
		testkit.Bubble(t, row.name, func(t *testing.T) {
			const data = `{"id":"evt_1"}`
			first, second := mustSign(t, row.scheme, row.signs[0], data), mustSign(t, row.scheme, row.signs[1], data)
			a, b := first.Header.Get(row.header), second.Header.Get(row.header)
			prefix, a := a[:strings.Index(a, row.begin)], a[strings.Index(a, row.begin):]
			b = b[strings.Index(b, row.begin):]
			for _, list := range [][]string{{a, b}, {b, a}, {a, a, b}, {"v1", a, "", b, "v0" + row.begin[2:] + "00"}} {
				h := first.Header.Clone()
				h.Set(row.header, prefix+strings.Join(list, row.separator))
				for _, secret := range row.proves {
					_, err := mustVerifier(t, row.scheme, secret).Verify(h, []byte(data))
					require.NoError(t, err, "%v", list)
				}
				_, err := mustVerifier(t, row.scheme, three).Verify(h, []byte(data))
				require.ErrorIs(t, err, belay.ErrBadSignature)
			}
			// Of a list without end only the beginning is looked at.
			wrong := a[:len(a)-4] + "000="
			if row.name == "Stripe" {
				wrong = a[:len(a)-4] + "0000"
			}
			h := first.Header.Clone()
			h.Set(row.header, prefix+strings.Repeat(wrong+row.separator, 100)+a)
			_, err := mustVerifier(t, row.scheme, row.proves[0]).Verify(h, []byte(data))
			require.ErrorIs(t, err, belay.ErrBadSignature)
		})
	}
}

// What every scheme refuses, and why.
func TestWebhookBadSignatures(t *testing.T) {
	t.Parallel()
	for _, w := range partnerWebhooks(t) {
		if strings.HasPrefix(w.scheme.Header, "json:") {
			continue // below
		}
		testkit.Bubble(t, w.name, func(t *testing.T) {
			req := mustSign(t, w.scheme, w.signs, w.data)
			body := requestBody(t, req)
			name, _, _ := strings.Cut(w.scheme.Header, "|")
			good := req.Header.Get(name)
			basic := strings.HasPrefix(good, "Basic ")
			token := w.scheme.Algorithm == webhook.PlainToken && !basic
			begin := strings.LastIndexAny(strings.TrimRight(good, "="), "=,") + 1
			switch {
			case token:
				begin = 0
			case basic:
				begin = len("Basic ")
			}
			wrong := strings.Repeat("0", len(good)-begin)
			if w.scheme.Encoding == webhook.Base64 {
				raw, err := base64.StdEncoding.DecodeString(good[begin:])
				require.NoError(t, err)
				wrong = base64.StdEncoding.EncodeToString(make([]byte, len(raw)))
			}
			malformed := belay.ErrMalformedSignature
			if token { // any text is a token
				malformed = belay.ErrBadSignature
			}
			if inQuery(w.scheme) {
				return
			}
			v := mustVerifier(t, w.scheme, w.proves)
			verify := func(h http.Header) error {
				_, err := v.Verify(h, body)
				return err
			}
			with := func(values ...string) http.Header {
				h := req.Header.Clone()
				delete(h, http.CanonicalHeaderKey(name))
				for _, value := range values {
					h.Add(name, value)
				}
				return h
			}
			require.NoError(t, verify(with(good)))
			for _, row := range []struct {
				name   string
				header http.Header
				want   error
			}{
				{"no header", with(), belay.ErrNoSignature},
				{"an empty one", with(""), belay.ErrNoSignature},
				{"two", with(good, good), belay.ErrMalformedSignature},
				{"two, the second empty", with(good, ""), belay.ErrMalformedSignature},
				{"two, the first empty", with("", good), belay.ErrMalformedSignature},
				{"right length, wrong content", with(good[:begin] + wrong), belay.ErrBadSignature},
				{"commas", with(strings.Repeat(",", 10_000)), malformed},
				{"spaces", with(strings.Repeat(" ", 10_000)), malformed},
				{"equals signs", with(strings.Repeat("=", 10_000)), malformed},
				{"control characters", with("\x00\r\n\x7f\xff"), malformed},
				{"the prefix alone", with(good[:begin] + " "), malformed},
				{"one byte less", with(good[:len(good)-1]), malformed},
				{"twice", with(good + good[begin:]), malformed},
				{"1 MB", with(good + strings.Repeat("a", 1<<20)), belay.ErrMalformedSignature},
				{"1 MB of commas", with(good + strings.Repeat(",", 1<<20)), belay.ErrMalformedSignature},
			} {
				if w.scheme.Algorithm == webhook.ECDSAP256 && (row.name == "one byte less" || row.name == "twice") {
					continue // they have several sizes
				}
				err := verify(row.header)
				require.ErrorIs(t, err, row.want, row.name)
				require.NotContains(t, err.Error(), "\n")
				if token {
					require.NotContains(t, err.Error(), w.proves)
				}
			}
			// Names in another case are the same header.
			h := with()
			h[strings.ToLower(name)] = []string{good}
			require.NoError(t, verify(h))
			h[strings.ToUpper(name)] = []string{good}
			require.ErrorIs(t, verify(h), belay.ErrMalformedSignature)
			if w.scheme.Encoding == webhook.Base64 && w.scheme.Algorithm != webhook.PlainToken {
				for i := 0; !strings.ContainsAny(good[begin:], "+/"); i++ { // of another body, until one has them
					body = []byte(fmt.Sprintf(`[{"n":%d}]`, i))
					req = mustSign(t, w.scheme, w.signs, string(body))
					good = req.Header.Get(name)
				}
				other := good[:begin] + strings.NewReplacer("+", "-", "/", "_").Replace(good[begin:])
				require.ErrorIs(t, verify(with(other)), belay.ErrMalformedSignature, "the other alphabet")
			}
		})
	}
}

// Mailgun's signature stands in the body.
func TestWebhookBadSignatureInTheBody(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "mailgun", func(t *testing.T) {
		v := mustVerifier(t, webhook.Mailgun(), "secret")
		now := strconv.FormatInt(time.Now().Unix(), 10)
		good := hmacHex("secret", now+"token")
		for body, want := range map[string]error{
			`{"signature":{"timestamp":"` + now + `","token":"token","signature":"` + good + `"}}`: nil,
			`{"signature":{"timestamp":` + now + `,"token":"token","signature":"` + good + `"}}`:   nil,
			`{"signature":{"timestamp":"` + now + `","token":"token","signature":"` + strings.Repeat("0", 64) +
				`"}}`: belay.ErrBadSignature,
			`{"signature":{"timestamp":"` + now + `","token":"nekot","signature":"` + good + `"}}`: belay.ErrBadSignature,
			`{"signature":{"timestamp":"` + now + `","signature":"` + good + `"}}`:                 belay.ErrMalformedSignature,
			`{"signature":{"timestamp":"` + now + `","token":"token","signature":"` + good[1:] +
				`"}}`: belay.ErrMalformedSignature,
			`{"signature":{"token":"token","signature":"` + good + `"}}`:                 belay.ErrMalformedSignature,
			`{"signature":{"timestamp":"` + now + `","token":"token","signature":null}}`: belay.ErrNoSignature,
			`{"signature":{"timestamp":"` + now + `","token":"token","signature":{}}}`:   belay.ErrNoSignature,
			`{"signature":"` + good + `"}`:                                               belay.ErrNoSignature,
			`{}`:                                                                         belay.ErrNoSignature,
			`[]`:                                                                         belay.ErrNoSignature,
			`{"signature":`:                                                              belay.ErrMalformedSignature,
			`signature=` + good:                                                          belay.ErrMalformedSignature,
			"":                                                                           belay.ErrMalformedSignature,
			"\xef\xbb\xbf{}":                                                             belay.ErrMalformedSignature,
		} {
			_, err := v.Verify(http.Header{}, []byte(body))
			require.ErrorIs(t, err, want, "%q", body)
		}
	})
}

// Times that are signed, and are not what they should be.
func TestWebhookBadTimes(t *testing.T) {
	t.Parallel()
	slack := func(at string) http.Header {
		return headersOf("X-Slack-Request-Timestamp", at, "X-Slack-Signature", "v0="+hmacHex("secret", "v0:"+at+":{}"))
	}
	stripe := func(at string) http.Header {
		return headersOf("Stripe-Signature", "t="+at+",v1="+hmacHex("secret", at+".{}"))
	}
	hubSpot := func(at string) http.Header {
		return headersOf(
			"X-HubSpot-Request-Timestamp",
			at,
			"X-HubSpot-Signature-v3",
			hmacBase64("secret", "POST"+webhookURL+"{}"+at),
		)
	}
	zendesk := func(at string) http.Header {
		return headersOf(
			"X-Zendesk-Webhook-Signature-Timestamp",
			at,
			"X-Zendesk-Webhook-Signature",
			hmacBase64("secret", at+"{}"),
		)
	}
	// The bubble begins at 946684800, the year 2000.
	seconds := map[string]error{
		"946684800":                 nil,
		"946685100":                 nil,
		"0946684800":                nil,
		"946685101":                 belay.ErrTooNew,
		"946684499":                 belay.ErrTooOld,
		"0":                         belay.ErrTooOld,
		"253402300799":              belay.ErrTooNew,
		"946684800000":              belay.ErrTooNew,
		"999999999999999":           belay.ErrTooNew,
		"":                          belay.ErrMalformedSignature,
		"-1":                        belay.ErrMalformedSignature,
		"+5":                        belay.ErrMalformedSignature,
		"+946684800":                belay.ErrMalformedSignature,
		" 946684800":                belay.ErrMalformedSignature,
		"946684800.0":               belay.ErrMalformedSignature,
		"9.466848e8":                belay.ErrMalformedSignature,
		"0x386d4380":                belay.ErrMalformedSignature,
		"946_684_800":               belay.ErrMalformedSignature,
		"٩٤٦٦٨٤٨٠٠":                 belay.ErrMalformedSignature,
		"9999999999999999":          belay.ErrMalformedSignature,
		"18446744073709551616":      belay.ErrMalformedSignature,
		"2000-01-01T00:00:00Z":      belay.ErrMalformedSignature,
		strings.Repeat("9", 10_000): belay.ErrMalformedSignature,
		"NaN":                       belay.ErrMalformedSignature,
	}
	for _, x := range []struct {
		name   string
		scheme webhook.Scheme
		sign   func(string) http.Header
		rows   map[string]error
	}{
		{"Slack", webhook.Slack(), slack, seconds},
		{"Stripe", webhook.Stripe(), stripe, seconds},
		{"HubSpot", webhook.HubSpot(webhookURL), hubSpot, map[string]error{
			"946684800000": nil, "946685100000": nil, "946685100001": belay.ErrTooNew,
			"946684500000": nil, "946684499999": belay.ErrTooOld,
			"946684800": belay.ErrTooOld, "0": belay.ErrTooOld, "253402300799000": belay.ErrTooNew,
			"": belay.ErrMalformedSignature, "-1": belay.ErrMalformedSignature, "+5": belay.ErrMalformedSignature,
			"946684800000000000": belay.ErrMalformedSignature, "2000-01-01T00:00:00Z": belay.ErrMalformedSignature,
		}},
		{"Zendesk", webhook.Zendesk(), zendesk, map[string]error{
			"2000-01-01T00:00:00Z":      nil,
			"2000-01-01T02:00:00+02:00": nil,
			"2000-01-01T00:05:00.000Z":  nil,
			"2000-01-01T00:05:01Z":      belay.ErrTooNew,
			"1999-12-31T23:54:59Z":      belay.ErrTooOld,
			"9999-12-31T23:59:59Z":      belay.ErrTooNew,
			"0000-01-01T00:00:00Z":      belay.ErrTooOld,
			"":                          belay.ErrMalformedSignature,
			"yesterday":                 belay.ErrMalformedSignature,
			"946684800":                 belay.ErrMalformedSignature,
			"2000-01-01":                belay.ErrMalformedSignature,
			"2000-13-01T00:00:00Z":      belay.ErrMalformedSignature,
			"2000-02-30T00:00:00Z":      belay.ErrMalformedSignature,
			"2000-01-01T24:00:00Z":      belay.ErrMalformedSignature,
			"2000-01-01 00:00:00Z":      belay.ErrMalformedSignature,
			"2000-01-01T00:00:00":       belay.ErrMalformedSignature,
			"10000-01-01T00:00:00Z":     belay.ErrMalformedSignature,
			"2000-01-01T00:00:00Z ":     belay.ErrMalformedSignature,
		}},
	} {
		testkit.Bubble(t, x.name, func(t *testing.T) {
			v := mustVerifier(t, x.scheme, "secret")
			other := mustVerifier(t, x.scheme, "another secret")
			for at, want := range x.rows {
				h := x.sign(at)
				_, err := v.Verify(h, []byte("{}"))
				require.ErrorIs(t, err, want, "%q", at)
				if at == "" || len(at) > 1000 {
					continue
				}
				_, err = other.Verify(h, []byte("{}")) // the signature comes first
				require.ErrorIs(t, err, belay.ErrBadSignature, "%q", at)
			}
		})
	}
	testkit.Bubble(t, "Linear", func(t *testing.T) {
		v := mustVerifier(t, webhook.Linear(), "secret")
		for at, want := range map[string]error{
			"946684800000": nil, `"946684800000"`: nil, "946684860000": nil,
			"946710600001": belay.ErrTooNew, "946659000000": nil, "946658999999": belay.ErrTooOld,
			"946684800": belay.ErrTooOld, "0": belay.ErrTooOld, "253402300799000": belay.ErrTooNew,
			`""`: belay.ErrMalformedSignature, "-1": belay.ErrMalformedSignature,
			`"+5"`: belay.ErrMalformedSignature, "null": belay.ErrMalformedSignature,
			"true": belay.ErrMalformedSignature, "{}": belay.ErrMalformedSignature,
			"9.46684800e11": belay.ErrMalformedSignature, `"2000-01-01T00:00:00Z"`: belay.ErrMalformedSignature,
		} {
			body := `{"webhookTimestamp":` + at + `}`
			// The header's time is not signed, and not looked at.
			_, err := v.Verify(
				headersOf("Linear-Signature", hmacHex("secret", body), "Linear-Timestamp", "946684800000"),
				[]byte(body),
			)
			require.ErrorIs(t, err, want, "%s", at)
		}
	})
}

// Bodies that are signed, and are not what they should be.
func TestWebhookBadBodies(t *testing.T) {
	t.Parallel()
	many := func(n int, element string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	deep := func(n int, open, shut string) string {
		return `{"id":"e","x":` + strings.Repeat(open, n) + "1" + strings.Repeat(shut, n) + "}"
	}
	const bom = "\xef\xbb\xbf"
	stripe, hubSpot, attio, slack, gitHub, sendGrid, discord := webhook.Stripe(), webhook.HubSpotV1(),
		webhook.Attio(), webhook.Slack(), webhook.GitHub(), webhook.SendGrid(), webhook.Discord()
	for _, row := range []struct {
		name   string
		scheme webhook.Scheme
		body   string
		events int // 0 is ErrData
	}{
		{"a byte order mark", stripe, bom + `{"id":"e"}`, 0},
		{"a byte order mark", gitHub, bom + `{"id":"e"}`, 0},
		{"a byte order mark", hubSpot, bom + `[{"eventId":1}]`, 0},
		{"a byte order mark", slack, bom + `{"event_id":"e"}`, 0},
		{"a byte order mark alone", stripe, bom, 0},
		{"an id of 512 bytes", stripe, `{"id":"` + strings.Repeat("x", 512) + `"}`, 1},
		{"an id of 513 bytes", stripe, `{"id":"` + strings.Repeat("x", 513) + `"}`, 0},
		{"an id of 1 MB", stripe, `{"id":"` + strings.Repeat("x", 1_000_000) + `"}`, 0},
		{"an id of 1 MB, escaped", stripe, `{"id":"` + strings.Repeat(`\n`, 500_000) + `"}`, 0},
		{"an id of many digits", stripe, `{"id":` + strings.Repeat("1", 1_000_000) + `}`, 0},
		{"a type of 1 MB", stripe, `{"id":"e","type":"` + strings.Repeat("x", 1_000_000) + `"}`, 0},
		{
			"an id of parts, 600 bytes together", hubSpot,
			`[{"eventId":"` + strings.Repeat("x", 300) + `","objectId":"` + strings.Repeat("x", 300) + `"}]`, 0,
		},
		{"an id of 1 MB in an element", hubSpot, `[{"eventId":1},{"eventId":"` + strings.Repeat("x", 1_000_000) + `"}]`, 0},
		{"an id that is an object", stripe, `{"id":{"id":"e"}}`, 1},
		{"an id that is null", stripe, `{"id":null}`, 1},
		{"an id that is empty", stripe, `{"id":""}`, 1},
		{"an id with half an escape", stripe, `{"id":"\u12"}`, 0},
		{"deep arrays", stripe, deep(500_000, "[", "]"), 1},
		{"deep arrays", slack, deep(500_000, "[", "]"), 1},
		{"deep arrays", discord, deep(500_000, "[", "]"), 1},
		{"deep arrays", hubSpot, deep(500_000, "[", "]"), 1},
		{"deep objects", stripe, deep(200_000, `{"":`, "}"), 1},
		{"deep on the way to the type", slack, strings.Repeat(`{"event":`, 100_000) + "1" + strings.Repeat("}", 100_000), 1},
		{"deep without an end", stripe, strings.Repeat("[", 1_000_000), 0},
		{"deep without an end", stripe, strings.Repeat(`{"id":`, 150_000), 0},
		{"deep without an end", hubSpot, strings.Repeat("[", 1_000_000), 0},
		{"10,000 events", hubSpot, many(10_000, "{}"), 10_000},
		{"10,001 events", hubSpot, many(10_001, "{}"), 0},
		{"10,001 events", sendGrid, many(10_001, "0"), 0},
		{"10,001 events", attio, `{"events":` + many(10_001, "{}") + "}", 0},
		{"500,000 events", attio, `{"events":` + many(500_000, "1") + "}", 0},
		{"no event, and they are none", hubSpot, "{}", 1},
		{"events that are null", attio, `{"events":null}`, 1},
		{"events that are an object", attio, `{"events":{}}`, 0},
		{"events that are text", attio, `{"events":"[]"}`, 0},
		{"events that are no objects", hubSpot, `[1,"a",null,[],{},true]`, 6},
		{"a comma too many", hubSpot, "[{},]", 0},
		{"two documents", stripe, `{"id":"e"}{"id":"f"}`, 0},
		{"two documents", hubSpot, `[{}][{}]`, 0},
		{"text", stripe, "hello", 0},
		{"text", gitHub, "hello", 0},
		{"text", hubSpot, "hello", 0},
		{"text", attio, "<html>", 0},
		{"nothing", stripe, "", 0},
		{"nothing", gitHub, "", 0},
		{"blanks", stripe, " \t\r\n", 0},
		{"a number", stripe, "1", 0},
		{"a string", slack, `"id"`, 0},
		{"half a document", stripe, `{"id":"e"`, 0},
		{"half a document", hubSpot, `[{"eventId":1}`, 0},
		{"half a document", attio, `{"events":[{"event_type":`, 0},
		{"half a document", slack, `{"event_id":"Ev1","event":{"type":"app_men`, 0},
		{"names without quotes", stripe, `{id:"e"}`, 0},
		{"zero bytes", stripe, "{\x00}", 0},
	} {
		testkit.Bubble(t, row.name+" "+row.scheme.Name, func(t *testing.T) {
			h, v := signAny(t, row.scheme, row.body)
			h.Set("Content-Type", "application/json; charset=utf-8")
			d, err := v.Verify(h, []byte(row.body))
			if row.events == 0 {
				require.ErrorIs(t, err, belay.ErrData)
				if strings.HasPrefix(row.body, bom) { // whatever it is said to be
					h.Set("Content-Type", "text/plain")
					_, other := v.Verify(h, []byte(row.body))
					require.ErrorIs(t, other, belay.ErrData)
					require.ErrorContains(t, other, "byte order mark")
				}
				require.Less(t, len(err.Error()), 300)
				require.NotContains(t, err.Error(), "\n")
				require.Empty(t, d)
				return
			}
			require.NoError(t, err)
			require.Len(t, d.Events, row.events)
			for _, e := range d.Events {
				require.NotEmpty(t, e.ID)
			}
		})
	}
}

// signAny signs with a key made for it, and returns what verifies that.
func signAny(t *testing.T, s webhook.Scheme, body string) (http.Header, *webhook.Verifier) {
	t.Helper()
	for _, w := range partnerWebhooks(t) {
		if w.scheme.Header == s.Header && w.scheme.Name == s.Name {
			return mustSign(t, s, w.signs, body).Header, mustVerifier(t, s, w.proves)
		}
	}
	t.Fatalf("no row for %s", s.Header)
	return nil, nil
}

// Ids and types in headers.
func TestWebhookBadHeaders(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 600)
	for _, row := range []struct {
		name, header string
		scheme       webhook.Scheme
		value        []string
		want         error
	}{
		{"an id of 512 bytes", "X-GitHub-Delivery", webhook.GitHub(), []string{long[:512]}, nil},
		{"an id of 600 bytes", "X-GitHub-Delivery", webhook.GitHub(), []string{long}, belay.ErrData},
		{"a type of 600 bytes", "X-GitHub-Event", webhook.GitHub(), []string{long}, belay.ErrData},
		{"an id of 600 bytes", "Idempotency-Key", webhook.Attio(), []string{long}, belay.ErrData},
		{"two ids", "X-GitHub-Delivery", webhook.GitHub(), []string{"a", "b"}, belay.ErrMalformedSignature},
		{"two ids", "webhook-id", webhook.StandardWebhooks(), []string{signedID, signedID}, belay.ErrMalformedSignature},
		{
			"two times", "webhook-timestamp", webhook.StandardWebhooks(),
			[]string{"946684800", "946684800"},
			belay.ErrMalformedSignature,
		},
		{"no id where it is signed", "webhook-id", webhook.StandardWebhooks(), nil, belay.ErrMalformedSignature},
		{"another id where it is signed", "webhook-id", webhook.StandardWebhooks(), []string{"a"}, belay.ErrBadSignature},
		{"an id of 600 bytes where it is signed", "svix-id", webhook.Svix(), []string{long}, belay.ErrMalformedSignature},
		{
			"an id of 1 MB where it is signed", "svix-id", webhook.Svix(),
			[]string{strings.Repeat("x", 1<<20)},
			belay.ErrMalformedSignature,
		},
		{"no id", "X-GitHub-Delivery", webhook.GitHub(), nil, nil},
	} {
		testkit.Bubble(t, row.name+" "+row.scheme.Name, func(t *testing.T) {
			data := `{"events":[{}]}`
			var h http.Header
			var v *webhook.Verifier
			h, v = signAny(t, row.scheme, data)
			if row.scheme.Name == "linear" {
				data = `{"webhookTimestamp":946684800000}`
				h, v = signAny(t, row.scheme, data)
			}
			h[http.CanonicalHeaderKey(row.header)] = row.value
			d, err := v.Verify(h, []byte(data))
			require.ErrorIs(t, err, row.want)
			if err == nil {
				require.NotEmpty(t, d.Events[0].ID)
			}
		})
	}
	// The id is as long as that by the sender's own signature.
	testkit.Bubble(t, "signed", func(t *testing.T) {
		for id, want := range map[string]error{
			strings.Repeat("x", 512): nil,
			strings.Repeat("x", 513): belay.ErrMalformedSignature,
			"a.b":                    nil,
		} {
			const secret = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
			_, err := webhook.SignTest(webhook.Svix(), belay.NewSecret(secret), belay.WebhookEvent{ID: id, Data: []byte("{}")})
			require.ErrorIs(t, err, want) // it verifies what it has signed
		}
	})
}

// bottomless is a body without an end, which counts what is asked of it.
type bottomless struct{ read int64 }

func (e *bottomless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func (e *bottomless) Close() error { return nil }

// No more of a body is read than is taken, and what is exactly as large is taken.
func TestWebhookBodyBounds(t *testing.T) {
	t.Parallel()
	const secret = "secret"
	for _, max := range []int64{0, 1, 100, 511, 512, 513, 16 << 10, 200_000} {
		t.Run(strconv.FormatInt(max, 10), func(t *testing.T) {
			t.Parallel()
			s := webhook.GitHub()
			s.MaxBytes = max
			limit := max
			if limit == 0 {
				limit = 1 << 20
			}
			v := mustVerifier(t, s, secret)
			for _, size := range []int64{0, limit - 1, limit, limit + 1, 2 * limit} {
				body := bytes.Repeat([]byte("x"), int(size))
				h := headersOf("X-Hub-Signature-256", "sha256="+hmacHex(secret, string(body)))
				var want error
				if size > limit {
					want = belay.ErrBodyTooLarge
				}
				for _, announced := range []int64{size, -1, 0, limit, math.MinInt64} {
					readers := []io.Reader{bytes.NewReader(body), iotest.DataErrReader(bytes.NewReader(body))}
					if size < 5_000 {
						readers = append(readers, iotest.OneByteReader(bytes.NewReader(body)))
					}
					for _, r := range readers {
						_, err := v.VerifyRequest(
							&http.Request{Method: http.MethodPost, Header: h, Body: io.NopCloser(r), ContentLength: announced},
						)
						require.ErrorIs(t, err, want, "%d bytes, %d announced", size, announced)
					}
				}
				_, err := v.Verify(h, body)
				require.ErrorIs(t, err, want)
			}
			// What is announced as too large is not read at all.
			for _, announced := range []int64{limit + 1, math.MaxInt64} {
				e := &bottomless{}
				_, err := v.VerifyRequest(
					&http.Request{
						Method:        http.MethodPost,
						Header:        headersOf("X-Hub-Signature-256", "sha256=00"),
						Body:          e,
						ContentLength: announced,
					},
				)
				require.ErrorIs(t, err, belay.ErrBodyTooLarge)
				require.Zero(t, e.read)
			}
			// What has no end, whatever is announced, is read to the limit and a buffer more.
			for _, announced := range []int64{-1, 0, 1, limit} {
				e := &bottomless{}
				_, err := v.VerifyRequest(
					&http.Request{
						Method:        http.MethodPost,
						Header:        headersOf("X-Hub-Signature-256", "sha256=00"),
						Body:          e,
						ContentLength: announced,
					},
				)
				require.ErrorIs(t, err, belay.ErrBodyTooLarge)
				require.LessOrEqual(t, e.read, limit+limit/2+16<<10+1)
			}
		})
	}
}

// An error of the body is the error, and one of http.MaxBytesReader says that it is too large.
func TestWebhookBodyErrors(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, webhook.GitHub(), "secret")
	cut := io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF))
	_, err := v.VerifyRequest(
		&http.Request{
			Method:        http.MethodPost,
			Header:        headersOf("X-Hub-Signature-256", "sha256=00"),
			Body:          io.NopCloser(cut),
			ContentLength: -1,
		},
	)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	for _, sentinel := range []error{
		belay.ErrNoSignature, belay.ErrBadSignature, belay.ErrMalformedSignature, belay.ErrData, belay.ErrBodyTooLarge,
	} {
		require.NotErrorIs(t, err, sentinel)
	}
	bounded := http.MaxBytesReader(nil, io.NopCloser(&bottomless{}), 1000)
	_, err = v.VerifyRequest(
		&http.Request{
			Method:        http.MethodPost,
			Header:        headersOf("X-Hub-Signature-256", "sha256=00"),
			Body:          bounded,
			ContentLength: -1,
		},
	)
	require.ErrorIs(t, err, belay.ErrBodyTooLarge)
	require.ErrorContains(t, err, "1000")
}

// What NewVerifier does not take: the error names it, is one line, and does not hold the secret.
func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()
	with := func(f func(*webhook.Scheme)) webhook.Scheme {
		s := webhook.Scheme{Name: "acme", Header: "X-Signature"}
		f(&s)
		return s
	}
	der := func(key any) string {
		raw, err := x509.MarshalPKIXPublicKey(key)
		require.NoError(t, err)
		return base64.StdEncoding.EncodeToString(raw)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(p256)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	edwards := ed25519.NewKeyFromSeed(make([]byte, 32)).Public()
	generic, gitHub, standard, discord, sendGrid := with(
		func(*webhook.Scheme) {},
	), webhook.GitHub(), webhook.StandardWebhooks(), webhook.Discord(), webhook.SendGrid()
	one := func(secret string) []string { return []string{secret} }
	for _, row := range []struct {
		name    string
		scheme  webhook.Scheme
		secrets []string
		says    []string
	}{
		{"no secret", gitHub, nil, []string{"github", "no secret"}},
		{"an empty one", gitHub, one(""), []string{"secret 1 of 1", "empty"}},
		{"an empty second", gitHub, []string{testkit.Canary, ""}, []string{"secret 2 of 2", "empty"}},
		{"whsec_ alone", standard, one("whsec_"), []string{"secret 1 of 1", "empty"}},
		{"whsec_ alone", webhook.Svix(), []string{"whsec_AQEB", "whsec_"}, []string{"svix", "secret 2 of 2", "empty"}},
		{"whpk_ alone", standard, one("whpk_"), []string{"ed25519 public key"}},
		{"what String has written", gitHub, one(belay.NewSecret(testkit.Canary).String()), []string{"REDACTED"}},
		{"a line break behind it", gitHub, one(testkit.Canary + "\n"), []string{"line break", "byte 26"}},
		{"a carriage return behind it", webhook.Stripe(), one("whsec_" + testkit.Canary + "\r\n"), []string{"line break"}},
		{"a zero byte within", gitHub, one(testkit.Canary + "\x00" + testkit.Canary), []string{"control character"}},
		{"no base64", standard, one("whsec_" + testkit.Canary), []string{"base64", "whsec_"}},
		{"the other base64", standard, one("whsec_ab-_ab-_"), []string{"base64"}},
		{"base64 without its padding", standard, one("whsec_AQE"), []string{"base64"}},
		{
			"a private key", standard, one("whsk_" + base64.StdEncoding.EncodeToString([]byte(testkit.Canary))),
			[]string{"private key", "whsk_"},
		},
		{
			"a public key of another size", standard, one("whpk_" + base64.StdEncoding.EncodeToString([]byte(testkit.Canary))),
			[]string{"ed25519", "32 bytes"},
		},
		{"no ed25519 key", discord, one(testkit.Canary), []string{"ed25519", "32 bytes"}},
		{"half an ed25519 key", discord, one(strings.Repeat("ab", 16)), []string{"ed25519", "32 bytes"}},
		{"an ed25519 private key", discord, one(strings.Repeat("ab", 64)), []string{"ed25519", "32 bytes"}},
		{"an ed25519 key of zeros", discord, one(strings.Repeat("00", 32)), []string{"anybody"}},
		{
			"an ed25519 key of zeros", standard, one("whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 32))),
			[]string{"anybody"},
		},
		{"no P-256 key", sendGrid, one(testkit.Canary), []string{"P-256", "DER"}},
		{"a P-256 private key", sendGrid, one(base64.StdEncoding.EncodeToString(private)), []string{"P-256"}},
		{"a P-384 key", sendGrid, one(der(p384.Public())), []string{"P-256"}},
		{"an RSA key", sendGrid, one(der(rsaKey.Public())), []string{"P-256"}},
		{"an ed25519 key", sendGrid, one(der(edwards)), []string{"P-256"}},
		{"no Header", webhook.Scheme{Name: "acme"}, one(testkit.Canary), []string{"acme", "Header"}},
		{
			"no header's name", with(func(s *webhook.Scheme) { s.Header = "X Signature" }), one(testkit.Canary),
			[]string{"Header", "X Signature"},
		},
		{"no path", with(func(s *webhook.Scheme) { s.Header = "json:" }), one(testkit.Canary), []string{"Header", "json:"}},
		{
			"several paths", with(func(s *webhook.Scheme) { s.Header = "json:a+b" }), one(testkit.Canary),
			[]string{"Header", "json:a+b"},
		},
		{
			"an empty place", with(func(s *webhook.Scheme) { s.Header = "X-Signature|" }), one(testkit.Canary),
			[]string{"Header"},
		},
		{
			"an unknown part", with(func(s *webhook.Scheme) { s.Signed = "{body}{token}" }), one(testkit.Canary),
			[]string{"Signed", "{token}"},
		},
		{
			"a part without an end", with(func(s *webhook.Scheme) { s.Signed = "{body" }), one(testkit.Canary),
			[]string{"Signed", "{body"},
		},
		{
			"a part without a name", with(func(s *webhook.Scheme) { s.Signed = "{}{body}" }), one(testkit.Canary),
			[]string{"Signed"},
		},
		{
			"a path without an end", with(func(s *webhook.Scheme) { s.Signed = "{json:a" }), one(testkit.Canary),
			[]string{"Signed"},
		},
		{"an empty path", with(func(s *webhook.Scheme) { s.Signed = "{json:}" }), one(testkit.Canary), []string{"Signed"}},
		{
			"a time without a place", with(func(s *webhook.Scheme) { s.Signed = "{timestamp}{body}" }), one(testkit.Canary),
			[]string{"Timestamp"},
		},
		{
			"a time in no list", with(func(s *webhook.Scheme) { s.Timestamp = "t=" }), one(testkit.Canary),
			[]string{"Timestamp", "Separator"},
		},
		{
			"a time at no place", with(func(s *webhook.Scheme) { s.Timestamp = "a b" }), one(testkit.Canary),
			[]string{"Timestamp"},
		},
		{
			"an id without a place", with(func(s *webhook.Scheme) { s.Signed = "{id}{body}" }), one(testkit.Canary),
			[]string{"ID"},
		},
		{
			"an id of several paths",
			with(func(s *webhook.Scheme) { s.Signed, s.ID = "{id}{body}", "json:a+b" }), one(testkit.Canary),
			[]string{"ID"},
		},
		{"an id at no place", with(func(s *webhook.Scheme) { s.ID = "a b" }), one(testkit.Canary), []string{"ID"}},
		{"a type at no place", with(func(s *webhook.Scheme) { s.Type = "json:.a" }), one(testkit.Canary), []string{"Type"}},
		{
			"a time of events at no place", with(func(s *webhook.Scheme) { s.Time = "json:a." }), one(testkit.Canary),
			[]string{"Time"},
		},
		{
			"too many paths", with(func(s *webhook.Scheme) { s.ID = "json:a+b+c+d+e+f+g+h+i" }), one(testkit.Canary),
			[]string{"ID", "9 paths"},
		},
		{"no URL", webhook.HubSpot(""), one(testkit.Canary), []string{"hubspot", "URL"}},
		{"no URL", webhook.Square(""), one(testkit.Canary), []string{"square", "URL"}},
		{"a URL without a host", webhook.Twilio("https:///in"), one(testkit.Canary), []string{"URL", "https:///in"}},
		{"a path", webhook.Twilio("/in"), one(testkit.Canary), []string{"URL", "REDACTED"}},
		{"a URL without a scheme", webhook.Twilio("hooks.example.com/in"), one(testkit.Canary), []string{"URL"}},
		{"another scheme", webhook.Twilio("ftp://hooks.example.com/in"), one(testkit.Canary), []string{"URL"}},
		{"no URL at all", webhook.HubSpotV2("https://%zz/" + "in"), one(testkit.Canary), []string{"URL"}},
		{
			"a URL with a password", webhook.Square("https://user:" + testkit.Canary + "@hooks.example.com/in"), one("x"),
			[]string{"URL", "REDACTED"},
		},
		{"a URL without a host, and a token", webhook.Square("https://?token=" + testkit.Canary), one("x"), []string{"URL"}},
		{
			"negative MaxBytes", with(func(s *webhook.Scheme) { s.MaxBytes = -1 }), one(testkit.Canary),
			[]string{"MaxBytes", "-1"},
		},
		{
			"an unknown Algorithm", with(func(s *webhook.Scheme) { s.Algorithm = 99 }), one(testkit.Canary),
			[]string{"Algorithm", "99"},
		},
		{
			"an unknown Encoding", with(func(s *webhook.Scheme) { s.Encoding = 99 }), one(testkit.Canary),
			[]string{"Encoding", "99"},
		},
		{"an unknown Unit", with(func(s *webhook.Scheme) { s.Unit = 99 }), one(testkit.Canary), []string{"Unit", "99"}},
		{
			"a Status that is no success", with(func(s *webhook.Scheme) { s.Status = 302 }), one(testkit.Canary),
			[]string{"Status", "302"},
		},
		{
			"WeakSHA256 without the secret",
			with(func(s *webhook.Scheme) { s.Algorithm = webhook.WeakSHA256 }), one(testkit.Canary),
			[]string{"WeakSHA256", "{secret}"},
		},
		{
			"the secret in what is signed", with(func(s *webhook.Scheme) { s.Signed = "{secret}{body}" }), one(testkit.Canary),
			[]string{"Signed", "{secret}"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var secrets []belay.Secret
			for _, s := range row.secrets {
				secrets = append(secrets, belay.NewSecret(s))
			}
			v, err := webhook.NewVerifier(row.scheme, secrets...)
			require.Nil(t, v)
			require.ErrorContains(t, err, "belay: NewVerifier: ")
			for _, text := range row.says {
				require.ErrorContains(t, err, text)
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v %q", err, err, err)} {
				require.False(t, testkit.Seen(text), text)
				require.NotContains(t, text, "testkit.Canary")
			}
			require.NotContains(t, err.Error(), "\n")

			// SignTest does not sign by it either.
			if len(secrets) == 1 && !strings.HasSuffix(row.name, "private key") && row.name != "an ed25519 key of zeros" {
				_, err = webhook.SignTest(row.scheme, secrets[0], belay.WebhookEvent{Data: []byte("{}")})
				require.ErrorContains(t, err, "belay: SignTest: ")
				require.False(t, testkit.Seen(err.Error()), "%v", err)
			}
		})
	}
	t.Run("and what it takes", func(t *testing.T) {
		t.Parallel()
		v, err := webhook.NewVerifier(generic, belay.NewSecret(testkit.Canary))
		require.NoError(t, err)
		require.False(t, testkit.Seen(fmt.Sprintf("%+v %#v %+v", v, v.Scheme(), v.Scheme())))
		require.Equal(t, "acme", v.Scheme().Name)
	})
}

// One delivery with several events.
func TestWebhookEvents(t *testing.T) {
	t.Parallel()
	type event struct{ id, typ, data string }
	for _, row := range []struct {
		name   string
		scheme webhook.Scheme
		body   string
		id     string // empty for the hash of the events' ids
		want   []event
	}{
		{
			"HubSpot", webhook.HubSpot(webhookURL),
			`[{"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":3,"subscriptionType":"a"}, {"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":4,"subscriptionType":"b"}]`,
			"",
			[]event{
				{
					"1-2-1700000000000-3", "a",
					`{"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":3,"subscriptionType":"a"}`,
				},
				{
					"1-2-1700000000000-4", "b",
					`{"subscriptionId":1,"objectId":2,"occurredAt":1700000000000,"eventId":4,"subscriptionType":"b"}`,
				},
			},
		},
		{
			"HubSpot, one alone", webhook.HubSpotV1(),
			`{"subscriptionId":1,"objectId":2,"occurredAt":3,"eventId":4,"subscriptionType":"a"}`, "1-2-3-4",
			[]event{{"1-2-3-4", "a", `{"subscriptionId":1,"objectId":2,"occurredAt":3,"eventId":4,"subscriptionType":"a"}`}},
		},
		{
			"HubSpot, associations", webhook.HubSpotV1(),
			`[{"subscriptionId":1,"fromObjectId":5,"toObjectId":6,"occurredAt":3,"eventId":4,"attemptNumber":1}]`, "",
			[]event{{
				"1-5-6-3-4", "",
				`{"subscriptionId":1,"fromObjectId":5,"toObjectId":6,"occurredAt":3,"eventId":4,"attemptNumber":1}`,
			}},
		},
		{
			"HubSpot, the same twice", webhook.HubSpotV1(), "[1,1]", "",
			[]event{{"", "", "1"}, {"sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b#2", "", "1"}},
		},
		{"HubSpot without ids", webhook.HubSpotV1(), "[{},\n1]", "", []event{{"", "", "{}"}, {"", "", "1"}}},
		{
			"SendGrid", webhook.SendGrid(),
			"[{\"sg_event_id\":\"x\",\"event\":\"open\"},{\"event\":\"click\"},{\"sg_event_id\":\"z\",\"event\":\"drop\"}]\r\n",
			"",
			[]event{
				{"x", "open", `{"sg_event_id":"x","event":"open"}`},
				{"", "click", `{"event":"click"}`},
				{"z", "drop", `{"sg_event_id":"z","event":"drop"}`},
			},
		},
		{
			"Attio", webhook.Attio(),
			`{"webhook_id":"w","events":[{"event_type":"record.created","id":"e"},{"event_type":"note.created"}]}`, signedID,
			[]event{
				{signedID + "#0", "record.created", `{"event_type":"record.created","id":"e"}`},
				{signedID + "#1", "note.created", `{"event_type":"note.created"}`},
			},
		},
		{
			"Attio without events", webhook.Attio(), `{"event_type":"a"}`, signedID,
			[]event{{signedID, "a", `{"event_type":"a"}`}},
		},
		{
			"Notion", webhook.Notion(), `{"id":"n","type":"page.created"}`, "n",
			[]event{{"n", "page.created", `{"id":"n","type":"page.created"}`}},
		},
		{
			"Stripe, the last of two names", webhook.Stripe(), `{"id":"a","i\u0064":"b\u00e9","type":5}`, "bé",
			[]event{{"bé", "5", `{"id":"a","i\u0064":"b\u00e9","type":5}`}},
		},
		{
			"Slack, an event of no kind", webhook.Slack(), `{"type":"app_rate_limited","event_id":"Ev1"}`, "Ev1",
			[]event{{"Ev1", "app_rate_limited", `{"type":"app_rate_limited","event_id":"Ev1"}`}},
		},
	} {
		testkit.Bubble(t, row.name, func(t *testing.T) {
			h, v := signAny(t, row.scheme, row.body)
			body := []byte(row.body)
			d, err := v.Verify(h, body)
			require.NoError(t, err)
			require.Nil(t, d.Answer)
			require.Len(t, d.Events, len(row.want))
			ids := ""
			for i, want := range row.want {
				if want.id == "" && row.scheme.Timestamp != "" { // what has none is known by its time and by what it says
					require.Regexp(t, "^sha256:[0-9a-f]{64}$", d.Events[i].ID)
					require.False(t, d.Events[i].Anonymous)
					want.id = d.Events[i].ID
				} else if want.id == "" { // or by what it says alone
					require.True(t, d.Events[i].Anonymous)
					want.id = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(want.data)))
				}
				ids += want.id + "\n"
				require.Equal(t, want, event{d.Events[i].ID, d.Events[i].Type, string(d.Events[i].Data)})
				require.True(t, within(d.Events[i].Data, body), "the data is copied")
			}
			if row.id == "" {
				row.id = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ids)))
			}
			require.Equal(t, row.id, d.ID)
			require.True(t, within(d.Body, body), "the body is copied")
			again, err := v.Verify(h, slices.Clone(body))
			require.NoError(t, err)
			require.Equal(t, d, again, "it comes again as the same")
		})
	}
}

// within reports whether part lies in the memory of whole.
func within(part, whole []byte) bool {
	if len(part) == 0 || len(whole) == 0 {
		return len(part) == 0
	}
	from := uintptr(unsafe.Pointer(&part[0])) - uintptr(unsafe.Pointer(&whole[0]))
	return from < uintptr(len(whole)) && from+uintptr(len(part)) <= uintptr(len(whole))
}

// Handshakes are answered when they are signed, and only then; they are no events.
func TestWebhookHandshakes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1025)
	for _, row := range []struct {
		name   string
		scheme webhook.Scheme
		body   string
		want   *belay.Answer
	}{
		{
			"Slack", webhook.Slack(), `{"token":"t","challenge":"3eZbrw1aB<&>","type":"url_verification"}`,
			&belay.Answer{Status: 200, ContentType: "text/plain; charset=utf-8", Body: []byte("3eZbrw1aB<&>")},
		},
		{"Slack, too long", webhook.Slack(), `{"challenge":"` + long + `","type":"url_verification"}`, nil},
		{
			"Slack, an event that says so", webhook.Slack(),
			`{"type":"event_callback","event":{"type":"message","text":"url_verification"},"challenge":"x"}`, nil,
		},
		{"Slack, a command", webhook.Slack(), "text=url_verification&challenge=x", nil},
		{"Discord, 0", webhook.Discord(), `{"version":1,"application_id":"1","type":0}`, &belay.Answer{Status: 204}},
		{
			"Discord, 1", webhook.Discord(), `{"id":"1","token":"t","type":1}`,
			&belay.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"type":1}`)},
		},
		{"Discord, a command", webhook.Discord(), `{"id":"1","token":"t","type":2,"data":{}}`, nil},
		{"Discord, an event", webhook.Discord(), `{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}`, nil},
		{"Discord, no type", webhook.Discord(), `{}`, nil},
		{"Notion", webhook.Notion(), `{"verification_token":"secret_x"}`, nil},
		{
			"Zoom", webhook.Zoom(), `{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}`,
			&belay.Answer{Status: 200, ContentType: "application/json", Body: fmt.Appendf(nil,
				`{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":%q}`,
				hmacHex("current-secret", "qgg8vlvZRS6UYooatFL8Aw"))},
		},
		{
			"Zoom, too long", webhook.Zoom(),
			`{"event":"endpoint.url_validation","payload":{"plainToken":"` + long + `"}}`, nil,
		},
		{
			"Zoom, a token that is the text of a delivery", webhook.Zoom(),
			`{"event":"endpoint.url_validation","payload":{"plainToken":"v0:1700000000:{}"}}`, nil,
		},
		{
			"Zoom, an event that says so", webhook.Zoom(),
			`{"event":"meeting.started","payload":{"plainToken":"endpoint.url_validation"}}`, nil,
		},
	} {
		testkit.Bubble(t, row.name, func(t *testing.T) {
			h, v := signAny(t, row.scheme, row.body)
			d, err := v.Verify(h, []byte(row.body))
			require.NoError(t, err)
			require.Equal(t, row.want, d.Answer)
			if row.want != nil {
				require.Empty(t, d.Events)
			} else {
				require.Len(t, d.Events, 1)
			}
			require.Equal(t, row.body, string(d.Body))
			require.Equal(t, row.scheme.Name, d.Partner)

			// Discord sends wrong signatures to see whether they are refused.
			_, other := signAny(t, row.scheme, row.body)
			if row.scheme.Name != "discord" {
				other = mustVerifier(t, row.scheme, "no such secret")
			}
			d, err = other.Verify(h, []byte(row.body))
			require.ErrorIs(t, err, belay.ErrBadSignature)
			require.Empty(t, d)
		})
	}
}

// Nothing is believed of nothing, and nothing panics.
func TestWebhookNil(t *testing.T) {
	t.Parallel()
	var none *webhook.Verifier
	_, err := none.Verify(http.Header{}, []byte("{}"))
	require.ErrorIs(t, err, belay.ErrBadSignature)
	_, err = none.VerifyRequest(&http.Request{})
	require.ErrorIs(t, err, belay.ErrBadSignature)
	require.Empty(t, none.Scheme())
	for _, w := range partnerWebhooks(t) {
		testkit.Bubble(t, w.name, func(t *testing.T) {
			v := mustVerifier(t, w.scheme, w.proves)
			want := belay.ErrNoSignature
			if strings.HasPrefix(w.scheme.Header, "json:") {
				want = belay.ErrMalformedSignature // there is no body to look into
			}
			_, err := v.Verify(nil, nil)
			require.ErrorIs(t, err, want)
			_, err = v.VerifyRequest(nil)
			require.ErrorIs(t, err, belay.ErrBadSignature)
			_, err = v.VerifyRequest(&http.Request{})
			require.ErrorIs(t, err, want)
			_, err = v.VerifyRequest(&http.Request{Body: http.NoBody})
			require.ErrorIs(t, err, want)

			// A body that is nil is an empty one.
			if w.scheme.Timestamp == "json:webhookTimestamp" || want != belay.ErrNoSignature {
				return
			}
			if w.scheme.PerItem || inQuery(w.scheme) {
				return // nothing to sign, or nothing that Verify gets
			}
			req := mustSign(t, w.scheme, w.signs, "")
			d, err := v.Verify(req.Header, nil)
			req.Body = nil
			_, again := v.VerifyRequest(req)
			if errors.Is(err, belay.ErrData) { // it would have to say which event it is
				require.ErrorIs(t, again, belay.ErrData)
				return
			}
			require.NoError(t, err)
			require.NoError(t, again)
			require.Len(t, d.Events, 1)
			require.Nil(t, d.Events[0].Data)
			require.Empty(t, requestBody(t, req))
		})
	}
}

// What proxies have made of scheme, host and path does not count; the query does.
func TestWebhookURL(t *testing.T) {
	t.Parallel()
	for _, s := range []webhook.Scheme{
		webhook.HubSpot(webhookURL), webhook.Square(webhookURL), webhook.Twilio(webhookURL),
	} {
		testkit.Bubble(t, s.Name, func(t *testing.T) {
			v := mustVerifier(t, s, "secret")
			for at, want := range map[string]error{
				"http://10.0.0.7:8080/rewritten?tenant=7&x=%3Aa": nil,
				"/?tenant=7&x=%3Aa":                             nil,
				"http://hooks.example.com/in/partner":           belay.ErrBadSignature, // the query is lost
				webhookURL + "&y=1":                             belay.ErrBadSignature,
				"https://hooks.example.com/in/partner?tenant=8": belay.ErrBadSignature,
			} {
				req := mustSign(t, s, "secret", `{"event_id":"1"}`)
				signed := req.URL.RawQuery
				there, err := http.NewRequest(http.MethodPost, at, req.Body)
				require.NoError(t, err)
				there.Header = req.Header
				there.Header.Set("X-Forwarded-Host", "evil.example")
				there.Host = "evil.example"
				if s.Name == "twilio" && want == nil && there.URL.RawQuery != "" { // the hash of its body is a part of it
					there.URL.RawQuery = signed
				}
				_, err = v.VerifyRequest(there)
				require.ErrorIs(t, err, want, at)
			}
		})
	}
}

// Many at once on one verifier, half of them forged: every verdict is right.
func TestWebhookConcurrent(t *testing.T) {
	t.Parallel()
	const goroutines, bodies, rounds = 64, 8, 16
	for _, w := range partnerWebhooks(t) {
		switch w.name {
		case "Slack", "StandardWebhooks", "Twilio", "SendGrid", "Discord", "GitLabToken":
		default:
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			type delivery struct {
				header http.Header
				body   []byte
			}
			var all [bodies]delivery
			for i := range all {
				data := strings.Repeat(" ", i) + strings.Replace(w.data, "1", strconv.Itoa(i)+strings.Repeat("1", i*50), 1)
				if w.name == "SendGrid" {
					data = fmt.Sprintf(`[{"sg_event_id":"%d-%s"}]`, i, strings.Repeat("x", 50*i))
				}
				req := mustSign(t, w.scheme, w.signs, data)
				all[i] = delivery{req.Header, requestBody(t, req)}
			}
			v := mustVerifier(t, w.scheme, w.another, w.proves)
			var want [bodies]string
			for i, d := range all {
				got, err := v.Verify(d.header, d.body)
				require.NoError(t, err)
				want[i] = got.Events[0].ID
			}
			failed := make(chan error, goroutines)
			var group sync.WaitGroup
			for g := range goroutines {
				group.Go(func() {
					for n := range rounds {
						i := (g + n) % bodies
						d := all[i]
						forged := (g+n/bodies)%2 == 1
						if forged {
							d = forge(d.header, all[(i+1)%bodies].body, w)
						}
						got, err := v.Verify(d.header, d.body)
						switch {
						case forged && !errors.Is(err, belay.ErrBadSignature):
							failed <- fmt.Errorf("a forged one: %v", err)
							return
						case !forged && (err != nil || got.Events[0].ID != want[i]):
							failed <- fmt.Errorf("a good one: %v %v", got.Events, err)
							return
						}
					}
				})
			}
			group.Wait()
			close(failed)
			for err := range failed {
				require.NoError(t, err)
			}
		})
	}
}

// forge has another body, or where that is not signed another token.
func forge(h http.Header, body []byte, w partnerWebhook) (forged struct {
	header http.Header
	body   []byte
},
) {
	forged.header, forged.body = h, body
	if w.scheme.Algorithm == webhook.PlainToken {
		forged.header = h.Clone()
		forged.header.Set(w.scheme.Header, "forged")
	}
	return forged
}

// Signatures are compared in constant time or by a public key, in one place; nothing else compares them.
func TestWebhookComparesInConstantTime(t *testing.T) {
	t.Parallel()
	var decls []ast.Decl
	for _, name := range []string{"../webhook.go", "verifier.go", "signature.go", "url.go", "keys.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		decls = append(decls, file.Decls...)
	}
	constant := map[string]bool{
		"hmac.Equal":                 true,
		"subtle.ConstantTimeCompare": true,
		"ed25519.Verify":             true,
		"ecdsa.VerifyASN1":           true,
	}
	forbidden := map[string]bool{
		"bytes.Equal": true, "bytes.Compare": true, "bytes.EqualFold": true, "bytes.HasPrefix": true,
		"bytes.HasSuffix": true, "bytes.Contains": true, "bytes.Index": true,
		"slices.Equal": true, "slices.Compare": true, "strings.Compare": true,
		"strings.EqualFold": true, "reflect.DeepEqual": true, "cmp.Compare": true,
	}
	delicate := map[string]bool{
		"sum":        true,
		"sig":        true,
		"received":   true,
		"secret":     true,
		"want":       true,
		"told":       true,
		"signatures": true,
		"signature":  true,
	}
	where := map[string][]string{}
	comparisons := 0
	for _, decl := range decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if name := callee(n); constant[name] {
					where[f.Name.Name] = append(where[f.Name.Name], name)
				} else {
					require.False(t, forbidden[name], "%s calls %s", f.Name.Name, name)
				}
			case *ast.BinaryExpr:
				if n.Op != token.EQL && n.Op != token.NEQ && n.Op != token.LSS &&
					n.Op != token.GTR && n.Op != token.LEQ && n.Op != token.GEQ {
					break
				}
				comparisons++
				if isEmptyString(n.X) || isEmptyString(n.Y) {
					break // whether there is one
				}
				for _, operand := range []ast.Expr{n.X, n.Y} {
					require.False(
						t, mentions(operand, delicate, constant), "%s compares with %s at byte %d", f.Name.Name, n.Op, n.OpPos,
					)
				}
			case *ast.SwitchStmt:
				if n.Tag != nil {
					require.False(t, mentions(n.Tag, delicate, constant), "%s has a switch", f.Name.Name)
				}
			case *ast.IndexExpr:
				require.False(t, mentions(n.Index, delicate, constant), "%s looks it up", f.Name.Name)
			}
			return true
		})
	}
	require.Greater(t, comparisons, 20, "the file was read")
	// readForm compares a hash of the body that stands in the URL, which is signed.
	require.Equal(t, []string{"subtle.ConstantTimeCompare"}, where["readForm"])
	delete(where, "readForm")
	delete(where, "edwardsKey") // looks for keys that anybody can sign for
	slices.Sort(where["equal"])
	require.Equal(t, map[string][]string{
		"match": {"hmac.Equal"}, // of the root package
		"equal": {"ecdsa.VerifyASN1", "ed25519.Verify", "hmac.Equal", "subtle.ConstantTimeCompare"},
	}, where)
}

// callee is package.Function of a call, "" for others.
func callee(call *ast.CallExpr) string {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		if pkg, ok := f.X.(*ast.Ident); ok {
			return pkg.Name + "." + f.Sel.Name
		}
	}
	return ""
}

func isEmptyString(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING && len(lit.Value) == 2
}

// mentions reports whether an expression has a value of those names in it, other than its length or as an
// argument of safe.
func mentions(e ast.Expr, names, safe map[string]bool) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "len" || f.Name == "cap") || safe[callee(n)] {
				return false
			}
		case *ast.Ident:
			found = found || names[n.Name]
		}
		return true
	})
	return found
}
