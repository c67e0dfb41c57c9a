package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/tasks"
	"github.com/belay-go/belay/webhook"
)

// world is the partners, and the receiver of their webhooks.
type world struct {
	servers  map[string]*httptest.Server
	receiver *httptest.Server
	secret   belay.Secret

	down    atomic.Bool  // the crm
	refused atomic.Int64 // requests while it was down
	sent    atomic.Int64 // events, each of which is sent at least once

	mu     sync.Mutex
	pushed map[string]int // by idempotency key
}

const recordsOfEach = 60 // integration: six pages

func newWorld(client *tasks.Client[*sql.Tx]) (*world, error) {
	w := &world{servers: make(map[string]*httptest.Server), secret: inbox.NewSigningSecret(), pushed: make(map[string]int)}
	for _, partner := range partners {
		w.servers[partner] = httptest.NewServer(w.partner(partner))
	}
	in, err := tasks.Inbox(client, tasks.Events{})
	if err != nil {
		return nil, err
	}
	verifier, err := webhook.NewVerifier(webhook.StandardWebhooks(), w.secret)
	if err != nil {
		return nil, err
	}
	verifiers := inbox.Verifiers{}
	for _, company := range companies() {
		verifiers["pay/"+company] = verifier
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{Verifier: verifiers.Lookup, Inbox: in})
	w.receiver = httptest.NewServer(mux)
	return w, nil
}

func (w *world) close() {
	w.receiver.Close()
	for _, s := range w.servers {
		s.Close()
	}
}

// url returns the addresses of the partners, for the worker's environment.
func (w *world) url() string {
	all := make(map[string]string)
	for name, s := range w.servers {
		all[name] = s.URL
	}
	data, _ := json.Marshal(all)
	return string(data)
}

// partner plays a partner: lists of records, and contacts that are created once for each idempotency key.
func (w *world) partner(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /records", func(rw http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		var items []record
		for i := from; i < min(from+10, recordsOfEach); i++ {
			items = append(items, record{fmt.Sprint("r", i), time.Now().Unix()})
		}
		page := map[string]any{"items": items}
		if from+10 < recordsOfEach {
			page["next"] = strconv.Itoa(from + 10)
		}
		_ = json.NewEncoder(rw).Encode(page)
	})
	mux.HandleFunc("POST /contacts", func(_ http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pushed[r.Header.Get("Idempotency-Key")]++
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		if name == "crm" && w.down.Load() {
			w.refused.Add(1)
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(rw, r)
	})
}

// sendWebhooks sends twenty events a second until ctx ends, each third one twice, and again what was not answered with
// 2xx.
func (w *world) sendWebhooks(ctx context.Context) (done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all := companies()
		for n := 0; ctx.Err() == nil; n++ {
			id := fmt.Sprint("evt_", n)
			times := 1
			if n%3 == 0 {
				times = 2
			}
			for range times {
				for w.deliver(all[n%len(all)], id) != nil {
					time.Sleep(100 * time.Millisecond)
				}
			}
			w.sent.Add(1)
			_ = wait(ctx, 50*time.Millisecond)
		}
	}()
	return ended
}

func (w *world) deliver(company, id string) error {
	req, err := webhook.SignTest(webhook.StandardWebhooks(), w.secret, belay.WebhookEvent{ID: id, Data: []byte(`{"type":"invoice.paid"}`)})
	if err != nil {
		return err
	}
	body := req.Body
	sent, err := http.NewRequest(http.MethodPost, w.receiver.URL+"/webhooks/pay/"+company, body)
	if err != nil {
		return err
	}
	sent.Header = req.Header
	resp, err := http.DefaultClient.Do(sent)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
