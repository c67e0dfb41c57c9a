package inbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// delivery has one event for each id.
func delivery(ids ...string) belay.Delivery {
	d := belay.Delivery{Partner: "acme", Integration: "one", ID: "dlv_" + strings.Join(ids, "_"), Body: []byte("{}")}
	for _, id := range ids {
		d.Events = append(
			d.Events,
			belay.WebhookEvent{ID: id, Type: "contact.updated", Data: []byte(`{"id":"` + id + `"}`)},
		)
	}
	return d
}

func put(t *testing.T, w *inbox.Worker, ids ...string) {
	t.Helper()
	_, err := w.Put(t.Context(), delivery(ids...))
	require.NoError(t, err)
}

// start starts a worker that is cut short at the end of the test.
func start(t *testing.T, s inbox.Store, h inbox.Handler, cfg inbox.Config) *inbox.Worker {
	t.Helper()
	w, err := inbox.Start(s, h, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.Shutdown(ctx)
	})
	return w
}

func asideIDs(t *testing.T, w *inbox.Worker, f inbox.Filter) (ids []string) {
	t.Helper()
	for it, err := range w.DeadLetters(t.Context(), f) {
		require.NoError(t, err)
		ids = append(ids, it.ID)
	}
	return ids
}

// lasting is a store that outlives workers.
type lasting struct{ inbox.Store }

func newLasting() lasting { return lasting{inbox.NewMemory()} }

func (lasting) Durable() bool { return true }

// hooked is a store with something before each call; an error of that is the call's.
type hooked struct {
	inbox.Store
	add, get, settle, items func() error
}

func hook(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (h *hooked) Add(ctx context.Context, items []*inbox.Item) error {
	if err := hook(h.add); err != nil {
		return err
	}
	return h.Store.Add(ctx, items)
}

func (h *hooked) Get(ctx context.Context, seq uint64) (inbox.Item, error) {
	if err := hook(h.get); err != nil {
		return inbox.Item{}, err
	}
	return h.Store.Get(ctx, seq)
}

func (h *hooked) Settle(ctx context.Context, changes []inbox.Change) error {
	if err := hook(h.settle); err != nil {
		return err
	}
	return h.Store.Settle(ctx, changes)
}

func (h *hooked) Items(ctx context.Context) iter.Seq2[inbox.Item, error] {
	if err := hook(h.items); err != nil {
		return func(yield func(inbox.Item, error) bool) { yield(inbox.Item{}, err) }
	}
	return h.Store.Items(ctx)
}

// tally counts how often each event was handled without an error.
type tally struct {
	mu sync.Mutex
	by map[string]int
}

func (c *tally) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[string]int)
	}
	c.by[id]++
}

func (c *tally) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[id]
}

func (c *tally) once(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.by, n)
	for id, times := range c.by {
		require.Equal(t, 1, times, id)
	}
}

// pass lets time pass, and what it brings happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var errTrouble = errors.New("trouble")

// What Start refuses.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	handler := func(context.Context, inbox.Item) error { return nil }
	for name, cfg := range map[string]inbox.Config{
		"Workers -1":          {Workers: -1},
		"MaxPending -1":       {MaxPending: -1},
		"MaxAttempts -1":      {MaxAttempts: -1},
		"BaseDelay -1ns":      {BaseDelay: -1},
		"MaxDelay -1ns":       {MaxDelay: -1},
		"below BaseDelay 10s": {BaseDelay: 10 * time.Second, MaxDelay: time.Second},
	} {
		_, err := inbox.Start(inbox.NewMemory(), handler, cfg)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := inbox.Start(nil, handler, inbox.Config{})
	require.Error(t, err)
	_, err = inbox.Start(inbox.NewMemory(), nil, inbox.Config{})
	require.Error(t, err)
	_, err = inbox.Start(
		&hooked{Store: inbox.NewMemory(), items: func() error { return errTrouble }},
		handler,
		inbox.Config{},
	)
	require.ErrorIs(t, err, errTrouble)
}

// The wait after a failure is between half a bound and the bound, and the bound doubles up to MaxDelay.
func TestRetryDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const events = 200
		var mu sync.Mutex
		at := make(map[string][]time.Time)
		seen := newWatcher()
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, len(at[it.ID]), it.Attempts, "those that have failed")
			at[it.ID] = append(at[it.ID], time.Now())
			return errTrouble
		}, inbox.Config{
			BaseDelay: time.Second, MaxDelay: 8 * time.Second, MaxAttempts: 6,
			Workers: 8, Observers: []belay.Observer{nil, panicky{}, seen},
		})
		for i := range events {
			put(t, w, fmt.Sprint("evt_", i))
		}
		pass(time.Minute)
		require.Len(t, asideIDs(t, w, inbox.Filter{State: inbox.Dead}), events)
		for i, bound := range []time.Duration{1, 2, 4, 8, 8} {
			bound *= time.Second
			least, most := time.Hour, time.Duration(0)
			for _, times := range at {
				require.Len(t, times, 6)
				wait := times[i+1].Sub(times[i])
				least, most = min(least, wait), max(most, wait)
			}
			require.GreaterOrEqual(t, least, bound/2)
			require.LessOrEqual(t, most, bound)
			require.Less(t, least, bound*6/10, "they are spread")
			require.Greater(t, most, bound*9/10)
		}
		all := seen.handled()
		require.Len(t, all, events*6)
		for _, e := range all {
			require.ErrorIs(t, e.Err, errTrouble)
			require.Equal(t, e.Attempt == 6, e.DeadLettered)
			require.Equal(t, e.DeadLettered, e.Retry == 0)
		}
		require.Equal(t, uint64(events*6), w.Numbers().Failed)
	})
}

