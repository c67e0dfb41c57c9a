package tasks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/belay-go/belay/belaysql"
)

// dialect writes statements for one kind of database.
type dialect struct {
	kind  belaysql.Dialect
	words *strings.Replacer
}

func (d dialect) postgres() bool { return d.kind == belaysql.Postgres }

// field returns the text of a field of a job's metadata, null if there is none.
func (d dialect) field(name string) string {
	if d.postgres() {
		return "metadata ->> '" + name + "'"
	}
	return "json_extract(metadata, '$." + name + "')"
}

// failed returns the errors of a job with one more, whose text is an expression.
func (d dialect) failed(text string) string {
	if d.postgres() {
		return `array_append(errors, jsonb_build_object('at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
			'attempt', attempt, 'error', cast(` + text + ` as text), 'trace', ''))`
	}
	return `jsonb_insert(coalesce(errors, jsonb('[]')), '$[#]', json_object('at', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'attempt', attempt,
		'error', ` + text + `, 'trace', ''))`
}

// sql returns a statement in the dialect:
//
//	{now}      the database's time in milliseconds since 1970
//	{stamp}    the database's time as River writes it
//	{worker}   the client that runs the job, or ran it last
//	{requeues} how often the job was requeued
//	{dead}     DeadAfter in milliseconds
//	{lock}     locks the rows of a select
//	{skip}     locks them, without those that others have locked
func (d dialect) sql(query string) string { return d.words.Replace(query) }

func dialectOf(kind belaysql.Dialect, deadAfter time.Duration) dialect {
	d := dialect{kind: kind}
	requeues := "coalesce(cast(" + d.field("tasks_requeues") + " as integer), 0)"
	of := []string{
		"{now}", "cast(unixepoch('subsec') * 1000 as integer)",
		"{stamp}", "strftime('%Y-%m-%d %H:%M:%f', 'now')",
		"{worker}", "json_extract(attempted_by, '$[#-1]')",
		"{requeues}", requeues, "{lock}", "", "{skip}", "",
	}
	if d.postgres() {
		of = []string{
			"{now}", "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)",
			"{stamp}", "clock_timestamp()",
			"{worker}", "attempted_by[array_upper(attempted_by, 1)]",
			"{requeues}", requeues, "{lock}", " for update", "{skip}", " for update skip locked",
		}
	}
	d.words = strings.NewReplacer(append(of, "{dead}", strconv.FormatInt(deadAfter.Milliseconds(), 10))...)
	return d
}

// countBy returns what a query of names and numbers returns.
func (c *Client[TTx]) countBy(ctx context.Context, query string, args ...any) (map[string]int, error) {
	rows, err := c.read.QueryContext(ctx, c.d.sql(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]int)
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		all[name] = n
	}
	return all, rows.Err()
}

// schemaVersion is the version of the tables of this package. It rises when an older package must not open them any more, or
// when something must be made that is not made at each start.
const schemaVersion = 1

// migrate creates the tables of this package.
func (c *Client[TTx]) migrate(ctx context.Context) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	if c.d.postgres() {                  // create table if not exists fails beside another one
		if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", riverLock); err != nil {
			return err
		}
	}
	for _, statement := range []string{
		`create table if not exists tasks_clients (id text primary key, seen bigint not null)`,
		`create table if not exists tasks_pauses (queue text not null, reason text not null, at bigint not null,
			owner text not null default '', primary key (queue, reason))`,
		`create table if not exists tasks_held (queue text primary key)`,
		`create table if not exists tasks_newest (key text primary key, job bigint not null)`,
		`create table if not exists tasks_writers (key text primary key, job bigint not null, run bigint not null)`,
		`create table if not exists tasks_turns (queue text primary key, at bigint not null)`,
		`create table if not exists tasks_schedule_holds (queue text primary key, until_waiting bigint not null)`,
		`create table if not exists tasks_drained (id text primary key)`,
		`create table if not exists tasks_schema (version bigint primary key)`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("creating the tables: %w", err)
		}
	}
	var have int
	if err := tx.QueryRowContext(ctx, "select coalesce(max(version), 0) from tasks_schema").Scan(&have); err != nil {
		return err
	}
	switch {
	case have > schemaVersion:
		return fmt.Errorf("the tables are of version %d, and this package knows %d: it is older than the one that has made them", have, schemaVersion)
	case have == schemaVersion:
		return tx.Commit()
	}
	// Not each time: on PostgreSQL it waits for the transactions that have written tasks, and holds up those behind it.
	if _, err := tx.ExecContext(ctx, `create index if not exists tasks_roots on river_job ((`+c.d.field("tasks_root")+`)) where `+
		c.d.field("tasks_root")+` is not null`); err != nil {
		return fmt.Errorf("creating an index: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "insert into tasks_schema (version) values ($1)", schemaVersion); err != nil {
		return err
	}
	return tx.Commit()
}
