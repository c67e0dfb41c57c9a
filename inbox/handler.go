package inbox

import (
	"context"
)

// Handler handles one event. An error makes it come again, unless it is [Permanent]; where [belay.RetryAfter] knows how long to
// wait, no sooner than that. A panic is an error. It gets an event at least once, and must return soon after ctx is done.
type Handler func(ctx context.Context, it Item) error

// Permanent makes an error final: the event is set aside at once. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }
