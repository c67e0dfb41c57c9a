package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/belay-go/belay"
)

var (
	// ErrFull means that the inbox has reached its bound. A [Receiver] answers it with 503, so that the
	// partner sends the event again.
	ErrFull = errors.New("inbox: full")
	// ErrClosed means that the inbox is shutting down. A [Receiver] answers it with 503 too.
	ErrClosed = errors.New("inbox: shutting down")
	// ErrNoItem means that a store does not have an item, or has it no longer.
	ErrNoItem = errors.New("inbox: no such item")
)

// Inbox stores deliveries. Put stores the events that are new, all of them or none, and reports whether there
// was any. If it returns no error, the events are as durable as the inbox makes them, and the partner can get
// a 2xx. Put must be safe for concurrent use.
type Inbox interface {
	Put(ctx context.Context, d belay.Delivery) (stored bool, err error)
}

// State is the state of an event in an inbox.
type State uint8

const (
	// Pending is an event that waits for its first attempt or for a retry.
	Pending State = iota
	// Handled is an event that needs no more attempts. Stores keep its ID and no more.
	Handled
	// Dead is a dead letter: it has failed as often as it may, or with a [Permanent] error. It is kept for
	// inspection and replay.
	Dead
	// Unhandled is a dead letter without a handler. It does not count as a failure, and is kept for a replay
	// once it has a handler.
	Unhandled
)

// String returns "pending", "handled", "dead" or "unhandled".
func (s State) String() string {
	return [...]string{"pending", "handled", "dead", "unhandled"}[min(s, Unhandled)]
}

// Item is one event in an inbox.
type Item struct {
	// Seq is the item's position in the order of arrival, from 1. The store assigns it.
	Seq uint64
	// Partner and Integration identify the integration that the event belongs to.
	Partner, Integration string
	// Delivery is the ID of the request that brought the event. ID is the event's own ID, by which a repeated
	// event is recognized.
	Delivery, ID string
	// Type and Time are the event's own, empty and zero if the partner does not send them. Received is the
	// time of arrival here.
	Type           string
	Time, Received time.Time
	// Header holds the headers of the request, without credentials and signatures.
	Header http.Header
	// Body is the event's own JSON, or the body of the request as it came if that is not JSON.
	Body []byte
	// Key orders events: events of one key are handled one after the other. Empty means that the event needs
	// no order.
	Key string

	State    State
	Attempts int       // number of failed attempts
	Due      time.Time // when the next attempt is due
	Error    string    // of the last attempt, one line; empty if there was none
	Failures []Failure // the last failed attempts, at most 12, oldest first
}

// Failure is one failed attempt of an event.
type Failure struct {
	At    time.Time
	Error string // one line of at most 200 bytes, without what looks like a credential
	Stack string `json:",omitempty"` // of a panic in the last attempt, at most 2 KiB; otherwise empty
}

// FailedAt returns when the last attempt failed, the zero time if none has.
func (it *Item) FailedAt() time.Time {
	if len(it.Failures) == 0 {
		return time.Time{}
	}
	return it.Failures[len(it.Failures)-1].At
}

// DedupeKey returns a hash of the partner, the integration and the event's ID. It is the same for the same
// event of the same integration, and different for every other event.
func (it *Item) DedupeKey() (key [sha256.Size]byte) {
	h := sha256.New()
	for _, s := range []string{it.Partner, it.Integration, it.ID} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	h.Sum(key[:0])
	return key
}

// Change is the new state of an item: after an attempt, a replay or a discard.
type Change struct {
	Seq      uint64
	State    State
	Attempts int
	Due      time.Time
	Error    string
	Failures []Failure // all that are to be kept, see Item; nil keeps those that the store has
}

// Store stores the items of a [Worker], one worker at a time. It must be safe for concurrent use. Package
// storetest tests the promises below.
type Store interface {
	// Add stores the items whose DedupeKey is unknown, and sets their Seq; it sets the Seq of the others to
	// 0. It stores all of the new items or none: if it returns an error, nothing is stored. ErrFull is such
	// an error. Nobody changes Body and Header afterwards.
	Add(ctx context.Context, items []*Item) error
	// Known reports whether the store knows the item's DedupeKey.
	Known(ctx context.Context, it *Item) (bool, error)
	// Get returns an item that is not handled, or ErrNoItem.
	Get(ctx context.Context, seq uint64) (Item, error)
	// Settle applies changes, all of them or none. An item that becomes Handled is removed, except for its
	// DedupeKey. A change to an item that the store does not have is ignored.
	Settle(ctx context.Context, changes []Change) error
	// Items returns the stored items that are not handled, in order of Seq.
	Items(ctx context.Context) iter.Seq2[Item, error]
	// Durable reports whether items survive the end of the process.
	Durable() bool
}
