package belay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Lists end in as many ways as there are partners.
func TestEndsOfLists(t *testing.T) {
	t.Parallel()
	cursor := belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}
	ended := cursor
	ended.End = "end_of_stream"
	untilEmpty := cursor
	untilEmpty.UntilEmpty = true
	offset := belay.OffsetPages{Items: "d", Limit: 2}
	number := belay.NumberPages{Items: "d", Size: 2}
	for name, c := range map[string]struct {
		how   belay.Paginator
		opts  []belay.PageOption
		pages []string // the bodies, with a status before them if it is not 200
		want  int
		asked string // of the last request
	}{
		"end_of_stream": {
			ended, nil,
			[]string{`{"d":[{"id":1}],"next":"a","end_of_stream":false}`, `{"d":[{"id":2}],"next":"b","end_of_stream":true}`},
			2, "/l?c=a",
		},
		"a URL and end_of_stream": {
			belay.NextURLPages{Items: "d", URL: "next", End: "end"},
			nil,
			[]string{`{"d":[{"id":1}],"next":"/l?p=2","end":false}`, `{"d":[],"next":"/l?p=3","end":true}`},
			1, "/l?p=2",
		},
		"a last id and an end": {
			belay.LastIDPages{Items: "d", Param: "after", End: "end"},
			nil,
			[]string{`{"d":[{"id":7}],"end":false}`, `{"d":[{"id":8}],"end":true}`},
			2, "/l?after=7",
		},
		"cursor 0":         {cursor, nil, []string{`{"d":[{"id":1}],"next":5}`, `{"d":[{"id":2}],"next":0}`}, 2, "/l?c=5"},
		`cursor "0"`:       {cursor, nil, []string{`{"d":[{"id":1}],"next":"5"}`, `{"d":[{"id":2}],"next":"0"}`}, 2, "/l?c=5"},
		"cursor false":     {cursor, nil, []string{`{"d":[{"id":1}],"next":"5"}`, `{"d":[{"id":2}],"next":false}`}, 2, "/l?c=5"},
		"cursor 0.0":       {cursor, nil, []string{`{"d":[{"id":1}],"next":"x"}`, `{"d":[{"id":2}],"next":0.0}`}, 2, "/l?c=x"},
		"cursor \"null\"":  {cursor, nil, []string{`{"d":[{"id":1}],"next":"x"}`, `{"d":[{"id":2}],"next":"null"}`}, 2, "/l?c=x"},
		"cursor \"False\"": {cursor, nil, []string{`{"d":[{"id":1}],"next":"x"}`, `{"d":[{"id":2}],"next":"False"}`}, 2, "/l?c=x"},
		"cursor -1":        {cursor, nil, []string{`{"d":[{"id":1}],"next":1}`, `{"d":[{"id":2}],"next":-1}`}, 2, "/l?c=1"},
		`cursor "-1"`:      {cursor, nil, []string{`{"d":[{"id":1}],"next":"x"}`, `{"d":[{"id":2}],"next":"-1"}`}, 2, "/l?c=x"},
		"a URL of false":   {belay.NextURLPages{Items: "d", URL: "next"}, nil, []string{`{"d":[{"id":1}],"next":false}`}, 1, "/l"},
		"never null":       {untilEmpty, nil, []string{`{"d":[{"id":1}],"next":"a"}`, `{"d":[],"next":"b"}`}, 1, "/l?c=a"},
		"never null, {}":   {untilEmpty, nil, []string{`{"d":[{"id":1}],"next":"a"}`, `{"d":{},"next":"b"}`}, 1, "/l?c=a"},
		"ids, never ended": {belay.LastIDPages{Items: "d", Param: "after", UntilEmpty: true}, nil, []string{`{"d":[{"id":7}]}`, `{"d":[]}`}, 1, "/l?after=7"},
		"404 behind it": {
			number, []belay.PageOption{belay.EndAt(404)}, []string{`{"d":[{"id":1},{"id":2}]}`, `404{}`}, 2, "/l?page=2",
		},
		"400 behind it": {
			offset,
			[]belay.PageOption{belay.EndAt(404, 400)},
			[]string{`{"d":[{"id":1},{"id":2}]}`, `400{}`},
			2,
			"/l?limit=2&offset=2",
		},
		"404 behind a cursor": {
			cursor, []belay.PageOption{belay.EndAt(404)}, []string{`{"d":[{"id":1}],"next":"a"}`, `404{}`}, 1, "/l?c=a",
		},
		"{}":    {offset, nil, []string{`{"d":{}}`}, 0, "/l?limit=2&offset=0"},
		`""`:    {offset, nil, []string{`{"d":""}`}, 0, "/l?limit=2&offset=0"},
		"false": {number, nil, []string{`{"d":false}`}, 0, "/l?page=1"},
		"{ }":   {number, nil, []string{`{"d":{ }}`}, 0, "/l?page=1"},
		"bare first": {
			belay.NumberPages{Items: "d", Size: 2, BareFirst: true}, nil, []string{`{"d":[{"id":1}]}`}, 1, "/l",
		},
		"bare first, then a number": {
			belay.NumberPages{Items: "d", Size: 1, BareFirst: true}, nil, []string{`{"d":[{"id":1}]}`, `{"d":[]}`}, 1, "/l?page=2",
		},
		"bare first offset": {
			belay.OffsetPages{Items: "d", Limit: 2, BareFirst: true}, nil, []string{`{"d":[{"id":1}]}`}, 1, "/l?limit=2",
		},
		"an internal host": {
			belay.NextURLPages{Items: "d", URL: "next", KeepOrigin: true},
			nil,
			[]string{`{"d":[{"id":1}],"next":"http://api-7.internal:8080/l?p=2"}`, `{"d":[{"id":2}]}`},
			2, "/l?p=2",
		},
		"filters": {
			belay.NextURLPages{Items: "d", URL: "next", KeepQuery: true},
			[]belay.PageOption{belay.Query("status", "open"), belay.Query("p", "1")},
			[]string{`{"d":[{"id":1}],"next":"/l?p=2"}`, `{"d":[{"id":2}]}`},
			2, "/l?p=2&status=open",
		},
	} {
		for _, prefetch := range []int{0, 2} {
			testkit.Bubble(t, fmt.Sprint(name, ", prefetch ", prefetch), func(t *testing.T) {
				n, asked := 0, ""
				rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					require.Equal(t, "https://partner.test", req.URL.Scheme+"://"+req.URL.Host)
					asked = req.URL.RequestURI()
					body, status := c.pages[min(n, len(c.pages)-1)], 200
					if n++; body[0] != '{' {
						_, err := fmt.Sscanf(body, "%d", &status)
						require.NoError(t, err)
						body = body[3:]
					}
					return testkit.Raw(status, "application/json", body), nil
				})
				if prefetch > 0 && (strings.HasPrefix(name, "40") || strings.HasPrefix(name, "bare first, then")) {
					return // what is fetched beyond the end has no body here
				}
				opts := append([]belay.PageOption{belay.Prefetch(prefetch)}, c.opts...)
				ids, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", c.how, opts...))
				require.NoError(t, err)
				require.Len(t, ids, c.want)
				require.Equal(t, c.asked, asked)
				require.Equal(t, len(c.pages), n)
			})
		}
	}
	for name, bad := range map[string]struct {
		how  belay.Paginator
		opts []belay.PageOption
	}{
		"More is":    {belay.CursorPages{Cursor: "a", Param: "b", More: "c", End: "d"}, nil},
		"End":        {belay.LastIDPages{Param: "b", More: "c", End: "d"}, nil},
		"EndAt: the": {cursor, []belay.PageOption{belay.EndAt(200)}},
		"status 500": {cursor, []belay.PageOption{belay.EndAt(404, 500)}},
		"status 401": {cursor, []belay.PageOption{belay.EndAt(401)}},
		"PostForm":   {cursor, []belay.PageOption{belay.PostForm(nil), belay.PostBody(1)}},
	} {
		_, err := collect(belay.Items[thing](t.Context(), newClient(t, stub{}), "/l", bad.how, bad.opts...))
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.ErrorContains(t, err, name)
	}
	// The first page is no end.
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(404), nil })
	_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", number, belay.EndAt(404)))
	require.ErrorIs(t, err, belay.ErrNotFound)
}

