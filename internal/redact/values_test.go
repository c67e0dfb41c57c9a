package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestValues(t *testing.T) {
	t.Parallel()
	require.Equal(t, "got REDACTED and REDACTED, REDACTED",
		Values("got a+b/c= and a%2Bb%2Fc%3D, a+b%2Fc=", []string{"a+b/c="}))
	require.Equal(t, "abc", Values("abc", []string{"a", ""}), "too short to be a secret")
	require.Equal(t, "REDACTED, REDACTED", Values("user-1, pass-2", []string{"pass-2", "user-1"}))
	require.Equal(t, "aREDACTEDz", Values("aabcdefghz", []string{"abcdef", "cdefgh"}), "they overlap")
	require.False(t, Holds("nothing", []string{"canary"}))
	require.True(t, Holds("x%2563anary", []string{"canary"}))
}

// The longest secret goes first: one may begin another.
func TestValuesThatBeginOthers(t *testing.T) {
	t.Parallel()
	require.Equal(t, "got REDACTED.", Values("got acme-key-CANARY123.", []string{"acme-key", "acme-key-CANARY123"}))
	require.Equal(t, "got REDACTED.", Values("got acme-key-CANARY123.", []string{"acme-key-CANARY123", "acme-key"}))
}

// A secret is found as other programs write it.
func TestFormsOfOtherWriters(t *testing.T) {
	t.Parallel()
	const secret = `ab+c/d&"e'<ü=`
	for _, text := range []string{
		`ab\u002Bc/d\u0026\u0022e\u0027\u003C\u00FC=`, `ab\u002bc/d\u0026\u0022e\u0027\u003c\u00fc=`, // .NET
		`ab+c/d&amp;&quot;e&apos;&lt;ü=`, `ab+c&#x2F;d&amp;&quot;e&#x27;&lt;&uuml;&equals;`, `ab&plus;c/d&#38;&#34;e&#39;&#60;&#252;=`,
		`ab%252Bc%252Fd%2526%2522e%2527%253C%25C3%25BC%253D`,
		`ab\x2bc\/d\x26\"e\'\x3c\u{fc}=`, `ab\053c\057d\046\042e\047\074\303\274=`, // JavaScript, C
		`%61%62%2b%63%2F%64%26%22%65%27%3c%c3%bc%3d`, `ab%u002Bc%2fd%26%22e%27%3C%u00FC%3D`,
		`\u0061\u0062\u002b\u0063\u002f\u0064\u0026\u0022\u0065\u0027\u003c\u00fc\u003d`,
		`AB+C/D&"E'<ü=`, `ab c/d&"e'<ü=`, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
	} {
		require.Equal(t, "x "+Mask+" y", Values("x "+text+" y", []string{secret}), text)
	}
	for _, before := range []string{"", "B", "Be", "Bearer ", "user:"} {
		for _, behind := range []string{"", "\n", "12", ":password"} {
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				text := enc.EncodeToString([]byte(before + secret + behind))
				require.Equal(t, `"`+Mask+`"`, Values(`"`+text+`"`, []string{secret}), text)
			}
		}
	}
	require.Equal(t, "at "+Mask+" %zz \\q &c; \\u12", Values(`at caf\u00e9-\ud83d\ude00-%zz %zz \q &c; \u12`, []string{"café-😀-%zz"}))
}

// Whatever writers a secret has gone through, up to five of them, it is gone.
func TestValuesAtRandom(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	quoted := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}
	writers := []func(string) string{
		url.QueryEscape, url.PathEscape, html.EscapeString, quoted,
		func(s string) string { return strings.ReplaceAll(quoted(s), "/", `\/`) },
		func(s string) string {
			return regexp.MustCompile("%..").ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower)
		},
		func(s string) string { return "https://h.test/cb?next=" + url.QueryEscape(s) + "&page=2" },
		func(s string) string { return fmt.Sprintf("%+q", s) },
		func(s string) string { return "{" + quoted("token") + ":" + quoted(s) + "}" },
		func(s string) string {
			var b strings.Builder
			for _, r := range s {
				if !unicode.IsLetter(r) && !unicode.IsDigit(r) { // as OWASP's encoder does
					fmt.Fprintf(&b, "&#%d;", r)
				} else {
					b.WriteRune(r)
				}
			}
			return b.String()
		},
	}
	const letters = `abcXYZ019+/=&%"'<>~._- ü€😀\`
	for range 20_000 {
		var b strings.Builder
		for range 6 + rnd.IntN(20) {
			b.WriteRune([]rune(letters)[rnd.IntN(len([]rune(letters)))])
		}
		secret := b.String()
		text := secret
		for range rnd.IntN(6) {
			text = writers[rnd.IntN(len(writers))](text)
		}
		got := Values("before "+text+" behind", []string{secret})
		require.Contains(t, got, Mask, "%q in %q", secret, text)
		require.True(t, strings.HasPrefix(got, "before ") && strings.HasSuffix(got, " behind"), got)
	}
}

// No text makes it panic or find what is not there.
func FuzzValues(f *testing.F) {
	f.Add(`a\u002b%2B&#43;\x2b\053\u{2b}%u002b`, "a++++++")
	f.Add(`\ud83d\ude00`, "😀")
	f.Fuzz(func(t *testing.T, s, secret string) {
		got := Values(s, []string{secret})
		if Holds(s, []string{secret}) != (got != s) && !strings.Contains(s, Mask) {
			t.Fatalf("%q of %q", got, s)
		}
		if len(secret) >= 4 && !strings.ContainsAny(secret, Mask) && strings.Contains(got, secret) {
			t.Fatalf("%q of %q", got, s)
		}
	})
}
