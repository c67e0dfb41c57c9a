package partners

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// Slack is a messenger for teams.
var Slack = &Partner{
	Name: "slack", Title: "Slack", Tier: 2,
	Docs: "https://docs.slack.dev", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://docs.slack.dev/apis/web-api/rate-limits",
		"2":  "https://api.slack.com/apis/rate-limits (older)",
		"3":  "https://docs.slack.dev/reference/methods/conversations.history",
		"4":  "https://docs.slack.dev/authentication/using-token-rotation",
		"5":  "https://docs.slack.dev/reference/methods/oauth.v2.access",
		"6":  "https://docs.slack.dev/tools/node-slack-sdk/reference (the vendor's SDK)",
		"7":  "https://api.slack.com/methods/oauth.v2.exchange",
		"8":  "https://docs.slack.dev/tools/node-slack-sdk/reference/web-api/interfaces/WebAPICallResult (the vendor's SDK)",
		"9":  "https://github.com/slackhq/slack-api-docs (older)",
		"10": "https://docs.slack.dev/apis/web-api/pagination",
		"11": "https://github.com/slackapi/bolt-js, src/receivers/verify-request.ts (the vendor's SDK)",
		"12": "https://api.slack.com/events/url_verification",
		"13": "https://api.slack.com/apis/http",
		"14": "https://slack.dev/python-slack-sdk/api-docs/slack_sdk/oauth/token_rotation (the vendor's SDK)",
		"15": "https://github.com/opsdroid/opsdroid/issues/1958 (third party, headers of a 429)",
		"16": "a Japanese blog post on the Events API, without an address (third party, older)",
		"17": "https://github.com/zeroclaw-labs/zeroclaw/issues/1839 (third party)",
		"18": "client documentation that was generated from the vendor's pages of methods (third party)",
		"19": "https://github.com/slackapi/node-slack-sdk, packages/oauth/src/install-provider.ts (the vendor's SDK)",
		"20": "https://github.com/slackapi/node-slack-sdk, packages/web-api/src/WebClient.ts (the vendor's SDK)",
		"21": "https://docs.slack.dev/tools/node-slack-sdk/reference/web-api, UsersListResponse, UsersListArguments, " +
			"ConversationsListResponse and ConversationsHistoryResponse (the vendor's SDK)",
		"22": "https://github.com/slack-ruby/slack-api-ref, methods/users/users.list.json (third party)",
		"23": "https://github.com/aki017/slack-api-docs, methods/auth.revoke.json (third party's copy of the vendor's, older)",
		"24": "https://docs.slack.dev/authentication/using-pkce",
		"25": "https://github.com/slack-ruby/slack-ruby-client, lib/slack/web/api/errors.rb (third party, generated from the vendor's pages)",
		"26": "https://github.com/slack-go/slack, slackevents (third party)",
	},
	Base: Base{URL: "https://slack.com/api", From: "5 9"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code, for tokens of bots and of users", From: "4 5"},
		{Kind: "bearer", Text: "token of a bot, a user or an app", From: "3 4 9"},
	},
	OAuth: OAuth{
		AuthURL: "https://slack.com/oauth/v2/authorize", TokenURL: "https://slack.com/api/oauth.v2.access",
		Style: oauth.StyleHeader, StyleKnown: true, PKCE: No,
		Access: 12 * time.Hour, Refresh: -1, Rotates: Yes, Separator: ",", From: "4 5 6 19 24",
		Keep: []string{
			"scope", "bot_user_id", "app_id", "team", "enterprise", "is_enterprise_install", "incoming_webhook", "authed_user",
		},
		Notes: []Fact{
			{"Without rotation, which an app turns on, tokens do not expire and there is no refresh token.", "4"},
			{"The bot's token is at the top of the answer, the user's with a life of its own in authed_user.", "6"},
			{"The scopes of the user's token are in user_scope of the authorize address.", "19"},
			{"An old token can be exchanged for a pair that rotates, by oauth.v2.exchange, and only once.", "7"},
			{"The vendor's SDKs refresh two hours before the end.", "14 19"},
			{
				"PKCE is a setting of the app that cannot be undone: it makes a public client of it, whose refresh tokens end after " +
					"30 days.",
				"24",
			},
			{"The method of the token endpoint has limits of its own.", "5"},
			{"The method auth.revoke ends the token with which it is called.", "23"},
		},
	},
	Limits: []Limit{
		{N: 1, Per: time.Minute, For: "route", Where: "a method of tier 1, in one workspace, at least", From: "1 2"},
		{N: 20, Per: time.Minute, For: "route", Where: "a method of tier 2, in one workspace, at least", From: "1 2"},
		{N: 50, Per: time.Minute, For: "route", Where: "a method of tier 3, in one workspace, at least", From: "1 2"},
		{N: 100, Per: time.Minute, For: "route", Where: "a method of tier 4, in one workspace, at least", From: "1 2"},
		{N: 1, Per: time.Second, For: "route", Where: "messages to one channel", From: "2"},
		{N: 1, Per: time.Second, For: "route", Where: "an incoming webhook", From: "2"},
		{N: 10_000, Per: time.Hour, Of: "events", Where: "triggers of workflows", From: "2"},
		{N: 10, Per: time.Minute, Of: "webhooks", Where: "triggers of workflows", From: "2"},
		{
			N: 1, Per: time.Minute, For: "route", Plan: "apps sold outside of the Marketplace, installed since 2025-05-29",
			Where: "conversations.history and conversations.replies, 15 messages at most", From: "3",
		},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in seconds.", "9"},
		{"Each method is counted by itself, for each workspace and app; short bursts are tolerated.", "1"},
		{"An app that goes on while it is limited may be disabled.", "9"},
	},
	Lists: []List{
		{
			Name: "users", How: belay.CursorPages{Items: "members", Cursor: "response_metadata.next_cursor", Param: "cursor"},
			Most: 999, Text: "users.list; parameter limit", From: "8 10 20 21",
		},
		{
			Name: "conversations",
			How:  belay.CursorPages{Items: "channels", Cursor: "response_metadata.next_cursor", Param: "cursor"},
			Most: 999, Text: "conversations.list; parameter limit", From: "8 10 20 21",
		},
		{
			Name: "history", How: belay.CursorPages{Items: "messages", Cursor: "response_metadata.next_cursor", Param: "cursor"},
			Most: 999, Text: "conversations.history; parameter limit; a page may be shorter", From: "8 10 18 20 21",
		},
	},
	Errors: Errors{
		Code: "error", RequestHeader: "X-Slack-Req-Id", Classify: classifySlack, From: "7 9 15 17 20 22",
		Notes: []Fact{
			{"A failure is a 200 with ok false and a code in error; of other statuses only the 429 means something.", "7 9 20"},
			{"internal_error and fatal_error are failures of Slack's, and a part of the call may have been done.", "7"},
			{"The answer to missing_scope names in needed the scope that is missing.", "6 22"},
			{"Details are in response_metadata.messages; a warning may stand beside ok true.", "8 9"},
			{"accesslimited says that the method is limited on the network of the caller.", "7"},
			{"A 429 was seen with the header X-Slack-Unique-Id; X-Slack-Req-Id was seen among the names of exposed headers.", "15"},
			{"token_expired is a token whose time is over.", "25"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Slack() }, Answer: 3 * time.Second, Retries: 3, From: "11 16",
		Notes: []Fact{
			{"Repeats come at once, after one minute and after five; the answer's header X-Slack-No-Retry: 1 stops them.", "16"},
			{"A new address gets a signed url_verification, whose challenge is the answer that it wants.", "12"},
			{"One address serves all workspaces of an app.", "13"},
			{"event_id tells events apart; X-Slack-Retry-Num only counts the tries.", "26"},
			{"At most 30,000 events an hour are delivered for a workspace.", "2"},
		},
	},
	Changes: []Fact{{"History can be cut by oldest and latest; no list of what has changed was seen.", "3 6"}},
	Quirks: []Fact{
		{"An app that is installed for an enterprise has no single team: look at is_enterprise_install.", "6"},
		{"Times of messages are texts of seconds and microseconds.", "6"},
		{"Old methods page in ways of their own.", "10"},
	},
	Unknown: []string{
		"headers of what is left", "when deliveries are switched off",
		"when old installations get the limit of conversations.history: the pages contradict each other",
	},
}

