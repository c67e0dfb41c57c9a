package belay_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// Pages that are not of the size asked for, and totals that change, lose nothing, however many are fetched ahead.
func TestPrefetchLosesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		how   belay.Paginator
		n     int                         // items
		size  func(offset, asked int) int // of a page
		total func(asked int) int         // that the partner tells
		place func(q map[string]int, size int) (offset int)
	}{
		{"a short page in the middle", belay.OffsetPages{Items: "d", Limit: 10, Total: "n"}, 30, func(offset, _ int) int {
			if offset == 20 {
				return 5
			}
			return 10
		}, nil, nil},
		{
			"a partner with a limit of its own",
			belay.OffsetPages{Items: "d", Limit: 4, Total: "n"},
			7, func(int, int) int { return 3 }, nil, nil,
		},
		{
			"a total that grows",
			belay.OffsetPages{Items: "d", Limit: 10, Total: "n"},
			60, func(int, int) int { return 10 }, func(asked int) int {
				if asked == 1 {
					return 20
				}
				return 60
			}, nil,
		},
		{
			"numbers, with pages half the size",
			belay.NumberPages{Items: "d", Size: 100, Total: "n", More: "more"},
			200, func(int, int) int { return 50 }, nil, func(q map[string]int, size int) int { return (q["page"] - 1) * size },
		},
		{
			"numbers until an empty page",
			belay.NumberPages{Items: "d", Size: 100, Total: "n", UntilEmpty: true},
			200, func(int, int) int { return 50 }, nil, func(q map[string]int, size int) int { return (q["page"] - 1) * size },
		},
	} {
		for _, prefetch := range []int{0, 1, 2, 5} {
			testkit.Bubble(t, fmt.Sprint(c.name, prefetch), func(t *testing.T) {
				asked := 0
				rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					asked++
					total := c.n
					if c.total != nil {
						total = c.total(asked)
					}
					q := make(map[string]int)
					for name := range req.URL.Query() {
						q[name], _ = strconv.Atoi(req.URL.Query().Get(name))
					}
					time.Sleep(time.Millisecond)
					offset := q["offset"]
					size := c.size(offset, asked)
					if c.place != nil {
						offset = c.place(q, size)
					}
					count := max(0, min(size, c.n-offset))
					return testkit.Raw(
						200,
						"application/json",
						fmt.Sprintf(`{"d":%s,"n":%d,"more":%t}`, ids(offset, count), total, offset+count < c.n),
					), nil
				})
				client := newClient(t, serial(rt))
				got, err := collect(belay.Items[thing](t.Context(), client, "/", c.how, belay.Prefetch(prefetch)))
				require.NoError(t, err)
				require.Equal(t, numbers(c.n), got)
			})
		}
	}
}

// serial lets one request at a time through.
func serial(rt http.RoundTripper) http.RoundTripper {
	turn := make(chan struct{}, 1)
	return testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		return rt.RoundTrip(req)
	})
}

// A next link is the partner's own text: no template, relative to where the page really was, and whole.
func TestNextLinksAreFollowedAsTheyAre(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "braces", func(t *testing.T) {
		s := &shelf{
			pages: map[string]string{`GET /list`: ids(0, 1), `GET /list?filter={"a":1}&page=2`: ids(1, 1)},
			header: map[string]http.Header{
				`GET /list`: {"Link": {`, <https://partner.test/list?filter={"a":1}&page=2>; rel="next"`}},
			},
		}
		got, err := collect(belay.Items[thing](t.Context(), newClient(t, s), "/list", belay.LinkPages{}))
		require.NoError(t, err, s.asked)
		require.Equal(t, numbers(2), got)
	})
	testkit.Bubble(t, "after a redirect", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/old/list":
				return testkit.Reply(301, "Location", "/new/list/"), nil
			case "/new/list/":
				r := testkit.Raw(200, "application/json", ids(0, 1))
				r.Header.Set("Link", `<page2>; rel="next"`)
				return r, nil
			case "/new/list/page2":
				return testkit.Raw(200, "application/json", ids(1, 1)), nil
			}
			return testkit.Reply(404), nil
		})
		got, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/old/list", belay.LinkPages{}))
		require.NoError(t, err)
		require.Equal(t, numbers(2), got)
	})
}