// The defaults: twelve attempts within about half an hour.
func TestDefaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var last time.Duration
		n := 0
		w := start(t, inbox.NewMemory(), func(ctx context.Context, _ inbox.Item) error {
			until, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, time.Minute, time.Until(until))
			n++
			last = time.Since(began)
			return errTrouble
		}, inbox.Config{})
		put(t, w, "evt_1")
		pass(24 * time.Hour)
		require.Equal(t, 12, n)
		require.Greater(t, last, 10*time.Minute)
		require.Less(t, last, 30*time.Minute)
	})
}

// A wait that a belay error names is kept, up to a day; a shorter one than the delay is not.
func TestRetryAfterOfError(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration][2]time.Duration{
		10 * time.Minute: {10 * time.Minute, 10 * time.Minute},
		100 * time.Hour:  {24 * time.Hour, 24 * time.Hour},
		time.Millisecond: {500 * time.Millisecond, time.Second},
		-time.Hour:       {500 * time.Millisecond, time.Second},
		2 * time.Hour:    {2 * time.Hour, 2 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
				times = append(times, time.Now())
				if len(times) == 2 {
					return nil
				}
				return fmt.Errorf(
					"saving: %w",
					&belay.Error{Verdict: belay.Verdict{Class: belay.ClassRateLimited, RetryAfter: asked}},
				)
			}, inbox.Config{})
			put(t, w, "evt_1")
			pass(48 * time.Hour)
			require.Len(t, times, 2)
			wait := times[1].Sub(times[0])
			require.GreaterOrEqual(t, wait, want[0])
			require.LessOrEqual(t, wait, want[1])
		})
	}
}

// A permanent error sets aside at once, also from within another; nil stays nil.
func TestPermanent(t *testing.T) {
	t.Parallel()
	require.NoError(t, inbox.Permanent(nil))
	require.ErrorIs(t, inbox.Permanent(errTrouble), errTrouble)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
			n++
			return fmt.Errorf("contact\nseven: %w", inbox.Permanent(errTrouble))
		}, inbox.Config{})
		put(t, w, "evt_1")
		synctest.Wait()
		require.Equal(t, 1, n)
		for it, err := range w.DeadLetters(t.Context(), inbox.Filter{}) {
			require.NoError(t, err)
			require.Equal(t, inbox.Dead, it.State)
			require.Equal(t, 1, it.Attempts)
			require.Equal(t, "contact seven: trouble", it.Error, "one line")
		}
		num := w.Numbers()
		require.Equal(t, []uint64{1, 1, 0}, []uint64{num.Failed, num.Dead, num.Handled})
	})
}

// Panics are errors that say what it was, without what looks like a credential, and where.
func TestPanics(t *testing.T) {
	t.Parallel()
	for says, do := range map[string]func(){
		"panicked: no such contact: 7; token=REDACTED": func() { panic("no such contact: 7; token=s3cr3t") },
		"panicked: Bearer REDACTED":                    func() { panic(errors.New("Bearer s3cr3t")) },
		"panicked: struct":                             func() { panic(struct{ token string }{"s3cr3t"}) },
		"nil map":                                      func() { clearOf[map[string]int]()["s3cr3t"] = 1 },
		"out of range":                                 func() { _ = []int{}[len(errTrouble.Error())] },
		"nil argument":                                 func() { panic(nil) },
		"nil pointer":                                  func() { _ = *(*int)(nil) },
	} {
		synctest.Test(t, func(t *testing.T) {
			seen, n := newWatcher(), 0
			w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
				if n++; n < 3 {
					do()
				}
				return nil
			}, inbox.Config{Workers: 1, Observers: []belay.Observer{panicky{}, seen}})
			put(t, w, "evt_1")
			synctest.Wait()
			pass(time.Minute)
			require.Equal(t, 3, n, "it is tried again")
			all := seen.handled()
			require.Len(t, all, 3)
			require.ErrorContains(t, all[0].Err, "the handler panicked")
			require.ErrorContains(t, all[0].Err, says)
			require.Contains(t, all[0].Stack, "worker_test.go", "the first frame is the handler's")
			require.LessOrEqual(t, len(all[0].Stack), 2<<10)
			require.Contains(t, seen.log.String(), "worker_test.go")
			require.NotContains(t, seen.log.String(), "s3cr3t")
			require.NoError(t, all[2].Err)
		})
	}
}

// coded is an error as many write it: a nil pointer of it cannot be asked what it says.
type coded struct{ code int }

func (e *coded) Error() string { return fmt.Sprint("code ", e.code) }

