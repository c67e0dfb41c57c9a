package partners

import (
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// HubSpot is a CRM.
var HubSpot = &Partner{
	Name: "hubspot", Title: "HubSpot", Tier: 1,
	Docs: "https://developers.hubspot.com/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.hubspot.com/apps/api_guidelines",
		"2":  "https://developers.hubspot.com/changelog/increasing-our-api-limits",
		"3":  "https://developers.hubspot.com/changelog/2018-11-06-rate-limit-information-headers-will-be-included-in-http-responses",
		"4":  "https://developers.hubspot.com/changelog/heads-up-new-and-improved-hubspot-api-limits (older)",
		"5":  "https://developers.hubspot.com/changelog/crm-search-api-rate-limit-increase (older)",
		"6":  "https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens",
		"7":  "https://developers.hubspot.com/changelog/v1-oauth-api-deprecation",
		"8":  "https://developers.hubspot.com/docs/methods/oauth2/oauth2-quickstart",
		"9":  "https://developers.hubspot.com/changelog/upcoming-expiration-of-oauth-access-tokens-is-changing",
		"11": "https://developers.hubspot.com/docs/api/intro-to-auth",
		"12": "https://developers.hubspot.com/docs/api-reference/error-handling",
		"14": "https://developers.hubspot.com/changelog/upcoming-changes-to-error-responses",
		"15": "https://developers.hubspot.com/changelog/introducing-version-3-of-webhook-signatures",
		"16": "https://github.com/HubSpot/hubspot-api-nodejs (the vendor's SDK)",
		"17": "https://developers.hubspot.com/docs/api-reference/2026-03/crm/search-the-crm (limits as third parties quote it)",
		"18": "https://docs.aws.amazon.com/glue/latest/dg/hubspot-connector-limitations.html (third party)",
		"19": "https://github.com/hookdeck/webhook-skills (third party)",
		"20": "https://github.com/NangoHQ/nango and other recorded traffic and code (third parties)",
		"21": "https://mcpservers.org and https://github.com/vm0-ai/vm0-skills, pages on HubSpot (third party)",
		"22": "https://github.com/api-evangelist/hubspot (third party, generated)",
		"24": "https://developers.hubspot.com/docs/api-reference/crm-contracts-v3/search/post-crm-v3-objects-contracts-search",
		"25": "https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines (as third parties quote it)",
	},
	Base: Base{URL: "https://api.hubapi.com", From: "8"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code", From: "11"},
		{Kind: "bearer", Text: "token of a private app; API keys ended on 2022-11-30", From: "11"},
	},
	OAuth: OAuth{
		AuthURL: "https://app.hubspot.com/oauth/authorize", TokenURL: "https://api.hubapi.com/oauth/2026-03/token",
		RevokeURL: "https://api.hubapi.com/oauth/2026-03/token/revoke", StyleKnown: true, // StyleBody
		Access: 30 * time.Minute, From: "6 7 8 9",
		Notes: []Fact{
			{"The address /oauth/v1/token ends on 2027-02-16.", "7"},
			{"An access token may be 300 characters long; go by expires_in.", "8 9"},
		},
	},
	Limits: []Limit{
		{
			N: 100, Per: 10 * time.Second, For: "app and account",
			Where:   "private apps of Free and Starter, and so the least of all; search is counted apart",
			When:    hubSpotCounts,
			Default: true, From: "2 4 16 25",
		},
		{N: 110, Per: 10 * time.Second, For: "app and account", Where: "OAuth apps, without search and without a daily limit", From: "25"},
		{N: 250, Per: 10 * time.Second, For: "app and account", Plan: "capacity pack", Where: "private apps", From: "2"},
		{N: 190, Per: 10 * time.Second, Plan: "Professional, Enterprise", Where: "private apps", From: "2"},
		{
			N: 625_000, Per: 24 * time.Hour, For: "account", Plan: "Professional",
			Where: "private apps (650,000 in an older notice)", From: "25",
		},
		{N: 1_000_000, Per: 24 * time.Hour, Plan: "Enterprise", Where: "private apps", From: "2"},
		{
			N: 5, Per: time.Second, For: "account", Where: "search; 4 by an older page", When: hubSpotSearches, Default: true,
			From: "5 17",
		},
	},
	Waits: []Fact{
		{
			"The limits of a day and of ten seconds are separate counters; policyName is TEN_SECONDLY_ROLLING for the latter.",
			"2 16",
		},
		{"The headers X-HubSpot-RateLimit-* have limits and what is left, and no time of reset; search has none of them.", "3 17 20"},
		{"A 429 was seen with errorType RATE_LIMIT, and is to have the category RATE_LIMITS.", "14 20"},
	},
	Lists: []List{
		{
			Name: "objects", Also: []string{"contacts", "companies"},
			How: belay.CursorPages{Items: "results", Cursor: "paging.next.after", Param: "after"}, Most: 100,
			Text: "lists; parameter limit", From: "20 21 22",
		},
		{
			Name: "search", How: belay.CursorPages{Items: "results", Cursor: "paging.next.after", Param: "after", InBody: true},
			Most: 200,
			Text: "POST …/search; more than 10,000 results of one query end in a 400", From: "17 18 22 24",
		},
	},
	Errors: Errors{
		Code: "category", Message: "message", RequestID: "correlationId", RequestHeader: "X-HubSpot-Correlation-Id",
		From: "12 14 20",
		Notes: []Fact{
			{
				"A batch create whose inputs have an objectWriteTraceId may answer 207, with created and failed records mixed.",
				"12",
			},
			{
				"The guidelines say that a 401 by itself is no sign that a new token is due; an older notice accepts a refresh.",
				"1 9",
			},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{{"No key of requests is documented; contacts are told apart by e-mail, companies by domain.", "20 21"}},
	},
	Webhooks: Webhooks{
		Scheme: webhook.HubSpot, Answer: 5 * time.Second, Retries: 10, Over: 24 * time.Hour, From: "15 16 20",
		Notes: []Fact{{"Times and counts of repeats are from third parties. A delivery is an array of at most 100 events. An eventId may not be unique by itself.", "19 20"}},
	},
	Changes: []Fact{{"Search by the property of the last change; records have updatedAt.", "17 22"}},
	Quirks: []Fact{
		{"Reads return few properties unless asked for.", "21"},
		{"A merge above 250 identities is a 414.", "12"},
	},
	Unknown: []string{
		"Retry-After on a 429",
		"lifetime and rotation of refresh tokens",
		"limits of the token endpoint",
	},
}

// hubSpotSearches reports whether a request is a search, which has a limit of its own.
func hubSpotSearches(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/search") }

func hubSpotCounts(req *http.Request) bool { return !hubSpotSearches(req) }
