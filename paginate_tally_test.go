package belay_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// lister serves a list of records by offset or by number, in the ways in which partners get it wrong.
type lister struct {
	mu      sync.Mutex
	n       int // records
	size    int // of a page, whatever is asked for
	total   func(page, offset, count, all int) any
	pages   func(page, all int) any
	more    func(page, offset, count, all int) any
	ignores bool // the parameter
	guest   int  // the page from which on the partner answers as to a guest, 0 for never
	missing int  // records that were deleted when the second page is read
	late    bool // they are deleted when the last page but one was read
	beyond  int  // the status behind the last page, 0 for a page without items
	asked   int
}

func (l *lister) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	q := req.URL.Query()
	offset, _ := strconv.Atoi(q.Get("offset"))
	page, _ := strconv.Atoi(q.Get("page"))
	if q.Get("page") != "" {
		offset = (page - 1) * l.size
	} else {
		page = offset/l.size + 1
	}
	all := l.n
	if page > 1 && !l.late || offset+2*l.size >= all && page > 2 {
		all -= l.missing
	}
	if l.beyond > 0 && offset >= all {
		return testkit.Raw(l.beyond, "application/json", `{"detail":"Invalid page."}`), nil
	}
	if l.ignores {
		offset = 0
	}
	if l.guest > 0 && page >= l.guest {
		all = 0
	}
	items := []map[string]int{}
	for i := offset; i < min(offset+l.size, all); i++ {
		items = append(items, map[string]int{"id": i})
	}
	body := map[string]any{"d": items}
	for name, f := range map[string]func(page, offset, count, all int) any{"total": l.total, "more": l.more} {
		if f != nil {
			body[name] = f(page, offset, len(items), all)
		}
	}
	if l.pages != nil {
		body["pages"] = l.pages(page, all)
	}
	data, _ := json.Marshal(body)
	return testkit.Raw(200, "application/json", string(data)), nil
}

