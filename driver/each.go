package driver

import (
	"context"
	"errors"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/bulk"
)

// Result is the outcome of one item of [Each].
type Result[R any] struct {
	Value R
	// RequestID is the partner's ID of the call, to quote to its support. Attempts is the number of attempts
	// sent.
	RequestID string
	Attempts  int
	Err       error
}

// ErrNotBegun is the error of an item that was not begun, because another item failed and bulk.StopOnError
// was given.
var ErrNotBegun = errors.New("driver: the item was not begun")

var errEnded = errors.New("driver: the function ended its goroutine")

// Each calls f for each item, five at a time, or as many as [bulk.Parallel] says. It is made for upserts at a
// partner that takes one at a time. Function f passes info to its call with [belay.Into]. The results are in
// the order of the items; an item that fails does not stop the others. If ctx ends, the items that were not
// begun have its error.
func Each[T, R any](
	ctx context.Context, items []T,
	f func(ctx context.Context, item T, info *belay.Info) (R, error), opts ...bulk.Option,
) []Result[R] {
	results := make([]Result[R], len(items))
	begun, returned := make([]bool, len(items)), make([]bool, len(items))
	index := make([]int, len(items))
	for i := range index {
		index[i] = i
	}
	err := bulk.ForEach(ctx, bulk.Of(index), func(ctx context.Context, i int) error {
		begun[i] = true
		var info belay.Info
		r := &results[i]
		r.Value, r.Err = f(ctx, items[i], &info)
		returned[i] = true
		r.RequestID, r.Attempts = info.RequestID, info.Attempts
		return r.Err
	}, opts...)
	for i := range results {
		if begun[i] && !returned[i] { // runtime.Goexit
			results[i].Err = errEnded
		}
		if !begun[i] {
			if results[i].Err = ErrNotBegun; ctx != nil && ctx.Err() != nil {
				results[i].Err = context.Cause(ctx)
			} else if errors.Is(err, belay.ErrInvalid) {
				results[i].Err = err
			}
		}
	}
	return results
}
