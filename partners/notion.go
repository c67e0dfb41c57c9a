package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Notion is a workspace of pages and databases.
var Notion = &Partner{
	Name: "notion", Title: "Notion", Tier: 2,
	Docs: "https://developers.notion.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1a": "https://developers.notion.com/reference/request-limits (older)",
		"1b": "https://developers.notion.com/reference/request-limits (older, with a limit of the workspace)",
		"1c": "https://developers.notion.com/reference/request-limits (the newest copy, of September 2026 or later)",
		"2":  "https://developers.notion.com/reference/status-codes",
		"3":  "https://github.com/makenotion/notion-sdk-js, src/api-endpoints/oauth.ts (the vendor's SDK)",
		"4":  "https://github.com/makenotion/notion-sdk-js, src/Client.ts, errors.ts, constants.ts, README.md (the vendor's SDK)",
		"5":  "https://github.com/makenotion/notion-sdk-js, src/webhooks.ts, src/api-endpoints/webhooks.ts (the vendor's SDK)",
		"6":  "https://github.com/makenotion/notion-sdk-js, src/api-endpoints/data-sources.ts, search.ts (the vendor's SDK)",
		"7":  "https://developers.notion.com/reference/create-a-token, and /refresh-a-token",
		"8":  "https://developers.notion.com/docs/authorization",
		"9":  "https://developers.notion.com/reference/webhooks-events-delivery, and /v2-webhooks",
		"10": "https://github.com/makenotion/notion-mcp-server, scripts/notion-openapi.json (the vendor's)",
		"11": "https://novumos.app/learn/notion-webhook-payloads (third party)",
		"12": "https://github.com/NangoHQ/nango, packages/providers/providers.yaml (third party)",
		"13": "https://developers.notion.com/guides/mcp/rate-limits",
		"14": "https://fazm.ai/t/notion-api-rate-limits-official (third party)",
	},
	Base: Base{
		URL: "https://api.notion.com/v1", Headers: []Header{{"Notion-Version", "2025-09-03"}}, From: "2 4",
	},
	Auth: []Auth{
		{Kind: "bearer", Text: "token of an internal connection", From: "8"},
		{Kind: "oauth", Text: "public connection, authorization code", From: "8"},
	},
	OAuth: OAuth{
		AuthURL: "https://api.notion.com/v1/oauth/authorize", JSON: true, TokenURL: "https://api.notion.com/v1/oauth/token",
		RevokeURL: "https://api.notion.com/v1/oauth/revoke", Style: oauth.StyleHeader, StyleKnown: true,
		Keep: []string{"bot_id", "workspace_id"}, From: "3 4 7 12",
		Notes: []Fact{
			{"The authorization address needs owner=user; no parameter for scopes was seen.", "3 12"},
			{"The answer has no expires_in; its refresh_token may be null.", "3 7"},
			{"A refresh gives a new access token and a new refresh token.", "7"},
			{"An address of redirection that was not sent and is the only one must be left out of the exchange.", "7"},
		},
	},
	Limits: []Limit{
		{
			N: 3, Per: time.Second, For: "connection", Where: "on average, by the older text; the newest has a plan's budget for 60 s",
			From: "1a 1b",
		},
	},
	Waits: []Fact{
		{"Retry-After has whole seconds, with 429 and with 529, which are to be treated alike.", "1a 1b 1c"},
		{"A connection's budget counts a window of 60 seconds and may be spent at once; its wait is 60 s at most.", "1c"},
		{"All connections of a workspace share a second limit, whose wait may be longer than a minute.", "1c"},
		{"additional_data.rate_limit_reason says which limit it was.", "1b 1c"},
		{"Calls by MCP count too.", "13"},
		{"Some endpoints have limits of their own.", "1c"},
	},
	Lists: []List{
		{
			Name: "list", How: belay.CursorPages{
				Items: "results", Cursor: "next_cursor", Param: "start_cursor", More: "has_more", Required: true,
			}, Most: 100, Text: "GET; parameter page_size", From: "6 10",
		},
		{
			Name: "query", How: belay.CursorPages{
				Items: "results", Cursor: "next_cursor", Param: "start_cursor", More: "has_more", Required: true, InBody: true,
			}, Most: 100, Text: "POST queries and search; a query of a data source gives 10,000 rows at most by default", From: "4 6 10",
		},
	},
	Errors: Errors{
		Code: "code", Message: "message", RequestID: "request_id", RequestHeader: "X-Notion-Request-Id",
		Classify: classifyNotion, From: "1a 1b 1c 2 4 10",
		Notes: []Fact{
			{"An expired token has no code of its own: it is a 401, unauthorized.", "2"},
			{"A 404 often means that the page is not shared with the connection.", "2"},
			{"A 409 is a conflict: read again, then try again.", "2 4"},
			{"The SDK repeats after 429 and 529 any call, after 500 and 503 only GET and DELETE.", "4"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{{"None was seen; the SDK does not repeat POST and PATCH after 5xx for that reason.", "4"}},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Notion() }, Retries: 7, From: "4 5",
		Notes: []Fact{
			{"The tries are said to spread over about 24 hours.", "11"},
			{"The key is the verification_token of the first POST, which a person pastes into the settings.", "5 11"},
			{"Answer 200. Events have ids and no content; attempt_number goes from 1 to 8.", "4 5 9"},
			{"Order is not kept, and busy kinds are gathered.", "11"},
		},
	},
	Changes: []Fact{
		{"Queries of data sources filter and sort by last_edited_time; search only sorts by it.", "6 10"},
		{"What is in the trash has in_trash, called archived before version 2026-03-11.", "4 6"},
	},
	Quirks: []Fact{
		{"Notion-Version is required; 2025-09-03 split databases into data sources, 2026-03-11 renamed fields.", "2 4 5"},
		{
			"A list may succeed and be incomplete: request_status.type is incomplete above 10,000 rows, and has_more false. " +
				"Split such a query by created_time.", "4 6",
		},
		{"A request has 1,000 blocks, 500 KB, 100 elements of an array and 2,000 characters of a text at most.", "14"},
	},
	Unknown: []string{
		"requests a minute by plan", "lifetime of tokens, and whether a used refresh token works on", "PKCE",
		"the vendor's own schedule of webhook retries", "limits of the token endpoint", "the precision of last_edited_time",
	},
}

// classifyNotion takes 529 for a limit, as Notion asks for: any call may be sent again after it.
func classifyNotion(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response != nil && a.Response.StatusCode == 529 {
		v.Class = belay.ClassRateLimited
	}
	return v
}