// A list that contradicts what it has told goes on, or is an error; it does not end as if it were complete.
func TestListsThatContradictThemselves(t *testing.T) {
	t.Parallel()
	byOffset := belay.OffsetPages{Items: "d", Limit: 50, Total: "total"}
	byNumber := belay.NumberPages{Items: "d", Size: 50, Total: "total"}
	byPages := belay.NumberPages{Items: "d", Pages: "pages"}
	byMore := belay.NumberPages{Items: "d", More: "more", Total: "total"}
	right := func(_, _, _, all int) any { return all }
	left := func(_, offset, _, all int) any { return max(0, all-offset) }
	firstOnly := func(page, _, _, all int) any {
		if page > 1 {
			return nil
		}
		return all
	}
	after := func(_, offset, count, all int) any { return all - offset - count }
	count := func(_, _, count, _ int) any { return count }
	guestAs := func(pages any) func(page, all int) any {
		return func(page, all int) any {
			if page >= 3 {
				return pages
			}
			return 10
		}
	}
	zero := func(_, _, _, _ int) any { return 0 }
	few := func(_, _, _, _ int) any { return 10 }
	more := func(_, offset, count, all int) any { return offset+count < all }
	pagesOf := func(size int) func(page, all int) any {
		return func(_, all int) any { return (all + size - 1) / size }
	}
	for name, c := range map[string]struct {
		l    *lister
		how  belay.Paginator
		want int    // records, if nothing fails
		fail string // of the error
		most int    // requests without prefetch, 0 for any number
	}{
		"a page is smaller than asked for":  {&lister{n: 53, size: 20, total: right}, byNumber, 53, "", 3},
		"and by offset":                     {&lister{n: 53, size: 20, total: right}, byOffset, 53, "", 3},
		"full pages":                        {&lister{n: 100, size: 50, total: right}, byNumber, 100, "", 2},
		"full pages by offset":              {&lister{n: 100, size: 50, total: right}, byOffset, 100, "", 2},
		"a total of what is left":           {&lister{n: 53, size: 20, total: left}, byOffset, 53, "", 4},
		"and by number":                     {&lister{n: 53, size: 20, total: left}, byNumber, 53, "", 4},
		"a total of the page":               {&lister{n: 75, size: 30, total: count}, byOffset, 0, "", 0},
		"a total of nothing":                {&lister{n: 53, size: 20, total: zero}, byOffset, 53, "", 4},
		"and of nothing by number":          {&lister{n: 53, size: 20, total: zero}, byNumber, 53, "", 4},
		"a total below what has come":       {&lister{n: 53, size: 20, total: few}, byOffset, 53, "", 4},
		"and below by number":               {&lister{n: 53, size: 20, total: few}, byNumber, 53, "", 4},
		"a total on the first page":         {&lister{n: 53, size: 20, total: firstOnly}, byOffset, 53, "", 3},
		"and on the first by number":        {&lister{n: 53, size: 20, total: firstOnly}, byNumber, 53, "", 3},
		"records are deleted":               {&lister{n: 53, size: 20, total: right, missing: 2}, byOffset, 51, "", 4},
		"and deleted by number":             {&lister{n: 53, size: 20, total: right, missing: 2}, byNumber, 51, "", 4},
		"deleted, with a first total":       {&lister{n: 53, size: 20, total: firstOnly, missing: 2}, byOffset, 51, "", 4},
		"the parameter is ignored":          {&lister{n: 53, size: 20, total: right, ignores: true}, byOffset, 0, "offset", 2},
		"and the number":                    {&lister{n: 53, size: 20, total: right, ignores: true}, byNumber, 0, "page", 2},
		"ignored without a total":           {&lister{n: 90, size: 50, ignores: true}, belay.OffsetPages{Items: "d", Limit: 50}, 0, "offset", 2},
		"ignored with pages":                {&lister{n: 53, size: 20, pages: pagesOf(20), ignores: true}, byPages, 0, "page", 2},
		"a guest":                           {&lister{n: 2000, size: 20, pages: pagesOf(20), guest: 23}, byPages, 0, "fell from 100 to 0", 23},
		"a guest, with a total":             {&lister{n: 2000, size: 20, total: right, guest: 23}, byNumber, 0, "fell from 2000 to 0", 23},
		"a guest, by offset":                {&lister{n: 2000, size: 20, total: right, guest: 23}, byOffset, 0, "fell from 2000 to 0", 23},
		"a guest, without more":             {&lister{n: 2000, size: 20, total: right, more: more, guest: 23}, byMore, 0, "fell from 2000 to 0", 23},
		"a guest on the last page":          {&lister{n: 2000, size: 20, pages: pagesOf(20), guest: 100}, byPages, 0, "", 0},
		"a guest, one page":                 {&lister{n: 200, size: 20, pages: guestAs(1), guest: 3}, byPages, 0, "fell from 10 to 1", 3},
		"a guest, one page fewer":           {&lister{n: 200, size: 20, pages: guestAs(2), guest: 3}, byPages, 0, "fell from 10 to 2", 3},
		"a guest, without pages":            {&lister{n: 200, size: 20, pages: guestAs(nil), guest: 3}, byPages, 0, "was 10", 3},
		"a guest at the last of ten":        {&lister{n: 200, size: 20, pages: func(_, all int) any { return (all + 19) / 20 }, guest: 10}, byPages, 0, "fell from 10 to 0", 10},
		"a total of what follows":           {&lister{n: 60, size: 20, total: after}, byOffset, 60, "", 4},
		"and by number of what follows":     {&lister{n: 60, size: 20, total: after}, belay.NumberPages{Items: "d", Size: 20, Total: "total"}, 60, "", 4},
		"one deleted, nothing behind":       {&lister{n: 100, size: 20, total: right, missing: 1, late: true, beyond: 404}, belay.NumberPages{Items: "d", Size: 20, Total: "total"}, 99, "", 5},
		"one deleted, by offset":            {&lister{n: 100, size: 20, total: right, missing: 1, late: true, beyond: 400}, belay.OffsetPages{Items: "d", Limit: 20, Total: "total"}, 99, "", 5},
		"a page deleted, nothing behind":    {&lister{n: 101, size: 20, total: right, missing: 1, late: true, beyond: 404}, belay.NumberPages{Items: "d", Size: 20, Total: "total"}, 100, "", 6},
		"pages fell, nothing behind":        {&lister{n: 81, size: 20, pages: pagesOf(20), missing: 1, late: true, beyond: 404}, byPages, 80, "", 5},
		"a lower bound":                     {&lister{n: 60, size: 20, total: func(int, int, int, int) any { return 40 }}, belay.OffsetPages{Items: "d", Limit: 20, Total: "total", UntilEmpty: true}, 60, "", 4},
		"a page is smaller, 70":             {&lister{n: 70, size: 20, total: right}, byNumber, 70, "", 4},
		"a page is smaller, 120":            {&lister{n: 120, size: 20, total: right}, byNumber, 120, "", 6},
		"a page is much smaller":            {&lister{n: 110, size: 10, total: right}, byNumber, 110, "", 11},
		"a total that is not known":         {&lister{n: 53, size: 20, total: func(int, int, int, int) any { return -1 }}, belay.OffsetPages{Items: "d", Limit: 20, Total: "total"}, 53, "", 3},
		"pages":                             {&lister{n: 53, size: 20, pages: pagesOf(20)}, byPages, 53, "", 3},
		"pages fell by one":                 {&lister{n: 41, size: 20, pages: pagesOf(20), missing: 1}, byPages, 40, "", 3},
		"pages of nothing":                  {&lister{n: 53, size: 20, pages: func(int, int) any { return 0 }}, byPages, 53, "", 4},
		"pages on the first page":           {&lister{n: 53, size: 20, pages: func(page, all int) any { return map[bool]any{true: 3}[page == 1] }}, byPages, 53, "", 3},
		"more ends before the total":        {&lister{n: 53, size: 20, total: right, more: func(page, _, _, _ int) any { return page < 2 }}, byMore, 0, "ends after 40 items", 2},
		"more and a total":                  {&lister{n: 53, size: 20, total: right, more: more}, byMore, 53, "", 3},
		"an empty list":                     {&lister{size: 20, total: right}, byOffset, 0, "", 1},
		"an empty list by number":           {&lister{size: 20, total: right}, byNumber, 0, "", 1},
		"an empty list of pages":            {&lister{size: 20, pages: pagesOf(20)}, byPages, 0, "", 1},
		"no total at all":                   {&lister{n: 53, size: 50}, byOffset, 53, "", 2},
		"a total alone, without a size":     {&lister{n: 53, size: 20, total: right}, belay.NumberPages{Items: "d", Total: "total"}, 53, "", 3},
		"a total that says what is not":     {&lister{n: 53, size: 20, total: func(int, int, int, int) any { return 99 }}, byOffset, 0, "says 99", 4},
		"a total that is not, by number":    {&lister{n: 53, size: 20, total: func(int, int, int, int) any { return 99 }}, byNumber, 0, "ends after 53", 4},
		"a total that rises":                {&lister{n: 53, size: 20, total: func(page, _, _, _ int) any { return 50 + page }}, byNumber, 53, "", 0},
		"a total of one page fewer, offset": {&lister{n: 53, size: 20, total: func(page, _, _, all int) any { return all - 20*(page/2) }}, byOffset, 53, "", 0},
	} {
		for _, prefetch := range []int{0, 1, 4} {
			testkit.Bubble(t, fmt.Sprint(name, ", prefetch ", prefetch), func(t *testing.T) {
				l := &lister{
					n: c.l.n, size: c.l.size, total: c.l.total, pages: c.l.pages, more: c.l.more, ignores: c.l.ignores,
					guest: c.l.guest, missing: c.l.missing, late: c.l.late, beyond: c.l.beyond,
				}
				ids, err := collect(belay.Items[thing](t.Context(), newClient(t, l), "/", c.how, belay.Prefetch(prefetch)))
				if c.fail != "" {
					require.ErrorIs(t, err, belay.ErrData)
					require.ErrorContains(t, err, c.fail)
				} else if c.want > 0 || c.most > 0 {
					require.NoError(t, err)
					require.Len(t, ids, c.want)
				}
				if c.most > 0 && prefetch == 0 {
					require.LessOrEqual(t, l.asked, c.most)
				}
			})
		}
	}
}

