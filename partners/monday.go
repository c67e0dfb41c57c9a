package partners

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
)

// Monday is a work management tool.
var Monday = &Partner{
	Name: "monday", Title: "monday.com", Tier: 3,
	Docs: "https://developer.monday.com/api-reference/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.monday.com/api-reference/docs/rate-limits",
		"2":  "https://support.monday.com/hc/en-us/articles/26471164460690-API-Rate-Limits",
		"3":  "https://developer.monday.com/api-reference/docs/error-handling",
		"4":  "https://developer.monday.com/apps/docs/oauth-2-1",
		"5":  "https://developer.monday.com/apps/docs/oauth-2-0",
		"6":  "https://developer.monday.com/apps/docs/migrating-to-the-new-oauth-flow",
		"7":  "the vendor's skill monday-oauth-migrate (public copy)",
		"8":  "notes on the discovery document, Airbyte's migration guide and public clients (third parties)",
		"9":  "https://developer.monday.com/api-reference/docs/webhooks",
		"10": "https://developer.monday.com/apps/docs/authorization-header",
		"11": "https://developer.monday.com/api-reference/changelog/webhooks-improvements",
		"12": "https://asyncapi.apis.io, monday-com webhooks (third party)",
		"13": "https://github.com/mondaycom/mcp, packages/agent-toolkit/src/monday-graphql/schema.graphql",
		"14": "https://developer.monday.com/api-reference/docs/idempotency",
		"15": "a public reference file of monday's API (third party)",
		"16": "https://github.com/mondaycom/monday-graphql-api (the vendor's SDK)",
		"17": "https://developer.monday.com/api-reference/changelog/bug-fix-changes-to-complexityexception-error-reverted (older)",
		"18": "https://developer.monday.com/api-reference/docs/authentication",
		"19": "https://developer.monday.com/api-reference/changelog/breaking-change-updated-complexity-budget-exhausted-error",
		"20": "https://developer.monday.com/api-reference/changelog/hotfix-updated-complexity-budget-exhausted-error (older)",
		"21": "https://developer.monday.com/api-reference/docs/api-versioning",
		"22": "https://developer.monday.com/api-reference/changelog/2026-10-is-now-the-current-api-version",
		"23": "https://developer.monday.com/api-reference/changelog/new-descriptive-field-limit-exceeded-error",
	},
	Base: Base{URL: "https://api.monday.com/v2", Headers: []Header{{"API-Version", "2026-07"}}, From: "15 16 21"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code (OAuth 2.1), which new apps use", From: "4 18"},
		{Kind: "header", Name: "Authorization", Text: "a personal token, with or without Bearer", From: "15 18"},
	},
	OAuth: OAuth{
		AuthURL: "https://auth.monday.com/oauth2/authorize", JSON: true, TokenURL: "https://auth.monday.com/oauth_ms/oauth/token",
		RevokeURL: "https://auth.monday.com/oauth_ms/oauth/revoke", StyleKnown: true, PKCE: Yes, From: "4 7", // StyleBody
		Notes: []Fact{
			{"Token requests are shown as JSON; Basic authorization is advertised too.", "7 8"},
			{"The answer shows no expires_in: the access token is a JWT, whose exp tells it.", "7"},
			{"Each refresh gives a new refresh token: store both.", "7"},
			{
				"Tokens of the old flow do not end until the app is uninstalled, and get 401 with OAUTH21_TOKEN_REQUIRED from " +
					"version 2027-04 on.",
				"5",
			},
			{"Airbyte says that old tokens end on 2026-10-01; an endpoint turns them into new ones.", "6 8"},
			{"force_install_if_needed=true installs the app at the consent.", "8 15"},
		},
	},
	Limits: []Limit{
		{N: 5000, Per: 10 * time.Second, For: "IP address", Default: true, From: "1 2"},
		{N: 5_000_000, Of: "points", Where: "one query", From: "1"},
		{N: 5_000_000, Per: time.Minute, Of: "points", Where: "tokens of apps; reads and writes each", From: "1"},
		{
			N: 10_000_000, Per: time.Minute, Of: "points", For: "token", Where: "personal tokens, reads and writes together",
			From: "1",
		},
		{
			N: 1_000_000, Per: time.Minute, Of: "points", For: "token", Plan: "Trial, Free", Where: "personal tokens",
			From: "1",
		},
		{N: 200, Per: 24 * time.Hour, For: "account", Plan: "Free, Trial", From: "2"},
		{N: 1000, Per: 24 * time.Hour, For: "account", Plan: "Basic, Standard", From: "2"},
		{N: 10_000, Per: 24 * time.Hour, For: "account", Plan: "Pro", Where: "soft", From: "2"},
		{N: 25_000, Per: 24 * time.Hour, For: "account", Plan: "Enterprise", Where: "soft", From: "2"},
		{N: 2000, Per: time.Minute, Where: "mutations, by an older page", From: "1"},
		{N: 40, Per: time.Minute, Where: "creating or copying boards, copying groups, by an older page", From: "1"},
	},
	Waits: []Fact{
		{"A limit is a 429, or a 200 with errors: look at both.", "3 17"},
		{"retry_in_seconds in extensions says how long; Retry-After comes too, without a word on its unit.", "2 3 19 20"},
		{"In the older shape of errors, retry_in_seconds stands in error_data.", "23"},
		{"Points come back a minute after the first call, the calls of the day at midnight UTC.", "1 2"},
		{"Limits of a minute's queries and of calls in flight depend on the plan; failed calls count.", "1 2"},
		{"RateLimit and RateLimit-Policy come with each answer.", "3"},
		{"A query may ask for its own cost with complexity.", "1 13"},
	},
	Lists: []List{
		{
			Name: "items", How: belay.CursorPages{
				Items: "data.next_items_page.items", Cursor: "data.next_items_page.cursor", Param: "variables.cursor", InBody: true,
			}, Most: 500,
			Text: "next_items_page with a variable $cursor, which begins with the cursor of boards.items_page and lives " +
				"for an hour",
			From: "13 15",
		},
		{
			Name: "boards", How: belay.NumberPages{
				Items: "data.boards", Param: "variables.page", InBody: true, Size: 25, SizeParam: "variables.limit",
			},
			Text: "a query with the variables $page and $limit; users and updates are alike", From: "13",
		},
	},
	Errors: Errors{
		Code: "errors[0].extensions.code", Message: "errors[0].message", RequestID: "extensions.request_id",
		Classify: classifyMonday, From: "2 3 14 17 19",
		Notes: []Fact{
			{"Errors of the application are a 200; a part of the data may stand beside them.", "3"},
			{"Without data the classifier makes an error of it.", "3"},
			{"An older shape has error_code, error_message and status_code at the top; FIELD_LIMIT_EXCEEDED comes so in all versions.", "17 23"},
			{"A bad token is a 401; missing rights have the codes missingRequiredPermissions and USER_UNAUTHORIZED.", "8"},
		},
	},
	Idempotency: Idempotency{
		Header: "Idempotency-Key", Lasts: 30 * time.Minute, From: "14",
		Notes: []Fact{
			{"A repeated mutation gets the first answer, with Idempotency-Replayed: true.", "14"},
			{"A second one while the first is in progress gets a 409 with Retry-After.", "14"},
		},
	},
	Webhooks: Webhooks{Notes: []Fact{
		{
			"Authorization is a JWT of the signing secret; check aud, which is your address, and exp. The body is not signed.",
			"10",
		},
		{
			"It comes only with webhooks that an app has made; webhooks of the app's life are signed with the client secret.",
			"10 11",
		},
		{"A webhook begins with a POST with challenge, to be returned as it is.", "9"},
		{"A delivery is repeated every minute for half an hour.", "12"},
	}},
	Changes: []Fact{
		{"activity_logs of boards take from and to; items and boards have updated_at.", "13"},
		{"Boards take state: deleted; deleted items are in the logs and in webhooks.", "13"},
	},
	Quirks: []Fact{
		{"Files go to https://api.monday.com/v2/file.", "15"},
		{"A version is named by year and month; versions are retired.", "13 15 16"},
		{"2026-07 is in maintenance since 2026-10-26; 2026-10, the current one, has other types of users and forms.", "22"},
		{"column_values is a text that holds JSON.", "15"},
	},
	Unknown: []string{
		"figures of queries in a minute and of calls in flight, by plan", "lifetimes of tokens, and reuse of refresh tokens",
		"the form of RateLimit", "an id of deliveries", "the answer that webhooks want, in the vendor's own words",
	},
}

