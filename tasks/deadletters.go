package tasks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/rivertype"
	"modernc.org/sqlite"

	"github.com/belay-go/belay/internal/errkit"
)

// Dead is a task that was given up: its attempts are spent, it was canceled by its error, it panicked, or its process
// died too often. Tasks that were canceled by River's own JobCancel, and those that expired, are none.
type Dead struct {
	ID          int64
	Kind, Queue string
	Args        json.RawMessage
	Class       string // of the error, such as "auth", "data" or "panic"
	Error       string // of the last attempt, one line
	Fingerprint string // the same for errors of one kind
	Stack       string // of a panic
	Created, At time.Time
	// Attempts are the failed attempts that River keeps.
	Attempts []rivertype.AttemptError
}

// DeadFilter selects dead letters. An empty field selects all.
type DeadFilter struct {
	Kind, Queue, Class, Fingerprint string
	// Since and Until bound the time at which the task was given up: Since is inclusive, Until exclusive.
	Since, Until time.Time
}

// where returns the condition of the filter, and its arguments from $1 on.
func (c *Client[TTx]) where(f DeadFilter) (condition string, args []any) {
	parts := []string{"(state = 'discarded' or state = 'cancelled' and " + c.d.field("tasks_class") + " is not null)"}
	add := func(expression string, value any) {
		args = append(args, value)
		parts = append(parts, fmt.Sprintf(expression, len(args)))
	}
	for _, one := range []struct{ column, value string }{
		{"kind", f.Kind}, {"queue", f.Queue}, {c.d.field("tasks_class"), f.Class}, {c.d.field("tasks_fingerprint"), f.Fingerprint},
	} {
		if one.value != "" {
			add(one.column+" = $%d", one.value)
		}
	}
	for _, one := range []struct {
		compare string
		at      time.Time
	}{{">=", f.Since}, {"<", f.Until}} {
		if one.at.IsZero() {
			continue
		}
		if c.d.postgres() {
			add("finalized_at "+one.compare+" $%d", one.at.UTC())
		} else { // as River writes times
			add("finalized_at "+one.compare+" $%d", sqliteTime(one.at))
		}
	}
	return strings.Join(parts, " and "), args
}

// DeadLetters returns the dead letters that f selects, in order of their ids. An error ends the sequence.
func (c *Client[TTx]) DeadLetters(ctx context.Context, f DeadFilter) iter.Seq2[Dead, error] {
	const portion = 200
	return func(yield func(Dead, error) bool) {
		for after := int64(0); ; {
			ids, err := c.deadIDs(ctx, f, after, portion)
			if err != nil {
				yield(Dead{}, fmt.Errorf("tasks: DeadLetters: %w", err))
				return
			}
			for _, id := range ids {
				after = id
				row, err := c.JobGet(ctx, id)
				if errors.Is(err, rivertype.ErrNotFound) {
					continue
				}
				if err != nil {
					yield(Dead{}, fmt.Errorf("tasks: DeadLetters: %w", err))
					return
				}
				if !yield(deadOf(row), nil) {
					return
				}
			}
			if len(ids) < portion {
				return
			}
		}
	}
}

