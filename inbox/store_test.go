package inbox_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/storetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) inbox.Store { return inbox.NewMemory() })
}

// Memory remembers IDs for a week, and the last hundred thousand.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := inbox.NewMemory()
		add := func(id string) bool {
			it := &inbox.Item{ID: id, Received: time.Now()}
			if err := m.Add(t.Context(), []*inbox.Item{it}); err != nil {
				t.Fatal(err)
			}
			if it.Seq != 0 {
				_ = m.Settle(t.Context(), []inbox.Change{{Seq: it.Seq, State: inbox.Handled}})
			}
			return it.Seq != 0
		}
		if !add("a") || add("a") {
			t.Error("known at once")
		}
		time.Sleep(7 * 24 * time.Hour)
		if add("a") {
			t.Error("known for a week")
		}
		time.Sleep(time.Second)
		if !add("a") {
			t.Error("forgotten after it")
		}
		for i := range 99_999 {
			add(fmt.Sprint(i))
		}
		if add("a") {
			t.Error("known among a hundred thousand")
		}
		add("b")
		add("c")
		if !add("a") {
			t.Error("forgotten beyond")
		}
	})
}

// Memory holds 64 MiB: what was set aside goes first, the oldest before the others, and then it is full.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := inbox.NewMemory()
	ctx := t.Context()
	body := make([]byte, 1<<20)
	add := func(id string) (uint64, error) {
		it := &inbox.Item{ID: id, Received: time.Now(), Body: body}
		err := m.Add(ctx, []*inbox.Item{it})
		return it.Seq, err
	}
	for i := range 63 {
		seq, err := add(fmt.Sprint(i))
		if err != nil || seq != uint64(i+1) {
			t.Fatal(seq, err)
		}
	}
	if seq, err := add("full"); !errors.Is(err, inbox.ErrFull) || seq != 0 {
		t.Fatal(seq, err)
	}
	err := m.Settle(
		ctx,
		[]inbox.Change{
			{Seq: 5, State: inbox.Dead},
			{Seq: 3, State: inbox.Unhandled},
			{Seq: 4, State: inbox.Dead},
			{Seq: 4},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := add(fmt.Sprint("more", i)); err != nil {
			t.Error(err)
		}
	}
	for _, seq := range []uint64{3, 5} {
		if _, err := m.Get(ctx, seq); !errors.Is(err, inbox.ErrNoItem) {
			t.Error(seq, err)
		}
	}
	if _, err := m.Get(ctx, 4); err != nil {
		t.Error("one that was replayed is none of those", err)
	}
	if _, err := add("more"); !errors.Is(err, inbox.ErrFull) {
		t.Error(err)
	}
	if seq, err := add("1"); err != nil && !errors.Is(err, inbox.ErrFull) || seq != 0 {
		t.Error(seq, err)
	}
	if err := m.Settle(ctx, []inbox.Change{{Seq: 1, State: inbox.Handled}}); err != nil {
		t.Error(err)
	}
	if _, err := add("more"); err != nil {
		t.Error("nothing of one that was refused is known", err)
	}
}
