// Command health shows what package watch and belayprom show: the page, metrics, health and alerts of a service that
// calls four partners, which it plays itself. One is well, one has a low limit, one goes down, and one refuses its
// token, all within twenty seconds.
//
//	go run .          serves http://127.0.0.1:8080/ (the page), /metrics, /healthz, /livez and /readyz until it is stopped
//	go run . -storm   ends the outage after a minute, prints the alerts until they are resolved, and ends
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belayprom"
	"github.com/belay-go/belay/oauth"
	"github.com/belay-go/belay/watch"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "the address of the page")
	storm := flag.Bool("storm", false, "walk through an outage in one minute, then end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *storm); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr string, storm bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer func() { cancel(); all.Wait() }()

	world, err := newWorld()
	if err != nil {
		return err
	}
	defer world.close()

	// What observes: the metrics, and the last hour for the page and the alerts.
	metrics, err := belayprom.New(belayprom.Config{})
	if err != nil {
		return err
	}
	history := new(watch.History)
	observers := []belay.Observer{history, metrics}

	// A client for each partner.
	clients, err := world.clients(observers)
	if err != nil {
		return err
	}
	checker, err := watch.NewChecker(watch.CheckerConfig{Interval: 2 * time.Second, Timeout: time.Second})
	if err != nil {
		return err
	}
	for _, c := range clients {
		if err := errors.Join(history.Add(c), metrics.Add(c), checker.Add(watch.Check{
			Name: c.Health().Partner,
			Probe: func(ctx context.Context) error {
				_, err := belay.Get[belay.None](ctx, c, "/me")
				return err
			},
		})); err != nil {
			return err
		}
	}
	if err := metrics.AddChecker(checker); err != nil {
		return err
	}

	// The alerts. In a service the numbers stay as they are; here everything is over in a minute.
	rules, err := watch.NewRules(watch.RulesConfig{
		History: history, Checker: checker, CircuitOpen: 10 * time.Second, Quiet: 8 * time.Second, Every: time.Second,
		Sinks: []watch.Sink{watch.SinkFunc(func(_ context.Context, a watch.Alert) error {
			fmt.Println(time.Now().Format("15:04:05"), a)
			return nil
		})},
	})
	if err != nil {
		return err
	}
	page, err := watch.NewPage(watch.PageConfig{History: history, Checker: checker, Rules: rules, Refresh: 5 * time.Second})
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)

	mux := http.NewServeMux() // loopback only: in a service, put your login before the page
	mux.Handle("/{$}", page)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/healthz", checker.Handler())
	mux.Handle("/livez", checker.Live())
	mux.Handle("/readyz", checker.Ready())
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	all.Go(func() { _ = server.Serve(listener) })
	defer server.Close()
	fmt.Printf("http://%s/ (also /metrics, /healthz)\n", listener.Addr())

	all.Go(func() { _ = checker.Run(ctx) })
	all.Go(func() { _ = rules.Run(ctx) })
	for _, c := range clients {
		for _, integration := range integrations {
			options := []belay.Option{belay.WithIntegration(integration)}
			if c.Health().Partner == "booking" {
				options = append(options, belay.WithAuth(world.app.RefreshToken(integration)))
			}
			of, err := c.With(options...)
			if err != nil {
				return err
			}
			all.Go(func() { work(ctx, of) })
		}
	}
	return world.storm(ctx, rules, storm)
}

// work is the service: it reads things.
func work(ctx context.Context, c *belay.Client) {
	for ctx.Err() == nil {
		_, _ = belay.Get[belay.None](ctx, c, "/things/{id}", belay.PathValue("id", fmt.Sprint(rand.IntN(1000))))
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// world is the partners, which listen on loopback.
type world struct {
	servers []*http.Server
	urls    map[string]string
	down    atomic.Bool // of pay
	busy    atomic.Bool // of crm: it has a low limit then
	dead    atomic.Bool // the grant of booking
	app     *oauth.App  // of booking
}

var (
	names        = []string{"search", "crm", "pay", "booking"}
	integrations = []string{"customer-1", "customer-2"}
)

func newWorld() (*world, error) {
	w := &world{urls: make(map[string]string)}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.close()
			return nil, err
		}
		s := &http.Server{Handler: w.partner(name), ReadHeaderTimeout: 5 * time.Second}
		w.servers, w.urls[name] = append(w.servers, s), "http://"+l.Addr().String()
		go func() { _ = s.Serve(l) }()
	}
	return w, nil
}

