package partners

import (
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Typeform makes forms.
var Typeform = &Partner{
	Name: "typeform", Title: "Typeform", Tier: 2,
	Docs: "https://www.typeform.com/developers", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developers.typeform.com/get-started/applications",
		"2":  "https://typeform.com/developers/get-started/scopes",
		"3":  "https://www.typeform.com/developers/webhooks/secure-your-webhooks",
		"4":  "https://www.typeform.com/developers/webhooks",
		"5":  "https://typeform.com/developers/responses/reference/retrieve-responses",
		"6":  "https://www.typeform.com/developers/responses/walkthroughs",
		"7":  "https://github.com/Typeform/js-api-client/issues/53 (an issue of the vendor's SDK, older)",
		"8":  "https://rate-limits.apis.io/rate-limits/typeform/typeform-rate-limits (third party)",
		"9":  "https://www.withone.ai/knowledge/typeform, on listing responses (third party)",
		"10": "https://hookdeck.com/webhooks/platforms/guide-to-typeform-webhooks-features-and-best-practices (third party)",
		"11": "https://developer.typeform.com/webhooks (older)",
		"12": "https://rollout.com/integration-guides/typeform/api-essentials (third party)",
		"13": "https://github.com/trocco-io/trocco-docs-md, trocco/connection-configuration-typeform.md (third party)",
		"14": "https://github.com/Typeform/js-api-client, src/utils.ts, which names the vendor's page (the vendor's SDK)",
		"15": "https://github.com/Typeform/js-api-client, src/auto-page-items.ts and src/forms.ts (the vendor's SDK)",
		"16": "https://github.com/Typeform/js-api-client, src/responses.ts and src/typeform-types.ts (the vendor's SDK)",
		"17": "https://nango.dev/docs/api-integrations/typeform/how-to-register-your-own-typeform-api-oauth-app (third party)",
		"18": "https://www.typeform.com/developers/get-started/mcp",
		"19": "https://docs.rs/webhook-verify (third party)",
	},
	Base: Base{URL: "https://api.typeform.com", From: "1 6"},
	Auth: []Auth{
		{Kind: "oauth", Text: "authorization code", From: "1"},
		{Kind: "bearer", Text: "personal token with scopes of your choice, shown once", From: "12 13"},
	},
	OAuth: OAuth{
		AuthURL: "https://api.typeform.com/oauth/authorize", TokenURL: "https://api.typeform.com/oauth/token",
		Access: 7 * 24 * time.Hour, From: "1 7",
		Notes: []Fact{
			{"Seven days are the default: the owner of the app chooses how long a token lasts.", "7"},
			{"A refresh token is given only with the scope offline.", "2"},
			{"A contributor of the vendor's client calls expires_in a timestamp: check its unit.", "7"},
			{"The client's secret is shown once.", "1"},
		},
	},
	Limits: []Limit{{N: 2, Per: time.Second, For: "account", Default: true, From: "14"}},
	Waits:  []Fact{{"A 429 is said to have Retry-After.", "8"}},
	Lists: []List{
		{
			Name: "forms", How: belay.NumberPages{Items: "items", Size: 200, SizeParam: "page_size", Total: "total_items"},
			Most: 200,
			Text: "GET /forms, and other lists with total_items, such as workspaces", From: "15 16",
		},
	},
	Idempotency: Idempotency{Notes: []Fact{
		{"A webhook is put under a tag of your choice, and putting it again updates it.", "10 12"},
	}},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Typeform() }, Answer: 30 * time.Second, From: "3 4",
		Notes: []Fact{
			{"A 404 or 410 disables the webhook at once: answer something else while you deploy.", "4"},
			{"After a 408, 423, 429 or 503 it comes again every two to three minutes, for ten hours.", "4"},
			{
				"After any other failure it is tried five times, with gaps that grow from 5 minutes to hours; an older page has 5, 10, 20, 60 and " +
					"120 minutes.",
				"4 11",
			},
			{"event_id tells deliveries apart.", "19"},
			{"The events are form_response and form_response_partial; a webhook belongs to one form.", "10"},
			{"The signature is base64, and not hex as others with the same prefix, and covers no time.", "3"},
			{"A webhook may come some seconds before its answer can be read.", "4"},
		},
	},
	Changes: []Fact{
		{"since and until bound responses, both inclusive, in seconds since 1970 or as a time in UTC.", "5"},
		{"Responses can be asked for, or left out, by their ids.", "5"},
		{"response_type says which time they mean: started, partial or completed.", "5"},
		{"Responses of the last half hour are said to be missing at times.", "9"},
	},
	Quirks: []Fact{
		{"Responses go on by before or after, which take a response's token and are exclusive, without sort.", "5 16"},
		{"A page of responses has 25 unless page_size says more, up to 1000.", "5 6"},
		{"Of European accounts the newer host, api.typeform.eu, has an authorization server and apps of its own.", "17 18"},
		{"The other European host is api.eu.typeform.com.", "18"},
	},
	Unknown: []string{
		"the shape of errors, and the answer to an expired token", "headers of limits",
		"rotation of refresh tokens, and revocation",
		"PKCE, and how the client authenticates", "how the list of responses ends",
		"responses that were deleted",
	},
}
