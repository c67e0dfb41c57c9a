package partners

import (
	"encoding/json"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Okta is a directory of users that signs them in.
var Okta = &Partner{
	Name: "okta", Title: "Okta", Tier: 2,
	Docs: "https://developer.okta.com/docs/reference/core-okta-api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/okta/okta-developer-docs, docs/reference/core-okta-api/index.md",
		"2":  "https://github.com/okta/okta-developer-docs, docs/reference/rl-best-practices/index.md",
		"3":  "https://github.com/okta/okta-developer-docs, docs/reference/rl-additional-limits/index.md",
		"4":  "https://developer.okta.com/docs/reference/rl2-limits/, and /rl-system-log-events/",
		"5":  "https://github.com/okta/okta-developer-docs, docs/guides/implement-oauth-for-okta/main/index.md (older)",
		"6":  "https://github.com/okta/okta-developer-docs, docs/guides/refresh-tokens/main/index.md (older)",
		"7":  "https://github.com/okta/okta-developer-docs, docs/concepts/event-hooks/index.md (older)",
		"8":  "https://github.com/elastic/beats/issues/17734 (third party)",
		"9":  "https://developer.okta.com/docs/api/openapi/okta-oauth/oauth/orgas/revoke",
		"10": "https://developer.okta.com/okta-sdk-java/apidocs/com/okta/sdk/resource/api/SystemLogApi.html (the vendor's SDK)",
		"11": "https://github.com/firezone/firezone/issues/6735 (third party)",
	},
	Base: Base{URL: "https://{domain}/api/v1", From: "1"},
	Auth: []Auth{
		{Kind: "header", Name: "Authorization", Text: "SSWS and the API token", From: "1"},
		{Kind: "oauth", Text: "authorization code at the org's own server, with scopes such as okta.users.read", From: "5"},
	},
	OAuth: OAuth{
		AuthURL: "https://{domain}/oauth2/v1/authorize", TokenURL: "https://{domain}/oauth2/v1/token",
		RevokeURL: "https://{domain}/oauth2/v1/revoke", PKCE: Yes, Access: time.Hour, Refresh: -1,
		From: "5 6 9",
		Limits: []Limit{
			{N: 4, Per: time.Second, For: "user", Where: "requests with a user's name and password", From: "3 4"},
			{N: 60, Per: time.Minute, For: "app, IP and device", Where: "/authorize", From: "4"},
			{N: 5, Of: inFlight, For: "app, IP and device", Where: "/authorize", From: "4"},
			{N: 20, Per: 5 * time.Second, Where: "Identity Engine", From: "3 4"},
			{N: 10, Per: 5 * time.Second, For: "state token", Where: "Identity Engine", From: "3 4"},
		},
		Notes: []Fact{
			{"The client authenticates as its app is set to: Basic, or in the body.", "5 6 9"},
			{"Only the org's server, not a custom one at /oauth2/ID/v1, issues scopes of Okta's own API.", "3 5 6"},
			{"A refresh token needs the scope offline_access, asked for at /authorize.", "6"},
			{"A refresh token has no end by itself, but ends after 7 days without use unless the policy says otherwise.", "6"},
			{
				"Refresh tokens rotate for single-page apps only, by default; the old one works for 30 s more, and a later use of " +
					"it ends the newest one and all access tokens.", "6",
			},
			{"Scopes are at most 1,024 characters; an administrator grants them to the app.", "5 6"},
		},
	},
	Limits: []Limit{
		{
			N: 600, Per: time.Minute, For: "account",
			Where: "/api/v1/users, as an example: each group of endpoints has its own", From: "2",
		},
		{
			N: 40, Per: 10 * time.Second, For: "user", Where: "each endpoint, from the admin console and the dashboard",
			From: "3 4",
		},
		{N: 15, Of: inFlight, For: "account", Plan: "free developer", From: "3"},
		{N: 35, Of: inFlight, For: "account", Plan: "paid developer, One App", From: "3"},
		{N: 75, Of: inFlight, For: "account", Plan: "enterprise, workforce", From: "3"},
	},
	Waits: []Fact{
		{"Each answer has X-Rate-Limit-Limit, -Remaining and -Reset; the reset is a time in seconds of UTC.", "2"},
		{"Limit 0 and remaining 0 on a 429 tell of too many calls in flight; the reset is an estimate then.", "2"},
		{"All apps of an org share a quota, so that what is left may be less than was told.", "8"},
		{
			"In workforce orgs made after 2021-01-07, 10,000 licences or more multiply limits of listed endpoints by five, " +
				"more than 100,000 by ten.",
			"3",
		},
	},
	Lists: []List{
		{
			Name: "list", How: belay.LinkPages{},
			Text: "parameter limit; its most differs by endpoint, 500 for the users of an app", From: "1 2",
		},
		{
			Name: "log", How: belay.LinkPages{UntilEmpty: true},
			Text: "/logs, ascending and without until: each page has a next link, to be kept for later", From: "1",
		},
	},
	Errors: Errors{
		Code: "errorCode", Message: "errorSummary", RequestID: "errorId", Classify: classifyOkta, From: "1",
		Notes: []Fact{
			{"Only errorCode is meant for programs; errorCauses has the details.", "1"},
			{"A PUT or POST without a body and without Content-Length is a 411.", "1"},
			{"The code E0000047 was seen for a call over the limit; its status was not told.", "11"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Okta() },
		Answer: 3 * time.Second, Retries: 1, From: "7",
		Notes: []Fact{
			{"Event hooks are not signed: the header Authorization has a secret of your choice.", "7"},
			{"It begins with a GET whose header X-Okta-Verification-Challenge is wanted back as verification in JSON.", "7"},
			{"A delivery has an array data.events; uuid tells events apart, published orders them.", "7"},
			{"Delivery is at least once, and a 4xx is final.", "7"},
			{"At most 10 hooks, and 100,000 events in 24 hours.", "7"},
		},
	},
	Changes: []Fact{
		{"The system log is a feed of changes: keep its next link.", "1"},
		{
			"The log takes since, until, after, filter, q, limit and sortOrder; without since it begins 7 days before until.",
			"10",
		},
		{"Filters compare fields that an endpoint allows by eq, gt, ge, lt, le.", "1"},
	},
	Quirks: []Fact{
		{"Not all lists have pages.", "1"},
		{"New fields come without notice, and null ones may be missing.", "1"},
		{"Characters of four bytes in UTF-8 are not supported.", "1"},
	},
	Unknown: []string{
		"Retry-After", "a header with the id of a call", "details of private_key_jwt and DPoP",
		"the code of an expired token",
		"filters by lastUpdated", "how deleted records are told", "how long the log is kept", "present limits of event hooks",
	},
}

// classifyOkta adds the message of Okta's errors.
func classifyOkta(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil || v.Class == belay.ClassOK || v.Message != "" {
		return v
	}
	var body struct {
		ErrorSummary string `json:"errorSummary"`
	}
	if json.Unmarshal(a.Peek(), &body) == nil {
		v.Message = body.ErrorSummary
	}
	return v
}
