package partners

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Xero keeps the books of small companies.
var Xero = &Partner{
	Name: "xero", Title: "Xero", Tier: 2,
	Docs: "https://developer.xero.com/documentation", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.xero.com/faq/limits",
		"2":  "https://developer.xero.com/faq/limits/retrieving-data",
		"3":  "https://developer.xero.com/faq/custom-integration",
		"4":  "https://github.com/XeroAPI/xero-node, README.md (the vendor's SDK, older)",
		"5":  "https://github.com/XeroAPI/xero-node, src/XeroClient.ts (the vendor's SDK, older)",
		"6":  "https://github.com/XeroAPI/Xero-OpenAPI, xero_accounting.yaml (the vendor's specification)",
		"7":  "https://github.com/XeroAPI/Xero-OpenAPI, xero-webhooks.yaml (the vendor's specification)",
		"8":  "https://github.com/XeroAPI/xero-python, release 1.26.0 (the vendor's SDK)",
		"9":  "https://github.com/XeroAPI/xero-node, 4.36.0 (the vendor's SDK)",
		"10": "https://github.com/XeroAPI/Xero-NetStandard, release 3.22.1 (the vendor's SDK)",
		"11": "https://github.com/XeroAPI/Xero-Java/pull/331 (the vendor's SDK)",
		"12": "https://developer.xero.com/documentation/webhooks/configuring-your-server (older)",
		"13": "https://developer.xero.com/documentation/webhooks/overview (older)",
		"14": "https://codat.zendesk.com/hc/en-gb/articles/8045117943453-Xero-API-Rate-Limiting (third party)",
		"15": "https://nango.dev/blog/xero-oauth-refresh-token-invalid-grant (third party)",
		"16": "https://gist.github.com/channeladam/5d4d88d44a9853d00537318a8d2b47fd (third party, older)",
		"17": "https://docs.databricks.com/aws/en/ingestion/lakeflow-connect/xero-troubleshoot (third party)",
		"18": "https://truto.one/blog/how-do-i-integrate-with-the-xero-api-a-guide-for-b2b-saas, and unified.to and apideck.com " +
			"on Xero (third parties)",
		"19": "https://dev.to/ilshadyx/xero-api-integration-guide-2026-oauth-tenants-and-your-first-query-ked (third party)",
		"20": "https://mcp.waymark.network/r/b75c3b9d-c9fe-40fd-8dde-f012e19a6bf5 (third party)",
		"21": "https://github.com/hookdeck/webhook-skills, xero-webhooks (third party)",
		"23": "https://github.com/XeroAPI/Xero-OpenAPI, xero_bankfeeds.yaml (the vendor's specification)",
		"24": "https://www.skills.sh/okou-ai/vm0-skills/xero (third party)",
		"26": "https://github.com/XeroAPI/xero-node, src/gen/model/accounting/contacts.ts and invoices.ts (the vendor's SDK)",
		"27": "https://developer.xero.com/faq/oauth2",
	},
	Base: Base{URL: "https://api.xero.com", From: "5 6"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, with the client's secret or with PKCE", From: "3 5"},
		{Kind: "oauth", Text: "client credentials of a Custom Connection: paid, in four countries", From: "3"},
	},
	OAuth: OAuth{
		AuthURL: "https://login.xero.com/identity/connect/authorize", TokenURL: "https://identity.xero.com/connect/token",
		Style: oauth.StyleHeader, StyleKnown: true, PKCE: No, Access: 30 * time.Minute, Refresh: 60 * 24 * time.Hour, Rotates: Yes,
		Keep: []string{"id_token", "scope"}, From: "3 4 5 16 23 27",
		Notes: []Fact{
			{"A refresh token needs the scope offline_access, and is lost if it is not used for 60 days.", "4 17"},
			{"PKCE is the flow of native apps, which have no secret.", "27"},
			{"Each refresh gives a new refresh token; the old one may be tried again for 30 minutes.", "27"},
			{"A dead refresh token is a 400 with invalid_grant, and trying again is of no use.", "15"},
			{
				"GET /connections lists the organisations of a token by tenantId; DELETE /connections/{id} disconnects one.",
				"4 5",
			},
			{"Disconnecting one organisation does not end the token.", "4 5"},
		},
	},
	Limits: []Limit{
		{N: 60, Per: time.Minute, For: "app and organisation", Default: true, From: "1 17"},
		{N: 5, Of: inFlight, For: "app and organisation", Default: true, From: "1 17"},
		{
			N: 5000, Per: 24 * time.Hour, For: "app and organisation", Where: "since March 2026 said to differ by plan",
			From: "1 17 18",
		},
		{N: 10_000, Per: time.Minute, For: "app", Where: "all organisations together", Default: true, From: "1"},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in seconds, which may be many hours when the limit of the day is reached.", "1 14"},
		{"X-MinLimit-Remaining, X-DayLimit-Remaining and X-AppMinLimit-Remaining say how many calls are left.", "1"},
		{"The vendor's SDK for .NET tells with a 429 which limit it was.", "10"},
	},
	Lists: []List{
		{
			Name: "contacts", How: belay.NumberPages{Items: "Contacts", Size: 100},
			Text: "GET /api.xro/2.0/Contacts", From: "2 6 26",
		},
		{
			Name: "invoices", How: belay.NumberPages{Items: "Invoices", Size: 100},
			Text: "GET /api.xro/2.0/Invoices, with line items", From: "2 6 26",
		},
	},
	Errors: Errors{
		Code: "Type", Message: "Message", Classify: classifyXero, From: "6",
		Notes: []Fact{
			{"ErrorNumber is a number beside Type; Elements[].ValidationErrors[].Message says more than Message.", "6"},
			{
				"A 401 that a refresh does not mend is mostly an expired refresh token, a changed secret or a disconnected app.",
				"17",
			},
			{"A 403 is an organisation that is not connected, a person who lost access, or a product that it lacks.", "17"},
		},
	},
	Idempotency: Idempotency{
		Header: "Idempotency-Key", From: "8 9 23",
		Notes: []Fact{{"The key is for all PUT, POST and PATCH, and has at most 128 characters.", "8 9 23"}},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Xero() }, Answer: 5 * time.Second, Over: 24 * time.Hour,
		From: "12",
		Notes: []Fact{
			{"The address must be https, at port 443.", "12"},
			{"The answer must be a 200 without body and cookies, and a 401 when the signature is wrong.", "12"},
			{"A new address first gets deliveries without events, some of which are signed wrongly on purpose.", "12"},
			{"After 24 hours of failures the webhook is switched off, until somebody enables it.", "12"},
			{"Events name a resource and no more: fetch it. They have no id.", "7 12"},
			{"Events are about contacts, invoices and subscriptions; credit notes are reported, too.", "7 21"},
			{"A delivery has firstEventSequence and lastEventSequence.", "12 13"},
		},
	},
	Changes: []Fact{
		{"The request's header If-Modified-Since asks for what has changed since; records have UpdatedDateUTC.", "2 6"},
		{"Keep a small overlap; what was deleted is told by Status, and archived records may need a flag.", "20"},
	},
	Quirks: []Fact{
		{"Each call needs the header Xero-Tenant-Id with the organisation, since a token may reach several.", "4 6 23 24"},
		{"Answers are in XML unless JSON is asked for.", "19"},
		{"Times in JSON are written as /Date(milliseconds+0000)/.", "4 6"},
		{"Bank transactions, manual journals, Payroll, Files and Assets have pages, too; accounts come as a whole.", "2 6"},
		{"A filter by IDs holds some 52 of them, because of the address's length.", "11"},
		{"Accounts are created by PUT and updated by POST.", "6"},
		{"Newer answers are said to have an object pagination.", "20"},
		{"Since 2 March 2026 there are said to be paid tiers, with ceilings of connections and a price for bytes.", "18"},
	},
	Unknown: []string{
		"the address of revocation",
		"limits of the token endpoint", "limits of the tiers", "the request's id", "how long idempotency keys live",
		"batches that fail in part",
	},
}

// notLetter reports whether a rune is of no code, which at Xero is a word such as ValidationException.
func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// classifyXero adds the code of an error, which Xero calls Type.
func classifyXero(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if v.Class == belay.ClassOK || v.Code != "" || a.Response == nil {
		return v
	}
	var body struct{ Type string }
	if json.Unmarshal(a.Peek(), &body) == nil && len(body.Type) <= 100 && !strings.ContainsFunc(body.Type, notLetter) {
		v.Code = body.Type
	}
	return v
}