// slackStatus is the status that other partners would send with a code.
var slackStatus = map[string]int{
	"ratelimited": http.StatusTooManyRequests,
	"not_authed":  http.StatusUnauthorized, "invalid_auth": http.StatusUnauthorized,
	"account_inactive": http.StatusUnauthorized, "token_revoked": http.StatusUnauthorized, "token_expired": http.StatusUnauthorized,
	"missing_scope": http.StatusForbidden, "no_permission": http.StatusForbidden,
	"internal_error": http.StatusInternalServerError, "fatal_error": http.StatusInternalServerError,
}

// classifySlack reads failures out of answers with status 200, as if they had the status that they deserve.
func classifySlack(a *belay.Attempt) belay.Verdict {
	if a.Err != nil || a.Response == nil || a.Response.StatusCode != http.StatusOK {
		return belay.Classify(a)
	}
	var body struct {
		OK    *bool  `json:"ok"`
		Error string `json:"error"`
	}
	head := a.Peek()
	if !bytes.Contains(head, []byte(`"error"`)) || json.Unmarshal(head, &body) != nil || body.OK == nil || *body.OK {
		return belay.Classify(a)
	}
	status := slackStatus[body.Error]
	if status == 0 {
		status = http.StatusBadRequest
	}
	v := asStatus(a, status)
	v.Renew = v.Renew || status == http.StatusUnauthorized
	return v
}