// A list that begins in the middle is not complete because a guess fits.
func TestListsThatGoOnContradictThemselves(t *testing.T) {
	t.Parallel()
	page := func(total any, items int) string {
		data, _ := json.Marshal(map[string]any{"total": total, "pages": total, "d": slices.Repeat([]struct{}{{}}, items)})
		return string(data)
	}
	number := belay.NumberPages{Items: "d", Size: 20, Total: "total"}
	for name, c := range map[string]struct {
		how     belay.Paginator
		start   string
		answers []string
		fail    bool
		want    int
	}{
		"then a guest":        {number, "3", []string{page(200, 20), page(0, 0)}, true, 20},
		"then nothing":        {number, "3", []string{page(200, 20), page(200, 0)}, true, 20},
		"nothing at once":     {number, "3", []string{page(200, 0)}, true, 0},
		"a guest by offset":   {belay.OffsetPages{Items: "d", Limit: 20, Total: "total"}, "40", []string{page(0, 0)}, true, 0},
		"a guest by pages":    {belay.NumberPages{Items: "d", Pages: "pages"}, "3", []string{page(0, 0)}, true, 0},
		"no end by a 404":     {belay.NumberPages{Items: "d", Size: 50, Total: "total"}, "2", []string{page(170, 20), `404`}, true, 20},
		"the last page":       {number, "3", []string{page(53, 13), `404`}, false, 13},
		"a guess that fits":   {belay.NumberPages{Items: "d", Size: 50, Total: "total"}, "4", []string{page(170, 20), page(170, 20), page(170, 20), page(170, 0)}, false, 60},
		"nothing left behind": {number, "4", []string{page(60, 0)}, false, 0},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			n := 0
			rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				body := c.answers[min(n, len(c.answers)-1)]
				if n++; body == "404" {
					return testkit.Raw(404, "application/json", `{"detail":"Invalid page."}`), nil
				}
				return testkit.Raw(200, "application/json", strings.Replace(body, "{}", fmt.Sprintf(`{"id":%d}`, n), 1)), nil
			})
			items, err := collect(belay.Items[thing](t.Context(), newClient(t, rt), "/", c.how, belay.StartAt(c.start)))
			require.Equal(t, c.fail, err != nil, "%v", err)
			if c.fail && !slices.Contains(c.answers, "404") {
				require.ErrorIs(t, err, belay.ErrData)
			}
			if !c.fail {
				require.NoError(t, err)
			}
			require.Len(t, items, c.want)
		})
	}
}

// A list that begins in the middle ends where it should.
func TestCountedListsFromTheMiddle(t *testing.T) {
	t.Parallel()
	right := func(_, _, _, all int) any { return all }
	for _, size := range []int{20, 50} { // the pages have 20 records, whatever is asked for
		for start := 1; start <= 3; start++ {
			l := &lister{n: 53, size: 20, total: right}
			how := belay.NumberPages{Items: "d", Size: size, Total: "total"}
			ids, err := collect(belay.Items[thing](t.Context(), newClient(t, l), "/", how, belay.StartAt(strconv.Itoa(start))))
			require.NoError(t, err)
			require.Len(t, ids, 53-20*(start-1))
			offset := belay.OffsetPages{Items: "d", Limit: size, Total: "total"}
			ids, err = collect(belay.Items[thing](
				t.Context(), newClient(t, l), "/", offset, belay.StartAt(strconv.Itoa(20*(start-1)))))
			require.NoError(t, err)
			require.Len(t, ids, 53-20*(start-1))
		}
	}
}
