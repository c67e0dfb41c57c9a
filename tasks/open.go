package tasks

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/internal/errkit"
)

// Open opens the database of tasks, brings its tables up to date, and returns a client: "sqlite:path" is a file, for
// the processes of one machine, and "postgres://…" a server, for many machines. Close the client in the end. A DSN of
// another kind, a database that cannot be opened, and tables of a newer version are errors; they hold no password.
func Open(ctx context.Context, dsn string, cfg Config) (*Client[*sql.Tx], error) {
	kind, rest, _ := strings.Cut(dsn, ":")
	var c *Client[*sql.Tx]
	var err error
	switch kind {
	case "sqlite":
		c, err = openSQLite(ctx, rest, cfg)
	case "postgres", "postgresql":
		c, err = openPostgres(ctx, dsn, cfg)
	default:
		err = errors.New(`the DSN begins neither with "sqlite:" nor with "postgres://"`)
	}
	if err != nil {
		return nil, fmt.Errorf("tasks: Open: %w", err)
	}
	return c, nil
}

func openSQLite(ctx context.Context, path string, cfg Config) (*Client[*sql.Tx], error) {
	if path == "" || strings.ContainsAny(path, "?#") || strings.Contains(path, ":memory:") {
		return nil, fmt.Errorf("sqlite:%s: must be the path of a file, without parameters", path)
	}
	if dir := filepath.Dir(path); dir != "." {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=journal_mode(WAL)"
	dsn := file + "&_pragma=busy_timeout(20000)&_pragma=synchronous(FULL)"
	db, err := sql.Open("sqlite", dsn+"&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer; a second connection would only wait for the first
	read, err := sql.Open("sqlite", dsn+"&_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	read.SetMaxOpenConns(4)
	// 25 ms, because signs tries again by itself; NORMAL, because a crash may lose a sign.
	beat, err := sql.Open("sqlite", file+"&_pragma=busy_timeout(25)&_pragma=synchronous(NORMAL)&_txlock=immediate")
	if err != nil {
		return nil, errors.Join(err, db.Close(), read.Close())
	}
	c, err := opened(ctx, riversqlite.New(db), db, read, beat, belaysql.SQLite, cfg, nil)
	if err == nil {
		c.file = path
	}
	return c, err
}

func openPostgres(ctx context.Context, dsn string, cfg Config) (*Client[*sql.Tx], error) {
	pool, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the DSN is not one of PostgreSQL")
	}
	pool.MinConns, pool.MaxConns = 0, 1
	// A machine that vanishes within a transaction keeps its locks until the server knows. Set after the connection is
	// made, because poolers refuse what they do not know; a server that refuses it works without.
	var settings []string
	for name, value := range map[string]string{
		"idle_in_transaction_session_timeout": "300000", "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5",
		"tcp_keepalives_count": "3", "tcp_user_timeout": "30000",
	} {
		if pool.ConnConfig.RuntimeParams[name] == "" { // the user's own stays
			settings = append(settings, "set "+name+" = "+value)
		}
	}
	made := stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, _ = conn.Exec(ctx, strings.Join(settings, "; "))
		return ctx.Err()
	})
	db := stdlib.OpenDB(*pool.ConnConfig.Copy(), made)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	read := stdlib.OpenDB(*pool.ConnConfig.Copy(), made)
	read.SetMaxOpenConns(4)
	beat := stdlib.OpenDB(*pool.ConnConfig.Copy(), made)
	listen, err := pgxpool.NewWithConfig(ctx, pool)
	if err != nil {
		return nil, errors.Join(err, db.Close(), read.Close(), beat.Close())
	}
	return opened(ctx, riverdatabasesql.NewWithPgxListener(db, listen), db, read, beat, belaysql.Postgres, cfg, listen.Close)
}

// opened migrates a database that has been opened, and returns its client, which closes it.
func opened(
	ctx context.Context, driver riverdriver.Driver[*sql.Tx], db, read, beat *sql.DB, kind belaysql.Dialect, cfg Config, end func(),
) (*Client[*sql.Tx], error) {
	c, err := func() (*Client[*sql.Tx], error) {
		if err := migrateRiver(ctx, driver, db, kind); err != nil {
			return nil, err
		}
		return newClient(ctx, driver, db, read, beat, kind, cfg)
	}()
	if err != nil {
		if end != nil {
			end()
		}
		return nil, errors.Join(err, db.Close(), read.Close(), beat.Close())
	}
	c.own = []*sql.DB{db, read, beat}
	if end != nil {
		c.close = append(c.close, end)
	}
	return c, nil
}

// riverLock is the key of the advisory lock under which processes migrate one after the other.
const riverLock = 7310561205

// migrateRiver brings River's tables up to date.
func migrateRiver(ctx context.Context, driver riverdriver.Driver[*sql.Tx], db *sql.DB, kind belaysql.Dialect) error {
	if kind == belaysql.Postgres {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "select pg_advisory_lock($1)", riverLock); err != nil {
			return err
		}
		defer func() {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", riverLock)
		}()
	}
	m, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	newest := m.AllVersions()[len(m.AllVersions())-1].Version
	migrated := func() (bool, error) {
		have, err := m.ExistingVersions(ctx)
		if err != nil {
			return false, fmt.Errorf("the tables of River, which may be newer than this package: %w", err)
		}
		return len(have) > 0 && have[len(have)-1].Version == newest, nil
	}
	if done, err := migrated(); done || err != nil {
		return err
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		if err == nil || kind == belaysql.Postgres || wait >= time.Second {
			return err
		}
		// SQLite has no lock for this: another process may be at it.
		if errkit.Sleep(ctx, wait) != nil {
			return err
		}
		if done, broken := migrated(); done && broken == nil {
			return nil
		}
	}
}

func clientID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%.40s-%d-%s", host, os.Getpid(), rand.Text()[:10])
}
