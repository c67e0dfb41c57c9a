package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/internal/errkit"
	"github.com/belay-go/belay/internal/testkit"
)

// from returns a delivery of an integration.
func from(partner, integration string, ids ...string) belay.Delivery {
	d := delivery(ids...)
	d.Partner, d.Integration = partner, integration
	return d
}

func putFrom(t *testing.T, w *inbox.Worker, partner, integration string, ids ...string) {
	t.Helper()
	_, err := w.Put(t.Context(), from(partner, integration, ids...))
	require.NoError(t, err)
}

// An event does not wait for the slow events of another partner, nor for those of another integration.
func TestSlowEventsOfOthers(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{2, 4, 8} {
		for _, other := range []struct{ partner, integration string }{{"bcme", "one"}, {"acme", "two"}} {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var took time.Duration
				var atWork, most atomic.Int32
				w := start(t, inbox.NewMemory(), func(ctx context.Context, it inbox.Item) error {
					if it.ID == "evt_fast" {
						took = time.Since(began)
						return nil
					}
					if n := atWork.Add(1); n > most.Load() {
						most.Store(n)
					}
					defer atWork.Add(-1)
					return errkit.Sleep(ctx, 30*time.Second)
				}, inbox.Config{Workers: workers, MaxPerIntegration: max(1, workers-1), MaxPerPartner: max(1, workers-1)})
				for i := range 1000 {
					putFrom(t, w, "acme", "one", fmt.Sprint("evt_", i))
				}
				synctest.Wait()
				putFrom(t, w, other.partner, other.integration, "evt_fast")
				pass(31 * time.Second)
				if other.partner == "acme" {
					require.LessOrEqual(t, took, 30*time.Second)
				} else {
					require.Zero(t, took, "a worker is left for other partners")
				}
				require.EqualValues(t, workers-1, most.Load())
			})
		}
	}
}

// Partners take turns, and so do integrations: one with many events delays another's by one turn.
func TestTurnsBetweenSenders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order []string
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			order = append(order, it.Partner+it.Integration)
			time.Sleep(time.Second)
			return nil
		}, inbox.Config{Workers: 1})
		for i := range 20 {
			putFrom(t, w, "a", "1", fmt.Sprint("x", i))
			putFrom(t, w, "a", "2", fmt.Sprint("y", i))
		}
		for i := range 5 {
			putFrom(t, w, "b", "1", fmt.Sprint("z", i))
		}
		pass(time.Minute)
		require.Len(t, order, 45)
		first := strings.Join(order[:10], " ")
		require.Equal(t, 5, strings.Count(first, "b1"), first)
		require.GreaterOrEqual(t, strings.Count(first, "a2"), 2, first)
	})
}

// After an outage of two hours no event of a handler that calls the partner is dead; the partner is not flooded.
func TestEventsOutliveAnOutage(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]inbox.Store{"memory": inbox.NewMemory()} {
		testkit.Bubble(t, name, func(t *testing.T) {
			began := time.Now()
			var sent, handled atomic.Int32
			client, err := belay.New("https://partner.test", belay.WithTransport(testkit.RoundTrip(
				func(*http.Request) (*http.Response, error) {
					sent.Add(1)
					if time.Since(began) < 2*time.Hour {
						return testkit.Reply(503), nil
					}
					return testkit.Reply(200), nil
				})))
			require.NoError(t, err)
			w := start(t, store, func(ctx context.Context, it inbox.Item) error {
				_, err := belay.Get[belay.None](ctx, client, "/contacts/{id}", belay.PathValue("id", it.ID))
				if err == nil {
					handled.Add(1)
				}
				return err
			}, inbox.Config{MaxAttempts: 100})
			for i := range 20 {
				put(t, w, fmt.Sprint("evt_", i))
			}
			pass(2*time.Hour + 10*time.Minute)
			require.EqualValues(t, 20, handled.Load())
			require.Zero(t, w.Numbers().Dead)
			require.Less(t, sent.Load(), int32(2500))
		})
	}
}

// What is refused does not count: circuit open, wait too long, queue full, disabled, and any error that says when to
// come back. A plain failure counts.
func TestWhatSpendsAnAttempt(t *testing.T) {
	t.Parallel()
	refused := belay.Verdict{Class: belay.ClassRefused}
	told := func(c belay.Class, wait time.Duration) belay.Verdict {
		return belay.Verdict{Class: c, RetryAfter: wait}
	}
	for name, tc := range map[string]struct {
		err   error
		spent bool
	}{
		"circuit open":      {&belay.Error{Verdict: refused, Err: belay.ErrCircuitOpen}, false},
		"wait too long":     {&belay.Error{Verdict: refused, Err: belay.ErrWaitTooLong}, false},
		"queue full":        {fmt.Errorf("saving: %w", &belay.Error{Verdict: refused, Err: belay.ErrQueueFull}), false},
		"disabled":          {&belay.Error{Verdict: refused, Err: belay.ErrDisabled}, false},
		"503 with a wait":   {&belay.Error{Verdict: told(belay.ClassTransient, time.Minute)}, false},
		"429 with a wait":   {&belay.Error{Verdict: told(belay.ClassRateLimited, time.Hour)}, false},
		"503":               {&belay.Error{Verdict: belay.Verdict{Class: belay.ClassTransient}}, true},
		"429":               {&belay.Error{Verdict: belay.Verdict{Class: belay.ClassRateLimited}}, true},
		"unavailable":       {belay.ErrUnavailable, true},
		"an error":          {errTrouble, true},
		"a nil error of it": {(*belay.Error)(nil), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var tries atomic.Int32
			w := start(t, inbox.NewMemory(), func(context.Context, inbox.Item) error { tries.Add(1); return tc.err },
				inbox.Config{MaxAttempts: 3})
			put(t, w, "evt_1")
			pass(71 * time.Hour)
			n := int(tries.Load())
			if tc.spent {
				require.Equal(t, 3, n, name)
				require.EqualValues(t, 1, w.Numbers().Dead, name)
				return
			}
			require.Zero(t, w.Numbers().Dead, name)
			require.Greater(t, n, 3, name)
			require.Less(t, n, 6000, name)
			pass(2 * time.Hour)
			require.EqualValues(t, 1, w.Numbers().Dead, "but not for ever: MaxAge")
		})
	}
}

