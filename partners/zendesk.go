package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Zendesk is a help desk.
var Zendesk = &Partner{
	Name: "zendesk", Title: "Zendesk", Tier: 2,
	Docs: "https://developer.zendesk.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.zendesk.com/api-reference/introduction/rate-limits",
		"2":  "https://developer.zendesk.com/documentation/api-basics/best-practices/best-practices-for-avoiding-rate-limiting",
		"3":  "https://www.eesel.ai/ja/blog/zendesk-api-rate-limit-requests-per-minute (third party)",
		"4":  "https://support.zendesk.com/hc/en-us/articles/4408834530458 (older)",
		"5":  "https://support.zendesk.com, community posts 4600766234138 and 4887103531674 (real answers, older)",
		"6":  "https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens",
		"7":  "https://support.zendesk.com/hc/en-us/articles/9182123625370, and its newer Japanese text",
		"8":  "https://developer.zendesk.com/documentation/api-basics/authentication/refresh-token and pages beside it",
		"9":  "https://support.zendesk.com/hc/en-us/articles/4408845965210",
		"10": "https://github.com/airbytehq/airbyte/issues/7326 (third party)",
		"11": "https://developer.zendesk.com/documentation/authentication/creating-and-using-oauth-tokens-with-the-api",
		"12": "https://developer.zendesk.com/api-reference/introduction/requests",
		"13": "https://github.com/api-evangelist/zendesk, and https://www.eesel.ai/ja/blog/zendesk-api-error-codes (third parties)",
		"14": "https://developer.zendesk.com/api-reference/introduction/pagination and the guides on pagination",
		"15": "https://developer.zendesk.com/api-reference/ticketing/ticket-management/incremental_exports",
		"16": "https://developer.zendesk.com/documentation/webhooks/verifying, and the pages on webhooks beside it",
		"17": "https://www.eesel.ai/ja/blog/zendesk-api-idempotency-keys (third party), and " +
			"https://github.com/zendesk/zendesk_api_client_rb/issues/510, which names the vendor's section",
		"18": "copies of the vendor's pages, and https://github.com/hookdeck/webhook-skills (third parties)",
		"19": "https://developer.zendesk.com/documentation/api-basics/authentication/revoking-oauth-token",
		"20": "https://developer.zendesk.com/api-reference/ticketing/introduction/",
		"21": "https://alboz.eu/insights/master-webhooks-maximize-stability-performance (third party)",
	},
	Base: Base{URL: "https://{subdomain}.zendesk.com", From: "4 14"},
	Auth: []Auth{
		{
			Kind: "oauth", Text: "authorization code or client credentials; a client is of one instance, unless it is global",
			From: "6 8 9 11",
		},
		{
			Kind: "basic", Text: "e-mail address with /token behind it as the user's name, API token as the password",
			From: "19",
		},
	},
	OAuth: OAuth{
		AuthURL:  "https://{subdomain}.zendesk.com/oauth/authorizations/new",
		TokenURL: "https://{subdomain}.zendesk.com/oauth/tokens", PKCE: Yes, Access: 30 * time.Minute, Rotates: Yes, From: "6 7 9 10",
		Notes: []Fact{
			{"Public clients must use PKCE; others may use it, a secret or both.", "9"},
			{"30 minutes are the default of clients made after 2026-04-30.", "7"},
			{"The token request may ask for lifetimes, by expires_in and refresh_token_expires_in.", "7"},
			{"With a client from 2026-04-30 or before, tokens have no end and no refresh token without expires_in.", "7"},
			{"Each refresh deletes the tokens before it: store the new ones first.", "7"},
			{"With a refresh token that has ended the authorization begins anew.", "8"},
			{"The scopes that a client allows bound those that it may ask for.", "11"},
			{"DELETE /api/v2/oauth/tokens/{id} revokes a token, and answers 204.", "19"},
		},
	},
	Limits: []Limit{
		{N: 200, Per: time.Minute, For: "account", Plan: "Team", Where: "Support and Help Center, each", From: "3"},
		{
			N: 400, Per: time.Minute, For: "account", Plan: "Growth, Professional", Where: "Support and Help Center, each",
			From: "3",
		},
		{N: 700, Per: time.Minute, For: "account", Plan: "Enterprise", Where: "Support and Help Center, each", From: "3"},
		{
			N: 2500, Per: time.Minute, For: "account", Plan: "Enterprise Plus, High Volume add-on",
			Where: "Support and Help Center, each", From: "3",
		},
		{N: 10, Per: time.Minute, For: "account", Where: "incremental exports; with the add-on 30", From: "3 15"},
		{N: 50, Per: time.Minute, For: "route", Where: "tickets beyond page 500", From: "4"},
		{N: 100, Per: time.Minute, For: "route", Where: "users beyond page 10,000", From: "4"},
		{N: 30, Per: 10 * time.Minute, For: "user", Where: "updates of one ticket", From: "3"},
		{N: 60, Per: time.Minute, Of: "deliveries of webhooks", For: "account", Plan: "trial", From: "16"},
		{N: 10, Of: "webhooks", For: "account", Plan: "trial", From: "16"},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in seconds.", "1"},
		{"X-Rate-Limit and X-Rate-Limit-Remaining count a minute; ticketing lists add ratelimit-reset, in seconds.", "1 2"},
		{"Zendesk-RateLimit-* headers, such as that of tickets-index, have total, remaining and resets of one list.", "2"},
		{
			"Some limits of a record answer 429 with plain text. A Retry-After of a second was seen where it took much " +
				"longer.",
			"5",
		},
		{"Unusual bursts may be refused below the limits.", "1"},
	},
	Lists: []List{
		{
			Name: "tickets",
			How:  belay.CursorPages{Items: "tickets", Cursor: "meta.after_cursor", Param: "page[after]", More: "meta.has_more"},
			Most: 100, Text: "needs the parameter page[size], 100 by default for tickets and users, 30 for articles; without it the answer is that of the " +
				"list by offset", From: "14 18",
		},
		{
			Name: "offset", How: belay.NextURLPages{Items: "tickets", URL: "next_page"},
			Text: "parameters page and per_page; beyond 10,000 records it is a 400", From: "14 18",
		},
		{
			Name: "incremental", How: belay.NextURLPages{Items: "tickets", URL: "after_url", End: "end_of_stream"},
			Text: "export by cursor, with start_time; needs to be asked again later", From: "14 15",
		},
	},
	Errors: Errors{
		Code: "error", Message: "description", RequestHeader: "X-Request-Id", From: "5 13",
		Notes: []Fact{
			{"details has the complaints by field of a 422.", "13"},
			{"Errors may be plain text.", "5 12"},
			{"A 409 is a change at the same time, a 503 maintenance or a short outage.", "13"},
		},
	},
	Idempotency: Idempotency{
		From:  "17 20",
		Notes: []Fact{{"The header Idempotency-Key is for the creation of tickets; for other writes none is documented there.", "20"}, {"A key has up to 255 characters, best a UUID; the answer carries x-idempotency-lookup.", "17 20"}},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Zendesk() }, Answer: 10 * time.Second, Retries: 5, From: "16 18 21",
		Notes: []Fact{
			{"A 409 is tried again three times; 429 and 503 by their Retry-After. There is a circuit breaker.", "16 18"},
			{"Third parties have a time of about 12 seconds, and one of 10: the value is the shorter one.", "18 21"},
			{"The circuit breaker opens at 70 percent of errors, or 1,000, in five minutes, by a third party.", "21"},
			{"Webhooks of triggers have a method and a body of the user's choice, and may have none.", "16"},
			{"The secret is used as it is; that of tests before the creation is a public text.", "18"},
			{"x-zendesk-webhook-invocation-id is the id of a delivery.", "16"},
		},
	},
	Changes: []Fact{
		{"Incremental exports return what has changed or was created since a time, by cursor or by time.", "15"},
		{"They hold deleted tickets, too, unless those are left out.", "15"},
	},
	Quirks: []Fact{
		{"links.next may be set on the last page: meta.has_more counts.", "18"},
		{"Names in bodies are case-sensitive.", "12"},
		{"Tokens with an end have deadlines: 2026-01-31 for the marketplace, 2027-04-01 for all by the newest text.", "7"},
	},
	Unknown: []string{
		"how the client authenticates at the token endpoint", "lifetime and bounds of refresh tokens",
		"limits of the token endpoint",
		"how long an idempotency key lives, and the answer to another body", "the answer to an expired token",
		"retries of webhooks in the vendor's words",
	},
}
