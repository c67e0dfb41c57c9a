package headers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sent are answers as partners really send them, and what they tell.
var sent = []struct {
	name string
	h    http.Header
	want []Quota
}{
	{
		"a partner's name in the headers",
		header("X-Acme-RateLimit-Limit", "100", "X-Acme-RateLimit-Remaining", "99", "X-Acme-RateLimit-Reset", "20"),
		[]Quota{{"x-acme-", 100, 99, 0, 20 * time.Second, false}},
	},
	{"uploads", header("X-Upload-RateLimit-Limit", "100", "X-Upload-RateLimit-Remaining", "99"), nil},
	{
		"requests of a minute",
		header("X-RateLimit-Limit-Req-Minute", "100", "X-RateLimit-Remaining-Req-Minute", "99"),
		[]Quota{{"x-req-minute", 100, 99, time.Minute, -1, false}},
	},
	{"tokens of a minute", header("X-RateLimit-Limit-Tokens-Minute", "9", "X-RateLimit-Remaining-Tokens-Minute", "8"), nil},
	{
		"Rate-Limit", header("Rate-Limit", "100", "Rate-Limit-Remaining", "99", "Rate-Limit-Reset", "20"),
		[]Quota{{"", 100, 99, 0, 20 * time.Second, false}},
	},
	{
		"Rate-Limit as a dictionary", header("Rate-Limit", "limit=100; remaining=99; reset=20"),
		[]Quota{{"", 100, 99, 0, 20 * time.Second, false}},
	},
	{
		"used and remaining", header("X-RateLimit-Used", "40", "X-RateLimit-Remaining", "60", "X-RateLimit-Reset", "20"),
		[]Quota{{"", 100, 60, 0, 20 * time.Second, false}},
	},
	{
		"the draft without quotes", header("RateLimit", "default;r=50;t=30", "RateLimit-Policy", "default;q=100;w=60"),
		[]Quota{{"ietf default", 100, 50, time.Minute, 30 * time.Second, false}},
	},
	{
		"GitHub",
		header(
			"X-RateLimit-Limit",
			"5000",
			"X-RateLimit-Remaining",
			"4999",
			"X-RateLimit-Used",
			"1",
			"X-RateLimit-Reset",
			"1795340977",
			"X-RateLimit-Resource",
			"core",
		),
		[]Quota{{"core", 5000, 4999, 0, time.Hour, false}},
	},
	{
		"GitHub's search",
		header(
			"X-RateLimit-Limit",
			"30",
			"X-RateLimit-Remaining",
			"0",
			"X-RateLimit-Reset",
			"1795337407",
			"X-RateLimit-Resource",
			"search",
		),
		[]Quota{{"search", 30, 0, 0, 30 * time.Second, true}},
	},
	{
		"HubSpot",
		header(
			"X-HubSpot-RateLimit-Daily",
			"250000",
			"X-HubSpot-RateLimit-Daily-Remaining",
			"249991",
			"X-HubSpot-RateLimit-Interval-Milliseconds",
			"10000",
			"X-HubSpot-RateLimit-Max",
			"100",
			"X-HubSpot-RateLimit-Remaining",
			"99",
			"X-HubSpot-RateLimit-Secondly",
			"10",
			"X-HubSpot-RateLimit-Secondly-Remaining",
			"9",
		),
		[]Quota{
			{
				"daily",
				250000,
				249991,
				24 * time.Hour,
				-1,
				false,
			}, {"interval", 100, 99, 10 * time.Second, -1, false}, {"secondly", 10, 9, time.Second, -1, false},
		},
	},
	{"Shopify", header("X-Shopify-Shop-Api-Call-Limit", "39/40"), []Quota{{"shop", 40, 1, 20 * time.Second, -1, false}}},
	{
		"Zendesk",
		header(
			"X-Rate-Limit",
			"700",
			"X-Rate-Limit-Remaining",
			"699",
			"RateLimit-Limit",
			"700",
			"RateLimit-Remaining",
			"699",
			"RateLimit-Reset",
			"41",
			"Zendesk-RateLimit-Tickets-Index",
			"total=100; remaining=99; resets=41",
		),
		[]Quota{
			{
				"ratelimit",
				700,
				699,
				0,
				41 * time.Second,
				false,
			}, {"tickets-index", 100, 99, 0, 41 * time.Second, true}, {"x-rate-limit", 700, 699, 0, -1, false},
		},
	},
	{
		"Guesty",
		header(
			"X-RateLimit-Limit-Second",
			"15",
			"X-RateLimit-Limit-Minute",
			"120",
			"X-RateLimit-Limit-Hour",
			"5000",
			"X-RateLimit-Remaining-Second",
			"14",
			"X-RateLimit-Remaining-Minute",
			"119",
			"X-RateLimit-Remaining-Hour",
			"4999",
		),
		[]Quota{
			{
				"hour",
				5000,
				4999,
				time.Hour,
				-1,
				false,
			}, {"minute", 120, 119, time.Minute, -1, false}, {"second", 15, 14, time.Second, -1, false},
		},
	},
	{
		"X",
		header("X-Rate-Limit-Limit", "900", "X-Rate-Limit-Remaining", "847", "X-Rate-Limit-Reset", "1795338277"),
		[]Quota{{"x-rate-limit", 900, 847, 0, 15 * time.Minute, false}},
	},
	{
		"Gravitee",
		header("X-Rate-Limit-Limit", "900", "X-Rate-Limit-Remaining", "847", "X-Rate-Limit-Reset", "1795337377800"),
		[]Quota{{"x-rate-limit", 900, 847, 0, 800 * time.Millisecond, false}},
	},
	{
		"Discord",
		header(
			"X-RateLimit-Limit",
			"5",
			"X-RateLimit-Remaining",
			"0",
			"X-RateLimit-Reset",
			"1795337441.57",
			"X-RateLimit-Reset-After",
			"64.57",
			"X-RateLimit-Bucket",
			"abcd1234",
		),
		[]Quota{{"abcd1234", 5, 0, 0, 64570 * time.Millisecond, true}},
	},
	{
		"OpenAI",
		header(
			"X-RateLimit-Limit-Requests",
			"500",
			"X-RateLimit-Remaining-Requests",
			"499",
			"X-RateLimit-Reset-Requests",
			"120ms",
			"X-RateLimit-Limit-Tokens",
			"30000",
			"X-RateLimit-Remaining-Tokens",
			"1",
			"X-RateLimit-Reset-Tokens",
			"6m0s",
		),
		[]Quota{{"requests", 500, 499, 0, 120 * time.Millisecond, false}},
	},
	{
		"Anthropic",
		header(
			"Anthropic-RateLimit-Requests-Limit",
			"50",
			"Anthropic-RateLimit-Requests-Remaining",
			"49",
			"Anthropic-RateLimit-Requests-Reset",
			"2026-11-22T08:50:37Z",
			"Anthropic-RateLimit-Tokens-Remaining",
			"0",
			"Anthropic-RateLimit-Tokens-Reset",
			"2026-11-22T09:15:00Z",
		),
		[]Quota{{"requests", 50, 49, 0, time.Minute, false}},
	},
	{
		"Salesforce",
		header("Sforce-Limit-Info", "api-usage=18/5000"),
		[]Quota{{"api-usage", 5000, 4982, 24 * time.Hour, -1, false}},
	},
	{
		"Salesforce, by app",
		header("Sforce-Limit-Info", "api-usage=18/5000, per-app-api-usage=17/250(appName=sample-app)"),
		[]Quota{{"api-usage", 5000, 4982, 24 * time.Hour, -1, false}},
	},
	{
		"Salesforce, by semicolon",
		header("Sforce-Limit-Info", "api-usage=25/5000; per-app-api-usage=17/250(appName=x)"),
		[]Quota{{"api-usage", 5000, 4975, 24 * time.Hour, -1, false}},
	},
	{"Salesforce, of the app alone", header("Sforce-Limit-Info", "per-app-api-usage=17/250(appName=x)"), nil},
	{
		"IETF -03 with comments",
		header(
			"RateLimit-Limit",
			`100, 100;w=60;burst=1000;comment="sliding"`,
			"RateLimit-Remaining",
			"50",
			"RateLimit-Reset",
			"5",
		),
		[]Quota{{"ratelimit", 100, 50, time.Minute, 5 * time.Second, false}},
	},
	{
		"uploads, and what is no number",
		header(
			"X-Upload-RateLimit-Limit",
			"5",
			"X-Upload-RateLimit-Remaining",
			"0",
			"X-Upload-RateLimit-Reset",
			"60",
			"X-RateLimit-Limit-Type",
			"user",
		),
		nil,
	},
	{
		"Linear",
		header(
			"X-RateLimit-Requests-Limit",
			"1500",
			"X-RateLimit-Requests-Remaining",
			"1499",
			"X-RateLimit-Requests-Reset",
			"1795340977000",
		),
		[]Quota{{"requests", 1500, 1499, 0, time.Hour, false}},
	},
	{
		"Intercom",
		header("X-RateLimit-Limit", "83", "X-RateLimit-Remaining", "82", "X-RateLimit-Reset", "1795337387"),
		[]Quota{{"", 83, 82, 0, 10 * time.Second, false}},
	},
	{
		"IETF, three fields",
		header("RateLimit-Limit", "100", "RateLimit-Remaining", "50", "RateLimit-Reset", "50"),
		[]Quota{{"ratelimit", 100, 50, 0, 50 * time.Second, false}},
	},
	{
		"IETF, three fields with a window",
		header("RateLimit-Limit", "100, 100;w=10", "RateLimit-Remaining", "50", "RateLimit-Reset", "5"),
		[]Quota{{"ratelimit", 100, 50, 10 * time.Second, 5 * time.Second, false}},
	},
	{
		"IETF, three fields with policies",
		header(
			"RateLimit-Limit",
			"50",
			"RateLimit-Remaining",
			"50",
			"RateLimit-Reset",
			"5",
			"RateLimit-Policy",
			"10;w=1, 50;w=60, 1000;w=3600",
		),
		[]Quota{{"ratelimit", 50, 50, time.Minute, 5 * time.Second, false}},
	},
	{
		"IETF, one dictionary",
		header("RateLimit", "limit=100, remaining=50, reset=5", "RateLimit-Policy", "100;w=60"),
		[]Quota{{"ratelimit", 100, 50, time.Minute, 5 * time.Second, false}},
	},
	{
		"IETF, named",
		header(
			"RateLimit-Policy",
			`"burst";q=100;w=60,"daily";q=1000;w=86400`,
			"RateLimit",
			`"burst";r=50;t=30, "daily";r=900;t=3600`,
		),
		[]Quota{
			{
				"ietf burst",
				100,
				50,
				time.Minute,
				30 * time.Second,
				false,
			}, {"ietf daily", 1000, 900, 24 * time.Hour, time.Hour, false},
		},
	},
	{
		"IETF, with a key",
		header(
			"RateLimit-Policy",
			`"peruser";q=100;w=60;pk=:cHsdsRa894==:`,
			"RateLimit",
			`"peruser";r=50;t=30;pk=:cHsdsRa894==:`,
		),
		[]Quota{{"ietf peruser", 100, 50, time.Minute, 30 * time.Second, false}},
	},
	{
		"IETF, of bytes",
		header("RateLimit-Policy", `"bw";q=100000;qu="content-bytes";w=60`, "RateLimit", `"bw";r=50;t=30`),
		nil,
	},
	{
		"nobody's, by name",
		header("Acme-Rate-Limit-Limit", "10", "Acme-Rate-Limit-Remaining", "9", "Acme-Rate-Limit-Reset", "1"),
		[]Quota{{"acme-", 10, 9, 0, time.Second, false}},
	},
	{"used, not left", header("X-RateLimit-Limit", "10", "X-RateLimit-Used", "4"), []Quota{{"", 10, 6, 0, -1, false}}},
	{
		"GitLab",
		header("RateLimit-Limit", "600", "RateLimit-Remaining", "0", "RateLimit-ResetTime", now.Add(20*time.Second).Format(http.TimeFormat)),
		[]Quota{{"ratelimit", 600, 0, 0, 20 * time.Second, false}},
	},
	{
		"Aircall",
		header("X-AircallApi-Limit", "60", "X-AircallApi-Remaining", "7", "X-AircallApi-Reset", fmt.Sprint(now.Add(20*time.Second).Unix())),
		[]Quota{{"aircall", 60, 7, 0, 20 * time.Second, false}},
	},
	{"only what is left", header("X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999"), nil},
	{"no quota", header("X-Limit", "5", "Content-Limit", "1", "Retry-After", "3"), nil},
}

