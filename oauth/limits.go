package oauth

import (
	"context"

	"github.com/belay-go/belay"
)

// limits are the limits of a token endpoint: an App's own, and those that it shares with others.
type limits struct{ own, shared *belay.Limiter }

func limiterOf(shared *belay.Limiter, own []belay.Limit) (l limits, err error) {
	l.shared = shared
	l.own, err = belay.NewLimiter(own...)
	return l, err
}

// Acquire waits for permits of all limits.
func (l limits) Acquire(ctx context.Context, t *tickets) error {
	if l.shared != nil {
		t.shared.Tenant = t.Tenant
		if err := l.shared.Acquire(ctx, &t.shared); err != nil {
			return err
		}
	}
	err := l.own.Acquire(ctx, &t.Ticket)
	if err != nil && l.shared != nil {
		l.shared.Release(&t.shared, belay.Outcome{})
	}
	return err
}

// Release reports the outcome to all limits.
func (l limits) Release(t *tickets, o belay.Outcome) {
	l.own.Release(&t.Ticket, o)
	if l.shared != nil {
		l.shared.Release(&t.shared, o)
	}
}

// tickets are the places of one token request under its limits.
type tickets struct {
	belay.Ticket
	shared belay.Ticket
}
