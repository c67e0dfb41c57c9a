package inbox

import (
	"context"
	"sync"

	"github.com/belay-go/belay"
)

// Arrivals reports when an integration's next delivery has been verified and stored, or was known already. It
// is an observer of a [Receiver]. The zero value is ready. It is safe for concurrent use.
type Arrivals struct {
	mu      sync.Mutex
	waiting map[route]chan struct{}
}

// Observe implements [belay.Observer].
func (a *Arrivals) Observe(_ context.Context, e belay.Event) {
	if d, ok := e.(belay.DeliveryReceived); ok {
		a.mu.Lock()
		defer a.mu.Unlock()
		at := route{d.Partner, d.Integration}
		if c := a.waiting[at]; c != nil {
			close(c)
			delete(a.waiting, at)
		}
	}
}

// Next returns a function that waits for the first delivery after the call of Next, or until its context is
// done. [Register] takes such a function as confirm.
func (a *Arrivals) Next(partner, integration string) func(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := route{partner, integration}
	c := a.waiting[at]
	if c == nil {
		c = make(chan struct{})
		if a.waiting == nil {
			a.waiting = make(map[route]chan struct{})
		}
		a.waiting[at] = c
	}
	return func(ctx context.Context) error {
		select {
		case <-c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
