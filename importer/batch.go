package importer

import (
	"context"
	"fmt"
)

// Batch is a unit that is saved at once. It consists of whole pages, so that its records and its checkpoint
// agree.
type Batch[Rec any] struct {
	// Records may be empty, if a page had no new records or all of them were rejected.
	Records []Rec
	// Cursor is the position after the records, for belay.StartAt. Store it in the transaction that stores
	// the records. It is empty at the end.
	Cursor string
	// Done says that this is the last batch: the stored cursor may be deleted.
	Done bool
	// Partial says that the records are a part of a batch that could not be saved whole: store them and leave
	// the checkpoint as it is.
	Partial bool
	// Mark is the watermark of an [Incremental] run, in its last batch and in every batch of its first run; otherwise
	// nil.
	Mark []byte
}

// flush saves the gathered records as a batch.
func (r *run[Raw, Rec]) flush(ctx context.Context, done bool) error {
	b := Batch[Rec]{Records: r.records, Cursor: r.pending, Done: done}
	if done {
		b.Cursor = ""
	}
	if r.mark != nil {
		var err error
		if b.Mark, err = r.mark(b.Cursor, done); err != nil {
			return err
		}
	}
	saved := len(r.records)
	var bad map[int]error
	if err := r.job.Save(ctx, b); err != nil {
		if ctx.Err() != nil || len(r.records) == 0 {
			return fmt.Errorf("importer: saving a batch: %w", err)
		}
		rejected := r.stats.Rejected
		if bad, err = r.oneByOne(ctx, err); err != nil {
			return err
		}
		saved -= r.stats.Rejected - rejected
		b.Records = nil
		if err := r.job.Save(ctx, b); err != nil {
			return fmt.Errorf("importer: saving the checkpoint: %w", err)
		}
	}
	if r.saved != nil {
		if err := r.saved(ctx, b.Mark); err != nil {
			return err
		}
	}
	r.settled(ctx, bad)
	r.stats.Saved += saved
	r.stats.Batches++
	r.stats.Cursor, r.stats.Done = b.Cursor, done
	r.records, r.raws, r.changes, r.bytes = nil, nil, nil, 0 // Save may keep the batch
	r.progress()
	return nil
}

// oneByOne saves the records of a failed batch one by one, and rejects the records that cannot be saved. If
// none can, the store itself fails.
func (r *run[Raw, Rec]) oneByOne(ctx context.Context, whole error) (bad map[int]error, err error) {
	bad = make(map[int]error)
	for i, rec := range r.records {
		save := func() error { return r.job.Save(ctx, Batch[Rec]{Records: []Rec{rec}, Partial: true}) }
		err := save()
		if err == nil {
			continue
		}
		if ctx.Err() != nil || r.job.Save(ctx, Batch[Rec]{Partial: true}) != nil {
			return nil, fmt.Errorf("importer: saving a batch: %w", whole)
		}
		if err = save(); err != nil { // it failed twice while the store works
			bad[i] = err
		}
	}
	if len(bad) == len(r.records) && len(bad) > 1 {
		return nil, fmt.Errorf("importer: saving a batch: %w", whole)
	}
	for i := range r.records {
		if err := bad[i]; err != nil {
			if err := r.reject(ctx, r.raws[i], err); err != nil {
				return nil, err
			}
		}
	}
	return bad, r.tooMany()
}
