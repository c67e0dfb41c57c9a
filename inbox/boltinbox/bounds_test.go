package boltinbox_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/boltinbox"
)

// What is known already is not refused, however full the file is.
func TestKnownWhenFull(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 10_000})
	for i := 0; ; i++ {
		if _, err := addAt(t, s, time.Now(), 3000, fmt.Sprint(i)); err != nil {
			break
		}
	}
	if _, err := addAt(t, s, time.Now(), 3000, "0"); err != nil {
		t.Error("known, and refused:", err)
	}
}

// What is refused costs nothing that was set aside.
func TestRefusalKeepsWhatWasSetAside(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 10_000})
	addAt(t, s, time.Now(), 1000, "a", "b", "c")
	_ = s.Settle(
		t.Context(),
		[]inbox.Change{{Seq: 1, State: inbox.Dead}, {Seq: 2, State: inbox.Dead}, {Seq: 3, State: inbox.Dead}},
	)
	_, err := addAt(t, s, time.Now(), 20_000, "huge")
	if !errors.Is(err, inbox.ErrFull) || len(kept(t, s)) != 3 {
		t.Error("refused, and yet", 3-len(kept(t, s)), "dead letters are gone:", err)
	}
}

// What is known already needs no room.
func TestKnownKeepsWhatWasSetAside(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 10_000})
	addAt(t, s, time.Now(), 4000, "a", "b")
	_ = s.Settle(t.Context(), []inbox.Change{{Seq: 1, State: inbox.Dead}})
	addAt(t, s, time.Now(), 4000, "b") // known: nothing to store
	if len(kept(t, s)) != 2 {
		t.Error("a duplicate has cost a dead letter")
	}
}

// The bound holds when many are added in one transaction.
func TestBoundHoldsAtOnce(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 100_000})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { addAt(t, s, time.Now(), 10_000, fmt.Sprint(i)) })
	}
	wg.Wait()
	if s.Bytes() > 110_000 {
		t.Error(s.Bytes(), "of 100000")
	}
}

// A time that encoding/json does not write is kept all the same.
func TestOddTimeZone(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{})
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("", 24*60*60))
	if _, err := at.MarshalJSON(); err == nil {
		t.Fatal("encoding/json writes it")
	}
	it := &inbox.Item{ID: "a", Received: time.Now(), Time: at}
	if err := s.Add(t.Context(), []*inbox.Item{it}); err != nil {
		t.Error("never to be stored:", err)
	}
}

// The IDs of what was handled long ago give way to new events: a file is not full of what it has done. Those of
// the last day stay.
func TestOldIDsGiveWay(t *testing.T) {
	s, now := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 10_000}), time.Now()
	n := 0
	handled := func(at time.Time) error {
		n++
		seqs, err := addAt(t, s, at, 100, fmt.Sprint(n))
		if err != nil {
			return err
		}
		return s.Settle(t.Context(), []inbox.Change{{Seq: seqs[0], State: inbox.Handled}})
	}
	for day := range 4 {
		for range 40 {
			if err := handled(now.AddDate(0, 0, day).Add(time.Duration(n) * time.Millisecond)); err != nil {
				t.Fatal("day", day, err)
			}
		}
	}
	if s.Bytes() > 10_000 {
		t.Error(s.Bytes(), "of 10000")
	}
	last := now.AddDate(0, 0, 3).Add(time.Second)
	if seqs, err := addAt(t, s, last, 100, fmt.Sprint(n), fmt.Sprint(n-39)); err != nil || seqs[0] != 0 || seqs[1] != 0 {
		t.Error("an ID of the last day is forgotten", seqs, err)
	}
	var err error
	for i := 0; i < 200 && err == nil; i++ {
		err = handled(last)
	}
	if !errors.Is(err, inbox.ErrFull) {
		t.Error("full of the last day's IDs:", err)
	}
	if err := handled(last.AddDate(0, 0, 2)); err != nil {
		t.Error("two days later:", err)
	}
}

// A number of days that means "for ever" forgets nothing.
func TestForEver(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{Days: 36_500})
	for range 3 {
		addAt(t, s, time.Now(), 100, "a", "b")
	}
	if seqs, err := addAt(t, s, time.Now(), 100, "a", "b"); err != nil || seqs[0] != 0 || seqs[1] != 0 {
		t.Error("forgotten", seqs, err)
	}
	if _, err := boltinbox.Open(filepath.Join(t.TempDir(), "x"), boltinbox.Config{Days: 36_501}); err == nil {
		t.Error("more days than a time can be taken back by")
	}
}

// What came with a delivery is not forgotten to make room for it.
func TestOwnIDsDoNotGiveWay(t *testing.T) {
	s, now := openAt(t, filepath.Join(t.TempDir(), "x"), boltinbox.Config{MaxBytes: 10_000}), time.Now()
	for n := 1; ; n++ {
		seqs, err := addAt(t, s, now.Add(time.Duration(n)*time.Millisecond), 100, fmt.Sprint(n))
		if err != nil {
			break
		}
		_ = s.Settle(t.Context(), []inbox.Change{{Seq: seqs[0], State: inbox.Handled}})
	}
	seqs, err := addAt(t, s, now.AddDate(0, 0, 2), 600, "1", "2", "new")
	if err != nil || seqs[0] != 0 || seqs[1] != 0 || seqs[2] == 0 {
		t.Error("known, and stored again, or not stored at all", seqs, err)
	}
	if s.Bytes() > 10_000 {
		t.Error(s.Bytes(), "of 10000")
	}
}
