package tasks

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// EventArgs are the arguments of the task of a webhook's event.
type EventArgs struct {
	Item inbox.Item `json:"item"`
}

// Kind returns "belay_event".
func (EventArgs) Kind() string { return "belay_event" }

// Company returns the integration: the events of one customer do not hold up those of others.
func (a EventArgs) Company() string { return a.Item.Integration }

// Events configures [Inbox].
type Events struct {
	// Queue returns the queue for an event. Nil means [QueueName] of its partner; an empty queue is River's default. Some
	// process must work on it.
	Queue func(inbox.Item) string
	// Remember is how long the id of an event is remembered, so that a repetition of it is known. Zero means 7 days; less
	// than 24 hours is an error.
	Remember time.Duration
	// Tx is called with the new events in the transaction that stores their tasks, for rows of your own. An error stores
	// nothing. Nil means none.
	Tx func(ctx context.Context, tx *sql.Tx, items []*inbox.Item) error
}

// Inbox returns an [inbox.Inbox], for an [inbox.Receiver], that stores events as tasks: ids, tasks and what Events.Tx
// writes are one transaction, and the partner gets its 2xx after the commit. Add an [EventWorker] to the workers.
// Events of one key may be handled in another order: where it matters, use package inbox's own Worker, on
// [belaysql.Store.Inbox]. A queue that is full is inbox.ErrFull.
func Inbox(c *Client[*sql.Tx], e Events) (inbox.Inbox, error) {
	if c == nil {
		return nil, errors.New("tasks: Inbox: the client is nil")
	}
	if e.Remember == 0 {
		e.Remember = 7 * 24 * time.Hour
	}
	if e.Remember < 24*time.Hour {
		return nil, fmt.Errorf("tasks: Inbox: Remember is %s, must be at least 24 hours", e.Remember)
	}
	if e.Queue == nil {
		e.Queue = func(it inbox.Item) string { return QueueName(it.Partner) }
	}
	return &events{c, e}, nil
}

type events struct {
	c *Client[*sql.Tx]
	Events
}

// Put implements [inbox.Inbox].
func (e *events) Put(ctx context.Context, d belay.Delivery) (stored bool, err error) {
	items, err := inbox.Items(d, nil)
	if err != nil || len(items) == 0 {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putWithin) // whether it is stored must not stay open
	defer cancel()
	tx, err := e.c.db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("tasks: storing events: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after the commit
	keys := make([]string, len(items))   // taken in order: two deliveries that share events would otherwise wait for each other
	for i, it := range items {
		key := it.DedupeKey()
		keys[i] = "event " + hex.EncodeToString(key[:])
	}
	isNew := make(map[string]bool)
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if isNew[key], err = e.c.store.FirstTx(ctx, tx, key, e.Remember); err != nil {
			return false, err
		}
	}
	for _, it := range items { // PostgreSQL takes no NUL
		for _, text := range []*string{&it.Partner, &it.Integration, &it.Delivery, &it.ID, &it.Type, &it.Key} {
			*text = withoutNUL(*text)
		}
	}
	var fresh []*inbox.Item
	var params []river.InsertManyParams
	for i, it := range items {
		if !isNew[keys[i]] {
			continue
		}
		isNew[keys[i]] = false // twice in one delivery
		fresh = append(fresh, it)
		params = append(params, river.InsertManyParams{Args: EventArgs{*it}, InsertOpts: &river.InsertOpts{Queue: e.Queue(*it)}})
	}
	if len(fresh) == 0 {
		return false, nil
	}
	if _, err := e.c.InsertManyTx(ctx, tx, params); err != nil {
		if full := (*QueueFullError)(nil); errors.As(err, &full) {
			err = fmt.Errorf("%w: %w", inbox.ErrFull, err)
		}
		return false, err
	}
	if e.Tx != nil {
		if err := e.Tx(ctx, tx, fresh); err != nil {
			return false, err
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("tasks: storing events: %w", err)
	}
	return true, nil
}

// QueueName returns a name as that of a queue: River allows small letters and digits, with single "_" and "-" between
// them, and 64 of them. A name without any of these is "events".
func QueueName(name string) string {
	if len(name) <= 64 && validQueue.MatchString(name) {
		return name
	}
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
			gap = false
			if b.Len() >= 63 {
				break
			}
			continue
		}
		gap = true
	}
	if b.Len() == 0 {
		return "events"
	}
	return b.String()
}

// validQueue is what River allows.
var validQueue = regexp.MustCompile(`^[a-z0-9]+([_-]?[a-z0-9]+)*$`)

// putWithin bounds the time in which a delivery is stored.
const putWithin = 30 * time.Second

// EventWorker returns a worker that passes events to a handler, such as an [inbox.Mux]'s. Its errors decide as those of
// other tasks; one of inbox.Permanent makes the event a dead letter.
func EventWorker(h inbox.Handler) river.Worker[EventArgs] {
	return river.WorkFunc(func(ctx context.Context, job *river.Job[EventArgs]) error {
		it := job.Args.Item
		it.Seq, it.Attempts = uint64(job.ID), job.Attempt-1
		return h(ctx, it)
	})
}
