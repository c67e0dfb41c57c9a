package belaysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/storetest"
)

func inboxOf(t testing.TB, d database, name string, cfg belaysql.InboxConfig) *belaysql.Inbox {
	t.Helper()
	return must[*belaysql.Inbox](t)(d.store(t).Inbox(t.Context(), name, cfg))
}

// The inbox keeps the promises of a store.
func TestInboxStore(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		s := d.store(t)
		var n atomic.Int32
		storetest.Run(t, func(t *testing.T) inbox.Store {
			return must[*belaysql.Inbox](t)(s.Inbox(t.Context(), fmt.Sprint("inbox ", n.Add(1)), belaysql.InboxConfig{}))
		})
	})
}

func delivery(id string) belay.Delivery {
	return belay.Delivery{Partner: "crm", ID: id, Body: []byte("{}"), Events: []belay.WebhookEvent{{ID: id, Data: []byte("{}")}}}
}

// Four processes receive, and two of them handle, one at a time: each event once, whoever it came to; the second goes
// on when the first one ends, and when it stands still.
func TestSharedInbox(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		var mu sync.Mutex
		handled := make(map[string][]string) // by whom
		start := func(name string) (*belaysql.Inbox, *inbox.Worker) {
			b := inboxOf(t, d, "crm", belaysql.InboxConfig{})
			w := must[*inbox.Worker](t)(inbox.Start(b, func(_ context.Context, it inbox.Item) error {
				mu.Lock()
				defer mu.Unlock()
				if handled[it.ID] = append(handled[it.ID], name); it.ID == "7" && len(handled[it.ID]) == 1 {
					return errors.New("once more")
				}
				return nil
			}, inbox.Config{BaseDelay: 10 * time.Millisecond}))
			return b, w
		}
		first, one := start("one")
		_, two := start("two")
		receivers := []inbox.Inbox{one, two, inboxOf(t, d, "crm", belaysql.InboxConfig{}), inboxOf(t, d, "crm", belaysql.InboxConfig{})}
		put := func(from, to int) {
			var all sync.WaitGroup
			for i, r := range receivers {
				all.Go(func() {
					for n := from; n < to; n++ {
						if (n+i)%2 == 0 { // each event comes to two of them
							if _, err := r.Put(t.Context(), delivery(fmt.Sprint(n))); err != nil && !errors.Is(err, inbox.ErrClosed) {
								t.Error(err)
							}
						}
					}
				})
			}
			all.Wait()
		}
		wait := func(n int) {
			t.Helper()
			for range 2000 {
				mu.Lock()
				have := len(handled)
				mu.Unlock()
				if have == n {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Fatalf("%d of %d", len(handled), n)
		}
		by := func(from, to int) (names []string) {
			mu.Lock()
			defer mu.Unlock()
			for n := from; n < to; n++ {
				for _, name := range handled[fmt.Sprint(n)] {
					if !slices.Contains(names, name) {
						names = append(names, name)
					}
				}
			}
			return names
		}
		put(0, 100)
		wait(100)
		if names := by(0, 100); len(names) != 1 {
			t.Error("handled by", names)
		}
		if by(0, 100)[0] == "two" { // whichever was first
			one, two = two, one
		} else if !first.Held() {
			t.Error("the first does not hold the claim")
		}
		holder := by(0, 100)[0]
		if n, err := two.Replay(t.Context(), inbox.Filter{}, inbox.Replay{}); n != 0 || err != nil {
			t.Error(n, err)
		}
		if err := one.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		put(100, 200)
		wait(200)
		if names := by(100, 200); len(names) != 1 || names[0] == holder {
			t.Error("handled by", names, "after", holder)
		}
		for id, names := range handled {
			if want := 1 + btoi(id == "7"); len(names) != want {
				t.Error(id, names)
			}
		}
		if err := two.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if count(t, d, "select pending from belay_inboxes") != 0 {
			t.Error("pending events are counted that are not there")
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func count(t testing.TB, d database, query string) (n int) {
	t.Helper()
	if err := d.open(t).QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A process that lost its claim settles nothing, so that what another one is at work on stays; its handlers are told.
func TestLostClaim(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		b := inboxOf(t, d, "crm", belaysql.InboxConfig{})
		b.SetLease(600 * time.Millisecond)
		began, told := make(chan struct{}), make(chan error, 1)
		var once sync.Once
		w := must[*inbox.Worker](t)(inbox.Start(b, func(ctx context.Context, _ inbox.Item) error {
			once.Do(func() { close(began) })
			<-ctx.Done()
			told <- context.Cause(ctx)
			return nil
		}, inbox.Config{}))
		if _, err := w.Put(t.Context(), delivery("a")); err != nil {
			t.Fatal(err)
		}
		<-began
		// Another process takes it, as if this one had stood still.
		db := d.open(t)
		if _, err := db.Exec("update belay_inboxes set fence = fence + 1, owner = 'another', lease_until = 9000000000000000"); err != nil {
			t.Fatal(err)
		}
		if err := b.Settle(t.Context(), []inbox.Change{{Seq: 1, State: inbox.Handled}}); !errors.Is(err, inbox.ErrClaimLost) {
			t.Error(err)
		}
		if err := <-told; err == nil {
			t.Error("the handler's context did not end")
		}
		if err := w.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if n := count(t, d, "select count(*) from belay_inbox where state = 0"); n != 1 {
			t.Error("settled without the claim")
		}
	})
}

// Above its bound the inbox is full, known events take no room, and what is rolled back was not added.
func TestInboxBounds(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		b := inboxOf(t, d, "crm", belaysql.InboxConfig{MaxPending: 3, Key: func(it inbox.Item) string { return "key of " + it.ID }})
		for i, want := range []error{nil, nil, nil, inbox.ErrFull} {
			if _, err := b.Put(t.Context(), delivery(fmt.Sprint(i))); !errors.Is(err, want) {
				t.Error(i, err)
			}
		}
		if stored, err := b.Put(t.Context(), delivery("1")); stored || err != nil {
			t.Error(stored, err)
		}
		if it := must[inbox.Item](t)(b.Get(t.Context(), 2)); it.Key != "key of 1" {
			t.Errorf("%+v", it)
		}
		if err := b.Settle(t.Context(), []inbox.Change{{Seq: 1, State: inbox.Dead}}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), delivery("3")); err != nil { // a dead letter takes no room
			t.Error(err)
		}
		db := d.open(t)
		tx := must[*sql.Tx](t)(db.BeginTx(t.Context(), nil))
		items := must[[]*inbox.Item](t)(inbox.Items(delivery("1"), nil))
		if err := b.AddTx(t.Context(), tx, items); err != nil || items[0].Seq != 0 {
			t.Error(err, items[0].Seq)
		}
		_ = tx.Rollback()
		for i, cfg := range []belaysql.InboxConfig{{MaxPending: -1}, {Days: -1}} {
			if _, err := d.store(t).Inbox(t.Context(), "x", cfg); err == nil {
				t.Error(i)
			}
		}
		if _, err := d.store(t).Inbox(t.Context(), "", belaysql.InboxConfig{}); err == nil {
			t.Error("no name")
		}
	})
}

