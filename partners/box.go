package partners

import (
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Box is a store of files.
var Box = &Partner{
	Name: "box", Title: "Box", Tier: 1,
	Docs: "https://developer.box.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/box/developer.box.com, content/guides/api-calls/permissions-and-errors/rate-limits.md",
		"2":  "https://github.com/box/developer.box.com, content/guides/api-calls/permissions-and-errors/common-errors.md",
		"3":  "https://github.com/box/developer.box.com, content/guides/api-calls/permissions-and-errors/expiration.md",
		"4":  "https://github.com/box/developer.box.com, content/guides/api-calls/permissions-and-errors/versioning-errors.md",
		"5":  "https://github.com/box/developer.box.com, content/guides/authentication/oauth2/without-sdk.md",
		"6":  "https://github.com/box/developer.box.com, content/guides/authentication/tokens/{refresh,revoke,access-tokens}.md",
		"7":  "https://github.com/box/developer.box.com, content/guides/api-calls/pagination/{marker,offset}-based.md",
		"8":  "https://github.com/box/developer.box.com, content/guides/events/user-events/{for-user,polling}.md",
		"9":  "https://github.com/box/developer.box.com, content/guides/events/enterprise-events/for-enterprise.md",
		"10": "https://github.com/box/developer.box.com, content/guides/webhooks/v2/index.md",
		"11": "https://github.com/box/developer.box.com, content/guides/webhooks/v2/signatures-v2.md",
		"12": "https://github.com/box/developer.box.com, content/guides/webhooks/v2/limitations-v2.md",
		"13": "https://github.com/box/box-openapi, openapi/openapi.json",
		"14": "https://developer.box.com/guides/getting-started/agent-playbook",
	},
	Base: Base{URL: "https://api.box.com/2.0", From: "13"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code; for servers JWT and client credentials", From: "6 13"},
		{Kind: "bearer", Text: "token of an app, or of a developer for an hour", From: "6 12"},
	},
	OAuth: OAuth{
		AuthURL: "https://account.box.com/api/oauth2/authorize", TokenURL: "https://api.box.com/oauth2/token",
		RevokeURL: "https://api.box.com/oauth2/revoke", StyleKnown: true, // StyleBody
		Access: time.Hour, Refresh: 60 * 24 * time.Hour, Rotates: Yes, Keep: []string{"restricted_to", "issued_token_type"},
		From: "3 5 6 13",
		Notes: []Fact{
			{"A refresh token works once; if the answer of a refresh is lost, the user has to connect again.", "3 6"},
			{"A code lives for 30 seconds.", "3"},
			{"JWT and client credentials give no refresh token: ask again.", "6"},
			{"Errors have error and error_description. A 400 of invalid_grant may also be a clock that is wrong.", "2 13"},
			{"Box Verified Enterprise has ent.box.com for the consent.", "5"},
		},
	},
	Limits: []Limit{
		{N: 1000, Per: time.Minute, For: "user", Default: true, From: "1"},
		{N: 240, Per: time.Minute, For: "user", Where: "uploads", From: "1"},
		{N: 6, Per: time.Second, For: "user", Where: "search", From: "1"},
		{N: 60, Per: time.Minute, For: "user", Where: "search", From: "1"},
		{N: 12, Per: time.Second, For: "account", Where: "search", From: "1"},
		{N: 100, Per: time.Minute, For: "user", Where: "making and resending sign requests", From: "1"},
		{N: 1000, Per: time.Minute, For: "user", Where: "reading sign requests", From: "1"},
	},
	Waits: []Fact{
		{"A 429 has the code rate_limit_exceeded and Retry-After in whole seconds.", "1"},
		{"A 503 may have Retry-After, and a write may have been done in spite of it.", "2"},
		{"A plan has a number of calls each month, and limits move under load.", "1"},
	},
	Lists: []List{
		{
			Name: "marker", How: belay.CursorPages{Items: "entries", Cursor: "next_marker", Param: "marker"}, Most: 1000,
			Text: "parameter limit, 1000 at most for the items of folders, users and webhooks; usemarker=true where there are " +
				"offsets too", From: "7 13",
		},
	},
	Errors: Errors{
		Code: "code", Message: "message", RequestID: "request_id", Classify: classifyBox, From: "2 13",
		Notes: []Fact{
			{
				"A 409 of name_temporarily_reserved or operation_blocked_temporary passes; others, such as item_name_in_use, " +
					"are final.",
				"2",
			},
			{
				"A 401 has the code unauthorized, and by a newer text invalid_token for one that is wrong or has ended. Lists of " +
					"a folder may answer 403 without a token or with an unknown one.",
				"2 13",
			},
			{"context_info holds details, of another form for each endpoint.", "13"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{
			"The vendor's definition has no key. Eight calls take If-Match with an etag and answer 412; a name that is " +
				"taken is a 409.",
			"2 13",
		},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Box() },
		Answer: 30 * time.Second, Retries: 12, Over: 2 * time.Hour, From: "10 11",
		Notes: []Fact{
			{
				"BOX-SIGNATURE-PRIMARY and -SECONDARY are the HMAC-SHA256, in Base64, of the body and then " +
					"BOX-DELIVERY-TIMESTAMP; either may fit.",
				"10 11",
			},
			{"The time is RFC 3339; refuse one that is older than ten minutes.", "10 11"},
			{"The id in the body stays the same over the tries, BOX-DELIVERY-ID does not.", "10"},
			{"The trigger NO_ACTIVE_SESSION means that the tokens of the creator have ended.", "12"},
			{
				"A webhook is deleted with its app or tokens, and after 30 days without success, if 14 days lie between the " +
					"last success and the last trigger. WEBHOOK.DELETED, with the reason auto_cleanup, comes before.",
				"12",
			},
			{"A webhook is for one file or folder, not for the root; 1000 for each app and user.", "12"},
		},
	},
	Changes: []Fact{
		{"GET /events from stream_position=now on; go on with next_stream_position. A short page is not the end. A page has 100 events, 500 at most.", "8 9 13"},
		{"A user's events may come twice and in another order, and are kept for two weeks or longer.", "8"},
		{"admin_logs goes back a year, in order and late; admin_logs_streaming two weeks, soon and with doubles.", "9"},
		{"For user events, a long poll is at the address that OPTIONS /events gives.", "8"},
	},
	Quirks: []Fact{
		{
			"Lists by offset: add the limit, not the number of entries, up to offset 9999; total_count may be more than " +
				"there are.",
			"7",
		},
		{"A search has 30 results on a page, 200 at most.", "13"},
		{"Endpoints with versions need the header box-version.", "4"},
		{"Deprecated endpoints send Deprecation, with a date, and Box-API-Deprecated-Reason.", "4"},
		{"A 202 may be a file that is not ready, with Retry-After, or a thumbnail that is not.", "13"},
		{"Uploads have a host of their own.", "14"},
		{"With fields, an item has those and the ones of its mini form; the other standard fields are left out.", "13"},
		{"Folder 0 is the root. A service account begins with nothing.", "14"},
		{"The header as-user acts for another user.", "5 8"},
	},
	Unknown: []string{
		"PKCE", "how an ended token is told from a wrong one", "a header with the request id",
		"the end of a stream of events",
		"figures of the plans", "limits of the token endpoint", "the address of uploads",
	},
}

// classifyBox tells the conflicts that pass from those that are final.
func classifyBox(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response != nil && a.Response.StatusCode == http.StatusConflict &&
		(v.Code == "name_temporarily_reserved" || v.Code == "operation_blocked_temporary") {
		v.Class, v.Scope = belay.ClassTransient, belay.ScopeCall
	}
	return v
}
