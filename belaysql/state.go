package belaysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// State keeps small values by key: the watermarks of [importer.Incremental], the cursor of an import
// ([importer.Batch]), and what [importer.Changes] has seen. It is an [importer.Watermarks]. Get it from [Store.State].
// It is safe for concurrent use.
type State struct{ s *Store }

// State returns the store of values.
func (s *Store) State() *State { return &State{s} }

// Load returns the value of key, nil if there is none.
func (s *State) Load(ctx context.Context, key string) ([]byte, error) {
	return s.LoadTx(ctx, s.s.db, key)
}

// LoadTx is Load in a transaction.
func (s *State) LoadTx(ctx context.Context, tx Tx, key string) (value []byte, err error) {
	err = tx.QueryRowContext(ctx, "select value from belay_state where key = $1", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("belaysql: reading %q: %w", key, err)
	}
	if value == nil { // as a driver returns an empty one
		value = []byte{}
	}
	return value, nil
}

// Save replaces the value of key.
func (s *State) Save(ctx context.Context, key string, value []byte) error {
	return s.SaveTx(ctx, s.s.db, key, value)
}

// SaveTx is Save in a transaction: with the records of a batch, so that both are stored or neither. A nil value is
// empty.
func (s *State) SaveTx(ctx context.Context, tx Tx, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := tx.ExecContext(ctx, s.s.sql(`insert into belay_state (key, value, updated) values ($1, $2, {now})
		on conflict (key) do update set value = excluded.value, updated = excluded.updated`), key, value)
	if err != nil {
		return fmt.Errorf("belaysql: writing %q: %w", key, err)
	}
	return nil
}

// DeleteTx removes the value of key in a transaction, if there is one.
func (s *State) DeleteTx(ctx context.Context, tx Tx, key string) error {
	if _, err := tx.ExecContext(ctx, "delete from belay_state where key = $1", key); err != nil {
		return fmt.Errorf("belaysql: removing %q: %w", key, err)
	}
	return nil
}

// LoadJSON decodes the value of key into v, such as an [importer.Changes], and reports whether there was one.
func (s *State) LoadJSON(ctx context.Context, key string, v any) (found bool, err error) {
	data, err := s.Load(ctx, key)
	if err != nil || data == nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("belaysql: reading %q: %w", key, err)
	}
	return true, nil
}

// SaveJSONTx stores the JSON of v in a transaction.
func (s *State) SaveJSONTx(ctx context.Context, tx Tx, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("belaysql: writing %q: %w", key, err)
	}
	return s.SaveTx(ctx, tx, key, data)
}
