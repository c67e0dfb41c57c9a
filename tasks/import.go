package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/internal/errkit"
)

// Import imports a partner's records within a task, batch by batch: each batch and the checkpoint behind it are stored
// in one transaction, so that a run goes on where the one before has stopped, in whichever process. Call [RunImport] in
// the Work of a worker that embeds [ImportDefaults], because an import may take longer than other tasks. Of Pages and
// Changed exactly one is set.
type Import[Raw, Rec any] struct {
	// Key names the checkpoint, such as "crm/acme/contacts". One import of a key runs at a time; another one waits for its
	// end. It must not be empty.
	Key string
	// Job adapts and checks the records. Its Save and Start must not be set; Progress is called beside the import's own.
	Job importer.Job[Raw, Rec]
	// Save stores a batch in the transaction that stores the checkpoint, by tx alone: with SQLite there is no other
	// connection. It must be able to save a record twice, and must not call a partner.
	Save func(ctx context.Context, tx *sql.Tx, b importer.Batch[Rec]) error

	// Pages returns everything, from a cursor on: an import of the whole list. Give the cursor to belay.StartAt. Empty
	// means the beginning.
	Pages func(ctx context.Context, from string) iter.Seq2[belay.Page[Raw], error]
	// ID, Hash and Deleted, together, make it a full import that finds what has changed and what is gone, as
	// [importer.Full] does. A run that breaks off begins again at the first page.
	ID      func(Rec) string
	Hash    func(Rec) ([]byte, error)
	Deleted func(ctx context.Context, tx *sql.Tx, ids []string) error

	// Changed returns the records that were updated at since or later, of an incremental import, see
	// [importer.Incremental]: ID and Updated are needed then. A zero since means everything; that first run goes on where
	// it was, and a later one that breaks off begins again. Zero Lag means five minutes, negative is an error.
	Changed func(ctx context.Context, since time.Time) iter.Seq2[belay.Page[Raw], error]
	Updated func(Rec) time.Time
	Lag     time.Duration

	// Version returns the version of a record, for the guard of Key ([belaysql.Store.Guard]): what a webhook or a "sync
	// now" has written meanwhile, with the same guard, is not overwritten by an older record of the import, and not saved
	// twice. Nil means that all are saved.
	Version func(Rec) (id string, v importer.Version)
	// Calls bounds the attempts that one run may send. Then the task is put off for Rest, without spending an attempt, and
	// goes on; another import of the key waits for its end. Zero means no bound, and a Rest of a minute. It must be zero
	// with Changed or Deleted, because such a run begins anew.
	Calls int
	Rest  time.Duration
}

// ImportDefaults is embedded by workers of imports: a task has no timeout then.
type ImportDefaults[T river.JobArgs] struct{ river.WorkerDefaults[T] }

// Timeout returns -1: none.
func (ImportDefaults[T]) Timeout(*river.Job[T]) time.Duration { return -1 }

func (im *Import[Raw, Rec]) check() error {
	var faults errkit.List
	bad := func(wrong bool, format string, args ...any) { faults.If(wrong, "tasks: Import."+format, args...) }
	full := im.Deleted != nil || im.Hash != nil
	bad(im.Key == "", "Key is empty")
	bad(im.Save == nil, "Save is nil")
	bad(im.Job.Save != nil, "Job.Save is set: use Save")
	bad(im.Job.Start != "", "Job.Start is %q, must be empty", im.Job.Start)
	bad((im.Pages == nil) == (im.Changed == nil), "Pages and Changed: exactly one must be set")
	bad(full && (im.ID == nil || im.Hash == nil || im.Deleted == nil), "ID, Hash and Deleted are needed together")
	bad(full && im.Changed != nil, "Changed with Hash or Deleted")
	bad(im.Changed != nil && (im.ID == nil || im.Updated == nil), "Changed needs ID and Updated")
	bad(im.Calls < 0, "Calls is %d, must not be negative", im.Calls)
	bad(im.Calls > 0 && (full || im.Changed != nil), "Calls is %d: only an import of a whole list goes on in another run", im.Calls)
	bad(im.Rest < 0, "Rest is %s, must not be negative", im.Rest)
	bad(im.Lag < 0, "Lag is %s, must not be negative", im.Lag)
	bad(im.Changed == nil && (im.Updated != nil || im.Lag != 0 || im.ID != nil && !full), "ID, Updated or Lag has no meaning here")
	return faults.Err()
}

