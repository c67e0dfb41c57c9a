package partners

import (
	"time"

	"github.com/belay-go/belay"
)

// Freshdesk is a help desk.
var Freshdesk = &Partner{
	Name: "freshdesk", Title: "Freshdesk", Tier: 3,
	Docs: "https://developers.freshdesk.com/api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://support.freshdesk.com/support/solutions/articles/225439",
		"2":  "https://support.freshdesk.com/support/solutions/articles/225440",
		"3":  "https://support.freshdesk.com/support/solutions/articles/225431, and 225432 (older)",
		"4":  "https://developers.freshworks.com/docs/app-sdk/v3.0/deal/oauth-implementation-in-apps/oauth-in-external-apps (for a sister product)",
		"5":  "https://developers.freshworks.com/docs/app-sdk/v3.0/service_device, oauth-access-freshworks-resources (for a sister product)",
		"6":  "https://nango.dev/docs/api-integrations/freshservice-oauth (third party, for a sister product)",
		"7":  "https://github.com/ktsaou/freshdesk_mcp, FRESHDESK_API_REFERENCE.md (third party)",
		"8":  "https://truto.one, guide to the Freshdesk API (third party)",
		"9":  "https://crmcurator.com, freshworks-api-primer (third party)",
		"10": "https://bollardai.com/resources/freshdesk (third party)",
		"11": "https://github.com/api-evangelist/freshdesk, limits (third party, generated)",
		"12": "https://docs.exalate.com/docs/freshservice-rate-limits (third party, for a sister product)",
		"13": "https://getmacha.com/blog/how-to-use-the-freshdesk-api (third party)",
		"14": "https://github.com/wordfence/freshdesk_mcp, docs/common.md (third party)",
		"16": "https://rdrr.io, package freshdeskr (third party)",
	},
	Base: Base{URL: "https://{domain}.freshdesk.com/api/v2", From: "7 13"},
	Auth: []Auth{
		{
			Kind: "basic", Text: "an agent's API key as the user's name, with any password; it may do what the agent may",
			From: "9 10 13",
		},
	},
	OAuth: OAuth{Notes: []Fact{
		{"Freshworks has OAuth for organizations, at their own hosts under /oauth/v2/authorize.", "4 6 9"},
		{"It is said to be for apps of its marketplace.", "9"},
		{"Tokens end, and must be renewed.", "5"},
		{"Scopes can be added to a client later, and not removed.", "6"},
	}},
	Limits: []Limit{
		{N: 50, Per: time.Minute, For: "account", Plan: "trial", From: "1"},
		{N: 200, Per: time.Minute, For: "account", Plan: "Growth", From: "1"},
		{N: 400, Per: time.Minute, For: "account", Plan: "Pro", From: "1"},
		{N: 700, Per: time.Minute, For: "account", Plan: "Enterprise", From: "1"},
		{
			N: 20, Per: time.Minute, For: "account", Plan: "Growth", Where: "list of tickets, list of contacts, each",
			From: "1",
		},
		{N: 100, Per: time.Minute, For: "account", Plan: "Pro", Where: "list of tickets, list of contacts, each", From: "1"},
		{
			N: 200, Per: time.Minute, For: "account", Plan: "Enterprise", Where: "list of tickets, list of contacts, each",
			From: "1",
		},
		{N: 80, Per: time.Minute, For: "account", Plan: "Growth", Where: "create tickets, update tickets, each", From: "1"},
		{N: 160, Per: time.Minute, For: "account", Plan: "Pro", Where: "create tickets, update tickets, each", From: "1"},
		{
			N: 280, Per: time.Minute, For: "account", Plan: "Enterprise", Where: "create tickets, update tickets, each",
			From: "1",
		},
	},
	Waits: []Fact{
		{"A 429 has Retry-After.", "7 11 14"},
		{"The headers are X-RateLimit-Total, X-RateLimit-Remaining and X-RateLimit-Used-CurrentRequest.", "11"},
		{"At a sister product they count by minute, and calls that fail count too.", "12"},
		{
			"Each include of the list of tickets costs one call more; webhooks that an account sends spend of the same limit.",
			"3 7",
		},
		{"In 2024 accounts were being moved by and by from limits by hour, of 3000 or 5000, to those by minute.", "1 11"},
	},
	Lists: []List{
		{
			Name: "list", How: belay.LinkPages{}, Most: 100, Text: "parameters page and per_page, 30 if left out; tickets end at page 300",
			From: "7 8 14",
		},
		{
			Name: "search", How: belay.NumberPages{Items: "results", Size: 30}, Most: 30,
			Text: "search of tickets, contacts, companies; at most 10 pages", From: "7 14",
		},
	},
	Errors: Errors{Notes: []Fact{
		{"400 is a wrong body or query, 401 a missing or wrong key.", "2"},
		{"403 is a right or a feature that is missing, or too many logins that failed.", "2"},
	}},
	Webhooks: Webhooks{Notes: []Fact{
		{"They are actions in an account's rules, which an administrator makes; the API has no subscriptions.", "3 10"},
		{"Those beyond the account's limit wait for the next hour, and are dropped after 24 hours.", "3"},
	}},
	Changes: []Fact{
		{
			"Tickets take updated_since, and order_by=updated_at; without updated_since only those created (7) or updated " +
				"(16) in the last 30 days are listed.",
			"7 16",
		},
		{"Contacts take _updated_since.", "7"},
		{"Deleted tickets are listed with filter=deleted, deleted contacts with state=deleted.", "7"},
	},
	Quirks: []Fact{
		{"The plan Free has no calls at all.", "1"},
		{"Pages above 500 are very slow.", "7"},
		{"A ticket with include=conversations has only the oldest ten.", "7"},
		{"Lists leave out the description unless it is included, for accounts made after 2018-11-30.", "7"},
		{"Categories, folders and articles of solutions come without pages.", "7"},
	},
	Unknown: []string{
		"the body of errors, and the header of a call's id", "the unit of Retry-After in the vendor's words",
		"the endpoints and lifetimes of OAuth, and whether /api/v2 takes its tokens",
		"a signature, headers and retries of webhooks",
		"keys of idempotency",
	},
}
