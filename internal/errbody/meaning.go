package errbody

import (
	"regexp"
	"strings"
)

// limitTexts are what partners say that answer 403 where others answer 429, as regular expressions for a text in lower
// case.
var limitTexts = [...]string{
	`secondary rate limit`, `abuse detection`,
	`(?:rate|request|call)[- ]?limits? (?:has been |have been |was |is )?(?:exceeded|reached)`,
	`exceed(?:ed|s|ing)? (?:[\w\']+ ){0,3}(?:rate|request|call)[- ]?limits?`,
	`exceed(?:ed|s|ing)? [^.]{0,60}(?:calls|requests|queries) per`,
	`too many (?:api )?(?:requests|calls)(?:$|[^a-z ]| (?:in|per|please|from|at|to|try|retry|within|sent|made|and|received)\b)`,
	`(?:requests?|calls?|client|you|ip|app) (?:was|were|is|are|has been|have been|got) (?:being |temporarily )?(?:throttled|rate[- ]?limited)`,
	`^(?:request (?:was )?)?(?:throttled|rate[- ]?limited)\b`,
	`out of call volume quota`, `over (?:qps|queries per second|rate)\b`,
}

var limitText = regexp.MustCompile(strings.Join(limitTexts[:], "|"))

// endedCodes are the codes of a credential that has ended, without "_" and "-" and in lower case.
var endedCodes = map[string]bool{
	"tokenexpired": true, "expiredtoken": true, "accesstokenexpired": true, "expiredaccesstoken": true,
	"invalidtoken": true, "invalidaccesstoken": true, "accesstokeninvalid": true, "tokeninvalid": true,
	"invalidsessionid": true, "sessionexpired": true, "invalidsession": true, "jwtexpired": true,
	"invalidauthenticationtoken": true, "expiredauthentication": true, "authenticationexpired": true,
	"authtokenexpired": true, "tokenrevoked": true, "invalidjwt": true, "oauthtokenexpired": true,
	"invalidauthtoken": true, "expiredjwt": true, "credentialsexpired": true, "authenticationtokenexpired": true,
	"expiredauthenticationtoken": true, "oauthtokeninvalid": true, "invalidoauthtoken": true, "errtokenexpired": true,
	"tokenexpirederror": true, "expiredtokenexception": true,
}

// accessToken is what says of an access token that it has ended; its subject stands beside the verb.
var accessToken = regexp.MustCompile(
	`(?:(?:access|bearer|oauth2?|auth|authentication)[ _-]?token|\bjwt)s?\b` +
		`(?: you (?:provided|sent|used)| provided| supplied| given| session|:| (?:has|have|had|is|was|are))*(?: been)?` +
		` (?:expired|invalid|revoked|no longer valid|not valid|ended)\b` +
		`|\b(?:expired|invalid|revoked) (?:or \w+ )?(?:(?:access|bearer|oauth2?|auth|authentication)[ _-]?token|jwt)\b`)

// anyToken is what says at 403 of a token or a session that it has ended, at the beginning of a sentence.
var anyToken = regexp.MustCompile(
	`(?:^|[.:!] )(?:(?:error|your|the|this|user|login|current|api|security|provided) )*(?:token|session)` +
		`(?: has| is| was)?(?: been)? (?:expired|ended|invalid|revoked|timed out|no longer valid|not valid)\b` +
		`|^(?:invalid|expired) (?:session|token)\b`)

// otherToken names tokens and sessions that are no credential of a call.
var otherToken = regexp.MustCompile(
	`\b(?:page|pagination|cursor|card|device|reset|csrf|xsrf|verification|invite|invitation|payment|checkout|upload|sync|` +
		`download|link|public|trial|refresh|continuation|booking|voting|webhook|push|registration|coupon)\b`)

// inUseCodes are the codes of an idempotency key whose first call is still in progress, written as endedCodes are.
var inUseCodes = map[string]bool{
	"idempotencykeyinuse": true, "idempotentrequestinprogress": true, "idempotencykeyinprogress": true,
	"idempotencyrequestinprogress": true, "requestinprogress": true, "idempotencyconflictinprogress": true,
	"concurrentidempotentrequest": true, "idempotencyconcurrentrequest": true, "idempotencyinprogress": true,
}

// inUseText is what partners without such a code say (and draft-ietf-httpapi-idempotency-key-header).
var inUseText = regexp.MustCompile(`in[- ]progress[^.]*idempoten\w+[ -]key|idempoten\w+[ -]key[^.]*(?:in[- ]progress|being processed|in use)|` +
	`outstanding[^.]*idempoten\w+[ -]key`)

// meaning sets what the code and a sentence say of a limit and of the credential.
func (in *Info) meaning(said string) {
	said = strings.ToLower(said)
	code := strings.NewReplacer(".", "", " ", "").Replace(plainName(in.Code))
	in.Limit = limitCodes[code] || limitText.MatchString(said)
	in.InUse = inUseCodes[code] || inUseText.MatchString(said)
	if strings.Contains(said, "scope") || code == "insufficientscope" { // which no other token of the same grant has
		return
	}
	other := otherToken.MatchString(said) || len(in.Fields) > 0
	in.Expired = endedCodes[code] && !other || accessToken.MatchString(said)
	in.Renew = in.Expired || anyToken.MatchString(said) && !other
}
