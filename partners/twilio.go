package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Twilio sends messages and makes calls.
var Twilio = &Partner{
	Name: "twilio", Title: "Twilio", Tier: 2,
	Docs: "https://www.twilio.com/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://www.twilio.com/docs/api/errors/20429",
		"2":  "https://www.twilio.com/docs/usage/twilios-response",
		"3":  "https://www.twilio.com/docs/usage/requests-to-twilio",
		"4":  "https://www.twilio.com/docs/iam/oauth-apps/oauth-access-token",
		"5":  "https://www.twilio.com/docs/iam/oauth-apps/overview",
		"6":  "https://www.twilio.com/docs/iam/oauth-apps/faqs",
		"7":  "https://github.com/twilio/twilio-go, client/error.go (the vendor's SDK)",
		"8":  "https://www.npmjs.com/package/twilio, lib/base/Page.d.ts and TokenPage.js (the vendor's SDK)",
		"9":  "https://www.twilio.com/docs/api/errors/21481",
		"10": "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
		"11": "https://www.twilio.com/docs/usage/api-security-reference-guide/webhook",
		"12": "https://github.com/twilio/twilio-node, examples/WebhookSignatureValidation.md (the vendor's SDK)",
		"13": "https://www.twilio.com/docs/api/errors/57012",
		"14": "https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides",
		"15": "https://www.twilio.com/docs/api/errors/11205",
		"16": "https://www.twilio.com/docs/usage/rest-api-best-practices",
		"17": "https://www.twilio.com/docs/events/event-delivery-and-duplication",
		"19": "https://www.twilio.com/docs/api/errors/10004",
		"20": "https://github.com/twilio/ai, skills twilio-reliability-patterns and twilio-security-api-auth (the vendor's)",
		"21": "https://github.com/twilio/twilio-go, client/page_util.go (the vendor's SDK)",
		"22": "https://github.com/twilio/twilio-go, rest/api/v2010/model_list_message_response.go (the vendor's SDK)",
		"23": "https://www.twilio.com/docs/errors/20007",
		"24": "https://twilio.com/docs/api/errors/20003",
	},
	Base: Base{URL: "https://api.twilio.com", From: "2"},
	Auth: []Auth{
		{
			Kind: "basic", Text: "SID and secret of an API key; for local tests also the account's SID and auth token",
			From: "3",
		},
		{Kind: "oauth", Text: "client credentials, as a public beta, in the region US1", From: "4 5 6"},
	},
	OAuth: OAuth{
		TokenURL: "https://oauth.twilio.com/v2/token", StyleKnown: true, Access: time.Hour, From: "4", // StyleBody
		Notes: []Fact{
			{"The grant is client_credentials, without a scope; refresh_token in the answer is null.", "4"},
			{"A new token does not end the one before.", "6"},
			{"There are also apps with an authorization code, whose request differs.", "4"},
		},
	},
	Waits: []Fact{
		{"A 429 with code 20429 says that too many calls of the account are in flight; no figure is published.", "1"},
		{"A call that was refused so was not processed, and may be repeated after a back-off.", "1"},
		{"The same code stands for limits of Verify: too many tries for one number, or polling too often.", "1"},
		{"Products have limits of their own; calls in progress are limited apart, with error 10004.", "16 19"},
		{"The vendor advises exponential back-off with a tenth of jitter.", "20"},
	},
	Lists: []List{
		{
			Name: "messages", How: belay.NextURLPages{Items: "messages", URL: "next_page_uri"}, Most: 1000,
			Text: "API of 2010, paths with .json; parameter PageSize; other lists have another name", From: "8 21 22 23",
		},
	},
	Errors: Errors{
		Code: "code", Message: "message", From: "7",
		Notes: []Fact{
			{"The code is a number with a page of its own, to which more_info leads.", "1 7 9"},
			{
				"20003 stands for wrong credentials, a key that was deleted, a suspended account and an expired OAuth token.",
				"24",
			},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{{"A call that got a 429 was not processed; more is not said.", "1"}}},
	Webhooks: Webhooks{
		Scheme: webhook.Twilio, Answer: 15 * time.Second, Retries: 1, From: "10 12 14",
		Notes: []Fact{
			{
				"The one retry is for a connection that fails. The fragment of the address changes times and retries: rc is " +
					"their number, 0 to 5, and rp their policy; all together have 15 seconds.",
				"14",
			},
			{"To connect there are two tries of five seconds each, which can be changed.", "15"},
			{"When a call fails, the fallback address is called if there is one.", "15"},
			{"With a JSON body the address has bodySHA256, which is to be compared with the body.", "13"},
			{"Only the primary auth token signs; API keys cannot verify.", "13 16"},
			{"With a rule a shared key signs, and X-Twilio-Webhooks-Signature-Settings names key and algorithm.", "12"},
			{"Parameters may be added at any time, and all of them are signed.", "10"},
			{"The address needs https with a certificate that verifies.", "10 11"},
			{"Event Streams deliver at least once, for up to four hours.", "17"},
		},
	},
	Changes: []Fact{{"The vendor advises callbacks of status instead of polling.", "16"}},
	Quirks: []Fact{
		{"The API of 2010 answers in XML unless the path ends in .json; its times are texts of RFC 2822.", "2"},
		{"Newer products are at https://{product}.twilio.com/v{n}, in JSON only.", "2"},
		{"Their lists have the items under the name in meta.key, and the next page's address in meta.next_page_url.", "8 21"},
		{"The newest APIs page by a token: meta.nextToken, sent as PageToken, null at the end.", "8 21"},
		{"A PageToken that was made up is error 21481: follow the addresses.", "9"},
		{"Credentials belong to a region.", "3"},
		{"The auth token cannot be revoked without touching webhooks, an API key can.", "20"},
	},
	Unknown: []string{
		"Retry-After, and headers of limits", "the header of the request's id", "the figure of calls in flight",
		"authorize address, PKCE and refresh of apps with a code", "limits of the token endpoint", "filters by date",
		"the id of a webhook in the vendor's words",
	},
}
