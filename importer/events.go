package importer

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/schema"
)

// tell hands an event to the observers, and contains their panics.
func (j Job[Raw, Rec]) tell(ctx context.Context, e belay.Event) {
	for _, o := range j.Observers {
		func() {
			defer func() { _ = recover() }()
			if o != nil {
				o.Observe(ctx, e)
			}
		}()
	}
}

// progress returns the event for the state of a run.
func (j Job[Raw, Rec]) progress(s *Stats, ended bool, err error) belay.ImportProgress {
	return belay.ImportProgress{
		Partner: j.Partner, Integration: j.Integration, Import: j.Name, Run: s.run,
		Read: s.Read, Saved: s.Saved, Skipped: s.Skipped, Rejected: s.Rejected,
		Added: s.Added, Updated: s.Updated, Deleted: s.Deleted, Total: s.Total,
		Elapsed: s.Elapsed, Left: s.Left, PeakHeap: s.PeakHeap, BatchSize: s.BatchSize, Ended: ended, Err: err,
	}
}

// runNumber is the number of the latest run.
var runNumber atomic.Uint64

// ended tells that a run has ended. It is deferred: an err of errPanicked says that the run did not return.
func (j Job[Raw, Rec]) ended(ctx context.Context, s *Stats, err error) {
	if len(j.Observers) > 0 && ctx != nil {
		j.tell(ctx, j.progress(s, true, err))
	}
}

// errPanicked is the error of a run that a function of the user's has ended by a panic.
var errPanicked = errors.New("importer: the run panicked")

// drifted tells of a difference from the schema.
func (j Job[Raw, Rec]) drifted(ctx context.Context, d schema.Drift) {
	j.tell(ctx, belay.SchemaChanged{
		Partner: j.Partner, Integration: j.Integration, What: j.Name, Difference: d.String(),
	})
}

// record tells what became of a record.
func (j Job[Raw, Rec]) record(ctx context.Context, raw Raw, change string, err error) {
	if j.ID == nil || len(j.Observers) == 0 {
		return
	}
	var id string
	func() {
		defer func() { _ = recover() }()
		id = j.ID(raw)
	}()
	j.recordOf(ctx, id, change, err)
}

func (j Job[Raw, Rec]) recordOf(ctx context.Context, id, change string, err error) {
	j.tell(ctx, belay.RecordImported{
		Partner: j.Partner, Integration: j.Integration, Import: j.Name, ID: id, Change: change, Err: err,
	})
}

// settled counts the changes of a batch that was saved, but for the records in bad, and tells of its records.
func (r *run[Raw, Rec]) settled(ctx context.Context, bad map[int]error) {
	for i, raw := range r.raws {
		if bad[i] != nil {
			continue
		}
		change := "saved"
		switch r.changes[i] {
		case Added:
			r.stats.Added++
			change = "added"
		case Updated:
			r.stats.Updated++
			change = "updated"
		}
		r.job.record(ctx, raw, change, nil)
	}
}
