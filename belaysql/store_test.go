package belaysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-go/belay/belaysql"
	"github.com/belay-go/belay/importer"
)

// Processes that begin at the same time create the tables once; a later version's tables are used as long as it says
// that they may be, and refused by name after that.
func TestMigrations(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := belaysql.New(t.Context(), d.open(t), d.dialect); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		db := d.open(t)
		var n int
		if err := db.QueryRow("select count(*) from belay_schema").Scan(&n); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		for _, later := range [][2]int{{7, 1}, {8, 8}} {
			if _, err := db.Exec(fmt.Sprintf("insert into belay_schema (version, oldest, at) values (%d, %d, 0)", later[0], later[1])); err != nil {
				t.Fatal(err)
			}
			_, err := belaysql.New(t.Context(), db, d.dialect)
			if later[1] == 1 && err != nil {
				t.Error(err)
			}
			if later[1] == 8 && (err == nil || !strings.Contains(err.Error(), "have version 8, which needs this package from version 8 on; it has 1")) {
				t.Error(err)
			}
		}
	})
}

func TestNewBadInput(t *testing.T) {
	db := must[*sql.DB](t)(sql.Open("sqlite", ":memory:"))
	defer db.Close()
	for want, f := range map[string]func() error{
		"the database is nil":        func() error { _, err := belaysql.New(t.Context(), nil, belaysql.SQLite); return err },
		"Dialect(0) is not known":    func() error { _, err := belaysql.New(t.Context(), db, 0); return err },
		"have no busy_timeout: open": func() error { _, err := belaysql.New(t.Context(), db, belaysql.SQLite); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	gone := must[*sql.DB](t)(sql.Open("pgx", "postgres://nobody@127.0.0.1:1/x?connect_timeout=1"))
	defer gone.Close()
	if _, err := belaysql.New(t.Context(), gone, belaysql.Postgres); err == nil {
		t.Error("a database that is not there")
	}
}

// A cursor is stored exactly if the records are.
func TestState(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, db := t.Context(), d.open(t)
		s := must[*belaysql.Store](t)(belaysql.New(ctx, db, d.dialect))
		state := s.State()
		var _ importer.Watermarks = state
		if _, err := db.Exec("create table people (id text)"); err != nil {
			t.Fatal(err)
		}
		for i, commit := range []bool{true, false} {
			tx := must[*sql.Tx](t)(db.BeginTx(ctx, nil))
			if _, err := tx.Exec("insert into people values ('a')"); err != nil {
				t.Fatal(err)
			}
			if err := state.SaveTx(ctx, tx, "people", []byte(fmt.Sprint("page ", i))); err != nil {
				t.Fatal(err)
			}
			if got := must[[]byte](t)(state.LoadTx(ctx, tx, "people")); string(got) != fmt.Sprint("page ", i) {
				t.Errorf("%s", got)
			}
			if commit {
				_ = tx.Commit()
			} else {
				_ = tx.Rollback()
			}
		}
		var n int
		if err := db.QueryRow("select count(*) from people").Scan(&n); err != nil || n != 1 {
			t.Error(n, err)
		}
		if got := must[[]byte](t)(state.Load(ctx, "people")); string(got) != "page 0" {
			t.Errorf("%s", got)
		}
		if got := must[[]byte](t)(state.Load(ctx, "none")); got != nil {
			t.Errorf("%q", got)
		}
		if err := state.Save(ctx, "empty", nil); err != nil {
			t.Fatal(err)
		}
		if got := must[[]byte](t)(state.Load(ctx, "empty")); got == nil || len(got) > 0 {
			t.Errorf("%q, saved as empty", got)
		}
		if err := state.DeleteTx(ctx, db, "people"); err != nil {
			t.Fatal(err)
		}
		if got := must[[]byte](t)(state.Load(ctx, "people")); got != nil {
			t.Errorf("%s", got)
		}
		// What a full pass has seen survives the process.
		changes := func() *importer.Changes[string] {
			return must[*importer.Changes[string]](t)(importer.NewChanges(
				func(r string) string { return r[:1] }, func(r string) ([]byte, error) { return []byte(r), nil }))
		}
		first := changes()
		for _, r := range []string{"a1", "b1", "c1"} {
			_, _ = first.See(r)
		}
		first.Complete()
		if err := state.SaveJSONTx(ctx, db, "seen", first); err != nil {
			t.Fatal(err)
		}
		next := changes()
		if found := must[bool](t)(state.LoadJSON(ctx, "seen", next)); !found {
			t.Error("not found")
		}
		for r, want := range map[string]importer.Change{"a1": importer.Same, "b2": importer.Updated, "d1": importer.Added} {
			if got := must[importer.Change](t)(next.See(r)); got != want {
				t.Error(r, got)
			}
		}
		if gone := next.Complete(); fmt.Sprint(gone) != "[c]" {
			t.Error(gone)
		}
		if found, err := state.LoadJSON(ctx, "nothing", next); found || err != nil {
			t.Error(found, err)
		}
		if _, err := state.LoadJSON(ctx, "empty", next); err == nil {
			t.Error("empty is no JSON")
		}
	})
}

