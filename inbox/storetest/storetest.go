// Package storetest tests implementations of [inbox.Store]. Call [Run] in the tests of your own store.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
)

// Run tests the promises of [inbox.Store]. The function open returns a new, empty store for each call, and
// closes it by t.Cleanup. It is called from tests that run in parallel.
func Run(t *testing.T, open func(t *testing.T) inbox.Store) {
	ctx := context.Background()
	// Of late, because stores forget what is old; with nanoseconds and without a monotonic clock.
	now := time.Now().UTC().Truncate(time.Second).Add(-time.Hour + 123456789)
	event := func(id string) *inbox.Item {
		return &inbox.Item{
			Partner: "acme", Integration: "one", Delivery: "dlv_" + id, ID: id, Type: "contact.updated", Key: "contact 7",
			Time: now.Add(-time.Second), Received: now, Due: now,
			Header: http.Header{"X-Many": {"a", "b"}}, Body: []byte(`{"id":"` + id + `"}`),
		}
	}
	add := func(t *testing.T, s inbox.Store, items ...*inbox.Item) (seqs []uint64) {
		t.Helper()
		if err := s.Add(ctx, items); err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			seqs = append(seqs, it.Seq)
		}
		return seqs
	}
	settle := func(t *testing.T, s inbox.Store, changes ...inbox.Change) {
		t.Helper()
		if err := s.Settle(ctx, changes); err != nil {
			t.Fatal(err)
		}
	}
	list := func(t *testing.T, s inbox.Store) (ids []string) {
		t.Helper()
		last := uint64(0)
		for it, err := range s.Items(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if it.Seq <= last {
				t.Errorf("%d after %d", it.Seq, last)
			}
			last = it.Seq
			ids = append(ids, it.ID+" "+it.State.String())
		}
		return ids
	}
	want := func(t *testing.T, s inbox.Store, ids ...string) {
		t.Helper()
		if got := list(t, s); !slices.Equal(got, ids) {
			t.Errorf("%q, want %q", got, ids)
		}
	}
	get := func(t *testing.T, s inbox.Store, seq uint64) inbox.Item {
		t.Helper()
		it, err := s.Get(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	missing := func(t *testing.T, s inbox.Store, seq uint64) {
		t.Helper()
		if it, err := s.Get(ctx, seq); !errors.Is(err, inbox.ErrNoItem) || it.ID != "" {
			t.Errorf("%v %v", it, err)
		}
	}

	t.Run("new and known", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		if seqs := add(t, s, event("a"), event("b"), event("a")); !slices.Equal(seqs, []uint64{1, 2, 0}) {
			t.Error(seqs)
		}
		again := event("b")
		again.Seq, again.Body = 77, []byte("another")
		if seqs := add(t, s, again, event("c")); !slices.Equal(seqs, []uint64{0, 3}) {
			t.Error(seqs)
		}
		want(t, s, "a pending", "b pending", "c pending")
		if it := get(t, s, 2); string(it.Body) != `{"id":"b"}` {
			t.Errorf("%s", it.Body)
		}
		other, another := event("a"), event("a")
		other.Integration, another.Partner = "two", "initech"
		near, nearer := event("b"), event("eb")
		near.Partner, near.Integration = "acm", "eone"
		nearer.Partner, nearer.Integration = "acme", "on"
		if seqs := add(t, s, other, another, near, nearer); !slices.Equal(seqs, []uint64{4, 5, 6, 7}) {
			t.Error(seqs)
		}
		if seqs := add(t, s); len(seqs) != 0 {
			t.Error(seqs)
		}
		for id, want := range map[string]bool{"a": true, "c": true, "gone": false} {
			if known, err := s.Known(ctx, event(id)); known != want || err != nil {
				t.Error(id, known, err)
			}
		}
	})

	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		first := event("a")
		first.Body = append(bytes.Repeat([]byte("x"), 1<<20), 0, 0xff, '\n')
		bare := &inbox.Item{Received: now, Due: now}
		odd := event("ü\n\"\\ " + strings.Repeat("x", 500))
		odd.Time = time.Time{}
		items := []*inbox.Item{first, bare, odd}
		add(t, s, items...)
		for _, it := range items {
			got := get(t, s, it.Seq)
			if got.Seq != it.Seq || got.Partner != it.Partner || got.Integration != it.Integration ||
				got.Delivery != it.Delivery || got.ID != it.ID || got.Type != it.Type || got.Key != it.Key ||
				!got.Time.Equal(it.Time) || !got.Received.Equal(it.Received) || !got.Due.Equal(it.Due) ||
				!bytes.Equal(got.Body, it.Body) || fmt.Sprint(got.Header) != fmt.Sprint(it.Header) ||
				got.State != inbox.Pending || got.Attempts != 0 || got.Error != "" {
				t.Errorf("%.300v, want %.300v", fmt.Sprint(got), fmt.Sprint(*it))
			}
		}
		first.ID, first.State = "changed", inbox.Dead
		want(t, s, "a pending", " pending", odd.ID+" pending")
	})

	t.Run("settled", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		add(t, s, event("a"), event("b"), event("c"), event("d"))
		due := now.Add(time.Hour)
		settle(t, s)
		settle(t, s,
			inbox.Change{Seq: 1, State: inbox.Handled},
			inbox.Change{Seq: 2, Attempts: 2, Error: "x", Failures: []inbox.Failure{{At: now, Error: "x", Stack: "y"}}},
			inbox.Change{Seq: 2, Attempts: 3, Due: due, Error: "trouble"},
			inbox.Change{Seq: 3, State: inbox.Dead, Attempts: 12, Error: "more"},
			inbox.Change{Seq: 4, State: inbox.Unhandled},
			inbox.Change{Seq: 99, State: inbox.Dead})
		want(t, s, "b pending", "c dead", "d unhandled")
		missing(t, s, 1)
		missing(t, s, 99)
		missing(t, s, 0)
		if it := get(t, s, 2); it.Attempts != 3 || !it.Due.Equal(due) || it.Error != "trouble" || len(it.Body) == 0 {
			t.Errorf("%+v", it)
		}
		if it := get(t, s, 2); len(it.Failures) != 1 || !it.FailedAt().Equal(now) || it.Failures[0].Stack != "y" {
			t.Error("without failures in a change those that are known stay", it.Failures)
		}
		if it := get(t, s, 3); it.Attempts != 12 || it.Error != "more" {
			t.Errorf("%+v", it)
		}
		if seqs := add(t, s, event("a"), event("c")); !slices.Equal(seqs, []uint64{0, 0}) {
			t.Error("what is handled or dead is known", seqs)
		}
		settle(t, s, inbox.Change{Seq: 3, Due: due}, inbox.Change{Seq: 1, Due: due}) // replayed
		want(t, s, "b pending", "c pending", "d unhandled")
		if it := get(t, s, 3); it.Attempts != 0 || it.Error != "" {
			t.Errorf("%+v", it)
		}
		settle(t, s,
			inbox.Change{Seq: 3, State: inbox.Dead}, inbox.Change{Seq: 3, State: inbox.Handled},
			inbox.Change{Seq: 3}, inbox.Change{Seq: 4, State: inbox.Dead})
		want(t, s, "b pending", "d dead")
		settle(t, s, inbox.Change{Seq: 2, State: inbox.Handled}, inbox.Change{Seq: 4, State: inbox.Handled})
		want(t, s)
		if seqs := add(t, s, event("e")); !slices.Equal(seqs, []uint64{5}) {
			t.Error("no place is given twice", seqs)
		}
	})

	t.Run("looked at while it changes", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		var many []*inbox.Item
		for i := range 700 {
			many = append(many, event(fmt.Sprintf("evt_%03d", i)))
		}
		add(t, s, many...)
		for _, err := range s.Items(ctx) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		seen := 0
		for it, err := range s.Items(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
			if it.Seq%2 == 0 {
				settle(t, s, inbox.Change{Seq: it.Seq, State: inbox.Handled})
			}
			if it.Seq == 10 {
				add(t, s, event("late"))
			}
		}
		if seen != 700 && seen != 701 {
			t.Error(seen)
		}
		if left := list(t, s); len(left) != 351 {
			t.Error(len(left))
		}
	})

	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		var mu sync.Mutex
		fresh := make(map[string]int)
		seqs := make(map[uint64]bool)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for k := range 20 {
					items := []*inbox.Item{event(fmt.Sprint("x", k)), event(fmt.Sprint("y", (k+i)%20))}
					if err := s.Add(ctx, items); err != nil {
						t.Error(err)
					}
					for _, it := range items {
						if it.Seq == 0 {
							continue
						}
						mu.Lock()
						fresh[it.ID]++
						if seqs[it.Seq] {
							t.Error("twice", it.Seq)
						}
						seqs[it.Seq] = true
						mu.Unlock()
						got, err := s.Get(ctx, it.Seq)
						if err != nil || got.ID != it.ID {
							t.Error(got.ID, it.ID, err)
						}
						state := []inbox.State{inbox.Handled, inbox.Dead, inbox.Pending}[it.Seq%3]
						if err := s.Settle(ctx, []inbox.Change{{Seq: it.Seq, State: state}}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		if len(fresh) != 40 {
			t.Error(len(fresh))
		}
		for id, n := range fresh {
			if n != 1 {
				t.Error(id, n)
			}
		}
		left := 0
		for seq := range seqs {
			if seq%3 != 0 {
				left++
			}
		}
		if got := list(t, s); len(got) != left {
			t.Error(len(got), left)
		}
	})

	t.Run("with a worker", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		handled := make(chan string, 100)
		w, err := inbox.Start(s, func(_ context.Context, it inbox.Item) error {
			if it.ID == "bad" && it.Attempts == 0 {
				return errors.New("trouble")
			}
			handled <- it.ID
			return nil
		}, inbox.Config{BaseDelay: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"a", "bad", "a", "b"} {
			if _, err := w.Put(ctx, belay.Delivery{
				Partner: "acme", ID: id, Events: []belay.WebhookEvent{{ID: id, Data: []byte("{}")}},
			}); err != nil {
				t.Error(err)
			}
		}
		got := []string{<-handled, <-handled, <-handled}
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "bad"}) {
			t.Error(got)
		}
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		want(t, s)
	})
}