// RunImport runs an import in the task of ctx, and returns what it has read. Return its error from Work: after the end
// of a call budget, and while another import of the key runs, it puts the task off. A checkpoint that fails because the
// task runs elsewhere meanwhile is [ErrLost], and nothing of its batch is stored. Let it be the last that the task
// does: after the end of a list the next attempt imports it anew.
func RunImport[TTx, Raw, Rec any](ctx context.Context, c *Client[TTx], im Import[Raw, Rec]) (importer.Stats, error) {
	if err := im.check(); err != nil {
		return importer.Stats{}, inbox.Permanent(err) // another attempt would not be better
	}
	r := runOf(ctx)
	if r == nil {
		return importer.Stats{}, ErrNoTask
	}
	release, err := c.takeWriter(ctx, "import "+im.Key, r.job, r.waits)
	if err != nil {
		return importer.Stats{}, err
	}
	rests := false
	defer func() { release(rests) }()
	if im.Calls > 0 {
		ctx = belay.BudgetContext(ctx, im.Calls)
	}
	progress := im.Job.Progress
	i := &importing[Raw, Rec]{Import: im, save: c.checkpoint(r.job), state: c.store.State(), guard: c.store.Guard(im.Key), key: "import " + im.Key}
	i.Job.Progress = func(s importer.Stats) {
		_ = Progress(ctx, i.before+int64(s.Read), int64(s.Total)) // the next batch says if the task is lost
		if progress != nil {
			progress(s)
		}
	}
	stats, err := i.run(ctx, r.before)
	if err == nil {
		read := i.before + int64(stats.Read)
		_ = Progress(ctx, read, max(int64(stats.Total), read))
	}
	if other := withoutBudget(err); im.Calls > 0 && other != nil {
		err = other // a batch that cannot be saved, for example, must not look like the end of the budget
	} else if im.Calls > 0 && err != nil {
		rest := im.Rest
		if rest == 0 {
			rest = time.Minute
		}
		rests = true // another import of the key still waits for this one's end
		return stats, fmt.Errorf("%w (%d calls are used up; %w)", river.JobSnooze(rest), im.Calls, err)
	}
	return stats, err
}

// withoutBudget returns what is wrong with an import beside the end of its call budget, nil if nothing is.
func withoutBudget(err error) error {
	if many, is := err.(interface{ Unwrap() []error }); is {
		var others []error
		for _, one := range many.Unwrap() {
			others = append(others, withoutBudget(one))
		}
		return errors.Join(others...)
	}
	if errors.Is(err, belay.ErrCallBudget) {
		return nil
	}
	return err
}

// importing is an import with the ways to its database.
type importing[Raw, Rec any] struct {
	Import[Raw, Rec]
	save  func(context.Context, inTx) error
	state *belaysql.State
	guard *belaysql.Guard
	key   string // of the checkpoint

	before int64 // records that were read before the cursor at which the list goes on
}

// inTx is what is stored with a checkpoint. It reports whether the next run begins behind it.
type inTx = func(ctx context.Context, tx *sql.Tx) (further bool, err error)

