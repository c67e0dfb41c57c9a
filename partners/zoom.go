package partners

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Zoom is for meetings by video.
var Zoom = &Partner{
	Name: "zoom", Title: "Zoom", Tier: 3,
	Docs: "https://developers.zoom.us/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1": "https://developers.zoom.us/docs/commerce/rate-limits",
		"2": "https://github.com/anthropics/knowledge-work-plugins, partner-built/zoom-plugin, " +
			"rest-api/concepts/rate-limiting-strategy.md (built by the partner)",
		"3": "https://github.com/anthropics/knowledge-work-plugins, partner-built/zoom-plugin, " +
			"oauth/concepts/token-lifecycle.md (built by the partner)",
		"4":  "https://developers.zoom.us/docs/integrations/oauth-error-messages",
		"5":  "https://developers.zoom.us/docs/api/errors",
		"6":  "https://godevelopers.zoom.us/docs/api/pagination",
		"7":  "https://devforum.zoom.us/t/zoom-api-create-meeting-api-rate-limit-sample-error-when-breaching-limit/18928 (the vendor's staff, with a quote of its page)",
		"8":  "https://devforum.zoom.us/t/zoom-api-invalid-access-token-behavior-change/114327 (forum)",
		"9":  "https://devsupport.zoom.us/hc/en-us/articles/360060332931-Extending-the-expiration-for-an-OAuth-access-token (older)",
		"10": "https://devsupport.zoom.us/hc/en-us/articles/360059893812-Webhook-delays",
		"11": "https://developers.zoom.us/docs/api/webhooks",
		"12": "https://developers.zoom.us/changelog/platform/webhook-url-validation",
		"13": "https://github.com/anthropics/knowledge-work-plugins, partner-built/zoom-plugin, webhooks/RUNBOOK.md " +
			"(built by the partner)",
		"14": "https://devforum.zoom.us/t/best-approach-to-sync-zoom-meeting-data-with-crm-via-webhooks/142066/2 (forum)",
		"15": "https://marketplace.zoom.us/docs/api-reference/pagination (older)",
		"16": "https://github.com/hookdeck/webhook-skills, zoom-webhooks (third party)",
		"17": "https://claudeskillshop.com/skills/zoom-oauth-anthropics (a copy of what the partner built)",
		"18": "https://github.com/api-evangelist/zoom-phone, rate-limits/zoom-phone-rate-limits.yml (third party)",
		"19": "https://developers.zoom.us/docs/integrations/PKCE",
		"20": "https://developers.zoom.us/docs/rooms/oauth",
		"21": "https://developers.zoom.us/blog/public-pkce",
	},
	Base: Base{URL: "https://api.zoom.us/v2", From: "6"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code of a user", From: "17 19"},
		{Kind: "oauth", Text: "server to server, grant account_credentials with account_id", From: "17 20"},
	},
	OAuth: OAuth{
		AuthURL: "https://zoom.us/oauth/authorize", TokenURL: "https://zoom.us/oauth/token",
		Style: oauth.StyleHeader, StyleKnown: true, PKCE: Yes, Access: time.Hour, Rotates: Yes, From: "3 4 9 19 20 21",
		Notes: []Fact{
			{"An app with a secret may use PKCE, too.", "21"},
			{"Public clients use PKCE with a client id of their own, and without secret and Authorization header.", "19"},
			{"Each refresh ends the refresh token that was used.", "3 9"},
			{
				"A refresh token often lasts about 90 days, which differs by flow, account and app; an old page has 15 years.",
				"3 9",
			},
			{"Server to server there is no refresh token: ask for the next access token.", "3"},
			{"The code works once, within five minutes.", "3"},
			{"Errors have numbers: 4711 is a bad refresh token, 4709 the redirect address, 4702 and 4704 the client, 4705 the grant, 4706 " +
				"something that is missing, 4700 all else.", "4"},
			{"There are also grants for devices and for chatbots.", "17"},
		},
	},
	Limits: []Limit{
		{
			N: 30_000, Per: 24 * time.Hour, For: "account", Plan: "free", Where: "calls with the label resource-intensive",
			From: "2",
		},
		{N: 4, Per: time.Second, For: "account", Plan: "free", Where: "calls with the label light", From: "2"},
		{N: 2, Per: time.Second, For: "account", Plan: "free", Where: "calls with the label medium", From: "2"},
		{N: 1, Per: time.Second, For: "account", Plan: "free", Where: "calls with the label heavy", From: "2"},
		{
			N: 10, Per: time.Minute, For: "account", Plan: "free, pro", Where: "calls with the label resource-intensive",
			From: "2",
		},
		{N: 30, Per: time.Second, For: "account", Plan: "pro", Where: "calls with the label light", From: "2"},
		{N: 20, Per: time.Second, For: "account", Plan: "pro", Where: "calls with the label medium", From: "2"},
		{N: 10, Per: time.Second, For: "account", Plan: "pro", Where: "calls with the label heavy", From: "2"},
		{N: 80, Per: time.Second, For: "account", Plan: "business up", Where: "calls with the label light", From: "2"},
		{N: 60, Per: time.Second, For: "account", Plan: "business up", Where: "calls with the label medium", From: "2"},
		{N: 40, Per: time.Second, For: "account", Plan: "business up", Where: "calls with the label heavy", From: "2"},
		{
			N: 20, Per: time.Minute, For: "account", Plan: "business up",
			Where: "calls with the label resource-intensive", From: "2",
		},
		{N: 6000, Per: 24 * time.Hour, For: "account", Plan: "free", Where: "calls with the label light", From: "2"},
		{N: 2000, Per: 24 * time.Hour, For: "account", Plan: "free", Where: "calls with the label medium", From: "2"},
		{N: 1000, Per: 24 * time.Hour, For: "account", Plan: "free", Where: "calls with the label heavy", From: "2"},
		{
			N: 30_000, Per: 24 * time.Hour, For: "account", Plan: "pro", Where: "heavy and resource-intensive together",
			From: "2",
		},
		{
			N: 60_000, Per: 24 * time.Hour, For: "account", Plan: "business up",
			Where: "heavy and resource-intensive together", From: "2",
		},
		{N: 100, Per: 24 * time.Hour, For: "user", Where: "meetings that are created or updated", From: "7"},
	},
	Waits: []Fact{
		{"The limits by label are those of the main API; Phone and Contact Center have others.", "2"},
		{"All apps of an account share its limits; each endpoint's page has its label.", "1"},
		{"A 429 of the day has Retry-After as an ISO time; X-RateLimit-Category and -Type say which limit it was.", "7"},
		{"A 429 of a user came without Retry-After and Type, and with a high Remaining.", "7"},
		{"A reader in 2026 found no such headers in the documentation.", "18"},
		{"Some calls are limited by user, and some by what is under way on one object.", "1"},
	},
	Lists: []List{
		{
			Name: "users", How: belay.CursorPages{Items: "users", Cursor: "next_page_token", Param: "next_page_token"},
			Most: 300, Text: "parameter page_size; other lists have another name, and heavy ones smaller pages", From: "6 15",
		},
	},
	Errors: Errors{
		Code: "code", Message: "message", Classify: classifyZoom, From: "5 8",
		Notes: []Fact{
			{"errors has the complaints by field.", "5"},
			{"4700 is a token that is invalid or lacks the scope.", "5"},
			{"At the contact centre an expired token was a 400 with code 124; since July 2024 it is a 401 with errorCode.", "8"},
			{"A 409 stands, for example, for a mail address that is taken.", "5"},
			{"A tracking id is what Zoom's support asks for.", "4"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Zoom() },
		Answer: 3 * time.Second, Retries: 3, From: "10 12 13 16",
		Notes: []Fact{
			{"x-zm-signature is v0= and the hex HMAC-SHA256 of v0:time:body, with x-zm-request-timestamp as the time.", "13 16"},
			{"A new address gets endpoint.url_validation, and answers plainToken and its HMAC, encryptedToken.", "13 16"},
			{"That check is repeated every 72 hours.", "12"},
			{"Repeats come after 5, 20 and 60 minutes; answer a 200 or 204.", "10"},
			{"The header X-Zm-Trackingid is one for each delivery: use a key of your own beside it.", "14"},
			{"An app has at most 20 subscriptions.", "11"},
			{"The old verification token was to end in June 2025.", "12"},
		},
	},
	Changes: []Fact{{"Lists of reports take dates from and to; for other changes there are webhooks.", "15"}},
	Quirks: []Fact{
		{"An empty next_page_token is the end; page_number is on its way out.", "6 15"},
		{"The next page wants the whole first query again.", "6"},
	},
	Unknown: []string{
		"the address of revocation", "limits of the token endpoint", "the life of a next_page_token",
		"the tolerance of a webhook's time", "headers of limits today", "the header of the request's id",
		"the scope separator",
	},
}

// classifyZoom adds the code of an error, which may look like a status of HTTP, and knows the codes of bad tokens.
func classifyZoom(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if v.Class == belay.ClassOK || a.Response == nil {
		return v
	}
	var body struct{ Code int }
	if json.Unmarshal(a.Peek(), &body) != nil || body.Code <= 0 || body.Code == a.Response.StatusCode {
		return v
	}
	if v.Code == "" {
		v.Code = strconv.Itoa(body.Code)
	}
	if v.Class == belay.ClassClient && (body.Code == 124 || body.Code == 4700) {
		v.Class, v.Renew = belay.ClassAuth, v.Renew || body.Code == 124
	}
	return v
}