// An error that panics when it is asked what it says is one like another.
func TestErrorsThatPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := []error{(*coded)(nil), (*belay.Error)(nil), fmt.Errorf("saving: %w", &coded{7}), nil}
		seen, n := newWatcher(), 0
		w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error {
			n++
			return answers[n-1]
		}, inbox.Config{Observers: []belay.Observer{seen}})
		put(t, w, "evt_1")
		pass(time.Hour)
		require.Equal(t, len(answers), n)
		all := seen.handled()
		require.ErrorContains(t, all[0].Err, "nil pointer")
		require.ErrorContains(t, all[1].Err, "nil pointer")
		require.ErrorContains(t, all[2].Err, "saving: code 7")
		require.NoError(t, all[3].Err)
	})
}

// An observer that ends its goroutine, as FailNow of a test does, stops nothing.
func TestObserverThatExits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := start(
			t,
			inbox.NewMemory(),
			func(context.Context, inbox.Item) error { n++; return nil },
			inbox.Config{
				Observers: []belay.Observer{belay.ObserverFunc(func(context.Context, belay.Event) { runtime.Goexit() })},
			},
		)
		for i := range 10 {
			put(t, w, fmt.Sprint("evt_", i))
			synctest.Wait()
		}
		require.Equal(t, 10, n)
		require.Equal(t, uint64(10), w.Numbers().Handled)
		require.NoError(t, w.Shutdown(t.Context()))
	})
}

// What is kept of an event does not hold on to the rest of its delivery.
func TestPartsAreCloned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got string
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			got = string(it.Body)
			return nil
		}, inbox.Config{})
		body := []byte(`{"events":[{"n":1}],"pad":"a megabyte"}`)
		stored, err := w.Put(
			t.Context(),
			belay.Delivery{Partner: "acme", ID: "a", Body: body, Events: []belay.WebhookEvent{{ID: "a", Data: body[11:18]}}},
		)
		require.NoError(t, err)
		require.True(t, stored)
		clear(body)
		synctest.Wait()
		require.Equal(t, `{"n":1}`, got)
	})
}

// An attempt that takes too long is cut short and tried again; a negative Timeout cuts none.
func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		seen := newWatcher()
		w := start(t, inbox.NewMemory(), func(ctx context.Context, _ inbox.Item) error {
			if n++; n > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}, inbox.Config{Timeout: 7 * time.Second, Observers: []belay.Observer{seen}})
		put(t, w, "evt_1")
		pass(time.Minute)
		require.Equal(t, 2, n)
		require.Equal(t, 7*time.Second, seen.handled()[0].Duration)
		require.ErrorIs(t, seen.handled()[0].Err, context.DeadlineExceeded)

		bounded := true
		free := start(t, inbox.NewMemory(), func(ctx context.Context, _ inbox.Item) error {
			_, bounded = ctx.Deadline()
			return nil
		}, inbox.Config{Timeout: -1})
		put(t, free, "evt_1")
		synctest.Wait()
		require.False(t, bounded)
	})
}

// What has no handler is kept and is no failure, and replayed once it has one.
func TestUnhandled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mux inbox.Mux
		w := start(t, inbox.NewMemory(), mux.Handle, inbox.Config{})
		put(t, w, "evt_1", "evt_2")
		synctest.Wait()
		require.Len(t, asideIDs(t, w, inbox.Filter{State: inbox.Unhandled}), 2)
		require.Empty(t, asideIDs(t, w, inbox.Filter{State: inbox.Dead}))
		num := w.Numbers()
		require.Equal(t, []uint64{2, 0, 0}, []uint64{num.Unhandled, num.Failed, num.Dead})
		require.Zero(t, num.FailureShare)
		require.Zero(t, num.Pending)
		for it, err := range w.DeadLetters(t.Context(), inbox.Filter{}) {
			require.NoError(t, err)
			require.Zero(t, it.Attempts)
		}
		var done tally
		mux.On("", "contact.*", func(_ context.Context, it inbox.Item) error { done.add(it.ID); return nil })
		n, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		synctest.Wait()
		done.once(t, 2)
		require.Empty(t, asideIDs(t, w, inbox.Filter{}))
	})
}

// No more than MaxPending wait, of a delivery all or none; those at work count, and a place comes back.
func TestMaxPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		fail := false
		store := &hooked{Store: inbox.NewMemory(), add: func() error {
			if fail {
				return errTrouble
			}
			return nil
		}}
		w := start(t, store, func(context.Context, inbox.Item) error { <-gate; return nil }, inbox.Config{MaxPending: 10})
		var taken, full atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				switch stored, err := w.Put(t.Context(), delivery(fmt.Sprint("evt_", i))); {
				case errors.Is(err, inbox.ErrFull):
					full.Add(1)
				case err == nil && stored:
					taken.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, []int32{10, 40}, []int32{taken.Load(), full.Load()})
		require.Equal(t, 10, w.Numbers().Pending)
		gate <- struct{}{}
		synctest.Wait()
		_, err := w.Put(t.Context(), delivery("a", "b"))
		require.ErrorIs(t, err, inbox.ErrFull)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, 9, w.Numbers().Pending, "nothing of it was kept")
		fail = true
		for range 20 { // a Put that fails gives its place back
			_, err = w.Put(t.Context(), delivery("a"))
			require.ErrorIs(t, err, errTrouble)
		}
		fail = false
		put(t, w, "a")
		close(gate)
		synctest.Wait()
		require.EqualValues(t, 11, w.Numbers().Handled)
	})
}

