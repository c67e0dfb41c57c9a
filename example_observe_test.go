package belay_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/schema"
)

// personFields is made once: it remembers which differences it has reported.
var personFields = &schema.Schema{Fields: map[string]schema.Kind{
	"id": schema.Number, "address.full": schema.Text,
}, Closed: true}

// A field that has moved decodes to nothing, without an error. A schema notices.
func ExampleExpect() {
	partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":7,"location":{"formatted":"1 Main Street"}}`)
	}))
	defer partner.Close()
	client, err := belay.New(partner.URL, belay.WithName("crm"), belay.WithObserver(belay.ObserverFunc(
		func(_ context.Context, e belay.Event) {
			if changed, ok := e.(belay.SchemaChanged); ok {
				fmt.Println(changed.Partner, changed.What+":", changed.Difference)
			}
		})))
	if err != nil {
		panic(err)
	}
	type person struct{ Address struct{ Full string } }
	p, err := belay.Get[person](context.Background(), client, "/people/{id}", belay.PathValue("id", "7"),
		belay.Expect(personFields))
	fmt.Printf("%q %v\n", p.Address.Full, err)
	// Output:
	// crm GET /people/{id}: missing address.full; unknown location.formatted
	// "" <nil>
}

// The id of a request to your own service goes on to the partner, and into the log.
func ExampleCorrelationHandler() {
	partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the partner got", r.Header.Get("X-Correlation-ID"))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer partner.Close()
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case "msg", "route", "correlation_id", "tenant", "status":
			return a
		}
		return slog.Attr{}
	}}))
	client, err := belay.New(partner.URL, belay.WithCorrelationHeader(""), belay.WithLogger(log))
	if err != nil {
		panic(err)
	}
	service := belay.CorrelationHandler("", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := belay.LogContext(r.Context(), slog.String("tenant", "acme"))
		_, _ = belay.Get[belay.None](ctx, client, "/people/{id}", belay.PathValue("id", "7"))
	}))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("X-Correlation-ID", "req-42")
	service.ServeHTTP(httptest.NewRecorder(), request)
	// Output:
	// the partner got req-42
	// msg="belay: attempt" route=/people/{id} correlation_id=req-42 status=404 tenant=acme
	// msg="belay: call" route=/people/{id} correlation_id=req-42 status=404 tenant=acme
}
