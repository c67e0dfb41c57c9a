package partners

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/webhook"
)

// QuickBooks is Intuit's bookkeeping, QuickBooks Online.
var QuickBooks = &Partner{
	Name: "quickbooks", Title: "QuickBooks Online", Tier: 3,
	Docs: "https://developer.intuit.com/app/developer/qbo/docs", Seen: "2026-11-28",
	Sources: map[string]string{
		"1":  "https://developer.intuit.com/app/developer/qbo/docs/learn/limits-and-throttles",
		"2":  "https://developer.intuit.com/hub/blog/2016/08/08/idg-concurrent-api-use-changes-coming-soon (older)",
		"3":  "https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/batch (older)",
		"4":  "https://github.com/intuit/oauth-jsclient, src/OAuthClient.js (the vendor's SDK)",
		"5":  "https://github.com/intuit/oauth-jsclient, README.md (the vendor's SDK)",
		"6":  "https://github.com/IntuitDeveloper/OAuth2-Dotnet_UsingSDK, docs/help/Tokens.md",
		"7":  "https://blogs.a.intuit.com/2025/11/12/important-changes-to-refresh-token-policy",
		"8":  "https://github.com/intuit/QuickBooks-V3-Java-SDK, release v6.5.4, and -DotNET-SDK, V14.7.1.4 (the vendor's SDK)",
		"9":  "https://developer.intuit.com/app/developer/qbo/docs/develop/troubleshooting/error-codes",
		"10": "https://developer.intuit.com/app/developer/qbo/docs/develop/troubleshooting/handling-common-errors",
		"11": "https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/change-data-capture",
		"12": "https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/data-queries",
		"13": "https://developer.intuit.com/hub/blog/2017/02/08/deep-dive-sql-queries/ (older)",
		"14": "https://developer.intuit.com/blog/tag/quickbooks-online/",
		"15": "https://developer.intuit.com/app/developer/qbo/docs/learn/learn-basic-field-definitions",
		"16": "https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks",
		"17": "https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks/managing-webhooks-notifications (older)",
		"18": "https://lookslikecode.com/skills/simonpierreboucher02/quickbook/files/78447 (third party)",
		"19": "https://mcp.waymark.network/r/3b484488-69e0-45e4-afe5-04ecca42aa0c (third party)",
		"20": "https://docs.devart.com/dotconnect/quickbooks/ (third party)",
		"21": "https://glama.ai/mcp/servers/dkaleganov/qbo-multicompany-mcp/tools/list_changes (third party)",
		"22": "https://help.mobius-connect.com/support/solutions/articles/44002519554-message-throttleexceeded-errorcode-003001-statuscode-429 (third party)",
	},
	Base: Base{
		URL:     "https://quickbooks.api.intuit.com/v3/company/{realmId}",
		Sandbox: "https://sandbox-quickbooks.api.intuit.com/v3/company/{realmId}", From: "4 5 12 15",
	},
	Auth: []Auth{{Kind: "oauth", Text: "authorization code, with scopes such as com.intuit.quickbooks.accounting", From: "4 5"}},
	OAuth: OAuth{
		AuthURL:   "https://appcenter.intuit.com/connect/oauth2",
		TokenURL:  "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
		RevokeURL: "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
		Style:     oauth.StyleHeader, StyleKnown: true, Access: time.Hour, Refresh: 100 * 24 * time.Hour, Rotates: Yes,
		Keep: []string{"x_refresh_token_expires_in"}, From: "4 5 6",
		Notes: []Fact{
			{"realmId, the company, comes only as a parameter of the redirection: keep it then.", "4"},
			{"Always use the newest refresh token; an earlier one ends 24 hours after its successor was given.", "5"},
			{"The 100 days are without use; a sample of x_refresh_token_expires_in has 101.", "5 6"},
			{
				"Refresh tokens end after five years at most: the first of accounting and payments in October 2028, those of " +
					"restricted scopes in February 2027.", "7",
			},
			{"IncludeRefreshTokenHardExpiresIn of the SDKs makes the answer tell that end.", "8"},
			{"An app needs an address for reconnection from January 2026.", "7"},
			{"Revocation wants a JSON object with token, either of the two.", "4"},
		},
	},
	Limits: []Limit{
		{N: 10, Per: time.Second, For: "app and account", Default: true, From: "1"},
		{N: 500, Per: time.Minute, For: "account", Default: true, From: "1"},
		{N: 800, Per: time.Minute, For: "app and account", Where: "together with Intuit's other APIs", From: "1"},
		{N: 40, Per: time.Minute, For: "app and account", Where: "batches", From: "1"},
		{N: 120, Per: time.Minute, For: "account", Where: "batches", From: "1"},
		{
			N: 500_000, Per: 30 * 24 * time.Hour, For: "workspace", Plan: "Builder", Where: "CorePlus calls in a month",
			From: "1",
		},
		{N: 40, Per: 24 * time.Hour, Of: "e-mails", For: "account", Where: "sandbox", From: "1"},
		{N: 10, Of: inFlight, For: "app and account", Where: "older text", From: "2"},
	},
	Waits: []Fact{
		{"Wait 60 seconds after a 429, says the vendor; the Builder tier's limit of a month is a 429 too.", "1"},
		{"A third party quotes the 429 as ThrottleExceeded, code 003001.", "22"},
		{"A request ends after 120 seconds.", "1"},
		{"Older texts tell of 503 after heavy use.", "2"},
	},
	Errors: Errors{
		Code: "Fault.Error[].code", Message: "Fault.Error[].Message", RequestHeader: "intuit_tid",
		Classify: classifyQuickBooks, From: "1 5 9 10 20",
		Notes: []Fact{
			{"A 200 may hold a Fault: look at each body.", "9"},
			{"Fault.type is ValidationFault, SystemFault, AuthenticationFault or AuthorizationFault.", "20"},
			{"A 401 is a token that has ended; a 400 may be bad authorization too.", "9"},
			{"Try once more after 500, later after 503.", "9"},
			{"Code 610 is a record that is missing or inactive, 120 a person who has lost rights.", "10"},
			{"Code 500 within a Fault is not the status 500; the status 500 may also be text that is no UTF-8.", "10"},
		},
	},
	Idempotency: Idempotency{
		Notes: []Fact{{"The key is a parameter, requestid: the same value gets the first answer again.", "14"}},
	},
	Webhooks: Webhooks{
		Scheme: func(string) webhook.Scheme { return webhook.QuickBooks() },
		Answer: 3 * time.Second, From: "17 18",
		Notes: []Fact{
			{
				"intuit-signature is the HMAC-SHA256 of the raw body, with the app's verifier token, not the client secret, as its key; " +
					"in base64.", "17 18 19",
			},
			{"Answer 200, or it is sent again several times; the three seconds are a third party's word.", "18 19"},
			{"A delivery is an array of CloudEvents, with id, type, time, intuitentityid and intuitaccountid.", "18"},
			{"Older deliveries have eventNotifications, by realmId.", "17"},
			{"Values are not sent: read the record. Kinds are create, update, delete, merge, void and emailed.", "16 19"},
			{
				"There is one address for production and one for the sandbox; older texts tell of bundles for 1 to 5 minutes.",
				"16 17",
			},
		},
	},
	Changes: []Fact{
		{
			"/cdc with entities and changedSince gives whole records of the last 30 days, 1,000 at most in one answer, all kinds " +
				"together; some kinds are left out.", "11 21",
		},
		{"A full answer of /cdc is no safe point to go on from: ask for a shorter span.", "11 21"},
	},
	Quirks: []Fact{
		{
			"Lists are queries: /query with a statement such as select * from Customer STARTPOSITION n MAXRESULTS m. The position " +
				"is within the statement, so that no paginator moves it.", "12",
		},
		{"A statement in the address must be encoded; by POST it is application/text.", "12 13"},
		{"A plain select on a list of names gives active ones only.", "13"},
		{"The parameter minorversion chooses the fields of newer versions.", "14"},
		{"A batch has 30 payloads at most as advised; 10 in an older text.", "1 3"},
		{"Limits of different scope hold at once: company, company and app, workspace and month.", "1"},
	},
	Unknown: []string{
		"PKCE", "limits of the token endpoint", "default and most of MAXRESULTS in the vendor's words",
		"Retry-After, and headers of limits",
		"the body of a 429 in the vendor's words", "how long a requestid is remembered, and its length",
		"deleted records in /cdc",
		"queries by the time of the last change", "retries of webhooks", "the present minorversion",
		"the name of the hard end of a refresh token in JSON", "whether answers are XML without Accept",
	},
}