// The guard decides as importer.Guard does, also when many write the same record at once.
func TestGuard(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, db := t.Context(), d.open(t)
		s := must[*belaysql.Store](t)(belaysql.New(ctx, db, d.dialect))
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var times []time.Time
		for i := range 4 {
			times = append(times, base.Add(time.Duration(i)*time.Nanosecond))
		}
		times = append(times, time.Time{})
		g, n := s.Guard("people"), 0
		for _, p1 := range times {
			for _, o1 := range times[:4] {
				for _, p2 := range times {
					for _, o2 := range times[:4] {
						n++
						id := fmt.Sprint(n)
						old, v := importer.Version{Partner: p1, Ours: o1}, importer.Version{Partner: p2, Ours: o2}
						if !must[bool](t)(g.NewerTx(ctx, db, id, old)) {
							t.Fatal("the first is new")
						}
						if got := must[bool](t)(g.NewerTx(ctx, db, id, v)); got != v.Newer(old) {
							t.Fatalf("%v after %v: %v", v, old, got)
						}
					}
				}
			}
		}
		// Written at once: the newest one stays.
		if _, err := db.Exec("create table written (id text primary key, v bigint)"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = tx.Rollback() }()
				newer, err := s.Guard("at once").NewerTx(ctx, tx, "x", importer.Version{Partner: base.Add(time.Duration(i) * time.Second)})
				if err == nil && newer {
					_, err = tx.Exec("insert into written values ('x', $1) on conflict (id) do update set v = excluded.v", i)
				}
				if err == nil {
					err = tx.Commit()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var v int
		if err := db.QueryRow("select v from written").Scan(&v); err != nil || v != 39 {
			t.Error(v, err)
		}
		if removed := must[int64](t)(g.Prune(ctx, base.Add(2*time.Nanosecond))); removed == 0 || removed >= int64(n) {
			t.Error(removed, n)
		}
		for _, bad := range []importer.Version{{Partner: time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)}, {Ours: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)}} {
			if _, err := g.NewerTx(ctx, db, "x", bad); err == nil {
				t.Error(bad)
			}
		}
		if _, err := g.NewerTx(ctx, db, "", importer.Version{}); err == nil {
			t.Error("an empty id")
		}
	})
}

// A key is used once in its time, by whoever commits first; what is rolled back was not done.
func TestFirst(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, db := t.Context(), d.open(t)
		s := must[*belaysql.Store](t)(belaysql.New(ctx, db, d.dialect))
		key := belaysql.DayKey("ac:me", "invoices", time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC))
		if key != "ac%3Ame:invoices:2026-11-29" {
			t.Error(key)
		}
		var first sync.Map
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if must[bool](t)(s.First(ctx, key, 0)) {
					first.Store(i, true)
				}
			})
		}
		all.Wait()
		n := 0
		first.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Error(n, "were the first")
		}
		tx := must[*sql.Tx](t)(db.BeginTx(ctx, nil))
		if !must[bool](t)(s.FirstTx(ctx, tx, "other", time.Hour)) {
			t.Error("not the first")
		}
		_ = tx.Rollback()
		if !must[bool](t)(s.First(ctx, "other", 50*time.Millisecond)) {
			t.Error("what was rolled back counts")
		}
		if must[bool](t)(s.First(ctx, "other", time.Hour)) {
			t.Error("twice")
		}
		for !must[bool](t)(s.First(ctx, "other", time.Nanosecond)) { // until its time is over
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond)
		if removed := must[int64](t)(s.Prune(ctx)); removed != 1 {
			t.Error(removed)
		}
		if err := s.Forget(ctx, key); err != nil {
			t.Fatal(err)
		}
		if !must[bool](t)(s.First(ctx, key, time.Hour)) {
			t.Error("forgotten, and known")
		}
		for _, bad := range []func() error{
			func() error { _, err := s.First(ctx, "", 0); return err },
			func() error { _, err := s.First(ctx, "x", -1); return err },
		} {
			if bad() == nil {
				t.Error("no error")
			}
		}
		over, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.First(over, "x", 0); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
