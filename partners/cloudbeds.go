package partners

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
)

// Cloudbeds is software for hotels.
var Cloudbeds = &Partner{
	Name: "cloudbeds", Title: "Cloudbeds", Tier: 3,
	Docs: "https://developers.cloudbeds.com", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/cloudbeds/openapi-specs, src/pms-v1.3-openapi.yaml",
		"2":  "https://github.com/cloudbeds/openapi-specs, src/pms-v2.0-openapi.yaml",
		"3":  "https://github.com/cloudbeds/openapi-specs, src/accounting-v1.0-openapi.json",
		"4":  "https://developers.cloudbeds.com/docs/api-keys-authentication-guide-for-technology-partners",
		"6":  "https://developers.cloudbeds.com/docs/migration-from-oauth-20-to-api-keys-for-technology-partners-optional",
		"7":  "https://developers.cloudbeds.com/reference/tech-specs",
		"8":  "https://developers.cloudbeds.com/docs/faq",
		"9":  "https://developers.cloudbeds.com/docs/common-api-errors-in-progress",
		"10": "https://developers.cloudbeds.com/docs/webhooks-1",
		"11": "https://integrations.cloudbeds.com, articles 360006524513, 360006450433 and 360007612553",
		"12": "https://docs.calry.app, page on Cloudbeds (third party)",
	},
	Base: Base{URL: "https://api.cloudbeds.com/api/v1.3", From: "1"},
	Auth: []Auth{
		{Kind: "header", Name: "x-api-key", Text: "API key; one that is not used for 30 days ends", From: "1 4"},
		{Kind: "oauth", Text: "authorization code", From: "1 2"},
	},
	OAuth: OAuth{
		AuthURL: "https://api.cloudbeds.com/auth/oauth/authorize", TokenURL: "https://api.cloudbeds.com/auth/oauth/token",
		StyleKnown: true, Keep: []string{"resources"}, From: "1 2", // StyleBody
		Notes: []Fact{
			{"The file of v1.3 has the token endpoint at POST /access_token instead.", "1"},
			{"A code is exchanged for an API key by grant_type urn:ietf:params:oauth:grant-type:api-key.", "1 4"},
			{"resources says for which properties the token is.", "1"},
			{"A code lives for 10 minutes, and works once.", "9"},
			{"Refreshing an old OAuth token ends the API key that has taken its place.", "6"},
			{"A third party joins scopes by spaces.", "12"},
		},
	},
	Limits: []Limit{
		{
			N: 5, Per: time.Second, For: "app", Where: "properties and groups; the cautious one for all", Default: true,
			From: "8 11",
		},
		{N: 10, Per: time.Second, For: "app", Where: "technology partners", From: "8 11"},
	},
	Waits: []Fact{{"Who goes over the limit may be suspended until a fix is confirmed by mail.", "8 11"}},
	Lists: []List{
		{
			Name: "v1",
			How:  belay.NumberPages{Items: "data", Param: "pageNumber", Size: 100, SizeParam: "pageSize", Total: "total"},
			Most: 100,
			From: "1",
		},
		{
			Name: "v2", How: belay.OffsetPages{Items: "data", Limit: 100}, Most: 500, Text: "100 is the most for events",
			From: "2",
		},
	},
	Errors: Errors{
		Message: "message", RequestHeader: "X-Request-ID", Classify: classifyCloudbeds, From: "1 2 3 7 9",
		Notes: []Fact{
			{"v1 often answers 200 with success false and a message.", "1 9"},
			{
				"v2 has lists of field, message and code at 400 and 409; the accounting API has errorCode and errorDetails.",
				"2 3",
			},
			{"A 401 of server_error is a code that is invalid or used, one of access_denied a key that is missing or bad.", "9"},
			{"The accounting API's UNEXPECTED_ERROR may be tried again.", "3"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{
			"Two calls of v2, checks and gratuities, require Idempotency-Key of at most 255 characters: the same body gets " +
				"the first answer, another one a 409 of IDEMPOTENCY_KEY_REUSED, and a call without a key a 400. Voids may be repeated.",
			"2",
		},
		{"v1 has no key; thirdPartyIdentifier of a reservation is not promised to find doubles.", "1"},
	}},
	Webhooks: Webhooks{Notes: []Fact{
		{"A delivery is JSON of an event and ids; read the rest. The right to read that kind is needed.", "10 11"},
		{"Several addresses may be set for one event.", "1 10"},
	}},
	Changes: []Fact{
		{"Reservations are filtered by modifiedFrom and modifiedTo; some changes do not move that time.", "1"},
		{"getReservationsWithRateDetails takes includeDeleted; a cancelled reservation has the status canceled.", "1"},
		{"Guests are filtered by resultsFrom and resultsTo.", "1"},
	},
	Quirks: []Fact{
		{"v1 takes forms, not JSON, and times as YYYY-MM-DD HH:MM:SS without a zone.", "1 7"},
		{"v2 is under https://api.cloudbeds.com/{area}/v1, and needs X-PROPERTY-ID.", "2 3"},
		{"The accounting API sends nextPageToken and takes pageToken.", "3"},
		{"patchRate answers with a job; see getRateJobs. It takes 30 intervals at most.", "1"},
		{"GetMetadata has success as a text.", "1"},
		{"GET /oauth/metadata returns the address of the API for a property.", "1"},
	},
	Unknown: []string{
		"lifetimes and rotation of tokens", "PKCE", "revoking tokens", "what tells a limit",
		"signature, retries, ids and answers of webhooks",
		"the zone of times",
	},
}

// classifyCloudbeds finds the errors that v1 sends as a 200.
func classifyCloudbeds(a *belay.Attempt) belay.Verdict {
	if a.Response == nil || a.Response.StatusCode != http.StatusOK {
		return belay.Classify(a)
	}
	body := a.Peek()
	if len(body) > 4<<10 || !bytes.Contains(body, []byte(`"success"`)) { // an error is short
		return belay.Classify(a)
	}
	var answer struct {
		Success any    `json:"success"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil && (answer.Success == false || answer.Success == "false") {
		return belay.Verdict{Class: belay.ClassClient, Scope: belay.ScopeCall, Message: answer.Message}
	}
	return belay.Classify(a)
}