// Ids and dead letters that are old enough are forgotten.
func TestInboxForgets(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		b := inboxOf(t, d, "crm", belaysql.InboxConfig{Days: 1, DeadDays: 2})
		for i := range 4 {
			if _, err := b.Put(t.Context(), delivery(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Settle(t.Context(), []inbox.Change{{Seq: 1, State: inbox.Dead}, {Seq: 2, State: inbox.Handled}, {Seq: 3, State: inbox.Unhandled}}); err != nil {
			t.Fatal(err)
		}
		db := d.open(t)
		const day = 24 * 3600 * 1000
		for _, query := range []string{
			fmt.Sprintf("update belay_inbox_known set at = at - %d", day+60_000),
			fmt.Sprintf("update belay_inbox set changed = changed - %d where seq <> 3", 2*day+60_000),
		} {
			if _, err := db.Exec(query); err != nil {
				t.Fatal(err)
			}
		}
		if stored, err := b.Put(t.Context(), delivery("2")); !stored || err != nil {
			t.Error("the id is known after a day", err)
		}
		var left []string
		for it, err := range b.Items(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, fmt.Sprint(it.ID, " ", it.State))
		}
		if fmt.Sprint(left) != "[2 unhandled 3 pending 2 pending]" {
			t.Error(left)
		}
	})
}
