package belay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

var cursors = belay.CursorPages{Items: "d", Cursor: "next", Param: "c"}

// Next links that lead elsewhere are errors, and nothing is sent there.
func TestNextLinksLeadNowhereElse(t *testing.T) {
	t.Parallel()
	for _, next := range []string{
		"https://evil.test/x", "http://partner.test/x", "file:///etc/passwd",
		"https://user:pass@partner.test/x", "//evil.test/x", "https://partner.test:8443/x",
		"https://partner.test.evil.test/x", "javascript:alert(1)", "https://[::1", "\\\\evil.test\\x",
		"https:/\\evil.test", "ftp://partner.test/x", "https://sub.partner.test/",
		"https://partner.test\t.evil.test/", "%zz", "https://partner.test@evil.test/",
	} {
		for _, how := range []belay.Paginator{belay.LinkPages{Items: "d"}, belay.NextURLPages{Items: "d", URL: "next"}} {
			for _, prefetch := range []int{0, 2} {
				testkit.Bubble(t, fmt.Sprintf("%s %T %d", next, how, prefetch), func(t *testing.T) {
					var elsewhere atomic.Int32
					asked := 0
					rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
						if req.URL.Host != "partner.test" || req.URL.Scheme != "https" || req.URL.User != nil {
							elsewhere.Add(1)
						}
						if asked++; asked > 1 { // a link that is harmless after all, as a path of the partner's own
							return testkit.Raw(200, "application/json", `{"d":[]}`), nil
						}
						body, _ := json.Marshal(map[string]any{"d": []thing{{1}}, "next": next})
						r := testkit.Raw(200, "application/json", string(body))
						r.Header.Set("Link", "<"+next+`>; rel="next"`)
						return r, nil
					})
					c := newClient(t, rt, belay.WithAuth(belay.Bearer(belay.NewSecret("token-canary"))))
					got, err := collect(belay.Items[thing](t.Context(), c, "/", how, belay.Prefetch(prefetch)))
					if err == nil || !strings.Contains(err.Error(), "is no URL") {
						require.Equal(t, []string{"1"}, got, "what came is not lost")
					}
					require.Zero(t, elsewhere.Load())
					if asked == 1 {
						require.ErrorIs(t, err, belay.ErrData)
						require.ErrorContains(t, err, "next link")
						require.NotContains(t, err.Error(), "pass@")
					}
				})
			}
		}
	}
}

// A partner that says the credential back in its next link: it is not in the cursor, nor sent twice.
func TestNextLinkWithACredential(t *testing.T) {
	t.Parallel()
	var asked []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.RequestURI())
		if len(asked) > 1 {
			return testkit.Raw(200, "application/json", `{"d":[]}`), nil
		}
		return testkit.Raw(
			200,
			"application/json",
			`{"d":[],"next":"https://partner.test/list?api_key=key-canary&page=2"}`,
		), nil
	})
	c := newClient(t, rt, belay.WithAuth(belay.APIKeyQuery("api_key", belay.NewSecret("key-canary"))))
	for page, err := range belay.Pages[thing](t.Context(), c, "/list", belay.NextURLPages{Items: "d", URL: "next"}) {
		require.NoError(t, err)
		require.NotContains(t, page.Cursor, "canary")
	}
	require.Equal(t, []string{"/list?api_key=key-canary", "/list?page=2&api_key=key-canary"}, asked)
}

// Cursors that come again are noticed at once where the loop is short, and in time where it is long.
func TestCursorLoops(t *testing.T) {
	t.Parallel()
	for _, length := range []int{1, 2, 7, 64, 65, 500} {
		for _, prefetch := range []int{0, 2} {
			testkit.Bubble(t, fmt.Sprint(length, prefetch), func(t *testing.T) {
				asked := 0
				rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
					asked++
					return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":[{"id":1}],"next":"c%d"}`, asked%length)), nil
				})
				_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors, belay.Prefetch(prefetch)))
				require.ErrorIs(t, err, belay.ErrData)
				require.ErrorContains(t, err, "came before")
				most := length + 2
				if length > 60 {
					most = 5*length + 10
				}
				require.LessOrEqual(t, asked, most+prefetch+1)
			})
		}
	}
}

