package inbox_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// slowAck is a store whose Settle has written but returns a moment later (bbolt: the commit is visible before
// Batch returns).
type slowAck struct{ inbox.Store }

func (s slowAck) Settle(ctx context.Context, c []inbox.Change) error {
	err := s.Store.Settle(ctx, c)
	if c[0].State == inbox.Dead {
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// A Replay while the last attempt is being noted loses nothing.
func TestReplayWhileItIsNoted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := start(t, slowAck{inbox.NewMemory()}, func(context.Context, inbox.Item) error {
			if n++; n == 1 {
				return inbox.Permanent(errTrouble)
			}
			return nil
		}, inbox.Config{})
		put(t, w, "evt_1")
		time.Sleep(5 * time.Millisecond)
		k, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
		require.NoError(t, err)
		require.Equal(t, 1, k)
		pass(24 * time.Hour)
		require.Equal(
			t,
			2,
			n,
			"replayed, but never handled: pending %d, aside %d",
			w.Numbers().Pending,
			len(asideIDs(t, w, inbox.Filter{})),
		)
	})
}

// Shutdown ends when a Put under way keeps nothing.
func TestShutdownDuringPutOfAKnownEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		w := start(t, &hooked{Store: inbox.NewMemory(), add: func() error {
			if slow.Load() {
				time.Sleep(2 * time.Second)
			}
			return nil
		}}, func(context.Context, inbox.Item) error { return nil }, inbox.Config{})
		put(t, w, "evt_1")
		synctest.Wait()
		slow.Store(true)
		go func() { _, _ = w.Put(context.Background(), delivery("evt_1")) }() // known
		time.Sleep(time.Second)
		began := time.Now()
		require.NoError(t, w.Shutdown(t.Context()))
		require.Less(t, time.Since(began), 10*time.Second)
	})
}

// A handler that ends its goroutine has failed, and takes no worker with it.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
			if n++; n == 1 {
				runtime.Goexit()
			}
			return nil
		}, inbox.Config{Workers: 1})
		put(t, w, "evt_1")
		put(t, w, "evt_2")
		pass(time.Hour)
		require.Zero(t, w.Numbers().Pending)
	})
}

// What a store cannot read is no failure of the handler.
func TestGetFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		left := 1
		w := start(t, &hooked{Store: inbox.NewMemory(), get: func() error {
			if left--; left >= 0 {
				return errTrouble
			}
			return nil
		}}, func(context.Context, inbox.Item) error { return nil }, inbox.Config{
			MaxDelay: time.Second, BaseDelay: time.Second,
		})
		put(t, w, "evt_1")
		pass(time.Minute)
		require.Zero(t, w.Numbers().Failed)
		require.Zero(t, w.Numbers().FailureShare)
	})
}

// What is known already need not come again, however full the inbox is.
func TestKnownWhenFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(
			t,
			inbox.NewMemory(),
			func(ctx context.Context, _ inbox.Item) error { <-ctx.Done(); return ctx.Err() },
			inbox.Config{MaxPending: 1},
		)
		put(t, w, "a")
		_, err := w.Put(t.Context(), delivery("a"))
		require.NoError(t, err)
	})
}

// A drain does not hammer a store that cannot read.
func TestDrainDoesNotHammer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		w, err := inbox.Start(
			&hooked{Store: inbox.NewMemory(), get: func() error { calls.Add(1); return errTrouble }},
			func(context.Context, inbox.Item) error { return nil },
			inbox.Config{},
		)
		require.NoError(t, err)
		put(t, w, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = w.Shutdown(ctx)
		require.Less(t, calls.Load(), int64(100))
	})
}

// unnoted is a durable store that cannot note results.
type unnoted struct{ inbox.Store }

func (unnoted) Durable() bool                                { return true }
func (unnoted) Settle(context.Context, []inbox.Change) error { return errTrouble }

// Shutdown ends, and says so, when the store cannot note what was handled.
func TestShutdownWithoutNotes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, unnoted{inbox.NewMemory()}, func(context.Context, inbox.Item) error { return nil }, inbox.Config{})
		put(t, w, "a")
		put(t, w, "b")
		synctest.Wait()
		began := time.Now()
		require.ErrorContains(t, w.Shutdown(context.Background()), "could not be noted")
		require.Less(t, time.Since(began), time.Minute)
	})
}

// Discard leaves what Replay has handed back meanwhile.
func TestDiscardAfterReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, fixed := 0, false
		w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
			if n++; !fixed {
				return inbox.Permanent(errTrouble)
			}
			time.Sleep(time.Minute)
			return nil
		}, inbox.Config{Workers: 1})
		put(t, w, "a")
		put(t, w, "b")
		synctest.Wait()
		fixed = true
		gone := 0
		for it, err := range w.DeadLetters(t.Context(), inbox.Filter{}) { // a list that is old by the time it is used
			require.NoError(t, err)
			if it.ID == "a" {
				k, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
				require.NoError(t, err)
				require.Equal(t, 2, k)
			}
			k, err := w.Discard(t.Context(), inbox.Filter{IDs: []string{it.ID}})
			require.NoError(t, err)
			gone += k
		}
		require.Zero(t, gone)
		pass(time.Hour)
		require.EqualValues(t, 2, w.Numbers().Handled)
	})
}

// Several events that fit into no inbox are taken by an empty one, and one without an ID by none.
func TestOddDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(
			t,
			inbox.NewMemory(),
			func(context.Context, inbox.Item) error { return nil },
			inbox.Config{MaxPending: 2},
		)
		stored, err := w.Put(t.Context(), belay.Delivery{Events: []belay.WebhookEvent{{ID: "a"}, {ID: "b"}, {ID: "c"}}})
		require.NoError(t, err)
		require.True(t, stored)
		_, err = w.Put(t.Context(), belay.Delivery{Events: []belay.WebhookEvent{{ID: "d"}, {}}})
		require.ErrorContains(t, err, "event 2 of 2 has no ID")
	})
}
