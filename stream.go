package belay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"
)

// defaultParallel is how many items ForEach works on at a time.
const defaultParallel = 5

// mostItemErrors is how many failed items an error holds.
const mostItemErrors = 100

// ForEachOption configures [ForEach].
type ForEachOption func(*forEach)

type forEach struct {
	parallel int
	stop     bool
	err      error
}

// Parallel works on up to n items at a time. The default is 5; less than 1 is an error.
func Parallel(n int) ForEachOption {
	return func(o *forEach) {
		if n < 1 {
			o.err = invalid("Parallel: %d must be at least 1", n)
		}
		o.parallel = n
	}
}

// StopOnError takes no more items after one that failed, and cancels the context of those under way.
func StopOnError() ForEachOption { return func(o *forEach) { o.stop = true } }

// ItemError is an item that failed.
type ItemError struct {
	// Index counts from 0 in the order of the items, and Item is the item itself, which is not printed.
	Index int
	Item  any
	Err   error
}

func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap returns what the item failed with.
func (e *ItemError) Unwrap() error { return e.Err }

// ItemErrors are the items that failed of many. errors.Is and errors.As look at those that it holds.
type ItemErrors struct {
	// Failed is how many did, Done how many were begun.
	Failed, Done int
	// Errors are the first hundred of them.
	Errors []*ItemError
}

// Error returns one line, with the first three.
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

// ForEach calls f for each item, of [Items] or [Values], several at a time. An item that fails does not stop the others; the
// error is an [*ItemErrors] then. An error of the source ends the work when the items under way are done, and is joined to it; so
// does the context's end. All calls of f have returned when ForEach does. A panic of f goes on in the caller.
func ForEach[T any](ctx context.Context, items iter.Seq2[T, error], f func(context.Context, T) error, opts ...ForEachOption) error {
	o := forEach{parallel: defaultParallel}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	switch {
	case o.err != nil:
		return o.err
	case ctx == nil || items == nil || f == nil:
		return invalid("ForEach: the context, the items or the function is nil")
	}
	inner, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	var failed ItemErrors
	var panicked any
	var workers sync.WaitGroup
	defer func() { // workers end too when the source panics
		cancel()
		workers.Wait()
	}()
	room := make(chan struct{}, o.parallel)
	work := func(index int, item T) {
		defer func() {
			if p := recover(); p != nil {
				mu.Lock()
				panicked = p
				mu.Unlock()
				cancel()
			}
			<-room
		}()
		if err := f(inner, item); err != nil {
			mu.Lock()
			defer mu.Unlock()
			if failed.Failed++; len(failed.Errors) < mostItemErrors {
				failed.Errors = append(failed.Errors, &ItemError{index, item, err})
			}
			if o.stop {
				cancel()
			}
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
		source = ended(ctx)
	}
	if failed.Failed == 0 {
		return source
	}
	return both(&failed, source)
}

// Values yields the items of a slice, for [ForEach] and [Batch].
func Values[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Batch yields items in batches of n, the last one smaller. What came before an error is yielded before it. A batch is the
// loop's to keep. N below 1 is an error.
func Batch[T any](items iter.Seq2[T, error], n int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		if n < 1 || items == nil {
			yield(nil, invalid("Batch: %d must be at least 1, and the items not nil", n))
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

// Batcher makes one call of many lookups that come at about the same time. Make it with [NewBatcher]. It is safe for concurrent
// use, and has no goroutine while nobody asks.
type Batcher[K comparable, V any] struct {
	call func(context.Context, []K) (map[K]V, error)
	most int
	wait time.Duration

	mu   sync.Mutex
	open *batch[K, V]
}

// batch is a call that gathers keys, and then the call.
type batch[K comparable, V any] struct {
	keys    []K
	known   map[K]bool
	timer   *time.Timer
	ctx     context.Context
	cancel  context.CancelFunc
	waiting int // who has not gone
	done    chan struct{}
	got     map[K]V
	errs    map[K]error
}

// NewBatcher returns a Batcher that calls up to most keys at once, of those that come within wait of the first. The call returns
// what it found by key; a key that is missing is ErrNotFound for who asked. One that is refused as a whole (a 4xx other than
// 401, 403, 408 and 429) is split in halves, so that one bad key fails alone. Most must be at least 1, wait not negative.
func NewBatcher[K comparable, V any](most int, wait time.Duration, call func(ctx context.Context, keys []K) (map[K]V, error)) (*Batcher[K, V], error) {
	switch {
	case most < 1:
		return nil, invalid("NewBatcher: most is %d, must be at least 1", most)
	case wait < 0:
		return nil, invalid("NewBatcher: wait is %s, must not be negative", wait)
	case call == nil:
		return nil, invalid("NewBatcher: the call is nil")
	}
	return &Batcher[K, V]{call: call, most: most, wait: wait}, nil
}

// Get returns what the call finds for key. Ctx ends the wait; the call itself is cancelled when all who wait for it have gone. It
// carries the values of the first one's context.
func (b *Batcher[K, V]) Get(ctx context.Context, key K) (V, error) {
	var zero V
	if b == nil || b.call == nil || ctx == nil {
		return zero, invalid("Batcher: the batcher was not made by NewBatcher, or the context is nil")
	}
	if ctx.Err() != nil {
		return zero, ended(ctx)
	}
	b.mu.Lock()
	t := b.open
	if t == nil {
		t = &batch[K, V]{known: make(map[K]bool), done: make(chan struct{})}
		t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
		t.timer = time.AfterFunc(b.wait, func() { b.send(t) })
		b.open = t
	}
	t.waiting++
	if !t.known[key] {
		t.known[key] = true
		t.keys = append(t.keys, key)
	}
	full := len(t.keys) >= b.most
	if full {
		b.open = nil
	}
	b.mu.Unlock()
	if full && t.timer.Stop() {
		go b.send(t)
	}
	select {
	case <-t.done:
		if err := t.errs[key]; err != nil {
			return zero, err
		}
		v, ok := t.got[key]
		if !ok {
			return zero, both(ErrNotFound, errors.New("the partner's answer does not hold the key"))
		}
		return v, nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			t.cancel()
			if b.open == t { // nobody else is to join what nobody waits for
				b.open = nil
			}
		}
		return zero, ended(ctx)
	}
}

// send makes the call of a batch.
func (b *Batcher[K, V]) send(t *batch[K, V]) {
	b.mu.Lock()
	if b.open == t {
		b.open = nil
	}
	b.mu.Unlock()
	defer t.cancel()
	t.got, t.errs = make(map[K]V, len(t.keys)), make(map[K]error)
	defer close(t.done)
	b.split(t, t.keys)
}

func (b *Batcher[K, V]) split(t *batch[K, V], keys []K) {
	if t.ctx.Err() != nil {
		for _, key := range keys {
			t.errs[key] = t.ctx.Err()
		}
		return
	}
	got, err := b.ask(t.ctx, keys)
	if err == nil {
		for key, v := range got {
			t.got[key] = v
		}
		return
	}
	var e *Error
	if n := len(keys); n > 1 && errors.As(err, &e) && e.Class == ClassClient && e.StatusCode != 0 {
		b.split(t, keys[:n/2])
		b.split(t, keys[n/2:])
		return
	}
	for _, key := range keys {
		t.errs[key] = err
	}
}

// ask is the call, with a panic of it turned into an error, as it runs on no caller's goroutine.
func (b *Batcher[K, V]) ask(ctx context.Context, keys []K) (got map[K]V, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("belay: the call of the Batcher panicked")
		}
	}()
	return b.call(ctx, keys[:len(keys):len(keys)])
}
