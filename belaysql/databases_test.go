package belaysql_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/internal/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// database is a database that a test may use, and how a process of its own opens it.
type database struct {
	dialect belaysql.Dialect
	dsn     string
}

func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func open(d database) (*sql.DB, error) {
	driver := "sqlite"
	if d.dialect == belaysql.Postgres {
		driver = "pgx"
	}
	return sql.Open(driver, d.dsn)
}

func (d database) store(t testing.TB) *belaysql.Store {
	t.Helper()
	s, err := belaysql.New(t.Context(), d.open(t), d.dialect)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// each runs f on an empty SQLite and, with BELAY_POSTGRES=1, on an empty PostgreSQL.
func each(t *testing.T, f func(t *testing.T, d database)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { f(t, sqliteFile(t)) })
	t.Run("Postgres", func(t *testing.T) {
		if os.Getenv("BELAY_POSTGRES") == "" {
			t.Skip("SKIPPED: BELAY_POSTGRES is not set")
		}
		f(t, database{belaysql.Postgres, pgserver.Database(t)})
	})
}

func sqliteFile(t testing.TB) database {
	return database{belaysql.SQLite, "file:" + filepath.Join(t.TempDir(), "belay.db") +
		"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate"}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
