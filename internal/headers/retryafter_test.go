package headers

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 11, 22, 8, 49, 37, 0, time.UTC)

func header(kv ...string) http.Header {
	h := make(http.Header)
	for i := 0; i+1 < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

func TestRetryAfter(t *testing.T) {
	at := func(d time.Duration) time.Time { return now.Add(d).UTC() }
	for _, c := range []struct {
		name string
		h    http.Header
		want time.Duration
		bad  string
	}{
		{"nothing", header(), 0, ""},
		{"seconds", header("Retry-After", "30"), 30 * time.Second, ""},
		{"decimals (Shopify)", header("Retry-After", "2.0"), 2 * time.Second, ""},
		{"fraction", header("Retry-After", "0.25"), 250 * time.Millisecond, ""},
		{"zero", header("Retry-After", "0"), 0, ""},
		{"IMF-fixdate", header("Retry-After", at(7*time.Second).Format(http.TimeFormat)), 7 * time.Second, ""},
		{"RFC 850", header("Retry-After", at(7*time.Second).Format("Monday, 02-Jan-06 15:04:05 GMT")), 7 * time.Second, ""},
		{"asctime", header("Retry-After", at(7*time.Second).Format(time.ANSIC)), 7 * time.Second, ""},
		{"date in the past", header("Retry-After", at(-time.Hour).Format(http.TimeFormat)), 0, ""},
		{
			"clock ahead",
			header(
				"Retry-After", at(time.Hour+5*time.Second).Format(http.TimeFormat), "Date", at(time.Hour).Format(http.TimeFormat),
			),
			5 * time.Second, "",
		},
		{
			"clock behind",
			header(
				"Retry-After", at(-time.Hour+5*time.Second).Format(http.TimeFormat), "Date", at(-time.Hour).Format(http.TimeFormat),
			),
			5 * time.Second, "",
		},
		{
			"from a cache",
			header(
				"Retry-After", at(5*time.Second).Format(http.TimeFormat),
				"Date", at(-time.Hour).Format(http.TimeFormat), "Age", "3600",
			),
			5 * time.Second, "",
		},
		{"milliseconds (Azure, OpenAI)", header("Retry-After-Ms", "1500", "Retry-After", "2"), 1500 * time.Millisecond, ""},
		{"x-ms", header("X-Ms-Retry-After-Ms", "17"), 17 * time.Millisecond, ""},
		{
			"bad milliseconds, good seconds", header("Retry-After-Ms", "x", "Retry-After", "2"),
			2 * time.Second, "Retry-After-Ms",
		},
		{"negative", header("Retry-After", "-1"), 0, "Retry-After"},
		{"huge", header("Retry-After", "99999999999999999999"), plausible, ""},
		{"two years", header("Retry-After", "63072000"), plausible, ""},
		{"the year 9999", header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), plausible, ""},
		{"huge, in milliseconds", header("Retry-After-Ms", "99999999999999999999"), plausible, ""},
		{"a list", header("Retry-After", "30,120"), 120 * time.Second, ""},
		{"a list with spaces", header("Retry-After", "120, 30"), 120 * time.Second, ""},
		{"a list with nonsense", header("Retry-After", "x, 30"), 30 * time.Second, ""},
		{"two lines", http.Header{"Retry-After": {"5", "20"}}, 20 * time.Second, ""},
		{
			"one date twice",
			header("Retry-After", at(7*time.Second).Format(http.TimeFormat)+", "+at(7*time.Second).Format(http.TimeFormat)),
			7 * time.Second, "",
		},
		{
			"a date and a number", header("Retry-After", at(7*time.Second).Format(http.TimeFormat)+",30"), 30 * time.Second, "",
		},
		{"two dates", http.Header{"Retry-After": {
			at(7 * time.Second).Format(http.TimeFormat), at(9 * time.Second).Format(http.TimeFormat),
		}}, 9 * time.Second, ""},
		{"30s", header("Retry-After", "30s"), 30 * time.Second, ""},
		{"1m30s", header("Retry-After", "1m30s"), 90 * time.Second, ""},
		{"30 seconds", header("Retry-After", "30 seconds"), 30 * time.Second, ""},
		{"quotes", header("Retry-After", `"30"`), 30 * time.Second, ""},
		{"RFC 3339", header("Retry-After", at(8*time.Second).Format(time.RFC3339)), 8 * time.Second, ""},
		{
			"a zone as a number", header("Retry-After", at(8*time.Second).UTC().Format(time.RFC1123Z)), 8 * time.Second, "",
		},
		{
			"milliseconds beside a reset", header("Retry-After", "60000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "58"),
			60 * time.Second, "",
		},
		{
			"seconds beside a short reset", header("Retry-After", "3600", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "58"),
			time.Hour, "",
		},
		{
			"milliseconds beside a quota that is not used up",
			header("Retry-After", "60000", "X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "58"), 60 * time.Second, "",
		},
		{"an hour beside a quota of a second", header("Retry-After", "3600", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1"), time.Hour, ""},
		{"three hours beside six seconds", header("Retry-After", "10800", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "6"), 3 * time.Hour, ""},
		{"30 s", header("Retry-After", "30 s"), 30 * time.Second, ""},
		{"30sec", header("Retry-After", "30sec"), 30 * time.Second, ""},
		{"2 minutes", header("Retry-After", "2 minutes"), 2 * time.Minute, ""},
		{"1 Hour", header("Retry-After", "1 Hour"), time.Hour, ""},
		{"ISO 8601", header("Retry-After", "PT30S"), 30 * time.Second, ""},
		{"a clock", header("Retry-After", "00:00:30"), 30 * time.Second, ""},
		{"a plus sign", header("Retry-After", "+30"), 30 * time.Second, ""},
		{"a semicolon", header("Retry-After", "30;"), 30 * time.Second, ""},
		{"RFC 3339, a zone without a colon", header("Retry-After", at(8*time.Second).Format("2006-01-02T15:04:05-0700")), 8 * time.Second, ""},
		{"a date with UTC", header("Retry-After", at(8*time.Second).Format("2006-01-02 15:04:05")+" UTC"), 8 * time.Second, ""},
		{"a date without a day", header("Retry-After", at(8*time.Second).Format("2 Jan 2006 15:04:05")+" GMT"), 8 * time.Second, ""},
		{"an epoch", header("Retry-After", strconv.FormatInt(at(20*time.Second).Unix(), 10)), 20 * time.Second, ""},
		{"an epoch in milliseconds", header("Retry-After", strconv.FormatInt(at(20*time.Second).UnixMilli(), 10)), 20 * time.Second, ""},
		{"X-Retry-After as an epoch", header("X-Retry-After", strconv.FormatInt(at(20*time.Second).Unix(), 10)), 20 * time.Second, ""},
		{"a number of seconds like an epoch of 2001", header("Retry-After", "999999999"), plausible, ""},
		{"Retry-After-Milliseconds", header("Retry-After-Milliseconds", "1500"), 1500 * time.Millisecond, ""},
		{"Retryafter", header("Retryafter", "20"), 20 * time.Second, ""},
		{"Retry-In", header("Retry-In", "20"), 20 * time.Second, ""},
		{"a limit that is no rate", header("X-Upload-Limit-After", "3000"), 0, ""},
		{"Jira", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", at(5*time.Minute).Truncate(time.Minute).Format("2006-01-02T15:04Z")), at(5 * time.Minute).Truncate(time.Minute).Sub(now), ""},
		{"a reset with a zone without a colon", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", at(20*time.Second).Format("2006-01-02T15:04:05-0700")), 20 * time.Second, ""},
		{"a reset in words", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "20 seconds"), 20 * time.Second, ""},
		{"a reset twice", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "20, 20"), 20 * time.Second, ""},
		{"a reset in microseconds", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(at(20*time.Second).UnixMicro(), 10)), 20 * time.Second, ""},
		{"a reset in the year 9999", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "9999-12-31T23:59:59Z"), plausible, "X-Ratelimit-Reset"},
		{"a reset beyond any number", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "99999999999999999999"), plausible, "X-Ratelimit-Reset"},
		{"IETF, beyond a year", header("RateLimit", `"default";r=0;t=99999999999`), plausible, ""},
		{"IETF, in quotes", header("RateLimit", `"default";r="0";t="20"`), 20 * time.Second, ""},
		{"IETF, capitals", header("RateLimit", "Limit=100; Remaining=0; Reset=20"), 20 * time.Second, ""},
		{"IETF, without a name", header("RateLimit", "r=0;t=20"), 20 * time.Second, ""},
		{"IETF, below zero", header("RateLimit", `"default";r=-1;t=20`), 20 * time.Second, ""},
		{"X-RateLimit-Retry-After", header("X-RateLimit-Retry-After", "20"), 20 * time.Second, ""},
		{"X-Retry-After", header("X-Retry-After", "20"), 20 * time.Second, ""},
		{"X-RateLimit-After", header("X-RateLimit-After", "20"), 20 * time.Second, ""},
		{"Retry-After-Seconds", header("Retry-After-Seconds", "20"), 20 * time.Second, ""},
		{"X-Rate-Limit-Retry-After-Seconds", header("X-Rate-Limit-Retry-After-Seconds", "20"), 20 * time.Second, ""},
		{"X-Acme-Retry-After", header("X-Acme-Retry-After", "20s"), 20 * time.Second, ""},
		{"X-Retry-After-Ms", header("X-Retry-After-Ms", "1500"), 1500 * time.Millisecond, ""},
		{"Toggl", header("X-Toggl-Quota-Resets-In", "20", "X-Toggl-Quota-Remaining", "0"), 20 * time.Second, ""},
		{"Aircall", header("X-AircallApi-Reset", fmt.Sprint(at(20*time.Second).Unix())), 20 * time.Second, ""},
		{"the draft without r", header("RateLimit", `"default";t=20`), 20 * time.Second, ""},
		{"the draft without quotes", header("RateLimit", `default;r=0;t=20`), 20 * time.Second, ""},
		{"the draft with semicolons", header("RateLimit", `limit=100; remaining=0; reset=20`), 20 * time.Second, ""},
		{"the draft of a list, no quotes", header("RateLimit", `a;r=5;t=90, b;r=0;t=20`), 20 * time.Second, ""},
		{
			"a partner's name", header("X-Acme-RateLimit-Remaining", "0", "X-Acme-RateLimit-Reset", "20"), 20 * time.Second, "",
		},
		{
			"per minute", header("X-RateLimit-Remaining-Req-Minute", "0", "X-RateLimit-Limit-Req-Minute", "100"), time.Minute, "",
		},
		{"a word", header("Retry-After", "Mon"), 0, "Retry-After"},
		{"hexadecimal", header("Retry-After", "0x10"), 0, "Retry-After"},
		{"infinity", header("Retry-After", "Inf"), 0, "Retry-After"},
		{"NaN", header("Retry-After", "NaN"), 0, "Retry-After"},
		{"underscore", header("Retry-After", "1_0"), 0, "Retry-After"},
		{"too long to be one", header("Retry-After", strings.Repeat("1", 2000)), 0, ""},
		{
			"GitHub", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1795337377"),
			1795337377*time.Second - time.Duration(now.Unix())*time.Second, "",
		},
		{"not used up", header("X-RateLimit-Remaining", "50", "X-RateLimit-Reset", "30"), 0, ""},
		{"Datadog", header("X-Ratelimit-Reset", "1"), time.Second, ""},
		{"Mailgun ms", header("X-RateLimit-Reset", "1795337399000"), time.Duration(1795337399-now.Unix()) * time.Second, ""},
		{"Discord", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset-After", "64.57"), 64570 * time.Millisecond, ""},
		{"Twitter", header("X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Reset", "12"), 12 * time.Second, ""},
		{"Zendesk", header("RateLimit-Remaining", "0", "RateLimit-Reset", "41"), 41 * time.Second, ""},
		{
			"OpenAI",
			header(
				"X-RateLimit-Remaining-Requests", "0", "X-RateLimit-Reset-Requests", "6m0s",
				"X-RateLimit-Remaining-Tokens", "9", "X-RateLimit-Reset-Tokens", "1h",
			),
			6 * time.Minute, "",
		},
		{"Anthropic", header("X-RateLimit-Reset", at(9*time.Second).Format(time.RFC3339)), 9 * time.Second, ""},
		{"Reddit's remaining", header("X-Ratelimit-Remaining", "599.0", "X-Ratelimit-Reset", "12"), 0, ""},
		{
			"one of them in milliseconds",
			header(
				"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "15", "X-RateLimit-Reset-Ms", "15000",
			),
			15 * time.Second, "",
		},
		{
			"a reset alone beside one that is not used up",
			header("X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "5", "Acme-RateLimit-Reset", "3600"), 0, "",
		},
		{
			"Zendesk, both",
			header(
				"X-Rate-Limit", "700", "X-Rate-Limit-Remaining", "0",
				"RateLimit-Limit", "700", "RateLimit-Remaining", "0", "RateLimit-Reset", "41",
			),
			41 * time.Second, "",
		},
		{"date as reset", header("RateLimit-Reset", at(3*time.Second).Format(http.TimeFormat)), 3 * time.Second, ""},
		{"nonsense reset", header("X-RateLimit-Reset", "soon"), 0, "X-Ratelimit-Reset"},
		{"neither epoch nor delta", header("X-RateLimit-Reset", "100000000"), 0, "X-Ratelimit-Reset"},
		{"negative reset", header("X-RateLimit-Reset", "-5"), 0, "X-Ratelimit-Reset"},
		{"far future", header("X-RateLimit-Reset", "99999999999"), plausible, "X-Ratelimit-Reset"},
	} {
		got, bad := RetryAfter(c.h, now, true)
		if strings.HasPrefix(c.name, "GitHub") || strings.HasPrefix(c.name, "Mailgun") {
			require.Equal(t, max(0, c.want), got, c.name)
		} else {
			require.Equal(t, c.want, got, c.name)
		}
		require.Equal(t, c.bad, bad, c.name)
	}
	got, _ := RetryAfter(header("X-RateLimit-Reset", "30"), now, false)
	require.Zero(t, got, "a reset says nothing on a 503")
}

func TestExhausted(t *testing.T) {
	require.True(t, Exhausted(header("X-RateLimit-Remaining", "0")))
	require.False(t, Exhausted(header("X-RateLimit-Remaining", "1")))
	require.False(t, Exhausted(header("X-RateLimit-Remaining", "none")))
	require.False(t, Exhausted(header()))
}

func TestMissingScope(t *testing.T) {
	require.Equal(
		t,
		"admin",
		MissingScope(header("Www-Authenticate", `Bearer realm="x", error="insufficient_scope", scope="admin"`)),
	)
	require.Empty(t, MissingScope(header("Www-Authenticate", `Bearer error="insufficient_scope"`)))
	require.Empty(t, MissingScope(header("Www-Authenticate", `Bearer error="invalid_token", scope="x"`)))
	require.Equal(t, "repo", MissingScope(header("X-Accepted-Oauth-Scopes", "repo")))
}

// No header makes a wait negative or longer than is plausible, and nothing panics.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{
		"1", "2.0", "-1", "Mon", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT",
		"6m0s", "2026-11-22T08:50:00Z", "1795337377", "NaN", "1e400",
	} {
		f.Add(s, "0", now.Format(http.TimeFormat))
	}
	f.Fuzz(func(t *testing.T, value, remaining, date string) {
		for _, name := range []string{
			"Retry-After", "Retry-After-Ms", "X-RateLimit-Reset", "X-RateLimit-Reset-After", "RateLimit-Reset",
		} {
			h := header(name, value, "X-RateLimit-Remaining", remaining, "Date", date)
			if d, _ := RetryAfter(h, now, true); d < 0 || d > plausible {
				t.Fatalf("%s: %q gives %s", name, value, d)
			}
			Exhausted(h)
		}
		MissingScope(header("Www-Authenticate", value))
	})
}
