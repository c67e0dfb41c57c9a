package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// GitLab is a host of repositories.
var GitLab = &Partner{
	Name: "gitlab", Title: "GitLab", Tier: 2,
	Docs: "https://docs.gitlab.com/api/rest/", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://github.com/gitlabhq/gitlabhq, doc/api/rest/_index.md",
		"2":  "https://github.com/gitlabhq/gitlabhq, doc/api/oauth2.md",
		"3":  "https://github.com/gitlabhq/gitlabhq, doc/api/rest/troubleshooting.md (older)",
		"4":  "https://github.com/gitlabhq/gitlabhq, doc/user/gitlab_com/_index.md",
		"5":  "https://github.com/gitlabhq/gitlabhq, doc/administration/settings/user_and_ip_rate_limits.md",
		"6":  "https://github.com/gitlabhq/gitlabhq, app/services/web_hook_service.rb (the vendor's code)",
		"11": "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944",
		"12": "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/166329",
		"13": "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/231325",
		"14": "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/113479 and 201904, https://about.gitlab.com/blog/2024/11/14",
	},
	Base: Base{URL: "https://{host}/api/v4", From: "1"},
	Auth: []Auth{
		{Kind: "header", Name: "PRIVATE-TOKEN", Text: "access token", From: "1"},
		{Kind: "oauth", Text: "authorization code; devices have a flow of their own", From: "2"},
	},
	OAuth: OAuth{
		AuthURL: "https://{host}/oauth/authorize", TokenURL: "https://{host}/oauth/token", RevokeURL: "https://{host}/oauth/revoke",
		StyleKnown: true, // StyleBody
		PKCE:       Yes, Access: 2 * time.Hour, Rotates: Yes, Keep: []string{"created_at"}, From: "2",
		Notes: []Fact{
			{"A refresh ends the access token and the refresh token before it.", "2"},
			{"A refresh sends redirect_uri again, and it must be the first one.", "2"},
			{"With PKCE the secret is left out; S256, with a verifier of 43 to 128 characters.", "2"},
		},
	},
	Limits: []Limit{
		{N: 2000, Per: time.Minute, For: "user", Where: "gitlab.com, with credentials", From: "4"},
		{N: 500, Per: time.Minute, For: "IP address", Where: "gitlab.com, without credentials", From: "4"},
		{N: 2000, Per: time.Minute, For: "IP address", Where: "gitlab.com, all traffic", From: "4"},
		{N: 10, Per: time.Minute, For: "IP address", Where: "gitlab.com, search", From: "4"},
		{N: 200, Per: time.Minute, Where: "gitlab.com, new issues", From: "4"},
		{N: 60, Per: time.Minute, Where: "gitlab.com, notes on issues and merge requests", From: "4"},
		{N: 25, Per: time.Minute, Where: "gitlab.com, pipelines, for each project, user and commit", From: "4"},
		{N: 500, Per: time.Minute, Where: "gitlab.com, files of repositories", From: "4"},
		{N: 2000, Per: 10 * time.Minute, Where: "gitlab.com, list of projects", From: "4"},
		{N: 400, Per: time.Minute, Where: "gitlab.com, one project", From: "4"},
		{N: 600, Per: time.Minute, Where: "gitlab.com, projects of a group", From: "4"},
		{N: 200, Per: time.Minute, Where: "gitlab.com, list of groups", From: "4"},
		{N: 300, Per: 10 * time.Minute, For: "user", Where: "gitlab.com, one user", From: "4"},
		{N: 400, Per: time.Minute, Where: "gitlab.com, one group", From: "4"},
		{N: 300, Per: time.Minute, Where: "gitlab.com, projects of a user", From: "4"},
		{N: 240, Per: time.Minute, Where: "gitlab.com, the status of a user", From: "4"},
		{N: 600, Per: time.Minute, For: "user", Where: "own hosts, jobs of a project", From: "5"},
		{N: 7200, Per: time.Hour, For: "user", Where: "own hosts, if switched on and not changed", From: "5"},
		{
			N: 3600, Per: time.Hour, For: "IP address",
			Where: "own hosts, without credentials, if switched on and not changed", From: "5",
		},
	},
	Waits: []Fact{
		{"A 429 has Retry-After in seconds, RateLimit-Reset as seconds since 1970 and RateLimit-ResetTime as a date.", "5"},
		{"Its body is plain text, such as Retry later, which each host may change.", "5"},
		{"Limits of the application, such as that of new issues, are in no header: a 429 may come while much remains.", "5"},
		{
			"403 for everything may be an address that is blocked for 15 minutes, after 300 logins of Git or the container registry in a minute that failed.",
			"4",
		},
	},
	Lists: []List{
		{Name: "list", How: belay.LinkPages{}, Most: 100, Text: "parameters page and per_page", From: "1"},
		{
			Name: "keyset", How: belay.LinkPages{}, Most: 100,
			Text: "parameters pagination=keyset, order_by, sort and per_page; some lists only; ends without a link, on an " +
				"empty page",
			From: "1",
		},
	},
	Errors: Errors{
		Message: "message", RequestHeader: "X-Request-Id", From: "1 3",
		Notes: []Fact{
			{"message is a text, or an object of fields with lists of texts, which may be nested. No code was seen.", "3"},
			{"404 may be a lack of access; 503 is a host with too much to do.", "3"},
			{"202 means only that the work has been planned, that of a deletion too.", "3"},
			{"An answer with needs_captcha_response wants the call again, with the headers of a solved captcha.", "3"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{{"Deletions take If-Unmodified-Since, and answer 412.", "3"}}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.GitLab() }, Answer: 10 * time.Second, From: "4 11",
		Notes: []Fact{
			{"The signing token, whsec_…, is of newer versions.", "11 13"},
			{"Older ones send the secret itself, in X-Gitlab-Token: webhook.GitLabToken.", "6"},
			{
				"On gitlab.com four failures in a row disable a hook for a time, forty for good (since 17.11); own hosts have " +
					"this off unless switched on.",
				"12 14",
			},
			{"Idempotency-Key, or webhook-id, is that of the event, also if it is sent again.", "6 11"},
			{"Any 2xx or 3xx is a success. The ten seconds are gitlab.com's.", "4 6"},
			{"gitlab.com drops deliveries beyond the limit of a namespace, 500 to 13,000 a minute by its plan.", "4 6"},
			{"A hook with a template of its own has a body of any shape.", "6"},
		},
	},
	Changes: []Fact{{"Times are ISO 8601; the + of a zone must be %2B in a query.", "1"}},
	Quirks: []Fact{
		{"id is unique everywhere, iid within a project; most addresses want the iid.", "1"},
		{"Paths of groups and projects are one segment, with %2F.", "1"},
		{"A project that was moved answers with a redirect.", "1"},
		{"The list of users wants keyset above 50,000 records; any list above 10,000 has no total and no last link.", "1"},
	},
	Unknown: []string{
		"parameters of changed records, and feeds of deleted ones", "the lifetime of refresh tokens",
		"limits of the token endpoint",
		"the body of a token that has ended", "the largest offset of gitlab.com", "keys of idempotency for calls",
	},
}
