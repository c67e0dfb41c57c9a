package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
)

// schemes has the schemes of the partners, each without its Name and URL, which scheme and schemeAt add.
var schemes = map[string]Scheme{
	// Adyen signs eight fields of each item, joined by colons; a field that is missing counts as empty. It repeats an
	// event with the same pspReference and eventCode; success may differ, and then it is another event.
	"adyen": {
		Header: "json:NotificationRequestItem.additionalData.hmacSignature", Encoding: Base64, HexKey: true, PerItem: true,
		Events: "notificationItems",
		Signed: "{json:NotificationRequestItem.pspReference}:{json:NotificationRequestItem.originalReference}:" +
			"{json:NotificationRequestItem.merchantAccountCode}:{json:NotificationRequestItem.merchantReference}:" +
			"{json:NotificationRequestItem.amount.value}:{json:NotificationRequestItem.amount.currency}:" +
			"{json:NotificationRequestItem.eventCode}:{json:NotificationRequestItem.success}",
		ID:   "json:NotificationRequestItem.pspReference+NotificationRequestItem.eventCode+NotificationRequestItem.success",
		Type: "json:NotificationRequestItem.eventCode", Time: "json:NotificationRequestItem.eventDate",
		Status: http.StatusOK, Reply: "[accepted]",
		Retries: "three times at once, then after 2, 5, 10, 15 and 30 min, 1, 2, 4 and 8 h, and every 8 " +
			"h for a week (Adyen, \"Webhook delivery\")",
	},
	"attio": {
		Header: "Attio-Signature|X-Attio-Signature",
		Signed: "{body}",
		ID:     "Idempotency-Key", Events: "events", Type: "json:event_type",
		Status:  http.StatusOK,
		Retries: "up to 10 times over 3 days (docs.attio.com, \"Webhooks\")",
	},
	"calendly": {
		Header: "Calendly-Webhook-Signature", Separator: ",", Prefix: "v1=",
		Signed: "{timestamp}.{body}", Timestamp: "t=", Tolerance: 3 * time.Minute,
		Type: "json:event", Time: "json:created_at",
		Retries: "for 24 h, each attempt signed anew as far as is known; not documented",
	},
	"discord": {
		Header: "X-Signature-Ed25519", Algorithm: Ed25519,
		Signed: "{timestamp}{body}", Timestamp: "X-Signature-Timestamp",
		Type: "json:event.type", Time: "json:event.timestamp",
		Status: http.StatusNoContent, Handshake: discordPing,
		Retries: "with backoff for up to 10 min (discord-api-docs, \"Webhook events\")",
	},
	"gitea": {
		Header: "X-Gitea-Signature|X-Gogs-Signature",
		Signed: "{body}",
		ID:     "X-Gitea-Delivery|X-Gogs-Delivery", Type: "X-Gitea-Event|X-Gogs-Event",
		Retries: "never by itself",
	},
	"github": {
		Header: "X-Hub-Signature-256", Prefix: "sha256=",
		Signed: "{body}",
		ID:     "X-GitHub-Delivery", Type: "X-GitHub-Event", MaxBytes: 25 << 20,
		Retries: "never by itself; redelivery by hand keeps the id (docs.github.com, \"Best practices " +
			"for using webhooks\")",
	},
	// GitLab has two schemes: a secret token, which signs nothing, and a signing token.
	"gitlab token": {
		Header: "X-Gitlab-Token", Algorithm: PlainToken,
		ID: "Idempotency-Key", Type: "X-Gitlab-Event",
		Retries: "never by itself",
	},
	"gitlab signing": {
		Header: "webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true,
		Signed: "{id}.{timestamp}.{body}", Timestamp: "webhook-timestamp",
		ID: "webhook-id", Type: "json:object_kind|json:event_name",
		Retries: "never by itself",
	},
	"hubspot v1": {
		Header: "X-HubSpot-Signature", Algorithm: WeakSHA256,
		Signed: "{secret}{body}",
		Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt",
		Retries: "up to 10 times over 24 h (developers.hubspot.com, \"Webhooks\")",
	},
	"hubspot v2": {
		Header: "X-HubSpot-Signature", Algorithm: WeakSHA256,
		Signed: "{secret}{method}{url+query}{body}",
		Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt",
		Retries: "up to 10 times over 24 h (developers.hubspot.com, \"Webhooks\")",
	},
	"hubspot v3": {
		Header: "X-HubSpot-Signature-v3", Encoding: Base64,
		Signed: "{method}{url+query}{body}{timestamp}", Timestamp: "X-HubSpot-Request-Timestamp", Unit: UnixMilliseconds,
		Events: ".", ID: hubSpotID, Type: "json:subscriptionType", Time: "json:occurredAt",
		writings: withoutEscapes,
		Retries: "up to 10 times over 24 h, each attempt signed anew as far as is known " +
			"(developers.hubspot.com, \"Webhooks\")",
	},
	"intercom": {
		Header: "X-Hub-Signature", Algorithm: HMACSHA1, Prefix: "sha1=",
		Signed: "{body}",
		ID:     "json:id", Type: "json:topic", Time: "json:created_at",
		Retries: "once, after a minute; nothing is signed that ages",
	},
	"linear": {
		Header: "Linear-Signature",
		Signed: "{body}", Timestamp: "json:webhookTimestamp", Unit: UnixMilliseconds, Tolerance: 7*time.Hour + 10*time.Minute,
		ID: "body", Type: "json:type", Time: "json:createdAt",
		Status: http.StatusOK, MaxBytes: 5 << 20,
		Retries: "after 1 min, 1 h and 6 h, with the time of the first attempt, by public reports",
	},
	// Mailgun signs a token and not the body, so the token is the only ID that nobody can change. Mailgun
	// accepts no status but 200, and retries for eight hours. It does not say whether it signs each attempt
	// anew, so the tolerance is longer.
	"mailgun": {
		Header: "json:signature.signature",
		Signed: "{timestamp}{json:signature.token}", Timestamp: "json:signature.timestamp",
		Tolerance: 9 * time.Hour, Status: http.StatusOK,
		ID: "json:signature.token", Type: "json:event-data.event", Time: "json:event-data.timestamp",
		Retries: "after 10, 10, 15 and 30 min, 1, 2 and 4 h (documentation.mailgun.com, \"Webhooks\")",
	},
	"messagebird": {
		Header: "MessageBird-Signature", Encoding: Base64,
		Signed: "{timestamp}\n{url+query}\n{sha256}", Timestamp: "MessageBird-Request-Timestamp",
		Type:    "json:event",
		Retries: "with backoff; not documented",
	},
	"microsoft graph": {
		Header: "json:clientState", Algorithm: PlainToken, PerItem: true,
		Events: "value", ID: "json:id", Type: "json:changeType",
		Status: http.StatusAccepted, Echo: "validationToken",
		Retries: "with backoff for 4 h (learn.microsoft.com, \"Change notifications\")",
	},
	"notion": {
		Header: "X-Notion-Signature", Prefix: "sha256=",
		Signed: "{body}",
		ID:     "json:id", Type: "json:type", Time: "json:timestamp",
		Retries: "up to 8 times over 24 h; nothing is signed that ages",
	},
	// SendGrid retries until 24 hours after the event. It does not say whether it signs each attempt anew, so
	// the tolerance is longer.
	"sendgrid": {
		Header: "X-Twilio-Email-Event-Webhook-Signature", Algorithm: ECDSAP256, Encoding: Base64,
		Signed: "{timestamp}{body}", Timestamp: "X-Twilio-Email-Event-Webhook-Timestamp", Tolerance: 25 * time.Hour,
		Events: ".", ID: "json:sg_event_id", Type: "json:event", Time: "json:timestamp",
		Retries: "until 24 h after the event (docs.sendgrid.com, \"Event webhook\")",
	},
	// X-Shopify-Event-Id cannot be the ID, because several webhooks have the same one where one action of a
	// merchant causes them.
	"shopify": {
		Header: "X-Shopify-Hmac-Sha256", Encoding: Base64,
		Signed: "{body}",
		ID:     "X-Shopify-Webhook-Id", Type: "X-Shopify-Topic", Time: "X-Shopify-Triggered-At",
		Retries: "8 times over 4 h (shopify.dev changelog of 2024-09-10)",
	},
	"shopify events": {
		Header: "shopify-hmac-sha256", Encoding: Base64,
		Signed: "{body}",
		ID:     "shopify-webhook-id", Type: "shopify-topic", Time: "shopify-triggered-at",
		Retries: "8 times over 4 h (shopify.dev changelog of 2024-09-10)",
	},
	"shopify proxy": {
		Header: "query:signature", Signed: "{url+query}", writings: asShopifyProxy,
		Timestamp: "query:timestamp", Tolerance: 90 * time.Second,
		Retries: "never: a request of a visitor",
	},
	"shopify callback": {
		Header: "query:hmac", Signed: "{url+query}", writings: asShopifyCallback,
		Timestamp: "query:timestamp", Tolerance: 90 * time.Second,
		Retries: "never: a request of a visitor",
	},
	"slack": {
		Header: "X-Slack-Signature", Prefix: "v0=",
		Signed: "v0:{timestamp}:{body}", Timestamp: "X-Slack-Request-Timestamp",
		ID: "json:event_id", Type: "json:event.type|json:type", Time: "json:event_time",
		Forms: true, Handshake: slackChallenge,
		Retries: "at once, after 1 and 5 min, each attempt signed anew (docs.slack.dev, \"Events API\")",
	},
	"square": {
		Header: "x-square-hmacsha256-signature", Encoding: Base64,
		Signed: "{url}{body}",
		ID:     "json:event_id", Type: "json:type", Time: "json:created_at",
		Retries: "up to 11 times over 24 h; nothing is signed that ages",
	},
	"standard": {
		Header: "webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true,
		Signed: "{id}.{timestamp}.{body}", Timestamp: "webhook-timestamp",
		ID: "webhook-id", Type: "json:type", Time: "json:timestamp",
		Retries: "as the sender likes, each attempt signed anew (the specification, \"Reliability\")",
	},
	"stripe": {
		Header: "Stripe-Signature", Separator: ",", Prefix: "v1=",
		Signed: "{timestamp}.{body}", Timestamp: "t=",
		ID: "json:id", Type: "json:type", Time: "json:created",
		Retries: "for 3 days with backoff, each attempt signed anew (docs.stripe.com, \"Webhooks\")",
	},
	"svix": {
		Header: "svix-signature|webhook-signature", Separator: " ", Prefix: "v1,", Encoding: Base64, Base64Key: true,
		Signed: "{id}.{timestamp}.{body}", Timestamp: "svix-timestamp|webhook-timestamp",
		ID: "svix-id|webhook-id", Type: "json:type", Time: "json:timestamp",
		Retries: "after 5 s, 5 and 30 min, 2, 5, 10 and 10 h, each attempt signed anew (docs.svix.com, \"Retries\")",
	},
	"twilio": {
		Header: "X-Twilio-Signature", Algorithm: HMACSHA1, Encoding: Base64,
		Signed: "{url+query}{form}",
		ID:     "I-Twilio-Idempotency-Token", writings: asTwilio, withUser: true,
		Retries: "as the URL's fragment says; nothing is signed that ages",
	},
	"typeform": {
		Header: "Typeform-Signature", Prefix: "sha256=", Encoding: Base64,
		Signed: "{body}",
		ID:     "json:event_id", Type: "json:event_type", Time: "json:form_response.submitted_at",
		Retries: "for 10 h with backoff; nothing is signed that ages",
	},
	// Xero tells no id. It tries out an endpoint by deliveries without events, some of them signed wrongly.
	"xero": {
		Header: "X-Xero-Signature", Encoding: Base64,
		Signed: "{body}",
		Events: "events", ID: "json:tenantId+resourceId+eventCategory+eventType+eventDateUtc", Type: "json:eventType",
		Status:  http.StatusOK,
		Retries: "for 24 h with backoff; nothing is signed that ages",
	},
	"zendesk": {
		Header: "X-Zendesk-Webhook-Signature", Encoding: Base64,
		Signed: "{timestamp}{body}", Timestamp: "X-Zendesk-Webhook-Signature-Timestamp", Unit: RFC3339Time,
		ID: "X-Zendesk-Webhook-Invocation-Id", Type: "json:type", Time: "json:time",
		Retries: "up to 5 times within minutes, each attempt signed anew as far as is known",
	},
}

