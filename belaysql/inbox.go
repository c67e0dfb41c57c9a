package belaysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// InboxConfig configures [Store.Inbox]. The zero value works.
type InboxConfig struct {
	// MaxPending is the number of pending events above which Add returns inbox.ErrFull. Zero means 1,000,000; negative is
	// an error.
	MaxPending int
	// Days is how long the id of an event is remembered, so that a repetition of it is known. Zero means 7; negative is an
	// error.
	Days int
	// DeadDays is how long dead letters are kept. Zero means 90; negative means without end.
	DeadDays int
	// Key is that of inbox.Config, for [Inbox.Put] alone. Nil means any order.
	Key func(inbox.Item) string
}

// Inbox is an [inbox.Store] that several processes share, as an [inbox.Shared]: give it to inbox.Start in processes
// that receive and handle. It is an [inbox.Inbox], too, for a [inbox.Receiver] in a process that only receives. Create
// it with [Store.Inbox]. It is safe for concurrent use.
type Inbox struct {
	s     *Store
	name  string
	cfg   InboxConfig
	owner string
	ttl   time.Duration
	fence atomic.Int64 // of the claim; 0 before the first, -1 after one that was lost
}

var _ inbox.Shared = (*Inbox)(nil)

// Inbox returns the inbox of a name, which is created if it is missing. An empty name is an error.
func (s *Store) Inbox(ctx context.Context, name string, cfg InboxConfig) (*Inbox, error) {
	switch {
	case name == "":
		return nil, errors.New("belaysql: Inbox: the name is empty")
	case cfg.MaxPending < 0:
		return nil, fmt.Errorf("belaysql: Inbox: MaxPending is %d, must not be negative", cfg.MaxPending)
	case cfg.Days < 0:
		return nil, fmt.Errorf("belaysql: Inbox: Days is %d, must not be negative", cfg.Days)
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 1_000_000
	}
	if cfg.Days == 0 {
		cfg.Days = 7
	}
	if cfg.DeadDays == 0 {
		cfg.DeadDays = 90
	}
	if _, err := s.db.ExecContext(ctx, "insert into belay_inboxes (key) values ($1) on conflict (key) do nothing", name); err != nil {
		return nil, fmt.Errorf("belaysql: Inbox: %w", err)
	}
	return &Inbox{s: s, name: name, cfg: cfg, owner: rand.Text(), ttl: leaseTime}, nil
}

// Put implements [inbox.Inbox]: it stores the new events of a delivery.
func (b *Inbox) Put(ctx context.Context, d belay.Delivery) (stored bool, err error) {
	items, err := inbox.Items(d, b.cfg.Key)
	if err != nil {
		return false, err
	}
	if err := b.Add(ctx, items); err != nil {
		return false, err
	}
	for _, it := range items {
		stored = stored || it.Seq != 0
	}
	return stored, nil
}

// Add implements [inbox.Store].
func (b *Inbox) Add(ctx context.Context, items []*inbox.Item) error {
	if len(items) == 0 {
		return nil
	}
	err := b.s.write(ctx, func(tx Tx) error { return b.AddTx(ctx, tx, items) })
	if err != nil {
		for _, it := range items {
			it.Seq = 0
		}
	}
	return err
}

// AddTx is Add in a transaction, with what the events cause in the same database, for example. After an error it has
// added nothing. Transactions that add to one inbox go one after the other: keep them short.
func (b *Inbox) AddTx(ctx context.Context, tx Tx, items []*inbox.Item) error {
	if _, err := tx.ExecContext(ctx, "savepoint belay_add"); err != nil {
		return fmt.Errorf("belaysql: adding events: %w", err)
	}
	err := b.add(ctx, tx, items)
	if err != nil { // so that a transaction that is committed in spite of it has added nothing
		for _, it := range items {
			it.Seq = 0
		}
		if _, undo := tx.ExecContext(ctx, "rollback to savepoint belay_add"); undo != nil {
			return errors.Join(err, undo)
		}
	}
	if _, release := tx.ExecContext(ctx, "release savepoint belay_add"); release != nil {
		return errors.Join(err, release)
	}
	return err
}

