// Package importer brings a partner's records in: page by page, in batches that hold their own checkpoint, with bad records set
// aside and the rest going on.
//
// [Job] is the loop. What it reads is [belay.Pages]; where to begin, and what is new, is said by a strategy: everything each time
// ([Changes] tells what was added, updated and deleted), or what changed since the last time ([Incremental]). [Guard] keeps a late
// event from overwriting a newer record.
package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/fault"
)

// Batch is what is saved at once: whole pages, so that its rows and its checkpoint are true together.
type Batch[Rec any] struct {
	// Records may be empty, where a page had none that are new, or all were rejected.
	Records []Rec
	// Cursor is where to go on behind them, by belay.StartAt. Store it in the transaction that stores the records. Empty at the end.
	Cursor string
	// Done says that this was the last: what is stored of the cursor may go.
	Done bool
	// Partial says that the records are some of a batch that could not be saved whole: store them and leave the checkpoint as it is.
	Partial bool
	// Mark is the watermark of an [Incremental] run, on its last batch; otherwise nil.
	Mark []byte
}

// Job is an import. The zero value lacks Adapt and Save, which are needed.
type Job[Raw, Rec any] struct {
	// Adapt makes a record of what the partner sent. An error, or a panic, rejects the one it is about.
	Adapt func(Raw) (Rec, error)
	// Validate returns why a record must not be saved; nil checks nothing.
	Validate func(Rec) error
	// Save stores a batch, records and cursor in one transaction. When it fails, the records are saved one by one, as Partial
	// batches, to find the one that cannot be; after a crash in the midst of that they come again, so it must be able to save a record
	// twice (an upsert). Where a Partial batch without records cannot be saved either, or none of several records can, it is the store
	// that fails, and the run ends. After an error of the pages, or the context's end, what was whole is saved, for half a minute at
	// the most.
	Save func(context.Context, Batch[Rec]) error
	// Reject sets a record aside with its reason; after a crash it may come twice. An error ends the run before the batch is saved.
	// Nil only counts them.
	Reject func(context.Context, Raw, error) error
	// BatchSize is how many records are gathered before they are saved; the page that fills it is saved whole. Zero means 100,
	// negative is an error.
	BatchSize int
	// Workers adapt so many records at a time, in order all the same. Zero means 1, negative is an error.
	Workers int
	// RejectLimit is the share of rejected records that ends the run with [ErrTooManyRejects], at a page's end, once more than 20 were. Zero means a
	// tenth, 1 allows all, negative none at all.
	RejectLimit float64
	// DeleteLimit is the share of the known records that may be gone in one pass of [Full], once more than 20 are: above it the pass
	// ends with [ErrTooManyDeletes], and deletes none. Zero means a half, 1 allows all, negative is an error.
	DeleteLimit float64
	// Progress is told after each batch, on the run's goroutine. Nil tells nobody.
	Progress func(Stats)
	// Start is the cursor at which the pages begin, as handed to belay.StartAt, so that Stats.Cursor is true before anything was
	// saved. Empty is the beginning.
	Start string
	// Schema is what records are expected to look like. Raw must be json.RawMessage then. Nil expects nothing.
	Schema *Schema
}

// ErrTooManyDeletes is a pass of [Full] in which so much was missing that the list is in doubt: a page's cursor may have been renamed.
var ErrTooManyDeletes = errors.New("importer: too many records are gone")

// ErrTooManyRejects is a run that was ended, as too many records could not be used: something has changed.
var ErrTooManyRejects = errors.New("importer: too many records rejected")

// Stats say how far a run is, and at its end what it did.
type Stats struct {
	// Pages and Read count what came, Saved, Rejected and Skipped what became of the records. Skipped are those that [Incremental]
	// has had before, and that [Full] found the same.
	Pages, Read, Saved, Rejected, Skipped int
	Batches                               int
	// Total is how many records there are, where the partner says so; otherwise 0.
	Total int
	// Cursor is where to go on, as it was saved last; Done says that there is nothing more.
	Cursor string
	Done   bool
	// Elapsed is the time so far, Rate records read a second, and Left the time that the rest will take, 0 when that is not known.
	Elapsed time.Duration
	Rate    float64
	Left    time.Duration
	// PeakHeap is the most bytes of the process's heap that were in use, as seen after each batch.
	PeakHeap uint64
}