// classifyQuickBooks reads the Fault of an answer, which may be a 200, and waits as long after a 429 as Intuit asks for.
func classifyQuickBooks(a *belay.Attempt) belay.Verdict {
	v := belay.Classify(a)
	if a.Response == nil {
		return v
	}
	if v.Class == belay.ClassRateLimited && v.RetryAfter == 0 {
		v.RetryAfter = time.Minute
	}
	head := a.Peek()
	if a.Response.StatusCode >= 300 && a.Response.StatusCode < 400 || !bytes.Contains(bytes.ToLower(head), []byte(`"fault"`)) {
		return v
	}
	var body struct {
		Fault struct {
			Type  string
			Error []struct{ Code, Message, Detail string }
		}
	}
	if json.Unmarshal(head, &body) != nil || len(body.Fault.Error) == 0 {
		return v
	}
	first := body.Fault.Error[0]
	if v.Code = first.Code; v.Message == "" {
		v.Message = first.Message
		if first.Detail != "" && first.Detail != first.Message {
			v.Message += ": " + first.Detail
		}
	}
	if v.Class != belay.ClassOK {
		return v
	}
	v.Scope = belay.ScopeCall
	switch body.Fault.Type {
	case "AuthenticationFault":
		v.Class, v.Renew = belay.ClassAuth, true
	case "AuthorizationFault":
		v.Class = belay.ClassAuth
	case "SystemFault":
		v.Class = belay.ClassTransient
	default:
		v.Class = belay.ClassClient
	}
	return v
}