// hubSpotID is the place of HubSpot's IDs. It joins several values, because HubSpot's eventId alone is not
// unique. An event about an association has two objects, so it needs the second form.
const hubSpotID = "json:subscriptionId+objectId+occurredAt+eventId|" +
	"json:subscriptionId+fromObjectId+toObjectId+occurredAt+eventId"

// scheme returns the scheme of that name in schemes, with the name of the partner.
func scheme(name, partner string) Scheme {
	s := schemes[name]
	s.Name = partner
	return s
}

// schemeAt is scheme for a partner that signs the URL.
func schemeAt(name, partner, url string) Scheme {
	s := scheme(name, partner)
	s.URL = url
	return s
}

// Adyen returns the scheme of Adyen's standard webhooks (its guide "Verify HMAC signatures"). The secret is the HMAC
// key in hex. Each item is signed by itself, and of it only the fields that say which payment it is, how much, what
// happened and whether it succeeded: do not trust others, such as reason and additionalData.
func Adyen() Scheme { return scheme("adyen", "adyen") }

// Attio returns the scheme of Attio (https://docs.attio.com/rest-api/guides/webhooks). It signs the body
// alone, without a time. The ID is not signed.
func Attio() Scheme { return scheme("attio", "attio") }

// Calendly returns the scheme of Calendly (its guide "Webhook signatures"). The tolerance is three minutes,
// as in that guide.
func Calendly() Scheme { return scheme("calendly", "calendly") }

