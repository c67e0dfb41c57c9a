package belay

import (
	"context"
	"log/slog"

	"github.com/belay-go/belay/internal/redact"
)

// logImport writes a record for an event of an import: its end at info, or at error if it ended early, its progress and
// its records at debug, a rejected record and other fields than expected at warn.
func (o *logObserver) logImport(ctx context.Context, e Event) {
	level, msg := slog.LevelDebug, ""
	var attrs []slog.Attr
	var err error
	switch e := e.(type) {
	case ImportProgress:
		msg, err = "import", e.Err
		switch {
		case e.Err != nil:
			level = slog.LevelError
		case e.Ended:
			level = slog.LevelInfo
		}
		attrs = []slog.Attr{
			slog.String("partner", e.Partner), slog.String("integration", e.Integration), slog.String("import", e.Import),
			slog.Bool("ended", e.Ended), slog.Int("read", e.Read), slog.Int("saved", e.Saved), slog.Int("added", e.Added),
			slog.Int("updated", e.Updated), slog.Int("deleted", e.Deleted), slog.Int("rejected", e.Rejected),
			slog.Int("unchanged", e.Skipped), slog.Int("total", e.Total),
			slog.Int64("duration_ms", e.Elapsed.Milliseconds()), slog.Uint64("peak_heap", e.PeakHeap),
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
