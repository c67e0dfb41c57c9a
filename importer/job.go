// Package importer imports a partner's records page by page, in batches that hold their own checkpoint. It
// rejects bad records and continues with the rest.
//
// [Job] is the loop. It reads [belay.Pages]. A strategy decides where to begin and which records are new:
// everything each time ([Changes] finds the added, updated and deleted records), or the changes since the
// last time ([Incremental]). [Guard] keeps a late event from overwriting a newer record.
package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/schema"
)

// Job is an import. Adapt and Save are required, so the zero value is not valid.
type Job[Raw, Rec any] struct {
	// Name names the import in events, such as "contacts", and Partner and Integration say whose records they are. Empty
	// names are allowed.
	Name, Partner, Integration string
	// Observers receive [belay.ImportProgress] after each batch and at the end, [belay.SchemaChanged], and, if ID is not
	// nil, [belay.RecordImported]. Nil means none.
	Observers []belay.Observer
	// ID returns the ID of a record for RecordImported. Nil means that single records have no events.
	ID func(Raw) string
	// Adapt makes a record from the partner's data. An error, or a panic, rejects that record.
	Adapt func(Raw) (Rec, error)
	// Validate returns an error if a record must not be saved; nil checks nothing.
	Validate func(Rec) error
	// Save stores a batch, records and cursor in one transaction. If it fails, the records are saved one by
	// one, as Partial batches, to find the record that cannot be saved. After a crash in between they come
	// again, so Save must be able to save a record twice (an upsert). If a Partial batch without records
	// cannot be saved either, or none of several records can, the store itself fails, and the run ends. After
	// an error of the pages, or the end of the context, the complete pages are still saved, which may take
	// half a minute at most.
	Save func(context.Context, Batch[Rec]) error
	// Reject stores a rejected record with its reason; after a crash a record may come twice. An error ends
	// the run before the batch is saved. Nil only counts rejected records.
	Reject func(context.Context, Raw, error) error
	// BatchSize is the number of records that are gathered before they are saved; the page that reaches it is
	// saved whole. Zero means 100, negative is an error.
	BatchSize int
	// BatchBytes is the number of bytes of pages ([belay.Page].Size) at which the gathered records are saved, even if they
	// are fewer than BatchSize. Pages without a Size count as 0. Zero means 32 MiB, negative is an error. While the
	// process's heap is above 512 MiB, each batch halves both limits, down to a 128th; below 384 MiB each one doubles them
	// again.
	BatchBytes int64
	// Workers is the number of records that are adapted at the same time; their order stays the same. Zero
	// means 1, negative is an error.
	Workers int
	// RejectLimit is the share of rejected records above which the run ends with [ErrTooManyRejects], at the
	// end of a page, once more than 20 were rejected. Zero means 0.1, 1 allows all, negative allows none at
	// all.
	RejectLimit float64
	// DeleteLimit is the share of the known records that may be gone in one pass of [Full], once more than 20
	// are gone. Above it the pass ends with [ErrTooManyDeletes], and deletes none, and so does a pass in which
	// nine tenths or more are gone, however few these are. Zero means 0.5, 1 allows all, negative is an error.
	DeleteLimit float64
	// Progress is called after each batch, on the run's goroutine. Nil reports nothing.
	Progress func(Stats)
	// Start is the cursor at which the pages begin, the same that was given to belay.StartAt, so that
	// Stats.Cursor is correct before the first save. Empty means the beginning.
	Start string
	// Schema describes the expected records. Raw must be json.RawMessage then. Nil expects nothing.
	Schema *schema.Schema
}

// ErrTooManyDeletes is the error of a pass of [Full] in which so many records were missing that the list is
// in doubt: the partner may have renamed a page's cursor.
var ErrTooManyDeletes = errors.New("importer: too many records are gone")

// ErrTooManyRejects is the error of a run that rejected too many records: something has changed at the
// partner.
var ErrTooManyRejects = errors.New("importer: too many records rejected")

// Stats is the progress of a run and, at its end, the result.
type Stats struct {
	// Pages and Read count the pages and records that came. Saved, Rejected and Skipped count the records by
	// their outcome: Skipped are the records that [Incremental] has had before, and that [Full] found
	// unchanged.
	Pages, Read, Saved, Rejected, Skipped int
	Batches                               int
	// Added, Updated and Deleted count the changes that [Full] found; otherwise they are 0.
	Added, Updated, Deleted int
	// Total is the number of records, if the partner states it; otherwise 0.
	Total int
	// Cursor is the position to continue from, as it was saved last. Done says that there is nothing more.
	Cursor string
	Done   bool
	// Elapsed is the time so far, Rate the number of records read a second, and Left the estimated time for
	// the rest, 0 if that is unknown.
	Elapsed time.Duration
	Rate    float64
	Left    time.Duration
	// PeakHeap is the largest number of bytes in use on the process's heap, measured after each batch.
	PeakHeap uint64
	// BatchSize is the size in use, in records: Job.BatchSize, or less while the heap is large. It is 0 before the first
	// batch is saved.
	BatchSize int

	run uint64 // its number, for events
}

