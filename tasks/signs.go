package tasks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"modernc.org/sqlite"

	"github.com/belay-go/belay/internal/errkit"
)

// signs are sent by a connection that is used for nothing else: behind the statements of many tasks they would come too late,
// and others would take the process for dead.
type signs struct {
	db   *sql.DB
	turn chan struct{} // holds one value while a sign is being sent
	conn *sql.Conn     // nil until it is needed
}

func newSigns(db *sql.DB) *signs { return &signs{db: db, turn: make(chan struct{}, 1)} }

// exec runs a statement on the connection.
func (s *signs) exec(ctx context.Context, statement string, args ...any) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	for broken := false; ; {
		var err error
		if s.conn == nil {
			s.conn, err = s.db.Conn(ctx)
		}
		if err == nil {
			_, err = s.conn.ExecContext(ctx, statement, args...)
		}
		switch {
		case err == nil:
			return nil
		case writerBusy(err) && errkit.Sleep(ctx, 5*time.Millisecond) == nil:
			continue
		}
		s.free()
		if broken || !errors.Is(err, driver.ErrBadConn) || ctx.Err() != nil {
			return err
		}
		broken = true
	}
}

func (s *signs) free() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// close gives the connection back. The next sign takes another one.
func (s *signs) close() {
	s.turn <- struct{}{}
	s.free()
	<-s.turn
}

// writerBusy reports whether another process writes to the file. SQLite lets nobody stand in line, and looks ever less often
// itself: who looks more often comes first.
func writerBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == 5 // SQLITE_BUSY
}
