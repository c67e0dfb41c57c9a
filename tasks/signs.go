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

// signs sends signs of life, by a connection that is used for nothing else: behind the statements of many tasks they would
// come too late, and others would take the process for dead. It is safe for concurrent use.
type signs struct {
	db   *sql.DB
	each time.Duration // for one try: a connection that hangs is replaced
	turn chan struct{} // holds one value while a sign is being sent; it guards conn and over
	conn *sql.Conn     // nil until it is needed
	over bool          // the client is closed
}

func newSigns(db *sql.DB, each time.Duration) *signs {
	return &signs{db: db, each: each, turn: make(chan struct{}, 1)}
}

// longestSign bounds the time for a sign, with all its tries.
const longestSign = 20 * time.Second

// exec runs a statement on the connection. After Close it is errClosed.
func (s *signs) exec(ctx context.Context, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, longestSign)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	for {
		err := s.try(ctx, statement, args)
		switch {
		case err == nil || errors.Is(err, errClosed):
			return err
		case !writerBusy(err):
			s.free()
			if !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
		if errkit.Sleep(ctx, 5*time.Millisecond) != nil {
			return err
		}
	}
}

var errClosed = errors.New("tasks: the client is closed")

// try runs a statement once. The caller has the turn.
func (s *signs) try(ctx context.Context, statement string, args []any) (err error) {
	if s.over {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, s.each)
	defer cancel()
	if s.conn == nil {
		if s.conn, err = s.db.Conn(ctx); err != nil {
			return err
		}
	}
	_, err = s.conn.ExecContext(ctx, statement, args...)
	return err
}

// free gives the connection back. The caller has the turn.
func (s *signs) free() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// release gives the connection back. The next sign takes another one, unless the client is closed.
func (s *signs) release(closed bool) {
	s.turn <- struct{}{}
	s.free()
	s.over = s.over || closed
	<-s.turn
}

// writerBusy reports whether another process writes to the file. SQLite has no queue for that, and looks ever less often
// itself: who looks more often comes first.
func writerBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == 5 // SQLITE_BUSY
}
