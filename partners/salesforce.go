package partners

import (
	"time"

	"github.com/belay-go/belay"
)

// Salesforce is a CRM that each customer shapes for itself.
var Salesforce = &Partner{
	Name: "salesforce", Title: "Salesforce", Tier: 2,
	Docs: "https://developer.salesforce.com/docs/platform/api-rest/guide", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet/guide/salesforce-app-limits-platform-api.html",
		"2":  "https://developer.salesforce.com/docs, atlas 200.0 and 234.0, api_rest, headers_api_usage.htm (older)",
		"3":  "https://developer.salesforce.com/docs/atlas.en-us.264.0.api_rest.meta/api_rest/errorcodes.htm, and the pages of errors of the Connect and UI APIs",
		"4":  "https://developer.salesforce.com/docs/platform/api-rest/guide/resources-queryall.md, and dome-queryall.md",
		"5":  "https://developer.salesforce.com/docs/platform/api-rest/guide/resources-getdeleted.md, and dome-get-deleted.md",
		"6":  "https://help.salesforce.com, remoteaccess_oauth_endpoints",
		"7":  "https://login.salesforce.com/.well-known/openid-configuration",
		"8":  "https://help.salesforce.com, remoteaccess_oauth_refresh_token_flow, and older pages of the REST guide",
		"9":  "https://help.salesforce.com, remoteaccess_oauth_web_server_flow",
		"10": "https://jsforce.github.io/jsforce/doc/OAuth2.html, and types/oauth2.TokenResponse.html (third party)",
		"11": "https://developer.salesforce.com/docs/platform/api-metadata/guide/meta-error-handling-session-exp.html",
		"12": "https://nango.dev/blog/fix-salesforce-invalid-session-id-error (third party)",
		"13": "https://developer.salesforce.com/docs/platform/pub-sub-api/guide/event-message-durability.md",
		"14": "https://developer.salesforce.com/docs, atlas 246.0, sforce_api_om_outboundmessaging_notifications.htm",
		"15": "copies of the REST guide, found by their text (third parties)",
		"16": "https://github.com/api-evangelist/salesforce (third party, read from the vendor's page)",
		"17": "https://developer.salesforce.com/docs, atlas 260.0, api_streaming, using_streaming_api_durability.htm",
		"18": "https://developer.salesforce.com/docs/platform/api-rest/guide/headers-queryoptions.html",
	},
	Base: Base{URL: "https://{mydomain}.my.salesforce.com", From: "4 5"},
	Auth: []Auth{{Kind: "oauth", Text: "authorization code, called web server flow, with the scopes api and refresh_token", From: "7 9"}},
	OAuth: OAuth{
		AuthURL:    "https://login.salesforce.com/services/oauth2/authorize",
		TokenURL:   "https://login.salesforce.com/services/oauth2/token",
		RevokeURL:  "https://login.salesforce.com/services/oauth2/revoke",
		StyleKnown: true, // StyleBody
		PKCE:       Yes, Keep: []string{"instance_url", "id"}, From: "6 7 8 9 10 15",
		Notes: []Fact{
			{"Sandboxes log in at https://test.salesforce.com; an org's own domain works as well.", "6"},
			{"instance_url of the answer is the base of calls, and links of pages are relative to it.", "8 15"},
			{"An access token lives as long as a session, which the org or the app sets; two hours are the default.", "8 11"},
			{"No expires_in was seen in the answer, and a third party's types have none.", "10"},
			{"Rotation of refresh tokens is a setting of the app: with it each one works once.", "8"},
			{"The secret may be left out if the app does not require it.", "8"},
		},
	},
	Limits: []Limit{
		{N: 25, Of: "calls in flight for 20 s or longer", For: "account", Where: "production and sandboxes", From: "1"},
		{N: 5, Of: "calls in flight for 20 s or longer", For: "account", Plan: "Developer, trial", From: "1"},
		{
			N: 100_000, Per: 24 * time.Hour, For: "account", Plan: "Enterprise, Professional",
			Where: "and 1,000 for each licence", From: "16",
		},
		{
			N: 100_000, Per: 24 * time.Hour, For: "account", Plan: "Unlimited, Performance",
			Where: "and 5,000 for each licence", From: "16",
		},
		{N: 5_000_000, Per: 24 * time.Hour, For: "account", Where: "full sandbox", From: "16"},
	},
	Waits: []Fact{
		{"Sforce-Limit-Info has api-usage=used/limit of 24 hours, sometimes per-app-api-usage too, and no time of reset.", "2 15"},
		{"A limit is a 403 with the code REQUEST_LIMIT_EXCEEDED.", "1 15 16"},
		{"Where long calls are too many, it passes when they end.", "1"},
		{"The UI API answers 503 to too many requests.", "3"},
	},
	Lists: []List{
		{
			Name: "query", How: belay.NextURLPages{Items: "records", URL: "nextRecordsUrl", End: "done"}, Most: 2000,
			Text: "/query and /queryAll, parameter q; pages of any size up to the header Sforce-Query-Options: " +
				"batchSize=200 to 2000",
			From: "4 15 18",
		},
	},
	Errors: Errors{
		Code: "[].errorCode", Message: "[].message", From: "3 15 16",
		Notes: []Fact{
			{"A body of an error is an array; that of the token endpoint is OAuth's object.", "15 16"},
			{
				"A 401 with INVALID_SESSION_ID also tells of a wrong instance, an address or an app that is blocked: refresh " +
					"once, then stop.",
				"11 12",
			},
			{"A 300 is an external id that several records have; the body lists them.", "3"},
			{"410 is a resource that has been retired, 412 a precondition.", "3"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{{"No key of requests was seen; records are matched by external ids.", "3"}},
	},
	Webhooks: Webhooks{
		Over: 24 * time.Hour, From: "14",
		Notes: []Fact{
			{"No signed webhooks were seen. Outbound messages are SOAP, with 100 notifications at most.", "14"},
			{
				"Outbound messages come twice, out of order or never, and with the latest state only; gaps grow to two hours.",
				"14",
			},
			{"Events of the Pub/Sub API are kept for 72 hours, older streaming events for 24: keep the replay id.", "13 17"},
		},
	},
	Changes: []Fact{
		{
			"/sobjects/NAME/deleted with start and end lists deleted ids of the last 15 days, of records that the user may see; the log is " +
				"cut back by a job every two hours, and more than 600,000 are the error EXCEEDED_ID_LIMIT.",
			"5",
		},
		{"queryAll has deleted records too, by isDeleted, until they are purged.", "4"},
	},
	Quirks: []Fact{
		{"The version is in the path: /services/data/v68.0.", "4 5"},
		{"Times of answers have an offset without a colon, such as +0000.", "5"},
		{"The next link of queryAll says query, and still goes on with queryAll.", "4"},
		{"A call ends after ten minutes, a query by the limits of SOQL.", "1"},
	},
	Unknown: []string{
		"Retry-After", "a header with the id of a call", "limits of the token endpoint", "when refresh tokens end",
		"how long the next link of a query lives", "the list of updated records",
		"what an outbound message wants as its answer",
		"which errors of composite calls stand in a 200",
	},
}