// Of one key they are handled one after the other, as they arrived, whatever fails; keys do not wait for each other.
func TestKeyOrder(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			const keys, each = 25, 12
			var mu sync.Mutex
			done := make(map[string][]string)
			busy := make(map[string]bool)
			key := func(it inbox.Item) string { k, _, _ := strings.Cut(it.ID, "/"); return k }
			dice := rand.New(rand.NewPCG(1, uint64(workers)))
			w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
				mu.Lock()
				k := key(it)
				require.Equal(t, k, it.Key)
				if busy[k] {
					t.Error("two of one key at once")
				}
				busy[k] = true
				took, fails := time.Duration(dice.IntN(50))*time.Millisecond, dice.IntN(3) == 0
				mu.Unlock()
				time.Sleep(took)
				mu.Lock()
				defer mu.Unlock()
				busy[k] = false
				if strings.HasSuffix(it.ID, "/4") {
					return inbox.Permanent(errTrouble) // and the next one comes
				}
				if fails {
					return errTrouble
				}
				done[k] = append(done[k], it.ID)
				return nil
			}, inbox.Config{Workers: workers, Key: key, MaxAttempts: 100, MaxDelay: 10 * time.Second})
			for i := range each {
				for k := range keys {
					put(t, w, fmt.Sprintf("key%d/%d", k, i))
				}
			}
			pass(3 * time.Hour)
			require.Zero(t, w.Numbers().Pending)
			for k := range keys {
				var want []string
				for i := range each {
					if i != 4 {
						want = append(want, fmt.Sprintf("key%d/%d", k, i))
					}
				}
				require.Equal(t, want, done[fmt.Sprint("key", k)])
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // one that waits for its retry holds up its own key alone
		var done tally
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			if it.ID == "a/1" && it.Attempts < 3 {
				return errTrouble
			}
			done.add(it.ID)
			return nil
		}, inbox.Config{
			Workers: 1, BaseDelay: time.Hour, MaxDelay: time.Hour,
			Key: func(it inbox.Item) string { return it.ID[:strings.Index(it.ID, "/")] },
		})
		put(t, w, "a/1", "a/2", "b/1", "/1", "/2")
		synctest.Wait()
		done.once(t, 3)
		require.Zero(t, done.of("a/2"))
		pass(4 * time.Hour)
		done.once(t, 5)
	})
}

// A worker that goes on with what a store holds keeps the order, the attempts and the time of the next one.
func TestGoingOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newLasting()
		cfg := inbox.Config{
			Workers:     4,
			BaseDelay:   time.Hour,
			MaxDelay:    time.Hour,
			MaxAttempts: 3,
			Key:         func(inbox.Item) string { return "one" },
		}
		first := start(t, store, func(context.Context, inbox.Item) error { return errTrouble }, cfg)
		put(t, first, "1", "2", "3", "4")
		pass(time.Minute)
		require.NoError(t, first.Shutdown(t.Context()))
		began := time.Now()
		var order []string
		var attempts []int
		var after time.Duration
		second := start(t, store, func(_ context.Context, it inbox.Item) error {
			if order = append(order, it.ID); len(order) == 1 {
				after = time.Since(began)
			}
			attempts = append(attempts, it.Attempts)
			return nil
		}, cfg)
		require.Equal(t, 4, second.Numbers().Pending)
		pass(2 * time.Hour)
		require.Equal(t, []string{"1", "2", "3", "4"}, order)
		require.Equal(t, []int{1, 0, 0, 0}, attempts)
		require.GreaterOrEqual(t, after, 29*time.Minute)
		require.LessOrEqual(t, after, 59*time.Minute)
		require.NoError(t, second.Shutdown(t.Context()))
	})
}

// What is known is not handled again: at once, within one delivery, after it was handled or died.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls tally
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			calls.add(it.Integration + it.ID)
			if it.ID == "dead" {
				return inbox.Permanent(errTrouble)
			}
			return nil
		}, inbox.Config{})
		for _, c := range []struct {
			ids    []string
			stored bool
		}{
			{[]string{"a", "a", "dead"}, true},
			{[]string{"a"}, false},
			{[]string{"dead"}, false},
			{[]string{"a", "b"}, true},
			{[]string{"b", "a"}, false},
			{nil, false},
		} {
			stored, err := w.Put(t.Context(), delivery(c.ids...))
			require.NoError(t, err)
			require.Equal(t, c.stored, stored, c.ids)
			synctest.Wait()
		}
		elsewhere := delivery("a")
		elsewhere.Integration = "two"
		stored, err := w.Put(t.Context(), elsewhere)
		require.NoError(t, err)
		require.True(t, stored, "another integration's event is another")
		synctest.Wait()
		calls.once(t, 4)
		n, err := w.Discard(t.Context(), inbox.Filter{})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		stored, err = w.Put(t.Context(), delivery("dead"))
		require.NoError(t, err)
		require.False(t, stored, "what was discarded is known still")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = w.Put(ctx, delivery("c"))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// sick returns a worker with events of three types that are dead, and a switch that makes its handler well.
