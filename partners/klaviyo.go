package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Klaviyo sends marketing messages to customers of shops.
var Klaviyo = &Partner{
	Name: "klaviyo", Title: "Klaviyo", Tier: 2,
	Docs: "https://developers.klaviyo.com/en/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling",
		"2":  "https://developers.klaviyo.com/en/v2023-09-15/docs/rate_limits_and_error_handling (older)",
		"3":  "https://developers.klaviyo.com/en/docs/set_up_oauth",
		"4":  "https://developers.klaviyo.com/.well-known/skills/klaviyo-migrate-oauth/references/pkce-examples.md",
		"5":  "https://developers.klaviyo.com/.well-known/skills/klaviyo-migrate-oauth/references/api-calls.md",
		"6":  "https://developers.klaviyo.com/.well-known/skills/klaviyo-migrate-oauth/references/revision-changes.md",
		"7":  "https://developers.klaviyo.com/en/docs/api_versioning_and_deprecation_policy",
		"8":  "https://developers.klaviyo.com/en/docs/working_with_system_webhooks",
		"9":  "https://github.com/klaviyo/klaviyo-api-node, README.md (the vendor's SDK)",
		"10": "https://developers.klaviyo.com/en/v2024-07-15/docs/authenticate_ (older)",
		"11": "https://academy.klaviyo.com/en-us/certificates/developer-certificate/courses/get-data-into-klaviyo-with-apis" +
			"/lessons/troubleshooting-errors-and-rate-limit-responses",
		"13": "https://developers.klaviyo.com/en/docs/handle_your_apps_oauth_flow",
		"14": "https://developers.qodex.ai/klaviyo-developers/klaviyo-api-previous-stable-v2023-01-24/lists-9/get-lists-4 (third party)",
		"15": "https://github.com/hookdeck/webhook-skills, klaviyo-webhooks (third party)",
		"16": "https://github.com/klaviyo/klaviyo-api-node, api/apis.ts and model/collectionLinks.ts (the vendor's SDK)",
		"17": "https://github.com/klaviyo-labs/api-examples, oauth/simple-node-example/index.js (the vendor's example)",
		"18": "https://github.com/nickdnk/klaviyo-php-sdk, src/APIClient.php and its tests (third party)",
		"19": "https://docs.rs/webhook-verify (third party)",
		"20": "https://developers.klaviyo.com/en/v2025-01-15/reference/create_list (older)",
	},
	Base: Base{URL: "https://a.klaviyo.com/api", Headers: []Header{{"revision", "2026-10-15"}}, From: "5 6 7"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code", From: "3 5"},
		{Kind: "header", Name: "Authorization", Text: "Klaviyo-API-Key and the private key", From: "5 10"},
	},
	OAuth: OAuth{
		AuthURL: "https://www.klaviyo.com/oauth/authorize", TokenURL: "https://a.klaviyo.com/oauth/token",
		RevokeURL: "https://a.klaviyo.com/oauth/revoke", Style: oauth.StyleHeader, StyleKnown: true, PKCE: Yes,
		Refresh: 90 * 24 * time.Hour, From: "3 4 16 17",
		Notes: []Fact{
			{
				"The refresh token ends after 90 days without use; a 400 with invalid_grant may mean that, an uninstalled " +
					"app, a revoked or a wrong token.",
				"17",
			},
			{"Scopes are separated by spaces, and must be set on the app too.", "3 4 9"},
			{"Token requests to www.klaviyo.com are blocked.", "3"},
			{"The answer has expires_in, and the SDK stores both tokens after each refresh.", "9 16"},
			{"An installation may begin at klaviyo.com or at the app's own side.", "13"},
		},
	},
	Limits: []Limit{
		{N: 1, Per: time.Second, For: "account", Where: "endpoints of size XS", From: "1"},
		{N: 15, Per: time.Minute, For: "account", Where: "endpoints of size XS", From: "1"},
		{N: 3, Per: time.Second, For: "account", Where: "endpoints of size S", From: "1"},
		{N: 60, Per: time.Minute, For: "account", Where: "endpoints of size S", From: "1"},
		{N: 10, Per: time.Second, For: "account", Where: "endpoints of size M", From: "1"},
		{N: 150, Per: time.Minute, For: "account", Where: "endpoints of size M", From: "1"},
		{N: 75, Per: time.Second, For: "account", Where: "endpoints of size L", From: "1"},
		{N: 700, Per: time.Minute, For: "account", Where: "endpoints of size L", From: "1"},
		{N: 350, Per: time.Second, For: "account", Where: "endpoints of size XL", From: "1"},
		{N: 3500, Per: time.Minute, For: "account", Where: "endpoints of size XL", From: "1"},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in whole seconds, and none of the headers of limits.", "2"},
		{"Other answers have RateLimit-Limit, -Remaining and -Reset, in seconds, of the minute's window only.", "1"},
		{
			"Each page of the documentation names the size of its endpoint; include and additional fields may lower it.",
			"1 2 9",
		},
		{"Some endpoints have a limit of a day too, such as 150 new lists.", "20"},
		{"An OAuth app has a quota of its own for each account; all private keys of an account share one.", "1"},
	},
	Lists: []List{{
		Name: "list", How: belay.NextURLPages{Items: "data", URL: "links.next"},
		Text: "all lists; page[size] only at some", From: "9 14 16",
	}},
	Errors: Errors{
		Message: "errors[0].detail", From: "5",
		Notes: []Fact{
			{"The body is {\"errors\":[…]}; the message is the detail of the first one.", "5"},
			{"A bad key is a 400 by an older page, and a 401 by the academy.", "10 11"},
			{"A revision that has been retired is a 410, or is silently answered by a newer one.", "6"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Klaviyo() }, From: "8 15 18 19",
		Notes: []Fact{
			{
				"Klaviyo-Signature is a hex HMAC-SHA256 of the body followed by Klaviyo-Timestamp; the order is a third " +
					"party's word.",
				"8 15",
			},
			{
				"Klaviyo-Timestamp is an HTTP date. It was seen to be five hours ahead of the true time, in April and in " +
					"September 2026; meta.timestamp is right.",
				"18 19",
			},
			{"Klaviyo-Webhook-Id must be the same as the id in meta, or the delivery is to be dropped.", "8"},
			{"A delivery has an array data; external_id is the id of an event.", "8"},
			{"Only customers of Advanced KDP and app partners may manage webhooks.", "8"},
			{"The webhook action of flows is not signed.", "15"},
		},
	},
	Changes: []Fact{{"Lists take filters such as greater-than(updated,TIME); which fields, depends on the endpoint.", "9 14"}},
	Quirks: []Fact{
		{"The public key of an account is for endpoints under /client.", "5 10"},
		{"A revision is stable for a year and deprecated for another one.", "6"},
		{"The media type of requests and answers is application/vnd.api+json.", "5"},
	},
	Unknown: []string{
		"the lifetime of access tokens, and whether refresh tokens rotate", "limits of the token endpoint", "codes of errors",
		"header of the request id", "idempotency", "retries of webhooks, and the answer that is wanted", "deleted records",
	},
}
