package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Guesty manages rental properties.
var Guesty = &Partner{
	Name: "guesty", Title: "Guesty", Tier: 3,
	Docs: "https://open-api-docs.guesty.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://open-api-docs.guesty.com/docs/quick-start-guide, /reference/get-started",
		"2":  "https://open-api-docs.guesty.com/docs/authentication",
		"3":  "https://open-api-docs.guesty.com/docs/rate-limits",
		"4":  "https://open-api-docs.guesty.com/reference/errors, /reference/response-codes",
		"5":  "https://open-api-docs.guesty.com/docs/how-to-search-for-reservations",
		"6":  "https://open-api-docs.guesty.com/reference/reservationsopenapicontroller_searchreservations",
		"7":  "https://open-api-docs.guesty.com/reference/reservationsreportsopenapicontroller_searchreservations",
		"8":  "https://open-api-docs.guesty.com/reference/reservationsv2list",
		"9":  "https://open-api-docs.guesty.com/docs/webhooks (older)",
		"10": "https://open-api-docs.guesty.com/changelog/2026-09-02, /changelog/2026-05-12",
		"11": "https://open-api-docs.guesty.com/docs/reservation-webhooks-migration-guide",
		"12": "https://open-api-docs.guesty.com/docs/webhooks-reservations, /docs/webhooks-guests (older)",
		"13": "https://booking-api-docs.guesty.com/docs/api-intro, /docs/authentication-1, /changelog/api-rate-limits-correction",
		"14": "https://help.guesty.com, article 9370472424605",
		"15": "https://github.com/guestitab/guesty-client, README (third party)",
		"16": "clients that third parties have generated from the vendor's specification, and other public code",
		"17": "https://open-api-docs.guesty.com/docs/webhooks-listings",
	},
	Base: Base{URL: "https://open-api.guesty.com/v1", From: "1"},
	Auth: []Auth{{Kind: "oauth", Text: "client credentials, with the scope open-api; sent as a bearer token", From: "1 2"}},
	OAuth: OAuth{
		TokenURL: "https://open-api.guesty.com/oauth2/token", StyleKnown: true, // StyleBody
		Access: 24 * time.Hour, From: "1 2",
		Limits: []Limit{{N: 5, Per: 24 * time.Hour, For: "API key", Default: true, From: "1"}},
		Notes: []Fact{
			{"Five tokens in 24 hours for a key: keep the token, and share it between processes.", "1"},
			{"No page of consent and no refresh token were seen; keys come from the dashboard.", "2 14"},
		},
	},
	Limits: []Limit{
		{N: 15, Per: time.Second, For: "account", Default: true, From: "3"},
		{N: 120, Per: time.Minute, For: "account", Default: true, From: "3"},
		{N: 5000, Per: time.Hour, For: "account", Default: true, From: "3"},
		{N: 15, Of: inFlight, For: "account", Default: true, From: "3"},
		{N: 5, Per: time.Second, Where: "Booking Engine API", From: "13"},
		{N: 275, Per: time.Minute, Where: "Booking Engine API", From: "13"},
		{N: 16_500, Per: time.Hour, Where: "Booking Engine API", From: "13"},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in seconds.", "3"},
		{
			"X-RateLimit-Limit- and X-RateLimit-Remaining-, with Second, Minute and Hour, count calls; what was spent " +
				"flows back steadily.",
			"3",
		},
	},
	Lists: []List{
		{
			Name: "reservations", How: belay.OffsetPages{Items: "results", Limit: 100, OffsetParam: "skip", Total: "count"},
			Most: 100,
			Text: "GET /reservations, until 2027-03-01; sort by a unique field, such as _id; results and count are read " +
				"from others' code", From: "5 8 16",
		},
	},
	Errors: Errors{Notes: []Fact{
		{"401 is a token that has ended, 403 an account that is not active or a right that is missing.", "4"},
		{"410 is a thing that has been removed; 429, 500 and 503 pass.", "4"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Svix() }, From: "15 16",
		Notes: []Fact{
			{"That Svix sends them is read from the operation svixSecretApiController_getSecret, and from others' code.", "16"},
			{"Other public code checks X-Guesty-Signature-V2, an HMAC-SHA256 of the body: look at what comes.", "16"},
			{"meta.eventId and meta.messageId tell events and messages apart.", "17"},
			{"GET /webhooks-v2/secret, with the endpoint's url, gives the secret.", "16"},
			{
				"Since September 2026 the guide has chapters on signatures, retries, order and duplicates, which were not seen.",
				"10",
			},
			{"reservation.created.v2 and .updated.v2 replace older events, which go by the end of 2026.", "11"},
			{"Bodies of v2 are lean, with publishedAt for their order: read the rest by the API.", "11"},
		},
	},
	Changes: []Fact{
		{"The old list of reservations takes filters as an array of objects, and sorts by lastUpdatedAt.", "5"},
		{"The new search filters by checkIn, checkOut and createdAt; nothing by changes was seen.", "6"},
		{"Deletions are events: task.deleted, guest.deleted, listing.removed.", "9"},
	},
	Quirks: []Fact{
		{"Partners of the marketplace and channels are asked not to use this API.", "1"},
		{"GET /reservations-v3/search has skip and limit, at most 100, and pagination.hasMore.", "6 10"},
		{"Its filters are filter[field]=value or filter[field][operator]=value, and all must hold.", "6 7"},
		{"createdAt is UTC; checkIn and checkOut of the search are local dates.", "6"},
		{"The Booking Engine API has a host, keys and limits of its own.", "2 13"},
		{"Old webhooks hold the object beside event.", "12"},
	},
	Unknown: []string{
		"the body of errors, and the header of a call's id", "the items of the new search",
		"what a sixth token request answers",
		"retries and time of webhooks", "keys of idempotency",
	},
}