func (c *Client[TTx]) deadIDs(ctx context.Context, f DeadFilter, after int64, n int) (ids []int64, err error) {
	where, args := c.where(f)
	query := fmt.Sprintf("select id from river_job where %s and id > $%d order by id limit $%d", where, len(args)+1, len(args)+2)
	rows, err := c.read.QueryContext(ctx, query, append(args, after, n)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func deadOf(row *rivertype.JobRow) Dead {
	d := Dead{
		ID: row.ID, Kind: row.Kind, Queue: row.Queue, Args: row.EncodedArgs, Created: row.CreatedAt, Attempts: row.Errors,
	}
	var st struct {
		Class       string `json:"tasks_class"`
		Error       string `json:"tasks_error"`
		Fingerprint string `json:"tasks_fingerprint"`
		Stack       string `json:"tasks_stack"`
	}
	_ = json.Unmarshal(row.Metadata, &st)
	d.Class, d.Error, d.Fingerprint, d.Stack = st.Class, st.Error, st.Fingerprint, st.Stack
	if row.FinalizedAt != nil {
		d.At = *row.FinalizedAt
	}
	if d.Error == "" && len(row.Errors) > 0 { // a kind that nobody knows, arguments that cannot be decoded
		d.Error = oneLine(row.Errors[len(row.Errors)-1].Error)
	}
	return d
}

// DeadGroup is the dead letters of one kind of task that failed for one reason.
type DeadGroup struct {
	Kind, Class, Fingerprint string
	Count                    int
	First, Last              time.Time
	Example                  string // the error of one of them
}

// DeadGroups returns the dead letters that f selects, by kind and fingerprint, the largest group first. With Since it
// answers what has failed in the last 24 hours, for example.
func (c *Client[TTx]) DeadGroups(ctx context.Context, f DeadFilter) ([]DeadGroup, error) {
	where, args := c.where(f)
	field := func(name string) string { return "coalesce(" + c.d.field(name) + ", '')" }
	at := "cast(unixepoch(%s(finalized_at), 'subsec') * 1000 as integer)"
	if c.d.postgres() {
		at = "cast(extract(epoch from %s(finalized_at)) * 1000 as bigint)"
	}
	rows, err := c.read.QueryContext(ctx, fmt.Sprintf(`select kind, %s, %s, count(*), %s, %s, max(%s) from river_job where %s
		group by 1, 2, 3 order by 4 desc, 1, 3`, field("tasks_class"), field("tasks_fingerprint"), fmt.Sprintf(at, "min"),
		fmt.Sprintf(at, "max"), field("tasks_error"), where), args...)
	if err != nil {
		return nil, fmt.Errorf("tasks: DeadGroups: %w", err)
	}
	defer rows.Close()
	var groups []DeadGroup
	for rows.Next() {
		var g DeadGroup
		var first, last sql.NullInt64
		if err := rows.Scan(&g.Kind, &g.Class, &g.Fingerprint, &g.Count, &first, &last, &g.Example); err != nil {
			return nil, fmt.Errorf("tasks: DeadGroups: %w", err)
		}
		g.First, g.Last = time.UnixMilli(first.Int64), time.UnixMilli(last.Int64)
		groups = append(groups, g)
	}
	return groups, rows.Err()
}

// Replay configures [Client.Replay].
type Replay struct {
	// PerSecond is the most tasks that are replayed in a second. Zero means no bound; negative is an error.
	PerSecond float64
	// Limit is the most tasks that are replayed. Zero means all; negative is an error.
	Limit int
	// DryRun counts them, names the conflicts that there would be, and changes nothing.
	DryRun bool
}

// Replayed is the result of [Client.Replay].
type Replayed struct {
	Matched, Replayed int
	// Conflicts are the ids of tasks that stay dead letters, because a task with the same unique key waits or runs.
	Conflicts []int64
}

// Replay makes dead letters available again, each once, with all their attempts. If it ends early, by ctx or an error,
// the others stay dead letters.
func (c *Client[TTx]) Replay(ctx context.Context, f DeadFilter, how Replay) (r Replayed, err error) {
	if how.PerSecond < 0 || how.Limit < 0 || math.IsNaN(how.PerSecond) {
		return r, fmt.Errorf("tasks: Replay: PerSecond is %v and Limit %d, must not be negative", how.PerSecond, how.Limit)
	}
	began := time.Now()
	keys := make(map[string]bool) // of those that a dry run would have replayed
	for d, err := range c.DeadLetters(ctx, f) {
		if err != nil {
			return r, err
		}
		if how.Limit > 0 && r.Matched >= how.Limit {
			return r, nil
		}
		r.Matched++
		if how.DryRun {
			free, err := c.couldRevive(ctx, d.ID, keys)
			if err != nil {
				return r, fmt.Errorf("tasks: would replay %d: %w", d.ID, err)
			}
			if !free {
				r.Conflicts = append(r.Conflicts, d.ID)
			}
			continue
		}
		if how.PerSecond > 0 {
			due := began.Add(time.Duration(float64(r.Matched-1) / how.PerSecond * float64(time.Second)))
			if err := errkit.Sleep(ctx, time.Until(due)); err != nil {
				return r, err
			}
		}
		done, err := c.revive(ctx, c.db, d.ID)
		switch {
		case isConflict(err):
			r.Conflicts = append(r.Conflicts, d.ID)
		case err != nil:
			return r, fmt.Errorf("tasks: replaying %d: %w", d.ID, err)
		case done:
			r.Replayed++
		}
	}
	return r, nil
}

// ofAttempts are the fields of metadata that a replay forgets: its task begins anew.
var ofAttempts = []string{
	"tasks_class", "tasks_error", "tasks_fingerprint", "tasks_stack", "tasks_requeues", "tasks_expires", "tasks_snoozed", "snoozes",
}

// revive makes one dead letter available again, if it still is one, and reports whether it did.
func (c *Client[TTx]) revive(ctx context.Context, db execer, id int64) (bool, error) {
	clean := "jsonb_remove(metadata, '$." + strings.Join(ofAttempts, "', '$.") + "')"
	if c.d.postgres() {
		clean = "metadata - array['" + strings.Join(ofAttempts, "', '") + "']"
	}
	where, _ := c.where(DeadFilter{})
	result, err := db.ExecContext(ctx, c.d.sql("update river_job set state = 'available', scheduled_at = {stamp}, finalized_at = null, attempt = 0, metadata = "+
		clean+" where id = $1 and "+where), id)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// execer is a database or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// couldRevive reports whether a dead letter could be replayed behind others, whose unique keys it knows: it tries, and
// takes it back.
func (c *Client[TTx]) couldRevive(ctx context.Context, id int64, keys map[string]bool) (bool, error) {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	var key []byte
	if err := tx.QueryRowContext(ctx, "select unique_key from river_job where id = $1", id).Scan(&key); err != nil {
		return false, err
	}
	if len(key) > 0 && keys[string(key)] {
		return false, nil
	}
	if _, err := c.revive(ctx, tx, id); isConflict(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	keys[string(key)] = true
	return true, nil
}

// isDeadlock reports whether a statement of PostgreSQL was ended because it and another one waited for each other.
func isDeadlock(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "40P01"
}

// isConflict reports whether a task could not be replayed because of another one with its unique key.
func isConflict(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code() == 2067 // SQLITE_CONSTRAINT_UNIQUE
}

// Discard removes the dead letters that f selects, and returns their number.
func (c *Client[TTx]) Discard(ctx context.Context, f DeadFilter) (int64, error) {
	where, args := c.where(f)
	result, err := c.db.ExecContext(ctx, "delete from river_job where "+where, args...)
	if err != nil {
		return 0, fmt.Errorf("tasks: Discard: %w", err)
	}
	return result.RowsAffected()
}
