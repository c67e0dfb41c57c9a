package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Mailgun sends mails.
var Mailgun = &Partner{
	Name: "mailgun", Title: "Mailgun", Tier: 2,
	Docs: "https://documentation.mailgun.com/docs/mailgun", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://documentation.mailgun.com/docs/mailgun/api-reference/authentication",
		"2":  "https://mailgun.redocly.app/docs/mailgun/api-reference/api-overview",
		"3":  "https://documentation.mailgun.com/docs/mailgun/quickstart-guide/requests",
		"4":  "https://documentation.mailgun.com/docs/mailgun/quickstart-guide/responses",
		"5":  "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
		"6":  "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-retries",
		"7":  "https://documentation.mailgun.com/docs/mailgun/user-manual/events",
		"8":  "https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/events/get-v3-domain_name-events",
		"9":  "https://mailgun-docs.redoc.ly/docs/mailgun/api-reference/openapi-final/tag/Events",
		"10": "https://documentation.mailgun.com/api-events.html (older)",
		"11": "https://github.com/mailgun/mailgun-go, errors.go (the vendor's SDK)",
		"12": "https://github.com/mailgun/mailgun-go, events.go and events/events.go (the vendor's SDK)",
	},
	Base: Base{URL: "https://api.mailgun.net", From: "2 3"},
	Auth: []Auth{{Kind: "basic", Text: "the user api, with the key as the password", From: "1"}},
	Waits: []Fact{
		{"A 429 may be sent again, as the answer or its headers say; there are no published figures.", "2 4"},
		{"X-RateLimit-Reset of a 429 is a time since 1970, which the SDK reads as seconds.", "11"},
		{"A 500 may be sent again, with growing waits.", "2 4"},
	},
	Lists: []List{{
		Name: "events", How: belay.NextURLPages{Items: "items", URL: "paging.next", UntilEmpty: true}, Most: 300,
		Text: "/v3/{domain}/events; there is always a next page, and an empty one is the end", From: "7 8 10 12",
	}},
	Errors: Errors{
		Message: "message", From: "2 4",
		Notes: []Fact{
			{"A 401 is a missing or bad key, a 403 a good one without the right; an older page knows the 403 for both.", "2 4"},
			{"A 404 with JSON may pass, because the system lags behind; without JSON the path is wrong.", "2 4"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Mailgun() }, Retries: 6, Over: 8 * time.Hour, From: "5 6",
		Notes: []Fact{
			{"The secret is the webhook signing key, and not the API key.", "5"},
			{"The time and the token are signed, and the event is not: accept each token once.", "5"},
			{"A 200 is success, a 406 a refusal; all else is repeated after 5, 10 and 15 minutes, and 1, 2 and 4 hours.", "6"},
			{"Webhooks of delivery notices are not repeated like that.", "6"},
			{"Events of a subaccount have a second signature, by the main account's key.", "5"},
		},
	},
	Changes: []Fact{
		{
			"Events take begin and end in seconds since 1970, or begin with ascending; one of end and ascending is needed.",
			"7 8",
		},
		{"With ascending and without end, an empty page may be asked for again later.", "10"},
		{"The events are deprecated for an API of logs; how long they are kept depends on the plan.", "7 8 9"},
	},
	Quirks: []Fact{
		{"Domains made in the EU are at https://api.eu.mailgun.net; account data and keys are shared.", "2 3"},
		{"The version is part of the path and differs, and most paths hold the domain.", "2 3 8"},
		{"Dates are RFC 2822 or seconds since 1970.", "2 3 9"},
		{"A key for sending is good for one domain's messages only.", "1"},
	},
	Unknown: []string{
		"figures of limits", "Retry-After", "the body of a 429", "header of the request id", "codes of errors", "idempotency",
		"paging of other lists", "how long a webhook may take", "the API of logs",
	},
}
