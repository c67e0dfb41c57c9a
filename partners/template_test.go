package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Example is the template of a partner, with all that can be said of one. To add a partner:
//
//  1. Copy this file to <name>.go and testdata/example.http to testdata/<name>.http.
//  2. Write down what the partner's public pages say, each value and each sentence with its source. Leave out what they
//     do not say, and name it under Unknown. What others say is told as theirs.
//  3. Put shapes of the partner's answers into testdata/<name>.http, with values that you made up: a list of two pages
//     for each of Lists, a limit, an error, a token and a webhook. TestShapes says how they are written.
//  4. Add it to All, in all.go, and run go test ./partners -update, which also writes docs/partners.md.
//  5. Compute a signature of a webhook by other means than SignTest, which signs by the scheme that verifies it.
var Example = &Partner{
	Name: "example", Title: "Example", Tier: 1,
	Docs: "https://docs.example", Seen: "2026-11-28",
	Sources: map[string]string{
		"1": "https://docs.example/api",
		"2": "https://blog.example/what-we-learned (third party)",
	},
	Base: Base{
		URL: "https://api.example", Sandbox: "https://sandbox.example", From: "1",
		Headers: []Header{{"Example-Version", "2026-01-01"}},
	},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code", From: "1"},
		{Kind: "header", Name: "X-Api-Key", Text: "a key of one user", From: "1"},
	},
	OAuth: OAuth{
		AuthURL: "https://example/authorize", TokenURL: "https://api.example/token",
		Style: oauth.StyleHeader, StyleKnown: true, PKCE: Yes,
		Access: time.Hour, Refresh: 60 * 24 * time.Hour, Rotates: Yes,
		Keep:   []string{"account_id"},
		Limits: []Limit{{N: 10, Per: time.Minute, For: "app", From: "1"}},
		Notes:  []Fact{{"The refresh token may be used twice within a minute.", "1"}},
		From:   "1",
	},
	Limits: []Limit{
		{N: 100, Per: 10 * time.Second, For: "account", Default: true, From: "1"}, // holds on any plan
		{N: 25, Per: time.Second, When: belay.Writes, Where: "writes", Default: true, From: "1"},
		{N: 10_000, Per: 24 * time.Hour, For: "account", Plan: "Free", From: "1"},
		{N: 10, Of: "calls in flight", Observed: true, From: "2"},
	},
	Waits: []Fact{{"A 429 has Retry-After in seconds.", "1"}},
	Lists: []List{
		{Name: "list", How: belay.NumberPages{Items: "items", Size: 100, SizeParam: "limit", Total: "total"}, Most: 100, From: "1"},
	},
	Errors: Errors{
		Code: "error.code", Message: "error.message", RequestHeader: "X-Request-Id", From: "1",
		Notes: []Fact{{"A 401 has the code token_expired or token_revoked.", "1"}},
	},
	Idempotency: Idempotency{
		Header: "Idempotency-Key", Lasts: 24 * time.Hour, From: "1",
		Notes: []Fact{{"A key that comes again with another body is a 409.", "1"}},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.StandardWebhooks() },
		Answer: 10 * time.Second, Retries: 5, Over: 24 * time.Hour, From: "1",
		Notes: []Fact{{"After a day without success the webhook is switched off.", "1"}},
	},
	Changes: []Fact{{"Lists take updated_since, inclusive, in UTC.", "1"}},
	Quirks:  []Fact{{"Ids change when two records are merged.", "2"}},
	Unknown: []string{"whether a signature covers the address"},
}