// However a partner writes the credential into its next link, it is in no cursor and no error.
func TestCursorsHoldNoCredential(t *testing.T) {
	t.Parallel()
	secret := belay.NewSecret("key-canary+/")
	for name, auth := range map[string]belay.Authenticator{
		"query":  belay.APIKeyQuery("api_key", secret),
		"header": belay.Bearer(secret),
	} {
		for _, query := range []string{
			"api_key=key-canary%2B%2F&page=2", "page=2&api_key=x&api_key=key-canary%2b/",
			"API_KEY=key-canary%2B%2F;page=2", "page=2&apikey=key-canary%2B/",
			"page=2&self=%2Flist%3Fapi_key%3Dkey-canary%252B%252F", "access_token=key-canary%2B%2F&page=2",
		} {
			testkit.Bubble(t, name+" "+query, func(t *testing.T) {
				n := 0
				rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					if n++; n == 1 {
						body, _ := json.Marshal(map[string]any{"d": []int{}, "next": "https://partner.test/list?" + query})
						return testkit.Raw(200, "application/json", string(body)), nil
					}
					require.Contains(t, req.URL.RawQuery, "page=2")
					return testkit.Raw(200, "application/json", `{"d":[{"id":"key-canary+/"},{"at":"Bearer key-canary+/"}]}`), nil
				})
				type dated struct{ At time.Time }
				var last error
				for page, err := range belay.Pages[dated](
					t.Context(), newClient(t, rt, belay.WithAuth(auth)), "/list", belay.NextURLPages{Items: "d", URL: "next"},
				) {
					require.NotContains(t, page.Cursor, "canary")
					last = err
				}
				require.ErrorIs(t, last, belay.ErrData)
				require.ErrorContains(t, last, "item 1")
				require.NotContains(t, last.Error(), "canary")
			})
		}
	}
}

// What is not JSON is an error, also where the items are not decoded.
func TestRawItemsAreJSON(t *testing.T) {
	t.Parallel()
	for body, n := range map[string]int{
		`[1,nope]`: 1, `[1,{"a":[}}]`: 1, `["x\q"]`: 0, `[{"a":[1},{"b":2]}]`: 0, `[01]`: 0, `[1,+5]`: 0, `[1][2]`: 0,
	} {
		rt := testkit.RoundTrip(
			func(*http.Request) (*http.Response, error) { return testkit.Raw(200, "application/json", body), nil },
		)
		got := 0
		var last error
		for _, err := range belay.Items[json.RawMessage](t.Context(), newClient(t, rt), "/", belay.LinkPages{}) {
			if last = err; err == nil {
				got++
			}
		}
		require.ErrorIs(t, last, belay.ErrData, body)
		require.Equal(t, n, got, body)
	}
}

// A paginator of one's own, for a partner that is like no other: it counts down.
type countdown struct{}

func (countdown) Check() error      { return nil }
func (countdown) ItemsPath() string { return "rows" }

func (countdown) Ask(r *belay.PageRequest) error {
	if r.Cursor == "panic" {
		panic("mine")
	}
	r.Query = map[string][]string{"before": {r.Cursor}}
	return nil
}

func (countdown) Next(a *belay.PageAnswer) (string, error) {
	if a.Count == 0 {
		return "", nil
	}
	v, err := a.Value("oldest")
	return string(v), err
}

func TestOwnPaginator(t *testing.T) {
	t.Parallel()
	s := &shelf{
		pages: map[string]string{
			"GET /?before=":  `{"rows":` + ids(0, 2) + `,"oldest":2}`,
			"GET /?before=2": `{"rows":` + ids(2, 1) + `,"oldest":1}`,
			"GET /?before=1": `{"rows":[]}`,
		},
	}
	for _, prefetch := range []int{0, 2} {
		got, err := collect(belay.Items[thing](t.Context(), newClient(t, s), "/", countdown{}, belay.Prefetch(prefetch)))
		require.NoError(t, err)
		require.Equal(t, numbers(3), got)
		require.PanicsWithValue(t, "mine", func() {
			_, _ = collect(
				belay.Items[thing](
					t.Context(),
					newClient(t, s),
					"/",
					countdown{},
					belay.Prefetch(prefetch),
					belay.StartAt("panic"),
				),
			)
		})
	}
}
