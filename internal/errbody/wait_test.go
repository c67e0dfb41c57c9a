package errbody

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/moment"
)

func TestWaits(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for body, want := range map[string]Info{
		`{"retry_after":64.57}`:                                 {RetryAfter: 64570 * time.Millisecond},
		`{"retryAfter":20}`:                                     {RetryAfter: 20 * time.Second},
		`{"retryAfter":"20"}`:                                   {RetryAfter: 20 * time.Second},
		`{"retryAfter":"20s"}`:                                  {RetryAfter: 20 * time.Second},
		`{"retryAfterMs":1500}`:                                 {RetryAfter: 1500 * time.Millisecond},
		`{"retry_after_ms":"1500"}`:                             {RetryAfter: 1500 * time.Millisecond},
		`{"error":{"retry_after_ms":94}}`:                       {RetryAfter: 94 * time.Millisecond},
		`{"retryAfter":"2026-05-01T12:00:00Z"}`:                 {RetryAt: noon},
		`{"reset":"2026-05-01T12:00:00Z"}`:                      saidAt(noon),
		`{"resetAt":"2026-05-01T14:00:00+02:00"}`:               saidAt(noon),
		`{"retryAfter":-5}`:                                     {},
		`{"retryAfter":1e300}`:                                  {RetryAfter: moment.Longest},
		`{"retryAfter":null,"retry_after_ms":{}}`:               {},
		`{"message":"please retry after 25s"}`:                  said(25 * time.Second),
		`{"message":"Retry after 94ms"}`:                        said(94 * time.Millisecond),
		`{"message":"Too Many Requests: retry after 14"}`:       said(14 * time.Second),
		`{"message":"Please try again in 1m30s."}`:              said(90 * time.Second),
		`{"message":"Try again in 20 seconds"}`:                 said(20 * time.Second),
		`{"message":"try again in 2 minutes and 5 seconds"}`:    said(125 * time.Second),
		`{"message":"Limit reached. Please try again in 6.5s"}`: said(6500 * time.Millisecond),
		`{"message":"Please wait for 3 minutes."}`:              said(3 * time.Minute),
		`{"message":"Retry your request after 5 seconds"}`:      said(5 * time.Second),
		`{"error":"slow down, retry in 1 hour"}`:                said(time.Hour),
		`please retry after 25s`:                                said(25 * time.Second),
		`<p>Too fast. Try again in 7 sec.</p>`:                  said(7 * time.Second),
		// Times in sentences, and what is none.
		`{"message":"User-rate limit exceeded.  Retry after 2026-05-01T12:00:00.000Z"}`: saidAt(noon),
		`{"message":"Retry after Fri, 01 May 2026 12:00:00 GMT"}`:                       saidAt(noon),
		`{"message":"resets at 2026-05-01 12:00:00 UTC"}`:                               saidAt(noon),
		`{"message":"retry after some time"}`:                                           {},
		`{"message":"try again in a few minutes"}`:                                      {},
		`{"message":"try again after 99999999999999999999"}`:                            said(moment.Longest),
		`{"retryAfter":1777636800}`:                                                     {RetryAt: noon},
		`{"retry_after":1777636800000}`:                                                 {RetryAt: noon},
		`{"reset":1777636800}`:                                                          saidAt(noon),
		`{"reset":20}`:                                                                  said(20 * time.Second),
		`{"RetryAfter":20}`:                                                             {RetryAfter: 20 * time.Second},
		`{"retry_in_seconds":20}`:                                                       {RetryAfter: 20 * time.Second},
		`{"retryAfterMilliseconds":1500}`:                                               {RetryAfter: 1500 * time.Millisecond},
		`{"errors":[{"message":"x","extensions":{"retryAfter":20}}]}`:                   {RetryAfter: 20 * time.Second},
		`{"errors":[{"message":"x","retry_after":20}]}`:                                 {RetryAfter: 20 * time.Second},
		`{"message":"x","details":{"retry_after":20}}`:                                  {RetryAfter: 20 * time.Second},
		`{"message":"Please wait 20 seconds."}`:                                         said(20 * time.Second),
		`{"message":"You must wait 20 seconds before the next call"}`:                   said(20 * time.Second),
		`{"message":"wait at least 20 seconds"}`:                                        said(20 * time.Second),
		`{"message":"try again later in 20 seconds"}`:                                   said(20 * time.Second),
		`{"message":"retry-after: 20"}`:                                                 said(20 * time.Second),
		`{"message":"come back in 20 seconds"}`:                                         said(20 * time.Second),
		`{"message":"Quota will be replenished in 00:00:20."}`:                          said(20 * time.Second),
		`{"message":"a waiting list of 20 seconds"}`:                                    {},
		`{"message":"available in 3 sizes"}`:                                            {},
		`{"message":"retry after 0s"}`:                                                  {},
		`{"message":"retry after 2026-99-99T00:00:00Z"}`:                                {},
	} {
		got := Decode([]byte(body), nil)
		require.Equal(t, want.RetryAfter, got.RetryAfter, body)
		require.Equal(t, want.Said.After, got.Said.After, body)
		require.True(t, want.RetryAt.Equal(got.RetryAt), "%s: %v", body, got.RetryAt)
		require.True(t, want.Said.At.Equal(got.Said.At), "%s: %v", body, got.Said.At)
	}
}