func (b *Inbox) add(ctx context.Context, tx Tx, items []*inbox.Item) error {
	// The row of the inbox is locked until the transaction ends, so places are given in the order of commits.
	var seq, pending int64
	err := tx.QueryRowContext(ctx, "update belay_inboxes set seq = seq where key = $1 returning seq, pending", b.name).Scan(&seq, &pending)
	if err != nil {
		return fmt.Errorf("belaysql: adding events: %w", err)
	}
	if err := b.prune(ctx, tx); err != nil {
		return fmt.Errorf("belaysql: adding events: %w", err)
	}
	fresh := int64(0)
	for _, it := range items {
		it.Seq = 0
		key := it.DedupeKey()
		n, err := changed(tx.ExecContext(ctx, b.s.sql(`insert into belay_inbox_known (inbox, dedupe, at) values ($1, $2, {now})
			on conflict (inbox, dedupe) do nothing`), b.name, key[:]))
		if err != nil {
			return fmt.Errorf("belaysql: adding events: %w", err)
		}
		if n == 0 {
			continue
		}
		fresh++
		if pending > 0 && pending+fresh > int64(b.cfg.MaxPending) {
			return fmt.Errorf("%w: %d events wait, %d may", inbox.ErrFull, pending, b.cfg.MaxPending)
		}
		data, err := json.Marshal(storedItem{
			it.Partner, it.Integration, it.Delivery, it.ID, it.Type, it.Key, it.Time, it.Received, it.Header,
		})
		if err != nil {
			return fmt.Errorf("belaysql: adding an event: %w", err)
		}
		body := it.Body
		if body == nil {
			body = []byte{}
		}
		if _, err := tx.ExecContext(ctx, b.s.sql(`insert into belay_inbox (inbox, seq, state, attempts, due, changed, item, body)
			values ($1, $2, 0, $3, $4, {now}, $5, $6)`), b.name, seq+fresh, it.Attempts, unixNano(it.Due), data, body); err != nil {
			return fmt.Errorf("belaysql: adding an event: %w", err)
		}
		it.Seq = uint64(seq + fresh)
	}
	if fresh == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "update belay_inboxes set seq = seq + $1, pending = pending + $1 where key = $2", fresh, b.name); err != nil {
		return fmt.Errorf("belaysql: adding events: %w", err)
	}
	return nil
}

// prune forgets a few ids and dead letters that are too old. The caller holds the row of the inbox.
func (b *Inbox) prune(ctx context.Context, tx Tx) error {
	const day = 24 * int64(time.Hour/time.Millisecond)
	_, err := tx.ExecContext(ctx, b.s.sql(`delete from belay_inbox_known where inbox = $1 and dedupe in (
		select dedupe from belay_inbox_known where inbox = $1 and at < {now} - $2 order by at limit 20)`), b.name, int64(b.cfg.Days)*day)
	if err != nil || b.cfg.DeadDays < 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, b.s.sql(`delete from belay_inbox where inbox = $1 and seq in (
		select seq from belay_inbox where inbox = $1 and state > 0 and changed < {now} - $2 order by state, seq limit 20)`),
		b.name, int64(b.cfg.DeadDays)*day)
	return err
}

// storedItem is an item without its state and its body.
type storedItem struct {
	Partner, Integration, Delivery, ID, Type string
	Key                                      string `json:",omitempty"`
	Time, Received                           time.Time
	Header                                   http.Header `json:",omitempty"`
}

// Known implements [inbox.Store].
func (b *Inbox) Known(ctx context.Context, it *inbox.Item) (bool, error) {
	key := it.DedupeKey()
	var one int
	err := b.s.db.QueryRowContext(ctx, "select 1 from belay_inbox_known where inbox = $1 and dedupe = $2", b.name, key[:]).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

const itemColumns = "seq, state, attempts, due, error, failures, item"

// scan reads a row of itemColumns, and of more.
func scan(row interface{ Scan(...any) error }, it *inbox.Item, more ...any) error {
	var state uint8
	var due int64
	var text, failures, data []byte
	if err := row.Scan(append([]any{&it.Seq, &state, &it.Attempts, &due, &text, &failures, &data}, more...)...); err != nil {
		return err
	}
	var s storedItem
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("belaysql: event %d: %w", it.Seq, err)
	}
	it.Partner, it.Integration, it.Delivery, it.ID, it.Type, it.Key = s.Partner, s.Integration, s.Delivery, s.ID, s.Type, s.Key
	it.Time, it.Received, it.Header = s.Time, s.Received, s.Header
	it.State, it.Due, it.Error = inbox.State(state), timeOf(due), string(text)
	if len(failures) > 0 {
		if err := json.Unmarshal(failures, &it.Failures); err != nil {
			return fmt.Errorf("belaysql: event %d: %w", it.Seq, err)
		}
	}
	return nil
}

// Get implements [inbox.Store].
func (b *Inbox) Get(ctx context.Context, seq uint64) (it inbox.Item, err error) {
	err = scan(b.s.db.QueryRowContext(ctx, "select "+itemColumns+", body from belay_inbox where inbox = $1 and seq = $2", b.name, int64(seq)),
		&it, &it.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return inbox.Item{}, fmt.Errorf("%w: %d", inbox.ErrNoItem, seq)
	}
	if err != nil {
		return inbox.Item{}, err
	}
	return it, nil
}

