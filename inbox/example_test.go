package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/importer"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

// A partner's webhooks, verified, kept, answered, and handled afterwards.
func ExampleReceiver() {
	scheme, secret := webhook.StandardWebhooks(), belay.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	verifier, err := webhook.NewVerifier(scheme, secret)
	if err != nil {
		panic(err)
	}
	worker, err := inbox.Start(inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
		fmt.Println("handled", it.Partner, it.Integration, it.ID, it.Type)
		return nil
	}, inbox.Config{})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux() // of an http.Server with a ReadHeaderTimeout
	mux.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{
		Verifier: inbox.Verifiers{"acme/one": verifier}.Lookup, Inbox: worker,
	})
	deliver := func(secret belay.Secret) { // as the partner does it
		req, err := webhook.SignTest(
			scheme,
			secret,
			belay.WebhookEvent{ID: "evt_1", Data: []byte(`{"type":"contact.updated"}`)},
		)
		if err != nil {
			panic(err)
		}
		req.URL.Path = "/webhooks/acme/one"
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		fmt.Println(w.Code)
	}
	deliver(inbox.NewSigningSecret()) // forged
	deliver(secret)
	_ = worker.Shutdown(context.Background())
	// Unordered output:
	// 401
	// 202
	// handled acme one evt_1 contact.updated
}

// An event that fails comes again.
func ExampleWorker() {
	worker, err := inbox.Start(inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
		if it.Attempts == 0 {
			return errors.New("the database is away")
		}
		fmt.Println("handled", it.ID, "after", it.Attempts, "failure")
		return nil
	}, inbox.Config{MaxAttempts: 5, BaseDelay: time.Millisecond})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	delivery := belay.Delivery{
		Partner: "acme",
		ID:      "dlv_1",
		Events:  []belay.WebhookEvent{{ID: "evt_1", Type: "contact.updated"}},
	}
	fmt.Println(worker.Put(ctx, delivery))
	fmt.Println(worker.Put(ctx, delivery)) // sent again: known
	_ = worker.Shutdown(ctx)               // first handles all that waits
	// Unordered output:
	// true <nil>
	// false <nil>
	// handled evt_1 after 1 failure
}

// A handler for each type.
func ExampleMux() {
	var mux inbox.Mux
	mux.On("acme", "contact.updated", func(_ context.Context, it inbox.Item) error {
		fmt.Println("contact", it.ID)
		return nil
	})
	mux.On("acme", "invoice.*", func(_ context.Context, it inbox.Item) error {
		fmt.Println("invoice", it.ID, it.Type)
		return nil
	})
	ctx := context.Background()
	_ = mux.Handle(
		ctx,
		inbox.Item{Partner: "acme", ID: "evt_1", Type: "contact.updated"},
	) // a Worker does this: inbox.Start(store, mux.Handle, …)
	_ = mux.Handle(ctx, inbox.Item{Partner: "acme", ID: "evt_2", Type: "invoice.paid"})
	fmt.Println(mux.Handle(ctx, inbox.Item{Partner: "acme", ID: "evt_3", Type: "deal.won"}))
	// Output:
	// contact evt_1
	// invoice evt_2 invoice.paid
	// inbox: no handler: acme "deal.won"
}

// Events that were set aside are handled again when what was wrong is put right.
func ExampleWorker_Replay() {
	fixed := make(chan struct{})
	aside, done := make(chan struct{}), make(chan struct{})
	worker, err := inbox.Start(inbox.NewMemory(), func(_ context.Context, it inbox.Item) error {
		select {
		case <-fixed:
			fmt.Println("handled", it.ID)
			close(done)
			return nil
		default:
			return inbox.Permanent(errors.New("unknown currency"))
		}
	}, inbox.Config{Observers: []belay.Observer{observer(func(e belay.Event) {
		if h, ok := e.(belay.EventHandled); ok && h.DeadLettered {
			close(aside)
		}
	})}})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	_, _ = worker.Put(
		ctx,
		belay.Delivery{Partner: "acme", Events: []belay.WebhookEvent{{ID: "evt_1", Type: "invoice.paid"}}},
	)
	<-aside
	for it := range worker.DeadLetters(ctx, inbox.Filter{State: inbox.Dead}) {
		fmt.Println(it.ID, it.State, it.Error)
	}
	close(fixed)
	fmt.Println(
		worker.Replay(ctx, inbox.Filter{Partner: "acme", Type: "invoice.paid"}, inbox.Replay{}),
	) // at a Pace, if there are many
	<-done
	_ = worker.Shutdown(ctx)
	// Unordered output:
	// evt_1 dead unknown currency
	// 1 <nil>
	// handled evt_1
}

type observer func(belay.Event)

func (o observer) Observe(_ context.Context, e belay.Event) { o(e) }

// A subscription is made once, however often the service starts.
func ExampleRegister() {
	ctx := context.Background()
	partner := &office{
		live: make(map[string]sub),
		kept: make(map[string]inbox.Registration),
	} // a driver, and a table in your database
	for range 2 {
		r, err := inbox.Register(ctx, partner, partner, "one", "https://us.example/webhooks/acme/one", nil)
		fmt.Println(r.ID, r.URL, r.Secret, err)
	}
	fmt.Println(len(partner.live), "at the partner")
	fmt.Println(inbox.Unregister(ctx, partner, partner, "one"), len(partner.live), "left")
	// Output:
	// sub_1 https://us.example/webhooks/acme/one REDACTED <nil>
	// sub_1 https://us.example/webhooks/acme/one REDACTED <nil>
	// 1 at the partner
	// <nil> 0 left
}

// Events of one record are handled one after the other, and one that comes late does not overwrite: the guard
// goes by the partner's time, and by ours where it says none.
func Example_staleEvents() {
	guard, err := importer.NewGuard(100_000)
	if err != nil {
		panic(err)
	}
	worker, err := inbox.Start(inbox.NewMemory(), func(ctx context.Context, it inbox.Item) error {
		newer, err := guard.Do(ctx, it.Key, importer.Version{Partner: it.Time, Ours: it.Received}, func() error {
			fmt.Println("saved", it.ID) // an error would have the event come again, and the guard none the wiser
			return nil
		})
		if !newer && err == nil {
			fmt.Println("stale", it.ID)
		}
		return err
	}, inbox.Config{Key: func(it inbox.Item) string { return it.Partner + " contact 7" }}) // from its body
	if err != nil {
		panic(err)
	}
	ctx, noon := context.Background(), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, e := range []belay.WebhookEvent{
		{ID: "created", Time: noon},
		{ID: "updated at two", Time: noon.Add(2 * time.Hour)},
		{ID: "updated at one", Time: noon.Add(time.Hour)}, // comes late
		{ID: "updated at three", Time: noon.Add(3 * time.Hour)},
	} {
		_, _ = worker.Put(ctx, belay.Delivery{Partner: "acme", Events: []belay.WebhookEvent{e}})
	}
	_ = worker.Shutdown(ctx)
	// Output:
	// saved created
	// saved updated at two
	// stale updated at one
	// saved updated at three
}
