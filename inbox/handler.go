package inbox

import (
	"context"
	"errors"
)

// Handler handles one event. After an error the event is retried, unless the error is [Permanent]. If the
// error has a wait that [belay.RetryAfter] finds, the retry comes no sooner than that, up to 24 hours. A
// panic counts as an error. A Handler gets each event at least once, and must return soon after ctx is done.
// Calls made with ctx carry the event's id as their correlation id ([belay.Correlation]).
type Handler func(ctx context.Context, it Item) error

// Permanent marks an error as final: the event becomes a dead letter at once. A nil error stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by [Permanent].
func IsPermanent(err error) bool {
	var final permanent
	return errors.As(err, &final)
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }
