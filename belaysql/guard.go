package belaysql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/belay-go/belay/importer"
)

// Guard keeps a late event from overwriting a newer record, for all processes on the database: it is [importer.Guard]
// with the versions in a table. Get it from [Store.Guard]. It is safe for concurrent use.
type Guard struct {
	s    *Store
	name string
}

// Guard returns the guard of a kind of record, such as "crm/acme/contacts".
func (s *Store) Guard(name string) *Guard { return &Guard{s, name} }

// NewerTx reports whether v is newer than the version of the record that was written last, and notes it in the
// transaction. If it is, write the record in the same transaction: another one for the same record waits for its end.
// An empty id is an error, and so is a time before 1678 or after 2262.
func (g *Guard) NewerTx(ctx context.Context, tx Tx, id string, v importer.Version) (bool, error) {
	if id == "" {
		return false, errors.New("belaysql: Guard: the id is empty")
	}
	partner, err := nanoseconds(v.Partner)
	if err != nil {
		return false, err
	}
	ours, err := nanoseconds(v.Ours)
	if err != nil {
		return false, err
	}
	n, err := changed(tx.ExecContext(ctx, `insert into belay_versions (guard, id, partner, ours) values ($1, $2, $3, $4)
		on conflict (guard, id) do update set partner = excluded.partner, ours = excluded.ours
		where case when excluded.partner <> 0 and belay_versions.partner <> 0 and excluded.partner <> belay_versions.partner
			then excluded.partner > belay_versions.partner else excluded.ours > belay_versions.ours end`, g.name, id, partner, ours))
	if err != nil {
		return false, fmt.Errorf("belaysql: Guard %q: %w", g.name, err)
	}
	return n > 0, nil
}

// Prune forgets versions that came before a time, and returns their number. An event that is older than that, and
// late, would be written then.
func (g *Guard) Prune(ctx context.Context, before time.Time) (int64, error) {
	at, err := nanoseconds(before)
	if err != nil {
		return 0, err
	}
	n, err := changed(g.s.db.ExecContext(ctx, "delete from belay_versions where guard = $1 and ours < $2", g.name, at))
	if err != nil {
		return 0, fmt.Errorf("belaysql: Guard %q: %w", g.name, err)
	}
	return n, nil
}

// nanoseconds returns a time in nanoseconds since 1970, 0 for the zero time.
func nanoseconds(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if s := t.Unix(); s <= math.MinInt64/int64(time.Second) || s >= math.MaxInt64/int64(time.Second) {
		return 0, fmt.Errorf("belaysql: Guard: the time %s cannot be kept", t.Format(time.RFC3339))
	}
	return t.UnixNano(), nil
}
