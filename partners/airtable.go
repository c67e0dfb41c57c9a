package partners

import (
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Airtable is a database in tables.
var Airtable = &Partner{
	Name: "airtable", Title: "Airtable", Tier: 2,
	Docs: "https://airtable.com/developers/web/api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://airtable.com/developers/web/api/oauth-reference",
		"2":  "https://github.com/Airtable/oauth-example (the vendor's sample)",
		"3":  "https://airtable.com/developers/web/api/errors",
		"4":  "https://support.airtable.com/docs/managing-api-call-limits-in-airtable",
		"5":  "https://airtable.com/developers/web/api/webhooks-overview",
		"6":  "https://airtable.com/developers/web/api/list-webhook-payloads",
		"7":  "https://airtable.com/developers/web/api/model/webhooks-notification",
		"8":  "https://airtable.com/developers/web/api/list-records",
		"9":  "https://support.airtable.com/docs/api-record-limits",
		"10": "https://github.com/Airtable/airtable.js (the vendor's SDK)",
		"11": "https://github.com/gtalarico/pyairtable (third party)",
		"12": "https://support.airtable.com/docs/airtable-api-common-troubleshooting",
		"13": "https://community.airtable.com, thread 59344, which quotes the documentation",
		"14": "viewsandbases.com and others on Airtable's limits (third party)",
		"15": "tests and notes in public repositories that name the types of errors (third party)",
		"16": "cdata.com, help of its driver, and a comment in public code (third party)",
		"17": "https://community.airtable.com/t5/development-apis/not-able-to-match-x-airtable-content-mac-header-from-webhook" +
			"/m-p/179349 (forum)",
	},
	Base: Base{URL: "https://api.airtable.com/v0", From: "6 8"},
	Auth: []Auth{
		{Kind: "bearer", Text: "personal access token; API keys ended in February 2024", From: "5 8 14"},
		{Kind: "oauth", Text: "authorization code", From: "1 5 8"},
	},
	OAuth: OAuth{
		AuthURL: "https://airtable.com/oauth2/v1/authorize", TokenURL: "https://airtable.com/oauth2/v1/token",
		Style: oauth.StyleHeader, StyleKnown: true, PKCE: Yes, Rotates: Yes,
		Keep: []string{"scope", "refresh_expires_in"}, From: "1 2 16",
		Notes: []Fact{
			{"A refresh token works once; a 400 or 401 may mean that it was used or has expired.", "2"},
			{"An app without a secret sends client_id in the body and no header.", "2"},
			{"A wrong client_id or redirect_uri never leads back to the app.", "2"},
			{"At least one scope must be asked for.", "1"},
			{"A comment in public code gives the refresh token 60 days; go by refresh_expires_in, in seconds.", "16"},
		},
	},
	Limits: []Limit{
		{N: 5, Per: time.Second, For: "base", Default: true, From: "4"},
		{N: 50, Per: time.Second, For: "user", Where: "all personal access tokens of a user or service account", From: "4"},
		{
			N: 1000, Per: 30 * 24 * time.Hour, For: "workspace", Plan: "Free", Where: "a month; a third party's figure",
			From: "4 14",
		},
		{
			N: 100_000, Per: 30 * 24 * time.Hour, For: "workspace", Plan: "Team", Where: "a month; a third party's figure",
			From: "4 14",
		},
	},
	Waits: []Fact{
		{"After a 429 nothing succeeds for 30 seconds; no header with that wait was seen.", "3 4 5"},
		{"Calls about webhooks count towards the same five a second.", "5"},
		{"A 429 of the type PUBLIC_API_BILLING_LIMIT_EXCEEDED is the month's quota: to repeat it is of no use.", "15"},
	},
	Lists: []List{
		{
			Name: "records", How: belay.CursorPages{Items: "records", Cursor: "offset", Param: "offset"}, Most: 100,
			Text: "parameter pageSize", From: "8 9",
		},
		{
			Name: "listRecords", How: belay.CursorPages{Items: "records", Cursor: "offset", Param: "offset", InBody: true},
			Most: 100,
			Text: "POST …/listRecords, for queries whose address would be longer than 16,000 characters", From: "8 9",
		},
		{
			Name: "payloads",
			How:  belay.CursorPages{Items: "payloads", Cursor: "cursor", Param: "cursor", More: "mightHaveMore"}, Most: 50,
			Text: "of a webhook; begins at the cursor 1, and the last cursor is the beginning of the next read", From: "6 11",
		},
	},
	Errors: Errors{
		Code: "error.type", Message: "error.message", Classify: classifyAirtable, From: "3 4 5 10",
		Notes: []Fact{
			{"Some errors are a mere text, which is then the code: {\"error\":\"NOT_FOUND\"}.", "10 15"},
			{"A 403 may also mean that the base does not exist.", "15"},
			{"A 422 of LIST_RECORDS_ITERATOR_NOT_AVAILABLE means that the list must be read from its beginning.", "13"},
			{"The payloads of a webhook may be a 200 that holds error true and a code.", "11"},
			{"A call without a token and one with a wrong token are told apart by the type of the 401.", "12"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Airtable() }, From: "5 11 17",
		Notes: []Fact{
			{
				"X-Airtable-Content-MAC is \"hmac-sha256=\" and, in hex, the HMAC of the body; the key is the secret after " +
					"decoding its Base64.",
				"11",
			},
			{"A note in public code says that the MAC is in Base64 instead; a forum shows one of a delivery, in hex.", "15 17"},
			{"A delivery holds no data: read the payloads from the last cursor on. Answer 200 or 204 with an empty body.", "5 6"},
			{
				"The secret is told once. A webhook lives for 7 days; a refresh, or reading its payloads while it is active, " +
					"prolongs it.",
				"6 11",
			},
			{"Webhooks need the scope webhook:manage, and one to read records or bases; an OAuth integration sees its own only.", "5 11"},
			{"A notification that failed says whether it will be sent again.", "7"},
			{"A webhook may be switched off once its specification has become invalid.", "14"},
		},
	},
	Changes: []Fact{
		{"The payloads of a webhook name the records that were created, changed and destroyed.", "11"},
		{"Payloads are deleted after a week, read or not.", "6"},
	},
	Quirks: []Fact{
		{"A record leaves out its empty fields.", "8"},
		{"A name of a table that has changed breaks calls; ids of tables stay.", "8"},
		{"A write takes ten records at most, by clients of the community.", "10 11"},
	},
	Unknown: []string{
		"the lifetime of access tokens", "revoking tokens", "Retry-After on a 429", "request ids", "idempotency keys",
		"how often notifications are repeated",
		"the vendor's own figures of monthly quotas", "limits of the token endpoint", "updates that create what is missing",
		"a filter by time of change",
	},
}

// classifyAirtable adds the wait that Airtable's documentation asks for after a 429; no header with it was seen. The end of
// the month's quota is no reason to call again.
func classifyAirtable(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil || a.Response.StatusCode != http.StatusTooManyRequests {
		return v
	}
	if v.Code == "PUBLIC_API_BILLING_LIMIT_EXCEEDED" {
		return asStatus(a, http.StatusPaymentRequired)
	}
	if v.RetryAfter == 0 {
		v.RetryAfter = 30 * time.Second
	}
	return v
}
