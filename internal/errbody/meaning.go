package errbody

import "strings"

// limitTexts are what partners say that answer 403 where others answer 429, in lower case.
var limitTexts = [...]string{
	"secondary rate limit", "abuse detection", "rate limit exceeded", "too many requests", "rate limit has been exceeded",
	"request limit exceeded", "exceeded the rate limit", "calls per second", "throttled", "rate-limited", "rate limited",
}

// endedCodes are the codes of a credential that has ended, without "_" and "-" and in lower case.
var endedCodes = map[string]bool{
	"tokenexpired": true, "expiredtoken": true, "accesstokenexpired": true, "expiredaccesstoken": true,
	"invalidtoken": true, "invalidaccesstoken": true, "accesstokeninvalid": true, "tokeninvalid": true,
	"invalidsessionid": true, "sessionexpired": true, "invalidsession": true, "jwtexpired": true,
	"invalidauthenticationtoken": true, "expiredauthentication": true, "authenticationexpired": true,
	"authtokenexpired": true, "tokenrevoked": true, "invalidjwt": true, "oauthtokenexpired": true,
	"invalidauthtoken": true, "expiredjwt": true, "credentialsexpired": true,
}

// inUseCodes are the codes of an idempotency key whose first call is still in progress, written as endedCodes are.
var inUseCodes = map[string]bool{
	"idempotencykeyinuse": true, "idempotentrequestinprogress": true, "idempotencykeyinprogress": true,
	"idempotencyrequestinprogress": true, "requestinprogress": true, "idempotencyconflictinprogress": true,
	"concurrentidempotentrequest": true, "idempotencyconcurrentrequest": true,
}

// meaning sets what the code and a sentence say of a limit and of the credential.
func (in *Info) meaning(said string) {
	said = strings.ToLower(said)
	code := strings.ToLower(in.Code)
	in.Limit = limitCodes[code]
	for _, t := range limitTexts {
		in.Limit = in.Limit || strings.Contains(said, t)
	}
	code = strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(code)
	in.InUse = inUseCodes[code]
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	over := has("expired", "is invalid", "has been revoked", "no longer valid", "not valid", "invalid ", "has ended")
	access := has("access token", "accesstoken", "access_token", "bearer token", "oauth token", "authentication token",
		"auth token", "jwt")
	in.Expired = endedCodes[code] && !has("verification token", "csrf") || access && over
	in.Renew = in.Expired || has("token", "session") && has("expired", "has ended") && !has("csrf", "refresh token", "page token",
		"card token", "verification", "invite", "invitation", "payment", "reset token")
}