// Discord returns the scheme of Discord (its guide "Webhook Events"). The secret is the application's public
// key. A ping gets its answer in [belay.Delivery].Answer.
func Discord() Scheme { return scheme("discord", "discord") }

// Gitea returns the scheme of Gitea, Forgejo and Gogs, for webhooks with JSON as the content type. Neither
// the ID nor the type is signed.
func Gitea() Scheme { return scheme("gitea", "gitea") }

// GitHub returns the scheme of GitHub (its guide "Validating webhook deliveries"). Neither the ID nor the
// type is signed.
func GitHub() Scheme { return scheme("github", "github") }

// GitLab returns the scheme of GitLab's signing token, which GitLab has from version 19.0 on.
func GitLab() Scheme { return scheme("gitlab signing", "gitlab") }

// GitLabToken returns the scheme of GitLab's secret token, which signs nothing. Prefer [GitLab].
func GitLabToken() Scheme { return scheme("gitlab token", "gitlab") }

// HubSpot returns the scheme of HubSpot's v3 signature. The url is the target URL, best without a query. The
// secret is the app's client secret.
func HubSpot(url string) Scheme { return schemeAt("hubspot v3", "hubspot", url) }

// HubSpotV1 returns the scheme of HubSpot's v1 signature, for subscriptions that have no other. It is weak:
// it hashes the secret first (see [WeakSHA256]) and signs no time.
func HubSpotV1() Scheme { return scheme("hubspot v1", "hubspot") }