func TestQuotas(t *testing.T) {
	for _, c := range sent {
		h := c.h.Clone()
		h.Set("Date", now.Format(http.TimeFormat))
		got, ignored := Quotas(h, nil)
		slices.SortFunc(got, func(a, b Quota) int { return strings.Compare(a.Name, b.Name) })
		require.Equal(t, c.want, got, c.name)
		require.Zero(t, ignored, c.name)
		// A clock that is an hour ahead tells the same.
		h.Set("Age", "5")
		got, ignored = Quotas(h, nil)
		require.Empty(t, got, "from a cache: %s", c.name)
		require.Zero(t, ignored)
	}
}

// Every header of every partner, with a value that makes no sense: ignored, counted, and the others stay as they were.
func TestMalformedQuotas(t *testing.T) {
	for _, c := range sent {
		for name := range c.h {
			if name == "Retry-After" || name == "X-Limit" || name == "Content-Limit" || name == "X-Ratelimit-Resource" ||
				name == "X-Ratelimit-Bucket" {
				continue
			}
			for _, bad := range []string{
				"", "-1", "soon", "NaN", "1e400", "99999999999999999999", "Inf",
				"0x10", strings.Repeat("9", 2000), `"x`, "1/", "a=b=c", "{}", ";;;",
			} {
				h := c.h.Clone()
				h.Set("Date", now.Format(http.TimeFormat))
				h.Set(name, bad)
				got, _ := Quotas(h, nil)
				checkQuotas(t, got)
			}
		}
	}
	_, ignored := Quotas(header("X-RateLimit-Limit", "many", "X-RateLimit-Remaining", "-5"), nil)
	require.Equal(t, 2, ignored)
	for _, h := range []http.Header{
		header("RateLimit", "foo"), header("RateLimit", ""), header("Zendesk-RateLimit-X", "garbage"),
	} {
		_, ignored := Quotas(h, nil)
		require.Equal(t, 1, ignored, h)
	}
}

func checkQuotas(t *testing.T, qs []Quota) {
	t.Helper()
	require.LessOrEqual(t, len(qs), most)
	for _, q := range qs {
		untold := q.Limit == 0 && q.Window > 0
		if !untold && (q.Limit <= 0 || q.Left > q.Limit) || q.Left < 0 || q.Window < 0 || q.Reset > plausible ||
			q.Window > plausible ||
			len(q.Name) > 80 {
			t.Fatalf("%+v", q)
		}
	}
}

// No header makes a quota that cannot be, and nothing panics.
func FuzzQuotas(f *testing.F) {
	for _, c := range sent {
		var b strings.Builder
		for name, values := range c.h {
			b.WriteString(name + ": " + values[0] + "\n")
		}
		f.Add(b.String())
	}
	f.Fuzz(func(t *testing.T, lines string) {
		h := make(http.Header)
		for line := range strings.Lines(lines) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			h.Add(name, value)
		}
		qs, ignored := Quotas(h, nil)
		checkQuotas(t, qs)
		if ignored < 0 || ignored > len(h)+most {
			t.Fatal(ignored)
		}
		if d, _ := RetryAfter(h, now, true); d < 0 || d > plausible {
			t.Fatal(d)
		}
		Exhausted(h)
	})
}
