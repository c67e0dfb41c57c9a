package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/boltinbox"
	"github.com/belay-go/belay/webhook"
)

// receive runs the service: it stores a shop's webhooks in dir/inbox.db, and writes the IDs of handled events
// to dir/handled.
func receive(dir, addr string) error {
	store, err := boltinbox.Open(filepath.Join(dir, "inbox.db"), boltinbox.Config{Days: 7, MaxBytes: 256 << 20})
	if err != nil {
		return err
	}
	defer store.Close()
	handled, err := os.OpenFile(filepath.Join(dir, "handled"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer handled.Close()

	mux := &inbox.Mux{}
	mux.On("shop", "order.*", func(_ context.Context, it inbox.Item) error {
		_, err := fmt.Fprintln(handled, it.ID) // a real service would use a transaction with the ID in it
		return err
	})
	mux.On("shop", "order.refunded", func(_ context.Context, it inbox.Item) error {
		if _, err := os.Stat(filepath.Join(dir, "fixed")); err != nil {
			return inbox.Permanent(errors.New("refunds are not implemented"))
		}
		_, err := fmt.Fprintln(handled, it.ID)
		return err
	})
	worker, err := inbox.Start(store, mux.Handle, inbox.Config{Workers: 8, MaxPending: 20_000})
	if err != nil {
		return err
	}
	verifier, err := webhook.NewVerifier(scheme, secret)
	if err != nil {
		return err
	}
	receiver := &inbox.Receiver{Verifier: inbox.Verifiers{"shop/berlin": verifier}.Lookup, Inbox: worker}

	routes := http.NewServeMux()
	routes.Handle("/webhooks/{partner}/{integration}", receiver)
	routes.HandleFunc("GET /numbers", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(worker.Numbers())
	})
	routes.HandleFunc("POST /replay", func(w http.ResponseWriter, r *http.Request) {
		n, err := worker.Replay(r.Context(), inbox.Filter{Type: "order.refunded"}, inbox.Replay{Pace: 5 * time.Millisecond})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, n)
	})
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 5 * time.Second}
	l, err := net.Listen("tcp", addr)
	for range 50 { // the port of the killed process is free soon
		if err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		l, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return err
	}
	return server.Serve(l)
}

// handledIDs returns the number of times that each event was handled.
func handledIDs(dir string) (map[string]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "handled"))
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for s := bufio.NewScanner(strings.NewReader(string(data))); s.Scan(); {
		counts[s.Text()]++
	}
	return counts, nil
}