// Links keep the header's origin and filters too.
func TestLinksOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	var asked []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if asked = append(asked, req.URL.String()); len(asked) == 1 {
			resp := testkit.Raw(200, "application/json", `[{"id":1}]`)
			resp.Header.Set("Link", `<http://10.0.0.7/v2/l?p=2>; rel='next'`)
			return resp, nil
		}
		return testkit.Raw(200, "application/json", `[{"id":2}]`), nil
	})
	how := belay.LinkPages{KeepOrigin: true, KeepQuery: true}
	ids, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/v2/l?state={s}", how, belay.PathValue("s", "a b")))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, ids)
	require.Equal(t, []string{"https://partner.test/v2/l?state=a+b", "https://partner.test/v2/l?p=2&state=a+b"}, asked)
}

// Slack's lists may be asked by a form.
func TestListsByForm(t *testing.T) {
	t.Parallel()
	var asked []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(req.Body)
		require.NoError(t, err)
		require.Equal(t, "application/x-www-form-urlencoded", req.Header.Get("Content-Type"))
		if asked = append(asked, req.Method+" "+string(body)); len(asked) == 1 {
			return testkit.Raw(200, "application/json", `{"ok":true,"d":[{"id":1}],"meta":{"next":"dXNl="}}`), nil
		}
		return testkit.Raw(200, "application/json", `{"ok":true,"d":[{"id":2}],"meta":{"next":""}}`), nil
	})
	how := belay.CursorPages{Items: "d", Cursor: "meta.next", Param: "cursor", InBody: true}
	form := url.Values{"types": {"public", "private"}}
	ids, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/list", how, belay.PostForm(form)))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, ids)
	require.Equal(t, []string{"POST types=public&types=private", "POST cursor=dXNl%3D&types=public&types=private"}, asked)
	require.Len(t, form, 1)
}