// Pages of nothing without end, one item that is too large, and a page that never ends: errors, in bounded memory.
func TestEndlessLists(t *testing.T) {
	testkit.Bubble(t, "nothing", func(t *testing.T) {
		asked := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":[],"next":%d}`, asked)), nil
		})
		_, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors))
		require.ErrorIs(t, err, belay.ErrData)
		require.ErrorContains(t, err, "1000 empty pages in a row")
		require.Equal(t, 1000, asked)
	})
	testkit.Bubble(t, "nothing but for an item now and then, ten thousand pages", func(t *testing.T) {
		asked := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			n := 0
			if asked%900 == 0 {
				n = 1
			}
			next := fmt.Sprint(asked)
			if asked == 10_000 {
				next = ""
			}
			return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":%s,"next":%q}`, ids(asked, n), next)), nil
		})
		before := heap()
		var most uint64
		got := 0
		for page, err := range belay.Pages[thing](
			t.Context(), newClient(t, rt, belay.Without(belay.LayerLimits)), "/", cursors,
		) {
			require.NoError(t, err)
			if got += len(page.Items); asked%2500 == 0 {
				most = max(most, heap())
			}
		}
		require.Equal(t, 11, got)
		require.Less(t, int64(most)-int64(before), int64(1<<20))
	})
	testkit.Bubble(t, "MaxPages", func(t *testing.T) {
		for _, prefetch := range []int{0, 3} {
			var asked atomic.Int32
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				n := asked.Add(1)
				return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":%s,"next":"n%d"}`, ids(int(n), 1), n)), nil
			})
			got, err := collect(
				belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors, belay.MaxPages(5), belay.Prefetch(prefetch)),
			)
			require.ErrorIs(t, err, belay.ErrTooManyPages)
			require.Len(t, got, 5)
			require.EqualValues(t, 5, asked.Load())
		}
	})
	t.Run("an item of 100 MB, and a page without end", func(t *testing.T) {
		for _, body := range []io.Reader{
			io.MultiReader(
				strings.NewReader(`{"d":[{"id":"`), io.LimitReader(testkit.Endless{}, 100<<20), strings.NewReader(`"}],"next":""}`),
			),
			io.MultiReader(strings.NewReader(`{"d":[`), testkit.Endless{}),
		} {
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				r := testkit.Raw(200, "application/json", "")
				r.Body = io.NopCloser(body)
				return r, nil
			})
			_, err := collect(
				belay.Items[thing](t.Context(), newClient(t, rt, belay.WithMaxResponseBytes(1<<20)), "/", cursors),
			)
			require.ErrorIs(t, err, belay.ErrBodyTooLarge)
		}
	})
}

