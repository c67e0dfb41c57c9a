package partners

import (
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Linear is an issue tracker.
var Linear = &Partner{
	Name: "linear", Title: "Linear", Tier: 2,
	Docs: "https://linear.app/developers", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://linear.app/developers/rate-limiting",
		"2":  "https://linear.app/developers/oauth-2-0-authentication",
		"3":  "https://linear.app/developers/pagination",
		"4":  "https://github.com/linear/linear, packages/sdk/src/error.ts (the vendor's SDK)",
		"5":  "https://github.com/linear/linear, packages/sdk/src/webhooks/client.ts (the vendor's SDK)",
		"6":  "https://linear.app/developers/sdk-webhooks",
		"7":  "https://www.skills.sh/jeremylongshore/claude-code-plugins-plus-skills/linear-rate-limits (third party)",
		"8":  "https://smithery.ai/skills/jeremylongshore/linear-rate-limits (third party)",
		"10": "https://www.skills.sh/thelobbi/claude/linear-pagination-+-filtering (third party)",
		"11": "https://github.com/linear/linear/issues/251 (older)",
		"12": "https://github.com/chatwoot/chatwoot/pull/13721 (third party)",
		"13": "an undated copy of the vendor's page on limits, without an address (third party)",
		"14": "https://github.com/zbkilla/orion-redtail-integration, ai-docs/reference/INDEX_API_QUICK_REFERENCE.md (third party)",
		"15": "https://mcp.directory/skills/linear-common-errors (third party)",
		"17": "https://www.marketplace.mesrai.com/skills/s/markus41--claude--linear-webhooks (third party)",
		"20": "https://github.com/linear/linear, packages/sdk/src/client.ts (the vendor's SDK)",
		"21": "https://github.com/zbkilla/orion-redtail-integration, ai-docs (third party's copy of the vendor's pages, older)",
		"22": "https://github.com/linear/linear-zapier, src/index.ts (the vendor's own client)",
	},
	Base: Base{URL: "https://api.linear.app/graphql", From: "20 21"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code", From: "2"},
		{Kind: "header", Name: "Authorization", Text: "the API key alone, without Bearer", From: "8 14 20"},
	},
	OAuth: OAuth{
		AuthURL: "https://linear.app/oauth/authorize", TokenURL: "https://api.linear.app/oauth/token",
		RevokeURL: "https://api.linear.app/oauth/revoke", StyleKnown: true, PKCE: Yes, Separator: ",", From: "2 21", // StyleBody
		Notes: []Fact{
			{"The scope read is always included.", "2"},
			{"actor=app creates things as the app and not as the user; prompt=consent lets a user add a workspace.", "2 21"},
			{
				"Apps made since 2025-10-01 have refresh tokens, and all apps since 2026-04-01; before, access tokens lasted " +
					"ten years.",
				"2 11",
			},
			{"A connection from before may have to be migrated.", "12"},
			{"Apps from before 2023-12-01 get scope as an array.", "21"},
			{"Every admin of a workspace sees its apps: the vendor advises a workspace of its own.", "2"},
		},
	},
	Limits: []Limit{
		{N: 1500, Per: time.Hour, For: "user", Where: "API keys, by an older copy of the page", From: "13 21"},
		{N: 1200, Per: time.Hour, For: "app and user", Where: "OAuth apps, by an older copy of the page", From: "13 21"},
		{N: 5000, Per: time.Hour, For: "token", Where: "API keys, by a newer third party", From: "7"},
		{N: 250_000, Per: time.Hour, Of: "points", For: "user", Where: "API keys", From: "7 13 21"},
		{
			N: 200_000, Per: time.Hour, Of: "points", For: "app and user", Where: "OAuth apps, by an older copy of the page",
			From: "21",
		},
		{N: 10_000, Of: "points", Where: "one query", From: "7 21"},
		{N: 60, Per: time.Hour, For: "IP address", Where: "calls without credentials", From: "13 21"},
	},
	Waits: []Fact{
		{
			"A refused call has the code RATELIMITED in errors[].extensions, or the type ratelimited: look at the body at " +
				"any status.",
			"4 8 21",
		},
		{"The SDK reads Retry-After, in seconds.", "4"},
		{"The buckets of requests and of points fill evenly, by limit and hour.", "1"},
		{
			"X-RateLimit-Requests-* and X-RateLimit-Complexity-* come with each answer; their resets are milliseconds " +
				"since 1970.",
			"4 21",
		},
		{"Some queries have lower limits of their own, told by X-RateLimit-Endpoint-*.", "21"},
		{"A field costs 0.1 points, an object 1; a connection multiplies by first, or by 50.", "7 21"},
		{"The figures of limits differ by source and may be raised: go by the headers.", "1 7 13"},
	},
	Lists: []List{{
		Name: "issues", How: belay.CursorPages{
			Items: "data.issues.nodes", Cursor: "data.issues.pageInfo.endCursor", Param: "variables.after", InBody: true,
			More: "data.issues.pageInfo.hasNextPage",
		}, Most: 250,
		Text: "a query with a variable $after and pageInfo{hasNextPage endCursor}; other lists have another name than " +
			"issues",
		From: "3 10",
	}},
	Errors: Errors{
		Code: "errors[0].extensions.code", Message: "errors[0].message", Classify: classifyLinear, From: "4 8 21 22",
		Notes: []Fact{
			{"extensions has type, userError and userPresentableMessage.", "4"},
			{"The types are sentences, such as invalid input, forbidden, lock timeout and usage limit exceeded.", "4"},
			{"A 200 may hold errors beside data; without data the classifier makes an error of it.", "15"},
			{"A bad token may be a 200 with the type authentication error.", "22"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Linear() }, Answer: 5 * time.Second,
		Retries: 3, Over: 7*time.Hour + time.Minute, From: "5 6 21",
		Notes: []Fact{
			{
				"A delivery is repeated after a minute, an hour and six hours, unless it was answered with 200; then it may " +
					"be disabled.",
				"21",
			},
			{"The SDK refuses a webhookTimestamp more than a minute away, either way, and lets a missing one pass.", "5 6"},
			{"Linear-Delivery is the id of a delivery, Linear-Event its kind and Linear-Timestamp its time in milliseconds.", "21"},
			{"Order is not promised: fetch the record again.", "17"},
			{"Only admins, and apps with the scope admin, may create or read webhooks.", "21"},
		},
	},
	Changes: []Fact{
		{"orderBy: updatedAt has the latest change first; filters exist.", "1 3"},
		{"The vendor prefers webhooks to polling.", "1"},
		{"Archived records are hidden unless includeArchived: true is asked for.", "21"},
	},
	Quirks: []Fact{{"The API has no versions.", "21"}},
	Unknown: []string{
		"the status of a refused call (third parties have seen 400)",
		"lifetimes of tokens, and whether refresh tokens rotate",
		"present figures of limits", "deleted records", "header of the request id", "idempotency",
	},
}

// linearStatus has the statuses that types of errors stand for.
var linearStatus = map[string]int{
	"authentication error": http.StatusUnauthorized, "forbidden": http.StatusForbidden,
	"internal error": http.StatusInternalServerError, "network error": http.StatusInternalServerError,
	"lock timeout": http.StatusInternalServerError,
}

// classifyLinear takes the code or the type of a GraphQL error for the status that it stands for, because that of the
// answer may be 200.
func classifyLinear(a *belay.Attempt) belay.Verdict {
	errs := graphQLErrors(a)
	if len(errs) == 0 {
		return belay.Classify(a)
	}
	status := linearStatus[errs[0].Extensions.Type]
	if status == 0 {
		status = max(a.Response.StatusCode, http.StatusBadRequest)
	}
	for _, e := range errs {
		if e.Extensions.Code == "RATELIMITED" || e.Extensions.Type == "ratelimited" {
			status = http.StatusTooManyRequests
		}
	}
	v := asStatus(a, status)
	if v.Code == "" {
		v.Code = errs[0].Extensions.Type
	}
	return v
}
