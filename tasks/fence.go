package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// fencedDriver is a driver that stores the end of a run only if no other run of its task has begun. River would store it
// in any case: a process that stood still, and whose tasks were given to others meanwhile, would end theirs.
type fencedDriver[TTx any] struct {
	riverdriver.Driver[TTx]
	fence fence
}

// GetExecutor implements [riverdriver.Driver].
func (d *fencedDriver[TTx]) GetExecutor() riverdriver.Executor {
	return &fencedExecutor{d.Driver.GetExecutor(), d.fence}
}

// UnwrapExecutor implements [riverdriver.Driver].
func (d *fencedDriver[TTx]) UnwrapExecutor(tx TTx) riverdriver.ExecutorTx {
	return &fencedTx{d.Driver.UnwrapExecutor(tx), d.fence}
}

// UnwrapTx implements [riverdriver.Driver].
func (d *fencedDriver[TTx]) UnwrapTx(tx riverdriver.ExecutorTx) TTx {
	if fenced, ok := tx.(*fencedTx); ok {
		tx = fenced.ExecutorTx
	}
	return d.Driver.UnwrapTx(tx)
}

type fencedExecutor struct {
	riverdriver.Executor
	fence fence
}

// JobSetStateIfRunningMany implements [riverdriver.Executor].
func (e *fencedExecutor) JobSetStateIfRunningMany(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) ([]*rivertype.JobRow, error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = tx.Rollback(last)
	}()
	rows, err := e.fence.set(ctx, tx, params)
	if err != nil {
		return nil, err
	}
	return rows, tx.Commit(ctx)
}

type fencedTx struct {
	riverdriver.ExecutorTx
	fence fence
}

// JobSetStateIfRunningMany implements [riverdriver.Executor].
func (e *fencedTx) JobSetStateIfRunningMany(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) ([]*rivertype.JobRow, error) {
	return e.fence.set(ctx, e.ExecutorTx, params)
}

// fence is the statement that locks the tasks whose last run is one of those in its argument, and returns their ids.
type fence string

const (
	fenceSQLite fence = `select json_group_array(job.id) from json_each($1) as run cross join river_job as job
		on job.id = run.value ->> 'id' and job.attempted_at = run.value ->> 'at'`
	// By the primary key, whatever the planner thinks of the number of runs: a join may read the whole table.
	fencePostgres fence = `with run as materialized (
			select id, at from jsonb_to_recordset(cast(cast($1 as text) as jsonb)) as run (id bigint, at timestamptz))
		select cast(coalesce(json_agg(id), '[]') as text) from (select id from river_job where id = any(array(select id from run))
			and (id, attempted_at) in (select id, at from run) order by id for no key update) as mine`
)

// fenceKey is the metadata key that carries the start of a run to the driver, which removes it before it stores the rest.
const fenceKey = "tasks_run"

// fenced is a run, as the fence asks for it.
type fenced struct {
	ID int64  `json:"id"`
	At string `json:"at"` // as the database has it
}

// markRun has the end of a run say which run it is.
func (c *Client[TTx]) markRun(ctx context.Context, job *rivertype.JobRow) {
	if _, at := c.runArgs(job); c.fence != "" && at != nil {
		_ = river.MetadataSet(ctx, fenceKey, at) // as JSON, a time is RFC 3339
	}
}

// set sets the states of the tasks whose last run is the one that has ended.
func (f fence) set(ctx context.Context, tx riverdriver.ExecutorTx, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	own := *params // River may come again with these
	own.MetadataDoMerge, own.MetadataUpdates = slices.Clone(params.MetadataDoMerge), slices.Clone(params.MetadataUpdates)
	var runs []fenced
	for i, raw := range own.MetadataUpdates {
		if !bytes.Contains(raw, []byte(fenceKey)) { // that of a task that did not come as far as its work
			continue
		}
		var updates map[string]json.RawMessage
		run := fenced{ID: own.ID[i]}
		if json.Unmarshal(raw, &updates) != nil || json.Unmarshal(updates[fenceKey], &run.At) != nil {
			continue
		}
		runs = append(runs, run)
		delete(updates, fenceKey)
		if own.MetadataUpdates[i] = nil; len(updates) > 0 {
			own.MetadataUpdates[i], _ = json.Marshal(updates)
		}
		own.MetadataDoMerge[i] = len(updates) > 0
	}
	if len(runs) == 0 {
		return tx.JobSetStateIfRunningMany(ctx, params)
	}
	asked, err := json.Marshal(runs)
	if err != nil {
		return nil, err
	}
	var answer string
	var last []int64
	if err := tx.QueryRow(ctx, string(f), string(asked)).Scan(&answer); err != nil {
		return nil, fmt.Errorf("tasks: whether runs are the last of their tasks: %w", err)
	}
	if err := json.Unmarshal([]byte(answer), &last); err != nil {
		return nil, fmt.Errorf("tasks: whether runs are the last of their tasks: %w", err)
	}
	if len(last) < len(runs) {
		slices.Sort(last)
		elsewhere := make(map[int64]bool)
		for _, run := range runs {
			if _, found := slices.BinarySearch(last, run.ID); !found {
				elsewhere[run.ID] = true
			}
		}
		own = without(&own, elsewhere)
	}
	if len(own.ID) == 0 {
		return nil, nil
	}
	return tx.JobSetStateIfRunningMany(ctx, &own)
}

// without returns params without some tasks.
func without(params *riverdriver.JobSetStateIfRunningManyParams, ids map[int64]bool) riverdriver.JobSetStateIfRunningManyParams {
	rest := riverdriver.JobSetStateIfRunningManyParams{Now: params.Now, Schema: params.Schema}
	for i, id := range params.ID {
		if ids[id] {
			continue
		}
		rest.ID = append(rest.ID, id)
		rest.Attempt = append(rest.Attempt, params.Attempt[i])
		rest.ErrData = append(rest.ErrData, params.ErrData[i])
		rest.FinalizedAt = append(rest.FinalizedAt, params.FinalizedAt[i])
		rest.MetadataDoMerge = append(rest.MetadataDoMerge, params.MetadataDoMerge[i])
		rest.MetadataUpdates = append(rest.MetadataUpdates, params.MetadataUpdates[i])
		rest.ScheduledAt = append(rest.ScheduledAt, params.ScheduledAt[i])
		rest.State = append(rest.State, params.State[i])
	}
	return rest
}