func sick(t *testing.T, cfg inbox.Config, n int) (w *inbox.Worker, well *atomic.Bool, done *tally) {
	well, done = new(atomic.Bool), new(tally)
	w = start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
		if !well.Load() {
			return inbox.Permanent(errTrouble)
		}
		require.Zero(t, it.Attempts, "it begins anew")
		done.add(it.ID)
		return nil
	}, cfg)
	for i := range n {
		d := delivery(fmt.Sprint("evt_", i))
		d.Events[0].Type = fmt.Sprint("type_", i%3)
		_, err := w.Put(t.Context(), d)
		require.NoError(t, err)
		pass(time.Minute)
	}
	require.Len(t, asideIDs(t, w, inbox.Filter{}), n)
	return w, well, done
}

// What was set aside is handled again: all, or what a filter takes.
func TestReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filter func(began time.Time) inbox.Filter
		want   int
	}{
		"all":       {func(time.Time) inbox.Filter { return inbox.Filter{} }, 9},
		"dead":      {func(time.Time) inbox.Filter { return inbox.Filter{State: inbox.Dead} }, 9},
		"unhandled": {func(time.Time) inbox.Filter { return inbox.Filter{State: inbox.Unhandled} }, 0},
		"type":      {func(time.Time) inbox.Filter { return inbox.Filter{Type: "type_1"} }, 3},
		"no type":   {func(time.Time) inbox.Filter { return inbox.Filter{Type: "type"} }, 0},
		"since":     {func(began time.Time) inbox.Filter { return inbox.Filter{Since: began.Add(7 * time.Minute)} }, 2},
		"until":     {func(began time.Time) inbox.Filter { return inbox.Filter{Until: began.Add(7 * time.Minute)} }, 7},
		"ids":       {func(time.Time) inbox.Filter { return inbox.Filter{IDs: []string{"evt_2", "evt_3", "evt_99"}} }, 2},
		"partner":   {func(time.Time) inbox.Filter { return inbox.Filter{Partner: "acme", Integration: "one"} }, 9},
		"another":   {func(time.Time) inbox.Filter { return inbox.Filter{Partner: "initech"} }, 0},
		"all of them": {
			func(began time.Time) inbox.Filter { return inbox.Filter{Type: "type_0", Since: began.Add(time.Minute)} }, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w, well, done := sick(t, inbox.Config{}, 9)
				well.Store(true)
				dry, err := w.Replay(t.Context(), c.filter(began), inbox.Replay{DryRun: true, Pace: time.Hour})
				require.NoError(t, err)
				require.Equal(t, c.want, dry)
				synctest.Wait()
				done.once(t, 0)
				require.Len(t, asideIDs(t, w, inbox.Filter{}), 9)
				n, err := w.Replay(t.Context(), c.filter(began), inbox.Replay{})
				require.NoError(t, err)
				require.Equal(t, c.want, n)
				synctest.Wait()
				done.once(t, c.want)
				require.Len(t, asideIDs(t, w, inbox.Filter{}), 9-c.want)
			})
		})
	}
}

// A replay keeps its pace, ends with its context, and can be made twice at once and while others are handled.
func TestReplayAtAPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, well, done := sick(t, inbox.Config{}, 10)
		well.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		n, err := w.Replay(ctx, inbox.Filter{}, inbox.Replay{Pace: 10 * time.Second})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 4, n)
		synctest.Wait()
		done.once(t, 4)
		require.Len(t, asideIDs(t, w, inbox.Filter{}), 6)
		began := time.Now()
		n, err = w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{Pace: 10 * time.Second})
		require.NoError(t, err)
		require.Equal(t, 6, n)
		require.Equal(t, 50*time.Second, time.Since(began))
		synctest.Wait()
		done.once(t, 10)
	})
	synctest.Test(t, func(t *testing.T) {
		w, well, done := sick(t, inbox.Config{Workers: 3}, 40)
		well.Store(true)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				_, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
				require.NoError(t, err)
			})
			wg.Go(func() {
				for k := range 25 {
					put(t, w, fmt.Sprintf("new_%d_%d", i, k))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		done.once(t, 140)
		require.Empty(t, asideIDs(t, w, inbox.Filter{}))
		require.Zero(t, w.Numbers().Pending)
	})
}

// A replay does not crowd out what arrives: it waits for a place.
func TestReplayWaitsForPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow, well atomic.Bool
		var done tally
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			if !well.Load() {
				return inbox.Permanent(errTrouble)
			}
			if slow.Load() {
				time.Sleep(10 * time.Second)
			}
			done.add(it.ID)
			return nil
		}, inbox.Config{Workers: 1, MaxPending: 5})
		for i := range 20 {
			put(t, w, fmt.Sprint("evt_", i))
			synctest.Wait()
		}
		well.Store(true)
		slow.Store(true)
		began := time.Now()
		most := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for time.Since(began) < 3*time.Minute {
				most = max(most, w.Numbers().Pending)
				time.Sleep(time.Second)
			}
		})
		n, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
		require.NoError(t, err)
		require.Equal(t, 20, n)
		require.InDelta(t, 150, time.Since(began).Seconds(), 2)
		wg.Wait()
		require.Equal(t, 5, most)
		pass(time.Minute)
		done.once(t, 20)
	})
	synctest.Test(t, func(t *testing.T) { // and ends with the worker
		w, _, _ := sick(t, inbox.Config{}, 3)
		require.NoError(t, w.Shutdown(t.Context()))
		n, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
		require.ErrorIs(t, err, inbox.ErrClosed)
		require.Zero(t, n)
		require.Len(t, asideIDs(t, w, inbox.Filter{}), 3)
	})
}

