package importer_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
)

// sizedPages yields n pages of ten records and of so many bytes.
func sizedPages(n int, size int64) func(func(belay.Page[int], error) bool) {
	return func(yield func(belay.Page[int], error) bool) {
		for i := range n {
			p := belay.Page[int]{Items: make([]int, 10), Size: size, Cursor: "more"}
			if i == n-1 {
				p.Cursor = ""
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// While the heap is large, batches become smaller; when it is not any more, they grow again.
func TestBatchesBecomeSmaller(t *testing.T) {
	heap := uint64(600 << 20)
	defer importer.SetHeap(func() uint64 { return heap })()
	var sizes, told []int
	var log bytes.Buffer
	j := importer.Job[int, int]{
		Name: "people", Partner: "crm", BatchSize: 80, Adapt: identity,
		Save: func(_ context.Context, b importer.Batch[int]) error {
			if sizes = append(sizes, len(b.Records)); len(sizes) == 5 {
				heap = 450 << 20 // neither
			} else if len(sizes) == 7 {
				heap = 100 << 20
			}
			return nil
		},
		Progress:  func(s importer.Stats) { told = append(told, s.BatchSize) },
		Observers: []belay.Observer{belay.NewLogObserver(slog.New(slog.NewTextHandler(&log, nil)))},
	}
	stats, err := j.Run(t.Context(), sizedPages(50, 100))
	require.NoError(t, err)
	require.Equal(t, 500, stats.Saved)
	require.Equal(t, uint64(600<<20), stats.PeakHeap)
	require.Equal(t, []int{80, 40, 20, 10, 10, 10, 10, 10, 20, 40, 80, 80, 80, 10}, sizes)
	require.Equal(t, []int{40, 20, 10, 5, 5, 5, 10, 20, 40, 80, 80, 80, 80, 80}, told)
	require.Equal(t, 1, strings.Count(log.String(), "large heap"), log.String())
	require.Regexp(t, `level=WARN msg="belay: import with a large heap" .*batch_size=40`, log.String())
}

// Pages that are large are saved before the number of records is reached.
func TestBatchBytes(t *testing.T) {
	var sizes []int
	j := importer.Job[int, int]{
		Adapt: identity, BatchSize: 1000, BatchBytes: 3 << 20,
		Save: func(_ context.Context, b importer.Batch[int]) error {
			sizes = append(sizes, len(b.Records))
			return nil
		},
	}
	_, err := j.Run(t.Context(), sizedPages(10, 1<<20))
	require.NoError(t, err)
	require.Equal(t, []int{30, 30, 30, 10}, sizes)
	sizes, j.BatchBytes = nil, 0
	_, err = j.Run(t.Context(), sizedPages(10, 16<<20))
	require.NoError(t, err)
	require.Equal(t, []int{20, 20, 20, 20, 20}, sizes, "32 MiB")
	j.BatchBytes = -1
	_, err = j.Run(t.Context(), sizedPages(10, 1))
	require.ErrorContains(t, err, "BatchBytes is -1, must not be negative")
}
