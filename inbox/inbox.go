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
	// ErrFull means that the inbox holds as much as it may. A [Receiver] answers it with 503, so that the event is sent again.
	ErrFull = errors.New("inbox: full")
	// ErrClosed means that the inbox is shutting down. It is answered with 503 too.
	ErrClosed = errors.New("inbox: shutting down")
	// ErrNoItem means that a store does not have an item, or no longer.
	ErrNoItem = errors.New("inbox: no such item")
)

// Inbox keeps deliveries. Put keeps those of its events that are new, all or none, and reports whether any was. When it
// returns without an error, they are as safe as the inbox makes them: the partner can be told so. It must be safe for
// concurrent use.
type Inbox interface {
	Put(ctx context.Context, d belay.Delivery) (stored bool, err error)
}

// State is where an event stands.
type State uint8

const (
	// Pending waits to be handled, for the first time or again.
	Pending State = iota
	// Handled is over. Stores keep its ID and no more.
	Handled
	// Dead has failed as often as it may, or for good. It is kept to be looked at and replayed.
	Dead
	// Unhandled has no handler. It is kept, as no failure, to be replayed when it has one.
	Unhandled
)

// String returns "pending", "handled", "dead" or "unhandled".
func (s State) String() string {
	return [...]string{"pending", "handled", "dead", "unhandled"}[min(s, Unhandled)]
}

// Item is one event in an inbox.
type Item struct {
	// Seq is its place, in order of arrival, from 1. A store gives it.
	Seq uint64
	// Partner and Integration say whose it is.
	Partner, Integration string
	// Delivery is the ID of the request that brought it, ID its own, by which it is known when it comes again.
	Delivery, ID string
	// Type and Time are the event's, empty and zero when the partner does not say. Received is when it arrived here.
	Type           string
	Time, Received time.Time
	// Header holds what came with it, without credentials and signatures.
	Header http.Header
	// Body is the event's own JSON, or the body as it came when that is none.
	Body []byte
	// Key orders: those of one key are handled one after the other. Empty for those that need no order.
	Key string

	State    State
	Attempts int       // how many have failed
	Due      time.Time // when the next attempt is due
	Error    string    // of the last attempt, one line; empty when there was none
}

// DedupeKey is the same for the same event of the same integration and for no other.
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

// Change is what became of an item.
type Change struct {
	Seq      uint64
	State    State
	Attempts int
	Due      time.Time
	Error    string
}

// Store keeps items for a [Worker], one at a time. It must be safe for concurrent use. Package storetest tests what is promised here.
type Store interface {
	// Add keeps those items whose DedupeKey it does not know and sets their Seq; it leaves 0 in the others. All are kept or
	// none: when it returns an error, nothing is. ErrFull is such an error. Body and Header are not
	// changed afterwards by anybody.
	Add(ctx context.Context, items []*Item) error
	// Known reports whether it knows the item's DedupeKey.
	Known(ctx context.Context, it *Item) (bool, error)
	// Get returns an item that is not handled, or ErrNoItem.
	Get(ctx context.Context, seq uint64) (Item, error)
	// Settle notes changes, all or none. What is Handled goes, but for its DedupeKey; what is not there is
	// passed over.
	Settle(ctx context.Context, changes []Change) error
	// Items returns what is kept and not handled, in order of Seq.
	Items(ctx context.Context) iter.Seq2[Item, error]
	// Durable reports whether items outlive the process.
	Durable() bool
}