// Items implements [inbox.Store].
func (b *Inbox) Items(ctx context.Context) iter.Seq2[inbox.Item, error] {
	return b.walk(ctx, 0, "select "+itemColumns+", body from belay_inbox where inbox = $1 and seq > $2 order by seq limit $3", true)
}

// Pending implements [inbox.Shared].
func (b *Inbox) Pending(ctx context.Context, after uint64) iter.Seq2[inbox.Item, error] {
	return b.walk(ctx, after, "select "+itemColumns+" from belay_inbox where inbox = $1 and state = 0 and seq > $2 order by seq limit $3", false)
}

// walk reads items in portions, so that no connection is held while the loop handles one.
func (b *Inbox) walk(ctx context.Context, after uint64, query string, bodies bool) iter.Seq2[inbox.Item, error] {
	const portion = 200
	return func(yield func(inbox.Item, error) bool) {
		for {
			items, err := b.portion(ctx, query, after, portion, bodies)
			if err != nil {
				yield(inbox.Item{}, fmt.Errorf("belaysql: reading events: %w", err))
				return
			}
			for _, it := range items {
				if after = it.Seq; !yield(it, nil) {
					return
				}
			}
			if len(items) < portion {
				return
			}
		}
	}
}

func (b *Inbox) portion(ctx context.Context, query string, after uint64, n int, bodies bool) (items []inbox.Item, err error) {
	rows, err := b.s.db.QueryContext(ctx, query, b.name, int64(after), n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var it inbox.Item
		if bodies {
			err = scan(rows, &it, &it.Body)
		} else {
			err = scan(rows, &it)
		}
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, rows.Err()
}

// Settle implements [inbox.Store].
func (b *Inbox) Settle(ctx context.Context, changes []inbox.Change) error {
	if len(changes) == 0 {
		return nil
	}
	return b.s.write(ctx, func(tx Tx) error {
		var fence int64
		err := tx.QueryRowContext(ctx, "update belay_inboxes set seq = seq where key = $1 returning fence", b.name).Scan(&fence)
		if err != nil {
			return fmt.Errorf("belaysql: settling events: %w", err)
		}
		if claim := b.fence.Load(); claim != 0 && claim != fence {
			return inbox.ErrClaimLost
		}
		pending := int64(0)
		for _, c := range changes {
			n, err := b.settle(ctx, tx, &c)
			if err != nil {
				return fmt.Errorf("belaysql: settling event %d: %w", c.Seq, err)
			}
			pending += n
		}
		if pending == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, "update belay_inboxes set pending = pending + $1 where key = $2", pending, b.name)
		return err
	})
}

// settle applies one change, and returns by how many it changes the number of pending events.
func (b *Inbox) settle(ctx context.Context, tx Tx, c *inbox.Change) (pending int64, err error) {
	var was uint8
	err = tx.QueryRowContext(ctx, "select state from belay_inbox where inbox = $1 and seq = $2", b.name, int64(c.Seq)).Scan(&was)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if inbox.State(was) == inbox.Pending {
		pending--
	}
	if c.State == inbox.Handled {
		_, err = tx.ExecContext(ctx, "delete from belay_inbox where inbox = $1 and seq = $2", b.name, int64(c.Seq))
		return pending, err
	}
	if c.State == inbox.Pending {
		pending++
	}
	var failures []byte // null keeps those that are there
	if c.Failures != nil {
		if failures, err = json.Marshal(c.Failures); err != nil {
			return 0, err
		}
	}
	_, err = tx.ExecContext(ctx, b.s.sql(`update belay_inbox set state = $1, attempts = $2, due = $3, error = $4,
		failures = coalesce($5, failures), changed = {now} where inbox = $6 and seq = $7`),
		int64(c.State), c.Attempts, unixNano(c.Due), []byte(c.Error), failures, b.name, int64(c.Seq))
	return pending, err
}

// Durable returns true.
func (b *Inbox) Durable() bool { return true }

// Claim implements [inbox.Shared]: it holds a lease, a row that it renews. A process that dies lets another one go on
// after ten seconds, one that shuts down at once.
func (b *Inbox) Claim(ctx context.Context) (held context.Context, release func(), err error) {
	l, err := b.s.acquire(ctx, "belay_inboxes", b.name, b.owner, b.ttl, 500*time.Millisecond)
	if err != nil {
		return nil, nil, fmt.Errorf("belaysql: claiming the inbox %q: %w", b.name, err)
	}
	b.fence.Store(l.fence)
	within, stop := l.renew(context.WithoutCancel(ctx))
	return within, func() {
		b.fence.Store(-1)
		stop()
		l.release(context.WithoutCancel(ctx))
	}, nil
}

// unixNano returns a time in nanoseconds since 1970, 0 for the zero time.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}
