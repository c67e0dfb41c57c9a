package webhook

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

// Airtable returns the scheme of Airtable's webhooks ("Webhooks overview"). The secret is the macSecretBase64 that the
// answer to the creation of the webhook has, and only that one. A delivery says that there are changes, which are
// listed by their cursor.
func Airtable() Scheme { return scheme("airtable", "airtable") }

// Asana returns the scheme of Asana (its guide "Webhooks"). The secret is the X-Hook-Secret of the request with which
// Asana asks the endpoint while your own request that creates the webhook is still open: answer it with 200 and the
// same header, and store the secret, but only while you are waiting for it, because anybody can send such a request.
// No event has an ID; its type is what was done, such as "changed", and its Data says to what. A delivery without events
// is a heartbeat.
func Asana() Scheme { return scheme("asana", "asana") }

// Attio returns the scheme of Attio (https://docs.attio.com/rest-api/guides/webhooks). It signs the body
// alone, without a time. The ID is not signed.
func Attio() Scheme { return scheme("attio", "attio") }

// Box returns the scheme of Box's V2 webhooks ("Signatures"). The secrets are the app's primary and secondary signature
// key; either one is enough.
func Box() Scheme { return scheme("box", "box") }

// Calendly returns the scheme of Calendly (its guide "Webhook signatures"). The tolerance is three minutes,
// as in that guide.
func Calendly() Scheme { return scheme("calendly", "calendly") }

// Discord returns the scheme of Discord (its guide "Webhook Events"). The secret is the application's public
// key. A ping gets its answer in [belay.Delivery].Answer.
func Discord() Scheme { return scheme("discord", "discord") }

// Dropbox returns the scheme of Dropbox ("Webhooks"). The secret is the app's secret. The request with a challenge, by
// which Dropbox asks whether the endpoint is ours, gets it back.
func Dropbox() Scheme { return scheme("dropbox", "dropbox") }

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

// Google returns the scheme of the notification channels of Calendar and Drive ("Push notifications"). Nothing is
// signed: the secret is the token that the channel was opened with. The body is empty, as a delivery says only that
// something has changed; the first one has the type "sync". Give each channel an id of its own, because the numbers of
// its messages begin at 1.
func Google() Scheme { return scheme("google", "google") }

// Hostaway returns the scheme of Hostaway's unified webhooks. Nothing is signed: the secret is the login and the
// password that the webhook was made with, as "login:password".
func Hostaway() Scheme { return scheme("hostaway", "hostaway") }

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

// Jira returns the scheme of Jira Cloud's webhooks that have a secret ("Webhooks", on securing those of
// administrators). Those that an app makes may carry a JWT instead, which is not verified here. The ID is not signed.
func Jira() Scheme { return scheme("jira", "jira") }

// Klaviyo returns the scheme of Klaviyo's system webhooks ("Working with system webhooks"). The webhooks of flows are
// not signed. What is signed, and that the time is an HTTP date, is known by public reports.
func Klaviyo() Scheme { return scheme("klaviyo", "klaviyo") }

// Linear returns the scheme of Linear (its guide "Webhooks"). The time is the one in the body, which is
// signed. That guide has a tolerance of one minute, but Linear sends a delivery that failed again after a minute, an
// hour and six hours, and is reported to keep the time of the first attempt: the tolerance is a little longer than
// that. The ID is the hash of the body, because Linear-Delivery is not signed: within so long a tolerance anybody
// who has seen a delivery could send it again under other IDs.
func Linear() Scheme { return scheme("linear", "linear") }

// Mailchimp returns the scheme of Mailchimp's webhooks that have a secret ("Webhooks"); older ones are not signed. The
// body is a form. The request with which Mailchimp asks whether anybody answers at the URL gets its answer in
// [belay.Delivery].Answer.
func Mailchimp() Scheme { return scheme("mailchimp", "mailchimp") }

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

// Okta returns the scheme of Okta's event hooks ("Event hooks"). Nothing is signed: the secret is the value of the
// Authorization header that the hook was made with. The request with which Okta asks whether the endpoint is ours gets
// its answer in [belay.Delivery].Answer.
func Okta() Scheme { return scheme("okta", "okta") }

// PagerDuty returns the scheme of PagerDuty's V3 webhooks (its guide "Verifying signatures"). No time is signed.
func PagerDuty() Scheme { return scheme("pagerduty", "pagerduty") }

// Pipedrive returns the scheme of Pipedrive's webhooks ("Guide for webhooks v2"). Nothing is signed: the secret is the
// user and the password that the webhook was made with, as "user:password". The type is the kind of object; what was
// done with it is meta.action in the Data. Events of version 1 have no ID, and are handled each time that they come.
func Pipedrive() Scheme { return scheme("pipedrive", "pipedrive") }

// QuickBooks returns the scheme of QuickBooks Online ("Webhooks", on validating). The secret is the app's verifier
// token.
func QuickBooks() Scheme { return scheme("quickbooks", "quickbooks") }

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

// Zoom returns the scheme of Zoom ("Using webhooks"). The secret is the app's secret token. The request with which
// Zoom asks every 72 hours whether the endpoint is ours gets its answer in [belay.Delivery].Answer.
func Zoom() Scheme { return scheme("zoom", "zoom") }
