package boltinbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/belay-go/belay/inbox"
)

func itemOf(id string, size int) *inbox.Item {
	return &inbox.Item{Partner: "p", Integration: "i", ID: id, Received: time.Now(), Body: make([]byte, size)}
}

func opened(t *testing.T, path string, cfg Config) *Store {
	t.Helper()
	s, err := Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.db.NoSync = true // what is counted does not depend on the disk
	return s
}

// recount returns what Bytes should be, how much of it was set deadLetters, and how many those are.
func recount(t *testing.T, s *Store) (held, idle int64, apart int) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		ids, times := tx.Bucket(known).Inspect().KeyN, tx.Bucket(knownAt).Inspect().KeyN
		if ids != times {
			t.Errorf("%d IDs, %d times of them", ids, times)
		}
		held = int64(ids) * knownSize
		return tx.Bucket(items).ForEach(func(k, v []byte) error {
			held += itemSize(v)
			if tx.Bucket(deadLetters).Get(k) != nil {
				idle += itemSize(v)
				apart++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return held, idle, apart
}

// However many are added at once, no more of what was set deadLetters goes than they need room, and none is
// refused for what others take.
func TestRoomIsMadeOnce(t *testing.T) {
	t.Parallel()
	const most, size = 2 << 20, 1500
	for _, workers := range []int{1, 16, 64} {
		s := opened(t, filepath.Join(t.TempDir(), "x.db"), Config{MaxBytes: most})
		var dead []*inbox.Item
		var changes []inbox.Change
		for i := range 900 {
			dead = append(dead, itemOf(fmt.Sprint("dead", i), size))
		}
		if err := s.Add(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
		for _, it := range dead {
			changes = append(changes, inbox.Change{Seq: it.Seq, State: inbox.Dead})
		}
		if err := s.Settle(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		for i := 0; s.Bytes() < most-2*size; i++ {
			if err := s.Add(t.Context(), []*inbox.Item{itemOf(fmt.Sprint("fill", i), size)}); err != nil {
				t.Fatal(err)
			}
		}
		_, _, before := recount(t, s)
		var wg sync.WaitGroup
		var refused atomic.Int64
		for w := range workers {
			wg.Go(func() {
				for i := range 64 / workers {
					if err := s.Add(context.Background(), []*inbox.Item{itemOf(fmt.Sprint("new", w, "-", i), size)}); errors.Is(
						err,
						inbox.ErrFull,
					) {
						refused.Add(1)
					}
				}
			})
		}
		wg.Wait()
		held, _, after := recount(t, s)
		if lost := before - after; lost > 80 || refused.Load() != 0 || held > most {
			t.Errorf(
				"%d at once: %d of %d set deadLetters are gone for 64 new events, %d were refused, %d bytes held",
				workers,
				lost,
				before,
				refused.Load(),
				held,
			)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is known already takes no room from what is new.
func TestRepeatsTakeNoRoom(t *testing.T) {
	t.Parallel()
	s := opened(t, filepath.Join(t.TempDir(), "x.db"), Config{MaxBytes: 1 << 20})
	defer s.Close()
	if err := s.Add(t.Context(), []*inbox.Item{itemOf("large", 500<<10)}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := s.Add(context.Background(), []*inbox.Item{itemOf("large", 500<<10)}); err != nil {
				t.Error("known, and refused:", err)
			}
		})
		wg.Go(func() {
			if err := s.Add(context.Background(), []*inbox.Item{itemOf(fmt.Sprint("small", i), 1000)}); err != nil {
				t.Error("small, and refused:", err)
			}
		})
	}
	wg.Wait()
}

// What is counted stays what is there, through anything that happens at once, expiry and reopening.
func TestBytesDoNotDrift(t *testing.T) {
	t.Parallel()
	const most = 300 << 10
	path, cfg := filepath.Join(t.TempDir(), "x.db"), Config{MaxBytes: most, Days: 1}
	s := opened(t, path, cfg)
	clock := time.Now().AddDate(0, 0, -40)
	for round := range 80 {
		clock = clock.Add(time.Duration(rand.IntN(600)) * time.Second)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					if rand.IntN(3) > 0 {
						var add []*inbox.Item
						for range 1 + rand.IntN(4) {
							it := itemOf(fmt.Sprint(rand.IntN(3000)), rand.IntN(3000))
							it.Received = clock.Add(time.Duration(rand.IntN(1000)-500) * time.Second)
							add = append(add, it)
						}
						if err := s.Add(context.Background(), add); err != nil && !errors.Is(err, inbox.ErrFull) {
							t.Error(err)
						}
						continue
					}
					var changes []inbox.Change
					for it, err := range s.Items(context.Background()) {
						if err != nil {
							t.Error(err)
						}
						if rand.IntN(3) == 0 {
							changes = append(changes, inbox.Change{Seq: it.Seq, State: inbox.State(rand.IntN(4)), Error: "x"})
						}
						if len(changes) > 50 {
							break
						}
					}
					if err := s.Settle(context.Background(), changes); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		held, idle, _ := recount(t, s)
		if held != s.Bytes() || idle != s.deadBytes || held > most {
			t.Fatalf("round %d: %d and %d are counted, %d and %d are there", round, s.Bytes(), s.deadBytes, held, idle)
		}
		if round%20 == 19 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s = opened(t, path, cfg); s.Bytes() != held || s.deadBytes != idle {
				t.Fatalf("reopened: %d and %d, before %d and %d", s.Bytes(), s.deadBytes, held, idle)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What a clock that was ahead has written is handled when the service starts again, and what stands behind it.
func TestClockWasAhead(t *testing.T) {
	t.Parallel()
	s := opened(t, filepath.Join(t.TempDir(), "x.db"), Config{})
	defer s.Close()
	for i, ahead := range []time.Duration{365 * 24 * time.Hour, 0} {
		it := itemOf(fmt.Sprint(i), 3)
		it.Received = time.Now().Add(ahead)
		it.Key, it.Due = "k", it.Received
		if err := s.Add(t.Context(), []*inbox.Item{it}); err != nil {
			t.Fatal(err)
		}
	}
	handled := make(chan string, 2)
	w, err := inbox.Start(
		s,
		func(_ context.Context, it inbox.Item) error { handled <- it.ID; return nil },
		inbox.Config{},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0", "1"} {
		select {
		case got := <-handled:
			if got != want {
				t.Errorf("%s before %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it waits for the clock")
		}
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// An item that cannot be read any more holds up no other: the service starts, it is listed, and can be let go.
func TestDamagedItem(t *testing.T) {
	t.Parallel()
	s := opened(t, filepath.Join(t.TempDir(), "x.db"), Config{})
	defer s.Close()
	if err := s.Add(t.Context(), []*inbox.Item{itemOf("bad", 10), itemOf("good", 10)}); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(items).Put(number(1), []byte("\x00\x00\x00\x02{"))
	}); err != nil {
		t.Fatal(err)
	}
	handled := make(chan string, 1)
	w, err := inbox.Start(
		s,
		func(_ context.Context, it inbox.Item) error { handled <- it.ID; return nil },
		inbox.Config{},
	)
	if err != nil {
		t.Fatal(err)
	}
	if id := <-handled; id != "good" {
		t.Error(id)
	}
	listed := 0
	for it, err := range w.DeadLetters(t.Context(), inbox.Filter{}) {
		if listed++; err != nil || it.Seq != 1 || it.Error == "" {
			t.Error(it, err)
		}
	}
	if _, err := w.Replay(t.Context(), inbox.Filter{}, inbox.Replay{}); err == nil {
		t.Error("what cannot be read was handed back")
	}
	if n, err := w.Discard(t.Context(), inbox.Filter{}); n != 1 || err != nil || listed != 1 {
		t.Error(n, err, listed)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for it := range s.Items(t.Context()) {
		t.Error(it)
	}
}

// A panic within a transaction is an error for all who share it: none of them may take it for done.
func TestPanicInATransaction(t *testing.T) {
	t.Parallel()
	s := opened(t, filepath.Join(t.TempDir(), "x.db"), Config{})
	defer s.Close()
	s.commits.Lock() // so that all wait for one transaction
	var wg sync.WaitGroup
	var panicked, done atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			defer func() {
				if recover() != nil {
					panicked.Add(1)
				}
			}()
			err := s.commit(func(*bolt.Tx, *growth) error {
				if i == 3 {
					panic("a page is damaged")
				}
				return nil
			})
			if err == nil {
				done.Add(1)
			}
		})
	}
	for waiting := 0; waiting < 8; {
		s.mu.Lock()
		waiting = len(s.waiting)
		s.mu.Unlock()
	}
	s.commits.Unlock()
	wg.Wait()
	if panicked.Load() != 1 || done.Load() != 0 {
		t.Errorf("%d panicked, %d took it for done", panicked.Load(), done.Load())
	}
	if err := s.Add(t.Context(), []*inbox.Item{itemOf("a", 1)}); err != nil {
		t.Error(err)
	}
}
