package belay

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay/internal/testkit"
)

// Pages that are fetched ahead hold a bounded number of bytes together, however many are allowed; small ones are fetched as before.
func TestPrefetchIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size, ahead int
		how         Paginator
		want        int32 // pages fetched while the loop holds the first one
	}{
		"large, one after the other": {20 << 10, 10, CursorPages{Items: "items", Cursor: "next", Param: "after"}, 1 + 3},
		"large, side by side":        {20 << 10, 10, OffsetPages{Items: "items", Limit: 1}, 1 + 3},
		"small":                      {1 << 5, 10, CursorPages{Items: "items", Cursor: "next", Param: "after"}, 1 + 10},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var fetched atomic.Int32
			filler := strings.Repeat("x", c.size)
			client := clientOf(t, transportFunc(func(*http.Request) (*http.Response, error) {
				n := fetched.Add(1)
				next := ""
				if n < 12 {
					next = fmt.Sprintf(`,"next":"c%d"`, n)
				}
				items := `[1]`
				if n == 13 {
					items = `[]`
				}
				return testkit.Raw(200, "application/json", `{"items":`+items+next+`,"filler":"`+filler+`"}`), nil
			}))
			seen := 0
			for p, err := range Pages[int](t.Context(), client, "/", c.how, Prefetch(c.ahead),
				pageOption(func(o *pageOptions) { o.backlog = 64 << 10 })) {
				require.NoError(t, err)
				time.Sleep(time.Minute)
				if seen++; seen == 1 {
					require.Equal(t, c.want, fetched.Load())
					require.InDelta(t, c.size, p.Size, 100)
				}
			}
			require.GreaterOrEqual(t, seen, 12)
		})
	}
}