// What is discarded is gone, and no more than that.
func TestDiscard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, well, done := sick(t, inbox.Config{}, 9)
		n, err := w.Discard(t.Context(), inbox.Filter{Type: "type_0"})
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Len(t, asideIDs(t, w, inbox.Filter{}), 6)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = w.Discard(ctx, inbox.Filter{})
		require.ErrorIs(t, err, context.Canceled)
		for it, err := range w.DeadLetters(ctx, inbox.Filter{}) {
			require.ErrorIs(t, err, context.Canceled)
			require.Zero(t, it)
		}
		well.Store(true)
		n, err = w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{})
		require.NoError(t, err)
		require.Equal(t, 6, n)
		synctest.Wait()
		done.once(t, 6)
	})
}

// Where nothing outlives the process, all that waits is handled first, at once.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done tally
		draining := make(chan struct{})
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			<-draining
			switch {
			case it.ID == "evt_0":
				return errTrouble
			case it.Attempts < 2:
				return &belay.Error{Verdict: belay.Verdict{RetryAfter: 3 * time.Hour}}
			}
			done.add(it.ID)
			return nil
		}, inbox.Config{
			BaseDelay: time.Hour, MaxDelay: time.Hour, MaxAttempts: 5,
			Key: func(it inbox.Item) string { return it.ID[len(it.ID)-1:] },
		})
		for i := range 50 {
			put(t, w, fmt.Sprint("evt_", i))
		}
		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- w.Shutdown(t.Context()) }()
		synctest.Wait()
		close(draining)
		require.NoError(t, <-ended)
		require.Zero(t, time.Since(began))
		done.once(t, 49)
		num := w.Numbers()
		require.Equal(t, []uint64{49, 1, 103}, []uint64{num.Handled, num.Dead, num.Failed})
		require.Zero(t, num.Pending)
		_, err := w.Put(t.Context(), delivery("late"))
		require.ErrorIs(t, err, inbox.ErrClosed)
	})
}

// Where the store is durable, what is at work ends and the rest waits for the next start.
func TestShutdownOfDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newLasting()
		var done tally
		handler := func(_ context.Context, it inbox.Item) error {
			time.Sleep(10 * time.Second)
			done.add(it.ID)
			return nil
		}
		w := start(t, store, handler, inbox.Config{Workers: 2})
		for i := range 20 {
			put(t, w, fmt.Sprint("evt_", i))
		}
		pass(time.Second)
		began := time.Now()
		require.NoError(t, w.Shutdown(t.Context()))
		require.Equal(t, 9*time.Second, time.Since(began))
		done.once(t, 2)
		require.Equal(t, 18, w.Numbers().Pending)
		next := start(t, store, handler, inbox.Config{Workers: 2})
		pass(100 * time.Second)
		done.once(t, 20)
		require.NoError(t, next.Shutdown(t.Context()))
	})
}

// When its context is done, the handlers' is canceled; what they were at is no failed attempt.
func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var store inbox.Store = inbox.NewMemory()
			if durable {
				store = newLasting()
			}
			w := start(t, store, func(ctx context.Context, it inbox.Item) error {
				<-ctx.Done()
				return inbox.Permanent(ctx.Err()) // even so
			}, inbox.Config{Workers: 3, Timeout: -1})
			for i := range 20 {
				put(t, w, fmt.Sprint("evt_", i))
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			err := w.Shutdown(ctx)
			require.Equal(t, 5*time.Second, time.Since(began))
			if durable {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "20 events are lost")
			}
			var attempts tally
			next := start(t, store, func(_ context.Context, it inbox.Item) error {
				require.Zero(t, it.Attempts)
				attempts.add(it.ID)
				return nil
			}, inbox.Config{})
			synctest.Wait()
			attempts.once(t, 20)
			require.NoError(t, next.Shutdown(t.Context()))
		})
	}
}

// A handler that does not return is waited for a second, and told of.
func TestShutdownOfDeafHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		w := start(t, newLasting(), func(context.Context, inbox.Item) error { <-gate; return nil }, inbox.Config{})
		put(t, w, "evt_1", "evt_2")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := w.Shutdown(ctx)
		require.ErrorContains(t, err, "2 events are still being handled")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 6*time.Second, time.Since(began))
		close(gate)
		require.NoError(t, w.Shutdown(t.Context()), "it has returned meanwhile")
		require.EqualValues(t, 2, w.Numbers().Handled)
	})
}

