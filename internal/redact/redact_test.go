package redact

import (
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h.test/a/b?limit=5&token=s3cret&page=2#frag": "https://h.test/a/b?limit=5&token=REDACTED&page=2",
		"https://h.test/a%2Fb?":                                   "https://h.test/a%2Fb",
		"https://h.test/?flag&a=b=c":                              "https://h.test/?flag=REDACTED&a=REDACTED",
		"https://h.test/?" + strings.Repeat("a", 2000):            "https://h.test/?" + strings.Repeat("a", 1008) + "…",
	} {
		u, err := url.Parse(in)
		require.NoError(t, err)
		require.Equal(t, want, URL(u))
	}
	require.Empty(t, URL(nil))
}

func TestLooksSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"Authorization": true, "X-Api-Key": true, "Cookie": true, "X-Version": false, "Accept": false,
	} {
		require.Equal(t, want, LooksSecret(name), name)
	}
}

func TestShape(t *testing.T) {
	for _, c := range [][3]string{
		{
			"application/json", `{"name":"Ada","n":1,"ok":true,"no":null,"list":[1,"a",{"b":[]}],"o":{"x":"y","z":2}}`,
			`{"name":string,"n":number,"ok":bool,"no":null,"list":[number,string,{"b":[]}],"o":{"x":string,"z":number}}`,
		},
		{"application/vnd.api+json", `["a","b"]`, `[string,string]`},
		{"application/json", `{"a":"cut`, `{"a":…`},
		{"application/json", `"s"`, `string`},
		{"application/json", `{}`, `{}`},
		{"application/json", ``, ``},
		{"application/x-www-form-urlencoded", "b=2&a=1&a=3", "a=string&b=string"},
		{"application/x-www-form-urlencoded", "%zz", "malformed form"},
		{"text/plain", "secret", "body of text/plain"},
	} {
		require.Equal(t, c[2], Shape(c[0], []byte(c[1]), 1000))
	}
}

func TestLine(t *testing.T) {
	require.Equal(t, "a b c", Line("a\nb\x00c", 100))
	require.Equal(t, "ü…", Line("üü", 3))
	require.Equal(t, "ab…", Line("abc", 2))
	require.Equal(t, "a b", Line("a\xffb", 10))
}

// No value of a body is ever shown, whatever the body.
func FuzzShape(f *testing.F) {
	f.Add("application/json", `{"a":"s3cr3t-value","b":["s3cr3t-value"]}`)
	f.Add("application/x-www-form-urlencoded", "a=s3cr3t-value")
	f.Add("text/plain", "s3cr3t-value")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		out := Shape(contentType, []byte(body), 4096)
		if strings.ContainsFunc(out, unicode.IsControl) || len(out) > 4096+3 {
			t.Fatalf("%q", out)
		}
		wrapped := Shape("application/json", []byte(`{"k":"s3cr3t-value","v":[`+quote(body)+`]}`), 4096)
		if strings.Contains(wrapped, "s3cr3t-value") {
			t.Fatalf("%q", wrapped)
		}
	})
}

func quote(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s) + `"`
}

func FuzzLine(f *testing.F) {
	f.Add("a\nü\xff", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = limit&1023 + 8
		if out := Line(s, limit); len(out) > 3*limit+3 || strings.ContainsFunc(out, unicode.IsControl) {
			t.Fatalf("%q", out)
		}
	})
}
