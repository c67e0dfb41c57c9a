package importer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
)

// A run that takes longer than the lag, over a list in no order, misses nothing that changed meanwhile; and a
// record from the future hides no other.
func TestIncrementalLongRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		rows := map[string]row{
			"a":    {"a", 1, now.Add(-time.Hour)},
			"b":    {"b", 1, now.Add(-time.Hour)},
			"late": {"late", 1, now.AddDate(80, 0, 0)},
			"odd":  {"odd", 1, time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
		}
		got := make(map[string]int)
		store := make(marks)
		first := true
		inc := importer.Incremental[row, row]{
			Watermarks: store, Key: "k", ID: func(r row) string { return r.ID }, Updated: func(r row) time.Time { return r.At },
			Job: importer.Job[row, row]{
				Adapt: func(r row) (row, error) { return r, nil }, RejectLimit: 1,
				Save: func(_ context.Context, b importer.Batch[row]) error {
					for _, r := range b.Records {
						got[fmt.Sprint(r.ID, r.Version)]++
					}
					return nil
				},
			},
			Pages: func(_ context.Context, since time.Time) iter.Seq2[belay.Page[row], error] {
				return func(yield func(belay.Page[row], error) bool) {
					for n, id := range []string{"a", "b", "late", "odd"} {
						p := belay.Page[row]{}
						if r := rows[id]; !r.At.Before(since) {
							p.Items = []row{r}
						}
						if n < 3 {
							p.Cursor = id
						}
						if !yield(p, nil) {
							return
						}
						if first && id == "a" { // while the run reads on
							first = false
							time.Sleep(10 * time.Minute)
							rows["a"] = row{"a", 2, time.Now()}
							time.Sleep(45 * time.Minute)
							rows["b"] = row{"b", 2, time.Now()}
						}
					}
				}
			},
		}
		for range 3 {
			stats, err := inc.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, stats.Rejected, "the one of a year that is none")
			time.Sleep(time.Hour)
		}
		rows["b"] = row{"b", 3, time.Now()}
		_, err := inc.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a1": 1, "a2": 1, "b2": 1, "b3": 1, "late1": 1}, got)
	})
}

// A store that takes no rows, but empty batches, fails; it rejects nothing.
func TestStoreThatTakesNoRows(t *testing.T) {
	full := errors.New("disk full")
	s := &table{}
	s.refuse = func(b importer.Batch[int]) error {
		if len(b.Records) > 0 {
			return full
		}
		return nil
	}
	aside := 0
	j := importer.Job[int, int]{
		Adapt:     identity,
		Save:      s.save,
		BatchSize: 10,
		Reject:    func(context.Context, int, error) error { aside++; return nil },
		Start:     "5",
	}
	stats, err := j.Run(t.Context(), list(5, 1000, 10))
	require.ErrorIs(t, err, full)
	require.Zero(t, aside)
	require.Equal(t, "5", stats.Cursor, "where it began")
	require.Empty(t, s.cursor)
	// One that was down for a moment rejects nothing either.
	s = new(table)
	n := 0
	s.refuse = func(b importer.Batch[int]) error {
		if n++; n <= 2 {
			return full
		}
		return nil
	}
	j.Save, j.Start = s.save, ""
	stats, err = j.Run(t.Context(), list(0, 10, 10))
	require.NoError(t, err)
	require.Zero(t, aside)
	require.Equal(t, []int{10, 0}, []int{stats.Saved, stats.Rejected})
	require.Len(t, s.rows, 10)
}

// A pass that broke off has no cursor to go on from: going on would delete what came before.
func TestFullHasNoCursor(t *testing.T) {
	c, err := importer.NewChanges(func(i int) string { return fmt.Sprint(i) }, nil)
	require.NoError(t, err)
	s := new(table)
	broken := errors.New("down")
	j := importer.Job[int, int]{Adapt: identity, Save: s.save, BatchSize: 10}
	stats, err := importer.Full(t.Context(), j, c, list(0, 100, 10, broken), nil)
	require.ErrorIs(t, err, broken)
	require.NotEmpty(t, s.rows)
	require.Empty(t, stats.Cursor+s.cursor)
}

// A batch is Save's to keep.
func TestBatchesAreKept(t *testing.T) {
	var kept [][]int
	j := importer.Job[int, int]{
		Adapt:     identity,
		BatchSize: 10,
		Save: func(_ context.Context, b importer.Batch[int]) error {
			kept = append(kept, b.Records)
			return nil
		},
	}
	_, err := j.Run(t.Context(), list(0, 30, 10))
	require.NoError(t, err)
	require.Equal(t, [][]int{numbers(0, 10), numbers(10, 20), numbers(20, 30)}, kept)
}
