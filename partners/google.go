package partners

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Google is Google Workspace: Calendar, Drive and Sheets.
var Google = &Partner{
	Name: "google", Title: "Google (Calendar, Drive, Sheets)", Tier: 2,
	Docs: "https://developers.google.com/workspace", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.google.com/workspace/calendar/api/guides/errors",
		"2":  "https://developers.google.com/workspace/calendar/api/guides/quota",
		"3":  "https://developers.google.com/drive/api/guides/limits",
		"4":  "https://developers.google.com/workspace/sheets/api/limits",
		"5":  "https://developers.google.com/drive/api/guides/handle-errors",
		"6":  "https://developers.google.com/calendar/api/guides/sync",
		"7":  "https://cli.nylas.com/guides/google-calendar-api-sync-tokens, and a gist of tyler-dane (third parties)",
		"8":  "https://developers.google.com/workspace/calendar/api/guides/push",
		"9":  "https://developers.google.com/workspace/drive/api/guides/push",
		"10": "Drive v3, reference of changes.list (public copies)",
		"11": "Calendar v3, reference of events.list (public copies)",
		"12": "https://developers.google.cn/identity/protocols/oauth2, and quotations of it (third parties)",
		"13": "https://nango.dev/blog, on invalid_grant (third party)",
		"14": "https://github.com/NangoHQ/nango, providers.yaml and google-drive/webhooks.mdx (third party)",
		"15": "https://hackmd.io/@pclin, quotations of the guide for web servers, and https://unipile.com/google-oauth-refresh-token (third parties)",
		"16": "https://docs.gitguardian.com, on refresh tokens (third party)",
		"17": "https://github.com/googleapis/google-auth-library-nodejs, src/auth/oauth2client.ts (the vendor's SDK)",
		"18": "https://github.com/googleapis/google-api-go-client, drive/v3/drive-api.json (the vendor's SDK)",
		"19": "https://hexdocs.pm/google_api_drive/0.0.1/GoogleApi.Drive.V3.Model.FileList.html (the vendor's SDK, older)",
	},
	Base: Base{URL: "https://www.googleapis.com", From: "8 9"},
	Auth: []Auth{{Kind: "oauth", Text: "authorization code; service accounts too", From: "2 9 15 17"}},
	OAuth: OAuth{
		AuthURL: "https://accounts.google.com/o/oauth2/v2/auth", TokenURL: "https://oauth2.googleapis.com/token",
		RevokeURL: "https://oauth2.googleapis.com/revoke", StyleKnown: true, // StyleBody
		PKCE: Yes, Access: time.Hour, From: "14 15 17",
		Notes: []Fact{
			{"A refresh token comes with access_type=offline, the first time only; prompt=consent brings another one.", "14 15"},
			{"A refresh token ends by the user, by an organization's policy, or after six months without use.", "12 16"},
			{"With scopes of Gmail it ends with the user's password too.", "12 16"},
			{"Of more than 100 refresh tokens for an account and client the oldest ends silently.", "12"},
			{"External apps in the state Testing have refresh tokens of seven days.", "12"},
			{"A refresh token that has ended is a 400 with invalid_grant.", "13"},
			{"The vendor's SDK keeps its refresh token if the answer to a refresh has none.", "17"},
			{"Users may grant only some of the scopes: compare those of the answer.", "12"},
		},
	},
	Limits: []Limit{
		{N: 10_000, Per: time.Minute, For: "app", Where: "Calendar", From: "2"},
		{N: 600, Per: time.Minute, For: "app and user", Where: "Calendar", From: "2"},
		{N: 1_000_000, Per: time.Minute, Of: "units", For: "app", Where: "Drive", From: "3"},
		{N: 325_000, Per: time.Minute, Of: "units", For: "app and user", Where: "Drive", From: "3"},
		{N: 300, Per: time.Minute, For: "app", Where: "Sheets, reads and writes each", From: "4"},
		{N: 60, Per: time.Minute, For: "app and user", Where: "Sheets, reads and writes each", From: "4"},
	},
	Waits: []Fact{
		{"Calendar and Drive tell a limit by 429, or by 403 with the domain usageLimits; Sheets by 429.", "1 2 3 4"},
		{"No header that says what remains or how long to wait was seen: back off exponentially.", "2 3 4"},
		{"A message may end in Retry after and a time.", "14"},
		{"Calendar may limit fast writes to one calendar at any time.", "1 2"},
		{"Projects that used Calendar between November 2025 and April 2026 keep their older limits.", "2"},
		{"Sheets fills up its limits each minute.", "4"},
	},
	Lists: []List{
		{
			Name: "calendar-events", How: belay.CursorPages{Items: "items", Cursor: "nextPageToken", Param: "pageToken"},
			Most: 2500,
			Text: "parameter maxResults, 250 if left out; pages may be short or empty", From: "11",
		},
		{
			Name: "drive-files", How: belay.CursorPages{Items: "files", Cursor: "nextPageToken", Param: "pageToken"}, Most: 1000,
			Text: "parameter pageSize, 100 if left out; pages may be short or empty", From: "18 19",
		},
		{
			Name: "drive-changes", How: belay.CursorPages{Items: "changes", Cursor: "nextPageToken", Param: "pageToken"}, Most: 1000,
			Text: "parameter pageSize, 100 if left out; the last page has newStartPageToken, where the next list begins", From: "10 18",
		},
	},
	Errors: Errors{
		Code: "error.errors.0.reason", Message: "error.message", Classify: classifyGoogle, From: "1 5",
		Notes: []Fact{
			{
				"A 403 is a limit with the domain usageLimits and the reason userRateLimitExceeded or rateLimitExceeded; " +
					"other domains are refusals.",
				"1 5",
			},
			{"A token that has ended is a 401 with the reason authError.", "1"},
			{"429, 500, 502, 503 and 504 pass.", "2 3 5"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{
			{"Drive gives out ids of files (files.generateIds), for calls that create or copy one.", "18"},
			{"Drive's creation of a shared drive takes requestId, and answers a second one with 409.", "18"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Google() }, From: "8 9",
		Notes: []Fact{
			{"Nothing is signed: compare X-Goog-Channel-Token with the token of your watch.", "8 9"},
			{"Each watch is a channel that ends; open the next one before, there is no renewal.", "9"},
			{"Bodies are empty, or small: ask for the changes.", "8 9"},
			{"The first message has the state sync, and may come before the answer to the watch; numbers grow, with gaps.", "9"},
			{"200, 201, 202, 204 and 102 are successes; 500, 502, 503 and 504 are repeated with backoff.", "8 9"},
			{"A watch of Drive's changes lasts for seven days at most.", "14"},
		},
	},
	Changes: []Fact{
		{"Calendar: the last page has nextSyncToken, for syncToken of the next list.", "6"},
		{"Calendar: a list by syncToken has deleted events too, as cancelled.", "6 11"},
		{"Calendar: an old sync token is a 410: begin anew.", "7"},
		{"Calendar: a next page needs the parameters of the first.", "6"},
		{"Drive: begin at changes/startPageToken; removed also means lost access; tokens do not end.", "10 14"},
	},
	Quirks: []Fact{
		{"Calendar is under /calendar/v3, Drive under /drive/v3; Sheets has the host sheets.googleapis.com.", "8 9 14"},
		{"Times of Calendar's queries are RFC 3339 with a zone.", "11"},
		{"Drive lists files in the trash too, unless q says trashed=false.", "18"},
		{"By an older copy, watches and their end count as calls of Drive, notifications do not.", "3"},
	},
	Unknown: []string{
		"what each call of Drive costs", "the header of a call's id", "limits of the token endpoint",
		"lifetimes of channels in Google's words",
		"pages of Sheets", "Calendar's daily threshold of billing",
	},
}

// classifyGoogle takes the code from the list of errors, which a status may stand beside, and goes by it at 403.
func classifyGoogle(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil || a.Response.StatusCode < 400 {
		return v
	}
	var body struct {
		Error struct {
			Errors []struct{ Domain, Reason string }
		}
	}
	if json.Unmarshal(a.Peek(), &body) != nil || len(body.Error.Errors) == 0 || body.Error.Errors[0].Reason == "" {
		return v
	}
	first := body.Error.Errors[0]
	v.Code = first.Reason
	limit := false
	switch first.Reason {
	case "userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded", "dailyLimitExceeded":
		limit = true
	}
	if a.Response.StatusCode == http.StatusForbidden && v.Class == belay.ClassAuth && first.Domain == "usageLimits" && limit {
		v.Class, v.Scope, v.Renew = belay.ClassRateLimited, belay.ScopeCredential, false
	}
	return v
}