// The names of a form have dots in them, and filters that net/url refuses stay on the links.
func TestNamesAndFiltersOfLists(t *testing.T) {
	t.Parallel()
	var asked []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			body, _ := io.ReadAll(req.Body)
			asked = append(asked, string(body))
		}
		asked = append(asked, req.URL.RawQuery)
		if len(asked) <= 2 {
			return testkit.Raw(200, "application/json", `{"d":[{"id":1}],"next":"c1","link":"/l?p=2"}`), nil
		}
		return testkit.Raw(200, "application/json", `{"d":[{"id":2}]}`), nil
	})
	form := belay.CursorPages{Items: "d", Cursor: "next", Param: "x.c", InBody: true}
	_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/list", form, belay.PostForm(url.Values{"x.a": {"1"}})))
	require.NoError(t, err)
	require.Equal(t, "x.a=1&x.c=c1", asked[2])
	asked = []string{""}
	links := belay.NextURLPages{Items: "d", URL: "link", KeepQuery: true}
	_, err = collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l?f=a;b&g=1", links))
	require.NoError(t, err)
	second, err := url.ParseQuery(asked[2])
	require.NoError(t, err)
	require.Equal(t, url.Values{"f": {"a;b"}, "g": {"1"}, "p": {"2"}}, second)
}

// What ended is not the end: a cursor that has expired beside EndAt, and a list that begins at a place that is none.
func TestEndAtAndExpiredCursors(t *testing.T) {
	t.Parallel()
	cursor := belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}
	n := 0
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		if n++; n == 1 {
			return testkit.Raw(200, "application/json", `{"d":[{"id":1}],"next":"c1"}`), nil
		}
		return testkit.Raw(400, "application/json", `{"error":{"code":"expired_cursor"}}`), nil
	})
	_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", cursor, belay.EndAt(400)))
	require.ErrorIs(t, err, belay.ErrCursorExpired)
	gone := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(404, "application/json", `{"message":"no such list"}`), nil
	})
	_, err = collect(belay.Items[thing](t.Context(), newClient(t, gone), "/l", cursor, belay.EndAt(404), belay.StartAt("a")))
	require.ErrorIs(t, err, belay.ErrNotFound)
}

