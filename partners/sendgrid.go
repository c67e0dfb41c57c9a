package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// SendGrid sends mail, and is Twilio's.
var SendGrid = &Partner{
	Name: "sendgrid", Title: "Twilio SendGrid", Tier: 2,
	Docs: "https://www.twilio.com/docs/sendgrid/api-reference", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits",
		"2":  "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/authentication",
		"3":  "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/requests",
		"4":  "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses",
		"5":  "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors",
		"6":  "https://support.sendgrid.com/hc/en-us/articles/18322114821403-4XX-API-Errors-and-Troubleshooting-Suggestions",
		"7":  "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features.md",
		"8":  "https://github.com/sendgrid/sendgrid-go, helpers/eventwebhook/eventwebhook.go (the vendor's SDK)",
		"9":  "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event.md",
		"10": "https://github.com/sendgrid/docs, content/docs/for-developers/tracking-events/event.md (older)",
		"11": "https://www.twilio.com/docs/sendgrid/api-reference/webhooks/toggle-signature-verification-for-an-event-webhook",
		"12": "https://www.twilio.com/docs/sendgrid/api-reference/webhooks/get-signed-event-webhooks-public-key.md",
		"13": "https://github.com/sendgrid/docs/issues/2933 (third party)",
		"14": "https://twilio.com/en-us/changelog/imposing-rate-limits-on-some-sendgrid-v2-api-endpoints (older)",
		"15": "https://github.com/api-evangelist/sendgrid, rate-limits/sendgrid-rate-limits.yml (third party)",
		"16": "https://github.com/SpotOnInc/espwrap/pull/29 (third party)",
		"17": "https://rapidapi.com/sendgrid/api/SendGrid/details (older)",
		"18": "https://github.com/Jericho/StrongGrid/issues/367 (third party)",
		"19": "https://docs.aws.amazon.com/ru_ru/glue/latest/dg/sendgrid-limitations.md (third party)",
		"20": "Mailglass 1.0.0, its documentation of SendGrid's webhooks (third party)",
		"21": "https://sendgrid.com/docs/for-developers/sending-email/using-the-v2-api/ (older)",
		"22": "https://github.com/hookdeck/webhook-skills, sendgrid-webhooks (third party)",
		"23": "https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/on-behalf-of",
		"24": "https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions/retrieve-all-global-suppressions",
		"25": "https://glama.ai/mcp/connectors/io.usefulapi/sendgrid/tools/sendgrid_list_global_unsubscribes (third party)",
		"26": "https://docs.sendgrid.com/for-developers/tracking-events/troubleshooting",
	},
	Base: Base{URL: "https://api.sendgrid.com/v3", From: "3"},
	Auth: []Auth{{Kind: "bearer", Text: "API key, which has permissions of its own", From: "2"}},
	Limits: []Limit{
		{N: 600, Per: time.Minute, For: "user", Where: "some endpoints of the old v2 API, not sending", From: "14"},
	},
	Waits: []Fact{
		{"Each endpoint has a number of calls for a period; the vendor lists none.", "1 15"},
		{"Each answer has X-RateLimit-Limit, -Remaining and -Reset; the reset is a time in Unix seconds.", "1"},
		{"Somebody was told in 2021 that sending allows 10,000 requests a second.", "16"},
	},
	Lists: []List{
		{
			Name: "suppressions", How: belay.LinkPages{KeepOrigin: true},
			Text: "/suppression/unsubscribes, an array; parameters limit and offset. Other lists with a Link header are alike. " +
				"The links are http: in the vendor's example.",
			From: "4 18 24 25",
		},
	},
	Errors: Errors{
		Message: "errors[].message", From: "1 5",
		Notes: []Fact{
			{"There is no code; errors[].field is the place, and may be null.", "1 5"},
			{"A 401 also tells of a key that was deleted or changed.", "6"},
			{"A 403 is a sender that is not verified, or a block for a time after many bad requests.", "4"},
			{"A 202 says that a mail is valid and queued, no more: what became of it comes by webhook.", "9 10 17"},
			{"Try again after 429 and the 403 that is a block; a text on the old API adds 5xx.", "1 4 21"},
			{"A 406 is a missing Accept; an older text adds 404, 405, 413 (a body that is too large) and 503.", "4 17"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.SendGrid() }, Over: 24 * time.Hour, From: "8 20 26",
		Notes: []Fact{
			{"The key is public, and can be read by API; signing is switched on for each webhook.", "8 11 12"},
			{"Any 2xx is a success; all else is repeated at growing gaps, until 24 hours after the event.", "26"},
			{"OAuth 2.0 may protect the endpoint as well.", "7"},
			{"A delivery is an array of events; sg_event_id tells them apart.", "9 10 22"},
			{"Events come several times: somebody counted three on average, and 46 for some, over 29 hours.", "13"},
			{"No tolerance for the signed time is documented; third parties take 300 seconds.", "20"},
			{"A bounce is hard, or a block that may pass: type tells.", "10"},
		},
	},
	Changes: []Fact{
		{"Statistics are filtered by start_date, contacts by event_timestamp.", "19"},
	},
	Quirks: []Fact{
		{"Accounts of the EU are at https://api.eu.sendgrid.com.", "11"},
		{"The header on-behalf-of makes a call for a subuser with the parent's key, but not when mail is sent.", "23"},
		{"Array parameters of a GET are repeated, without brackets.", "3"},
		{"Keep personal data out of categories and unique arguments: they cannot be removed.", "9"},
	},
	Unknown: []string{
		"numbers of the limits", "Retry-After", "a header with the id of a call",
		"how the 403 of a block differs from the other",
		"which lists have pages, and their largest", "cursors of the marketing lists",
		"keys of idempotency", "deleted records",
	},
}
