package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// MicrosoftGraph is Microsoft's API of mails, calendars, files and users.
var MicrosoftGraph = &Partner{
	Name: "microsoft-graph", Title: "Microsoft Graph", Tier: 2,
	Docs: "https://learn.microsoft.com/graph", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/throttling-limits.md (older)",
		"2":  "https://learn.microsoft.com/graph/throttling",
		"3":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/errors.md",
		"4":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/paging.md",
		"5":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/delta-query-overview.md (older)",
		"6":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/change-notifications-delivery-webhooks.md (older)",
		"7":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, include on the validation of notificationUrl",
		"8":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, api-reference/v1.0/resources/subscription.md (older)",
		"9":  "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/auth-v2-user.md (older)",
		"10": "https://github.com/MicrosoftDocs/entra-docs, docs/identity-platform/v2-oauth2-auth-code-flow.md",
		"11": "https://github.com/MicrosoftDocs/entra-docs, docs/identity-platform/refresh-tokens.md",
		"12": "https://github.com/SharePoint/sp-dev-docs, docs/general-development/how-to-avoid-getting-throttled-or-blocked-in-sharepoint-online.md",
		"13": "https://github.com/microsoftgraph/microsoft-graph-docs-contrib, concepts/best-practices-concept.md (older)",
		"14": "https://learn.microsoft.com/en-us/answers/questions/648796 (third party)",
		"15": "the event resource in the models of the Graph SDKs (the vendor's SDK)",
		"16": "https://learn.microsoft.com/graph/throttling-limits",
		"17": "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks",
	},
	Base: Base{URL: "https://graph.microsoft.com/v1.0", From: "1 4 6"},
	Auth: []Auth{{Kind: "oauth", Text: "authorization code for a user; application permissions without one", From: "9"}},
	OAuth: OAuth{
		AuthURL:  "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
		TokenURL: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token", StyleKnown: true, // StyleBody; Basic is taken too
		PKCE: Yes, Refresh: 90 * 24 * time.Hour, Rotates: No, Keep: []string{"scope", "id_token"}, From: "9 10 11",
		Notes: []Fact{
			{"The tenant is common, organizations, consumers, or the id or domain of one.", "9 10"},
			{
				"A refresh token comes with the scope offline_access only; scopes are separated by spaces, and one token is " +
					"for one API.",
				"9 10",
			},
			{"Each refresh gives a new refresh token; the old one goes on, and should be deleted.", "10 11"},
			{"Refresh tokens of single-page apps last 24 hours, and so do those that they give.", "11"},
			{"expires_in tells the life of an access token, 3599 seconds in the examples.", "10"},
			{"invalid_grant, interaction_required and consent_required need the user; temporarily_unavailable passes.", "10"},
			{"A certificate may take the place of the secret, and is preferred.", "10"},
		},
	},
	Limits: []Limit{
		{
			N: 130_000, Per: 10 * time.Second, For: "app", Where: "all of Graph, all customers together", Default: true,
			From: "16",
		},
		{N: 10_000, Per: 10 * time.Minute, For: "app and mailbox", Where: "Outlook", From: "1"},
		{N: 4, Of: inFlight, For: "app", Where: "Outlook, whatever the mailboxes; an older text counts by mailbox", From: "1"},
		{N: 150, Per: 5 * time.Minute, Of: "MB of uploads", For: "app and mailbox", Where: "Outlook", From: "1"},
		{N: 150_000, Per: 20 * time.Second, Of: "resource units", For: "app", Where: "directory, all customers together", From: "1"},
		{N: 18_000, Per: 5 * time.Minute, For: "tenant", Where: "directory, writes", From: "1"},
		{
			N: 3500, Per: 10 * time.Second, Of: "resource units", For: "app and tenant",
			Where: "directory, the smallest tenants; 5,000 from 50 users on, 8,000 from 500 on", From: "1",
		},
		{N: 3000, Per: 150 * time.Second, For: "app and tenant", Where: "directory, writes", From: "1"},
		{N: 30, Per: time.Second, For: "app and tenant", Where: "Teams, most reads", From: "1"},
		{N: 4, Per: time.Second, For: "app", Where: "Teams, one team or channel", From: "1"},
		{N: 120, Per: time.Minute, For: "user", Where: "OneNote", From: "1"},
		{N: 400, Per: time.Hour, For: "user", Where: "OneNote", From: "1"},
		{N: 5, Of: inFlight, For: "user", Where: "OneNote", From: "1"},
		{
			N: 1250, Per: time.Minute, Of: "resource units", For: "app and tenant", Where: "SharePoint, the smallest tenants",
			From: "12",
		},
		{N: 3000, Per: 5 * time.Minute, For: "user", Where: "SharePoint", From: "12"},
	},
	Waits: []Fact{
		{"A 429, at SharePoint a 503 too, has Retry-After in seconds, at times with decimals; refused calls count.", "2 12"},
		{"OneNote, identity protection, conditional access and data policy send no Retry-After.", "1"},
		{
			"The directory says what a call costs in x-ms-resource-unit, and how near the limit is in " +
				"x-ms-throttle-limit-percentage, sent above 0.8 only.",
			"1",
		},
		{"SharePoint sends RateLimit-* from 80 percent on, with seconds to the reset.", "12"},
		{"Waits of 41 and of 315 seconds were seen.", "14"},
	},
	Lists: []List{{
		Name: "value", How: belay.NextURLPages{Items: "value", URL: "@odata.nextLink"},
		Text: "parameter $top; a page may be empty; headers such as ConsistencyLevel go with each page", From: "4",
	}},
	Errors: Errors{
		Code: "error.code", Message: "error.message", RequestID: "error.innerError.request-id", RequestHeader: "request-id",
		From: "3 13",
		Notes: []Fact{
			{"innerError, also written innererror, may nest: the deepest code that is known counts.", "3"},
			{"A bad or ended token is a 401; a 403 with insufficient_claims comes from conditional access.", "3"},
			{"A 423 is a lock, a 507 a full quota, a 509 a bandwidth limit.", "3 13"},
			{"The parts of a JSON batch are counted and refused one by one.", "1 12"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"transactionId of a new calendar event lets the server drop a second one.", "15"},
		{"ETags make a 412, with the code resourceModified.", "3"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.MicrosoftGraph() }, Answer: 3 * time.Second,
		Over: 4 * time.Hour, From: "6 7",
		Notes: []Fact{
			{"Nothing is signed: each entry repeats the clientState of its subscription.", "6"},
			{"A subscription begins with a POST with validationToken, to be returned as text within ten seconds.", "7"},
			{
				"Subscriptions end: Outlook's after 4,230 minutes by an older table; a PATCH of expirationDateTime goes on.",
				"6 8",
			},
			{
				"With more than a tenth of the answers of ten minutes slower than ten seconds, notifications come ten seconds late; " +
					"with more than 15 percent, new ones are dropped for up to ten minutes, and lost. An older text has 2.9 seconds.",
				"6 17",
			},
			{"The example of a notification has an id.", "6"},
		},
	},
	Changes: []Fact{
		{"Follow …/delta to its last page, and store @odata.deltaLink; options go into the first call only.", "5"},
		{"Deleted records come as an id with @removed; records may come twice, and in any order.", "5"},
		{"A delta token of the directory lasts seven days; a 410 wants all to be read again.", "3 5"},
	},
	Quirks: []Fact{
		{"Send a GUID of your own as client-request-id.", "13"},
		{"A $top that is too large may be ignored, lowered or refused.", "4"},
		{"Drives and lists have slightly other parameters of delta.", "5"},
	},
	Unknown: []string{
		"present lifetimes of subscriptions", "present figures of Outlook, the directory, Teams and OneNote",
		"how to revoke a token", "whether a notification's id is the same when it is repeated",
		"limits of the token endpoint and of subscriptions",
	},
}
