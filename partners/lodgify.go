package partners

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/belay-go/belay"
)

// Lodgify is a management system for vacation rentals.
var Lodgify = &Partner{
	Name: "lodgify", Title: "Lodgify", Tier: 3,
	Docs: "https://docs.lodgify.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://docs.lodgify.com/docs/rate-limits",
		"2":  "https://docs.lodgify.com/docs/authorization",
		"3":  "https://docs.lodgify.com/reference/webhooks",
		"4":  "https://docs.lodgify.com/reference/webhook-objects",
		"5":  "https://www.lodgify.com/docs/api (older)",
		"6":  "https://github.com/MikeRobGIT/lodgify-mcp, src/api/v2 (third party)",
		"7":  "https://github.com/MikeRobGIT/lodgify-mcp, src/api/v1/webhooks (third party)",
		"8":  "https://glama.ai/mcp/servers/MikeRobGIT/lodgify-mcp/tools/lodgify_list_bookings (third party)",
		"9":  "https://github.com/api-evangelist/lodgify (third party)",
		"10": "https://github.com/MikeRobGIT/lodgify-mcp, src/core/errors/types.ts (third party)",
	},
	Base: Base{URL: "https://api.lodgify.com", From: "1"},
	Auth: []Auth{{Kind: "header", Name: "X-ApiKey", Text: "the key of the account; one that is not registered may use few keys", From: "1 2 5"}},
	Limits: []Limit{
		{N: 600, Per: time.Minute, Where: "v1; taken for v2 too, to be safe", Default: true, From: "1"},
		{N: 750, Per: time.Minute, Where: "v2", From: "1"},
		{N: 10, Per: time.Minute, Where: "calendar files", From: "1"},
	},
	Waits: []Fact{
		{"A 429 says in its message whether it was the limit, or the rule that partners have to be registered.", "1"},
		{"Abuse is blocked automatically.", "1"},
	},
	Lists: []List{{
		Name: "v2", How: belay.NumberPages{Items: "items", Size: 50, SizeParam: "size", UntilEmpty: true}, Most: 50,
		Text: "the end is an empty page, to be safe; bookings at /v2/reservations/bookings; properties have the same " +
			"shape; count is null unless includeCount is sent",
		From: "6 8",
	}},
	Errors: Errors{
		Code: "code", Message: "message", RequestID: "correlation_id", Classify: classifyLodgify, From: "5 10",
		Notes: []Fact{
			{"By an older page a refusal is a 500 too: the code decides, a number of a list; 999 is a missing right.", "5"},
			{"On v2 the code may be a word, such as NotFound, NotAuthorized or ValidationError.", "10"},
			{"Other numbers than 999 were not read, so a 500 with one is taken for a failure of Lodgify's.", "5"},
			{"The body has message, code, correlation_id and event_id.", "5 10"},
		},
	},
	Webhooks: Webhooks{
		Retries: 10, From: "3",
		Notes: []Fact{
			{"Header ms-signature: sha256= and an HMAC-SHA256 of the body; how the digest is written was not read.", "3"},
			{"The secret is told once, in the answer to the subscription.", "3"},
			{"Answer with exactly 200: all else is repeated. A 410 may end the subscription one day.", "3"},
			{"A subscription that fails for some time may be removed.", "3"},
			{"A delivery has an action, and neither an id of its own nor a time of the signature.", "3 4"},
			{"Subscriptions are made at /webhooks/v1/subscribe, each with an address of its own.", "3 7 9"},
		},
	},
	Changes: []Fact{
		{"Bookings and properties take updatedSince.", "6"},
		{"trash=All shows deleted bookings too, and /v2/deletedProperties deleted properties.", "6"},
	},
	Quirks: []Fact{
		{"Versions 1 and 2 live side by side; bookings are partly written at /v1/reservation/booking.", "1 6"},
		{"Bookings show upcoming stays only, unless stayFilter says otherwise.", "6 8"},
		{"Accept-Language changes the texts of answers.", "5"},
		{"Start and end of a stay have no zone, the time of creation has one.", "4"},
	},
	Unknown: []string{
		"whom the limits count", "Retry-After", "how lists end, in the vendor's own words",
		"the present shape of errors on v2",
		"encoding of the signature", "spacing of retries", "idempotency", "number of keys without registration",
	},
}

// classifyLodgify takes a refusal for one, although its status is 500.
func classifyLodgify(a *belay.Attempt) belay.Verdict {
	if a.Err == nil && a.Response != nil && a.Response.StatusCode == http.StatusInternalServerError {
		var body struct{ Code any }
		if json.Unmarshal(a.Peek(), &body) == nil {
			switch body.Code {
			case 999.0, "999", "NotAuthorized":
				return asStatus(a, http.StatusForbidden)
			case "NotFound":
				return asStatus(a, http.StatusNotFound)
			case "ValidationError", "ArgumentError", "MinStayRequired", "NoRateDefined", "ArrivalNotValid", "DepartureNotValid",
				"BookingNoRooms", "PropertyNotAvailable", "BookingCannotChangeStatus", "EnquiryAlreadyUpgraded":
				return asStatus(a, http.StatusBadRequest)
			}
			v := belay.Classify(a)
			if code, is := body.Code.(float64); is && v.Code == "" { // it looks like a status
				v.Code = strconv.FormatFloat(code, 'f', -1, 64)
			}
			return v
		}
	}
	return belay.Classify(a)
}
