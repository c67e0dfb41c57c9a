package charset

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestUTF8(t *testing.T) {
	for _, c := range []struct{ in, contentType, want, fail string }{
		{"M\xfcller", "application/json; charset=ISO-8859-1", "Müller", ""},
		{"M\xfcller \x80", `application/json;charset="windows-1252"`, "Müller €", ""},
		{"M\xfcller", "application/json; charset=latin1", "Müller", ""},
		{"M\xfcller", "text/html; charset='iso-8859-1'; x", "Müller", ""},
		{"Müller", "application/json; charset=ISO-8859-1", "Müller", ""},
		{"Müller", "application/json; charset=shift_jis", "Müller", ""},
		{"\xef\xbb\xbf{}", "application/json", "{}", ""},
		{"\xef\xbb\xbf\xfc", "text/plain; charset=cp1252", "ü", ""},
		{"M\xfcller", "application/json", "", "not UTF-8"},
		{"M\xfcller", "application/json; charset=utf-8", "", "not UTF-8"},
		{"M\xfcller", "application/json; charset=ISO-8859-15", "", `"iso-8859-15"`},
		{"\x82\xa0", "text/plain; charset=Shift_JIS", "", `"shift_jis"`},
		{"\xff\xfe{\x00", "application/json; charset=utf-16", "", `"utf-16"`},
		{"\xfc", "text/plain; charset=us-ascii", "", `"us-ascii"`},
		{"M\xfcller", "text/plain; charset=ISO_8859-1:1987", "Müller", ""},
		{"M\xfcller", "text/plain; charset=ISO8859_1", "Müller", ""},
		{"M\xfcller", "text/plain; charset=cp819", "Müller", ""},
		{"M\xfcller \x80", "text/plain; charset=windows1252", "Müller €", ""},
		{"Müller und Söhne \xff", "text/plain; charset=ISO-8859-1", "", "broken"}, // UTF-8 with a broken byte
		{"\xfcber \xc3\x9c \xfc", "text/plain; charset=ISO-8859-1", "über Ãœ ü", ""},
	} {
		got, err := UTF8([]byte(c.in), c.contentType)
		if c.fail != "" {
			require.ErrorContains(t, err, c.fail, c.contentType)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, string(got))
	}
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("M\xfcller"), "text/plain; charset=latin1")
	f.Add([]byte("\xef\xbb\xbf{}"), "a/b; charset=\"utf-8")
	f.Fuzz(func(t *testing.T, data []byte, contentType string) {
		got, err := UTF8(data, contentType)
		if err == nil && !utf8.Valid(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if utf8.Valid(data) && (err != nil || len(got) > len(data)) {
			t.Fatal("valid text was changed", err)
		}
	})
}
