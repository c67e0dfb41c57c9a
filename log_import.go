package belay

import (
	"context"
	"log/slog"
	"sync"

	"github.com/belay-go/belay/internal/redact"
)

// logImport writes a record for an event of an import: its end at info, or at error if it ended early, its progress and
// its records at debug, a rejected record, other fields than expected and, once, a large heap at warn.
func (o *logObserver) logImport(ctx context.Context, e Event) {
	level, msg := slog.LevelDebug, ""
	var attrs []slog.Attr
	var err error
	switch e := e.(type) {
	case ImportProgress:
		msg, err = "import", e.Err
		large := o.largeHeaps.first(&e)
		switch {
		case e.Err != nil:
			level = slog.LevelError
		case large:
			level, msg = slog.LevelWarn, "import with a large heap"
		case e.Ended:
			level = slog.LevelInfo
		}
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("import", e.Import),
			slog.Bool("ended", e.Ended), slog.Int("read", e.Read), slog.Int("saved", e.Saved), slog.Int("added", e.Added),
			slog.Int("updated", e.Updated), slog.Int("deleted", e.Deleted), slog.Int("rejected", e.Rejected),
			slog.Int("unchanged", e.Skipped), slog.Int("total", e.Total),
			slog.Int64("duration_ms", e.Elapsed.Milliseconds()), slog.Uint64("peak_heap", e.PeakHeap), slog.Int("batch_size", e.BatchSize),
		}
	case RecordImported:
		msg, err = "record "+e.Change, e.Err
		if e.Err != nil {
			level = slog.LevelWarn
		}
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("import", e.Import),
			slog.String("id", redact.Line(e.ID, 200)),
		}
	case SchemaChanged:
		level, msg = slog.LevelWarn, "other fields than expected"
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("of", e.What),
			slog.String("difference", redact.Line(e.Difference, 1000)),
		}
	}
	if err != nil { // of a user's function, which may quote what it got
		err = redact.Hidden(err, redact.Text(redact.WithoutURL(err).Error()))
	}
	o.record(ctx, level, msg, err, attrs...)
}

// largeHeaps remembers the imports whose large heap was logged in their present run.
type largeHeaps struct {
	mu   sync.Mutex
	runs map[importKey]uint64
}

type importKey struct{ partner, integration, name string }

const (
	largeHeap      = 500 << 20
	mostLargeHeaps = 1000 // imports; those of others are not logged
)

// first reports whether the heap is large for the first time in a run.
func (h *largeHeaps) first(e *ImportProgress) bool {
	if e.PeakHeap <= largeHeap {
		return false
	}
	key := importKey{e.Partner, e.Integration, e.Import}
	h.mu.Lock()
	defer h.mu.Unlock()
	run, known := h.runs[key]
	if known && run == e.Run || !known && len(h.runs) >= mostLargeHeaps {
		return false
	}
	if h.runs == nil {
		h.runs = make(map[importKey]uint64)
	}
	h.runs[key] = e.Run
	return true
}
