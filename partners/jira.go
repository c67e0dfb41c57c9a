package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Jira is an issue tracker.
var Jira = &Partner{
	Name: "jira", Title: "Jira Cloud", Tier: 3,
	Docs: "https://developer.atlassian.com/cloud/jira/platform", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.atlassian.com/cloud/jira/platform/rate-limiting",
		"2":  "https://developer.atlassian.com/cloud/jira/platform/build-an-app-that-respects-rate-limits",
		"3":  "https://jira.atlassian.com/browse/JRACLOUD-69262 (older)",
		"4":  "https://github.com/MrRefactoring/jira.js, guides/oauth2-authentication.md (third party)",
		"5":  "https://github.com/amp-labs/connectors, providers/atlassian.go (third party)",
		"6":  "https://docs.adaptavist.com/sr4jc/latest/release-notes/breaking-changes/atlassian-rest-api-search-endpoints-deprecation (third party)",
		"7":  "https://github.com/rmferguson/shoal, docs/jira-api.md (third party)",
		"8":  "https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-webhooks",
		"9":  "https://mrrefactoring.github.io/jira.js/api/interfaces/webhooks.WebhookHeaders.html (third party)",
		"10": "https://nango.dev/docs/api-integrations/jira/webhooks (third party)",
		"11": "documentation of clients that third parties have generated from the vendor's specification",
		"12": "https://docs.atlassian.com/jira/REST/cloud",
		"13": "https://community.atlassian.com/forums/Jira-articles/Avoiding-Pitfalls-A-Guide-to-Smooth-Migration-to-Enhanced-JQL/ba-p/2985433",
		"14": "an excerpt named Jira Rate Limiting Reference, without an address (third party)",
		"15": "https://developer.atlassian.com/cloud/jira/software/oauth-2-3lo-apps",
		"16": "https://www.skills.sh/hookdeck/webhook-skills/jira-webhooks (third party)",
		"17": "https://confluence.atlassian.com/jirakb/changing-maxresults-parameter-for-jira-rest-api-779160706.html",
		"18": "https://neuroanswers.net/q/jira-api-v3-pagination-fix (third party)",
		"19": "https://github.com/atlassian/atlascode, src/atlclients (the vendor's own client)",
		"20": "https://docs.rs/crate/jirav2, src/models/error_collection.rs (third party, generated from the vendor's specification)",
		"21": "https://mrrefactoring.github.io/jira.js/api/interfaces/webhooks.WebhookPayloadBase (third party)",
	},
	Base: Base{URL: "https://api.atlassian.com/ex/jira/{cloudId}/rest/api/3", From: "4 5"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code (3LO); apps for several customers must use it", From: "4 15"},
		{Kind: "basic", Text: "e-mail address and API token, at https://SITE.atlassian.net/rest/api/3", From: "4 5 12"},
	},
	OAuth: OAuth{
		AuthURL: "https://auth.atlassian.com/authorize", JSON: true, TokenURL: "https://auth.atlassian.com/oauth/token",
		StyleKnown: true, // StyleBody
		Refresh:    90 * 24 * time.Hour, Rotates: Yes, From: "4 5 19",
		Notes: []Fact{
			{"The consent address takes audience=api.atlassian.com and prompt=consent; scopes are separated by spaces.", "19"},
			{
				"The vendor's own client sends token requests as JSON with the id in the body: with PKCE and no secret, or, " +
					"in a flow not yet in use, with the secret and no PKCE.",
				"19",
			},
			{"A refresh token comes only with the scope offline_access.", "4"},
			{"Each refresh ends the old refresh token, with ten minutes' leeway; 90 days of disuse end it too.", "4"},
			{"The cloudId is the id in the answer of https://api.atlassian.com/oauth/token/accessible-resources.", "4 19"},
			{"A refresh token that has ended answers invalid_grant; the vendor's own client takes a 401 as its end.", "4 19"},
		},
	},
	Limits: []Limit{
		{
			N: 65_000, Per: time.Hour, Of: "points", For: "app",
			Where: "first tier, all customers together, not with API tokens; by a third party", From: "1 14",
		},
		{
			N: 20, Per: 2 * time.Second, For: "route", Where: "writes of one issue, bulk calls excepted, by a third party",
			From: "14",
		},
		{
			N: 100, Per: 30 * time.Second, For: "route", Where: "writes of one issue, bulk calls excepted, by a third party",
			From: "14",
		},
	},
	Waits: []Fact{
		{
			"Three limits stand side by side: a burst per customer, endpoint and method, writes of one issue, and a quota " +
				"of points.",
			"1 2",
		},
		{"RateLimit-Reason says which one it was, such as jira-burst-based or jira-per-issue-on-write.", "2"},
		{"A 429 may have Retry-After in seconds; to ask earlier does not shorten it.", "3"},
		{"X-RateLimit-Reset is an ISO 8601 time to the minute; X-RateLimit-NearLimit is true below 20 percent.", "3"},
		{"A 503 and other 5xx may have Retry-After too.", "3"},
		{"Calls with an API token have the burst limits only.", "1"},
	},
	Lists: []List{
		{
			Name: "search",
			How:  belay.CursorPages{Items: "issues", Cursor: "nextPageToken", Param: "nextPageToken", End: "isLast"},
			Text: "GET /search/jql; without fields only ids come back; one page after the other; at most 20 comments and 20 changes of an " +
				"issue come with it", From: "6 7 13 18",
		},
		{
			Name: "values",
			How:  belay.OffsetPages{Items: "values", Limit: 50, OffsetParam: "startAt", LimitParam: "maxResults", Total: "total"},
			Text: "seen at webhooks; the server may lower maxResults", From: "8 17",
		},
	},
	Errors: Errors{
		Message: "errorMessages", From: "11 20",
		Notes: []Fact{
			{"errorMessages is an array of sentences, and errors an object of complaints by field.", "20"},
			{"A search without a bounding clause is a 400, the old search a 410.", "6 7"},
			{"An OAuth token at the site's own address is a 401.", "4"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{{"A client that repeated the creation of issues made doubles.", "7"}}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Jira() }, From: "9 16 21",
		Notes: []Fact{
			{
				"The signature, X-Hub-Signature with sha256= and a hex HMAC of the body, is that of webhooks that an administrator makes " +
					"with a secret. Those of OAuth apps carry a JWT of the app as a bearer token, by one third party; another has the " +
					"signature there too.",
				"10 16",
			},
			{"A body has webhookEvent, the kind, and timestamp in milliseconds.", "21"},
			{"X-Atlassian-Webhook-Identifier stays the same over retries, and X-Atlassian-Webhook-Retry counts them.", "9"},
			{"Dynamic webhooks end after 30 days unless they are refreshed; those that failed at last can be listed.", "8 11"},
			{"X-Atlassian-Webhook-Flow is Primary, within 30 seconds, or Secondary, within 15 minutes.", "9"},
		},
	},
	Changes: []Fact{
		{"Search lags behind; reconcileIssues asks for named issues as they are.", "6"},
		{"The deletion of an issue is a primary event, with secondary ones for its comments, attachments and links.", "9"},
	},
	Quirks: []Fact{
		{"Version 3 has rich texts as a document in JSON, version 2 as text.", "12"},
		{"Times have an offset without a colon.", "8"},
		{"A token may reach several sites: let the user choose.", "4"},
	},
	Unknown: []string{
		"points of a call, and the table of tiers", "the lifetime of access tokens in the vendor's words", "how to revoke",
		"whether PKCE and the client's secret go together",
		"header of the request id",
		"retries of webhooks, and the answer that is wanted", "lists of deleted issues",
	},
}