func said(d time.Duration) (in Info) {
	in.Said.After = d
	return in
}

func saidAt(t time.Time) (in Info) {
	in.Said.At = t
	return in
}

func TestShapes(t *testing.T) {
	for body, want := range map[string][3]string{
		`{"sys":{"type":"Error","id":"NotFound"},"message":"The resource could not be found.","requestId":"c1"}`: {
			"NotFound", "The resource could not be found.", "c1",
		},
		`{"fields":["x"],"explanation":"that is too long","message":"Bad Request","reason":"TOO_LONG"}`: {
			"TOO_LONG", "that is too long", "",
		},
		`{"error_type":"invalid_model","message":"no such model"}`:  {"invalid_model", "no such model", ""},
		`{"msg":"Record not found","detail":"Cannot load service"}`: {"Record not found", "Cannot load service", ""},
		`{"msg":"no such thing"}`:                                   {"", "no such thing", ""},
		`{"sys":{"type":"Entry","id":"e1"},"message":"x"}`:          {"", "x", ""},
		`{"statusCode":400,"message":["email must be an email","age must be a number"],"error":"Bad Request"}`: {
			"", "email must be an email; age must be a number", "",
		},
		`{"errorMessages":["Issue does not exist","or you have no permission"],"errors":{}}`: {
			"", "Issue does not exist; or you have no permission", "",
		},
		`{"detail":[{"loc":["body","customer","email"],"msg":"field required","type":"value_error.missing"}]}`: {
			"value_error.missing", "field required", "",
		},
		`{"message":"not allowed","extensions":{"code":"FORBIDDEN"}}`: {"FORBIDDEN", "not allowed", ""},
		`<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>The key &amp; its bucket</Message><RequestId>r1</RequestId></Error>`: {
			"NoSuchKey", "The key & its bucket", "r1",
		},
		`<soap:Envelope><soap:Body><soap:Fault><faultcode>soap:Server</faultcode><faultstring>no</faultstring></soap:Fault></soap:Body></soap:Envelope>`: {
			"soap:Server", "no", "",
		},
		`<errors><error><message>one</message></error><error><message>two</message></error></errors>`: {"", "one", ""},
		`<!DOCTYPE html><html><body><p><code>502</code></p></body></html>`:                            {"", "", ""},
		`<?xml version="1.0" encoding="ISO-8859-1"?><e><code>C1</code></e>`:                           {"C1", "", ""},
		`<a><message`: {"", "", ""},
		`{"code":190,"message":"Error validating access token: expired"}`: {"", "Error validating access token: expired", ""},
	} {
		got := Decode([]byte(body), nil)
		require.Equal(t, want, [3]string{got.Code, got.Message, got.RequestID}, body)
	}
}

func FuzzSentence(f *testing.F) {
	f.Add("please retry after 25s")
	f.Add("Retry after 2026-05-01T12:00:00Z, try again in 1m30s, wait for 2 minutes and 5 seconds")
	f.Fuzz(func(t *testing.T, s string) {
		var in Info
		in.said(s)
		if in.Said.After < 0 || in.Said.After > moment.Longest {
			t.Fatalf("%q: %v", s, in.Said)
		}
	})
}
