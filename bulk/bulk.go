// Package bulk does work on many items: [ForEach] calls a function for several items at a time, [Batch]
// yields items in slices, and a [Batcher] combines lookups that come at about the same time into one call.
//
// Items are an iter.Seq2[T, error]: the result of [belay.Items], or a slice by [Of].
package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// defaultParallel is the number of items that ForEach works on at a time, if Parallel sets no other.
const defaultParallel = 5

const defaultPatience = 5 * time.Minute

// mostItemErrors is the most failed items that an ItemErrors holds.
const mostItemErrors = 100

// Option configures [ForEach].
type Option func(*forEach)

type forEach struct {
	parallel int
	patience time.Duration
	stop     bool
	err      error
}

// Patience is the [belay.PatienceContext] of the calls that f makes with its context: how long each may wait for a
// partner that is down. The default is five minutes. Zero gives none; negative is an error.
func Patience(d time.Duration) Option {
	return func(o *forEach) {
		if d < 0 {
			o.err = errkit.Invalidf("Patience: %s must not be negative", d)
		}
		o.patience = d
	}
}

// Parallel lets ForEach work on up to n items at a time. The default is 5; n below 1 is an error.
func Parallel(n int) Option {
	return func(o *forEach) {
		if n < 1 {
			o.err = errkit.Invalidf("Parallel: %d must be at least 1", n)
		}
		o.parallel = n
	}
}

// StopOnError makes ForEach begin no more items once one has failed, and cancels the context of the items in
// progress.
func StopOnError() Option { return func(o *forEach) { o.stop = true } }

// ItemError is the error of one item that failed.
type ItemError struct {
	// Index counts from 0 in the order of the items. Item is the item itself; it is not printed.
	Index int
	Item  any `json:"-"`
	Err   error
}

// Format implements fmt.Formatter. It prints the text of the error, for any verb.
func (e *ItemError) Format(f fmt.State, verb rune) {
	if e == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	text := e.Error()
	if verb == 'q' {
		text = strconv.Quote(text)
	}
	_, _ = io.WriteString(f, text)
}

func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap returns the error with which the item failed.
func (e *ItemError) Unwrap() error { return e.Err }

// ItemErrors is the error of a run in which some items failed. errors.Is and errors.As examine the errors
// that it holds.
type ItemErrors struct {
	// Failed is the number of items that failed, Done the number of items that were begun.
	Failed, Done int
	// Errors are the errors of the first 100 items that failed.
	Errors []*ItemError
}

// Error returns one line, with the first three errors.
func (e *ItemErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "belay: %d of %d items failed", e.Failed, e.Done)
	for i, one := range e.Errors {
		if i == 3 {
			b.WriteString("; …")
			break
		}
		b.WriteString("; " + strings.ReplaceAll(one.Error(), "\n", " "))
	}
	return b.String()
}

// Unwrap returns the errors.
func (e *ItemErrors) Unwrap() []error {
	out := make([]error, len(e.Errors))
	for i, one := range e.Errors {
		out[i] = one
	}
	return out
}

// ForEach calls f for each item, for several items at a time. An item that fails does not stop the others;
// the error is then an [*ItemErrors]. An error of items, or the end of ctx, ends the run once the items in
// progress are done; it is joined to the other errors. All calls of f have returned when ForEach returns. A
// panic of f continues in the caller.
//
// Calls with the context that f gets wait for a partner that is down for up to five minutes, instead of losing one
// item after the other: see [Patience].
func ForEach[T any](
	ctx context.Context, items iter.Seq2[T, error], f func(context.Context, T) error, opts ...Option,
) error {
	o := forEach{parallel: defaultParallel, patience: defaultPatience}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	switch {
	case o.err != nil:
		return o.err
	case ctx == nil || items == nil || f == nil:
		return errkit.Invalidf("ForEach: the context, the items or the function is nil")
	}
	inner, cancel := context.WithCancel(belay.PatienceContext(ctx, o.patience))
	var mu sync.Mutex
	var failed ItemErrors
	var panicked any
	var workers sync.WaitGroup
	defer func() { // the workers also end if items panics
		cancel()
		workers.Wait()
	}()
	room := make(chan struct{}, o.parallel)
	fail := func(index int, item T, err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed.Failed++; len(failed.Errors) < mostItemErrors {
			failed.Errors = append(failed.Errors, &ItemError{index, item, err})
		}
		if o.stop {
			cancel()
		}
	}
	work := func(index int, item T) {
		returned := false
		defer func() {
			if p := recover(); p != nil {
				mu.Lock()
				panicked = p
				mu.Unlock()
				cancel()
			} else if !returned {
				fail(index, item, errGoexit)
			}
			<-room
		}()
		err := f(inner, item)
		if returned = true; err != nil {
			fail(index, item, err)
		}
	}
	var source error
	for item, err := range items {
		if err != nil {
			source = err
			break
		}
		select {
		case room <- struct{}{}:
		case <-inner.Done():
		}
		if inner.Err() != nil {
			break
		}
		index := failed.Done
		failed.Done++
		workers.Go(func() { work(index, item) })
	}
	workers.Wait()
	if panicked != nil {
		panic(panicked)
	}
	if source == nil && ctx.Err() != nil {
		source = errkit.Context(ctx)
	}
	if failed.Failed == 0 {
		return source
	}
	return errkit.Join(&failed, source)
}

// errGoexit is the error of an item whose function ended its goroutine, as runtime.Goexit does.
var errGoexit = errors.New("the function ended its goroutine")

// Of yields the items of a slice, for [ForEach] and [Batch].
func Of[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Batch yields items in slices of n; the last slice may be smaller. Items that came before an error are
// yielded before the error. The loop may keep the slices. An n below 1 is an error, and so are nil items.
func Batch[T any](items iter.Seq2[T, error], n int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		if n < 1 || items == nil {
			yield(nil, errkit.Invalidf("Batch: %d must be at least 1, and the items not nil", n))
			return
		}
		var batch []T
		for item, err := range items {
			if err != nil {
				if len(batch) == 0 || yield(batch, nil) {
					yield(nil, err)
				}
				return
			}
			if batch == nil {
				batch = make([]T, 0, min(n, 1000))
			}
			if batch = append(batch, item); len(batch) == n {
				if !yield(batch, nil) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
