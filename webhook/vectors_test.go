package webhook_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// vector is a delivery as a partner publishes it, as its own library's tests have it, or as OpenSSL has signed it (recipes).
type vector struct {
	name   string
	scheme webhook.Scheme
	secret string
	header []string // name, value
	body   string
	signed []string // headers that are signed or are the signature: one byte changed makes them fail
	now    int64    // the signature's time; 0 for none
	id     string   // what the first event must have; not looked at when empty
	typ    string
}

func plain(header, prefix string, e webhook.Encoding, a webhook.Algorithm) webhook.Scheme {
	return webhook.Scheme{Name: "generic", Header: header, Prefix: prefix, Encoding: e, Algorithm: a}
}

func vectors(t *testing.T) []vector {
	stripe, err := os.ReadFile("testdata/webhooks/stripe.json")
	require.NoError(t, err)
	const (
		secretToEverybody = "It's a Secret to Everybody"
		hubSpot           = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
		hubSpotURL        = "https://www.example.com/webhook_uri"
		singleQuotes      = `{'example_field':'example_value'}`
		twilio            = "https://mycompany.com/myapp.php?foo=1&bar=2"
		twilioHash        = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
		twilioJSON        = `{"property": "value", "boolean": true}`
		form              = "application/x-www-form-urlencoded"
	)
	calls := url.Values{
		"Digits": {
			"1234",
		}, "CallSid": {"CA1234567890ABCDE"}, "To": {"+18005551212"}, "Caller": {"+14158675309"}, "From": {"+14158675309"},
	}
	six := calls.Encode()
	calls.Set("ReasonConferenceEnded", "test")
	calls.Set("Reason", "Participant")
	eight := calls.Encode()
	v2 := func(url string) webhook.Scheme { return webhook.HubSpotV2(url) }
	standard := func(name string, s webhook.Scheme, family string) vector {
		return vector{
			name, s, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			[]string{
				family + "-id",
				"msg_p5jXN8AQM9LWM0D4loKWxJek",
				family + "-timestamp",
				"1614265330",
				family + "-signature",
				"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
			},
			`{"test": 2432232314}`,
			[]string{family + "-id", family + "-timestamp", family + "-signature"},
			1614265330, "msg_p5jXN8AQM9LWM0D4loKWxJek", "",
		}
	}
	twilioVector := func(name, at, signature, kind, body string) vector {
		return vector{
			name,
			webhook.Twilio(at),
			"12345",
			[]string{"X-Twilio-Signature", signature, "Content-Type", kind},
			body,
			[]string{"X-Twilio-Signature"},
			0,
			"",
			"",
		}
	}
	return append(recipes(), []vector{
		standard("SW-1", webhook.StandardWebhooks(), "webhook"),
		standard("SW-1 by Svix", webhook.Svix(), "svix"),
		standard("SW-1 by Svix under other names", webhook.Svix(), "webhook"),
		standard("SW-1 by GitLab", webhook.GitLab(), "webhook"),
		{
			"SW-1 without whsec_", webhook.Svix(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			[]string{
				"svix-id",
				"msg_p5jXN8AQM9LWM0D4loKWxJek",
				"svix-timestamp",
				"1614265330",
				"svix-signature",
				"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
			},
			`{"test": 2432232314}`, nil, 1614265330, "", "",
		},
		{
			"SW-2", webhook.StandardWebhooks(), "whsec_plJ3nmyCDGBKInavdOK15jsl",
			[]string{
				"webhook-id",
				"msg_loFOjxBNrRLzqYUf",
				"webhook-timestamp",
				"1731705121",
				"webhook-signature",
				"v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
			},
			`{"event_type":"ping","data":{"success":true}}`,
			[]string{"webhook-id", "webhook-timestamp", "webhook-signature"},
			1731705121, "msg_loFOjxBNrRLzqYUf", "",
		},
		{
			"SW-neg list", webhook.StandardWebhooks(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			[]string{
				"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
				"webhook-signature",
				"v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=",
			},
			`{"test": 2432232314}`,
			[]string{"webhook-id", "webhook-timestamp"},
			1614265330, "", "",
		},
		{
			"SW-A1", webhook.StandardWebhooks(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
			[]string{
				"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
				"webhook-signature", "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
			},
			`{"test": 2432232314}`,
			[]string{"webhook-id", "webhook-timestamp", "webhook-signature"},
			1614265330, "", "",
		},
		{
			"STR-1", webhook.Stripe(), "webhook_secret",
			[]string{"Stripe-Signature", "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7"},
			string(stripe),
			[]string{"Stripe-Signature"},
			1533204620, "evt_123", "customer.created",
		},
		{
			"STR-1 with v0", webhook.Stripe(), "webhook_secret",
			[]string{
				"Stripe-Signature",
				"t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef",
			},
			string(stripe), nil, 1533204620 + 100, "evt_123", "customer.created",
		},
		{
			"STR-1 with others", webhook.Stripe(), "webhook_secret",
			[]string{
				"Stripe-Signature",
				"t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,v1=deadbeef,v1=bad_signature",
			},
			string(stripe), nil, 1533204620, "", "",
		},
		{
			"GH-1",
			webhook.GitHub(),
			secretToEverybody,
			[]string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
			"Hello, World!",
			[]string{"X-Hub-Signature-256"},
			0,
			"",
			"",
		},
		{
			"GH-2",
			webhook.GitHub(),
			"mysecret",
			[]string{
				"X-Hub-Signature-256",
				"sha256=4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3",
				"X-GitHub-Delivery",
				"guid",
				"X-GitHub-Event",
				"push",
			},
			`{"foo":"bar"}`,
			[]string{"X-Hub-Signature-256"},
			0,
			"guid",
			"push",
		},
		{
			"GH-3",
			webhook.GitHub(),
			"0123456789abcdef",
			[]string{"X-Hub-Signature-256", "sha256=b1f8020f5b4cd42042f807dd939015c4a418bc1ff7f604dd55b0a19b5d953d9b"},
			`{"yo":true}`,
			[]string{"X-Hub-Signature-256"},
			0,
			"",
			"",
		},
		{
			"GH-3 in upper case",
			plain("X-Signature", "sha256=", webhook.Hex, webhook.HMACSHA256),
			"0123456789abcdef",
			[]string{"X-Signature", "sha256=B1F8020F5B4CD42042F807DD939015C4A418BC1FF7F604DD55B0A19B5D953D9B"},
			`{"yo":true}`,
			[]string{"X-Signature"},
			0,
			"",
			"",
		},
		{
			"GH-3a",
			plain("X-Hub-Signature", "sha1=", webhook.Hex, webhook.HMACSHA1),
			"0123456789abcdef",
			[]string{"X-Hub-Signature", "sha1=126f2c800419c60137ce748d7672e77b65cf16d6"},
			`{"yo":true}`,
			[]string{"X-Hub-Signature"},
			0,
			"",
			"",
		},
		{
			"GH-3a by Intercom",
			webhook.Intercom(),
			"0123456789abcdef",
			[]string{"X-Hub-Signature", "sha1=126f2c800419c60137ce748d7672e77b65cf16d6"},
			`{"yo":true}`,
			[]string{"X-Hub-Signature"},
			0,
			"",
			"",
		},
		{
			"GH-3b",
			plain("X-Hub-Signature", "sha512=", webhook.Hex, webhook.HMACSHA512),
			"0123456789abcdef",
			[]string{
				"X-Hub-Signature",
				"sha512=8456767023c1195682e182a23b3f5d19150ecea598fde8cb85918f7281b16079471b1329f92b912c4d8bd7455cb159777db8f29608b20c7c87323ba65ae62e1f",
			},
			`{"yo":true}`,
			[]string{"X-Hub-Signature"},
			0,
			"",
			"",
		},
		{
			"GH-4",
			plain("X-Hub-Signature", "sha1=", webhook.Hex, webhook.HMACSHA1),
			"0123456789abcdef",
			[]string{"X-Hub-Signature", "sha1=3374ef144403e8035423b23b02e2c9d7a4c50368", "Content-Type", form},
			"payload=%7B%22yo%22%3Atrue%7D",
			[]string{"X-Hub-Signature"},
			0,
			"",
			"",
		},
		{
			"BB-1",
			plain("X-Hub-Signature", "sha256=", webhook.Hex, webhook.HMACSHA256),
			secretToEverybody,
			[]string{"X-Hub-Signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"},
			"Hello World!",
			[]string{"X-Hub-Signature"},
			0,
			"",
			"",
		},
		{
			"SLK-1", webhook.Slack(), "8f742231b10e8888abcd99yyyzzz85a5",
			[]string{
				"X-Slack-Request-Timestamp",
				"1531420618",
				"X-Slack-Signature",
				"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
				"Content-Type",
				form,
			},
			"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
			[]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"},
			1531420618, "", "",
		},
		{
			"SLK-2", webhook.Slack(), "e6b19c573432dcc6b075501d51b51bb8",
			[]string{
				"X-Slack-Request-Timestamp",
				"1531431954",
				"X-Slack-Signature",
				"v0=adada4ed31709aef585c2580ca3267678c6a8eaeb7e0c1aca3ee57b656886b2c",
				"Content-Type",
				"application/json",
			},
			`{"token":"aF5ynEYQH0dFN9imlgcADxDB","team_id":"XXXXXXXXX","api_app_id":"YYYYYYYYY","event":{"type":"app_mention","user":"AAAAAAAAA","text":"<@EEEEEEEEE> hello world","client_msg_id":"477cc591-ch73-a14z-4db8-g0cd76321bec","ts":"1531431954.000073","channel":"TTTTTTTTT","event_ts":"1531431954.000073"},"type":"event_callback","event_id":"TvBP7LRED7","event_time":1531431954,"authed_users":["EEEEEEEEE"]}`,
			[]string{"X-Slack-Request-Timestamp", "X-Slack-Signature"},
			1531431954, "TvBP7LRED7", "app_mention",
		},
		{
			"HS-1", webhook.HubSpotV1(), hubSpot,
			[]string{"X-HubSpot-Signature", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"},
			`[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]`,
			[]string{"X-HubSpot-Signature"},
			0, "12345-123-1564113600000-1", "contact.creation",
		},
		{
			"HS-3",
			v2(hubSpotURL),
			hubSpot,
			[]string{"X-HubSpot-Signature", "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900"},
			`{"example_field":"example_value"}`,
			[]string{"X-HubSpot-Signature"},
			0,
			"",
			"",
		},
		{
			"HS-4",
			plainHubSpot(webhook.HubSpotV1()),
			hubSpot,
			[]string{"X-HubSpot-Signature", "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750"},
			singleQuotes,
			[]string{"X-HubSpot-Signature"},
			0,
			"",
			"",
		},
		{
			"HS-5",
			plainHubSpot(v2(hubSpotURL)),
			hubSpot,
			[]string{"X-HubSpot-Signature", "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383"},
			singleQuotes,
			[]string{"X-HubSpot-Signature"},
			0,
			"",
			"",
		},
		{
			"HS-6",
			plainHubSpot(webhook.HubSpot(hubSpotURL)),
			hubSpot,
			[]string{
				"X-HubSpot-Signature-v3",
				"K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
				"X-HubSpot-Request-Timestamp",
				"1693657560000",
			},
			singleQuotes,
			[]string{"X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp"},
			1693657560,
			"",
			"",
		},
		twilioVector("TW-1", twilio, "vOEb5UThFn24KEfnOFLQY2AE5FY=", form, eight),
		twilioVector("TW-2", strings.Replace(twilio, "https", "http", 1), "n2xBNyzSW7rfYStDtOFiFMv7qNo=", form, eight),
		twilioVector("TW-3", twilio, "NBdBDr/T/lgjI+tlgpXjKZQZs/k=", form, "property=value&boolean=true"),
		twilioVector("TW-4", twilio+"&"+twilioHash, "a9nBmqA0ju/hNViExpshrM61xv4=", "application/json", twilioJSON),
		twilioVector("TW-4 from a queue", twilio, "a9nBmqA0ju/hNViExpshrM61xv4=", "application/json", twilioJSON),
		twilioVector(
			"TW-5",
			"https://mycompany.com/myapp.php?"+twilioHash,
			"y77kIzt2vzLz71DgmJGsen2scGs=",
			"application/json",
			twilioJSON,
		),
		twilioVector("TW-6", twilio, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", form, six),
		twilioVector("TW-7", twilio, "kvajT1Ptam85bY51eRf/AJRuM3w=", form, six),
		twilioVector(
			"TW-7 with the port",
			strings.Replace(twilio, ".com", ".com:443", 1),
			"RSOYDt4T1cUTdK1PDd93/VVr8B8=",
			form,
			six,
		),
		twilioVector("TW-8", strings.Replace(twilio, "https", "http", 1), "0ZXoZLH/DfblKGATFgpif+LLRf4=", form, six),
		twilioVector(
			"TW-9",
			twilio,
			"IK+Dwps556ElfBT0I3Rgjkr1wJU=",
			form,
			"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
		),
		{
			"SQ-1", webhook.Square("https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9"), "Ibxx_5AKakO-3qeNVR61Dw",
			[]string{"x-square-hmacsha256-signature", "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="},
			`{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification","event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z","data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}`,
			[]string{"x-square-hmacsha256-signature"},
			0, "ac3ac95b-f97d-458c-a6e6-18981597e05f", "webhooks.test_notification",
		},
		{
			"SQ-2",
			webhook.Square("https://webhook.site/webhooks"),
			"signature-key",
			[]string{"x-square-hmacsha256-signature", "W3FlCNk5IA3ZQ2LHTWoajvzfaDu/OwY2tNHIHC3IUOA="},
			`{"data":{"type":"webhooks","id":"fake_id"}}`,
			[]string{"x-square-hmacsha256-signature"},
			0,
			"",
			"",
		},
		{
			"SQ-3",
			webhook.Square("https://webhook.site/webhooks"),
			"signature-key",
			[]string{"x-square-hmacsha256-signature", "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U="},
			`{"data":{"type":"webhooks","id":">id<"}}`,
			[]string{"x-square-hmacsha256-signature"},
			0,
			"",
			"",
		},
		{
			"SendGrid", webhook.SendGrid(),
			"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
			[]string{
				"X-Twilio-Email-Event-Webhook-Timestamp",
				"1600112502",
				"X-Twilio-Email-Event-Webhook-Signature",
				"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
			},
			`[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` +
				"\r\n",
			[]string{"X-Twilio-Email-Event-Webhook-Timestamp", "X-Twilio-Email-Event-Webhook-Signature"},
			1600112502, "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA", "dropped",
		},
		{
			"P-1",
			webhook.Scheme{Name: "generic", Header: "X-Signature", Base64Key: true},
			"CwsLCwsLCwsLCwsLCwsLCwsLCws=",
			[]string{"X-Signature", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
			"Hi There",
			[]string{"X-Signature"},
			0,
			"",
			"",
		},
		{
			"P-2",
			plain("X-Signature", "", webhook.Hex, webhook.HMACSHA256),
			"Jefe",
			[]string{"X-Signature", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
			"what do ya want for nothing?",
			[]string{"X-Signature"},
			0,
			"",
			"",
		},
		{
			"P-3",
			webhook.Scheme{Name: "generic", Header: "X-Signature", Algorithm: webhook.Ed25519},
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
			[]string{
				"X-Signature",
				"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
			},
			"\x72",
			[]string{"X-Signature"},
			0,
			"",
			"",
		},
		{
			"P-4",
			plain("X-Signature", "", webhook.Hex, webhook.HMACSHA256),
			"123456",
			[]string{"X-Signature", "ee0a3edebeb4be41bafa3bc0a39069d7845a5c37760b863405049de80b5fe92d"},
			"{a:1, b:2}",
			[]string{"X-Signature"},
			0,
			"",
			"",
		},
		{
			"P-5", webhook.Zendesk(), "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==",
			[]string{
				"X-Zendesk-Webhook-Signature-Timestamp",
				"2021-03-25T05:09:27Z",
				"X-Zendesk-Webhook-Signature",
				"S/RDdU2ERmj7LHDDoWJ2onPYH+t7/f2+LTM4dL7UiLM=",
			},
			`{"event":"ticket.updated","id":123}`,
			[]string{"X-Zendesk-Webhook-Signature-Timestamp", "X-Zendesk-Webhook-Signature"},
			1616648967, "", "",
		},
	}...)
}

// plainHubSpot does not look into a body that is no JSON.
func plainHubSpot(s webhook.Scheme) webhook.Scheme {
	s.Events, s.ID, s.Type, s.Time = "", "", "", ""
	return s
}

func (v vector) headers() http.Header {
	h := make(http.Header)
	for i := 0; i < len(v.header); i += 2 {
		h.Set(v.header[i], v.header[i+1])
	}
	return h
}

// until waits, in virtual time, until a moment.
func until(unix int64) {
	if unix > 0 {
		time.Sleep(time.Until(time.Unix(unix, 0)))
	}
}

// Every vector passes, with the event's id and type.
func TestWebhookVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until(v.now)
				verifier, err := webhook.NewVerifier(v.scheme, belay.NewSecret("another secret"), belay.NewSecret(v.secret))
				if err != nil { // another secret is no public key
					verifier, err = webhook.NewVerifier(v.scheme, belay.NewSecret(v.secret))
				}
				require.NoError(t, err)
				d, err := verifier.Verify(v.headers(), []byte(v.body))
				require.NoError(t, err)
				require.Equal(t, v.scheme.Name, d.Partner)
				require.Equal(t, v.body, string(d.Body))
				require.NotEmpty(t, d.Events)
				require.NotEmpty(t, d.ID)
				if v.id != "" {
					require.Equal(t, v.id, d.Events[0].ID)
				}
				if v.typ != "" {
					require.Equal(t, v.typ, d.Events[0].Type)
				}

				req, err := http.NewRequest(
					http.MethodPost,
					"http://internal:8080"+pathOf(v.scheme.URL),
					strings.NewReader(v.body),
				)
				require.NoError(t, err)
				req.Header = v.headers()
				again, err := verifier.VerifyRequest(req)
				require.NoError(t, err)
				require.Equal(t, d.Events, again.Events)
				for range 2 { // the body can be read again
					again, err = verifier.VerifyRequest(req)
					require.NoError(t, err)
				}
				require.Equal(t, d.ID, again.ID)
			})
		})
	}
}

func pathOf(raw string) string {
	u, _ := url.Parse(raw)
	return u.RequestURI()
}

// One byte changed in the body, a header that is signed or signs, or the secret, and none passes.
func TestWebhookOneByteChanged(t *testing.T) {
	t.Parallel()
	changed := 0
	for _, v := range vectors(t) {
		synctest.Test(t, func(t *testing.T) {
			until(v.now)
			verifier, err := webhook.NewVerifier(v.scheme, belay.NewSecret(v.secret))
			require.NoError(t, err)
			signed := v.body
			if v.scheme.Name == "mailgun" { // of the body it signs the time and the token alone
				signed = v.body[:strings.Index(v.body, `},"event-data"`)]
			}
			for i := range signed {
				for _, bit := range []byte{0x01 << (i % 5)} { // one bit or another
					body := []byte(v.body)
					body[i] ^= bit
					if same := func() bool { // + and a blank, and escapes in either case, are one in a form
						a, errA := url.ParseQuery(v.body)
						b, errB := url.ParseQuery(string(body))
						return errA == nil && errB == nil && a.Encode() == b.Encode()
					}(); same && v.scheme.Name == "twilio" {
						continue
					}
					_, err := verifier.Verify(v.headers(), body)
					require.Error(t, err, "%s: byte %d of the body", v.name, i)
					changed++
				}
			}
			for _, name := range v.signed {
				value := v.headers().Get(name)
				for i := range value {
					for _, bit := range []byte{0x01, 0x02, 0x10} {
						b := []byte(value)
						b[i] ^= bit
						h := v.headers()
						h.Set(name, string(b))
						if strings.EqualFold(string(b), value) && v.scheme.Encoding == webhook.Hex {
							continue
						}
						_, err := verifier.Verify(h, []byte(v.body))
						require.Error(t, err, "%s: byte %d of %s: %s", v.name, i, name, b)
						changed++
					}
				}
			}
			for i := range v.secret {
				b := []byte(v.secret)
				b[i] ^= 0x01
				other, err := webhook.NewVerifier(v.scheme, belay.NewSecret(string(b)))
				if err == nil {
					_, err = other.Verify(v.headers(), []byte(v.body))
				}
				require.Error(t, err, "%s: byte %d of the secret", v.name, i)
				changed++
			}
		})
	}
	t.Logf("%d changes", changed)
	require.Greater(t, changed, 10_000)
}

// What must not pass, and which reason it gets.
func TestWebhookRefused(t *testing.T) {
	t.Parallel()
	all := map[string]vector{}
	for _, v := range vectors(t) {
		all[v.name] = v
	}
	const ed = "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	for _, row := range []struct {
		vector, header, value string
		ahead                 time.Duration // of the signature's time
		want                  error
	}{
		{"SW-1", "webhook-signature", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=", 0, belay.ErrBadSignature},
		{"SW-1", "webhook-signature", "v1,", 0, belay.ErrMalformedSignature},
		{"SW-1", "webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", 0, belay.ErrMalformedSignature},
		{
			"SW-1", "webhook-signature", "v1,g0hM9SsE-OTPJTGt_tmIKtSyZlE3uFJELVlNIOLJ1OE=", 0, belay.ErrMalformedSignature,
		}, // the other alphabet
		{"SW-1", "webhook-signature", "v1a," + ed, 0, belay.ErrMalformedSignature},
		{"SW-A1", "webhook-signature", "v1," + ed, 0, belay.ErrMalformedSignature},
		{"SW-1", "webhook-signature", "", 0, belay.ErrNoSignature},
		{"SW-1", "webhook-id", "", 0, belay.ErrMalformedSignature},
		{"SW-1", "webhook-timestamp", "", 0, belay.ErrMalformedSignature},
		{"SW-1", "", "", 5*time.Minute + time.Second, belay.ErrTooOld},
		{"SW-1", "", "", -5*time.Minute - time.Second, belay.ErrTooNew},
		{"SW-1", "", "", 5 * time.Minute, nil},
		{"SW-1", "", "", -5 * time.Minute, nil},
		{"STR-1", "Stripe-Signature", "v1,t=1", 0, belay.ErrMalformedSignature},
		{"STR-1", "Stripe-Signature", "t=", 0, belay.ErrMalformedSignature},
		{
			"STR-1", "Stripe-Signature", "t=1533204620,v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef",
			0, belay.ErrMalformedSignature,
		},
		{"STR-1", "Stripe-Signature", "", 0, belay.ErrNoSignature},
		{"STR-1", "", "", 400 * time.Second, belay.ErrTooOld},
		{"STR-1", "", "", -48 * time.Hour, belay.ErrTooNew},
		{"GH-3", "X-Hub-Signature-256", "yo", 0, belay.ErrMalformedSignature},
		{"GH-3", "X-Hub-Signature-256", "sha256=yo", 0, belay.ErrMalformedSignature},
		{"GH-3", "X-Hub-Signature-256", "sha256=012345", 0, belay.ErrMalformedSignature},
		{"GH-3", "X-Hub-Signature-256", "bogus1=1234567", 0, belay.ErrMalformedSignature},
		{"GH-3", "X-Hub-Signature-256", "sha1=126f2c800419c60137ce748d7672e77b65cf16d6", 0, belay.ErrMalformedSignature},
		{"TW-1", "X-Twilio-Signature", "95+Bu0JVPi0r/SsESZCVf0dWAjw=", 0, belay.ErrBadSignature},
		{"HS-6", "", "", 5*time.Minute + time.Second, belay.ErrTooOld},
		{"SLK-2", "", "", -5*time.Minute - time.Second, belay.ErrTooNew},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := all[row.vector]
			if v.now > 0 {
				time.Sleep(time.Until(time.Unix(v.now, 0).Add(row.ahead)))
			}
			verifier, err := webhook.NewVerifier(v.scheme, belay.NewSecret(v.secret))
			require.NoError(t, err)
			h := v.headers()
			if row.header != "" {
				h.Set(row.header, row.value)
			}
			_, err = verifier.Verify(h, []byte(v.body))
			require.ErrorIs(t, err, row.want, "%s %s=%s", row.vector, row.header, row.value)
		})
	}
}

// HS-2: HubSpot's cards are asked for by GET, and the method is signed.
func TestWebhookMethodIsSigned(t *testing.T) {
	t.Parallel()
	const url = "https://www.example.com/webhook_uri"
	verifier, err := webhook.NewVerifier(
		plainHubSpot(webhook.HubSpotV2(url)),
		belay.NewSecret("yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"),
	)
	require.NoError(t, err)
	for method, want := range map[string]error{http.MethodGet: nil, http.MethodPost: belay.ErrBadSignature} {
		req, err := http.NewRequest(method, url, nil)
		require.NoError(t, err)
		req.Header.Set("X-HubSpot-Signature", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e")
		_, err = verifier.VerifyRequest(req)
		require.ErrorIs(t, err, want)
	}
}