// What a page may lack, and what a paginator may: named errors, and pages before them are whole.
func TestPagesBadInput(t *testing.T) {
	t.Parallel()
	answer := func(body string) http.RoundTripper {
		return testkit.RoundTrip(
			func(*http.Request) (*http.Response, error) { return testkit.Raw(200, "application/json", body), nil },
		)
	}
	for body, says := range map[string]string{
		`{}`:                      `no items at "d"`,
		`{"d":{"a":1}}`:           "not an array but an object",
		`{"d":"x"}`:               "not an array but a string",
		`{"d":false,"next":"x"}`:  "false, but there is a next page",
		`{"d":[],"next":{}}`:      "next is neither text nor a number",
		`{"d":[],"next":true}`:    "neither",
		`[]`:                      `no items at "d"`,
		`{"d":[1,2`:               "malformed JSON",
		`{"d":[1]`:                "malformed",
		`<html>`:                  "malformed",
		`{"d":[],}`:               "malformed",
		`{"d":[],"x":zzz}`:        "malformed",
		`{"d":[]}{"d":[1]}`:       "malformed",
		`{"d":[],"next":nul}`:     "next is malformed",
		``:                        "malformed",
		`{"d":[{"id":1},{"id":]}`: "malformed",
		`{"d":[5]}`:               "item 0: the JSON does not fit",
		`{"d":[{"id":1},7]}`:      "item 1",
		`{"d":[{"id":tru}]}`:      "item 0",
		`{"d":[],"next":"` + strings.Repeat("x", 17000) + `"}`: "the next cursor has 17000 bytes",
	} {
		_, err := collect(belay.Items[thing](t.Context(), newClient(t, answer(body)), "/", cursors))
		require.ErrorIs(t, err, belay.ErrData, body)
		require.ErrorContains(t, err, says, body)
		require.ErrorContains(t, err, "page 1", body)
		var n int
		for page, err := range belay.Pages[thing](t.Context(), newClient(t, answer(body)), "/", cursors) {
			require.Error(t, err)
			require.Empty(t, page.Items)
			n++
		}
		require.Equal(t, 1, n)
	}
	got, err := collect(belay.Items[thing](t.Context(), newClient(t, answer(`{"d":null}`)), "/", cursors))
	require.NoError(t, err, "null on the last page is how some say none")
	require.Empty(t, got)
	for _, c := range []struct {
		how  belay.Paginator
		body string
		says string
	}{
		{belay.CursorPages{Items: "d", Cursor: "next", Param: "c", More: "more"}, `{"d":[]}`, "there is no more"},
		{
			belay.CursorPages{Items: "d", Cursor: "next", Param: "c", Required: true},
			`{"d":[],"after":"x"}`, "there is no next, null or otherwise",
		},
		{
			belay.NextURLPages{Items: "d", URL: "meta.next", Required: true},
			`{"d":[],"meta":{}}`, "there is no meta.next, null or otherwise",
		},
		{
			belay.CursorPages{Items: "d", Cursor: "next", Param: "c", More: "more"},
			`{"d":[],"more":"yes"}`, "more is not a boolean",
		},
		{
			belay.CursorPages{Items: "d", Cursor: "next", Param: "c", More: "more"},
			`{"d":[],"more":true}`, "more is true, but there is no next",
		},
		{belay.LastIDPages{Items: "d", Param: "after", More: "more"}, `{"d":[],"more":true}`, "the page is empty"},
		{
			belay.LastIDPages{Items: "d", Param: "after", More: "more"},
			`{"d":[{"no":1}],"more":true}`, "the last item has no id",
		},
		{belay.OffsetPages{Items: "d", Limit: 2, Total: "n"}, `{"d":[],"n":5}`, "n says 5, but there is nothing at 0"},
		{belay.OffsetPages{Items: "d", Limit: 2, Total: "n"}, `{"d":[],"n":-5}`, "n is not a count"},
		{belay.NumberPages{Items: "d", Pages: "n"}, `{"d":[]}`, "there is no n"},
		{belay.NextURLPages{Items: "d", URL: "next"}, `{"d":[],"next":"%zz"}`, "no URL"},
	} {
		_, err := collect(belay.Items[thing](t.Context(), newClient(t, answer(c.body)), "/", c.how))
		require.ErrorIs(t, err, belay.ErrData)
		require.ErrorContains(t, err, c.says)
	}
	c := newClient(t, answer(`{"d":[]}`))
	for says, run := range map[string]func() error{
		"OffsetPages.Limit is 0": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.OffsetPages{}))
		},
		"no rule by which it ends": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.NumberPages{}))
		},
		"CursorPages.Cursor is empty": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.CursorPages{}))
		},
		"NextURLPages.URL is empty": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.NextURLPages{}))
		},
		"LastIDPages.More is empty": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.LastIDPages{Param: "x"}))
		},
		"Size is -1": func() error { return first(belay.Items[thing](t.Context(), c, "/", belay.NumberPages{Size: -1})) },
		"SizeParam is set, but Size is 0": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.NumberPages{SizeParam: "x", UntilEmpty: true}))
		},
		"First is 3 beside FromZero": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.NumberPages{First: 3, FromZero: true, Size: 1}))
		},
		"the Paginator is nil": func() error { return first(belay.Items[thing](t.Context(), c, "/", nil)) },
		"MaxPages: -1": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.MaxPages(-1)))
		},
		"Prefetch: 101": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.Prefetch(101)))
		},
		"IdempotencyKey": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.IdempotencyKey("k")))
		},
		"Into": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.Prefetch(1), belay.Into(new(belay.Info))))
		},
		"it is no JSON object": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.PostBody([]int{1})))
		},
		"unsupported type": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", cursors, belay.PostBody(make(chan int))))
		},
		"InBody is set, but there is no Post": func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.OffsetPages{Limit: 1, InBody: true}))
		},
		`the cursor "x" is not one`: func() error {
			return first(belay.Items[thing](t.Context(), c, "/", belay.OffsetPages{Limit: 1}, belay.StartAt("x")))
		},
		"the body's v is no object": func() error {
			return first(belay.Items[thing](
				t.Context(), c, "/", belay.CursorPages{Cursor: "x", Param: "v.after", InBody: true},
				belay.StartAt("x"), belay.PostBody(map[string]int{"v": 1}),
			))
		},
		"is a URL; begin there by StartAt": func() error {
			return first(belay.Items[thing](t.Context(), c, "https://partner.test/", cursors))
		},
		"client is nil": func() error { return first(belay.Items[thing](t.Context(), nil, "/", cursors)) },
	} {
		err := run()
		require.ErrorIs(t, err, belay.ErrInvalid, says)
		require.ErrorContains(t, err, says)
	}
}

