package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Calendly is a scheduler of meetings.
var Calendly = &Partner{
	Name: "calendly", Title: "Calendly", Tier: 1,
	Docs: "https://developer.calendly.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.calendly.com/api-docs/overview/rate-limits",
		"2":  "https://developer.calendly.com/how-to-access-calendly-data-on-behalf-of-authenticated-users",
		"3":  "https://developer.calendly.com/refresh-token-rotation-guide",
		"4":  "https://developer.calendly.com/api-docs/calendly-o-auth/o-auth/post-oauth-refresh-token.md",
		"5":  "https://developer.calendly.com/openapi/calendly-oauth.json",
		"6":  "https://developer.calendly.com/docs/webhooks/overview",
		"7":  "https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures.md",
		"8":  "https://developer.calendly.com/personal-access-tokens",
		"9":  "https://developer.calendly.com/docs/api-guides/update-your-system-with-data-from-scheduled-events-admins-only",
		"10": "https://github.com/simstudioai/sim, apps/sim/tools/calendly/list_scheduled_events.ts (third party)",
		"11": "https://github.com/NagiPragalathan/calendly_plugin_frontend (third party)",
		"12": "https://prismatic.io/docs/example-payloads/calendly/actions/getWebhookSubscription.json (third party)",
		"13": "https://github.com/hookdeck/webhook-skills, calendly-webhooks (third party)",
		"14": "https://github.com/NangoHQ/nango, packages/providers/providers.yaml (third party)",
		"15": "https://developer.calendly.com/api-docs/overview/webhooks/webhook-errors",
		"16": "https://developer.calendly.com/api-docs/calendly-o-auth/o-auth/post-oauth-revoke.md",
	},
	Base: Base{URL: "https://api.calendly.com", From: "6"},
	Auth: []Auth{
		{Kind: "bearer", Text: "personal access token", From: "8"},
		{Kind: "oauth", Text: "authorization code", From: "2 9"},
	},
	OAuth: OAuth{
		AuthURL: "https://auth.calendly.com/oauth/authorize", TokenURL: "https://auth.calendly.com/oauth/token",
		RevokeURL: "https://auth.calendly.com/oauth/revoke", Style: oauth.StyleHeader, StyleKnown: true, PKCE: Yes,
		Access: 2 * time.Hour, Refresh: -1, Rotates: Yes, From: "2 3 4 5 16",
		Limits: []Limit{{N: 8, Per: time.Minute, For: "user", From: "1 4"}},
		Notes: []Fact{
			{"A refresh token is revoked as soon as a call with it succeeds; using it again fails.", "3"},
			{"Native apps send client_id in the body and no header. A newer text wants it there always.", "4 5"},
			{"A code lives for 10 minutes.", "2"},
			{"To revoke, send client_id, client_secret and the token in the body.", "16"},
			{"Token requests are forms by one page, and JSON by the definition.", "4 5"},
			{"Errors have error and error_description.", "4"},
		},
	},
	Limits: []Limit{
		{N: 500, Per: time.Minute, For: "user", Plan: "paid", From: "1"},
		{N: 50, Per: time.Minute, For: "user", Plan: "free", From: "1"},
		{N: 10, Per: time.Minute, For: "user", Plan: "paid, not Enterprise", Where: "creating an invitee", From: "1"},
		{N: 50, Per: time.Hour, For: "user", Plan: "paid, not Enterprise", Where: "creating an invitee", From: "1"},
		{N: 100, Per: 24 * time.Hour, For: "user", Plan: "paid, not Enterprise", Where: "creating an invitee", From: "1"},
		{N: 500, Per: time.Minute, For: "user", Plan: "Enterprise", Where: "creating an invitee", From: "1"},
		{N: 5, Per: 24 * time.Hour, For: "user", Plan: "trial", Where: "creating an invitee", From: "1"},
	},
	Waits: []Fact{
		{
			"Each answer has X-RateLimit-Limit, -Remaining and -Reset, in seconds that are left. The 429 shown has no " +
				"Retry-After.",
			"1",
		},
		{"Calls of other apps for the same user count too.", "1"},
	},
	Lists: []List{{
		Name: "list", How: belay.NextURLPages{Items: "collection", URL: "pagination.next_page"}, Most: 100,
		Text: "parameter count, 20 by default", From: "10 11 14",
	}},
	Errors: Errors{Notes: []Fact{{"Errors of OAuth have error and error_description.", "4"}}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Calendly() },
		Answer: 15 * time.Second, Over: 24 * time.Hour, From: "6 15",
		Notes: []Fact{
			{
				"With a personal token a key may be chosen when the webhook is made; for OAuth apps one is made for the app; " +
					"it cannot be read later.",
				"6 7",
			},
			{"Ten of the 15 seconds are for the connection.", "6"},
			{"Any 2xx is a success, a redirect is none. A 410 deletes the webhook at once.", "6"},
			{
				"Tries go on for 24 hours, or until 24 hours after the booked event. After 24 hours without success a webhook " +
					"is switched off, and has to be made anew.",
				"15",
			},
			{"A guide for others takes a tolerance of three minutes.", "13"},
			{"A webhook tells its state and since when it is being retried.", "12"},
			{"Its address cannot be changed, and a user cannot have it twice in an organization.", "6"},
		},
	},
	Changes: []Fact{
		{"Events are filtered by min_start_time, max_start_time and status; no filter by change was seen.", "10"},
		{"A canceled event stays in the list unless status=active is asked for.", "9"},
	},
	Quirks: []Fact{
		{"An id is a whole URI, in parameters too.", "9"},
		{"Times are in UTC, with microseconds.", "11 12"},
	},
	Unknown: []string{
		"the shape of the REST API's errors",
		"request ids",
		"idempotency keys", "ids of deliveries, and how often they are repeated", "the vendor's word on the end of a list",
		"what separates scopes",
		"a feed of deletions",
	},
}