// A cursor that has expired is told apart, with the place that the list has reached.
func TestCursorExpired(t *testing.T) {
	t.Parallel()
	cursor := belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}
	for body, want := range map[string]bool{
		`410{}`: true,
		`400{"error":{"code":"expired_cursor","message":"begin again"}}`:                       true,
		`400{"message":"The page token is no longer valid."}`:                                  true,
		`400{"message":"Invalid cursor"}`:                                                      true,
		`400{"error":"Scroll id not found"}`:                                                   true,
		`422{"errors":{"page_info":["is invalid"]}}`:                                           true,
		`404{"message":"pagination token expired"}`:                                            true,
		`409{"message":"cursor expired"}`:                                                      true,
		`400{"errors":{"c":["token has expired"]}}`:                                            true,
		`400{"message":"expired continuation-token"}`:                                          true,
		`400{"code":"InvalidPageToken"}`:                                                       true,
		`400{"message":"No search context found, scroll_id unknown"}`:                          true,
		`400{"message":"invalid value for field database_cursor_limit"}`:                       false,
		`400{"message":"unknown cursor type"}`:                                                 false,
		`400{"message":"invalid date. The list of today has 100 pages and each has a cursor"}`: false,
		`409{"message":"account is locked"}`:                                                   false,
		`400{"errorCode":"INVALID_QUERY_LOCATOR","message":"invalid query locator"}`:           true,
		`400{"message":"limit is invalid"}`:                                                    false,
		`404{}`:                                                                                false,
		`400{}`:                                                                                false,
		`403{"message":"cursor expired"}`:                                                      false,
		`400{"message":"the cursor parameter is not allowed with an expanded query"}`:          false,
	} {
		testkit.Bubble(t, body, func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if n++; n < 3 {
					return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":[{"id":%d}],"next":"c%d"}`, n, n)), nil
				}
				status := 0
				_, err := fmt.Sscanf(body, "%d", &status)
				require.NoError(t, err)
				return testkit.Raw(status, "application/json", body[3:]), nil
			})
			ids, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", cursor))
			require.Len(t, ids, 2)
			require.Equal(t, want, errors.Is(err, belay.ErrCursorExpired), "%v", err)
			var at *belay.CursorError
			if want {
				require.ErrorAs(t, err, &at)
				require.Equal(t, belay.CursorError{Cursor: "c2", Page: 3}, *at)
				require.NotErrorIs(t, err, belay.ErrUnavailable)
			}
		})
	}
	// What asks by numbers has no cursor that expires, and a first page neither.
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(410), nil })
	for _, how := range []belay.Paginator{cursor, belay.OffsetPages{Items: "d", Limit: 1}} {
		_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", how))
		require.ErrorIs(t, err, belay.ErrNotFound)
		require.NotErrorIs(t, err, belay.ErrCursorExpired)
	}
}

// An account that is being moved is no outage, and no reason to give up.
func TestAccountThatIsBeingMoved(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		n := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			n++
			switch {
			case n == 1:
				return testkit.Reply(477, "Retry-After", "7200"), nil
			case n < 9:
				return testkit.Reply(477), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt)
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrTransient)
		wait, _ := belay.RetryAfter(err)
		require.Equal(t, 2*time.Hour, wait)
		require.Empty(t, c.Health().Circuits)
		began := time.Now()
		require.NoError(t, get(t.Context(), c, "/", belay.Patience(24*time.Hour)))
		require.Greater(t, time.Since(began), 2*time.Hour)
		require.Empty(t, c.Health().Circuits)
	})
}

