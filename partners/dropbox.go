package partners

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Dropbox is a store of files.
var Dropbox = &Partner{
	Name: "dropbox", Title: "Dropbox", Tier: 2,
	Docs: "https://www.dropbox.com/developers/documentation/http/documentation", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/dropbox/dropbox-api-spec, auth.stone",
		"2":  "https://github.com/dropbox/dropbox-api-spec, files.stone",
		"3":  "https://github.com/dropbox/dropbox-api-spec, common.stone, async.stone, stone_cfg.stone",
		"4":  "https://github.com/dropbox/dropbox-sdk-python, dropbox/dropbox_client.py (the vendor's SDK)",
		"5":  "https://github.com/dropbox/dropbox-sdk-python, dropbox/oauth.py, dropbox/session.py (the vendor's SDK)",
		"6":  "https://developers.dropbox.com/error-handling-guide",
		"7":  "https://www.dropbox.com/developers/reference/data-ingress-guide",
		"8":  "https://dropbox.tech/developers/using-oauth-2-0-with-offline-access",
		"9":  "https://www.dropboxforum.com, discussion 101000014 (an answer of the vendor's staff)",
		"10": "https://www.dropbox.com/developers/reference/webhooks",
		"11": "https://www.dropbox.com/developers/webhooks/docs (older)",
		"12": "https://www.dropbox.com/developers/documentation/http/documentation",
		"13": "https://github.com/dropbox/mdwebhook, app.py (the vendor's sample)",
	},
	Base: Base{URL: "https://api.dropboxapi.com/2", From: "4 5 12"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code; tokens of a user or of a team", From: "3 5"},
		{Kind: "bearer", Text: "access token", From: "4"},
		{Kind: "basic", Text: "the app's key and secret, for the few routes that the app itself may call", From: "3 4"},
	},
	OAuth: OAuth{
		AuthURL: "https://www.dropbox.com/oauth2/authorize", TokenURL: "https://api.dropboxapi.com/oauth2/token",
		RevokeURL: "https://api.dropboxapi.com/2/auth/token/revoke", StyleKnown: true, // StyleBody
		PKCE: Yes, Access: 4 * time.Hour,
		Keep: []string{"uid", "account_id", "team_id", "scope"}, From: "1 4 5 8 9",
		Notes: []Fact{
			{"Only with token_access_type=offline in the address of the consent page is there a refresh token.", "5 8"},
			{"With PKCE the code_verifier takes the place of the secret, and a refresh sends the client_id alone.", "4 5"},
			{"A refresh answers with access_token and expires_in; the SDK goes on with its old refresh token.", "4"},
			{"A refresh token that has ended is a 400 with invalid_grant.", "4"},
			{"To revoke, POST without arguments, with the token itself; its refresh token ends too.", "1"},
			{"Without scopes in the request, the token has all those of the app.", "5"},
		},
	},
	Waits: []Fact{
		{
			"A 429 is JSON, with error.retry_after in whole seconds, or plain text, with Retry-After in whole seconds.",
			"1 4 7",
		},
		{"If neither is there, the SDK waits for 5 seconds.", "4"},
		{"Limits count by token: that of a user, of a team, or of a team's member.", "7"},
		{
			"too_many_write_operations, at 429 or 409, is a lock of the namespace: write less in parallel, and in batches.",
			"2 7",
		},
		{"The same list_folder twice at once for one user may be limited.", "2"},
	},
	Lists: []List{
		{
			Name: "list_folder", Most: 2000,
			How:  dropboxPages{dropboxEntries, "https://api.dropboxapi.com/2/files/list_folder/continue"},
			Text: "POST files/list_folder, parameter limit, approximate; the next pages are of files/list_folder/continue",
			From: "2",
		},
	},
	Errors: Errors{
		RequestHeader: "X-Dropbox-Request-Id", Classify: classifyDropbox, From: "1 2 3 4 12",
		Notes: []Fact{
			{"error is a union: its code is its .tag, then that of the member of that name, as in path/not_found.", "2 4 12"},
			{"A union without a value may be a plain text.", "12"},
			{"409, with 403 and 404, is an error of the route; a 400 is often plain text.", "4 6"},
			{
				"Of the 401 only expired_access_token asks for a new token; others, such as missing_scope, need the user, " +
					"save a suspension.",
				"1 4 6",
			},
			{"A batch may answer with async_job_id: ask for its state until it is complete.", "3"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"No key; the same content at the same path is no conflict and writes nothing, unless strict_conflict is set.", "2"},
		{"The end of an upload session may be sent again with its session id.", "2"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Dropbox() },
		Over:   10 * time.Minute, From: "10 11 13",
		Notes: []Fact{
			{
				"X-Dropbox-Signature is the HMAC-SHA256 of the body by the app's secret, in hexadecimal; no time and no id " +
					"were seen.",
				"11 13",
			},
			{"The address is asked first: GET with challenge, to be answered within ten seconds with it as text/plain, with nosniff.", "10 11"},
			{"That deliveries are repeated for ten minutes is told by an older page.", "11"},
			{"A delivery names accounts, several at once, and no changes: continue each one's cursor.", "13"},
			{"One address for each app, with all its accounts.", "10"},
		},
	},
	Changes: []Fact{
		{"Keep the last cursor of list_folder, and continue it later; get_latest_cursor begins now.", "2"},
		{"Apply entries in order; a deletion is an entry of its own, and means all below its path.", "2"},
		{"An error reset of the cursor means to list anew.", "2"},
		{"notify.dropboxapi.com has a long poll without credentials, of 30 to 480 seconds, and up to 90 more; the answer may hold a backoff in seconds.", "2"},
	},
	Quirks: []Fact{
		{
			"Calls are POST with JSON; content is at content.dropboxapi.com, with arguments in the header Dropbox-API-Arg.",
			"4 5 12",
		},
		{"search (version 2) goes on at search/continue, by cursor and has_more.", "2"},
		{"In a team's space Dropbox-API-Path-Root chooses where paths begin; a wrong one is a 422.", "3 4"},
		{"A team's token acts for a member with Dropbox-API-Select-User or -Select-Admin.", "1 4"},
		{"client_modified is what the client said, no sign of a change; times are UTC, in whole seconds.", "2 3"},
		{"Business plans may have a monthly limit of uploads.", "2"},
	},
	Unknown: []string{
		"numbers of limits", "lifetime and rotation of refresh tokens", "how long a webhook's answer may take", "limits of the token endpoint",
		"the present schedule of webhooks, and when they are paused",
		"whether error_summary stands beside error", "a 503 with Retry-After",
	},
}

