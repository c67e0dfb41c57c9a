package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// run is one run of a task, known by the context of its work.
type run struct {
	client any // whose task it is
	job    *rivertype.JobRow
	root   int64 // of its tree
	waits  int   // for another writer
	before int64 // what was done in the runs before, as Progress said
	write  func(ctx context.Context, job *rivertype.JobRow, done, total int64) error

	mu          sync.Mutex
	done, total int64
	stored      bool      // done and total are in the database
	at          time.Time // of the last write
}

type runKey struct{}

// savingKey marks the context within the transaction of a checkpoint.
type savingKey struct{}

// runOf returns the run that a context belongs to, nil if none.
func runOf(ctx context.Context) *run {
	r, _ := ctx.Value(runKey{}).(*run)
	return r
}

// ErrNoTask is the error of a function that only has a meaning within a task, if its context is another one.
var ErrNoTask = errors.New("tasks: the context is not that of a task")

// ErrLost is the error of a run whose task runs elsewhere meanwhile, because this process gave no sign of life for too
// long. What it wanted to store was not stored.
var ErrLost = errors.New("tasks: the task runs elsewhere")

// progressEvery is the time between two writes of a task's progress.
const progressEvery = time.Second

// Progress stores how much of the work of the task of ctx is done, for [Client.Tree], in whatever unit; a total of 0 is
// unknown. It writes at most once a second, and the last values when the task ends. It is ErrLost if the task runs
// elsewhere, and ErrNoTask if ctx is not that of a task. It is safe for concurrent use. Do not call it within a
// transaction of yours: with SQLite it would wait for the only connection.
func Progress(ctx context.Context, done, total int64) error {
	r := runOf(ctx)
	if r == nil {
		return ErrNoTask
	}
	r.mu.Lock()
	r.done, r.total, r.stored = done, total, false
	due := time.Since(r.at) >= progressEvery && ctx.Value(savingKey{}) == nil // the transaction holds the task's row
	if due {
		r.at = time.Now()
	}
	r.mu.Unlock()
	if !due {
		return nil
	}
	if err := r.write(ctx, r.job, done, total); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = r.done == done && r.total == total
	return nil
}

// storeLast has the last progress stored with the end of the run.
func (r *run) storeLast(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stored && (r.done != 0 || r.total != 0) {
		_ = river.MetadataSet(ctx, "tasks_done", r.done)
		_ = river.MetadataSet(ctx, "tasks_total", r.total)
	}
}

// writeProgress notes the progress of a run, unless its task runs elsewhere.
func (c *Client[TTx]) writeProgress(ctx context.Context, job *rivertype.JobRow, done, total int64) error {
	set := "jsonb_set(metadata, '$.tasks_done', $1, '$.tasks_total', $2)"
	if c.d.postgres() {
		set = "metadata || jsonb_build_object('tasks_done', $1::bigint, 'tasks_total', $2::bigint)"
	}
	id, at := c.runArgs(job)
	n, err := changed(c.db.ExecContext(ctx, "update river_job set metadata = "+set+" where id = $3 and state = 'running' and attempted_at = $4",
		done, total, id, at))
	if err == nil && n == 0 {
		err = ErrLost
	}
	return err
}

// lockRun counts the run that runArgs names if it still runs, so 1 or 0, and locks its row.
const lockRun = `select count(*) from (select 1 from river_job
	where id = $1 and state = 'running' and attempted_at = $2{lock}) as mine`

// runArgs returns what tells a run from another one of the same task in the database.
func (c *Client[TTx]) runArgs(job *rivertype.JobRow) (id int64, at any) {
	if job.AttemptedAt == nil {
		return job.ID, nil
	}
	if c.d.postgres() {
		return job.ID, *job.AttemptedAt
	}
	return job.ID, sqliteTime(*job.AttemptedAt)
}

// sqliteTime returns a time as River writes it.
func sqliteTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }
