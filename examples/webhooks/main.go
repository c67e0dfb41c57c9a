// Webhooks runs a shop's webhooks in one program: a receiver that stores them in a file before it answers,
// and a partner that signs, repeats, changes, delays and floods deliveries. The receiver is killed twice
// during the flood.
//
//	go run .
//
// It ends with a table of the results, and exits with 1 if an event was lost or a forged one was handled.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/inbox"
	"github.com/belay-go/belay/webhook"
)

var (
	serve = flag.String("serve", "", "only be the receiver, on that address")
	dir   = flag.String("dir", "", "where the receiver keeps its file")

	scheme = webhook.StandardWebhooks()
	secret = belay.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") // for this example only
)

func main() {
	flag.Parse()
	if *serve != "" {
		if err := receive(*dir, *serve); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run() (bool, error) {
	dir, err := os.MkdirTemp("", "webhooks")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false, err
	}
	p := &partner{dir: dir, addr: l.Addr().String()}
	l.Close()
	if err := p.start(); err != nil {
		return false, err
	}
	defer p.kill()

	rows := []*row{
		p.send("good", 1000, 8, true, nil),
		p.send("good", 300, 8, false, nil),
		p.send("body changed", 100, 4, false, func(r *http.Request) { replaceBody(r, `{"type":"order.paid","amount":1}`) }),
		p.send("another's id", 100, 4, false, func(r *http.Request) { r.Header.Set("webhook-id", "evt_good_1") }),
		p.send("not signed", 100, 4, false, func(r *http.Request) { r.Header.Del("webhook-signature") }),
		p.send("ten minutes old", 100, 4, false, at(-10*time.Minute)),
		p.send("from the future", 100, 4, false, at(10*time.Minute)),
		p.send("2 MiB", 20, 4, false, func(r *http.Request) { replaceBody(r, strings.Repeat("x", 2<<20)) }),
		p.send("signed, but no JSON", 20, 4, false, resign(`{"type":"order.paid",`)),
		p.send("unknown integration", 20, 4, false, func(r *http.Request) { r.URL.Path += "nord" }),
		p.send("refund, which fails", 20, 4, true, nil),
	}
	rows[1].name = "good, again"
	p.killsDuring(2, 6000)
	rows = append(rows, p.send("flood", 6000, 64, true, nil))
	p.kills.Wait()

	if err := os.WriteFile(dir+"/fixed", nil, 0o600); err != nil {
		return false, err
	}
	resp, err := http.Post("http://"+p.addr+"/replay", "", nil) // refunds are implemented now
	if err != nil {
		return false, err
	}
	replayed, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err := p.idle(); err != nil {
		return false, err
	}
	counts, err := handledIDs(dir)
	if err != nil {
		return false, err
	}
	return p.table(rows, counts, string(replayed)), nil
}

// table prints the results of each kind of delivery, and reports whether all of them are as expected.
func (p *partner) table(rows []*row, counts map[string]int, replayed string) bool {
	fine := true
	fmt.Printf("%-22s %6s   %-34s %8s %6s\n", "", "sent", "answers", "handled", "again")
	for _, r := range rows {
		handled, again := 0, 0
		for i := range r.sent {
			n := counts[r.id(i)]
			handled += min(n, 1)
			again += max(n-1, 0)
		}
		if strings.HasSuffix(r.name, ", again") { // their IDs are the same as in the first kind
			handled = 0
		}
		verdict := ""
		if r.taken && handled != r.sent {
			fine, verdict = false, "  LOST"
		}
		if !r.taken && handled > 0 {
			fine, verdict = false, "  WRONG"
		}
		fmt.Printf("%-22s %6d   %-34s %8d %6d%s\n", r.name, r.sent, r.answers(), handled, again, verdict)
	}
	flood := rows[len(rows)-1]
	slices.Sort(flood.took)
	fmt.Printf(
		"\nThe receiver was killed %d times; %s refunds were replayed. The flood: %.0f deliveries/s on disk, p99 %v.\n",
		p.killed.Load(), replayed, float64(len(flood.took))/flood.all.Seconds(),
		flood.took[len(flood.took)*99/100].Round(time.Millisecond))
	return fine
}

// partner sends the deliveries, and runs the receiver's process.
type partner struct {
	dir, addr string
	sent      atomic.Int64 // deliveries of the flood
	kills     sync.WaitGroup
	killed    atomic.Int64

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (p *partner) start() error {
	cmd := exec.Command(os.Args[0], "-serve", p.addr, "-dir", p.dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	for range 500 {
		if _, err := p.numbers(); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("the receiver does not start")
}

func (p *partner) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	_, _ = p.cmd.Process.Wait()
}

// killsDuring kills and restarts the receiver n times while the given number of events is sent.
func (p *partner) killsDuring(n, events int) {
	p.sent.Store(0)
	p.kills.Go(func() {
		for i := range n {
			for p.sent.Load() < int64((i+1)*events/(n+1)) {
				time.Sleep(time.Millisecond)
			}
			p.kill()
			p.killed.Add(1)
			if err := p.start(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	})
}

func (p *partner) numbers() (n inbox.Numbers, err error) {
	resp, err := http.Get("http://" + p.addr + "/numbers")
	if err != nil {
		return n, err
	}
	defer resp.Body.Close()
	return n, json.NewDecoder(resp.Body).Decode(&n)
}

// idle waits until no event is pending.
func (p *partner) idle() error {
	for range 3000 {
		if n, err := p.numbers(); err == nil && n.Pending == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("some events stay pending")
}
