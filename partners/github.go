package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// GitHub is a host of repositories.
var GitHub = &Partner{
	Name: "github", Title: "GitHub", Tier: 1,
	Docs: "https://docs.github.com/rest", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/github/docs, content/rest/using-the-rest-api/rate-limits-for-the-rest-api.md",
		"2":  "https://github.com/github/docs, data/reusables/rest-api/secondary-rate-limit-rest-graphql.md",
		"3":  "https://github.com/github/docs, content/rest/using-the-rest-api/troubleshooting-the-rest-api.md",
		"4":  "https://github.com/github/docs, content/rest/using-the-rest-api/using-pagination-in-the-rest-api.md",
		"5":  "https://github.com/github/docs, content/apps/…/refreshing-user-access-tokens.md",
		"6":  "https://github.com/github/docs, content/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps.md (older)",
		"7":  "https://github.blog/changelog/2025-07-14-pkce-support-for-oauth-and-github-app-authentication",
		"8":  "https://github.com/github/docs, content/rest/about-the-rest-api/api-versions.md",
		"9":  "https://github.com/github/docs, content/webhooks/using-webhooks/validating-webhook-deliveries.md",
		"10": "https://github.com/github/docs, content/webhooks/using-webhooks/best-practices-for-using-webhooks.md",
		"11": "https://github.com/github/docs, content/webhooks/using-webhooks/handling-failed-webhook-deliveries.md",
		"12": "https://dev.to/shannonllc/github-webhooks-signatures-10-second-timeout-redelivery-and-ip-ranges-3e24 (third party)",
		"13": "https://github.com/github/docs, data/variables/product.yml",
		"14": "https://github.com/github/docs, data/reusables/apps/user-access-token-response-parameters.md",
		"15": "https://github.com/github/docs, content/apps/…/authenticating-as-a-github-app-installation.md (older)",
		"16": "https://github.com/octokit/request-error.js, README.md (the vendor's SDK)",
		"17": "https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/rate-limits-for-oauth-apps",
	},
	Base: Base{
		URL: "https://api.github.com", From: "4 8 13",
		Headers: []Header{{"Accept", "application/vnd.github+json"}, {"X-GitHub-Api-Version", "2022-11-28"}},
	},
	Auth: []Auth{
		{Kind: "bearer", Text: "personal token, or token of an app's installation, which lasts for an hour", From: "1 6 15"},
		{
			Kind: "oauth", Text: "authorization code, for an OAuth app or a GitHub App; devices have a flow of their own",
			From: "1 5 6",
		},
		{Kind: "basic", Text: "an app's id and secret, for public data only", From: "1"},
	},
	OAuth: OAuth{
		AuthURL: "https://github.com/login/oauth/authorize", TokenURL: "https://github.com/login/oauth/access_token",
		PKCE: Yes, Access: 8 * time.Hour, Refresh: 15_897_600 * time.Second, Rotates: Yes,
		Keep: []string{"scope", "token_type", "refresh_token_expires_in"}, From: "5 6 7 13 14",
		Limits: []Limit{
			{N: 2000, Per: time.Hour, For: "app", Where: "OAuth apps", From: "17"},
			{N: 50, Per: time.Hour, Of: "codes that users enter", For: "app", Where: "the flow of devices", From: "6"},
		},
		Notes: []Fact{
			{"Lifetimes and refresh tokens are those of GitHub Apps, unless the app has opted out.", "5 14"},
			{"A refresh ends the refresh token and the access token before it.", "5"},
			{
				"client_id and client_secret are parameters of the request; the page on refreshing calls them query parameters.",
				"5 6",
			},
			{"PKCE is optional, and S256 only.", "7"},
			{"The answer is a form unless Accept: application/json is sent.", "6"},
			{"Scopes are separated by spaces when asked for, and by commas in the answer.", "6"},
			{"DELETE /applications/CLIENT_ID/token of the API revokes a token.", "5"},
		},
	},
	Limits: []Limit{
		{N: 60, Per: time.Hour, For: "IP address", Where: "calls without credentials", From: "1"},
		{N: 5000, Per: time.Hour, For: "app", Where: "calls with an app's id and secret; 15,000 for Enterprise Cloud", From: "1"},
		{N: 5000, Per: time.Hour, For: "user", Where: "all personal tokens and apps that act for the user", From: "1"},
		{N: 15_000, Per: time.Hour, For: "user", Plan: "Enterprise Cloud", Where: "apps of such an organization", From: "1"},
		{
			N: 5000, Per: time.Hour, For: "installation", Where: "more with many repositories and users, 12,500 at most",
			From: "1",
		},
		{N: 15_000, Per: time.Hour, For: "installation", Plan: "Enterprise Cloud", From: "1"},
		{N: 1000, Per: time.Hour, For: "repository", Where: "the token of Actions", From: "1"},
		{N: 15_000, Per: time.Hour, For: "repository", Plan: "Enterprise Cloud", Where: "the token of Actions", From: "1"},
		{N: 100, Of: inFlight, Where: "REST and GraphQL together", From: "2"},
		{
			N: 900, Per: time.Minute, Of: "points", For: "route",
			Where: "REST: most reads are 1, most writes 5; some cost another, undisclosed number", From: "2",
		},
		{N: 2000, Per: time.Minute, Of: "points", Where: "GraphQL: a query is 1, a mutation 5", From: "2"},
		{N: 80, Per: time.Minute, Of: "calls that make content", Where: "about, and less at some endpoints", From: "2"},
		{N: 500, Per: time.Hour, Of: "calls that make content", Where: "about, and less at some endpoints", From: "2"},
	},
	Waits: []Fact{
		{"A limit is a 403 or a 429. If nothing remains, wait for X-RateLimit-Reset, in seconds since 1970.", "1"},
		{
			"A secondary limit is told by its message: obey Retry-After, or else wait for a minute, and longer each time.",
			"1 3",
		},
		{"Answers may take 90 seconds of processing in a minute, 60 of them by GraphQL.", "2"},
		{"X-RateLimit-Resource names the budget; no header shows what remains of the secondary limits.", "1"},
		{"Search has tighter limits, and GraphQL a budget of its own; who goes on while limited may be banned.", "1"},
	},
	Lists: []List{
		{
			Name: "list", How: belay.LinkPages{}, Text: "parameter per_page, 30 if left out; 100 is used as the large page",
			From: "3 4",
		},
		{
			Name: "search", How: belay.LinkPages{Items: "items"},
			Text: "objects with total_count and one array, such as items", From: "4",
		},
	},
	Errors: Errors{
		Code: "errors.0.code", Message: "message", RequestHeader: "X-GitHub-Request-Id", From: "3 16",
		Notes: []Fact{
			{"404 stands for 403 at private things, and may mean a token that has ended.", "3"},
			{"X-Accepted-GitHub-Permissions says which permission would do.", "3"},
			{"A version of the API that is not known is a 400, one that has ended a 410.", "3 8"},
			{"Calls of more than 10 seconds are cut off: ask for smaller pages.", "3"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.GitHub() }, Answer: 10 * time.Second, From: "9 10",
		Notes: []Fact{
			{"Nothing is sent again by itself: list deliveries by the API, and ask for them.", "11"},
			{"X-GitHub-Delivery stays the same then.", "10"},
			{"Only the last three days can be sent again.", "12"},
			{"The type is X-GitHub-Event with the body's action.", "10"},
			{"An Enterprise Server waits for 30 seconds.", "10"},
		},
	},
	Changes: []Fact{{"Some lists take since.", "4"}},
	Quirks: []Fact{
		{"Calls without a User-Agent are refused.", "3"},
		{"A version lasts for 24 months after the next one; near its end answers have Deprecation and Sunset. 2026-03-10 is a newer one.", "8 14"},
		{"A slash at the end of a path is a 404.", "3"},
		{"An endpoint may answer 204 for an empty list.", "4"},
		{"A list may be shorter for lack of access, without an error.", "3"},
		{"To ask for no scope at a user's second consent gives the scopes of the first.", "6"},
	},
	Unknown: []string{
		"the largest page of each list", "the shape of a 401", "keys of idempotency", "feeds of deleted records",
		"the first delivery of a webhook",
	},
}
