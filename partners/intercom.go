package partners

import (
	"encoding/json"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Intercom is a help desk with chat.
var Intercom = &Partner{
	Name: "intercom", Title: "Intercom", Tier: 2,
	Docs: "https://developers.intercom.com/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.intercom.com/building-apps/docs/rest-apis",
		"2":  "https://developers.intercom.com/docs/references/2.17/rest-api/errors/rate-limiting",
		"3":  "https://developers.intercom.com/docs/references/2.17/rest-api/errors/error-codes, and an older copy",
		"4":  "https://developers.intercom.com/docs/build-an-integration/learn-more/authentication",
		"5":  "https://developers.intercom.com/building-apps/docs/setting-up-oauth",
		"6":  "https://developers.intercom.com/docs/build-an-integration/learn-more/rest-apis/pagination/",
		"7":  "https://developers.intercom.com/docs/references/2.2/rest-api/common-structures/pagination-cursor (older)",
		"8":  "https://github.com/intercom/intercom-node, generated types of 6.0 to 7.0.3 (the vendor's SDK)",
		"9":  "https://github.com/intercom/intercom-node/issues/489",
		"10": "https://developers.intercom.com/docs/webhooks/webhook-notifications",
		"11": "https://developers.intercom.com/docs/references/2.5/webhooks/webhook-models, and 2.7/changelog",
		"12": "https://github.com/hookdeck/webhook-skills, skills/intercom-webhooks (third party)",
		"13": "https://nango.dev/docs/api-integrations/intercom (third party)",
		"14": "https://docs.unified.to/skills/intercom-oauth-app (third party)",
		"16": "https://eesel.ai/blog/intercom-api-rate-limits (third party)",
		"17": "https://github.com/jeremylongshore, skill intercom-common-errors (third party)",
		"18": "https://community.intercom.com, thread 2038",
		"19": "https://seatunnel.apache.org/docs/connectors/source/Intercom (third party)",
		"21": "https://rubydoc.info, Intercom::TokenUnauthorizedError (the vendor's SDK)",
		"22": "https://github.com/intercom/oauth2-intercom, src/Provider/Intercom.php (the vendor's SDK)",
		"23": "https://github.com/intercom/intercom-node, src/api/types/Error_.ts (the vendor's SDK)",
		"24": "https://developers.intercom.com/docs/references/2.0/rest-api/errors/rate-limiting (older)",
	},
	Base: Base{URL: "https://api.intercom.io", Headers: []Header{{"Intercom-Version", "2.17"}}, From: "1 2 18 19"},
	Auth: []Auth{
		{Kind: "bearer", Text: "access token of an app, for its own workspace", From: "4 18"},
		{Kind: "oauth", Text: "authorization code, for the workspaces of others", From: "4 5"},
	},
	OAuth: OAuth{
		AuthURL: "https://app.intercom.com/oauth", TokenURL: "https://api.intercom.io/auth/eagle/token", Access: -1, From: "13 22",
		Notes: []Fact{
			{"The address of consent has no scopes; they are chosen for the app.", "13 14"},
			{"There is no refresh token.", "13"},
			{"Redirect addresses are HTTPS and registered; the first one is used unless redirect_uri says another.", "5"},
			{"GET /me answers in each region: keep the region with the token.", "1"},
		},
	},
	Limits: []Limit{
		{N: 10_000, Per: time.Minute, Where: "for an app; whether for all workspaces together is not said", From: "16 24"},
		{N: 25_000, Per: time.Minute, For: "app and workspace", Where: "public apps", From: "24"},
		{N: 25_000, Per: time.Minute, For: "workspace", Where: "private apps together", From: "16"},
	},
	Waits: []Fact{
		{"A 429 has X-RateLimit-Reset, in seconds since 1970.", "2"},
		{"Answers to calls with credentials have X-RateLimit-Limit and X-RateLimit-Remaining.", "2"},
		{"A limit by minute is kept by windows of ten seconds: 1000 a minute are 167 in each.", "2"},
		{"Webhooks and Canvas Kit do not count.", "2"},
	},
	Lists: []List{
		{
			Name: "list", How: belay.CursorPages{Items: "data", Cursor: "pages.next.starting_after", Param: "starting_after"},
			Most: 150,
			Text: "contacts; conversations come under conversations; send per_page always, as defaults differ; 150 is for " +
				"contacts",
			From: "6 7 8 9 19",
		},
		{
			Name: "search",
			Text: "POST …/search of contacts; a cursor in the query is ignored, and brings the first page for ever",
			From: "7 8 18",
			How: belay.CursorPages{
				Items: "data", Cursor: "pages.next.starting_after", Param: "pagination.starting_after", InBody: true,
			},
		},
	},
	Errors: Errors{
		Code: "errors.0.code", Message: "errors.0.message", RequestID: "request_id", Classify: classifyIntercom,
		From: "17 21 23",
		Notes: []Fact{
			{
				"token_expired, token_revoked, token_not_found, token_blocked, token_unauthorized and unauthorized are about " +
					"the token.",
				"3",
			},
			{
				"rate_limit_exceeded, too_many_requests, request_timeout, service_unavailable, server_error and retry_after " +
					"pass.",
				"3",
			},
			{
				"api_plan_restricted, action_forbidden, conflict and resource_conflict do not pass. New codes may come at any " +
					"time.",
				"3",
			},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{{"conflict and resource_conflict tell of a record that exists already.", "3"}}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Intercom() }, Answer: 5 * time.Second, From: "12",
		Notes: []Fact{
			{"The id is the body's, notif_…, and the type its topic; the first message has the topic ping.", "12"},
			{"1000 errors in a row within 15 minutes pause a topic for as long.", "10"},
			{"Errors for seven days suspend the subscriptions of private apps, never those of public ones, until somebody switches them on.", "10"},
		},
	},
	Changes: []Fact{{"Deletions are webhooks: contact.deleted, contact.archive, and those of companies since 2.7.", "11"}},
	Quirks: []Fact{
		{"Europe is api.eu.intercom.io, Australia api.au.intercom.io; the host of the USA tries to find the region.", "1"},
		{"Without Intercom-Version the workspace's own version decides the shapes.", "18 19"},
		{"Older lists have an address in pages.next instead of a cursor.", "8"},
		{"Lists go forward only.", "7"},
	},
	Unknown: []string{
		"Retry-After",
		"how the client authenticates, PKCE, revocation, and the answer of the token endpoint in the vendor's words",
		"retries of webhooks", "the search by updated_at", "the scroll of companies", "keys of idempotency",
	},
}

// classifyIntercom takes the code from the list of errors; the type of the body, error.list, is none.
func classifyIntercom(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if v.Code != "error.list" {
		return v
	}
	var body struct {
		Errors []struct{ Code string }
	}
	v.Code = ""
	if json.Unmarshal(a.Peek(), &body) == nil && len(body.Errors) > 0 {
		v.Code = body.Errors[0].Code
	}
	return v
}
