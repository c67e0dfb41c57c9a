package belaysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DayKey returns the key of a piece of work that is done once a day: "integration:resource:2026-11-29". A colon in a
// name is written %3A, so that different names have different keys.
func DayKey(integration, resource string, day time.Time) string {
	escape := strings.NewReplacer("%", "%25", ":", "%3A").Replace
	return escape(integration) + ":" + escape(resource) + ":" + day.Format(time.DateOnly)
}

// FirstTx reports whether key is used for the first time in the given time, and notes it in the transaction. Do the
// work in the same transaction, or note its key in the one that completes it: if it fails, the next one is the first
// again. Another transaction with the same key waits for its end. Zero means 24 hours; negative, and an empty key, are
// errors.
func (s *Store) FirstTx(ctx context.Context, tx Tx, key string, within time.Duration) (bool, error) {
	switch {
	case key == "":
		return false, errors.New("belaysql: FirstTx: the key is empty")
	case within < 0:
		return false, fmt.Errorf("belaysql: FirstTx: %s must not be negative", within)
	case within == 0:
		within = 24 * time.Hour
	}
	n, err := changed(tx.ExecContext(ctx, s.sql(`insert into belay_keys (key, until) values ($1, {now} + $2)
		on conflict (key) do update set until = excluded.until where belay_keys.until <= {now}`), key, within.Milliseconds()))
	if err != nil {
		return false, fmt.Errorf("belaysql: FirstTx: %w", err)
	}
	return n > 0, nil
}

// First is FirstTx without a transaction: for work that must not be repeated, even if it failed. [Store.Forget] allows
// it again.
func (s *Store) First(ctx context.Context, key string, within time.Duration) (bool, error) {
	return s.FirstTx(ctx, s.db, key, within)
}

// Forget forgets a key.
func (s *Store) Forget(ctx context.Context, key string) error {
	if _, err := s.db.ExecContext(ctx, "delete from belay_keys where key = $1", key); err != nil {
		return fmt.Errorf("belaysql: Forget: %w", err)
	}
	return nil
}

// Prune removes the keys whose time is over, and returns their number. Call it now and then, once an hour for example:
// nothing else removes them.
func (s *Store) Prune(ctx context.Context) (removed int64, err error) {
	for {
		n, err := changed(s.db.ExecContext(ctx, s.sql(`delete from belay_keys where key in (
			select key from belay_keys where until <= {now} order by until limit 1000)`)))
		if removed += n; err != nil || n < 1000 {
			return removed, err
		}
	}
}
