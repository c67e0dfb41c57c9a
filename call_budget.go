package belay

import (
	"context"
	"sync/atomic"
)

// callBudget is how many attempts a piece of work may still send. A nil one has no end.
type callBudget struct {
	left  atomic.Int64
	outer *callBudget
}

// WithCallBudget returns a context whose calls may send n attempts together, retries among them: a bound on
// what a piece of work spends of a quota. An attempt beyond it is not sent; its call fails with
// ErrCallBudget, as Refused. One that certainly did not reach the partner counts for nothing. With n below
// 1 nothing is sent. A budget inside another spends from both. A nil ctx means context.Background.
func WithCallBudget(ctx context.Context, n int) context.Context {
	return CallContext(ctx, callOption(func(o *callOptions) {
		o.budget = &callBudget{outer: o.budget}
		o.budget.left.Store(int64(n))
	}))
}

// spend takes one attempt from the budget and those around it, or returns false and takes none.
func (b *callBudget) spend() bool {
	for at := b; at != nil; at = at.outer {
		if at.left.Add(-1) < 0 {
			at.left.Add(1)
			for undo := b; undo != at; undo = undo.outer {
				undo.left.Add(1)
			}
			return false
		}
	}
	return true
}

// giveBack takes back a spend.
func (b *callBudget) giveBack() {
	for at := b; at != nil; at = at.outer {
		at.left.Add(1)
	}
}
