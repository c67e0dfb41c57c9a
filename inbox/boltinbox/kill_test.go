package boltinbox_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/inbox/boltinbox"
	"github.com/belay-go/belay/webhook"
)

const killSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestMain is also the receiver that gets killed: with BOLTINBOX_DIR it serves on the address in BOLTINBOX_ADDR.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BOLTINBOX_DIR"); dir != "" {
		if err := serve(dir, os.Getenv("BOLTINBOX_ADDR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve keeps webhooks in dir/inbox.db, and appends the ID of each that it handles to dir/handled.
func serve(dir, addr string) error {
	store, err := boltinbox.Open(filepath.Join(dir, "inbox.db"), boltinbox.Config{})
	if err != nil {
		return err
	}
	handled, err := os.OpenFile(filepath.Join(dir, "handled"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	worker, err := inbox.Start(store, func(_ context.Context, it inbox.Item) error {
		_, err := fmt.Fprintln(handled, it.ID)
		return err
	}, inbox.Config{Workers: 8})
	if err != nil {
		return err
	}
	verifier, err := webhook.NewVerifier(webhook.StandardWebhooks(), belay.NewSecret(killSecret))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{partner}/{integration}", &inbox.Receiver{
		Verifier: inbox.Verifiers{"partner/one": verifier}.Lookup, Inbox: worker,
	})
	mux.HandleFunc("/pending", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, worker.Numbers().Pending) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var l net.Listener
	for range 50 { // the port of the one that was killed is free soon
		if l, err = net.Listen("tcp", addr); err == nil {
			return server.Serve(l)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// receiver runs the child, and another whenever it is killed.
type receiver struct {
	t         *testing.T
	dir, addr string

	mu  sync.Mutex
	cmd *exec.Cmd
}

func startReceiver(t *testing.T) *receiver {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	l.Close()
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *receiver) start() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BOLTINBOX_DIR="+r.dir, "BOLTINBOX_ADDR="+r.addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		r.t.Error(err)
		return
	}
	r.mu.Lock()
	r.cmd = cmd
	r.mu.Unlock()
	for range 500 {
		if resp, err := http.Get("http://" + r.addr + "/pending"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Error("the receiver does not start")
}

func (r *receiver) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.cmd.Process.Kill()
	_, _ = r.cmd.Process.Wait()
}

// handled returns how often each event was handled, once none is pending.
func (r *receiver) handled() map[string]int {
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := http.Get("http://" + r.addr + "/pending")
		if err == nil {
			left, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(left) == "0" {
				break
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatal("some events stay pending")
		}
		time.Sleep(20 * time.Millisecond)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "handled"))
	if err != nil {
		r.t.Fatal(err)
	}
	counts := make(map[string]int)
	for s := bufio.NewScanner(strings.NewReader(string(data))); s.Scan(); {
		counts[s.Text()]++
	}
	return counts
}

// send delivers events, some more than once, as a partner does: again until it is told 2xx. It returns how long
// each request took that was.
func (r *receiver) send(events, senders int, progress *atomic.Int64) (took []time.Duration, duplicates int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	next := make(chan int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range next {
				body := fmt.Appendf(nil, `{"type":"contact.updated","n":%d,"note":%q}`, i, strings.Repeat("x", 900))
				for {
					req, err := webhook.SignTest(
						webhook.StandardWebhooks(),
						belay.NewSecret(killSecret),
						belay.WebhookEvent{ID: fmt.Sprintf("evt_%d", i), Data: body},
					)
					if err != nil {
						r.t.Error(err)
						return
					}
					req.URL.Scheme, req.URL.Host, req.URL.Path, req.Host = "http", r.addr, "/webhooks/partner/one", ""
					began := time.Now()
					resp, err := client.Do(req)
					if err != nil {
						time.Sleep(5 * time.Millisecond)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode/100 == 2 {
						mu.Lock()
						took = append(took, time.Since(began))
						if resp.StatusCode == http.StatusOK {
							duplicates++
						}
						mu.Unlock()
						progress.Add(1)
						break
					}
					if resp.StatusCode != http.StatusServiceUnavailable {
						r.t.Errorf("event %d: %s", i, resp.Status)
						return
					}
				}
			}
		})
	}
	for i := range events {
		next <- i
		if i%3 == 0 {
			next <- i // again, at nearly the same time
		}
	}
	close(next)
	wg.Wait()
	return took, duplicates
}

// Every event that was answered 2xx is handled, although the receiver is killed six times.
func TestKilledReceiver(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 fsyncs")
	}
	const events, kills = 20_000, 6
	r := startReceiver(t)
	var progress atomic.Int64
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killed := 0
	killer.Go(func() {
		for n := range kills {
			for progress.Load() < int64((n+1)*events*4/3/(kills+1)) {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
			r.kill()
			killed++
			r.start()
		}
	})
	began := time.Now()
	took, duplicates := r.send(events, 32, &progress)
	all := time.Since(began)
	close(stop)
	killer.Wait()
	counts := r.handled()
	lost, repeats := 0, 0
	for i := range events {
		switch n := counts[fmt.Sprintf("evt_%d", i)]; {
		case n == 0:
			lost++
		case n > 1:
			repeats += n - 1
		}
	}
	slices.Sort(took)
	t.Logf(
		"killed %d times; %d events, %d acknowledgements in %v, %d as known already; %d lost, %d handled again; p99 %v",
		killed,
		events,
		len(took),
		all.Round(time.Millisecond),
		duplicates,
		lost,
		repeats,
		took[len(took)*99/100].Round(100*time.Microsecond),
	)
	if lost != 0 || killed != kills || len(counts) != events {
		t.Errorf("%d lost, %d kills, %d events handled", lost, killed, len(counts))
	}
	if repeats > kills*1024 {
		t.Errorf("%d were handled again", repeats)
	}
}

// How many deliveries a second are acknowledged, each on disk. It is a measurement: a slow disk is no failure.
func TestAcknowledgements(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	r := startReceiver(t)
	var progress atomic.Int64
	began := time.Now()
	took, _ := r.send(15_000, 32, &progress)
	all := time.Since(began)
	slices.Sort(took)
	t.Logf(
		"%d acknowledgements, %.0f/s; p50 %v, p99 %v, max %v",
		len(took),
		float64(len(took))/all.Seconds(),
		took[len(took)/2].Round(
			100*time.Microsecond,
		),
		took[len(took)*99/100].Round(100*time.Microsecond),
		took[len(took)-1].Round(100*time.Microsecond),
	)
	if counts := r.handled(); len(counts) != 15_000 {
		t.Errorf("%d handled", len(counts))
	}
}
