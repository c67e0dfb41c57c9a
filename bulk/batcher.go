package bulk

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// Batcher combines lookups that come at about the same time into one call. Make it with [NewBatcher]. It is
// safe for concurrent use, and has no goroutine while no lookup waits.
type Batcher[K comparable, V any] struct {
	call func(context.Context, []K) (map[K]V, error)
	most int
	wait time.Duration

	mu   sync.Mutex
	open *batch[K, V]
}

// batch is one call: first it gathers keys, then it is sent.
type batch[K comparable, V any] struct {
	keys    []K
	known   map[K]bool
	timer   *time.Timer
	ctx     context.Context
	cancel  context.CancelFunc
	waiting int // lookups whose context has not ended
	done    chan struct{}
	got     map[K]V
	errs    map[K]error
}

// NewBatcher returns a Batcher whose calls look up at most most keys each: the keys that come within wait of
// the first one. A wait of zero starts the call without waiting for more keys.
//
// The call returns the values that it found, by key; the lookups of a key without a value return
// [belay.ErrNotFound]. A call that the partner refuses as a whole is split in halves and sent again, so that
// one bad key fails alone. Such a refusal has [belay.ClassClient] and a status: 501, 505, or a 4xx other than
// 401, 403, 408, 425 and 429.
//
// Most must be at least 1, wait must not be negative, and call must not be nil; otherwise the error is
// [belay.ErrInvalid].
func NewBatcher[K comparable, V any](
	most int, wait time.Duration, call func(ctx context.Context, keys []K) (map[K]V, error),
) (*Batcher[K, V], error) {
	switch {
	case most < 1:
		return nil, errkit.Invalidf("NewBatcher: most is %d, must be at least 1", most)
	case wait < 0:
		return nil, errkit.Invalidf("NewBatcher: wait is %s, must not be negative", wait)
	case call == nil:
		return nil, errkit.Invalidf("NewBatcher: the call is nil")
	}
	return &Batcher[K, V]{call: call, most: most, wait: wait}, nil
}

// Get returns the value that the call finds for key, or the error of the call. The end of ctx ends the wait;
// the call itself is canceled once the contexts of all its lookups have ended. The call's context has the
// values of the first lookup's context.
func (b *Batcher[K, V]) Get(ctx context.Context, key K) (V, error) {
	var zero V
	if b == nil || b.call == nil || ctx == nil {
		return zero, errkit.Invalidf("Batcher: the batcher was not made by NewBatcher, or the context is nil")
	}
	if ctx.Err() != nil {
		return zero, errkit.Context(ctx)
	}
	if !hashable(key) { // a map would panic, under the lock
		return zero, errkit.Invalidf("Batcher: a key of type %T cannot be the key of a map", key)
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
			return zero, errkit.Join(belay.ErrNotFound, errors.New("the partner's answer does not hold the key"))
		}
		return v, nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			t.cancel()
			if b.open == t { // no lookup may join a canceled call
				b.open = nil
			}
		}
		return zero, errkit.Context(ctx)
	}
}

// hashable reports whether key can be the key of a map: an interface may hold a value that cannot.
func hashable[K comparable](key K) (ok bool) {
	defer func() { ok = recover() == nil }()
	_ = map[K]bool(nil)[key]
	return true
}

// send closes t to further keys and makes its call.
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

// split makes the call for keys. If the partner refuses it as a whole, split makes a call for each half of
// keys.
func (b *Batcher[K, V]) split(t *batch[K, V], keys []K) {
	if t.ctx.Err() != nil {
		for _, key := range keys {
			t.errs[key] = t.ctx.Err()
		}
		return
	}
	got, err := b.ask(t, keys)
	if err == nil {
		for key, v := range got {
			t.got[key] = v
		}
		return
	}
	var e *belay.Error
	if n := len(keys); n > 1 && errors.As(err, &e) && e.Class == belay.ClassClient && e.StatusCode != 0 {
		b.split(t, keys[:n/2])
		b.split(t, keys[n/2:])
		return
	}
	for _, key := range keys {
		t.errs[key] = err
	}
}

// ask makes the call for keys. A panic of the call becomes an error, because no caller's goroutine runs the
// call; so does the end of its goroutine, for every key that has no answer yet.
func (b *Batcher[K, V]) ask(t *batch[K, V], keys []K) (got map[K]V, err error) {
	returned := false
	defer func() {
		switch p := recover(); {
		case p != nil:
			err = errors.New("belay: the call of the Batcher panicked")
		case !returned: // runtime.Goexit: send and split do not go on either
			for _, key := range t.keys {
				if _, ok := t.got[key]; !ok && t.errs[key] == nil {
					t.errs[key] = errors.New("belay: the call of the Batcher ended its goroutine")
				}
			}
		}
	}()
	got, err = b.call(t.ctx, slices.Clone(keys)) // which the call may change
	returned = true
	return got, err
}
