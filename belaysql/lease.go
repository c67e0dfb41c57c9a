package belaysql

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/belay-go/belay/internal/errkit"
)

// ErrLeaseLost is the error of a process that did not renew a lease in time, because it stood still or could not reach
// the database: another process may have taken it meanwhile, so nothing was stored.
var ErrLeaseLost = errors.New("belaysql: the lease was lost")

// leaseTime is how long a lease lasts that nobody renews.
const leaseTime = 10 * time.Second

// lease is a row that one process holds. Times are the database's, so that the clocks of the processes do not matter.
// Nor does a jump of the database's clock: whoever waits asks it once how long the lease lasts, and then waits for as
// long by the time that passes.
type lease struct {
	s          *Store
	table, key string
	fence      int64 // greater than that of every holder before
	ttl        time.Duration
}

// acquire waits until it has the lease of a key, and asks at least every longest.
func (s *Store) acquire(ctx context.Context, table, key, owner string, ttl, longest time.Duration) (*lease, error) {
	if _, err := s.db.ExecContext(ctx, "insert into "+table+" (key) values ($1) on conflict (key) do nothing", key); err != nil {
		return nil, err
	}
	l := &lease{s: s, table: table, key: key, ttl: ttl}
	type row struct{ fence, until int64 }
	have, ends := row{until: -1}, time.Time{}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, longest) {
		var now row
		var left int64
		err := s.db.QueryRowContext(ctx, s.sql("select fence, lease_until, lease_until - {now} from "+table+" where key = $1"), key).
			Scan(&now.fence, &now.until, &left)
		if err != nil {
			return nil, err
		}
		if now != have { // it has a new holder, or was renewed
			have, ends = now, time.Now().Add(time.Duration(min(max(0, left), ttl.Milliseconds()))*time.Millisecond)
		}
		if !time.Now().Before(ends) {
			// A caller that gives up as the lease is taken would leave one that nobody releases.
			asking, end := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
			err := s.db.QueryRowContext(asking, s.sql("update "+table+` set owner = $1, lease_until = {now} + $2, fence = fence + 1
				where key = $3 and fence = $4 and lease_until = $5 returning fence`), owner, ttl.Milliseconds(), key, have.fence, have.until).
				Scan(&l.fence)
			end()
			switch {
			case err == nil && ctx.Err() != nil:
				l.release(ctx)
				return nil, context.Cause(ctx)
			case !errors.Is(err, sql.ErrNoRows):
				return l, err
			}
		}
		if err := errkit.Sleep(ctx, wait/2+rand.N(wait/2)); err != nil {
			return nil, err
		}
	}
}

// renew renews the lease until stop is called. The context that it returns ends when the lease is lost, before another
// process can take it.
func (l *lease) renew(ctx context.Context) (within context.Context, stop func()) {
	within, cancel := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	quit := make(chan struct{})
	done.Go(func() {
		ends := time.Now().Add(l.ttl)
		for {
			timer := time.NewTimer(l.ttl / 3)
			select {
			case <-timer.C:
			case <-quit:
				timer.Stop()
				return
			}
			began := time.Now()
			query, end := context.WithDeadline(context.WithoutCancel(ctx), began.Add(l.ttl/3))
			n, err := changed(l.s.db.ExecContext(query, l.s.sql("update "+l.table+" set lease_until = {now} + $1 where key = $2 and fence = $3"),
				l.ttl.Milliseconds(), l.key, l.fence))
			end()
			switch {
			case err == nil && n == 1:
				ends = began.Add(l.ttl)
			case err == nil, time.Now().Add(l.ttl / 3).After(ends):
				cancel(ErrLeaseLost)
				return
			}
		}
	})
	return within, func() {
		close(quit)
		done.Wait()
		cancel(nil)
	}
}

// release lets another process have the lease at once.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	_, _ = l.s.db.ExecContext(ctx, "update "+l.table+" set owner = null, lease_until = 0 where key = $1 and fence = $2", l.key, l.fence)
}
