package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
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

// Attio follows https://docs.attio.com/rest-api/guides/webhooks: the body alone, without a time. The ID is not signed.
func Attio() Scheme { return scheme("attio", "attio") }

// Calendly follows Calendly's "Webhook signatures"; the tolerance is its three minutes.
func Calendly() Scheme { return scheme("calendly", "calendly") }

// Discord follows Discord's "Webhook Events"; the secret is the application's public key. A ping is answered.
func Discord() Scheme { return scheme("discord", "discord") }

// Gitea is for Gitea, Forgejo and Gogs, with JSON as the content type. Neither the ID nor the type is signed.
func Gitea() Scheme { return scheme("gitea", "gitea") }

// GitHub follows GitHub's "Validating webhook deliveries". Neither the delivery's id nor its type is signed.
func GitHub() Scheme { return scheme("github", "github") }

// GitLab follows GitLab's signing token, from version 19.0 on.
func GitLab() Scheme { return scheme("gitlab signing", "gitlab") }

// GitLabToken follows GitLab's secret token, which signs nothing. Prefer [GitLab].
func GitLabToken() Scheme { return scheme("gitlab token", "gitlab") }

// HubSpot follows HubSpot's v3 signature; url is the target URL, best without a query. The secret is the app's client secret.
func HubSpot(url string) Scheme { return schemeAt("hubspot v3", "hubspot", url) }

// HubSpotV1 follows HubSpot's v1 signature, for subscriptions that have no other. It is weak: the secret first, no time.
func HubSpotV1() Scheme { return scheme("hubspot v1", "hubspot") }

// HubSpotV2 follows HubSpot's v2 signature, of workflows and cards. It is weak: the secret first, no time.
func HubSpotV2(url string) Scheme { return schemeAt("hubspot v2", "hubspot", url) }

// Intercom follows Intercom's "Webhook notifications"; the secret is the app's client secret.
func Intercom() Scheme { return scheme("intercom", "intercom") }

// Linear follows Linear's "Webhooks"; the time is the one in the body, which is signed, and the tolerance its minute. The ID is
// not signed.
func Linear() Scheme { return scheme("linear", "linear") }

// Mailgun follows Mailgun's "Securing webhooks", as JSON, and "Webhooks": the tolerance is as long as it tries. The body is not
// signed: what it says is no more certain than that nobody else saw a signature of that time. An inbox takes each token once.
func Mailgun() Scheme { return scheme("mailgun", "mailgun") }

// Notion follows Notion's "Webhooks"; the secret is the subscription's verification token.
func Notion() Scheme { return scheme("notion", "notion") }

// SendGrid follows SendGrid's signed Event Webhook; the secret is its verification key, and the tolerance as long as it tries.
func SendGrid() Scheme { return scheme("sendgrid", "sendgrid") }

// Shopify follows Shopify's webhooks; the secret is the app's client secret. ID, type and time are not signed.
func Shopify() Scheme { return scheme("shopify", "shopify") }

// ShopifyEvents follows Shopify's newer Events, whose headers have no "X-". ID, type and time are not signed.
func ShopifyEvents() Scheme { return scheme("shopify events", "shopify") }

// Slack follows Slack's "Verifying requests from Slack". A url_verification is answered.
func Slack() Scheme { return scheme("slack", "slack") }

// Square follows Square's webhooks; url is the notification URL exactly as it is configured there.
func Square(url string) Scheme { return schemeAt("square", "square", url) }

// StandardWebhooks follows https://www.standardwebhooks.com, v1 with a "whsec_" secret and v1a with a "whpk_" key.
func StandardWebhooks() Scheme { return scheme("standard", "standard") }

// Stripe follows https://docs.stripe.com/webhooks; the secret is used with its "whsec_".
func Stripe() Scheme { return scheme("stripe", "stripe") }

// Svix follows https://docs.svix.com/receiving, with the headers of either name. Guesty and many others send by Svix.
func Svix() Scheme { return scheme("svix", "svix") }

// Twilio follows https://www.twilio.com/docs/usage/security; url is the endpoint's, the secret the account's auth token. Query
// and form are signed without anything between them: believe the fields you know, and nothing in the query.
func Twilio(url string) Scheme { return schemeAt("twilio", "twilio", url) }

// Typeform follows Typeform's "Secure your webhooks".
func Typeform() Scheme { return scheme("typeform", "typeform") }

// Zendesk follows Zendesk's "Verifying webhooks"; the secret is used as it stands, though it looks like base64.
func Zendesk() Scheme { return scheme("zendesk", "zendesk") }

// slackChallenge answers Slack's url_verification.
func slackChallenge(_ http.Header, body []byte) *belay.Answer {
	if !bytes.Contains(body, []byte("url_verification")) {
		return nil
	}
	var m struct{ Type, Challenge string }
	if json.Unmarshal(body, &m) != nil || m.Type != "url_verification" || len(m.Challenge) > 1024 {
		return nil
	}
	return &belay.Answer{Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(m.Challenge)}
}

// discordPing answers a ping: of Webhook Events it has type 0, of Interactions 1.
func discordPing(_ http.Header, body []byte) *belay.Answer {
	var m struct {
		Type  *int
		Event json.RawMessage
	}
	switch err := json.Unmarshal(body, &m); {
	case err != nil || m.Type == nil || m.Event != nil:
	case *m.Type == 0:
		return &belay.Answer{Status: http.StatusNoContent}
	case *m.Type == 1:
		return &belay.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"type":1}`)}
	}
	return nil
}
