package partners

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Mailchimp sends marketing mails.
var Mailchimp = &Partner{
	Name: "mailchimp", Title: "Mailchimp Marketing", Tier: 2,
	Docs: "https://mailchimp.com/developer/marketing", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://mailchimp.com/developer/marketing/docs/errors",
		"2":  "https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks",
		"3":  "https://developer.mailchimp.com/documentation/mailchimp/guides/how-to-use-oauth2 (older)",
		"4":  "https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2",
		"5":  "https://github.com/api-evangelist/mailchimp, rate-limits/mailchimp-rate-limits.yml (third party)",
		"6":  "https://docs.unified.to/skills/mailchimp-oauth-app/SKILL.md (third party)",
		"7":  "https://integrations.sh/mailchimp.com/mailchimp-marketing-api (third party)",
		"8":  "https://www.withone.ai/knowledge/mailchimp-marketing (third party)",
		"9":  "https://zappysys.com/api/integration-hub/mailchimp-connector/help/endpoint/get-list-members (third party)",
		"10": "https://github.com/requests/requests-oauthlib/pull/169 (third party)",
		"11": "https://openapi.city/providers/mailchimp/endpoints (third party)",
		"12": "https://automatelab.tech/saas-webhooks/mailchimp (third party)",
		"14": "https://glama.ai/mcp/servers/damientilman/mailchimp-mcp-server/tools/create_webhook (third party)",
		"16": "https://github.com/googleworkspace/apps-script-oauth2/pull/218 (third party)",
		"17": "https://github.com/mailchimp/fern-marketing-api-docs, fern/docs/pages/api-concepts (the vendor's documentation)",
		"18": "https://github.com/mailchimp/fern-marketing-api-docs, fern/.well-known/agent-skills (the vendor's documentation)",
		"19": "https://github.com/mailchimp/mailchimp-marketing-typescript-sdk, lists/types/ListMembersListsResponse.ts (the vendor's SDK)",
		"20": "https://github.com/mailchimp/fern-marketing-api-docs, fern/docs/changelog/2021-04-05 (the vendor's documentation)",
	},
	Base: Base{URL: "https://{dc}.api.mailchimp.com/3.0", From: "1 7 16"},
	Auth: []Auth{
		{Kind: "basic", Text: "the API key, which ends in the data centre", From: "7 18"},
		{Kind: "oauth", Text: "authorization code, for the accounts of others", From: "4 7 16"},
	},
	OAuth: OAuth{
		AuthURL: "https://login.mailchimp.com/oauth2/authorize", TokenURL: "https://login.mailchimp.com/oauth2/token",
		StyleKnown: true, Access: -1, From: "3 17 18", // StyleBody
		Notes: []Fact{
			{"Tokens do not end by time, and there are no refresh tokens; expires_in is 0 and scope null.", "3 10 17"},
			{"A 401 with a token that has worked means that it was revoked: ask the user again.", "18"},
			{
				"https://login.mailchimp.com/oauth2/metadata tells the data centre; the newest pages want neither in new code.",
				"3 6 18",
			},
			{"There are no scopes: a token may do what its user may.", "6"},
		},
	},
	Limits: []Limit{
		{N: 10, Of: inFlight, For: "user", Where: "all apps and keys together", Default: true, From: "5 17"},
		{N: 500, Of: "pending batches", For: "user", Where: "batches", From: "5 17"},
		{N: 500, Of: "pending batch webhook events", For: "user", Where: "batches", From: "17"},
		{N: 500, Of: "members", Where: "one POST /lists/{id}", From: "18"},
	},
	Waits: []Fact{
		{"A 429 tells no time; calls that timed out at the caller may still run and count.", "5 17"},
		{"Under very much load a 403 or 429 without JSON is a limit too.", "17"},
	},
	Lists: []List{{
		Name: "members", How: belay.OffsetPages{Items: "members", Limit: 1000, LimitParam: "count", Total: "total_items"},
		Most: 1000,
		Text: "/lists/{id}/members; the items of other lists have the name of their resource", From: "8 11 17 19",
	}},
	Errors: Errors{
		Code: "title", Message: "detail", RequestID: "instance", RequestHeader: "X-Request-Id", Classify: classifyMailchimp,
		From: "1 17",
		Notes: []Fact{
			{"The body is application/problem+json; its type is an address, and the title is the nearest to a code.", "1 17"},
			{"A 502 with HTML may be a call that took too long: calls end after 120 seconds.", "17"},
			{"The header X-Trigger-Error makes an error for tests.", "17"},
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"PUT creates a member or changes it, at the MD5 of the address in lower case.", "17"},
		{"Batches of members take update_existing and skip_duplicate_check.", "11"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Mailchimp() },
		Answer: 10 * time.Second, Over: 75 * time.Minute, From: "2 14 17 18",
		Notes: []Fact{
			{
				"X-Mailchimp-Signature is t=TIME,v1=HEX: an HMAC-SHA256 of the time, a point and the body; refuse what is " +
					"older than five minutes.",
				"17 18",
			},
			{"The secret is told once, when the webhook is made; older webhooks are not signed.", "17 18"},
			{"The body is a form: type, fired_at without a zone, and data.", "12 17"},
			{"There is no id: type, data.id and fired_at identify an event.", "18"},
			{"A 410 disables the webhook.", "20"},
			{"At creation a GET comes, which wants a 200.", "14"},
		},
	},
	Changes: []Fact{
		{"Members take since_last_changed, a time in ISO 8601 with an offset.", "8 9"},
		{"The unsubscribe webhook says whether a member was deleted.", "12"},
	},
	Quirks: []Fact{
		{"The vendor's newest pages name https://api.mailchimp.com/3.0 for all accounts, without a data centre.", "17 18"},
		{"Lists hold ten items unless count is sent.", "8 11 17"},
	},
	Unknown: []string{
		"PKCE", "how to revoke", "limits of the token endpoint", "list of error codes", "steps of webhook retries",
		"deleted members in lists",
	},
}

// classifyMailchimp takes a 403 that is not JSON for a limit, and the title for the code, because the type is the address of a page.
func classifyMailchimp(a *belay.Attempt) belay.Verdict {
	if a.Err != nil || a.Response == nil || a.Response.StatusCode < http.StatusBadRequest {
		return belay.Classify(a)
	}
	body := bytes.TrimSpace(a.Peek())
	if a.Response.StatusCode == http.StatusForbidden && !bytes.HasPrefix(body, []byte("{")) {
		return asStatus(a, http.StatusTooManyRequests)
	}
	v := belay.Classify(a)
	var problem struct{ Type, Title string }
	if json.Unmarshal(body, &problem) == nil && problem.Title != "" && v.Code == problem.Type {
		v.Code = problem.Title
	}
	return v
}
