package partners

import (
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Attio is a CRM.
var Attio = &Partner{
	Name: "attio", Title: "Attio", Tier: 1,
	Docs: "https://docs.attio.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://docs.attio.com/rest-api/guides/rate-limiting",
		"2":  "https://docs.attio.com/rest-api/guides/authentication",
		"3":  "https://docs.attio.com/docs/oauth/token",
		"4":  "https://docs.attio.com/rest-api/guides/configuring-oauth",
		"5":  "https://docs.attio.com/rest-api/guides/webhooks",
		"6":  "https://docs.attio.com/rest-api/guides/pagination",
		"7":  "https://attio.mintlify.app/rest-api/endpoint-reference/records",
		"9":  "https://docs.attio.com, guides, and https://github.com/hbmartin/attio-ts-sdk, generated from the vendor's OpenAPI (third party)",
		"10": "https://docs.unified.to/skills/attio-oauth-app/SKILL.md (third party)",
		"11": "https://trigger.dev/docs/webhooks/providers/attio (third party)",
		"12": "https://github.com/api-evangelist/attio (third party)",
		"13": "https://skills.sh, attio-install-auth and attio-common-errors (third party)",
		"15": "https://docs.attio.com/docs/oauth/authorize",
		"16": "https://docs.attio.com/api-reference/records/assert-a-record",
		"17": "https://docs.attio.com/rest-api/endpoint-reference/activity-records/upsert-an-activity-record",
	},
	Base: Base{URL: "https://api.attio.com", From: "13 16"},
	Auth: []Auth{
		{Kind: "bearer", Text: "API key of a workspace", From: "2"},
		{Kind: "oauth", Text: "authorization code", From: "2"},
		{Kind: "basic", Text: "the token as the user's name, with an empty password", From: "2"},
	},
	OAuth: OAuth{
		AuthURL: "https://app.attio.com/authorize", TokenURL: "https://app.attio.com/oauth/token",
		RevokeURL: "https://app.attio.com/oauth/revoke", StyleKnown: true, // StyleBody
		Access: -1, From: "2 3 9 10 15",
		Notes: []Fact{
			{"The answer holds access_token and token_type only: nothing expires, and nothing is refreshed.", "3 10"},
			{"Scopes are chosen in the app's settings, not in the request.", "10 15"},
			{"A token is for one workspace. An app that is not published can be installed in 25 workspaces.", "3 4"},
		},
	},
	Limits: []Limit{
		{N: 100, Per: time.Second, For: "token", Where: "reads", When: attioReads, Default: true, From: "1 12"},
		{N: 25, Per: time.Second, For: "token", Where: "writes", When: attioWrites, Default: true, From: "1 12"},
	},
	Waits: []Fact{
		{"A 429 always has Retry-After, as a date, mostly of the next second. The call was not processed.", "1"},
		{"That queries by POST count as reads, and that the limits are for a token, is a third party's word.", "12"},
		{
			"Lists of records and entries have a score over 10 seconds, for all apps together; a query that is too complex " +
				"by itself has to be simplified.",
			"9",
		},
		{"Limits may be lowered for a time, or for single endpoints.", "1"},
	},
	Lists: []List{
		{
			Name: "records", How: belay.OffsetPages{Items: "data", Limit: 100, InBody: true},
			Text: "POST …/query, of records and of entries; the default is 500", From: "6 9",
		},
		{
			Name: "list", How: belay.OffsetPages{Items: "data", Limit: 50},
			Text: "GET; 50 is the most for notes, 100 for webhooks", From: "6 9",
		},
		{
			Name: "cursor", How: belay.CursorPages{Items: "data", Cursor: "pagination.next_cursor", Param: "cursor"},
			Text: "some endpoints; parameter limit: meetings 50, 200 at most; views 500, 1,000 at most", From: "9",
		},
	},
	Errors: Errors{
		Code: "code", Message: "message", Classify: classifyAttio, From: "7 17",
		Notes: []Fact{
			{"type is the class: invalid_request_error, rate_limit_error, auth_error.", "1 7 9"},
			{"A 409 of concurrent_write_conflict, seen at activity records (beta), may be sent again.", "17"},
			{
				"As no end of tokens is told, a 401 should be one that was revoked or is wrong (our reading): ask for consent " +
					"again.",
				"3 10",
			},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"No key is documented. A PUT with matching_attribute creates a record or updates the one that it finds.", "9 16 17"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Attio() }, Retries: 10, Over: 72 * time.Hour, From: "5 9",
		Notes: []Fact{
			{"Only 200 and 202 are a success. After the last try the webhook is marked as degraded, and a mail is sent.", "9"},
			{"The header Idempotency-Key stays the same over the tries.", "9 11"},
			{"25 deliveries a second for each address.", "12"},
			{"The secret is told when the webhook is made.", "11"},
		},
	},
	Changes: []Fact{
		{"Records have created_at; their changes and deletions come as webhooks.", "7 11"},
	},
	Quirks: []Fact{
		{"Times have nine digits after the second.", "7"},
		{"A token without the scopes is accepted, and fails at reads.", "10"},
		{"The id of a record is an object, of workspace_id, object_id and record_id.", "7"},
	},
	Unknown: []string{
		"PKCE", "for whom the limits are, except by a third party", "limits of the token endpoint", "request ids",
		"records changed since a time",
		"lists of deleted records", "how long a webhook's answer may take", "what the vendor says of 5xx",
	},
}

// classifyAttio tells the conflict that Attio asks to try again from others.
func classifyAttio(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	switch {
	case a.Response == nil:
	case a.Response.StatusCode == http.StatusConflict && v.Code == "concurrent_write_conflict":
		v.Class, v.Scope = belay.ClassTransient, belay.ScopeCall
	case a.Response.StatusCode == http.StatusTooManyRequests && a.Request != nil && attioQuery(a.Request):
		v.Scope = belay.ScopeRoute // the score of queries may be used up, and not the calls of a second
	}
	return v
}

// attioQuery reports whether a request reads although it is a POST.
func attioQuery(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/query")
}

func attioReads(req *http.Request) bool { return belay.Reads(req) || attioQuery(req) }

func attioWrites(req *http.Request) bool { return !attioReads(req) }
