package redact

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nothing to hide":                     "nothing to hide",
		"index out of range [5]":              "index out of range [5]",
		"id=12345, name: Ann":                 "id=12345, name: Ann",
		"Authorization: Bearer abc.def-123":   "Authorization: " + Mask,
		`Get "https://h/x?token=CANARY": EOF`: `Get "https://h/x?` + Mask + `": EOF`,
		`dial postgres://u:pw@h/db: refused`:  `dial postgres://` + Mask + `@h/db: refused`,
		"Cookie: sid=1; b=CANARY\nnext":       "Cookie: " + Mask + "\nnext",
		"Authorization: Token CANARY":         "Authorization: " + Mask,
		"got Bearer abcdefgh from":            "got Bearer " + Mask + " from",
		`{"password":"hunter22","user":"x"}`:  `{"password":"` + Mask + `","user":"x"}`,
		"it failed: password=hunter22":        "it failed: password=" + Mask,
		"a: b: token=hunter22, at: key=abcd":  "a: b: token=" + Mask + ", at: key=" + Mask,
		"api_key=sk_live_1234 failed":         "api_key=" + Mask + " failed",
		"refresh_token: 'r-1234567'":          "refresh_token: '" + Mask + "'",
		"client_secret = s3cr3t!x":            "client_secret = " + Mask,
	} {
		require.Equal(t, want, Text(in), in)
	}
}