// HubSpotV2 returns the scheme of HubSpot's v2 signature, for workflows and cards. The url is the target URL.
// It is weak: it hashes the secret first (see [WeakSHA256]) and signs no time.
func HubSpotV2(url string) Scheme { return schemeAt("hubspot v2", "hubspot", url) }

// Intercom returns the scheme of Intercom (its guide "Webhook notifications"). The secret is the app's client
// secret.
func Intercom() Scheme { return scheme("intercom", "intercom") }

// Linear returns the scheme of Linear (its guide "Webhooks"). The time is the one in the body, which is
// signed. That guide has a tolerance of one minute, but Linear sends a delivery that failed again after a minute, an
// hour and six hours, and is reported to keep the time of the first attempt: the tolerance is a little longer than
// that. The ID is the hash of the body, because Linear-Delivery is not signed: within so long a tolerance anybody
// who has seen a delivery could send it again under other IDs.
func Linear() Scheme { return scheme("linear", "linear") }

// Mailgun returns the scheme of Mailgun's webhooks in JSON (its guides "Securing webhooks" and "Webhooks").
// The tolerance is nine hours, because Mailgun retries for eight. The body is not signed: anybody who has
// seen a signature can send it with another body within the tolerance. Package inbox accepts each token once,
// because the token is the ID.
func Mailgun() Scheme { return scheme("mailgun", "mailgun") }

