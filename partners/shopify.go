package partners

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// Shopify is a system for shops.
var Shopify = &Partner{
	Name: "shopify", Title: "Shopify", Tier: 2,
	Docs: "https://shopify.dev/docs/api", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits",
		"2":  "https://shopify.dev/docs/api/admin-rest/usage/rate-limits",
		"3":  "https://shopify.dev/docs/api/usage/limits",
		"4":  "https://shopify.dev/docs/api/usage/rate-limits (older)",
		"5":  "https://shopify.dev/docs/api/usage/response-codes",
		"6":  "https://shopify.dev/changelog/admin-api-requests-to-locked-stores-will-return-a-423-status-code-instead-of-420",
		"7":  "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens",
		"8":  "https://shopify.dev/changelog/posts/offline-access-tokens-now-support-expiry-and-refresh",
		"9":  "https://shopify.dev/docs/apps/build/security/credentials-and-data/use-expiring-offline-access-tokens",
		"10": "https://shopify.dev/changelog/more-resilient-refreshes-for-expiring-offline-access-tokens",
		"11": "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens",
		"12": "https://shopify.dev/docs/apps/build/authentication-authorization/authenticate-standalone-apps",
		"13": "https://github.com/Shopify/omniauth-shopify-oauth2/wiki/Shopify-OAuth (older)",
		"14": "https://github.com/Shopify/shopify-app-php/issues/12",
		"15": "https://www.shopify.dev/docs/api/admin-rest/usage/pagination",
		"16": "https://shopify.dev/concepts/graphql/pagination",
		"17": "https://shopify.dev/docs/api/usage/idempotent-requests, /implementing-idempotency, and the changelog of 2025-12-12",
		"18": "https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
		"19": "https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates",
		"20": "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
		"21": "https://dev.to/shannonllc/shopify-webhooks-hmac-verification-5-second-timeout-retries-jkj (third party)",
		"22": "https://community.shopify.com, topics 8456, 254776, 178900 and post 1130424 (third parties)",
		"23": "https://shopify.dev/docs/apps/build/apis/graphql-admin/bulk-operations/queries",
		"24": "https://www.throttleproxy.com/docs/rate-limits/shopify (third party)",
		"25": "https://www.shopify.dev/api/admin",
		"26": "https://www.npmjs.com/package/@shopify/shopify-api, 13.1.0 (the vendor's SDK)",
		"27": "https://community.shopify.com/c/Shopify-APIs-SDKs/Get-order-details-based-on-latest-updated-datetime-of-the-order/td-p/814632 (forum)",
		"28": "clients of third parties that read data.orders of /orders.json, found by their text",
		"29": "https://shopify.dev/docs/apps/auth/access-token-types/offline",
	},
	Base: Base{URL: "https://{shop}.myshopify.com/admin/api/{version}", From: "15 17 18"},
	Auth: []Auth{
		{Kind: "header", Name: "X-Shopify-Access-Token", Text: "the access token, from any of the grants", From: "11"},
		{
			Kind: "oauth",
			Text: "token exchange for embedded apps, authorization code for others, client credentials for shops of one's own",
			From: "12",
		},
	},
	OAuth: OAuth{
		AuthURL:  "https://{shop}.myshopify.com/admin/oauth/authorize",
		TokenURL: "https://{shop}.myshopify.com/admin/oauth/access_token", StyleKnown: true, // StyleBody
		Access: time.Hour, Refresh: 90 * 24 * time.Hour, Rotates: Yes, Separator: ",", From: "7 8 9 13 29",
		Notes: []Fact{
			{
				"Offline tokens, the default, expire only if expiring=1 was sent; public apps must from 2027-01-01 on, those " +
					"made since 2026-04-01 now; custom and merchant-made apps need not.",
				"7 14",
			},
			{"A token that does not expire lasts until the app is uninstalled or its secret revoked.", "9"},
			{"An app has one token that expires for each shop: to get another one revokes the one before.", "29"},
			{"A public app can get a token of its own by a signed assertion, for an hour at most and without refresh.", "9"},
			{"A refresh may come before or after the end of the access token.", "8"},
			{"The refresh token that was used last works until the app begins to use its successor.", "10"},
			{"Requests from Shopify carry hmac, which must be verified.", "12"},
			{"A bad code or a stale session token is a 400 of the token endpoint.", "5"},
		},
	},
	Limits: []Limit{
		{N: 100, Per: time.Second, Of: "points", For: "app and account", Plan: "Standard", Where: "GraphQL", From: "1"},
		{N: 200, Per: time.Second, Of: "points", For: "app and account", Plan: "Advanced", Where: "GraphQL", From: "1"},
		{N: 1000, Per: time.Second, Of: "points", For: "app and account", Plan: "Plus", Where: "GraphQL", From: "1"},
		{N: 2000, Per: time.Second, Of: "points", For: "app and account", Plan: "enterprise", Where: "GraphQL", From: "1"},
		{N: 2, Per: time.Second, Plan: "Standard", Where: "REST", From: "2"},
		{N: 4, Per: time.Second, Plan: "Advanced", Where: "REST", From: "2"},
		{N: 20, Per: time.Second, Plan: "Plus", Where: "REST", From: "2"},
		{N: 40, Per: time.Second, Plan: "enterprise", Where: "REST", From: "4"},
		{N: 5, Of: "operations in flight", For: "app and account", Where: "bulk queries, from version 2026-01", From: "23"},
	},
	Waits: []Fact{
		{
			"GraphQL counts points in a leaky bucket: an object costs 1, a scalar nothing, a union its dearest choice; limits may be cut for a time.",
			"1 4",
		},
		{
			"extensions.cost has requestedQueryCost and throttleStatus: maximumAvailable, currentlyAvailable, restoreRate.",
			"22",
		},
		{
			"REST has X-Shopify-Shop-Api-Call-Limit, as used/size, and a 429 has Retry-After in seconds, with decimals.",
			"24 26",
		},
		{
			"If told to, the SDK repeats after 429 and 503, in REST after 500 too; without Retry-After it waits a second.",
			"26",
		},
	},
	Lists: []List{
		{
			Name: "products", How: belay.CursorPages{
				Items: "data.products.nodes", Cursor: "data.products.pageInfo.endCursor", Param: "variables.after",
				More: "data.products.pageInfo.hasNextPage", InBody: true,
			}, Most: 250, Text: "GraphQL; the query declares $after and names the kind. 25,000 items at most", From: "3 16",
		},
		{
			Name: "rest-orders", How: belay.LinkPages{Items: "orders"}, Most: 250,
			Text: "REST; the key is the kind's. Filters are for the first page only", From: "15 22 26 28",
		},
	},
	Errors: Errors{
		Code: "errors[].extensions.code", Message: "errors[].message", RequestHeader: "X-Request-Id",
		Classify: classifyShopify, From: "22 24",
		Notes: []Fact{
			{"GraphQL tells errors within a body of success: look at errors whatever the status.", "22"},
			{"THROTTLED was seen with 200 and with 429; data is missing or null then.", "22"},
			{"INTERNAL_SERVER_ERROR has extensions.requestId.", "22"},
			{"A 423 is a shop that is locked.", "6"},
			{"A 202 is accepted and not done, a 303 is to be followed.", "5"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{
			{
				"Some mutations take @idempotent(key:), and must from 2026-04 on: refundCreate, inventoryAdjustQuantities, " +
					"inventoryShipmentReceive and others.",
				"17",
			},
			{"The same key and variables get the first answer again; payments by REST have unique_token.", "17"},
		},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.Shopify() }, Answer: 5 * time.Second, Retries: 8,
		Over: 4 * time.Hour, From: "18 20 21 26",
		Notes: []Fact{
			{"Connections must be made within a second; a redirection is a failure.", "20 21"},
			{"Eight failures in a row delete a subscription that was made by API.", "21"},
			{"X-Shopify-Webhook-Id tells deliveries apart, X-Shopify-Event-Id events.", "18 19"},
			{"A new secret may take an hour to be used.", "18"},
			{"The newer Events, a preview, sign in the same way, with headers that lack the X-.", "18 26"},
		},
	},
	Changes: []Fact{
		{"Orders of REST take created_at_min and updated_at_min, those of GraphQL a filter by created_at.", "22 27"},
	},
	Quirks: []Fact{
		{"REST is legacy since 2024-10-01.", "2"},
		{"A count of 25,001 means more than 25,000; arrays of input have 250 items at most.", "3"},
		{"GraphQL is always POST.", "25"},
		{"The link to the page before is previous, not prev.", "15"},
		{"Older texts still tell of 50 points a second and a bucket of 1,000.", "22"},
	},
	Unknown: []string{
		"PKCE", "an address to revoke tokens", "limits of the token endpoint",
		"the most that one query may cost", "changes since a time in GraphQL", "deleted records", "the shape of userErrors",
		"how an expired token is told", "the status of THROTTLED in the vendor's words",
	},
}

