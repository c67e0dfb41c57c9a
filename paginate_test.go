package belay_test

import (
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// shelf is a partner with an answer for each request: "METHOD /path?query body" → answer.
type shelf struct {
	mu     sync.Mutex
	pages  map[string]string
	header map[string]http.Header
	asked  []string
}

func (s *shelf) RoundTrip(req *http.Request) (*http.Response, error) {
	key := req.Method + " " + req.URL.RequestURI()
	if req.URL.Host != "partner.test" || req.URL.Scheme != "https" {
		key = req.Method + " " + req.URL.String()
	}
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		key += " " + string(body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, key)
	body, ok := s.pages[key]
	if !ok {
		return testkit.Raw(404, "application/json", fmt.Sprintf("%q", "nothing at "+key)), nil
	}
	resp := testkit.Raw(200, "application/json", body)
	for name, values := range s.header[key] {
		resp.Header[name] = values
	}
	if body == "" {
		resp.StatusCode = 204
	}
	return resp, nil
}

type thing struct {
	ID any `json:"id"`
}

// collect ranges over the items to the end.
func collect(items iter.Seq2[thing, error]) (ids []string, err error) {
	for it, e := range items {
		if e != nil {
			return ids, e
		}
		ids = append(ids, fmt.Sprint(it.ID))
	}
	return ids, nil
}

// ids makes a JSON array of things.
func ids(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d}`, from+i)
	}
	return "[" + b.String() + "]"
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// Every partner pages in a way of its own: the shapes are theirs, with a first page, an empty one in the middle
// where they have that, and their way to end.
func TestPagesAsPartnersDoThem(t *testing.T) {
	t.Parallel()
	link := func(url string) http.Header {
		return http.Header{"Link": {`<https://partner.test/first>; rel="first", <` + url + `>; rel="next"`}}
	}
	for _, p := range []struct {
		name   string
		how    belay.Paginator
		path   string
		opts   []belay.PageOption
		pages  map[string]string
		header map[string]http.Header
		want   int
	}{
		{
			"Attio offset, by POST",
			belay.OffsetPages{Items: "data", Limit: 2, InBody: true},
			"/v2/objects/people/records/query",
			[]belay.PageOption{belay.PostBody(map[string]any{"filter": map[string]any{"x": 1}})},
			map[string]string{
				`POST /v2/objects/people/records/query {"filter":{"x":1},"limit":2,"offset":0}`: `{"data":` + ids(0, 2) + `}`,
				`POST /v2/objects/people/records/query {"filter":{"x":1},"limit":2,"offset":2}`: `{"data":` + ids(2, 2) + `}`,
				`POST /v2/objects/people/records/query {"filter":{"x":1},"limit":2,"offset":4}`: `{"data":[]}`,
			},
			nil, 4,
		},
		{
			"Attio offset, by GET, a short page ends",
			belay.OffsetPages{Items: "data", Limit: 2},
			"/v2/notes", nil,
			map[string]string{
				"GET /v2/notes?limit=2&offset=0": `{"data":` + ids(0, 2) + `}`,
				"GET /v2/notes?limit=2&offset=2": `{"data":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"Attio cursor, null at the end",
			belay.CursorPages{Items: "data", Cursor: "pagination.next_cursor", Param: "cursor"},
			"/v2/meetings",
			[]belay.PageOption{belay.Query("limit", "2")},
			map[string]string{
				"GET /v2/meetings?limit=2":                 `{"data":` + ids(0, 2) + `,"pagination":{"next_cursor":"c1"}}`,
				"GET /v2/meetings?cursor=c1&limit=2":       `{"data":[],"pagination":{"next_cursor":"c+2="}}`,
				"GET /v2/meetings?cursor=c%2B2%3D&limit=2": `{"data":` + ids(2, 1) + `,"pagination":{"next_cursor":null}}`,
			},
			nil, 3,
		},
		{
			"Guesty, skip and count",
			belay.OffsetPages{Items: "results", Limit: 2, OffsetParam: "skip", Total: "count"},
			"/v1/reservations",
			[]belay.PageOption{belay.Query("sort", "_id")},
			map[string]string{
				"GET /v1/reservations?limit=2&skip=0&sort=_id": `{"results":` + ids(0, 2) + `,"count":4,"limit":2,"skip":0}`,
				"GET /v1/reservations?limit=2&skip=2&sort=_id": `{"results":` + ids(2, 2) +
					`,"count":4}`, // and no empty page is asked for
			},
			nil, 4,
		},
		{
			"GitHub, an array and a link header",
			belay.LinkPages{},
			"/repos/{owner}/issues",
			[]belay.PageOption{belay.PathValue("owner", "o"), belay.Query("per_page", "2")},
			map[string]string{
				"GET /repos/o/issues?per_page=2":                     ids(0, 2),
				"GET /repositories/1300192/issues?page=2&per_page=2": ids(2, 0),
				"GET /repositories/1300192/issues?page=3&per_page=2": ids(2, 1),
			},
			map[string]http.Header{
				"GET /repos/o/issues?per_page=2": link(
					"https://partner.test/repositories/1300192/issues?page=2&per_page=2",
				),
				"GET /repositories/1300192/issues?page=2&per_page=2": {"Link": {
					`</repositories/1300192/issues?page=3&per_page=2>; REL="Next"`,
				}},
				"GET /repositories/1300192/issues?page=3&per_page=2": {"Link": {
					`<https://partner.test/repositories/1300192/issues?page=2>; rel="prev"`,
				}},
			},
			3,
		},
		{
			"GitHub search, an object with items",
			belay.LinkPages{Items: "items"},
			"/search/code?q=x", nil,
			map[string]string{"GET /search/code?q=x": `{"total_count":2,"incomplete_results":false,"items":` + ids(0, 2) + `}`},
			nil, 2,
		},
		{
			"GitHub, 204",
			belay.LinkPages{},
			"/repos/empty/contributors", nil,
			map[string]string{"GET /repos/empty/contributors": ""},
			nil, 0,
		},
		{
			"Stripe",
			belay.LastIDPages{Items: "data", Param: "starting_after", More: "has_more"},
			"/v1/customers",
			[]belay.PageOption{belay.Query("limit", "2")},
			map[string]string{
				"GET /v1/customers?limit=2":                  `{"object":"list","data":[{"id":0},{"id":1}],"has_more":true,"url":"/v1/customers"}`,
				"GET /v1/customers?limit=2&starting_after=1": `{"object":"list","data":[{"id":2}],"has_more":false,"url":"/v1/customers"}`,
			},
			nil, 3,
		},
		{
			"Shopify REST, rel is previous",
			belay.LinkPages{Items: "products"},
			"/admin/api/products.json?limit=2", nil,
			map[string]string{
				"GET /admin/api/products.json?limit=2":               `{"products":` + ids(0, 2) + `}`,
				"GET /admin/api/products.json?limit=2&page_info=abc": `{"products":` + ids(2, 1) + `}`,
			},
			map[string]http.Header{
				"GET /admin/api/products.json?limit=2": {"Link": {
					`<https://partner.test/admin/api/products.json?limit=2&page_info=abc>; rel="next"`,
				}},
				"GET /admin/api/products.json?limit=2&page_info=abc": {"Link": {
					`<https://partner.test/admin/api/products.json?limit=2&page_info=xyz>; rel="previous"`,
				}},
			},
			3,
		},
		{
			"Shopify GraphQL, a cursor among the variables",
			belay.CursorPages{
				Items: "data.products.nodes", Cursor: "data.products.pageInfo.endCursor",
				More: "data.products.pageInfo.hasNextPage", Param: "variables.after", InBody: true,
			},
			"/graphql.json",
			[]belay.PageOption{belay.PostBody(map[string]any{"query": "q", "variables": map[string]any{"first": 2}})},
			map[string]string{
				`POST /graphql.json {"query":"q","variables":{"first":2}}`: `{"data":{"products":{"nodes":` + ids(0, 2) +
					`,"pageInfo":{"hasNextPage":true,"endCursor":"e1"}}}}`,
				`POST /graphql.json {"query":"q","variables":{"after":"e1","first":2}}`: `{"data":{"products":{"nodes":` +
					ids(2, 1) + `,"pageInfo":{"hasNextPage":false,"endCursor":"e2"}}}}`,
			},
			nil, 3,
		},
		{
			"Slack, an empty cursor ends",
			belay.CursorPages{Items: "members", Cursor: "response_metadata.next_cursor", Param: "cursor"},
			"/api/users.list", nil,
			map[string]string{
				"GET /api/users.list": `{"ok":true,"members":` + ids(0, 1) +
					`,"response_metadata":{"next_cursor":"dXNlcj0="}}`,
				"GET /api/users.list?cursor=dXNlcj0%3D": `{"ok":true,"members":` + ids(1, 2) +
					`,"response_metadata":{"next_cursor":""}}`,
			},
			nil, 3,
		},
		{
			"Slack, no response_metadata",
			belay.CursorPages{Items: "members", Cursor: "response_metadata.next_cursor", Param: "cursor"},
			"/api/users.list", nil,
			map[string]string{"GET /api/users.list": `{"ok":true,"members":` + ids(0, 1) + `}`},
			nil, 1,
		},
		{
			"HubSpot, paging is missing at the end",
			belay.CursorPages{Items: "results", Cursor: "paging.next.after", Param: "after"},
			"/crm/v3/objects/contacts", nil,
			map[string]string{
				"GET /crm/v3/objects/contacts": `{"results":` + ids(0, 2) +
					`,"paging":{"next":{"after":"123","link":"https://partner.test/x"}}}`,
				"GET /crm/v3/objects/contacts?after=123": `{"results":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"HubSpot search, after in the body",
			belay.CursorPages{Items: "results", Cursor: "paging.next.after", Param: "after", InBody: true},
			"/crm/v3/objects/contacts/search",
			[]belay.PageOption{belay.PostBody(struct {
				Limit int `json:"limit"`
			}{2})},
			map[string]string{
				`POST /crm/v3/objects/contacts/search {"limit":2}`: `{"total":3,"results":` + ids(0, 2) +
					`,"paging":{"next":{"after":2}}}`, // a number
				`POST /crm/v3/objects/contacts/search {"after":"2","limit":2}`: `{"total":3,"results":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"Salesforce, a relative URL",
			belay.NextURLPages{Items: "records", URL: "nextRecordsUrl"},
			"/services/data/v62.0/query?q=SELECT", nil,
			map[string]string{
				"GET /services/data/v62.0/query?q=SELECT": `{"totalSize":3,"done":false,"nextRecordsUrl":"/services/data/v62.0/query/01gD0000002HU6KIAW-2","records":` +
					ids(0, 2) + `}`,
				"GET /services/data/v62.0/query/01gD0000002HU6KIAW-2": `{"totalSize":3,"done":true,"records":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"Zendesk, has_more false beside a next link",
			belay.CursorPages{Items: "tickets", Cursor: "meta.after_cursor", More: "meta.has_more", Param: "page[after]"},
			"/api/v2/tickets",
			[]belay.PageOption{belay.Query("page[size]", "2")},
			map[string]string{
				"GET /api/v2/tickets?page%5Bsize%5D=2": `{"tickets":` + ids(0, 2) +
					`,"meta":{"has_more":true,"after_cursor":"a1","before_cursor":null},"links":{"next":"https://partner.test/n"}}`,
				"GET /api/v2/tickets?page%5Bafter%5D=a1&page%5Bsize%5D=2": `{"tickets":` + ids(2, 1) +
					`,"meta":{"has_more":false,"after_cursor":"a2"},"links":{"next":"https://partner.test/n"}}`,
			},
			nil, 3,
		},
		{
			"Zendesk's links, by has_more",
			belay.NextURLPages{Items: "tickets", URL: "links.next", More: "meta.has_more"},
			"/api/v2/tickets", nil,
			map[string]string{
				"GET /api/v2/tickets": `{"tickets":` + ids(0, 2) +
					`,"meta":{"has_more":true},"links":{"next":"https://partner.test/api/v2/tickets?page%5Bafter%5D=x"}}`,
				"GET /api/v2/tickets?page%5Bafter%5D=x": `{"tickets":` + ids(2, 1) +
					`,"meta":{"has_more":false},"links":{"next":"https://partner.test/api/v2/tickets?page%5Bafter%5D=y"}}`,
			},
			nil, 3,
		},
		{
			"Zendesk's pages by number",
			belay.NextURLPages{Items: "users", URL: "next_page"},
			"/api/v2/users.json", nil,
			map[string]string{
				"GET /api/v2/users.json": `{"users":` + ids(0, 2) +
					`,"next_page":"https://partner.test/api/v2/users.json?page=2","count":3}`,
				"GET /api/v2/users.json?page=2": `{"users":` + ids(2, 1) + `,"next_page":null,"count":3}`,
			},
			nil, 3,
		},
		{
			"Notion, by POST",
			belay.CursorPages{Items: "results", Cursor: "next_cursor", More: "has_more", Param: "start_cursor", InBody: true},
			"/v1/databases/d/query",
			[]belay.PageOption{belay.PostBody(nil), belay.Header("Notion-Version", "2022-06-28")},
			map[string]string{
				`POST /v1/databases/d/query {}`: `{"object":"list","results":` + ids(0, 2) + `,"has_more":true,"next_cursor":"n1"}`,
				`POST /v1/databases/d/query {"start_cursor":"n1"}`: `{"object":"list","results":` + ids(2, 1) +
					`,"has_more":false,"next_cursor":null}`,
			},
			nil, 3,
		},
		{
			"Microsoft Graph, an empty page with a next link",
			belay.NextURLPages{Items: "value", URL: "@odata.nextLink"},
			"/v1.0/users?$top=2",
			[]belay.PageOption{belay.Header("ConsistencyLevel", "eventual")},
			map[string]string{
				"GET /v1.0/users?$top=2": `{"@odata.context":"c","@odata.count":3,"@odata.nextLink":"https://partner.test/v1.0/users?$top=2&$skiptoken=a","value":` +
					ids(0, 2) + `}`,
				"GET /v1.0/users?$top=2&$skiptoken=a": `{"@odata.nextLink":"https://partner.test/v1.0/users?$top=2&$skiptoken=b","value":[]}`,
				"GET /v1.0/users?$top=2&$skiptoken=b": `{"value":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"Twilio 2010, a relative URI",
			belay.NextURLPages{Items: "messages", URL: "next_page_uri"},
			"/2010-04-01/Accounts/AC/Messages.json?PageSize=2", nil,
			map[string]string{
				"GET /2010-04-01/Accounts/AC/Messages.json?PageSize=2": `{"messages":` + ids(0, 2) +
					`,"next_page_uri":"/2010-04-01/Accounts/AC/Messages.json?PageSize=2&Page=1&PageToken=PASM"}`,
				"GET /2010-04-01/Accounts/AC/Messages.json?PageSize=2&Page=1&PageToken=PASM": `{"messages":` + ids(2, 1) +
					`,"next_page_uri":""}`,
			},
			nil, 3,
		},
		{
			"Twilio, meta.next_page_url",
			belay.NextURLPages{Items: "services", URL: "meta.next_page_url"},
			"/v1/Services", nil,
			map[string]string{
				"GET /v1/Services": `{"services":` + ids(0, 2) +
					`,"meta":{"next_page_url":"https://partner.test/v1/Services?Page=1"}}`,
				"GET /v1/Services?Page=1": `{"services":` + ids(2, 1) + `,"meta":{"next_page_url":null}}`,
			},
			nil, 3,
		},
		{
			"Twilio, meta.next_token",
			belay.CursorPages{Items: "items", Cursor: "meta.next_token", Param: "PageToken"},
			"/v2/x", nil,
			map[string]string{
				"GET /v2/x":             `{"items":` + ids(0, 2) + `,"meta":{"next_token":"t"}}`,
				"GET /v2/x?PageToken=t": `{"items":` + ids(2, 1) + `,"meta":{}}`,
			},
			nil, 3,
		},
		{
			"Calendly",
			belay.NextURLPages{Items: "collection", URL: "pagination.next_page"},
			"/event_types", nil,
			map[string]string{
				"GET /event_types": `{"collection":` + ids(0, 2) +
					`,"pagination":{"count":2,"next_page":"https://partner.test/event_types?page_token=x"}}`,
				"GET /event_types?page_token=x": `{"collection":` + ids(2, 1) + `,"pagination":{"count":1,"next_page":null}}`,
			},
			nil, 3,
		},
		{
			"Google",
			belay.CursorPages{Items: "files", Cursor: "nextPageToken", Param: "pageToken"},
			"/drive/v3/files", nil,
			map[string]string{
				"GET /drive/v3/files":             `{"nextPageToken":"g","files":` + ids(0, 2) + `}`,
				"GET /drive/v3/files?pageToken=g": `{"files":` + ids(2, 1) + `}`,
			},
			nil, 3,
		},
		{
			"numbers, with how many pages there are",
			belay.NumberPages{Items: "d", Pages: "pages"},
			"/n", nil,
			map[string]string{
				"GET /n?page=1": `{"d":` + ids(0, 1) + `,"pages":2}`,
				"GET /n?page=2": `{"d":` + ids(1, 1) + `,"pages":2}`,
			},
			nil, 2,
		},
		{
			"numbers from zero, a short page ends",
			belay.NumberPages{Param: "p", FromZero: true, Size: 2, SizeParam: "size"},
			"/n", nil,
			map[string]string{"GET /n?p=0&size=2": ids(0, 2), "GET /n?p=1&size=2": ids(2, 1)},
			nil, 3,
		},
		{
			"numbers until an empty page",
			belay.NumberPages{UntilEmpty: true},
			"/n", nil,
			map[string]string{"GET /n?page=1": ids(0, 2), "GET /n?page=2": ids(2, 1), "GET /n?page=3": "[]"},
			nil, 3,
		},
		{
			"numbers by a flag",
			belay.NumberPages{Items: "d", More: "more", First: 5},
			"/n", nil,
			map[string]string{
				"GET /n?page=5": `{"d":` + ids(0, 2) + `,"more":true}`,
				"GET /n?page=6": `{"d":null,"more":false}`,
			},
			nil, 2,
		},
		{
			"an offset until an empty page, as pages are shorter than asked for",
			belay.OffsetPages{Limit: 500, UntilEmpty: true},
			"/n", nil,
			map[string]string{
				"GET /n?limit=500&offset=0": ids(0, 2),
				"GET /n?limit=500&offset=2": ids(2, 1),
				"GET /n?limit=500&offset=3": "[]",
			},
			nil, 3,
		},
	} {
		for _, prefetch := range []int{0, 1, 3} {
			testkit.Bubble(t, fmt.Sprintf("%s, prefetch %d", p.name, prefetch), func(t *testing.T) {
				s := &shelf{pages: p.pages, header: p.header}
				c := newClient(t, s)
				opts := append(slices.Clip(p.opts), belay.Prefetch(prefetch))
				items := belay.Items[thing](t.Context(), c, p.path, p.how, opts...)
				for range 2 { // ranging again begins again
					got, err := collect(items)
					require.NoError(t, err)
					require.Equal(t, numbers(p.want), got)
				}
				if prefetch == 0 {
					require.Len(t, s.asked, 2*len(p.pages))
				}
				// Every page but the last says where to go on.
				var all []string
				last := ""
				for page, err := range belay.Pages[thing](t.Context(), c, p.path, p.how, opts...) {
					require.NoError(t, err)
					for _, it := range page.Items {
						all = append(all, fmt.Sprint(it.ID))
					}
					last = page.Cursor
					if last != "" {
						rest, err := collect(
							belay.Items[thing](t.Context(), c, p.path, p.how, append(slices.Clip(opts), belay.StartAt(last))...),
						)
						require.NoError(t, err)
						require.Equal(t, numbers(p.want)[len(all):], append([]string{}, rest...))
					}
				}
				require.Equal(t, numbers(p.want), all)
				require.Empty(t, last)
			})
		}
	}
}