// mondayLimits are the codes of limits, in lower case and without "_".
var mondayLimits = map[string]bool{
	"complexitybudgetexhausted": true, "complexityexception": true, "dailylimitexceeded": true, "ratelimitexceeded": true,
	"ipratelimitexceeded": true, "maxconcurrencyexceeded": true, "fieldlimitexceeded": true,
}

// classifyMonday takes the code of a GraphQL error for the status that it stands for, because that of the answer is 200.
func classifyMonday(a *belay.Attempt) belay.Verdict {
	if a.Err == nil && a.Response != nil && a.Response.StatusCode == http.StatusConflict && a.Response.Header.Get("Retry-After") != "" {
		return asStatus(a, http.StatusLocked) // the mutation with the same key is in progress
	}
	errs := graphQLErrors(a)
	if len(errs) == 0 {
		top := mondayTop(a)
		if !mondayLimit(top.Code) {
			return belay.Classify(a)
		}
		v := asStatus(a, http.StatusTooManyRequests)
		v.RetryAfter = max(v.RetryAfter, time.Duration(min(max(top.Data.RetryIn, 0), 86_400)*float64(time.Second)))
		return v
	}
	refused := asStatus(a, http.StatusTooManyRequests) // the code may be at the top
	codes := []string{refused.Code}
	for _, e := range errs {
		codes = append(codes, e.Extensions.Code)
	}
	for _, code := range codes {
		if mondayLimit(code) {
			return refused
		}
	}
	if status := a.Response.StatusCode; status >= 400 {
		return belay.Classify(a)
	}
	switch errs[0].Extensions.Code {
	case "OAUTH21_TOKEN_REQUIRED":
		return asStatus(a, http.StatusUnauthorized)
	case "UserUnauthorizedException", "USER_UNAUTHORIZED", "missingRequiredPermissions":
		return asStatus(a, http.StatusForbidden)
	}
	return asStatus(a, http.StatusBadRequest)
}

// mondayLimit reports whether a code is that of a limit.
func mondayLimit(code string) bool {
	return mondayLimits[strings.ToLower(strings.ReplaceAll(code, "_", ""))]
}

// mondayError is an error in the older shape: at the top of an answer, without a list of errors.
type mondayError struct {
	Code string `json:"error_code"`
	Data struct {
		RetryIn float64 `json:"retry_in_seconds"`
	} `json:"error_data"`
}

// mondayTop returns the error at the top of an answer.
func mondayTop(a *belay.Attempt) (e mondayError) {
	if a.Err != nil || a.Response == nil {
		return e
	}
	if head := a.Peek(); !bytes.Contains(head, []byte(`"error_code"`)) || json.Unmarshal(head, &e) != nil {
		return mondayError{}
	}
	return e
}
