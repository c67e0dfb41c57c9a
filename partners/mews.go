package partners

import (
	"net/http"
	"time"

	"github.com/belay-go/belay"
)

// Mews is a management system for hotels.
var Mews = &Partner{
	Name: "mews", Title: "Mews Connector", Tier: 2,
	Docs: "https://docs.mews.com/connector-api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://docs.mews.com/connector-api/guidelines/authentication",
		"2":  "https://docs.mews.com/connector-api/guidelines/requests",
		"3":  "https://github.com/MewsSystems/gitbook-connector-api, guidelines/responses.md",
		"4":  "https://github.com/MewsSystems/gitbook-connector-api, guidelines/pagination.md",
		"5":  "https://github.com/MewsSystems/gitbook-connector-api, guidelines/environments.md",
		"6":  "https://github.com/MewsSystems/gitbook-connector-api, guidelines/serialization.md",
		"7":  "https://github.com/MewsSystems/gitbook-connector-api, guidelines/best-practices.md",
		"8":  "https://github.com/MewsSystems/gitbook-connector-api, events/wh-general.md",
		"9":  "https://github.com/MewsSystems/gitbook-connector-api, events/wh-integration.md",
		"10": "https://docs.mews.com/connector-api/events/wh-faq",
		"11": "https://github.com/MewsSystems/gitbook-connector-api, events/communicate.md and events/websockets.md",
		"12": "https://github.com/MewsSystems/gitbook-connector-api, operations",
		"13": "https://github.com/MewsSystems/gitbook-connector-api, concepts/multi-property.md",
		"14": "https://github.com/MewsSystems/gitbook-connector-api, deprecations",
	},
	Base: Base{
		URL: "https://api.mews.com/api/connector/v1", Sandbox: "https://api.mews-demo.com/api/connector/v1", From: "2 5",
	},
	Auth: []Auth{{
		Kind: "body",
		Text: "ClientToken of the app, AccessToken of the property, and Client, the caller's name and version", From: "1 2",
	}},
	Limits: []Limit{{N: 200, Per: 30 * time.Second, For: "token", Where: "may change without notice", Default: true, From: "5"}},
	Waits: []Fact{
		{"A 429 has Retry-After; growing waits are the other way, a fixed pause is not.", "2 3"},
		{"A 408 means that too much was asked for: ask for a shorter interval.", "2 3"},
	},
	Lists: []List{{
		Name: "reservations",
		How:  belay.CursorPages{Items: "Reservations", Cursor: "Cursor", Param: "Limitation.Cursor", InBody: true},
		Most: 1000, Text: "POST /reservations/getAll/2023-06-06 with Limitation.Count; other lists are at …/getAll, with the name of their resource; " +
			"newest first",
		From: "4 12",
	}},
	Errors: Errors{
		Message: "Message", RequestID: "RequestId", RequestHeader: "Request-Id", Classify: classifyMews, From: "3",
		Notes: []Fact{
			{"A 403 is a rule of the business, to be shown to the user; a bad token or a missing right is a 401.", "3"},
			{"A 409 means that the data has changed: read it again.", "3"},
			{"There are no codes of errors; Details come in development environments only.", "3"},
		},
	},
	Webhooks: Webhooks{
		Answer: 5 * time.Second, From: "10",
		Notes: []Fact{
			{"No signature is described: put a secret into the address.", "10"},
			{
				"A message has Events, maybe hundreds, with a Discriminator and an id only; there is neither an event's id " +
					"nor a time.",
				"8 10",
			},
			{"IntegrationCreated brings the AccessToken of a new property, and IntegrationApiKeyCreated a new one.", "9"},
			{"All properties share one address for each kind, registered by writing to Mews.", "10"},
			{"A message without success is sent again after a few minutes, and given up in the end.", "10"},
		},
	},
	Changes: []Fact{
		{"getAll takes UpdatedUtc with StartUtc and EndUtc, both included, at most three months apart.", "6 12"},
		{"ActivityStates shows deleted records where offered; cancelled reservations stay.", "12"},
		{"Webhooks lag by two to five minutes; WebSockets do not.", "5 11"},
	},
	Quirks: []Fact{
		{"All calls are POST with JSON. The path is case-sensitive, without a slash at its end.", "2"},
		{"Some operations have a date at the end of their path; reservations/getAll without one is obsolete, and takes other filters.", "12 14"},
		{"Updates wrap each field as {\"Value\": x}: left out it stays, null clears it.", "6"},
		{"Dates of a property are its midnight in UTC, so that the day may shift.", "6"},
		{
			"A token may be for several properties, which it does not show; some operations then need EnterpriseId, others " +
				"act on all without EnterpriseIds.",
			"1 13",
		},
		{"Extents make answers slow.", "7"},
	},
	Unknown: []string{"the form of Retry-After", "number and spacing of webhook retries", "whether tokens end", "idempotency"},
}

// classifyMews takes a 403 for a refusal of the call and not of the token, and does not repeat a question that was too large.
func classifyMews(a *belay.Attempt) belay.Verdict {
	if a.Err == nil && a.Response != nil && a.Response.StatusCode == http.StatusRequestTimeout {
		return asStatus(a, http.StatusBadRequest)
	}
	v := belay.Classify(a)
	if v.Class == belay.ClassAuth && a.Response != nil && a.Response.StatusCode == http.StatusForbidden {
		v.Class, v.Scope, v.Renew = belay.ClassClient, belay.ScopeCall, false
	}
	return v
}