// MessageBird returns the scheme of MessageBird, now Bird (its guide "Verifying a webhook subscription"). The url is
// the URL of the endpoint, and the secret is the signing key.
func MessageBird(url string) Scheme { return schemeAt("messagebird", "messagebird", url) }

// MicrosoftGraph returns the scheme of Microsoft Graph's change notifications ("Receive change notifications through
// webhooks"). Nothing is signed: the secret is the clientState of the subscription, which each notification repeats.
// The request with a validationToken, by which a subscription begins, gets it back.
func MicrosoftGraph() Scheme { return scheme("microsoft graph", "microsoft") }

// Notion returns the scheme of Notion (its guide "Webhooks"). The secret is the subscription's verification
// token.
func Notion() Scheme { return scheme("notion", "notion") }

// SendGrid returns the scheme of SendGrid's signed Event Webhook. The secret is its verification key. The
// tolerance is 25 hours, because SendGrid retries until 24 hours after the event.
func SendGrid() Scheme { return scheme("sendgrid", "sendgrid") }

// Shopify returns the scheme of Shopify's webhooks. The secret is the app's client secret. The ID, the type
// and the time are not signed.
func Shopify() Scheme { return scheme("shopify", "shopify") }

// ShopifyEvents returns the scheme of Shopify's newer Events, whose headers have no "X-". The ID, the type
// and the time are not signed.
func ShopifyEvents() Scheme { return scheme("shopify events", "shopify") }

// ShopifyProxy returns the scheme of the requests that Shopify's app proxy forwards ("Authenticate app proxies"). The
// url is the URL of the endpoint, and the secret is the app's client secret. The query is signed, and nothing else: do
// not trust a body. Only [Verifier.VerifyRequest] can verify it.
func ShopifyProxy(url string) Scheme { return schemeAt("shopify proxy", "shopify", url) }

// ShopifyCallback returns the scheme of the query with which Shopify's OAuth leads back to an app ("Verify the
// installation request"). The url is the redirect URL, and the secret is the app's client secret. Verify the request
// before the code is exchanged. Only [Verifier.VerifyRequest] can verify it.
func ShopifyCallback(url string) Scheme { return schemeAt("shopify callback", "shopify", url) }

// Slack returns the scheme of Slack (its guide "Verifying requests from Slack"). A url_verification request
// gets its answer in [belay.Delivery].Answer.
func Slack() Scheme { return scheme("slack", "slack") }

// Square returns the scheme of Square's webhooks. The url is the notification URL exactly as it is configured
// at Square.
func Square(url string) Scheme { return schemeAt("square", "square", url) }

// StandardWebhooks returns the scheme of https://www.standardwebhooks.com: v1 with a "whsec_" secret, v1a
// with a "whpk_" key.
func StandardWebhooks() Scheme { return scheme("standard", "standard") }

// Stripe returns the scheme of Stripe (https://docs.stripe.com/webhooks). The secret is used with its
// "whsec_".
func Stripe() Scheme { return scheme("stripe", "stripe") }

// Svix returns the scheme of Svix (https://docs.svix.com/receiving). The headers may begin with svix- or
// webhook-. Guesty and many others send their webhooks by Svix.
func Svix() Scheme { return scheme("svix", "svix") }

// Twilio returns the scheme of Twilio (https://www.twilio.com/docs/usage/security). The url is the URL of the
// endpoint, and the secret is the account's auth token. Twilio signs the query and the form without a
// separator between them, so text could be moved from one to the other: trust the form fields that you know,
// and nothing in the query.
func Twilio(url string) Scheme { return schemeAt("twilio", "twilio", url) }

// Typeform returns the scheme of Typeform (its guide "Secure your webhooks").
func Typeform() Scheme { return scheme("typeform", "typeform") }

// Xero returns the scheme of Xero (its guide "Configuring your server"). The secret is the webhook key, used as it is.
func Xero() Scheme { return scheme("xero", "xero") }

// Zendesk returns the scheme of Zendesk (its guide "Verifying webhooks"). The secret is used as it is,
// although it looks like base64.
func Zendesk() Scheme { return scheme("zendesk", "zendesk") }

// slackChallenge returns the answer to Slack's url_verification request, which is its challenge. It returns
// nil for any other body.
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

// discordPing returns the answer to a ping, which has type 0 from Webhook Events and type 1 from
// Interactions. It returns nil for any other body.
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