// A Put under way is finished, and what it kept is drained, or stays in a durable store.
func TestPutDuringShutdown(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var below inbox.Store = inbox.NewMemory()
			if durable {
				below = newLasting()
			}
			var done tally
			handler := func(_ context.Context, it inbox.Item) error { done.add(it.ID); return nil }
			w := start(
				t,
				&hooked{Store: below, add: func() error { time.Sleep(2 * time.Second); return nil }},
				handler,
				inbox.Config{},
			)
			var wg sync.WaitGroup
			wg.Go(func() {
				stored, err := w.Put(t.Context(), delivery("evt_1"))
				require.NoError(t, err)
				require.True(t, stored)
			})
			pass(time.Second)
			require.NoError(t, w.Shutdown(t.Context()))
			_, err := w.Put(t.Context(), delivery("evt_2"))
			require.ErrorIs(t, err, inbox.ErrClosed)
			wg.Wait()
			if durable {
				done.once(t, 0)
				next := start(t, below, handler, inbox.Config{})
				synctest.Wait()
				require.NoError(t, next.Shutdown(t.Context()))
			}
			done.once(t, 1)
		})
	}
}

// Twice and at once, it is one shutdown.
func TestShutdownTwice(t *testing.T) {
	t.Parallel()
	for _, store := range []inbox.Store{inbox.NewMemory(), newLasting()} {
		synctest.Test(t, func(t *testing.T) {
			w := start(
				t,
				store,
				func(context.Context, inbox.Item) error { time.Sleep(time.Second); return nil },
				inbox.Config{},
			)
			put(t, w, "evt_1", "evt_2")
			synctest.Wait()
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { require.NoError(t, w.Shutdown(t.Context())) })
			}
			wg.Wait()
			require.NoError(t, w.Shutdown(t.Context()))
			require.EqualValues(t, 2, w.Numbers().Handled)
		})
	}
}

// A store that cannot note how an attempt went is asked again; the event is not handled again for that.
func TestSettleFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done tally
		seen := newWatcher()
		left := 6
		began := time.Now()
		store := &hooked{Store: newLasting(), settle: func() error {
			if left--; left >= 0 {
				return errTrouble
			}
			return nil
		}}
		w := start(
			t,
			store,
			func(_ context.Context, it inbox.Item) error { done.add(it.ID); return nil },
			inbox.Config{Observers: []belay.Observer{seen}},
		)
		put(t, w, "evt_1")
		synctest.Wait()
		require.Equal(t, 1, w.Numbers().Pending)
		pass(time.Minute)
		done.once(t, 1)
		require.Zero(t, w.Numbers().Pending)
		all := seen.handled()
		require.Len(t, all, 7)
		for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32} {
			require.ErrorIs(t, all[i].Err, errTrouble)
			require.Equal(t, wait*100*time.Millisecond, all[i].Retry)
		}
		require.NoError(t, all[6].Err)
		require.Equal(t, time.Minute, time.Since(began))
		for it, err := range store.Items(t.Context()) {
			t.Error("it is still there", it.ID, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a Shutdown with a deadline is not kept from returning, and nothing is lost
		below := newLasting()
		w := start(
			t,
			&hooked{Store: below, settle: func() error { return errTrouble }},
			func(context.Context, inbox.Item) error { return nil },
			inbox.Config{},
		)
		put(t, w, "evt_1")
		pass(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = w.Shutdown(ctx)
		var done tally
		next := start(
			t,
			below,
			func(_ context.Context, it inbox.Item) error { done.add(it.ID); return nil },
			inbox.Config{},
		)
		synctest.Wait()
		done.once(t, 1)
		require.NoError(t, next.Shutdown(t.Context()))
	})
}

// A store that cannot be read costs no attempt; one that cannot keep is told to the partner.
func TestGetAndAddFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sick atomic.Bool
		var done tally
		trouble := func() error {
			if sick.Load() {
				return fmt.Errorf("disk\nfull: %w", errTrouble)
			}
			return nil
		}
		w := start(
			t,
			&hooked{Store: inbox.NewMemory(), get: trouble, add: trouble},
			func(_ context.Context, it inbox.Item) error {
				require.Zero(t, it.Attempts)
				done.add(it.ID)
				return nil
			},
			inbox.Config{MaxAttempts: 1, MaxDelay: time.Minute, Key: func(inbox.Item) string { return "one" }},
		)
		put(t, w, "evt_0")
		put(t, w, "evt_1")
		synctest.Wait()
		done.once(t, 2)
		sick.Store(true)
		stored, err := w.Put(t.Context(), delivery("evt_2"))
		require.ErrorIs(t, err, errTrouble)
		require.False(t, stored)
		require.Zero(t, w.Numbers().Pending)
		sick.Store(false)
		put(t, w, "evt_2")
		synctest.Wait()
		done.once(t, 3)
	})
	synctest.Test(t, func(t *testing.T) {
		var done tally
		left := 5
		w := start(t, &hooked{Store: inbox.NewMemory(), get: func() error {
			if left--; left >= 0 {
				return errTrouble
			}
			return nil
		}}, func(_ context.Context, it inbox.Item) error {
			require.Zero(t, it.Attempts)
			done.add(it.ID)
			return nil
		}, inbox.Config{MaxAttempts: 1, MaxDelay: time.Minute})
		put(t, w, "evt_1")
		pass(5*time.Minute - time.Second)
		done.once(t, 0)
		pass(2 * time.Second)
		done.once(t, 1)
	})
}

