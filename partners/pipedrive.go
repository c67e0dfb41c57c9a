package partners

import (
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Pipedrive is a CRM for sales.
var Pipedrive = &Partner{
	Name: "pipedrive", Title: "Pipedrive", Tier: 2,
	Docs: "https://pipedrive.readme.io/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://pipedrive.readme.io/docs/marketplace-oauth-authorization",
		"2":  "https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting",
		"3":  "https://pipedrive.readme.io/docs/guide-for-webhooks-v2",
		"4":  "https://pipedrive.readme.io/docs/core-api-concepts-pagination",
		"5":  "https://pipedrive.readme.io/docs/core-api-concepts-http-status-codes",
		"6":  "https://pipedrive.readme.io/docs/guide-for-optimizing-api-usage",
		"7":  "https://pipedrive.readme.io/docs/webhooks-v2-migration-guide",
		"8":  "https://pipedrive.readme.io/docs/webhooks-for-apps",
		"9":  "https://developers.pipedrive.com/docs/api/v1/Oauth",
		"10": "https://developers.pipedrive.com/changelog, posts of March and July 2023",
		"11": "https://github.com/pipedrive/client-nodejs, README.md (the vendor's SDK, older)",
		"12": "https://devcommunity.pipedrive.com/t/troubleshooting-webhook-delivery-and-payload-structure/4964 (older)",
		"13": "https://docs.unified.to/skills/pipedrive-oauth-app/SKILL.md (third party)",
		"14": "https://pipedrive.readme.io/docs/core-api-concepts-responses",
		"15": "https://pipedrive.readme.io/docs/app-uninstallation",
		"16": "https://pipedrive.readme.io/docs/pipedrive-api-v2-migration-guide",
		"17": "https://github.com/pipedrive/client-nodejs, src/versions/v2/api/deals-api.ts (the vendor's SDK)",
	},
	Base: Base{URL: "https://{company}.pipedrive.com", From: "1 4"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, for apps of the marketplace", From: "1"},
		{Kind: "query", Name: "api_token", Text: "a user's token, for scripts of one's own", From: "1 11"},
	},
	OAuth: OAuth{
		AuthURL: "https://oauth.pipedrive.com/oauth/authorize", TokenURL: "https://oauth.pipedrive.com/oauth/token",
		Style: oauth.StyleHeader, StyleKnown: true, Access: time.Hour, Refresh: 60 * 24 * time.Hour, Rotates: No,
		RevokeURL: "https://oauth.pipedrive.com/oauth/revoke", Keep: []string{"api_domain", "scope"}, From: "1 9 15",
		Notes: []Fact{
			{"api_domain of the answer is the base of calls.", "1"},
			{"The refresh token stays the same; each use begins its 60 days anew.", "1"},
			{"Scopes belong to the app, and are no parameter.", "1"},
			{"To revoke a refresh token is to uninstall the app; an access token may be revoked alone, by Basic too.", "15"},
			{"A code lives for 5 minutes.", "1"},
			{"Tokens grow: keep room for 768 characters.", "1"},
			{"A person's refusal comes back as error=user_denied; the SDK says access_denied.", "1 11"},
			{
				"An app has one callback address, which also gets a DELETE with the app's Basic credentials when it is " +
					"uninstalled.",
				"13 15",
			},
		},
	},
	Limits: []Limit{
		{N: 20, Per: 2 * time.Second, For: "token", Plan: "Lite", Where: "API token", From: "2"},
		{N: 80, Per: 2 * time.Second, For: "token", Plan: "Lite", Where: "OAuth", From: "2"},
		{N: 40, Per: 2 * time.Second, For: "token", Plan: "Growth", Where: "API token", From: "2"},
		{N: 160, Per: 2 * time.Second, For: "token", Plan: "Growth", Where: "OAuth", From: "2"},
		{N: 100, Per: 2 * time.Second, For: "token", Plan: "Premium", Where: "API token", From: "2"},
		{N: 400, Per: 2 * time.Second, For: "token", Plan: "Premium", Where: "OAuth", From: "2"},
		{N: 120, Per: 2 * time.Second, For: "token", Plan: "Ultimate", Where: "API token", From: "2"},
		{N: 480, Per: 2 * time.Second, For: "token", Plan: "Ultimate", Where: "OAuth", From: "2"},
		{N: 10, Per: 2 * time.Second, Where: "search", From: "2"},
		{N: 30_000, Per: 24 * time.Hour, Of: "tokens", For: "account", Plan: "Lite", Where: "for each seat", From: "2"},
		{N: 60_000, Per: 24 * time.Hour, Of: "tokens", For: "account", Plan: "Growth", Where: "for each seat", From: "2"},
		{N: 150_000, Per: 24 * time.Hour, Of: "tokens", For: "account", Plan: "Premium", Where: "for each seat", From: "2"},
		{N: 210_000, Per: 24 * time.Hour, Of: "tokens", For: "account", Plan: "Ultimate", Where: "for each seat", From: "2"},
	},
	Waits: []Fact{
		{
			"Calls cost tokens of a daily budget that all users and apps of a company share: one record 2, a list 20, an update 10, " +
				"a deletion 6, a search 40; v2 costs less.", "2",
		},
		{"With the budget gone each call is a 429 until midnight of the server's time zone.", "2"},
		{
			"Headers x-ratelimit-limit, -remaining and -reset are of the two seconds; x-daily-requests-left is of an API " +
				"token.",
			"2",
		},
		{"Who goes on in spite of 429 with an API token gets a 403 with a page of Cloudflare.", "2"},
		{"With OAuth it is the budget of the user's account.", "6"},
	},
	Lists: []List{
		{
			Name: "list", How: belay.CursorPages{
				Items: "data", Cursor: "additional_data.next_cursor", Param: "cursor", Required: true,
			}, Most: 500, Text: "v2, and v1's collections, changelogs, projects and tasks; parameter limit", From: "4",
		},
		{
			Name: "v1", How: belay.CursorPages{
				Items: "data", Cursor: "additional_data.pagination.next_start", Param: "start",
				More: "additional_data.pagination.more_items_in_collection",
			}, Most: 500, Text: "other lists of v1; parameter limit", From: "4",
		},
	},
	Errors: Errors{
		Code: "code", Message: "error", Classify: classifyPipedrive, From: "2 14",
		Notes: []Fact{
			{"success is false, error is a sentence, and code is there for some errors only.", "14"},
			{
				"A 403 may be a limit of the plan on deals, fields, roles or teams; its code tells, and waiting does not help.",
				"5 14",
			},
			{"A 402 is an account that is not open, a 503 planned maintenance, a 415 a feature that is off.", "5"},
			{"A 422 is too many webhooks.", "5"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Pipedrive() },
		Answer: 10 * time.Second, Retries: 3, From: "3",
		Notes: []Fact{
			{"No signature is documented: the proof is a user and a password by Basic, given when the webhook is created.", "3"},
			{"Retries come after 3, 30 and 150 seconds; meta.attempt goes from 1 to 4.", "3"},
			{"meta.id tells events apart; previous is null on creation, data on deletion.", "3"},
			{"Ten failed first tries ban a webhook for 30 minutes, whose events are lost.", "3"},
			{"Three days in a row without success delete it.", "3"},
			{"A user has 40 webhooks at most, an app 40 for each user; the app needs the scope admin.", "3 8"},
			{"A merge is two events: a deletion with merged_to_id, a change with merged_from_id.", "3 7"},
			{"Webhooks of v1 may come twice; v2 sends one event for each edit.", "7 12"},
		},
	},
	Changes: []Fact{
		{"Deals of v2 take updated_since, updated_until and sort_by=update_time.", "17"},
		{"Deals with status=deleted are those of the last 30 days.", "17"},
		{"The scope recents:read covers the list of recent changes.", "11"},
	},
	Quirks: []Fact{
		{"Times of v1 are written as 2022-01-04 10:44:11, without a zone; those of v2 by RFC 3339.", "10 16"},
		{"meta.timestamp of a webhook is described as 10 characters, and shown as ISO 8601 with milliseconds.", "3"},
		{"v1's collections are for global administrators, others get a 403.", "10"},
		{"A webhook only fires for what its user may see.", "3"},
	},
	Unknown: []string{
		"PKCE", "limits of the token endpoint",
		"Retry-After, and the unit of x-ratelimit-reset",
		"a header with the id of a call", "deleted records of other kinds", "keys of idempotency",
	},
}

// classifyPipedrive takes a 403 that is a page for people for a limit: it is Cloudflare's, after many 429.
func classifyPipedrive(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response != nil && a.Response.StatusCode == http.StatusForbidden &&
		strings.HasPrefix(a.Response.Header.Get("Content-Type"), "text/html") {
		v.Class, v.Scope, v.Renew = belay.ClassRateLimited, belay.ScopeCredential, false
	}
	return v
}
