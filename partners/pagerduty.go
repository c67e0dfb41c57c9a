package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// PagerDuty calls people when something breaks.
var PagerDuty = &Partner{
	Name: "pagerduty", Title: "PagerDuty", Tier: 1,
	Docs: "https://developer.pagerduty.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/PagerDuty/developer-docs, docs/REST-API/04-Rate-Limits.md",
		"2":  "https://github.com/PagerDuty/developer-docs, docs/REST-API/09-Pagination.md",
		"3":  "https://github.com/PagerDuty/developer-docs, docs/REST-API/14-Errors.md",
		"4":  "https://github.com/PagerDuty/developer-docs, docs/app-integration-development/09-User-OAuth-Token-Code-Grant.md",
		"5":  "https://github.com/PagerDuty/developer-docs, docs/webhooks/04-Signatures.md",
		"6":  "https://github.com/PagerDuty/developer-docs, docs/webhooks/02-Behavior.md",
		"7":  "https://github.com/PagerDuty/python-pagerduty, sphinx/source/user_guide.rst (the vendor's SDK)",
		"8":  "https://support.pagerduty.com/docs/rest-api-rate-limits",
		"9":  "https://github.com/PagerDuty/developer-docs, commit fbbd906, Extended OAuth (early access)",
		"10": "https://github.com/PagerDuty/go-pagerduty, package webhookv3 of v1.8.0 (the vendor's SDK)",
		"11": "https://www.svix.com/resources/webhook-reviews/pagerduty-webhook-review/ (third party)",
		"12": "https://github.com/PagerDuty/developer-docs, docs/REST-API/02-Authentication.md",
		"13": "https://github.com/PagerDuty/developer-docs, docs/webhooks/01-v3-Overview.md",
	},
	Base: Base{
		URL: "https://api.pagerduty.com", Headers: []Header{{"Accept", "application/vnd.pagerduty+json;version=2"}},
		From: "4 7",
	},
	Auth: []Auth{
		{Kind: "header", Name: "Authorization", Text: "Token token= and the account's or a user's API key", From: "7 12"},
		{Kind: "oauth", Text: "user tokens by authorization code, app tokens by client credentials", From: "4 9"},
	},
	OAuth: OAuth{
		AuthURL: "https://identity.pagerduty.com/oauth/authorize", TokenURL: "https://identity.pagerduty.com/oauth/token",
		StyleKnown: true, // StyleBody
		Access:     240 * time.Hour, Keep: []string{"scope", "id_token"}, From: "4",
		Notes: []Fact{
			{"A wrong scope is no error: the token then has openid only, so compare the scope of the answer.", "4"},
			{"A code lives for 30 seconds.", "4"},
			{"A refresh gives a new access token and a new refresh token.", "4"},
			{"PKCE is a flow of its own, for mobile apps and those in a browser.", "4"},
			{
				"App tokens are from https://identity.pagerduty.com/global/oauth/token, with a scope as_account-REGION.SUBDOMAIN.",
				"9",
			},
			{"The lifetime of ten days is that of the examples.", "4"},
		},
	},
	Limits: []Limit{
		{
			N: 960, Per: time.Minute, For: "token",
			Where:   "an account's key, all keys of a user, an app in an account, an app for a user",
			Default: true, From: "1",
		},
	},
	Waits: []Fact{
		{
			"The headers ratelimit-limit, -remaining and -reset show the limit that is nearest; the reset is in seconds " +
				"from now.",
			"1 8",
		},
		{"Some operations have limits of their own beside the general one.", "1"},
		{"A 429 may come without headers and without a body.", "1"},
		{"Call serially with one token, says the vendor.", "1"},
	},
	Lists: []List{
		{
			Name: "incidents", How: belay.OffsetPages{Items: "incidents", Limit: 100, More: "more"}, Most: 100,
			Text: "most lists are so, under a key named for their kind; offset and limit together are 10,000 at most",
			From: "2 7",
		},
		{
			Name: "audit", How: belay.CursorPages{Items: "records", Cursor: "next_cursor", Param: "cursor", Required: true},
			Text: "/audit/records", From: "2 7",
		},
	},
	Errors: Errors{
		Code: "error.code", Message: "error.message", RequestHeader: "X-Request-Id", From: "3 7",
		Notes: []Fact{
			{
				"Codes are numbers: 2020 is a limit, 2006 a failed authentication, 1005 data that has changed, 2016 took too " +
					"long.",
				"1 3",
			},
			{"A 402 is an ability that the plan lacks; a 403 may be a scope that is too small.", "3 4"},
			{"Try again after 408, 429 and 500, not after 400.", "3"},
			{"error.errors has the details, as sentences.", "3"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{
			{"Events are joined by dedup_key; the SDK looks a record up before it creates one.", "7"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.PagerDuty() },
		Answer: 5 * time.Second, Over: 48 * time.Hour, From: "5 6 13",
		Notes: []Fact{
			{
				"X-PagerDuty-Signature has v1= and the HMAC-SHA256 of the raw body in hex, several with commas between while a key " +
					"changes; no time is signed.", "5",
			},
			{"The key is made by PagerDuty, and shown when the subscription is created.", "5"},
			{
				"A body has one event: event.id tells events apart, event.event_type is its kind, event.occurred_at its time.",
				"13",
			},
			{
				"Tried again: timeouts, 5xx, 429, connections, DNS, expired certificates. Other 4xx and most TLS errors are " +
					"final.",
				"6",
			},
			{"Later events of the same subscription and record wait behind one that fails.", "6"},
			{"A delivery may come more than once; the header X-Webhook-Id is the same in each attempt.", "6"},
			{"Above 55 KB details are left out, and what has more than 256 KB in the end is dropped.", "6"},
			{"Answer 400 to a malformed request and 403 to a bad signature, to stop repetitions.", "10"},
			{
				"Three webhooks in a row that are dropped, by a final 4xx too, disable the subscription for 24 hours; its " +
					"queue is lost.",
				"6",
			},
			{"Actions on incidents have 16 seconds.", "6"},
			{"A third party tells of four tries in 20 minutes, an older version of the vendor's page of four retries.", "6 11"},
		},
	},
	Changes: []Fact{
		{"Log entries take since and until.", "7"},
		{"Webhooks are better than polling, says the vendor.", "1"},
	},
	Quirks: []Fact{
		{"Accounts of the EU are at https://api.eu.pagerduty.com, their events at https://events.eu.pagerduty.com.", "7"},
		{"With an account's key some calls need the header From, with a user's address.", "7"},
		{"Names of array parameters end in [].", "7"},
		{"Pages are computed anew for each request: writes in between skip or repeat items.", "7"},
		{"The total of a list is null unless total=true is asked for.", "2"},
		{"Creating overrides of a schedule succeeds with a list in which each item has a status and errors.", "7"},
	},
	Unknown: []string{
		"Retry-After", "an address to revoke tokens", "lifetime of refresh tokens, and whether a used one works on",
		"limits of the token endpoint, and of events", "how an expired token is told", "how webhooks begin",
		"changes since a time for other kinds, and deleted records", "rules of 409",
		"the longest span of a list of incidents",
	},
}
