package importer_test

import (
	"context"
	"encoding/json"
	"errors"
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

// The first run of an incremental import goes on where it stopped, by what is stored in either place.
func TestFirstRunGoesOn(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"watermarks", "batches"} {
		for _, breaks := range []string{"partner", "save", "context"} {
			testkit.Bubble(t, where+" "+breaks, func(t *testing.T) {
				began := time.Now()
				var asked []string
				broken := true
				rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
					page := req.URL.Query().Get("page")
					asked = append(asked, page)
					if broken && breaks == "partner" && page == "45" {
						return testkit.Reply(404), nil
					}
					var n int
					_, _ = fmt.Sscan(page, &n)
					rows := []row{}
					for i := range 10 {
						if n > 50 {
							break
						}
						rows = append(rows, row{ID: fmt.Sprint(n*10 + i), Version: 1})
					}
					return testkit.JSONReply(200, map[string]any{"d": rows}), nil
				})
				c, err := belay.New("https://partner.test", belay.WithTransport(rt))
				require.NoError(t, err)
				store := marks{}
				saved := map[string]int{}
				var mark []byte
				lists := 1
				run := func() error {
					lost := false
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					inc := importer.Incremental[row, row]{
						Key: "k", ID: func(r row) string { return r.ID },
						Updated: func(row) time.Time { return began },
						Pages: func(ctx context.Context, since time.Time) iter.Seq2[belay.Page[row], error] {
							pages := belay.Pages[row](ctx, c, "/rows", belay.NumberPages{Items: "d", UntilEmpty: true})
							if lists == 1 {
								return pages
							}
							return func(yield func(belay.Page[row], error) bool) {
								for range lists {
									for p, err := range pages {
										if !yield(p, err) {
											return
										}
									}
								}
							}
						},
						Job: importer.Job[row, row]{
							BatchSize: 10, Adapt: func(r row) (row, error) { return r, nil },
							Save: func(_ context.Context, b importer.Batch[row]) error {
								if broken && breaks != "partner" && len(b.Records) > 0 && b.Records[0].ID >= "450" &&
									len(b.Records[0].ID) == 3 {
									if breaks == "context" {
										cancel()
										return nil
									}
									lost = true
								}
								if lost {
									return errors.New("no connection")
								}
								for _, r := range b.Records {
									saved[r.ID]++
								}
								if b.Mark != nil {
									mark = b.Mark
								}
								return nil
							},
						},
					}
					if where == "watermarks" {
						inc.Watermarks = store
					} else {
						inc.Mark = mark
					}
					_, err := inc.Run(ctx)
					return err
				}
				require.Error(t, run())
				require.NotZero(t, len(asked))
				broken = false
				time.Sleep(time.Hour)
				asked = nil
				require.NoError(t, run())
				require.Less(t, len(asked), 9, "%v", asked)
				want := 500
				if breaks == "context" {
					want = 490 // the batch of which Save lied
				}
				require.GreaterOrEqual(t, len(saved), want)
				// The next run is like any other: it asks from the start of the first run on.
				var m struct {
					High   time.Time
					Cursor string
				}
				data := mark
				if where == "watermarks" {
					data = store["k"]
				}
				require.NoError(t, json.Unmarshal(data, &m))
				require.Empty(t, m.Cursor)
				require.True(t, m.High.Equal(began))
				// A run over several lists has no checkpoint, as a cursor would be of one of them.
				broken, mark, lists = true, nil, 2
				store = marks{}
				if breaks == "partner" {
					require.Error(t, run())
				}
			})
		}
	}
}