// A partner that ignores the parameter for the page, and changes something else on each page, does not go on for ever; nor
// does one that mints a new cursor each time. Equal items with cursors of their own may be.
func TestPagesThatAreTheSame(t *testing.T) {
	t.Parallel()
	cursor := belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}
	for name, c := range map[string]struct {
		how  belay.Paginator
		page func(n int) string
		most int // pages, 0 if the list is complete
	}{
		"numbers, a time in each item": {
			belay.NumberPages{Items: "d", UntilEmpty: true},
			func(n int) string { return fmt.Sprintf(`{"d":[{"id":1,"at":%d},{"id":2,"at":%d}]}`, n, n) }, 2,
		},
		"offsets, other names of ids": {
			belay.OffsetPages{Items: "d", Limit: 2},
			func(n int) string { return fmt.Sprintf(`{"d":[{"uuid":"a","at":%d},{"uuid":"b"}]}`, n) }, 2,
		},
		"numbers, one item": {
			belay.NumberPages{Items: "d", UntilEmpty: true},
			func(n int) string { return fmt.Sprintf(`{"d":[{"_id":"a","at":%d}]}`, n) }, 3,
		},
		"a cursor that is minted": {
			cursor, func(n int) string { return fmt.Sprintf(`{"d":[{"id":1,"at":%d},{"id":2}],"next":"c%d"}`, n, n) }, 12,
		},
		"links": {
			belay.NextURLPages{Items: "d", URL: "next"},
			func(n int) string { return fmt.Sprintf(`{"d":[{"id":1},{"id":2}],"next":"/l?c=%d"}`, n) }, 12,
		},
		"items of one group": {
			belay.NumberPages{Items: "d", UntilEmpty: true},
			func(n int) string { return fmt.Sprintf(`{"d":[{"id":1,"n":%d},{"id":1,"n":%d}]}`, n, n+1) }, 0,
		},
		"no ids": {
			cursor, func(n int) string { return fmt.Sprintf(`{"d":[{"value":0},{"value":0}],"next":"c%d"}`, n) }, 0,
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if n++; n > 20 {
					return testkit.Raw(200, "application/json", `{"d":[]}`), nil
				}
				return testkit.Raw(200, "application/json", c.page(n)), nil
			})
			var err error
			for _, err = range belay.Items[json.RawMessage](t.Context(), newClient(t, rt), "/l", c.how) {
				if err != nil {
					break
				}
			}
			if c.most == 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, belay.ErrData)
			require.ErrorContains(t, err, "the page before it")
			require.Equal(t, c.most, n)
		})
	}
}

// A scroll id stays the same, and each request moves it on: a page that breaks off is not asked for again, because the
// answer would be the one behind it.
func TestScroll(t *testing.T) {
	t.Parallel()
	scroll := belay.CursorPages{Items: "hits", Cursor: "_scroll_id", Param: "scroll_id", InBody: true, UntilEmpty: true}
	for _, breaks := range []int{0, 2, 4} {
		for _, prefetch := range []int{0, 2} {
			testkit.Bubble(t, fmt.Sprint(breaks, prefetch), func(t *testing.T) {
				n := 0
				rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
					switch n++; {
					case n > 6:
						return testkit.Raw(200, "application/json", `{"_scroll_id":"s","hits":[]}`), nil
					case n == breaks:
						resp := testkit.Raw(200, "application/json", "")
						resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(`{"_scr`), breaking{})), -1
						return resp, nil
					case n == 3 && breaks != 2:
						return testkit.Reply(429, "Retry-After", "1"), nil // which has not moved it on
					}
					return testkit.Raw(200, "application/json", fmt.Sprintf(`{"_scroll_id":"s","hits":[{"id":%d},{"id":%d}]}`, n, n+100)), nil
				})
				ids, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/_search/scroll", scroll,
					belay.PostBody(nil), belay.Prefetch(prefetch)))
				if breaks > 0 {
					require.Error(t, err)
					require.LessOrEqual(t, n, 4)
					return
				}
				require.NoError(t, err)
				require.Len(t, ids, 10)
			})
		}
	}
	// Without the rule that ends it, it is a cursor that comes again.
	plain := scroll
	plain.UntilEmpty = false
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
		return testkit.Raw(200, "application/json", `{"_scroll_id":"s","hits":[{"id":1}]}`), nil
	})
	_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/l", plain, belay.PostBody(nil)))
	require.ErrorContains(t, err, "came before")
}
