package driver

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// A driver can be more than a Driver. These are the abilities that many have, so that applications and tests can ask
// for them; an application declares further ones of its own.
type (
	// Authenticator signs an integration in, or makes sure that it is: it gets the first token, or refreshes one that has
	// ended. It returns an error that is belay.ErrAuth if only the customer can mend it.
	Authenticator interface {
		Authenticate(ctx context.Context) error
	}
	// ResourceLister tells what has changed in the partner's records of a kind, such as "contacts", since a mark that an
	// earlier call returned. An empty mark asks for everything; then nothing counts as deleted. It can be called again
	// with the same mark.
	ResourceLister interface {
		ListResources(ctx context.Context, kind, mark string) (Delta, error)
	}
	// TransactionLister lists the transactions of a customer that were made or changed at since or later, oldest first as
	// far as the partner can. A zero since asks for all. An error ends the sequence.
	TransactionLister interface {
		ListTransactions(ctx context.Context, since time.Time) iter.Seq2[Transaction, error]
	}
	// StatusPusher tells the partner the status of one of its records. It can be called again with the same status,
	// without another effect.
	StatusPusher interface {
		PushStatus(ctx context.Context, id, status string) error
	}
)

// Delta is what has changed.
type Delta struct {
	// Added, Updated and Deleted are ids of the partner's records. A partner that does not tell added from updated records
	// has them in Updated.
	Added, Updated, Deleted []string
	// Merged maps ids that are gone to those of the records in which they went on.
	Merged map[string]string
	// Mark is for the next call. It is not empty after a call without error.
	Mark string
}

// Transaction is money that moved, or will.
type Transaction struct {
	ID string
	// Amount is in the smallest unit of Currency (ISO 4217, in capitals): cents for EUR. It is negative for what was paid
	// back.
	Amount   int64
	Currency string
	Status   string // as the partner calls it
	Created  time.Time
	Raw      json.RawMessage // the partner's own
}

// Abilities returns the names of the abilities that a driver has, of those above, in the order of their names.
func Abilities(d Driver) (names []string) {
	if _, ok := d.(Authenticator); ok {
		names = append(names, "Authenticator")
	}
	if _, ok := d.(ResourceLister); ok {
		names = append(names, "ResourceLister")
	}
	if _, ok := d.(StatusPusher); ok {
		names = append(names, "StatusPusher")
	}
	if _, ok := d.(TransactionLister); ok {
		names = append(names, "TransactionLister")
	}
	return names
}