// run is the state of a Job that runs.
type run[Raw, Rec any] struct {
	ctx     context.Context
	job     Job[Raw, Rec]
	stats   Stats
	began   time.Time
	pending string // the cursor after the gathered records
	why     error  // the reason of the last rejection
	bytes   int64  // of the pages of the gathered records
	halved  uint   // how often the size of a batch is halved
	records []Rec
	raws    []Raw
	changes []Change // of records, as skip found them
	skip    func(Rec) (bool, Change, error)
	mark    func(cursor string, done bool) ([]byte, error) // nil for none
	saved   func(ctx context.Context, mark []byte) error   // called after each batch that was saved; nil for none
}

// Run reads pages to the end, and returns the result. After an error, the checkpoint that was saved last is
// correct: continue from Stats.Cursor. To begin there, pass belay.StartAt to [belay.Pages]; to bound the
// calls of a run, pass the context of belay.BudgetContext.
func (j Job[Raw, Rec]) Run(ctx context.Context, pages iter.Seq2[belay.Page[Raw], error]) (Stats, error) {
	stats, err := Stats{}, errPanicked
	defer func() { j.ended(ctx, &stats, err) }()
	stats, err = j.run(ctx, pages, nil, nil, nil)
	return stats, err
}

func (j Job[Raw, Rec]) check() error {
	var faults errkit.List
	bad := func(wrong bool, format string, args ...any) { faults.If(wrong, "importer: Job."+format, args...) }
	bad(j.Adapt == nil, "Adapt is nil")
	bad(j.Save == nil, "Save is nil")
	bad(j.BatchSize < 0, "BatchSize is %d, must not be negative", j.BatchSize)
	bad(j.BatchBytes < 0, "BatchBytes is %d, must not be negative", j.BatchBytes)
	bad(j.Workers < 0, "Workers is %d, must not be negative", j.Workers)
	bad(!(j.RejectLimit <= 1), "RejectLimit is %v, must be at most 1", j.RejectLimit)
	bad(!(j.DeleteLimit >= 0 && j.DeleteLimit <= 1), "DeleteLimit is %v, must be from 0 to 1", j.DeleteLimit)
	var raw Raw
	_, isJSON := any(raw).(json.RawMessage)
	bad(j.Schema != nil && !isJSON, "Schema is set, but the records are %T, not json.RawMessage", raw)
	if j.Schema != nil {
		if err := j.Schema.Check(); err != nil {
			faults.Add(fmt.Errorf("importer: %w", err))
		}
	}
	return faults.Err()
}

func (j Job[Raw, Rec]) run(
	ctx context.Context, pages iter.Seq2[belay.Page[Raw], error],
	skip func(Rec) (bool, Change, error), mark func(cursor string, done bool) ([]byte, error),
	saved func(context.Context, []byte) error,
) (Stats, error) {
	if err := j.check(); err != nil {
		return Stats{}, err
	}
	if ctx == nil || pages == nil {
		return Stats{}, errors.New("importer: Run: the context or the pages are nil")
	}
	if j.BatchSize == 0 {
		j.BatchSize = 100
	}
	if j.BatchBytes == 0 {
		j.BatchBytes = 32 << 20
	}
	if j.RejectLimit == 0 {
		j.RejectLimit = 0.1
	}
	r := &run[Raw, Rec]{ctx: ctx, job: j, began: time.Now(), skip: skip, mark: mark, saved: saved, pending: j.Start}
	r.stats.Cursor, r.stats.run = j.Start, runNumber.Add(1)
	for page, err := range pages {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			// The complete pages that are not saved yet are saved with their cursor, so that the next run
			// need not read them again.
			if r.pending != r.stats.Cursor {
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
				err = errors.Join(err, r.flush(last, false))
				cancel()
			}
			return r.stats, err
		}
		if err := r.take(ctx, page); err != nil {
			return r.stats, err
		}
		if r.full() && page.Cursor != "" {
			if err := r.flush(ctx, false); err != nil {
				return r.stats, err
			}
		}
	}
	err := r.flush(ctx, true)
	return r.stats, err
}

