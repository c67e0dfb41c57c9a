package partners

import (
	"net/http"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Discord is a chat of communities.
var Discord = &Partner{
	Name: "discord", Title: "Discord", Tier: 2,
	Docs: "https://discord.com/developers/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1": "https://github.com/discord/discord-api-docs, developers/topics/rate-limits.mdx",
		"2": "https://github.com/discord/discord-api-docs, developers/topics/oauth2.mdx",
		"3": "https://github.com/discord/discord-api-docs, developers/reference.mdx",
		"4": "https://github.com/discord/discord-api-docs, developers/events/webhook-events.mdx",
		"5": "https://github.com/discord/discord-api-docs, developers/interactions/overview.mdx",
		"6": "https://github.com/discord/discord-api-docs, developers/topics/opcodes-and-status-codes.mdx",
		"7": "https://github.com/discord/discord-api-docs, developers/resources/message.mdx",
	},
	Base: Base{URL: "https://discord.com/api/v10", From: "3"},
	Auth: []Auth{
		{Kind: "header", Name: "Authorization", Text: "Bot and the token of the bot", From: "3"},
		{Kind: "bearer", Text: "token of OAuth", From: "3"},
		{Kind: "oauth", Text: "authorization code, client credentials, implicit", From: "2"},
		{Kind: "basic", Text: "client id and secret, for the endpoints of OAuth only", From: "3"},
	},
	OAuth: OAuth{
		AuthURL: "https://discord.com/oauth2/authorize", TokenURL: "https://discord.com/api/oauth2/token",
		RevokeURL: "https://discord.com/api/oauth2/token/revoke", StyleKnown: true, // StyleBody; Basic too
		Access: 7 * 24 * time.Hour, Keep: []string{"scope", "guild", "webhook"}, From: "2",
		Notes: []Fact{
			{"Seven days are from examples; go by expires_in.", "2"},
			{"Bodies are forms only; JSON is an error.", "2"},
			{"Revoking any token ends all tokens of that consent.", "2"},
			{
				"With webhook.incoming the answer holds a webhook, with bot the guild; guild_id in the redirect is a hint only.",
				"2",
			},
			{"Client credentials and implicit give no refresh token.", "2"},
		},
	},
	Limits: []Limit{
		{
			N: 50, Per: time.Second, For: "token",
			Where:   "global, not for interactions; by IP address without a token; large bots may get more",
			Default: true, When: discordCounts, From: "1",
		},
		{
			N: 10_000, Per: 10 * time.Minute, Of: "answers of 401, 403 and 429", For: "IP address",
			Where: "more are a ban for a while; a 429 of scope shared does not count", From: "1",
		},
	},
	Waits: []Fact{
		{"Limits are of routes, and by channel, guild and webhook: go by X-RateLimit-*, and not by figures.", "1"},
		{"X-RateLimit-Bucket leaves out the channel, guild or webhook: it is another bucket for each of them.", "1"},
		{"A 429 has Retry-After in whole seconds, and retry_after in the body with decimals.", "1"},
		{
			"X-RateLimit-Scope is user, global or shared. With shared, obey retry_after, which may be far longer than the " +
				"headers say.",
			"1",
		},
		{"Endpoints of interactions do not count towards the global limit.", "1"},
		{"Headers of routes of emoji may be wrong.", "1"},
	},
	Lists: []List{{
		Name: "messages", How: belay.LastIDPages{Param: "before", UntilEmpty: true}, Most: 100,
		Text: "an array, newest first; parameter limit, 50 by default", From: "3 7",
	}},
	Errors: Errors{
		Code: "code", Message: "message", Classify: classifyDiscord, From: "1 3",
		Notes: []Fact{
			{"code is a number. errors is a tree by field, whose leaves _errors have code and message.", "3"},
			{
				"After a 401 stop at once: it counts towards the ban. Do not call a webhook that answered 404 again: doing so " +
					"repeatedly is restricted too.",
				"1",
			},
			{"A 502 passes: wait a bit, and try again.", "6"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"A new message takes nonce and enforce_nonce, which find doubles by the same author for a few minutes.", "7"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Discord() },
		Answer: 3 * time.Second, Over: 10 * time.Minute, From: "4 5",
		Notes: []Fact{
			{"Answer 204 with an empty body. Too many failures stop the deliveries.", "4"},
			{"Discord sends wrong signatures on purpose; who accepts one loses the address.", "4 5"},
			{"A ping of events is type 0, answered by 204; one of interactions is type 1, answered by type 1 as JSON.", "4 5"},
			{"Order is not kept. Messages in guilds are not sent, but come by the gateway.", "4"},
		},
	},
	Changes: []Fact{
		{
			"An id holds its time: milliseconds since 1420070400000, shifted left by 22. Any such number will do for " +
				"before and after.",
			"3",
		},
	},
	Quirks: []Fact{
		{"User-Agent has to be DiscordBot (url, version), or else Cloudflare may answer.", "3"},
		{"A search of messages may answer 202 with retry_after, while the index is being made.", "7"},
		{"Ids are 64-bit numbers, as texts.", "3"},
		{"A wrong Content-Type is the error 50035, as a wrong form is.", "3"},
		{"Actions may run in another order or not at all, and events may come several times.", "3"},
		{"After the gateway closes with 4004, or 4010 to 4014, do not connect again.", "6"},
	},
	Unknown: []string{
		"lifetime and rotation of refresh tokens", "limits of the token endpoint", "PKCE", "a header with a request id",
		"ids of deliveries",
		"lists of members and others",
	},
}

// classifyDiscord pauses only the route if the limit is the route's: each bucket is one of a route.
func classifyDiscord(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if v.Class == belay.ClassRateLimited && a.Response != nil {
		h := a.Response.Header
		if h.Get("X-RateLimit-Bucket") != "" && h.Get("X-RateLimit-Global") == "" && h.Get("X-RateLimit-Scope") != "global" {
			v.Scope = belay.ScopeRoute
		}
	}
	return v
}

// discordCounts reports whether a request counts for the global limit: those that answer interactions do not.
func discordCounts(req *http.Request) bool { return !strings.Contains(req.URL.Path, "/interactions/") }