func (w *world) close() {
	for _, s := range w.servers {
		_ = s.Close()
	}
}

// partner answers for a partner as it is at present.
func (w *world) partner(name string) http.Handler {
	var calls atomic.Int64
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(5+rand.IntN(20)) * time.Millisecond)
		out.Header().Set("Content-Type", "application/json")
		answer := func(status int, body string) {
			out.WriteHeader(status)
			_, _ = out.Write([]byte(body))
		}
		switch {
		case r.URL.Path == "/token" && w.dead.Load():
			answer(http.StatusBadRequest, `{"error":"invalid_grant","error_description":"the customer has disconnected"}`)
		case r.URL.Path == "/token":
			answer(http.StatusOK, `{"access_token":"fresh","refresh_token":"next","expires_in":3600}`)
		case name == "booking" && w.dead.Load() && r.URL.Path != "/me":
			answer(http.StatusUnauthorized, `{"error":"the token was revoked"}`)
		case name == "pay" && w.down.Load():
			answer(http.StatusServiceUnavailable, `{"error":"maintenance"}`)
		case name == "crm" && w.busy.Load() && calls.Add(1)%3 != 0:
			answer(http.StatusTooManyRequests, `{"error":"too many requests"}`)
		default:
			answer(http.StatusOK, `{"id":"1","name":"a thing"}`)
		}
	})
}

// clients makes a client for each partner.
func (w *world) clients(observers []belay.Observer) (clients []*belay.Client, err error) {
	options := map[string][]belay.Option{
		"crm": {belay.WithRateLimit(belay.PerSecond(50)), belay.WithRetry(belay.RetryPolicy{MaxAttempts: 1})},
	}
	app, err := oauth.New(oauth.Config{
		Name: "booking", TokenURL: w.urls["booking"] + "/token", ClientID: "app", ClientSecret: belay.NewSecret("example"),
		Observer: belay.ObserverFunc(func(ctx context.Context, e belay.Event) {
			for _, o := range observers {
				o.Observe(ctx, e)
			}
		}),
	})
	if err != nil {
		return nil, err
	}
	w.app = app
	w.connect()
	for _, name := range names {
		c, err := belay.New(w.urls[name], append([]belay.Option{
			belay.WithName(name), belay.WithObserver(observers...),
			belay.WithLogger(slog.New(slog.DiscardHandler)), // a service has its own
		}, options[name]...)...)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// connect gives booking a grant for each customer.
func (w *world) connect() {
	for _, integration := range integrations {
		token := oauth.Token{Access: belay.NewSecret("first"), Refresh: belay.NewSecret("next")}
		if err := w.app.Put(context.Background(), integration, token); err != nil {
			fmt.Println(err)
		}
	}
}

// storm walks through an outage. If it ends, that is after a minute, and it waits until the alerts are resolved.
func (w *world) storm(ctx context.Context, rules *watch.Rules, ends bool) error {
	for i, step := range []struct {
		after time.Duration
		say   string
		do    func()
	}{
		{3 * time.Second, "all is well", func() {}},
		{5 * time.Second, "pay goes down", func() { w.down.Store(true) }},
		{7 * time.Second, "crm lowers its limit", func() { w.busy.Store(true) }},
		{5 * time.Second, "the customer of booking disconnects", func() { w.dead.Store(true) }},
		{14 * time.Second, "pay is back, crm allows more, booking is connected again", func() {
			w.down.Store(false)
			w.busy.Store(false)
			w.dead.Store(false)
			w.connect()
		}},
		{26 * time.Second, "the storm is over; alerts are resolved when their minute is", func() {}},
	} {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(step.after):
		}
		fmt.Println(time.Now().Format("15:04:05"), "--", step.say)
		step.do()
		if i == 3 && !ends {
			<-ctx.Done()
			return nil
		}
	}
	for left := time.Now().Add(90 * time.Second); len(rules.Alerts()) > 0 && time.Now().Before(left) && ctx.Err() == nil; {
		time.Sleep(time.Second)
	}
	time.Sleep(time.Second) // for the last one to be printed
	for _, a := range rules.Alerts() {
		fmt.Println("still open:", a)
	}
	return nil
}