// One poison event, or one bad route, does not keep the other events of its integration from being handled.
func TestRefusedEventsDoNotHoldTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var done tally
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			if strings.HasPrefix(it.ID, "bad") {
				return &belay.Error{
					Verdict: belay.Verdict{Class: belay.ClassRefused, RetryAfter: 4 * time.Second}, Err: belay.ErrCircuitOpen,
				}
			}
			done.add(it.ID)
			return nil
		}, inbox.Config{Workers: 2})
		for i := range 20 {
			put(t, w, fmt.Sprint("bad_", i))
		}
		for i := range 20 {
			put(t, w, fmt.Sprint("good_", i))
		}
		pass(5 * time.Minute)
		done.once(t, 20)
	})
}

// Events of an integration whose circuit is open rest without an attempt.
func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		asked := map[string]int{}
		times := map[string]time.Duration{}
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			mu.Lock()
			defer mu.Unlock()
			times[it.Integration] = time.Since(began)
			return nil
		}, inbox.Config{Ready: func(_, integration string) (bool, time.Time) {
			mu.Lock()
			defer mu.Unlock()
			asked[integration]++
			switch integration {
			case "told":
				return time.Since(began) >= 50*time.Second, began.Add(50 * time.Second)
			case "untold":
				return time.Since(began) >= 30*time.Second, time.Time{}
			case "past":
				return time.Since(began) >= time.Second, began.Add(-time.Hour)
			case "panics":
				panic("no such circuit")
			}
			return true, time.Time{}
		}})
		for _, integration := range []string{"told", "untold", "past", "panics", "well"} {
			putFrom(t, w, "acme", integration, "evt_"+integration)
		}
		pass(2 * time.Minute)
		require.Equal(t, 50*time.Second, times["told"])
		require.Equal(t, 2, asked["told"])
		require.Equal(t, 30*time.Second, times["untold"])
		require.Equal(t, time.Second, times["past"])
		require.Less(t, asked["past"], 200)
		require.Zero(t, times["panics"]+times["well"])
		require.Zero(t, w.Numbers().Failed)
	})
}

// Dead letters tell each attempt's failure, and are found by when they failed and grouped by why.
func TestFailuresOfDeadLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
			if it.Type == "panics" {
				panic(errors.New("no contact " + it.ID))
			}
			return fmt.Errorf("saving %q: attempt %d, token=s3cr3t99", it.ID, it.Attempts+1)
		}, inbox.Config{MaxAttempts: 20, MaxDelay: time.Minute})
		put(t, w, "evt_1", "evt_2", "evt_3")
		pass(time.Hour)
		d := delivery("evt_4")
		d.Events[0].Type = "panics"
		_, err := w.Put(t.Context(), d)
		require.NoError(t, err)
		between := time.Now()
		pass(time.Hour)
		for it, err := range w.DeadLetters(t.Context(), inbox.Filter{FailedUntil: between}) {
			require.NoError(t, err)
			require.Len(t, it.Failures, 12)
			last := it.Failures[11]
			require.Equal(t, fmt.Sprintf("saving %q: attempt 20, token=REDACTED", it.ID), last.Error)
			require.Empty(t, last.Stack)
			require.Equal(t, last.At, it.FailedAt())
			require.True(t, it.Failures[0].At.Before(last.At))
			require.NotContains(t, it.Error, "s3cr3t99")
		}
		groups, err := w.Groups(t.Context(), inbox.Filter{})
		require.NoError(t, err)
		require.Len(t, groups, 2)
		require.Equal(t, 3, groups[0].Count)
		require.Equal(t, "saving #: attempt #, token=REDACTED", groups[0].Fingerprint)
		groups, err = w.Groups(t.Context(), inbox.Filter{FailedSince: between})
		require.NoError(t, err)
		require.Len(t, groups, 1)
		f := groups[0].Example.Failures
		require.Contains(t, f[11].Stack, "turns_test.go")
		require.Empty(t, f[10].Stack)
		// A replayed event has its failures still, and as much time as a new one.
		n, err := w.Replay(t.Context(), inbox.Filter{FailedSince: between}, inbox.Replay{})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		pass(time.Hour)
		groups, err = w.Groups(t.Context(), inbox.Filter{FailedSince: between.Add(time.Hour)})
		require.NoError(t, err)
		require.Len(t, groups, 1)
	})
}
