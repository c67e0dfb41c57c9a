package link

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNext(t *testing.T) {
	for header, want := range map[string]string{
		`<https://api.github.com/repositories/1300192/issues?page=2>; rel="prev", <https://api.github.com/repositories/1300192/issues?page=4>; rel="next", <https://x>; rel="last"`: "https://api.github.com/repositories/1300192/issues?page=4",
		`<https://shop/x.json?page_info=a&limit=3>; rel="previous", <https://shop/x.json?page_info=b&limit=3>; rel="next"`:                                                          "https://shop/x.json?page_info=b&limit=3",
		`<a>;REL=Next`: "a",
		`<a> ; title="x, y; rel=\"next\"" ; rel=prev , <b>; rel="prev NEXT"`: "b",
		`<a,b;c>; rel=next`:                "a,b;c",
		`<a>; rel=prev; rel=next`:          "",
		`<a>; rel="nextish"`:               "",
		`<a>`:                              "",
		``:                                 "",
		`a; rel=next`:                      "",
		`<a; rel=next`:                     "",
		`<>; rel=next`:                     "",
		`<a>; rel`:                         "",
		`< a >;rel=next`:                   "a",
		`<a>; rel="next`:                   "a",
		`<a>;;; rel=next`:                  "a",
		`<x>; foo, <b>; rel=next`:          "b",
		`, <a>; rel=next`:                  "a",
		`,, ,<x>; rel=prev,,<b>; rel=next`: "b",
		// As some servers write it.
		`<a>; rel='next'`:                                     "a",
		`<a>; rel='prev', <b>; rel='next last'`:               "b",
		`<a>;rel='next';title='x, y'`:                         "a",
		`<a> rel="next"`:                                      "a",
		`<a> rel="prev", <b> rel="next"`:                      "b",
		`<a>rel=next`:                                         "a",
		`<a> rel=next title=x`:                                "a",
		`https://x/?page=2; rel="next"`:                       "https://x/?page=2",
		`https://x/?ids=1,2&page=2; rel="next"`:               "https://x/?ids=1,2&page=2",
		`/x?page=2; rel=next`:                                 "/x?page=2",
		`?page=2 ; rel=next`:                                  "?page=2",
		`https://x/?p=1; rel="prev", https://x/?p=3;rel=next`: "https://x/?p=3",
		`<a>,;rel=next`:                                       "",
		`;`:                                                   "",
		`rel=next`:                                            "",
		`<a>; rel='next`:                                      "",
		`<a>; rel=''`:                                         "",
	} {
		require.Equal(t, want, Next([]string{header}), header)
	}
	require.Equal(t, "b", Next([]string{`<a>; rel=prev`, `<b>; rel=next`}))
}

func TestTold(t *testing.T) {
	for header, want := range map[string]bool{
		`<a>; rel="next"`: true, `l?p=2; rel="next"`: true, `</l?p=2; rel="next"`: true, `</l>; rel:next`: true,
		`</l>; rel=“next”`: true, `"/l"; rel='last next'`: true,
		`<a>; rel="prev"`: false, `<a>; title="next"`: false, ``: false, `<>; rel="next"`: false, `<null>; rel=next`: false,
		`; rel="next"`: false, `null; rel="next"`: false, `<a>; rel="nextish"`: false,
	} {
		require.Equal(t, want, Told([]string{header}), header)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(`<a>; rel="next", <b>; rel=prev`)
	f.Add(`<a>; title="\\\"", <b>; rel=next`)
	f.Add(`https://x/?p=1; rel='prev', /y rel='next'`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := Next([]string{s}); got != "" && !strings.Contains(s, got) {
			t.Fatalf("%q is not in %q", got, s)
		}
	})
}