// checkpoint returns a function that stores something of a run in a transaction, unless its task runs elsewhere. What
// it calls reports whether the next run begins behind that: the deaths of the task's processes count from there.
func (c *Client[TTx]) checkpoint(job *rivertype.JobRow) func(context.Context, inTx) error {
	id, at := c.runArgs(job)
	anew := "jsonb_remove(metadata, '$.tasks_requeues')"
	if c.d.postgres() {
		anew = "metadata - 'tasks_requeues'"
	}
	return func(ctx context.Context, f func(context.Context, *sql.Tx) (bool, error)) error {
		tx, err := c.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after the commit
		ctx = context.WithValue(ctx, savingKey{}, true)
		var requeues int
		err = tx.QueryRowContext(ctx, c.d.sql("select {requeues} from river_job where id = $1 and state = 'running' and attempted_at = $2{lock}"),
			id, at).Scan(&requeues)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrLost
		}
		if err != nil {
			return err
		}
		further, err := f(ctx, tx)
		if err != nil {
			return err
		}
		if further && requeues > 0 {
			if _, err := tx.ExecContext(ctx, "update river_job set metadata = "+anew+" where id = $1", id); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}

func (i *importing[Raw, Rec]) run(ctx context.Context, before int64) (importer.Stats, error) {
	switch {
	case i.Changed != nil:
		return i.incremental(ctx)
	case i.Deleted != nil:
		return i.full(ctx)
	}
	return i.list(ctx, before)
}

// list imports a whole list. One whose cursor has expired between two runs begins again, and what was saved is saved
// once more.
func (i *importing[Raw, Rec]) list(ctx context.Context, before int64) (importer.Stats, error) {
	for again := 0; ; again++ {
		from, err := i.state.Load(ctx, i.key)
		if err != nil {
			return importer.Stats{}, err
		}
		if i.before = 0; len(from) > 0 {
			i.before = before
		}
		job := i.Job
		job.Start = string(from)
		job.Save = func(ctx context.Context, b importer.Batch[Rec]) error {
			return i.store(ctx, b, func(ctx context.Context, tx *sql.Tx) (bool, error) {
				if b.Done { // the next import begins anew
					return true, i.state.DeleteTx(ctx, tx, i.key)
				}
				return true, i.state.SaveTx(ctx, tx, i.key, []byte(b.Cursor))
			})
		}
		stats, err := job.Run(ctx, i.Pages(ctx, string(from)))
		if !errors.Is(err, belay.ErrCursorExpired) || again >= mostExpired {
			return stats, err
		}
		if err := i.save(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) { return false, i.state.DeleteTx(ctx, tx, i.key) }); err != nil {
			return stats, err
		}
	}
}

// mostExpired is how often one run begins a list again whose cursor has expired.
const mostExpired = 3

func (i *importing[Raw, Rec]) incremental(ctx context.Context) (importer.Stats, error) {
	mark, err := i.state.Load(ctx, i.key)
	if err != nil {
		return importer.Stats{}, err
	}
	job := i.Job
	job.Save = func(ctx context.Context, b importer.Batch[Rec]) error {
		return i.store(ctx, b, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			if b.Mark == nil { // only the first run, and the end of a later one, have one
				return false, nil
			}
			return true, i.state.SaveTx(ctx, tx, i.key, b.Mark)
		})
	}
	return importer.Incremental[Raw, Rec]{
		Job: job, Key: i.Key, Mark: mark, Lag: i.Lag, ID: i.ID, Updated: i.Updated, Pages: i.Changed,
	}.Run(ctx)
}

func (i *importing[Raw, Rec]) full(ctx context.Context) (importer.Stats, error) {
	changes, err := importer.NewChanges(i.ID, i.Hash)
	if err != nil {
		return importer.Stats{}, err
	}
	if _, err := i.state.LoadJSON(ctx, i.key, changes); err != nil {
		return importer.Stats{}, err
	}
	job := i.Job
	job.Save = func(ctx context.Context, b importer.Batch[Rec]) error { return i.store(ctx, b, nil) }
	deleted := false
	stats, err := importer.Full(ctx, job, changes, i.Pages(ctx, ""), func(ctx context.Context, ids []string) error {
		deleted = true
		return i.save(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			if err := i.Deleted(ctx, tx, ids); err != nil {
				return false, err
			}
			return true, i.state.SaveJSONTx(ctx, tx, i.key, changes)
		})
	})
	if err == nil && stats.Rejected == 0 && !deleted {
		err = i.save(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			return true, i.state.SaveJSONTx(ctx, tx, i.key, changes)
		})
	}
	return stats, err
}

// store stores a batch, without what is older than what was written before, and the position behind it.
func (i *importing[Raw, Rec]) store(ctx context.Context, b importer.Batch[Rec], position inTx) error {
	return i.save(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		if i.Version != nil {
			newer := make([]Rec, 0, len(b.Records))
			for _, rec := range b.Records {
				id, v := i.Version(rec)
				is, err := i.guard.NewerTx(ctx, tx, id, v)
				if err != nil {
					return false, err
				}
				if is {
					newer = append(newer, rec)
				}
			}
			b.Records = newer
		}
		if err := i.Save(ctx, tx, b); err != nil {
			return false, err
		}
		if position == nil || b.Partial { // the position comes with the rest of the batch
			return false, nil
		}
		return position(ctx, tx)
	})
}
