package webhook

import (
	"net/http"
	"time"
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
	// Airtable's ping says only that something has changed since the last one, and has no ID.
	"airtable": {
		Header: "X-Airtable-Content-MAC", Prefix: "hmac-sha256=", Base64Key: true,
		Signed: "{body}",
		Time:   "json:timestamp", Status: http.StatusOK,
		Retries: "it says after each failure whether it will; no schedule is documented",
	},
	"asana": {
		Header: "X-Hook-Signature",
		Signed: "{body}",
		Events: "events", Type: "json:action", Time: "json:created_at", Status: http.StatusOK,
		Retries: "for up to 24 h, and then never (developers.asana.com, \"Webhooks\")",
	},
	"attio": {
		Header: "Attio-Signature|X-Attio-Signature",
		Signed: "{body}",
		ID:     "Idempotency-Key", Events: "events", Type: "json:event_type",
		Status:  http.StatusOK,
		Retries: "up to 10 times over 3 days (docs.attio.com, \"Webhooks\")",
	},
	// Box signs with two keys, one of which can be changed at a time. BOX-DELIVERY-ID is another one for each attempt.
	"box": {
		Header: "BOX-SIGNATURE-PRIMARY|BOX-SIGNATURE-SECONDARY", Separator: ",", Encoding: Base64,
		Signed: "{body}{timestamp}", Timestamp: "BOX-DELIVERY-TIMESTAMP", Unit: RFC3339Time, Tolerance: 10 * time.Minute,
		ID: "json:id", Type: "json:trigger", Time: "json:created_at",
		Retries: "up to 12 times over 2 h, each attempt with a time of its own (developer.box.com, \"V2 webhooks\")",
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
	// Dropbox tells only whose files have changed, and gives no ID.
	"dropbox": {
		Header: "X-Dropbox-Signature",
		Signed: "{body}",
		Status: http.StatusOK, Echo: "challenge",
		Retries: "with backoff for about 10 min (dropbox.com/developers, \"Webhooks\")",
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
	"google": {
		Header: "X-Goog-Channel-Token", Algorithm: PlainToken,
		ID: "X-Goog-Channel-ID+X-Goog-Message-Number", Type: "X-Goog-Resource-State",
		Status:  http.StatusOK,
		Retries: "with backoff after 500, 502, 503 and 504 (developers.google.com, \"Push notifications\")",
	},
	"hostaway": {
		Header: "Authorization", Algorithm: PlainToken, Prefix: "Basic ", Encoding: Base64,
		Type: "json:event", Status: http.StatusOK,
		Retries: "3 times within about an hour, the first after about a minute (Hostaway's API, \"Webhooks\")",
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
	"jira": {
		Header: "X-Hub-Signature", Prefix: "sha256=",
		Signed: "{body}",
		ID:     "X-Atlassian-Webhook-Identifier", Type: "json:webhookEvent", Time: "json:timestamp",
		Status:  http.StatusOK,
		Retries: "several times, with the same identifier; no schedule is known for certain",
	},
	// Klaviyo's time was five hours ahead of the true one when it was looked at in 2026, although it says GMT. The ID is
	// signed, so a delivery that is sent again within the tolerance is a repetition.
	"klaviyo": {
		Header: "Klaviyo-Signature",
		Signed: "{body}{timestamp}", Timestamp: "Klaviyo-Timestamp", Unit: HTTPDate, Tolerance: 5*time.Hour + 10*time.Minute,
		Events: "data", ID: "json:external_id", Type: "json:topic", Status: http.StatusOK,
		Retries: "not documented",
	},
	"linear": {
		Header: "Linear-Signature",
		Signed: "{body}", Timestamp: "json:webhookTimestamp", Unit: UnixMilliseconds, Tolerance: 7*time.Hour + 10*time.Minute,
		ID: "body", Type: "json:type", Time: "json:createdAt",
		Status: http.StatusOK, MaxBytes: 5 << 20,
		Retries: "after 1 min, 1 h and 6 h, with the time of the first attempt, by public reports",
	},
	// Mailchimp's body is a form, and it gives no ID.
	"mailchimp": {
		Header: "X-Mailchimp-Signature", Separator: ",", Prefix: "v1=",
		Signed: "{timestamp}.{body}", Timestamp: "t=",
		Forms: true, Status: http.StatusOK, Probe: http.MethodGet,
		Retries: "for 75 min; the steps are not documented",
	},
	// Mailgun signs a token and not the body, so the token is the only ID that nobody can change. Mailgun
	// accepts no status but 200, and retries for eight hours. It does not say whether it signs each attempt
	// anew, so the tolerance is longer.
	"mailgun": {
		Header: "json:signature.signature",
		Signed: "{timestamp}{json:signature.token}", Timestamp: "json:signature.timestamp",
		Tolerance: 9 * time.Hour, Status: http.StatusOK,
		ID: "json:signature.token", Type: "json:event-data.event", Time: "json:event-data.timestamp",
		Retries: "after 5, 10 and 15 min, 1, 2 and 4 h (documentation.mailgun.com, \"Webhook retries\")",
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
	"okta": {
		Header: "Authorization", Algorithm: PlainToken,
		Events: "data.events", ID: "json:uuid", Type: "json:eventType", Time: "json:published",
		Status: http.StatusOK, Handshake: oktaChallenge,
		Retries: "at most once, and not after a 4xx (developer.okta.com, \"Event hooks\")",
	},
	"pagerduty": {
		Header: "X-PagerDuty-Signature", Separator: ",", Prefix: "v1=",
		Signed: "{body}",
		ID:     "json:event.id", Type: "json:event.event_type", Time: "json:event.occurred_at",
		Retries: "for up to 48 h, later deliveries wait meanwhile; not after most 4xx (PagerDuty/developer-docs, " +
			"\"Webhook behavior\")",
	},
	// In version 1 of Pipedrive's webhooks meta.id is the object's, and there is no meta.entity: its events have no ID.
	"pipedrive": {
		Header: "Authorization", Algorithm: PlainToken, Prefix: "Basic ", Encoding: Base64,
		ID: "json:meta.entity+meta.id", Type: "json:meta.entity|json:event", Time: "json:meta.timestamp",
		Retries: "after 3, 30 and 150 s; ten first attempts that fail lose what comes in the next 30 min " +
			"(pipedrive.readme.io, \"Guide for webhooks v2\")",
	},
	// QuickBooks sends CloudEvents, and in an older form an object without IDs.
	"quickbooks": {
		Header: "intuit-signature", Encoding: Base64,
		Signed: "{body}",
		Events: ".", ID: "json:id", Type: "json:type", Time: "json:time",
		Status:  http.StatusOK,
		Retries: "several times; no schedule is documented",
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
	// Zoom's bodies have the time of their event in them, to the millisecond. X-Zm-Trackingid is not signed. It does not
	// say whether it signs each attempt anew, so the tolerance is as long as it retries.
	"zoom": {
		Header: "x-zm-signature", Prefix: "v0=",
		Signed: "v0:{timestamp}:{body}", Timestamp: "x-zm-request-timestamp", Tolerance: 90 * time.Minute,
		ID: "body", Type: "json:event", Time: "json:event_ts",
		Status: http.StatusOK, Handshake: zoomChallenge,
		Retries: "after 5 min, then 20, then 60 (developers.zoom.us, \"Resolving webhook delays\")",
	},
}

// hubSpotID is the place of HubSpot's IDs. It joins several values, because HubSpot's eventId alone is not
// unique. An event about an association has two objects, so it needs the second form.
const hubSpotID = "json:subscriptionId+objectId+occurredAt+eventId|" +
	"json:subscriptionId+fromObjectId+toObjectId+occurredAt+eventId"