func first(items func(func(thing, error) bool)) (err error) {
	items(func(_ thing, e error) bool {
		err = e
		return false
	})
	return err
}

// A page that breaks off is fetched again; breaking off the loop, a cancel and a panic leave nothing behind.
func TestPagesAreCalls(t *testing.T) {
	list := func(broken int) (*atomic.Int32, http.RoundTripper) {
		var asked atomic.Int32
		return &asked, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			timer := time.NewTimer(10 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
			n := int(asked.Add(1))
			r := testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":%s,"next":"n%d"}`, ids(n, 3), n))
			if n == broken {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"d":[{"id":`), breaking{}))
			}
			return r, nil
		})
	}
	testkit.Bubble(t, "a page that breaks off", func(t *testing.T) {
		asked, rt := list(2)
		n := 0
		for _, err := range belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors) {
			require.NoError(t, err)
			if n++; n == 9 {
				break
			}
		}
		require.EqualValues(t, 4, asked.Load())
	})
	for _, prefetch := range []int{0, 1, 4} {
		testkit.Bubble(t, fmt.Sprint("break, prefetch ", prefetch), func(t *testing.T) {
			asked, rt := list(0)
			c := newClient(t, rt)
			before := testkit.Goroutines()
			for range belay.Items[thing](t.Context(), c, "/", cursors, belay.Prefetch(prefetch)) {
				break
			}
			require.LessOrEqual(t, int(asked.Load()), 1+prefetch)
			time.Sleep(time.Hour)
			require.Equal(t, before, testkit.Goroutines())
		})
		testkit.Bubble(t, fmt.Sprint("cancel, prefetch ", prefetch), func(t *testing.T) {
			_, rt := list(0)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			n := 0
			var last error
			for _, err := range belay.Items[thing](ctx, newClient(t, rt), "/", cursors, belay.Prefetch(prefetch)) {
				last = err
				if n++; n == 4 {
					cancel(errors.New("the boss said so"))
				}
				require.Less(t, n, 30)
			}
			require.ErrorIs(t, last, context.Canceled)
		})
		testkit.Bubble(t, fmt.Sprint("panic, prefetch ", prefetch), func(t *testing.T) {
			_, rt := list(0)
			require.PanicsWithValue(t, "mine", func() {
				for range belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors, belay.Prefetch(prefetch)) {
					panic("mine")
				}
			})
		})
	}
	testkit.Bubble(t, "an error in the middle comes once, after what was whole", func(t *testing.T) {
		for _, prefetch := range []int{0, 3} {
			var asked atomic.Int32
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				asked.Add(1)
				offset := req.URL.Query().Get("offset")
				if offset == "4" {
					return testkit.Reply(400), nil
				}
				time.Sleep(time.Duration(10-len(offset)) * time.Millisecond)
				from, _ := strconv.Atoi(offset)
				return testkit.Raw(200, "application/json", ids(from, 2)), nil
			})
			items, failures := 0, 0
			for _, err := range belay.Items[thing](
				t.Context(), newClient(t, rt), "/", belay.OffsetPages{Limit: 2}, belay.Prefetch(prefetch),
			) {
				if err != nil {
					require.ErrorIs(t, err, belay.ErrInvalid)
					failures++
					continue
				}
				require.Zero(t, failures, "the error is the last")
				items++
			}
			require.Equal(t, []int{4, 1}, []int{items, failures})
		}
	})
}

type breaking struct{}

func (breaking) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// While one page is handled the next come, in order, and no more than so many.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	for _, how := range []belay.Paginator{
		belay.OffsetPages{Items: "d", Limit: 2},
		belay.OffsetPages{Items: "d", Limit: 2, Total: "n"},
		belay.NumberPages{Items: "d", Size: 2, Param: "offset", FromZero: true},
	} {
		testkit.Bubble(t, fmt.Sprintf("%+v", how), func(t *testing.T) {
			const pages = 40
			var flying, most, asked, beyond atomic.Int32
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				most.Store(max(most.Load(), flying.Add(1)))
				defer flying.Add(-1)
				asked.Add(1)
				time.Sleep(10 * time.Millisecond)
				var offset int
				_, _ = fmt.Sscan(req.URL.Query().Get("offset"), &offset)
				if _, ok := how.(belay.NumberPages); ok {
					offset *= 2
				}
				n := min(2, max(0, 2*pages-1-offset))
				if n == 0 {
					beyond.Add(1)
				}
				return testkit.Raw(200, "application/json", fmt.Sprintf(`{"d":%s,"n":%d}`, ids(offset, n), 2*pages-1)), nil
			})
			c := newClient(t, rt)
			for _, prefetch := range []int{0, 2} {
				asked.Store(0)
				most.Store(0)
				began := time.Now()
				got, err := collect(belay.Items[thing](t.Context(), c, "/", how, belay.Prefetch(prefetch)))
				require.NoError(t, err)
				require.Equal(t, numbers(2*pages-1), got)
				require.EqualValues(t, max(1, prefetch), most.Load())
				if prefetch == 0 {
					require.Equal(t, pages*10*time.Millisecond, time.Since(began))
				} else {
					require.LessOrEqual(t, time.Since(began), (pages/2+2)*10*time.Millisecond)
				}
				require.LessOrEqual(t, int(asked.Load()), pages+prefetch)
			}
			if p, ok := how.(belay.OffsetPages); ok && p.Total != "" {
				require.Zero(t, beyond.Load(), "where the total is known, nothing is asked for behind it")
			}
		})
	}
	testkit.Bubble(t, "a cursor: the next page comes while this one is handled", func(t *testing.T) {
		asked := 0
		rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			time.Sleep(10 * time.Millisecond)
			return testkit.Raw(
				200,
				"application/json",
				fmt.Sprintf(`{"d":%s,"next":"%s"}`, ids(asked, 1), map[bool]string{true: fmt.Sprint(asked)}[asked < 20]),
			), nil
		})
		began := time.Now()
		for _, err := range belay.Items[thing](t.Context(), newClient(t, rt), "/", cursors, belay.Prefetch(2)) {
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(began), 220*time.Millisecond, "of 400 one after the other")
	})
}
