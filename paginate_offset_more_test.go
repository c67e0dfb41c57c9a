package belay_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// A partner says whether there are more pages: short pages, and full ones at the end, mislead nobody.
func TestOffsetPagesMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pages []int // items of each page
		more  string
		items int
		err   string
	}{
		"short pages before the end":   {[]int{2, 1, 3}, "", 6, ""},
		"the last page is full":        {[]int{3, 3}, "", 6, ""},
		"one empty page":               {[]int{0}, "", 0, ""},
		"more, but nothing":            {[]int{3, 0, 3}, "", 3, "there is nothing at 3"},
		"more is not there":            {[]int{3}, "-", 0, "more"},
		"more is text that means true": {[]int{1, 1}, `"true"`, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			page := 0
			client := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				require.Equal(t, "3", req.URL.Query().Get("limit"))
				offset, err := strconv.Atoi(req.URL.Query().Get("offset"))
				require.NoError(t, err)
				want := 0
				for _, n := range c.pages[:page] {
					want += n
				}
				require.Equal(t, want, offset)
				items := ""
				for i := range c.pages[page] {
					if i > 0 {
						items += ","
					}
					items += fmt.Sprint(offset + i)
				}
				page++
				more := fmt.Sprint(page < len(c.pages))
				switch {
				case c.more == "-":
					return testkit.Raw(200, "application/json", `{"items": [`+items+`]}`), nil
				case c.more != "" && more == "true":
					more = c.more
				}
				return testkit.Raw(200, "application/json", `{"items": [`+items+`], "more": `+more+`}`), nil
			}))
			n := 0
			var failed error
			for _, err := range belay.Items[int](t.Context(), client, "/list", belay.OffsetPages{Items: "items", Limit: 3, More: "more"}) {
				if err != nil {
					failed = err
					break
				}
				n++
			}
			require.Equal(t, c.items, n)
			if c.err != "" {
				require.ErrorContains(t, failed, c.err)
				require.ErrorIs(t, failed, belay.ErrData)
			} else {
				require.NoError(t, failed)
			}
		})
	}
}