// classifyShopify reads the errors that GraphQL sends without data, with whatever status. A THROTTLED waits until there
// are as many points as the query costs.
func classifyShopify(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil || v.Class != belay.ClassOK && v.Class != belay.ClassRateLimited || a.Response.StatusCode/100 == 3 {
		return v
	}
	head := a.Peek()
	if !bytes.Contains(head, []byte(`"errors"`)) {
		return v
	}
	var body struct {
		Data   any
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
		Extensions struct {
			Cost struct {
				RequestedQueryCost float64
				ThrottleStatus     struct{ CurrentlyAvailable, RestoreRate float64 }
			}
		}
	}
	if json.Unmarshal(head, &body) != nil || body.Data != nil || len(body.Errors) == 0 {
		return v
	}
	first, cost := body.Errors[0], body.Extensions.Cost
	v.Code, v.Message = first.Extensions.Code, first.Message
	switch {
	case v.Class == belay.ClassRateLimited, v.Code == "THROTTLED", strings.EqualFold(v.Message, "throttled"):
		v.Class, v.Scope = belay.ClassRateLimited, belay.ScopeCredential
		missing := cost.RequestedQueryCost - cost.ThrottleStatus.CurrentlyAvailable
		if rate := cost.ThrottleStatus.RestoreRate; rate > 0 && missing > 0 && v.RetryAfter == 0 {
			v.RetryAfter = time.Duration(min(math.Ceil(missing/rate), 3600)) * time.Second
		}
	case v.Code == "INTERNAL_SERVER_ERROR":
		v.Class, v.Scope = belay.ClassTransient, belay.ScopeCall
	default:
		v.Class, v.Scope = belay.ClassClient, belay.ScopeCall
	}
	return v
}
