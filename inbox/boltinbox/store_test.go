package boltinbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/boltinbox"
	"github.com/belay-go/belay/inbox/storetest"
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
	storetest.Run(t, func(t *testing.T) inbox.Store {
		return openAt(t, filepath.Join(t.TempDir(), "inbox.db"), boltinbox.Config{})
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
		items = append(
			items,
			&inbox.Item{Partner: "acme", ID: id, Received: at, Due: at, Body: bytes.Repeat([]byte("x"), size)},
		)
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
	err := s.Settle(
		t.Context(),
		[]inbox.Change{{Seq: 1, State: inbox.Handled}, {Seq: 2, State: inbox.Dead}, {Seq: 4, State: inbox.Dead}, {Seq: 4}},
	)
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
	if want := []string{
		"pending", "replayed", "later0", "latest0", "later1", "latest1", "later2", "latest2",
	}; !slices.Equal(ids, want) {
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
	err := s.Settle(
		t.Context(),
		[]inbox.Change{
			{Seq: 4, State: inbox.Dead},
			{Seq: 2, State: inbox.Unhandled},
			{Seq: 3, State: inbox.Dead},
			{Seq: 3},
		},
	)
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
	if err == nil || !strings.Contains(err.Error(), "is open in another process") ||
		!strings.Contains(err.Error(), path) {
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
		"text":           []byte("not a database"),
		"a page of text": bytes.Repeat([]byte("text"), 1024),
		"zeros":          make([]byte, 32<<10),
		"one byte":       {0},
		"noise":          bytes.Repeat([]byte{0xed, 0x0c, 0xda, 0xed, 0xff, 0x80}, 10_000),
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