// errNotAdapted is the reason for which a record is rejected that nothing has adapted.
var errNotAdapted = errors.New("importer: adapting it, or a record before it, ended its goroutine")

// take adapts the records of a page, and gathers those that pass.
func (r *run[Raw, Rec]) take(ctx context.Context, page belay.Page[Raw]) error {
	type adapted struct {
		rec Rec
		err error
	}
	out := make([]adapted, len(page.Items))
	work := func(i int) {
		defer func() {
			if p := recover(); p != nil {
				out[i].err = fmt.Errorf("importer: adapting it panicked: %v", p)
			}
		}()
		out[i].rec, out[i].err = r.job.adapt(ctx, page.Items[i])
	}
	for i := range out { // until it is done: a function may end its goroutine, and leave the rest of the records
		out[i].err = errNotAdapted
	}
	// In goroutines of their own, because a function may end one. Others then go on behind the record that it was for.
	var next atomic.Int64
	for n := max(1, min(r.job.Workers, len(out))); next.Load() < int64(len(out)); {
		var workers sync.WaitGroup
		for range n {
			workers.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(out)); i = next.Add(1) - 1 {
					work(int(i))
				}
			})
		}
		workers.Wait()
	}
	for i, a := range out {
		r.stats.Read++
		skip, change := false, Same
		if a.err == nil && r.skip != nil {
			skip, change, a.err = r.skipped(a.rec)
		}
		switch {
		case skip:
			r.stats.Skipped++
		case a.err == nil:
			r.records, r.raws = append(r.records, a.rec), append(r.raws, page.Items[i])
			r.changes = append(r.changes, change)
		case r.job.Schema != nil && r.job.Schema.Mode == schema.Fail && errors.As(a.err, new(*schema.Error)):
			return a.err
		default:
			if err := r.reject(ctx, page.Items[i], a.err); err != nil {
				return err
			}
		}
	}
	r.stats.Pages++
	r.bytes += page.Size
	r.stats.Total = max(r.stats.Total, page.Total)
	r.pending = page.Cursor
	return r.tooMany()
}

// skipped asks the strategy whether to skip a record. The strategy calls functions of the user, so a panic
// becomes an error.
func (r *run[Raw, Rec]) skipped(rec Rec) (skip bool, change Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("importer: looking at it panicked: %v", p)
		}
	}()
	return r.skip(rec)
}

func (j Job[Raw, Rec]) adapt(ctx context.Context, raw Raw) (rec Rec, err error) {
	if j.Schema != nil {
		if err := j.Schema.Compare(any(raw).(json.RawMessage), nil, func(d schema.Drift) { j.drifted(ctx, d) }); err != nil {
			return rec, fmt.Errorf("importer: %w", err)
		}
	}
	if rec, err = j.Adapt(raw); err == nil && j.Validate != nil {
		err = j.Validate(rec)
	}
	return rec, err
}

// mostFree is the number of rejected records up to which their share does not count.
const mostFree = 20

func (r *run[Raw, Rec]) reject(ctx context.Context, raw Raw, why error) error {
	r.stats.Rejected++
	if r.job.Reject != nil {
		if err := r.job.Reject(ctx, raw, why); err != nil {
			return fmt.Errorf("importer: setting a record aside: %w", err)
		}
	}
	r.why = why
	r.job.record(ctx, raw, "rejected", why)
	return nil
}

// tooMany returns an error if too many records of the run were rejected.
func (r *run[Raw, Rec]) tooMany() error {
	n, limit := r.stats.Rejected, r.job.RejectLimit
	if limit < 0 && n > 0 || n > mostFree && float64(n) > limit*float64(r.stats.Read) {
		return fmt.Errorf("%w: %d of %d; the last: %w", ErrTooManyRejects, n, r.stats.Read, r.why)
	}
	return nil
}

// progress completes the stats and passes them to Progress.
func (r *run[Raw, Rec]) progress() {
	s := &r.stats
	s.Elapsed = time.Since(r.began)
	if s.Rate = 0; s.Elapsed > 0 {
		s.Rate = float64(s.Read) / s.Elapsed.Seconds()
	}
	if s.Left = 0; s.Total > s.Read && s.Rate > 0 && !s.Done {
		s.Left = time.Duration(float64(s.Total-s.Read) / s.Rate * float64(time.Second))
	}
	r.weigh()
	if r.job.Progress != nil {
		r.job.Progress(*s)
	}
	if !s.Done { // the end has an event of its own
		r.job.tell(r.ctx, r.job.progress(s, false, nil))
	}
}

// lastSave bounds the save of the complete pages after a run has ended early, perhaps by its context.
const lastSave = 30 * time.Second
