package belaysql

import (
	"context"
	"fmt"
)

// migration brings the tables from the version before to its own. It only adds: tables, and columns with a default.
type migration struct {
	version    int
	oldest     int // the oldest version of this package that works with the tables
	statements []string
}

var migrations = []migration{{version: 1, oldest: 1, statements: []string{
	`create table belay_tokens (
		key text primary key, value {blob},
		fence bigint not null default 0, owner text, lease_until bigint not null default 0)`,
	`create table belay_state (key text primary key, value {blob} not null, updated bigint not null)`,
	`create table belay_keys (key text primary key, until bigint not null)`,
	`create index belay_keys_until on belay_keys (until)`,
	`create table belay_versions (
		guard text not null, id text not null, partner bigint not null, ours bigint not null, primary key (guard, id))`,
	`create table belay_inboxes (
		key text primary key, seq bigint not null default 0, pending bigint not null default 0,
		fence bigint not null default 0, owner text, lease_until bigint not null default 0)`,
	`create table belay_inbox (
		inbox text not null, seq bigint not null, state smallint not null, attempts bigint not null, due bigint not null,
		changed bigint not null, error {blob}, failures {blob}, item {blob} not null, body {blob} not null,
		primary key (inbox, seq))`,
	`create index belay_inbox_state on belay_inbox (inbox, state, seq)`,
	`create table belay_inbox_known (
		inbox text not null, dedupe {blob} not null, at bigint not null, primary key (inbox, dedupe))`,
	`create index belay_inbox_known_at on belay_inbox_known (inbox, at)`,
}}}

// migrate brings the tables up to date. Processes that begin at the same time wait for each other.
func (s *Store) migrate(ctx context.Context) error {
	return s.write(ctx, func(tx Tx) error {
		if s.d == Postgres { // create table if not exists may fail beside another one
			if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock(7310561204)"); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, s.sql(`create table if not exists belay_schema (
			version integer primary key, oldest integer not null, at bigint not null)`)); err != nil {
			return err
		}
		var have, oldest int
		if err := tx.QueryRowContext(ctx, "select coalesce(max(version), 0), coalesce(max(oldest), 0) from belay_schema").
			Scan(&have, &oldest); err != nil {
			return err
		}
		newest := migrations[len(migrations)-1].version
		if oldest > newest {
			return fmt.Errorf("the tables have version %d, which needs this package from version %d on; it has %d", have, oldest, newest)
		}
		for _, m := range migrations {
			if m.version <= have {
				continue
			}
			for _, statement := range m.statements {
				if _, err := tx.ExecContext(ctx, s.sql(statement)); err != nil {
					return fmt.Errorf("version %d of the tables: %w", m.version, err)
				}
			}
			if _, err := tx.ExecContext(ctx, s.sql("insert into belay_schema (version, oldest, at) values ($1, $2, {now})"),
				m.version, m.oldest); err != nil {
				return err
			}
		}
		return nil
	})
}
