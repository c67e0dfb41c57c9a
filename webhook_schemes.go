package belay

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
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
	Handshake func(h http.Header, body []byte) *Answer

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

// The partners: where the signature stands and how it is written, what is signed and with what, the time, what to know of the
// event.
var schemes = map[string]Scheme{
	"attio":    {Header: "Attio-Signature|X-Attio-Signature", Signed: "{body}", ID: "Idempotency-Key", Events: "events", Type: "json:event_type", Status: http.StatusOK},
	"calendly": {Header: "Calendly-Webhook-Signature", Separator: ",", Prefix: "v1=", Signed: "{timestamp}.{body}", Timestamp: "t=", Tolerance: 3 * time.Minute, Type: "json:event", Time: "json:created_at"},
	"discord":  {Header: "X-Signature-Ed25519", Algorithm: Ed25519, Signed: "{timestamp}{body}", Timestamp: "X-Signature-Timestamp", Type: "json:event.type", Time: "json:event.timestamp", Status: http.StatusNoContent, Handshake: discordPing},
	"gitea":    {Header: "X-Gitea-Signature|X-Gogs-Signature", Signed: "{body}", ID: "X-Gitea-Delivery|X-Gogs-Delivery", Type: "X-Gitea-Event|X-Gogs-Event"},
	"github":   {Header: "X-Hub-Signature-256", Prefix: "sha256=", Signed: "{body}", ID: "X-GitHub-Delivery", Type: "X-GitHub-Event", MaxBytes: 25 << 20},
	// GitLab's secret token signs nothing; its signing token does.
	"gitlab token":   {Header: "X-Gitlab-Token", Algorithm: PlainToken, ID: "Idempotency-Key", Type: "X-Gitlab-Event"},
	"gitlab signing": {Header: "webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true, Signed: "{id}.{timestamp}.{body}", Timestamp: "webhook-timestamp", ID: "webhook-id", Type: "json:object_kind|json:event_name"},
	"hubspot v1":     {Header: "X-HubSpot-Signature", Algorithm: WeakSHA256, Signed: "{secret}{body}", Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt"},
	"hubspot v2":     {Header: "X-HubSpot-Signature", Algorithm: WeakSHA256, Signed: "{secret}{method}{url+query}{body}", Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt"},
	"hubspot v3":     {Header: "X-HubSpot-Signature-v3", Encoding: Base64, Signed: "{method}{url+query}{body}{timestamp}", Timestamp: "X-HubSpot-Request-Timestamp", Unit: UnixMilliseconds, Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt", writings: withoutEscapes},
	"intercom":       {Header: "X-Hub-Signature", Algorithm: HMACSHA1, Prefix: "sha1=", Signed: "{body}", ID: "json:id", Type: "json:topic", Time: "json:created_at"},
	"linear":         {Header: "Linear-Signature", Signed: "{body}", Timestamp: "json:webhookTimestamp", Unit: UnixMilliseconds, Tolerance: time.Minute, ID: "Linear-Delivery", Type: "json:type", Time: "json:createdAt", Status: http.StatusOK, MaxBytes: 5 << 20},
	// Mailgun signs a token and not the body, so the token is the only ID that nobody can change. It takes no answer but 200, and tries
	// for eight hours; whether it signs each attempt anew it does not say.
	"mailgun": {Header: "json:signature.signature", Signed: "{timestamp}{json:signature.token}", Timestamp: "json:signature.timestamp", Tolerance: 9 * time.Hour, Status: http.StatusOK, ID: "json:signature.token", Type: "json:event-data.event", Time: "json:event-data.timestamp"},
	"notion":  {Header: "X-Notion-Signature", Prefix: "sha256=", Signed: "{body}", ID: "json:id", Type: "json:type", Time: "json:timestamp"},
	// SendGrid tries until 24 hours after the event, and does not say either whether it signs each attempt anew.
	"sendgrid": {Header: "X-Twilio-Email-Event-Webhook-Signature", Algorithm: ECDSAP256, Encoding: Base64, Signed: "{timestamp}{body}", Timestamp: "X-Twilio-Email-Event-Webhook-Timestamp", Tolerance: 25 * time.Hour, Events: ".", ID: "json:sg_event_id", Type: "json:event", Time: "json:timestamp"},
	// One action of a merchant may cause several webhooks, which share X-Shopify-Event-Id.
	"shopify":        {Header: "X-Shopify-Hmac-Sha256", Encoding: Base64, Signed: "{body}", ID: "X-Shopify-Webhook-Id", Type: "X-Shopify-Topic", Time: "X-Shopify-Triggered-At"},
	"shopify events": {Header: "shopify-hmac-sha256", Encoding: Base64, Signed: "{body}", ID: "shopify-webhook-id", Type: "shopify-topic", Time: "shopify-triggered-at"},
	"slack":          {Header: "X-Slack-Signature", Prefix: "v0=", Signed: "v0:{timestamp}:{body}", Timestamp: "X-Slack-Request-Timestamp", ID: "json:event_id", Type: "json:event.type|json:type", Time: "json:event_time", Forms: true, Handshake: slackChallenge},
	"square":         {Header: "x-square-hmacsha256-signature", Encoding: Base64, Signed: "{url}{body}", ID: "json:event_id", Type: "json:type", Time: "json:created_at"},
	"standard":       {Header: "webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true, Signed: "{id}.{timestamp}.{body}", Timestamp: "webhook-timestamp", ID: "webhook-id", Type: "json:type", Time: "json:timestamp"},
	"stripe":         {Header: "Stripe-Signature", Separator: ",", Prefix: "v1=", Signed: "{timestamp}.{body}", Timestamp: "t=", ID: "json:id", Type: "json:type", Time: "json:created"},
	"svix":           {Header: "svix-signature|webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true, Signed: "{id}.{timestamp}.{body}", Timestamp: "svix-timestamp|webhook-timestamp", ID: "svix-id|webhook-id", Type: "json:type", Time: "json:timestamp"},
	"twilio":         {Header: "X-Twilio-Signature", Algorithm: HMACSHA1, Encoding: Base64, Signed: "{url+query}{form}", ID: "I-Twilio-Idempotency-Token", writings: withPort},
	"typeform":       {Header: "Typeform-Signature", Prefix: "sha256=", Encoding: Base64, Signed: "{body}", ID: "json:event_id", Type: "json:event_type", Time: "json:form_response.submitted_at"},
	"zendesk":        {Header: "X-Zendesk-Webhook-Signature", Encoding: Base64, Signed: "{timestamp}{body}", Timestamp: "X-Zendesk-Webhook-Signature-Timestamp", Unit: RFC3339Time, ID: "json:id", Type: "json:type", Time: "json:time"},
}

// HubSpot's eventId alone is not unique. A changed association has two objects.
const hubSpotID = "json:subscriptionId+objectId+occurredAt+eventId|json:subscriptionId+fromObjectId+toObjectId+occurredAt+eventId"

func scheme(name, partner string) Scheme {
	s := schemes[name]
	s.Name = partner
	return s
}

func schemeAt(name, partner, url string) Scheme {
	s := scheme(name, partner)
	s.URL = url
	return s
}

// AttioScheme follows https://docs.attio.com/rest-api/guides/webhooks: the body alone, without a time. The ID is not signed.
func AttioScheme() Scheme { return scheme("attio", "attio") }

// CalendlyScheme follows Calendly's "Webhook signatures"; the tolerance is its three minutes.
func CalendlyScheme() Scheme { return scheme("calendly", "calendly") }

// DiscordScheme follows Discord's "Webhook Events"; the secret is the application's public key. A ping is answered.
func DiscordScheme() Scheme { return scheme("discord", "discord") }

// GiteaScheme is for Gitea, Forgejo and Gogs, with JSON as the content type. Neither the ID nor the type is signed.
func GiteaScheme() Scheme { return scheme("gitea", "gitea") }

// GitHubScheme follows GitHub's "Validating webhook deliveries". Neither the delivery's id nor its type is signed.
func GitHubScheme() Scheme { return scheme("github", "github") }

// GitLabScheme follows GitLab's signing token, from version 19.0 on.
func GitLabScheme() Scheme { return scheme("gitlab signing", "gitlab") }

// GitLabTokenScheme follows GitLab's secret token, which signs nothing. Prefer [GitLabScheme].
func GitLabTokenScheme() Scheme { return scheme("gitlab token", "gitlab") }

// HubSpotScheme follows HubSpot's v3 signature; url is the target URL, best without a query. The secret is the app's client secret.
func HubSpotScheme(url string) Scheme { return schemeAt("hubspot v3", "hubspot", url) }

// HubSpotV1Scheme follows HubSpot's v1 signature, for subscriptions that have no other. It is weak: the secret first, no time.
func HubSpotV1Scheme() Scheme { return scheme("hubspot v1", "hubspot") }

// HubSpotV2Scheme follows HubSpot's v2 signature, of workflows and cards. It is weak: the secret first, no time.
func HubSpotV2Scheme(url string) Scheme { return schemeAt("hubspot v2", "hubspot", url) }

// IntercomScheme follows Intercom's "Webhook notifications"; the secret is the app's client secret.
func IntercomScheme() Scheme { return scheme("intercom", "intercom") }

// LinearScheme follows Linear's "Webhooks"; the time is the one in the body, which is signed, and the tolerance its minute. The ID is
// not signed.
func LinearScheme() Scheme { return scheme("linear", "linear") }

// MailgunScheme follows Mailgun's "Securing webhooks", as JSON, and "Webhooks": the tolerance is as long as it tries. The body is not
// signed: what it says is no more certain than that nobody else saw a signature of that time. An inbox takes each token once.
func MailgunScheme() Scheme { return scheme("mailgun", "mailgun") }

// NotionScheme follows Notion's "Webhooks"; the secret is the subscription's verification token.
func NotionScheme() Scheme { return scheme("notion", "notion") }

// SendGridScheme follows SendGrid's signed Event Webhook; the secret is its verification key, and the tolerance as long as it tries.
func SendGridScheme() Scheme { return scheme("sendgrid", "sendgrid") }

// ShopifyScheme follows Shopify's webhooks; the secret is the app's client secret. ID, type and time are not signed.
func ShopifyScheme() Scheme { return scheme("shopify", "shopify") }

// ShopifyEventsScheme follows Shopify's newer Events, whose headers have no "X-". ID, type and time are not signed.
func ShopifyEventsScheme() Scheme { return scheme("shopify events", "shopify") }

// SlackScheme follows Slack's "Verifying requests from Slack". A url_verification is answered.
func SlackScheme() Scheme { return scheme("slack", "slack") }

// SquareScheme follows Square's webhooks; url is the notification URL exactly as it is configured there.
func SquareScheme(url string) Scheme { return schemeAt("square", "square", url) }

// StandardWebhooksScheme follows https://www.standardwebhooks.com, v1 with a "whsec_" secret and v1a with a "whpk_" key.
func StandardWebhooksScheme() Scheme { return scheme("standard", "standard") }

// StripeScheme follows https://docs.stripe.com/webhooks; the secret is used with its "whsec_".
func StripeScheme() Scheme { return scheme("stripe", "stripe") }

// SvixScheme follows https://docs.svix.com/receiving, with the headers of either name. Guesty and many others send by Svix.
func SvixScheme() Scheme { return scheme("svix", "svix") }

// TwilioScheme follows https://www.twilio.com/docs/usage/security; url is the endpoint's, the secret the account's auth token. Query
// and form are signed without anything between them: believe the fields you know, and nothing in the query.
func TwilioScheme(url string) Scheme { return schemeAt("twilio", "twilio", url) }

// TypeformScheme follows Typeform's "Secure your webhooks".
func TypeformScheme() Scheme { return scheme("typeform", "typeform") }

// ZendeskScheme follows Zendesk's "Verifying webhooks"; the secret is used as it stands, though it looks like base64.
func ZendeskScheme() Scheme { return scheme("zendesk", "zendesk") }

// slackChallenge answers Slack's url_verification.
func slackChallenge(_ http.Header, body []byte) *Answer {
	if !bytes.Contains(body, []byte("url_verification")) {
		return nil
	}
	var m struct{ Type, Challenge string }
	if json.Unmarshal(body, &m) != nil || m.Type != "url_verification" || len(m.Challenge) > 1024 {
		return nil
	}
	return &Answer{http.StatusOK, "text/plain; charset=utf-8", []byte(m.Challenge)}
}

// discordPing answers a ping: of Webhook Events it has type 0, of Interactions 1.
func discordPing(_ http.Header, body []byte) *Answer {
	var m struct {
		Type  *int
		Event json.RawMessage
	}
	switch err := json.Unmarshal(body, &m); {
	case err != nil || m.Type == nil || m.Event != nil:
	case *m.Type == 0:
		return &Answer{Status: http.StatusNoContent}
	case *m.Type == 1:
		return &Answer{http.StatusOK, "application/json", []byte(`{"type":1}`)}
	}
	return nil
}

func (s Scheme) maxBytes() int64 {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return 1 << 20
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
func (u TimeUnit) usual(raw string) bool {
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
