package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/webhook"
)

// row is one kind of delivery, with its results.
type row struct {
	name  string
	sent  int
	taken bool // the events must be handled

	mu     sync.Mutex
	status map[string]int
	took   []time.Duration // of the deliveries that were answered with 2xx
	all    time.Duration
}

func (r *row) id(i int) string {
	name, _, _ := strings.Cut(r.name, ",")
	return fmt.Sprintf("evt_%s_%d", strings.ReplaceAll(name, " ", "_"), i)
}

func (r *row) answers() string {
	var parts []string
	for status, n := range r.status {
		parts = append(parts, fmt.Sprintf("%s × %d", status, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// send delivers n events of a kind. It repeats a delivery that was neither answered with 2xx nor finally
// refused, as partners do.
func (p *partner) send(name string, n, senders int, taken bool, change func(*http.Request)) *row {
	r := &row{name: name, sent: n, taken: taken, status: make(map[string]int)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	typ := "order.paid"
	if strings.HasPrefix(name, "refund") {
		typ = "order.refunded"
	}
	began := time.Now()
	next := make(chan int)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range next {
				for !p.deliver(client, r, belay.WebhookEvent{
					ID:   r.id(i),
					Data: fmt.Appendf(nil, `{"type":%q,"order":%d,"note":%q}`, typ, i, strings.Repeat("x", 900)),
				}, change) {
					time.Sleep(10 * time.Millisecond) // a real partner waits longer
				}
				p.sent.Add(1)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	r.all = time.Since(began)
	return r
}

// deliver sends one request, and reports whether the partner takes the answer as final.
func (p *partner) deliver(client *http.Client, r *row, e belay.WebhookEvent, change func(*http.Request)) bool {
	req, err := webhook.SignTest(scheme, secret, e)
	if err != nil {
		panic(err)
	}
	req.URL.Scheme, req.URL.Host, req.URL.Path, req.Host = "http", p.addr, "/webhooks/shop/berlin", ""
	if change != nil {
		change(req)
	}
	began := time.Now()
	resp, err := client.Do(req)
	status := "no answer"
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		status = fmt.Sprint(resp.StatusCode)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[status]++
	if err != nil {
		return !r.taken // the connection may be closed before a large body is sent
	}
	if resp.StatusCode/100 == 2 {
		r.took = append(r.took, time.Since(began))
	}
	return resp.StatusCode != http.StatusServiceUnavailable
}

func replaceBody(r *http.Request, body string) {
	r.Body, r.ContentLength, r.GetBody = io.NopCloser(strings.NewReader(body)), int64(len(body)), nil
}

// resign replaces the body, with a valid signature.
func resign(body string) func(*http.Request) {
	return func(r *http.Request) {
		other, err := webhook.SignTest(scheme, secret,
			belay.WebhookEvent{ID: r.Header.Get("webhook-id"), Data: bytes.Clone([]byte(body))})
		if err != nil {
			panic(err)
		}
		r.Header = other.Header
		replaceBody(r, body)
	}
}

// at signs the request for another time.
func at(ahead time.Duration) func(*http.Request) {
	return func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		other, err := webhook.SignTest(scheme, secret,
			belay.WebhookEvent{ID: r.Header.Get("webhook-id"), Time: time.Now().Add(ahead), Data: body})
		if err != nil {
			panic(err)
		}
		r.Header = other.Header
		replaceBody(r, string(body))
	}
}
