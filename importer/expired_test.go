package importer_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/internal/testkit"
)

// A pass whose cursor expires begins again from its watermark by itself, and nothing is lost or saved twice.
func TestExpiredCursor(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"first run", "later run", "checkpoint", "full", "always"} {
		testkit.Bubble(t, how, func(t *testing.T) {
			began := time.Now()
			expires := map[string]int{"c3": 1}
			if how == "always" {
				expires["c3"] = 99
			}
			var asked []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				at := req.URL.Query().Get("cursor")
				asked = append(asked, at)
				if expires[at] > 0 {
					expires[at]--
					return testkit.JSONReply(400, map[string]any{"error": "the cursor has expired"}), nil
				}
				n := 0
				if at != "" {
					_, err := fmt.Sscanf(at, "c%d", &n)
					require.NoError(t, err)
				}
				answer := map[string]any{"d": []row{{ID: fmt.Sprint(n), Version: 1}}}
				if n < 5 {
					answer["next"] = fmt.Sprint("c", n+1)
				}
				return testkit.JSONReply(200, answer), nil
			})
			c, err := belay.New("https://partner.test", belay.WithTransport(rt))
			require.NoError(t, err)
			cursors := belay.CursorPages{Items: "d", Cursor: "next", Param: "cursor"}
			saved := map[string]int{}
			job := importer.Job[row, row]{
				BatchSize: 1, Adapt: func(r row) (row, error) { return r, nil },
				Save: func(_ context.Context, b importer.Batch[row]) error {
					for _, r := range b.Records {
						saved[r.ID]++
					}
					return nil
				},
			}
			store := marks{}
			inc := importer.Incremental[row, row]{
				Key: "k", ID: func(r row) string { return r.ID }, Updated: func(row) time.Time { return began }, Job: job,
				Watermarks: store,
				Pages: func(ctx context.Context, _ time.Time) iter.Seq2[belay.Page[row], error] {
					return belay.Pages[row](ctx, c, "/rows", cursors)
				},
			}
			once := 6 // rows that are saved once
			switch how {
			case "full":
				changes, err := importer.NewChanges(func(r row) string { return r.ID }, nil)
				require.NoError(t, err)
				_, err = importer.Full(t.Context(), job, changes, belay.Pages[row](t.Context(), c, "/rows", cursors), nil)
				require.NoError(t, err)
			case "always":
				_, err := inc.Run(t.Context())
				require.ErrorIs(t, err, belay.ErrCursorExpired)
				require.Len(t, asked, 4*4)
				once = 3
			case "later run":
				expires["c3"] = 0
				_, err := inc.Run(t.Context())
				require.NoError(t, err)
				expires["c3"] = 1
				_, err = inc.Run(t.Context())
				require.NoError(t, err)
			case "checkpoint": // the run before stopped at the cursor that has expired since
				store["k"] = []byte(`{"high":"0001-01-01T00:00:00Z","cursor":"c3","began":"2000-01-01T00:00:00Z"}`)
				_, err := inc.Run(t.Context())
				require.NoError(t, err)
				require.Equal(t, []string{"c3", "", "c1"}, asked[:3])
			default:
				_, err := inc.Run(t.Context())
				require.NoError(t, err)
				require.Equal(t, []string{"", "c1", "c2", "c3", "", "c1", "c2", "c3", "c4", "c5"}, asked)
			}
			require.Len(t, saved, once)
			for id, n := range saved {
				require.Equal(t, 1, n, id)
			}
			if how != "full" && how != "always" {
				require.NotContains(t, string(store["k"]), `"cursor"`)
			}
		})
	}
}
