package boltinbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/boltinbox"
)

func openAt(t *testing.T, path string, cfg boltinbox.Config) *boltinbox.Store {
	t.Helper()
	s, err := boltinbox.Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	testStore(t, func() inbox.Store { return openAt(t, filepath.Join(t.TempDir(), "inbox.db"), boltinbox.Config{}) })
}

// testStore is what every Store must do; it is a copy of the one in inbox.
func testStore(t *testing.T, open func() inbox.Store) {
	ctx := context.Background()
	now := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	event := func(id string) *inbox.Item {
		return &inbox.Item{
			Partner: "acme", Integration: "one", Delivery: "dlv_" + id, ID: id, Type: "contact.updated", Key: "contact 7",
			Time: now.Add(-time.Second), Received: now, Due: now, Header: http.Header{"X-Many": {"a", "b"}}, Body: []byte(`{"id":"` + id + `"}`),
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
		s := open()
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
	})

	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		s := open()
		first := event("a")
		first.Body = append(bytes.Repeat([]byte("x"), 1<<20), 0, 0xff, '\n')
		bare := &inbox.Item{Received: now, Due: now}
		odd := event("ü\n\"\\ " + strings.Repeat("x", 500))
		odd.Time = time.Time{}
		items := []*inbox.Item{first, bare, odd}
		add(t, s, items...)
		for _, it := range items {
			got := get(t, s, it.Seq)
			if got.Seq != it.Seq || got.Partner != it.Partner || got.Integration != it.Integration || got.Delivery != it.Delivery || got.ID != it.ID ||
				got.Type != it.Type || got.Key != it.Key || !got.Time.Equal(it.Time) || !got.Received.Equal(it.Received) || !got.Due.Equal(it.Due) ||
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
		s := open()
		add(t, s, event("a"), event("b"), event("c"), event("d"))
		due := now.Add(time.Hour)
		settle(t, s)
		settle(t, s, inbox.Change{Seq: 1, State: inbox.Handled}, inbox.Change{Seq: 2, Attempts: 3, Due: due, Error: "trouble"},
			inbox.Change{Seq: 3, State: inbox.Dead, Attempts: 12, Error: "more"}, inbox.Change{Seq: 4, State: inbox.Unhandled}, inbox.Change{Seq: 99, State: inbox.Dead})
		want(t, s, "b pending", "c dead", "d unhandled")
		missing(t, s, 1)
		missing(t, s, 99)
		missing(t, s, 0)
		if it := get(t, s, 2); it.Attempts != 3 || !it.Due.Equal(due) || it.Error != "trouble" || len(it.Body) == 0 {
			t.Errorf("%+v", it)
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
		settle(t, s, inbox.Change{Seq: 3, State: inbox.Dead}, inbox.Change{Seq: 3, State: inbox.Handled}, inbox.Change{Seq: 3}, inbox.Change{Seq: 4, State: inbox.Dead})
		want(t, s, "b pending", "d dead")
		settle(t, s, inbox.Change{Seq: 2, State: inbox.Handled}, inbox.Change{Seq: 4, State: inbox.Handled})
		want(t, s)
		if seqs := add(t, s, event("e")); !slices.Equal(seqs, []uint64{5}) {
			t.Error("no place is given twice", seqs)
		}
	})

	t.Run("looked at while it changes", func(t *testing.T) {
		t.Parallel()
		s := open()
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
		s := open()
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
		s := open()
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
			if _, err := w.Put(ctx, belay.Delivery{Partner: "acme", ID: id, Events: []belay.WebhookEvent{{ID: id, Data: []byte("{}")}}}); err != nil {
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

// kept is what a file holds.
func kept(t *testing.T, s *boltinbox.Store) (all []inbox.Item) {
	t.Helper()
	for it, err := range s.Items(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, it)
	}
	return all
}

func addAt(t *testing.T, s *boltinbox.Store, at time.Time, size int, ids ...string) (seqs []uint64, err error) {
	t.Helper()
	var items []*inbox.Item
	for _, id := range ids {
		items = append(items, &inbox.Item{Partner: "acme", ID: id, Received: at, Due: at, Body: bytes.Repeat([]byte("x"), size)})
	}
	err = s.Add(t.Context(), items)
	for _, it := range items {
		seqs = append(seqs, it.Seq)
	}
	return seqs, err
}

// What a file holds is there when it is opened again: all that is pending or set aside, with its attempts, and the IDs.
func TestReopened(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "inbox.db"), time.Now()
	s := openAt(t, path, boltinbox.Config{})
	if _, err := addAt(t, s, now, 100, "a", "b", "c", "d", "e"); err != nil {
		t.Fatal(err)
	}
	due := now.Add(time.Hour)
	err := s.Settle(t.Context(), []inbox.Change{
		{Seq: 1, State: inbox.Handled},
		{Seq: 2, Attempts: 3, Due: due, Error: "trouble"},
		{Seq: 3, State: inbox.Dead, Attempts: 12, Error: "more"},
		{Seq: 4, State: inbox.Unhandled},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, held := fmt.Sprint(kept(t, s)), s.Bytes()
	if held < 500 {
		t.Error(held)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path, boltinbox.Config{})
	if after := fmt.Sprint(kept(t, s)); after != before {
		t.Errorf("%s, want %s", after, before)
	}
	if s.Bytes() != held {
		t.Errorf("%d bytes, want %d", s.Bytes(), held)
	}
	if seqs, err := addAt(t, s, now, 100, "a", "c", "e", "f"); err != nil || !slices.Equal(seqs, []uint64{0, 0, 0, 6}) {
		t.Error(seqs, err)
	}
	it, err := s.Get(t.Context(), 2)
	if err != nil || it.Attempts != 3 || !it.Due.Equal(due) || it.Error != "trouble" {
		t.Errorf("%+v %v", it, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// IDs and what was set aside are kept for Config.Days; what is pending stays.
func TestDays(t *testing.T) {
	t.Parallel()
	s, now := openAt(t, filepath.Join(t.TempDir(), "inbox.db"), boltinbox.Config{Days: 2}), time.Now()
	if _, err := addAt(t, s, now, 100, "handled", "dead", "pending", "replayed"); err != nil {
		t.Fatal(err)
	}
	err := s.Settle(t.Context(), []inbox.Change{{Seq: 1, State: inbox.Handled}, {Seq: 2, State: inbox.Dead}, {Seq: 4, State: inbox.Dead}, {Seq: 4}})
	if err != nil {
		t.Fatal(err)
	}
	later := now.AddDate(0, 0, 2)
	if seqs, _ := addAt(t, s, later, 100, "handled", "dead"); !slices.Equal(seqs, []uint64{0, 0}) {
		t.Error("known for two days", seqs)
	}
	later = later.Add(time.Millisecond)
	for i := range 3 { // some go with each Add
		if _, err := addAt(t, s, later, 100, fmt.Sprint("later", i), fmt.Sprint("latest", i)); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, it := range kept(t, s) {
		ids = append(ids, it.ID)
	}
	if want := []string{"pending", "replayed", "later0", "latest0", "later1", "latest1", "later2", "latest2"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
	if seqs, err := addAt(t, s, later, 100, "handled", "dead"); err != nil || slices.Contains(seqs, 0) {
		t.Error("forgotten after it", seqs, err)
	}
	if _, err := boltinbox.Open(filepath.Join(t.TempDir(), "x"), boltinbox.Config{Days: -1}); err == nil {
		t.Error("negative days")
	}
	if _, err := boltinbox.Open(filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: -1}); err == nil {
		t.Error("a negative bound")
	}
}

// Beyond MaxBytes the oldest of those set aside go, and then it is full; the bytes add up all along.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "inbox.db"), time.Now()
	s := openAt(t, path, boltinbox.Config{MaxBytes: 100_000})
	n := 0
	for ; n < 20; n++ {
		_, err := addAt(t, s, now, 10_000, fmt.Sprint("evt_", n))
		if errors.Is(err, inbox.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != 9 {
		t.Error(n)
	}
	if s.Bytes() > 100_000 || s.Bytes() < 90_000 {
		t.Error(s.Bytes())
	}
	if seqs, err := addAt(t, s, now, 10, "small"); err != nil || seqs[0] != 10 {
		t.Error("nothing of one that was refused is kept", seqs, err)
	}
	err := s.Settle(t.Context(), []inbox.Change{{Seq: 4, State: inbox.Dead}, {Seq: 2, State: inbox.Unhandled}, {Seq: 3, State: inbox.Dead}, {Seq: 3}})
	if err != nil {
		t.Fatal(err)
	}
	for i, gone := range []uint64{2, 4} {
		if _, err := addAt(t, s, now, 9_500, fmt.Sprint("more", i)); err != nil {
			t.Error(err)
		}
		if _, err := s.Get(t.Context(), gone); !errors.Is(err, inbox.ErrNoItem) {
			t.Error(gone, err)
		}
	}
	if _, err := addAt(t, s, now, 9_500, "more"); !errors.Is(err, inbox.ErrFull) {
		t.Error(err)
	}
	if len(kept(t, s)) != 10 {
		t.Error(len(kept(t, s)))
	}
	held := s.Bytes()
	_ = s.Close()
	s = openAt(t, path, boltinbox.Config{MaxBytes: 100_000})
	if s.Bytes() != held {
		t.Errorf("%d bytes, %d when it is opened again", held, s.Bytes())
	}
	for _, it := range kept(t, s) {
		if err := s.Settle(t.Context(), []inbox.Change{{Seq: it.Seq, State: inbox.Handled}}); err != nil {
			t.Error(err)
		}
	}
	if s.Bytes() > 2000 {
		t.Error("only the IDs are held", s.Bytes())
	}
	if seqs, err := addAt(t, s, now, 10_000, "evt_2", "new"); err != nil || seqs[0] != 0 || seqs[1] == 0 {
		t.Error("what has made room is known still", seqs, err)
	}
}

// One at a time has the file open, and is named as the reason.
func TestOpenTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := openAt(t, path, boltinbox.Config{})
	_, err := boltinbox.Open(path, boltinbox.Config{})
	if err == nil || !strings.Contains(err.Error(), "is open in another process") || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	openAt(t, path, boltinbox.Config{})
	if _, err := s.Get(t.Context(), 1); err == nil || errors.Is(err, inbox.ErrNoItem) {
		t.Error("a store that is closed", err)
	}
	if _, err := addAt(t, s, time.Now(), 1, "a"); err == nil {
		t.Error("a store that is closed")
	}
}

// What is no such file is an error, and left as it is.
func TestOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"text": []byte("not a database"), "a page of text": bytes.Repeat([]byte("text"), 1024), "zeros": make([]byte, 32<<10), "one byte": {0},
		"noise": bytes.Repeat([]byte{0xed, 0x0c, 0xda, 0xed, 0xff, 0x80}, 10_000),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := boltinbox.Open(path, boltinbox.Config{})
		if err == nil {
			t.Error(name, s.Close())
		} else if !strings.HasPrefix(err.Error(), "boltinbox: ") || strings.Contains(err.Error(), "\n") {
			t.Error(name, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
			t.Error(name, "was changed")
		}
	}
	if _, err := boltinbox.Open(dir, boltinbox.Config{}); err == nil {
		t.Error("a directory")
	}
	if _, err := boltinbox.Open(filepath.Join(dir, "none", "inbox.db"), boltinbox.Config{}); err == nil {
		t.Error("a folder that is not there")
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	openAt(t, empty, boltinbox.Config{}) // is a new one
}

// TestCutChild is not a test: it is the process that opens the file that TestCutFile has cut, and uses it.
func TestCutChild(t *testing.T) {
	path := os.Getenv("BOLTINBOX_CUT")
	if path == "" {
		t.Skip("run by TestCutFile")
	}
	s, err := boltinbox.Open(path, boltinbox.Config{})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	n := 0
	for _, err := range s.Items(context.Background()) {
		if err != nil {
			fmt.Println("error:", err)
			return
		}
		n++
	}
	fmt.Println("items:", n, s.Close())
}

// A file that was cut off is an error or works.
func TestCutFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inbox.db")
	s := openAt(t, path, boltinbox.Config{})
	for i := range 30 {
		if _, err := addAt(t, s, time.Now(), 20_000, fmt.Sprint("evt_", i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for _, size := range []int{page / 2, page, page + 1, len(whole) - 1} {
		cut := filepath.Join(t.TempDir(), "cut.db")
		if err := os.WriteFile(cut, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestCutChild$")
		cmd.Env = append(os.Environ(), "BOLTINBOX_CUT="+cut)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("error: ")) && !bytes.Contains(out, []byte("items: ")) {
			t.Errorf("%d of %d bytes: %v: %.300s", size, len(whole), err, out)
		}
	}
}