// run is a Job at work.
type run[Raw, Rec any] struct {
	job     Job[Raw, Rec]
	stats   Stats
	began   time.Time
	pending string // the cursor behind what was gathered
	why     error  // of the last that was rejected
	records []Rec
	raws    []Raw
	skip    func(Rec) (bool, error)
	mark    func() ([]byte, error)
}

// Run reads pages to the end, and returns what it did. On an error the checkpoint that was saved last is true: go on from
// Stats.Cursor. To begin there, hand belay.StartAt to [belay.Pages]; to bound the calls of a run, hand belay.BudgetContext's context.
func (j Job[Raw, Rec]) Run(ctx context.Context, pages iter.Seq2[belay.Page[Raw], error]) (Stats, error) {
	return j.run(ctx, pages, nil, nil)
}

func (j Job[Raw, Rec]) check() error {
	var faults fault.List
	bad := func(wrong bool, format string, args ...any) { faults.If(wrong, "importer: Job."+format, args...) }
	bad(j.Adapt == nil, "Adapt is nil")
	bad(j.Save == nil, "Save is nil")
	bad(j.BatchSize < 0, "BatchSize is %d, must not be negative", j.BatchSize)
	bad(j.Workers < 0, "Workers is %d, must not be negative", j.Workers)
	bad(!(j.RejectLimit <= 1), "RejectLimit is %v, must be at most 1", j.RejectLimit)
	bad(!(j.DeleteLimit >= 0 && j.DeleteLimit <= 1), "DeleteLimit is %v, must be from 0 to 1", j.DeleteLimit)
	var raw Raw
	_, isJSON := any(raw).(json.RawMessage)
	bad(j.Schema != nil && !isJSON, "Schema is set, but the records are %T, not json.RawMessage", raw)
	if j.Schema != nil {
		faults.Add(j.Schema.check())
	}
	return faults.Err()
}

func (j Job[Raw, Rec]) run(ctx context.Context, pages iter.Seq2[belay.Page[Raw], error], skip func(Rec) (bool, error), mark func() ([]byte, error)) (Stats, error) {
	if err := j.check(); err != nil {
		return Stats{}, err
	}
	if ctx == nil || pages == nil {
		return Stats{}, errors.New("importer: Run: the context or the pages are nil")
	}
	if j.BatchSize == 0 {
		j.BatchSize = 100
	}
	if j.RejectLimit == 0 {
		j.RejectLimit = 0.1
	}
	r := &run[Raw, Rec]{job: j, began: time.Now(), skip: skip, mark: mark, pending: j.Start}
	r.stats.Cursor = j.Start
	for page, err := range pages {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			// What is whole and not saved yet is saved with its cursor, so that the next run need not read it again.
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
		if len(r.records) >= j.BatchSize && page.Cursor != "" {
			if err := r.flush(ctx, false); err != nil {
				return r.stats, err
			}
		}
	}
	err := r.flush(ctx, true)
	return r.stats, err
}

// lastSave is how long the save of what was whole may take when the run has ended, maybe by its context.
const lastSave = 30 * time.Second

// take adapts the records of a page.
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
		out[i].rec, out[i].err = r.job.adapt(page.Items[i])
	}
	if n := min(r.job.Workers, len(out)); n > 1 {
		var workers sync.WaitGroup
		for w := range n {
			workers.Go(func() {
				for i := w; i < len(out); i += n {
					work(i)
				}
			})
		}
		workers.Wait()
	} else {
		for i := range out {
			work(i)
		}
	}
	for i, a := range out {
		r.stats.Read++
		skip := false
		if a.err == nil && r.skip != nil {
			skip, a.err = r.skipped(a.rec)
		}
		switch {
		case skip:
			r.stats.Skipped++
		case a.err == nil:
			r.records, r.raws = append(r.records, a.rec), append(r.raws, page.Items[i])
		case r.job.Schema != nil && r.job.Schema.Mode == SchemaFail && errors.As(a.err, new(*schemaError)):
			return a.err
		default:
			if err := r.reject(ctx, page.Items[i], a.err); err != nil {
				return err
			}
		}
	}
	r.stats.Pages++
	r.stats.Total = max(r.stats.Total, page.Total)
	r.pending = page.Cursor
	return r.tooMany()
}

// skipped asks the strategy, whose functions are the user's.
func (r *run[Raw, Rec]) skipped(rec Rec) (skip bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("importer: looking at it panicked: %v", p)
		}
	}()
	return r.skip(rec)
}

