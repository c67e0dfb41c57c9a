package importer_test

import (
	"context"
	"iter"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
)

// An Adapt that ends its goroutine leaves no empty records: what was not adapted is rejected.
func TestAdaptThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2, 5} {
		adaptThatEndsItsGoroutine(t, workers)
	}
}

func adaptThatEndsItsGoroutine(t *testing.T, workers int) {
	t.Helper()
	var saved, rejected []string
	job := importer.Job[string, row]{
		Workers: workers, RejectLimit: 1,
		Adapt: func(id string) (row, error) {
			if id == "3" {
				runtime.Goexit()
			}
			return row{ID: id}, nil
		},
		Save: func(_ context.Context, b importer.Batch[row]) error {
			for _, r := range b.Records {
				saved = append(saved, r.ID)
			}
			return nil
		},
		Reject: func(_ context.Context, id string, err error) error {
			require.ErrorContains(t, err, "ended its goroutine")
			rejected = append(rejected, id)
			return nil
		},
	}
	pages := iter.Seq2[belay.Page[string], error](func(yield func(belay.Page[string], error) bool) {
		yield(belay.Page[string]{Items: []string{"1", "2", "3", "4", "5", "6"}}, nil)
	})
	stats, err := job.Run(t.Context(), pages)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "4", "5", "6"}, saved)
	require.Equal(t, []string{"3"}, rejected)
	require.Equal(t, 6, stats.Read)
}
