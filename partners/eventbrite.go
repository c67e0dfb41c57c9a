package partners

import (
	"net/http"

	"github.com/belay-go/belay"
)

// Eventbrite sells tickets of events.
var Eventbrite = &Partner{
	Name: "eventbrite", Title: "Eventbrite", Tier: 3,
	Docs: "https://www.eventbrite.com/platform/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://www.eventbrite.com/developer/v3/api_overview/authentication/ (older)",
		"2":  "https://www.eventbrite.com/developer/v3/api_overview/errors/ (older)",
		"3":  "https://www.eventbrite.com/developer/v3/api_overview/pagination/ (older)",
		"4":  "https://www.eventbrite.com/developer/v3/api_overview/webhooks/ (older)",
		"5":  "https://www.eventbrite.nl/platform/docs/webhooks",
		"6":  "https://www.eventbrite.com/support/articles/en_US/Q_A/understanding-errors-in-the-api-response?lg=en_US",
		"7":  "https://glama.ai/mcp/servers/@vishalsachdev/eventbrite-mcp/tree/main/api-docs (third party's copy of the vendor's text)",
		"8":  "https://www.eventbrite.it/developer/v3/quickstart/ (older)",
		"9":  "http://developer.eventbrite.com/doc/authentication/ (older: the API's first generation)",
		"10": "https://medium.com/@eventbrite/the-lifecycle-of-an-eventbrite-webhook-b7208648add0 (the vendor's engineers)",
		"11": "https://www.eventbrite.com/developer/v3/endpoints/events/ (older)",
		"12": "https://github.com/SixteenthBit/brcc_sync, docs_and_reference (third party: a recorded answer)",
		"13": "https://github.com/eventbrite/eventbrite-sdk-ruby, lib/eventbrite_sdk/resource_list.rb (the vendor's SDK)",
	},
	Base: Base{URL: "https://www.eventbriteapi.com/v3", From: "7"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, for the accounts of others", From: "1 7"},
		{Kind: "bearer", Text: "private token of one account, with all its rights", From: "1 7 8 10"},
		{Kind: "query", Name: "token", Text: "the same token; meant for a browser", From: "8"},
	},
	OAuth: OAuth{
		AuthURL: "https://www.eventbrite.com/oauth/authorize", TokenURL: "https://www.eventbrite.com/oauth/token", From: "1",
		Notes: []Fact{
			{"A token ends when the user changes the password, for example; then the user has to consent again.", "1"},
			{"A user who still approves of the app gets a new token without a page of consent.", "1"},
		},
	},
	Waits: []Fact{{"Of the first generation of the API 1000 calls a day for each app's key are known; nothing later.", "9"}},
	Lists: []List{
		{
			Name: "events", Text: "the endpoint sets the size, about 50, and a page may hold more or fewer", From: "3 13",
			How: eventbritePages{belay.CursorPages{Items: "events", Cursor: "pagination.continuation", Param: "continuation"}},
		},
		{
			Name: "attendees", Text: "as events; each kind has its items in a field of its own name", From: "3 13",
			How: eventbritePages{belay.CursorPages{Items: "attendees", Cursor: "pagination.continuation", Param: "continuation"}},
		},
	},
	Errors: Errors{
		Code: "error", Message: "error_description", Classify: classifyEventbrite, From: "2 6",
		Notes: []Fact{
			{"A wrong or ended token is INVALID_AUTH with 400; a missing one is NO_AUTH with 401.", "1 2 6"},
			{"NOT_AUTHORIZED may list the rights that are missing in denied_permissions.", "2"},
			{"Go by error alone; error_description is for developers, and status_code repeats the status.", "2"},
		},
	},
	Webhooks: Webhooks{Notes: []Fact{
		{"No signature is described in the parts seen; the vendor advises an address that nobody else knows.", "4 5"},
		{"The body has api_url, where the changed object is.", "5"},
		{"An answer of 410 ends the subscription.", "4 5"},
		{"They are made by hand, or by the API with endpoint_url, actions and event_id.", "10"},
	}},
	Changes: []Fact{
		{"Endpoints usually have a query by the time of change, which is safer than pages.", "3"},
		{"Events have created and changed, in UTC.", "12"},
	},
	Quirks: []Fact{
		{"POST is used where others use PUT.", "7 8"},
		{"Times are written as UTC beside the name of a time zone.", "11"},
		{"Between two pages members of a list may come and go.", "3"},
		{"object_count and page_count of a page are optional.", "3"},
		{"has_more_items is in newer answers and not in the older page's; without it a page without a continuation is the last.", "3 13"},
		{"Lists can be read by page, from 1, too.", "3"},
	},
	Unknown: []string{
		"present limits, their headers and the shape of a 429", "refresh, revocation, PKCE, scopes and lifetime of tokens",
		"how the client authenticates", "headers, retries and ids of webhooks", "the header of a call's id",
		"deleted records",
		"the parameter of changed lists", "the vendor's word on the end of a list",
	},
}

// eventbritePages go by has_more_items where a page has it.
type eventbritePages struct{ belay.CursorPages }

// Next implements belay.Paginator.
func (p eventbritePages) Next(a *belay.PageAnswer) (string, error) {
	const more = "pagination.has_more_items"
	if value, err := a.Value(more); err == nil && value != nil {
		p.More = more
	}
	return p.CursorPages.Next(a)
}

// classifyEventbrite takes a wrong or ended token, which is told with 400, for one.
func classifyEventbrite(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response != nil && a.Response.StatusCode == http.StatusBadRequest {
		switch v.Code {
		case "INVALID_AUTH":
			v.Class, v.Renew = belay.ClassAuth, true
		case "INVALID_AUTH_HEADER":
			v.Class = belay.ClassAuth
		}
	}
	return v
}
