package belaysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Dialect is the kind of a database.
type Dialect uint8

const (
	// SQLite is SQLite from version 3.42. The connections need a busy_timeout, as several of them may write.
	SQLite Dialect = iota + 1
	// Postgres is PostgreSQL from version 12.
	Postgres
)

// String returns "SQLite" or "Postgres".
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case Postgres:
		return "Postgres"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// Store is a database whose tables are up to date. Create it with [New]. It is safe for concurrent use, by several
// processes too. It leaves the database open.
type Store struct {
	db    *sql.DB
	d     Dialect
	words *strings.Replacer
}

// Tx is a transaction: a *sql.Tx, or a *sql.Conn on which one has begun.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// New creates the tables in db, or brings them up to date. A nil db, an unknown dialect, a SQLite without busy_timeout,
// and tables of a version that this one does not know are errors.
func New(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	if db == nil {
		return nil, errors.New("belaysql: New: the database is nil")
	}
	if d != SQLite && d != Postgres {
		return nil, fmt.Errorf("belaysql: New: %s is not known", d)
	}
	s := &Store{db, d, wordsOf(d)}
	if d == SQLite {
		var wait int
		if err := db.QueryRowContext(ctx, "pragma busy_timeout").Scan(&wait); err != nil {
			return nil, fmt.Errorf("belaysql: New: %w", err)
		}
		if wait == 0 {
			return nil, errors.New("belaysql: New: the connections have no busy_timeout: open with _pragma=busy_timeout(10000)")
		}
	}
	if err := s.migrate(ctx); err != nil {
		return nil, fmt.Errorf("belaysql: New: %w", err)
	}
	return s, nil
}

// sql returns a statement in the store's dialect: {now} is the database's time in milliseconds since 1970, {blob} the
// type of bytes.
func (s *Store) sql(query string) string { return s.words.Replace(query) }

func wordsOf(d Dialect) *strings.Replacer {
	if d == Postgres {
		return strings.NewReplacer("{now}", "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)", "{blob}", "bytea")
	}
	return strings.NewReplacer("{now}", "cast(unixepoch('subsec') * 1000 as integer)", "{blob}", "blob")
}

// write runs f in a transaction that may write from its beginning.
func (s *Store) write(ctx context.Context, f func(Tx) error) (err error) {
	if s.d == Postgres {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after a commit
		if err := f(tx); err != nil {
			return err
		}
		return tx.Commit()
	}
	// A transaction that reads first and writes then may find that another one has written between; begin immediate
	// waits at its beginning.
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "begin immediate"); err != nil {
		return err
	}
	done := false
	defer func() { // also after a panic
		if !done {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
			defer cancel()
			_, _ = conn.ExecContext(last, "rollback")
		}
	}()
	if err := f(conn); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "commit")
	done = err == nil
	return err
}

// lastWrite bounds a write that must not be given up with its caller.
const lastWrite = 5 * time.Second

// changed returns the number of rows that a statement changed.
func changed(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
