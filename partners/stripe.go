package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Stripe is a payment provider.
var Stripe = &Partner{
	Name: "stripe", Title: "Stripe", Tier: 1,
	Docs: "https://docs.stripe.com/api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://stripe.com/docs/rate-limits (older)",
		"2":  "https://docs.stripe.com/rate-limits",
		"3":  "https://docs.stripe.com/api/errors",
		"4":  "https://docs.stripe.com/api/idempotent_requests",
		"5":  "https://docs.stripe.com/idempotency (older)",
		"6":  "https://docs.stripe.com/api/pagination",
		"8":  "https://github.com/stripe/stripe-go, webhook/client.go (the vendor's SDK)",
		"9":  "https://github.com/stripe/stripe-go, stripe.go (the vendor's SDK)",
		"10": "https://github.com/stripe/stripe-go, oauth (the vendor's SDK)",
		"13": "https://stripe.dev/stripe-java/com/stripe/service/EventService.html",
		"14": "https://dev.to/shannonllc/stripe-webhooks-retries-ordering-duplicates-timeouts-and-ips-46f0 (third party)",
		"15": "clients that third parties have generated from the vendor's specification",
		"16": "https://github.com/stripe/stripe-php/pull/718 (the vendor's SDK)",
		"17": "https://typedoc.mayson.ai/interfaces/packages_stripe_src.Stripe.OAuthToken.html (third party's copy of the Node SDK's types)",
		"18": "https://github.com/stripe/stripe-go, error.go (the vendor's SDK)",
	},
	Base: Base{URL: "https://api.stripe.com", From: "4"},
	Auth: []Auth{
		{Kind: "bearer", Text: "secret key", From: "9"},
		{Kind: "basic", Text: "the secret key as the user's name, with an empty password", From: "4"},
	},
	OAuth: OAuth{
		StyleKnown: true, Access: -1, Keep: []string{"stripe_user_id", "livemode", "scope", "refresh_token", "stripe_publishable_key"}, From: "10 17",
		Notes: []Fact{{"That tokens do not end is of Connect.", "17"}, {"Connect: client_secret is the platform's own secret key; the scope is read_only or read_write.", "10"}},
	},
	Limits: []Limit{
		{N: 100, Per: time.Second, For: "account", Where: "live mode; may differ by account", Default: true, From: "2"},
		{N: 25, Per: time.Second, For: "account", Where: "sandbox", From: "2"},
		{N: 25, Per: time.Second, For: "route", Where: "each endpoint, unless it states another one", From: "2"},
		{N: 20, Per: time.Second, Where: "files, reads and writes each", From: "1 2"},
		{N: 20, Per: time.Second, Where: "search, reads", From: "1"},
		{N: 1000, Per: time.Hour, Where: "updates, for each PaymentIntent", From: "2"},
		{N: 10, Per: time.Minute, Where: "new invoices, for each subscription", From: "2"},
		{N: 20, Per: 24 * time.Hour, Where: "new invoices, for each subscription", From: "2"},
		{N: 200, Per: time.Hour, Where: "changes of quantity, for each subscription", From: "2"},
		{N: 1000, Per: time.Second, For: "account", Where: "meter events, live mode, which do not count as calls", From: "1"},
	},
	Waits: []Fact{
		{"A concurrency limiter stands beside the rate limiter, without a figure.", "1 2"},
		{
			"Stripe-Rate-Limited-Reason says which limit it was: global-rate, endpoint-rate, global-concurrency, endpoint-concurrency " +
				"or resource-specific.",
			"18",
		},
		{"A 429 may also be a lock of an object, which the SDKs retry.", "16"},
		{
			"The header Stripe-Should-Retry says whether to retry; without it the Go SDK retries a 409, a 5xx, and a 429 " +
				"with the code lock_timeout.",
			"9",
		},
	},
	Lists: []List{
		{
			Name: "list", How: belay.LastIDPages{Items: "data", Param: "starting_after", More: "has_more"}, Most: 100,
			Text: "parameter limit; newest first", From: "6",
		},
		{Name: "search", How: belay.CursorPages{Items: "data", Cursor: "next_page", Param: "page"}, From: "15"},
	},
	Errors: Errors{
		Code: "error.code", Message: "error.message", RequestHeader: "Request-Id", From: "3 9",
		Notes: []Fact{{"error.code is often null; error.type is the class: api_error, card_error, idempotency_error, invalid_request_error.", "3"}},
	},
	Idempotency: Idempotency{
		Header: "Idempotency-Key", Lasts: 24 * time.Hour, From: "4 5 9",
		Notes: []Fact{
			{"Of v1 the first answer is kept, a 500 too, once the work had begun; v2 tries failed work again.", "4 5"},
			{"A key has 255 characters at most. Nothing is kept of a call that did not pass validation, or whose twin was running (409).", "5 9"},
			{"A key may be forgotten after 24 hours; other parameters with the same key are an error.", "5"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Stripe() }, Over: 72 * time.Hour, From: "8 14",
		Notes: []Fact{
			{"In live mode a delivery is repeated for up to three days, in a sandbox three times in a few hours.", "14"},
			{"Order is not kept, and an event may come twice.", "14"},
		},
	},
	Changes: []Fact{
		{"The list of events reaches back 30 days.", "13"},
		{"Events are filtered by created, type and types, and have the version of the API at their creation.", "13 15"},
	},
	Quirks: []Fact{
		{"The header Stripe-Version chooses the version, and Stripe-Account or Stripe-Context another account.", "9"},
		{"Test and live mode have limits of their own.", "1 2"},
		{"OAuth errors are a flat object, on another host than the API.", "9 10"},
	},
	Unknown: []string{"Retry-After, and headers of what is left", "the body of a 429", "the lifetime of tokens of Stripe Apps", "limits of the token endpoint"},
}
