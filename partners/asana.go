package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Asana is a manager of tasks and projects.
var Asana = &Partner{
	Name: "asana", Title: "Asana", Tier: 2,
	Docs: "https://developers.asana.com/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.asana.com/jd/docs/rate-limits",
		"2":  "https://github.com/slatedocs/slate, source/includes/markdown/_08-rate-limits.html.md (older)",
		"3":  "https://github.com/slatedocs/slate, source/includes/markdown/_07-errors.html.md (older)",
		"4":  "https://github.com/slatedocs/slate, source/includes/markdown/_07-auth.html.md (older)",
		"5":  "https://github.com/slatedocs/slate, source/includes/markdown/_10-pagination.html.md (older)",
		"6":  "https://developers.asana.com/docs/oauth",
		"7":  "https://developers.asana.com/docs/webhooks-guide",
		"8":  "https://github.com/Asana/node-asana, docs/WebhooksApi.md (the vendor's SDK)",
		"9":  "https://developers.asana.com/jd/reference/events",
		"10": "https://github.com/Asana/ruby-asana, lib/asana/resource_includes/event.rb (the vendor's SDK)",
		"11": "https://developers.asana.com/docs/batch-requests",
		"12": "https://developers.asana.com/docs/workspace-events",
		"13": "code of an integration (third party)",
		"14": "a client generated from the vendor's OpenAPI (third party)",
		"16": "https://github.com/Asana/devrel-examples, javascript/webhooks-nodejs/index.js (the vendor's sample)",
		"17": "https://github.com/Asana/node-asana, docs/TasksApi.md (the vendor's SDK)",
	},
	Base: Base{URL: "https://app.asana.com/api/1.0", From: "2 5 8"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, for apps of several users", From: "4 6"},
		{Kind: "bearer", Text: "personal access token, or that of a service account", From: "4 12"},
	},
	OAuth: OAuth{
		AuthURL: "https://app.asana.com/-/oauth_authorize", TokenURL: "https://app.asana.com/-/oauth_token",
		RevokeURL: "https://app.asana.com/-/oauth_revoke", StyleKnown: true, PKCE: Yes, // StyleBody
		Access: time.Hour, Refresh: -1, Keep: []string{"data"}, From: "4 6",
		Notes: []Fact{
			{"The refresh token comes with the code's exchange only, and serves as long as the user keeps the app.", "4"},
			{"data holds the id, the name and the e-mail address of the user.", "4"},
			{"state and redirect_uri are required.", "4"},
		},
	},
	Limits: []Limit{
		{N: 150, Per: time.Minute, For: "token", Plan: "free", From: "1 2"},
		{N: 1500, Per: time.Minute, For: "token", Plan: "paid", From: "1 2"},
		{N: 60, Per: time.Minute, For: "token", Where: "search", From: "1 2"},
		{N: 50, Of: "reads in flight", For: "token", From: "2"},
		{N: 15, Of: "writes in flight", For: "token", From: "2"},
		{N: 5, Of: "jobs in flight", For: "token", Where: "duplication, instantiation and export", From: "1 2"},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in whole seconds.", "1 2"},
		{"Limits are measured more often than once a minute.", "2"},
		{"A call refused by the limit per minute counts too, so that calls before the end of the wait make it worse.", "2"},
		{
			"A quota of cost is taken roughly by the links that an answer needed; it may fall below zero, which few apps " +
				"meet.",
			"2",
		},
	},
	Lists: []List{
		{
			Name: "list", How: belay.CursorPages{Items: "data", Cursor: "next_page.offset", Param: "offset"}, Most: 100,
			Text: "send the parameter limit: without it older endpoints answer with everything, up to about 1,000, and " +
				"newer ones require it",
			From: "5",
		},
		{
			Name: "events", How: belay.CursorPages{Items: "data", Cursor: "sync", Param: "sync", More: "has_more"},
			Text: "needs the parameter sync, from the 412 of a call without it or from the last read; the present one may be sent " +
				"again, an older one must not", From: "9 10 14",
		},
	},
	Errors: Errors{
		Message: "errors.message", From: "3",
		Notes: []Fact{
			{"errors is an array; no code was seen. Only a 500 has a phrase, which stands for a request id.", "3"},
			{"A 402 is a call that needs a paid plan, a 451 one that the law forbids.", "3"},
			{"A 412 of events is a missing or an old sync token.", "3 10"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Asana() },
		Answer: 10 * time.Second, Over: 24 * time.Hour, From: "7 13 16",
		Notes: []Fact{
			{
				"While a webhook is being made, Asana posts X-Hook-Secret to the target, which answers 200 or 204 with the " +
					"same header and keeps it.",
				"8",
			},
			{"X-Hook-Signature is the HMAC-SHA256 of the body in hex, with that secret. Each webhook has its own.", "13 16"},
			{"A delivery comes at most once and cannot be had again, so read everything now and then.", "7"},
			{"A delivery without events shows that the webhook is alive.", "13"},
		},
	},
	Changes: []Fact{
		{"The list of events goes back 24 hours, and may lack some; its tokens die after 24 hours or earlier.", "9 10"},
		{"Events of a project cover its tasks, subtasks and stories.", "9"},
		{"Tasks can be listed by modified_since. A change of a subtask does not count as one of its task.", "17"},
		{"Events of a workspace need a service account, which is for Enterprise+.", "12"},
	},
	Quirks: []Fact{
		{"The content stands in data, in answers and in bodies of requests.", "3 11"},
		{"A batch holds at most 10 actions, which run side by side.", "11"},
		{"An offset is a token that comes from an answer, and dies after a while.", "5"},
	},
	Unknown: []string{
		"rotation of refresh tokens", "limits of the token endpoint", "a header with a request id", "the ids of deliveries",
		"how often empty deliveries come", "idempotency keys", "announcements of changes in headers",
	},
}