var dropboxEntries = belay.CursorPages{Items: "entries", Cursor: "cursor", Param: "cursor", InBody: true, More: "has_more"}

// dropboxPages asks for the pages behind the first one at next, with the cursor alone.
type dropboxPages struct {
	belay.CursorPages
	next string
}

// Ask implements belay.Paginator.
func (p dropboxPages) Ask(r *belay.PageRequest) error {
	if r.Cursor != "" {
		r.URL = p.next
		clear(r.Body)
	}
	return p.CursorPages.Ask(r)
}

// classifyDropbox reads the code from the tags of the body, and takes a lock of the namespace at 409 for a limit: nothing was
// written.
func classifyDropbox(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil || a.Response.StatusCode < 400 {
		return v
	}
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(a.Peek(), &body) != nil {
		return v
	}
	if tags := dropboxTags(body.Error); tags != "" {
		v.Code = tags
	}
	if a.Response.StatusCode == http.StatusConflict && strings.Contains("/"+v.Code+"/", "/too_many_write_operations/") {
		v.Class, v.Scope = belay.ClassRateLimited, belay.ScopeCall
	}
	return v
}

// dropboxTags returns the tags of a union, joined by slashes, downwards from the outermost one.
func dropboxTags(union json.RawMessage) string {
	var tags []string
	for range 5 {
		var tag string
		if json.Unmarshal(union, &tag) == nil { // a union without a value
			return strings.Join(append(tags, tag), "/")
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(union, &m) != nil {
			break
		}
		if m[".tag"] == nil { // a struct: that of a limit has its union in reason
			union = m["reason"]
			continue
		}
		if json.Unmarshal(m[".tag"], &tag) != nil {
			break
		}
		tags = append(tags, tag)
		if union = m[tag]; union == nil {
			union = m["reason"]
		}
	}
	return strings.Join(tags, "/")
}
