package partners

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Hostaway manages rental properties.
var Hostaway = &Partner{
	Name: "hostaway", Title: "Hostaway", Tier: 3,
	Docs: "https://api.hostaway.com/documentation", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/Hostaway/api, source/index.html.md",
		"2":  "https://github.com/Hostaway/api, source/includes/_authentication.md",
		"3":  "https://github.com/Hostaway/api, source/includes/_reservation_retrieveReservationsList.md",
		"4":  "https://github.com/Hostaway/api, source/includes/_webhook_unified*.md",
		"5":  "https://github.com/Hostaway/api, source/includes/_unifiedWebhookLog_*.md",
		"6":  "https://github.com/Hostaway/api, source/includes/_changelog.md",
		"7":  "https://github.com/Hostaway/api, source/includes/_listing_retrieveListingsList.md, _conversation_retrieveConversationsList.md",
		"8":  "https://github.com/Hostaway/api, source/includes/_reservation_createReservation.md, _reservation_reservationStatuses.md, _reservation_deleteReservation.md",
		"9":  "https://support.hostaway.com, article 360002576293",
		"10": "https://github.com/tykeal/homeassistant-hostaway, specs/008, and another reader of the live page (third parties)",
	},
	Base: Base{URL: "https://api.hostaway.com/v1", From: "1"},
	Auth: []Auth{{Kind: "oauth", Text: "client credentials: the account's number and a key, with the scope general; sent as a bearer token", From: "2"}},
	OAuth: OAuth{
		TokenURL: "https://api.hostaway.com/v1/accessTokens", StyleKnown: true, // StyleBody
		PKCE: No, From: "2",
		Notes: []Fact{
			{"A token lives for 24 months by the text, and for 184 days by the sample of an answer: go by expires_in.", "1 2 9"},
			{"A new token works only after a second.", "1 2"},
			{"DELETE /v1/accessTokens?token=… revokes one.", "2"},
			{"Keys end after 24 months; the vendor advises a new token every 12.", "9"},
			{"There is no page of consent, and no refresh token.", "2"},
		},
	},
	Limits: []Limit{
		{
			N: 200, Per: 10 * time.Second, For: "account", Where: "all but the endpoints below",
			When: hostawayOrdinary, Default: true, From: "6 10",
		},
		{
			N: 200, Per: 10 * time.Second, For: "IP address", Where: "all but the endpoints below",
			When: hostawayOrdinary, Default: true, From: "6 10",
		},
		{N: 30, Per: time.Minute, For: "account", Where: "POST /conversations/{id}/messages", From: "6 10"},
		{N: 400, Per: 10 * time.Second, For: "account", Where: "POST /listings/{id}/calendar/priceDetails", From: "6 10"},
		{N: 200, Per: 10 * time.Second, For: "account", Where: "POST /reservations", From: "6 10"},
	},
	Waits: []Fact{
		{
			"A 429 has X-RateLimit-* since 2026-08-20; by third parties X-RateLimit-Retry-After is a time in seconds since 1970, and " +
				"X-RateLimit-Applied says which limit it was.",
			"6 10",
		},
		{"The vendor says that the limits were corrected; their figures are those that two third parties read from its page.", "6 10"},
	},
	Lists: []List{
		{
			Name: "reservations", How: belay.LastIDPages{Items: "result", Param: "afterId", UntilEmpty: true},
			Text: "parameter limit, 100 if left out; newest change first, so that changed ones move: ask with a filter of " +
				"dates",
			From: "1 3 6",
		},
		{
			Name: "list", How: belay.OffsetPages{Items: "result", Limit: 100, Total: "count"},
			Text: "listings, conversations, messages; 500 is the most for reviews and charges of guests; 100 is the size of a page of reservations", From: "1 3 7",
		},
	},
	Errors: Errors{
		Message: "result", Classify: classifyHostaway, From: "1",
		Notes: []Fact{
			{"status is success or fail; the text is in result, and in message at 429. No code is described.", "1"},
			{"A token that has ended is a 403, not a 401.", "1"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Hostaway() },
		Answer: 20 * time.Second, Retries: 3, Over: time.Hour, From: "4 5 6",
		Notes: []Fact{
			{"No signature: a login and a password of your choice, as Basic.", "4 5"},
			{"Network failures, 5xx and 429 are repeated, the first time after a minute, then at growing gaps; another 4xx is the end.", "4 6"},
			{"All kinds of events come, more may be added, and the same change may come twice, in any order.", "1 4"},
			{"Failures for five days disable a webhook; an e-mail tells after the last try.", "1 4"},
			{"GET /v1/unifiedWebhookLogs has what was sent.", "5"},
			{"Older webhooks still come beside the unified one.", "4 6"},
		},
	},
	Changes: []Fact{
		{"Reservations and listings take latestActivityStart and latestActivityEnd, which are dates.", "3 7"},
		{"sortOrder=updatedOn lists reservations oldest change first.", "3 6"},
		{"Cancelled reservations stay, with the status cancelled.", "8"},
	},
	Quirks: []Fact{
		{
			"Times are UTC, like 2026-01-20 23:55:01, except those of a listing's check-in and check-out; booleans are 0 " +
				"or 1.",
			"1 3",
		},
		{"offset of reservations has been deprecated since 2026-03-31.", "3 6"},
		{"Parts of objects are empty in lists without includeResources=1.", "1"},
		{"Private links of attachments end after seven days.", "6"},
		{"Creating a reservation takes forceOverbooking=1, against the guard.", "8"},
	},
	Unknown: []string{
		"the largest page of reservations", "the bodies of webhooks", "statuses of ordinary failures",
		"a header of a call's id",
		"keys of idempotency",
	},
}

// hostawayOwn are the ends of the paths of the endpoints that have limits of their own, all by POST.
var hostawayOwn = []string{"/messages", "/calendar/priceDetails", "/reservations"}

// hostawayOrdinary reports whether a request counts for the general limits.
func hostawayOrdinary(req *http.Request) bool {
	return req.Method != http.MethodPost || !slices.ContainsFunc(hostawayOwn, func(end string) bool {
		return strings.HasSuffix(req.URL.Path, end)
	})
}

// hostawayFailed is the beginning of the body of a failure.
var hostawayFailed = regexp.MustCompile(`^\s*\{\s*"status"\s*:\s*"fail"`)

// classifyHostaway takes a failure for one at any status, its text for the message, and a 403 for a token that has ended.
func classifyHostaway(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil {
		return v
	}
	if head := a.Peek(); hostawayFailed.Match(head) {
		if v.Class == belay.ClassOK {
			v.Class, v.Scope = belay.ClassClient, belay.ScopeCall
		}
		if v.Code == "fail" {
			v.Code = ""
		}
		var body struct {
			Result any `json:"result"`
		}
		if json.Unmarshal(head, &body) == nil && v.Message == "" {
			v.Message, _ = body.Result.(string)
		}
	}
	if a.Response.StatusCode == http.StatusForbidden && v.Class == belay.ClassAuth {
		v.Renew = true
	}
	return v
}
