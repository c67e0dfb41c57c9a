package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Square is a payment provider for shops.
var Square = &Partner{
	Name: "square", Title: "Square", Tier: 2,
	Docs: "https://developer.squareup.com/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.squareup.com/docs/oauth-api/overview",
		"2":  "https://developer.squareup.com/docs/oauth-api/refresh-revoke-limit-scope",
		"3":  "https://developer.squareup.com/reference/square/o-auth/obtain-token",
		"4":  "https://developer.squareup.com/reference/square/oauth-api/renew-token",
		"5":  "https://developer.squareup.com/docs/build-basics/handling-errors",
		"6":  "https://developer.squareup.com/reference/square/objects/ErrorCategory",
		"7":  "https://developer.squareup.com/forums, threads 15492 and 3338 (the vendor's staff)",
		"8":  "https://developer.squareup.com/forums, threads 17949 and 22197",
		"9":  "https://developer.squareup.com/docs/working-with-apis/pagination",
		"10": "https://developer.squareup.com/docs/working-with-apis/idempotency",
		"11": "https://developer.squareup.com/docs/sdks/java/common-square-api-patterns",
		"12": "https://developer.squareup.com/docs/webhooks/step2subscribe",
		"13": "https://developer.squareup.com/docs/webhooks/step3validate",
		"14": "https://developer.squareup.com/docs/webhooks/step4manage",
		"15": "https://developer.squareup.com/docs/webhooks/troubleshooting",
		"16": "https://developer.squareup.com/docs/webhooks-overview",
		"17": "https://developer.squareup.com/docs/webhooks-api/delivery-sla (older)",
		"18": "https://github.com/airbytehq/airbyte/issues/7080 (third party)",
		"19": "https://github.com/hookdeck/webhook-skills, square-webhooks (third party)",
		"20": "https://github.com/kofc7186/fundraiser-manager, types generated from the vendor's specification (third party)",
		"21": "https://developer.squareup.com/docs/changelog/connect-logs/2023-08-02",
		"22": "Gravitywell Square Utils, the text of a library (third party, older)",
		"23": "https://developer.squareup.com/docs/testing/sandbox",
		"24": "https://github.com/square/square-php-sdk, src/Apis/OAuthApi.php (the vendor's SDK)",
		"25": "https://github.com/square/connect-javascript-sdk, docs/ListCustomersResponse.md (the vendor's SDK, older)",
		"26": "https://developer.squareup.com/docs/oauth-api/receive-and-manage-tokens",
	},
	Base: Base{URL: "https://connect.squareup.com", Sandbox: "https://connect.squareupsandbox.com", From: "8 23"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, with the client's secret or with PKCE", From: "1 3"},
		{Kind: "bearer", Text: "personal access token", From: "3 4"},
	},
	OAuth: OAuth{
		AuthURL: "https://connect.squareup.com/oauth2/authorize", JSON: true, TokenURL: "https://connect.squareup.com/oauth2/token",
		RevokeURL: "https://connect.squareup.com/oauth2/revoke", StyleKnown: true, PKCE: No, // StyleBody
		Access: 30 * 24 * time.Hour, Refresh: -1, Rotates: No, Keep: []string{"merchant_id", "expires_at", "short_lived"},
		From: "1 3 18 23 24",
		Notes: []Fact{
			{"The end of the token is the time expires_at, and not a number of seconds.", "3"},
			{"The token endpoint takes JSON.", "3 18 24"},
			{"PKCE is a flow of its own: no secret, and each refresh returns a new refresh token, good for 90 days and once.", "3 26"},
			{
				"With short_lived a token lasts 24 hours, and no refresh token comes; scopes can narrow a refreshed token.",
				"3 24",
			},
			{"The vendor advises to refresh every seven days, and to raise an alarm when a token is older than eight.", "2"},
			{"A revocation has the header Authorization: Client SECRET, and ends all tokens of the seller for the app.", "24"},
			{"A nightly refresh of many sellers ran into a limit, with an error of the shape of API v1.", "7"},
			{"The code works once, within five minutes.", "1"},
		},
	},
	Waits: []Fact{
		{"There are limits, and they are not published.", "7"},
		{"A 429 has the code RATE_LIMITED; back off exponentially, with jitter.", "6"},
	},
	Lists: []List{
		{
			Name: "customers", How: belay.CursorPages{Items: "customers", Cursor: "cursor", Param: "cursor"},
			Text: "parameter limit; the sizes that are allowed differ by list, and pages may be longer or shorter",
			From: "9 20 21 25",
		},
	},
	Errors: Errors{
		Code: "errors[].code", Message: "errors[].detail", From: "5",
		Notes: []Fact{
			{"There may be several errors; the status is that of the first.", "5"},
			{"A bulk call may answer 200 with errors of single operations.", "5"},
			{"errors[].category is the class, such as AUTHENTICATION_ERROR, RATE_LIMIT_ERROR or PAYMENT_METHOD_ERROR.", "6"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{
			"The key is the member idempotency_key of the body of most writes; the same request gets the first answer.",
			"10 11",
		},
		{"The same key with other content is an error, though some APIs may differ.", "10 11"},
		{"Some objects have a version, for optimistic locking.", "11"},
	}},
	Webhooks: Webhooks{
		Scheme: webhook.Square, Over: 24 * time.Hour, From: "12 15 19",
		Notes: []Fact{
			{"The same event may come more than once, with the same event_id.", "14 16"},
			{"Answer a 2xx as soon as possible; an older page wants it within ten seconds.", "16 17"},
			{"After three weeks without a single 2xx the subscription is switched off, with a mail each week.", "14"},
			{"The header square-environment says whether the account is one of tests.", "12"},
			{"A notice needs the matching permission of the seller.", "15"},
			{"The old header x-square-signature is HMAC-SHA1 over the same text.", "22"},
			{"Anybody can call the address, so each notice must be verified.", "13"},
		},
	},
	Changes: []Fact{{"An API of events shows notifications that were missed.", "15"}},
	Quirks: []Fact{
		{"The header Square-Version names the version of the API by its date; a webhook subscription has its own.", "8 12"},
		{"The next page wants the whole first request again, with the cursor; a page lives for a limited time.", "9 21"},
		{"Several subscriptions that share one address are a cause of signatures that do not verify.", "15"},
	},
	Unknown: []string{
		"Retry-After, and headers of limits", "the header of the request's id", "the code of an expired token",
		"length and life of idempotency keys", "the gaps between deliveries of a webhook",
		"filters by the time of the change",
	},
}
