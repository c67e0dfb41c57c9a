package tasks_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/tasks"
	"github.com/belay-go/belay/webhook"
)

func delivery(ids ...string) belay.Delivery {
	d := belay.Delivery{ID: "d", Partner: "crm", Integration: "acme"}
	for _, id := range ids {
		d.Events = append(d.Events, belay.WebhookEvent{ID: id, Type: "contact.changed", Data: json.RawMessage(`{"id": "` + id + `"}`)})
	}
	return d
}

// Webhooks become tasks in one transaction with what the user writes: each event once, all of a delivery or none.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var mu sync.Mutex
		handled := make(map[string]int)
		cfg := config(nil)
		cfg.River.Queues["crm"] = river.QueueConfig{MaxWorkers: 5}
		river.AddWorker(cfg.River.Workers, tasks.EventWorker(func(_ context.Context, it inbox.Item) error {
			mu.Lock()
			defer mu.Unlock()
			if handled[it.ID]++; it.ID == "poison" {
				return inbox.Permanent(errors.New("cannot be read"))
			}
			if it.Partner != "crm" || it.Integration != "acme" || string(it.Body) != `{"id": "`+it.ID+`"}` || it.Seq == 0 {
				t.Errorf("%+v", it)
			}
			return nil
		}))
		cfg.Depths = map[string]int{"crm": 50}
		c := opened(t, dsn, cfg)
		if _, err := c.DB().Exec("create table audit (id text not null)"); err != nil {
			t.Fatal(err)
		}
		refuse := false
		in, err := tasks.Inbox(c, tasks.Events{Tx: func(ctx context.Context, tx *sql.Tx, items []*inbox.Item) error {
			for _, it := range items {
				if _, err := tx.ExecContext(ctx, "insert into audit (id) values ($1)", it.ID); err != nil {
					return err
				}
			}
			if refuse {
				return errors.New("refused")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		put := func(want bool, ids ...string) {
			t.Helper()
			if stored, err := in.Put(t.Context(), delivery(ids...)); err != nil || stored != want {
				t.Error(stored, err)
			}
		}
		put(true, "a", "b")
		put(false, "a")
		put(true, "b", "c", "poison")
		refuse = true
		if _, err := in.Put(t.Context(), delivery("x", "y")); err == nil {
			t.Error("no error")
		}
		refuse = false
		put(true, "x")
		// the same delivery, from several machines at once
		var all sync.WaitGroup
		var mine sync.Map
		for i := range 8 {
			all.Go(func() {
				if stored, err := in.Put(t.Context(), delivery("same")); err != nil {
					t.Error(err)
				} else if stored {
					mine.Store(i, true)
				}
			})
		}
		all.Wait()
		n := 0
		mine.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("stored %d times", n)
		}
		var many []string
		for i := range 60 {
			many = append(many, fmt.Sprint("many", i))
		}
		if _, err := in.Put(t.Context(), delivery(many...)); !errors.Is(err, inbox.ErrFull) {
			t.Error(err)
		}
		put(false, "a", "b")
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all handled", func() bool { mu.Lock(); defer mu.Unlock(); return len(handled) == 6 })
		if n := count(t, c, "select count(*) from audit"); n != 6 {
			t.Error(n)
		}
		eventually(t, "a dead letter", func() bool {
			for d, err := range c.DeadLetters(t.Context(), tasks.DeadFilter{}) {
				return err == nil && d.Class == "permanent" && strings.Contains(d.Error, "cannot be read")
			}
			return false
		})
		for id, n := range handled {
			if n != 1 {
				t.Error(id, n)
			}
		}
		if _, err := tasks.Inbox(nil, tasks.Events{}); err == nil {
			t.Error("no error")
		}
		if _, err := tasks.Inbox(c, tasks.Events{Remember: time.Hour}); err == nil {
			t.Error("no error")
		}
	})
}

// A receiver on the web: the partner has its 2xx when the task is stored, and its id is known for ever after.
func TestReceiver(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		got := make(chan inbox.Item, 9)
		cfg := config(nil)
		cfg.River.Queues["shop"] = river.QueueConfig{MaxWorkers: 1}
		river.AddWorker(cfg.River.Workers, tasks.EventWorker(func(_ context.Context, it inbox.Item) error { got <- it; return nil }))
		c := started(t, dsn, cfg)
		in, err := tasks.Inbox(c, tasks.Events{})
		if err != nil {
			t.Fatal(err)
		}
		scheme, secret := webhook.StandardWebhooks(), belay.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		verifier, err := webhook.NewVerifier(scheme, secret)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{Verifier: inbox.Verifiers{"shop/one": verifier}.Lookup, Inbox: in})
		deliver := func(secret belay.Secret) int {
			t.Helper()
			req, err := webhook.SignTest(scheme, secret, belay.WebhookEvent{ID: "evt_1", Data: []byte(`{"type":"order.paid"}`)})
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Path = "/webhooks/shop/one"
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, req)
			return w.Code
		}
		if code := deliver(inbox.NewSigningSecret()); code != http.StatusUnauthorized {
			t.Error(code)
		}
		for range 3 {
			if code := deliver(secret); code/100 != 2 {
				t.Error(code)
			}
		}
		if it := <-got; it.ID != "evt_1" || it.Type != "order.paid" || it.Partner != "shop" {
			t.Errorf("%+v", it)
		}
		if n := count(t, c, "select count(*) from river_job"); n != 1 {
			t.Errorf("%d tasks", n)
		}
	})
}