// The numbers say what happened, the share that of the last five minutes.
func TestNumbers(t *testing.T) {
	text, err := json.Marshal(
		inbox.Numbers{Received: 1, Oldest: time.Second, HandlingTime: 1500 * time.Microsecond, FailureShare: 0.5},
	)
	require.NoError(t, err)
	require.JSONEq(
		t,
		`{"received":1,"duplicates":0,"handled":0,"failed":0,"dead":0,"unhandled":0,"pending":0,"oldest_ms":1000,"handling_time_ms":1,"failure_share":0.5,"attempts":0}`,
		string(text),
	)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			time.Sleep(2 * time.Second)
			switch {
			case it.ID == "none":
				return inbox.ErrUnhandled
			case it.ID == "dead":
				return inbox.Permanent(errTrouble)
			case it.ID == "again" && it.Attempts == 0:
				return errTrouble
			}
			return nil
		}, inbox.Config{Workers: 1, BaseDelay: time.Minute, MaxDelay: time.Minute})
		require.Equal(t, inbox.Numbers{}, w.Numbers())
		put(t, w, "a", "b", "none", "dead", "again", "a")
		pass(time.Second)
		require.Equal(t, inbox.Numbers{Received: 5, Duplicates: 1, Pending: 5, Oldest: time.Second}, w.Numbers())
		pass(10 * time.Second)
		require.Equal(t, inbox.Numbers{
			Received: 5, Duplicates: 1, Handled: 2, Failed: 2, Dead: 1, Unhandled: 1, Pending: 1, Oldest: 11 * time.Second,
			HandlingTime: 2 * time.Second, FailureShare: 0.4, Attempts: 5,
		}, w.Numbers())
		pass(65 * time.Second)
		n := w.Numbers()
		require.Equal(t, []uint64{3, 2}, []uint64{n.Handled, n.Failed})
		require.InDelta(t, 1.0/3, n.FailureShare, 1e-9)
		require.Zero(t, n.Pending)
		require.Zero(t, n.Oldest)
		pass(235 * time.Second)
		require.Equal(t, 1, w.Numbers().Attempts, "those of the first seconds are too old")
		pass(time.Hour)
		n = w.Numbers()
		require.Equal(t, inbox.Numbers{Received: 5, Duplicates: 1, Handled: 3, Failed: 2, Dead: 1, Unhandled: 1}, n)
	})
}

// Two hundred deliveries at once, twice each, to a handler that fails now and then: each event is handled once.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done tally
		var failures atomic.Int32
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			time.Sleep(rand.N(20 * time.Millisecond))
			switch n := rand.IntN(10); {
			case n < 3:
				failures.Add(1)
				return errTrouble
			case n == 3:
				failures.Add(1)
				panic("trouble")
			}
			done.add(it.ID)
			return nil
		}, inbox.Config{
			Workers: 16, MaxAttempts: 1000, MaxDelay: time.Minute,
			Key: func(it inbox.Item) string { return it.ID[len(it.ID)-1:] },
		})
		var wg sync.WaitGroup
		for i := range 200 {
			for range 2 {
				wg.Go(func() { put(t, w, fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("b", i)) })
			}
		}
		wg.Wait()
		pass(24 * time.Hour)
		done.once(t, 400)
		n := w.Numbers()
		require.Equal(
			t,
			[]uint64{400, 800, 400, uint64(failures.Load())},
			[]uint64{n.Received, n.Duplicates, n.Handled, n.Failed},
		)
		require.Zero(t, n.Pending)
		require.NoError(t, w.Shutdown(t.Context()))
	})
}

// A handler may put events itself.
func TestPutFromHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w *inbox.Worker
		var order []string
		w = start(t, inbox.NewMemory(), func(ctx context.Context, it inbox.Item) error {
			order = append(order, it.ID)
			if len(it.ID) < 5 {
				_, err := w.Put(ctx, delivery(it.ID+"x"))
				return err
			}
			return nil
		}, inbox.Config{Workers: 1})
		put(t, w, "x")
		synctest.Wait()
		require.Equal(t, []string{"x", "xx", "xxx", "xxxx", "xxxxx"}, order)
	})
}

// clearOf returns a zero value that no analyser knows.
func clearOf[T any]() (zero T) { return zero }

// Calls made by a handler have the event's id.
func TestHandlersCorrelate(t *testing.T) {
	got := make(chan string, 1)
	w, err := inbox.Start(inbox.NewMemory(), func(ctx context.Context, _ inbox.Item) error {
		got <- belay.CorrelationID(ctx)
		return nil
	}, inbox.Config{})
	require.NoError(t, err)
	_, err = w.Put(t.Context(), belay.Delivery{Partner: "crm", ID: "d", Events: []belay.WebhookEvent{{ID: "evt_1", Data: []byte("{}")}}})
	require.NoError(t, err)
	require.Equal(t, "evt_1", <-got)
	require.NoError(t, w.Shutdown(t.Context()))
}