func (j Job[Raw, Rec]) adapt(raw Raw) (rec Rec, err error) {
	if j.Schema != nil {
		if err := j.Schema.look(any(raw).(json.RawMessage)); err != nil {
			return rec, err
		}
	}
	if rec, err = j.Adapt(raw); err == nil && j.Validate != nil {
		err = j.Validate(rec)
	}
	return rec, err
}

// mostFree is how many rejected records say nothing of their share.
const mostFree = 20

func (r *run[Raw, Rec]) reject(ctx context.Context, raw Raw, why error) error {
	r.stats.Rejected++
	if r.job.Reject != nil {
		if err := r.job.Reject(ctx, raw, why); err != nil {
			return fmt.Errorf("importer: setting a record aside: %w", err)
		}
	}
	r.why = why
	return nil
}

// tooMany ends the run where too many of its records were rejected.
func (r *run[Raw, Rec]) tooMany() error {
	n, limit := r.stats.Rejected, r.job.RejectLimit
	if limit < 0 && n > 0 || n > mostFree && float64(n) > limit*float64(r.stats.Read) {
		return fmt.Errorf("%w: %d of %d; the last: %w", ErrTooManyRejects, n, r.stats.Read, r.why)
	}
	return nil
}

// flush saves what was gathered.
func (r *run[Raw, Rec]) flush(ctx context.Context, done bool) error {
	b := Batch[Rec]{Records: r.records, Cursor: r.pending, Done: done}
	if done {
		b.Cursor = ""
		if r.mark != nil {
			var err error
			if b.Mark, err = r.mark(); err != nil {
				return err
			}
		}
	}
	saved := len(r.records)
	if err := r.job.Save(ctx, b); err != nil {
		if ctx.Err() != nil || len(r.records) == 0 {
			return fmt.Errorf("importer: saving a batch: %w", err)
		}
		rejected := r.stats.Rejected
		if err := r.oneByOne(ctx, err); err != nil {
			return err
		}
		saved -= r.stats.Rejected - rejected
		b.Records = nil
		if err := r.job.Save(ctx, b); err != nil {
			return fmt.Errorf("importer: saving the checkpoint: %w", err)
		}
	}
	r.stats.Saved += saved
	r.stats.Batches++
	r.stats.Cursor, r.stats.Done = b.Cursor, done
	r.records, r.raws = nil, nil // the batch is Save's to keep
	r.told()
	return nil
}

// oneByOne saves the records of a batch that could not be saved whole, and rejects those that cannot be. Where none can, it is the
// store that fails.
func (r *run[Raw, Rec]) oneByOne(ctx context.Context, whole error) error {
	bad := make(map[int]error)
	for i, rec := range r.records {
		save := func() error { return r.job.Save(ctx, Batch[Rec]{Records: []Rec{rec}, Partial: true}) }
		err := save()
		if err == nil {
			continue
		}
		if ctx.Err() != nil || r.job.Save(ctx, Batch[Rec]{Partial: true}) != nil {
			return fmt.Errorf("importer: saving a batch: %w", whole)
		}
		if err = save(); err != nil { // the store is up, and it was not down a moment ago
			bad[i] = err
		}
	}
	if len(bad) == len(r.records) && len(bad) > 1 {
		return fmt.Errorf("importer: saving a batch: %w", whole)
	}
	for i := range r.records {
		if err := bad[i]; err != nil {
			if err := r.reject(ctx, r.raws[i], err); err != nil {
				return err
			}
		}
	}
	return r.tooMany()
}

// told completes the stats and hands them out.
func (r *run[Raw, Rec]) told() {
	s := &r.stats
	s.Elapsed = time.Since(r.began)
	if s.Rate = 0; s.Elapsed > 0 {
		s.Rate = float64(s.Read) / s.Elapsed.Seconds()
	}
	if s.Left = 0; s.Total > s.Read && s.Rate > 0 && !s.Done {
		s.Left = time.Duration(float64(s.Total-s.Read) / s.Rate * float64(time.Second))
	}
	s.PeakHeap = max(s.PeakHeap, heap())
	if r.job.Progress != nil {
		r.job.Progress(*s)
	}
}

// heap returns the bytes of live and dead objects in the process's heap.
func heap() uint64 {
	sample := [1]metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample[:])
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
