// Quickstart is a stress test in one process: a partner on a loopback port that allows 20 calls a second,
// answers 5 % with a 500, resets connections, and is down for three seconds in the middle. Eight workers
// fetch 300 records from it and post a note for every tenth: first through net/http alone, which takes a second, then
// through Belay.
//
//	go run ./examples/quickstart        both
//	go run ./examples/quickstart -bare  only net/http alone, in detail
//
// It exits with 1 if Belay lost a record or did a write twice.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
)

const (
	records = 300
	workers = 8
	notes   = 10 // records for each note
	atMost  = 40 * time.Second
)

type record struct {
	ID string `json:"id"`
}

type note struct {
	Record, Text string
}

func main() {
	bare := flag.Bool("bare", false, "only net/http alone")
	flag.Parse()
	if *bare {
		run(true, true)
		return
	}
	run(true, false)
	if !run(false, true) {
		os.Exit(1)
	}
}

func run(bare, detail bool) bool {
	partner := belaytest.New(belaytest.Config{
		Limits:    []belaytest.Limit{belaytest.Sliding(20, time.Second)},
		Latency:   5 * time.Millisecond,
		Jitter:    20 * time.Millisecond,
		ErrorRate: 0.05, ResetRate: 0.02, CutRate: 0.02,
		Outages:    []belaytest.Outage{{From: 8 * time.Second, For: 3 * time.Second}},
		HonourKeys: true,
		Answer: func(req *http.Request) (int, any) {
			return http.StatusOK, record{ID: req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]}
		},
	})
	server := partner.Server()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()

	s := &stats{}
	fetch, post := withBelay(server.URL, s)
	if bare {
		fetch, post = withNetHTTP(server.URL)
	}
	stop := func() {}
	if detail {
		stop = s.progress()
	}
	start := time.Now()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range workers {
		wg.Go(func() {
			for i := next.Add(1); i <= records; i = next.Add(1) {
				id := fmt.Sprint(i)
				switch got, err := fetch(ctx, id); {
				case err != nil:
					s.lose("record "+id, err)
				case got.ID != id:
					s.lose("record "+id, fmt.Errorf("got record %q", got.ID))
				default:
					s.fetched.Add(1)
				}
				if i%notes != 0 {
					continue
				}
				if err := post(ctx, note{id, "seen"}); err != nil {
					s.lose("note "+id, err)
				} else {
					s.posted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	stop()
	return s.report(partner, time.Since(start), bare, detail)
}

// withBelay returns functions that fetch a record and post a note, through a client that knows the partner's
// limit.
func withBelay(
	url string, s *stats,
) (func(context.Context, string) (record, error), func(context.Context, note) error) {
	client, err := belay.New(url,
		belay.WithRateLimit(belay.PerSecond(20)),
		belay.WithIdempotencyKeys("Idempotency-Key"),
		belay.WithPatience(time.Minute), // longer than an outage
		belay.WithObserver(s))
	if err != nil {
		panic(err)
	}
	fetch := func(ctx context.Context, id string) (record, error) {
		return belay.Get[record](ctx, client, "/records/{id}", belay.PathValue("id", id))
	}
	post := func(ctx context.Context, n note) error {
		_, err := belay.Post[belay.None](ctx, client, "/notes", n)
		return err
	}
	return fetch, post
}

// withNetHTTP returns the same two functions without any layer.
func withNetHTTP(url string) (func(context.Context, string) (record, error), func(context.Context, note) error) {
	do := func(ctx context.Context, method, path string, body []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 400 {
			return nil, fmt.Errorf("status %d", resp.StatusCode)
		}
		return io.ReadAll(resp.Body)
	}
	fetch := func(ctx context.Context, id string) (r record, err error) {
		data, err := do(ctx, http.MethodGet, "/records/"+id, nil)
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		return r, err
	}
	post := func(ctx context.Context, n note) error {
		data, err := json.Marshal(n)
		if err == nil {
			_, err = do(ctx, http.MethodPost, "/notes", data)
		}
		return err
	}
	return fetch, post
}

// stats is an observer that counts attempts, retries and waits. It also holds the results of the run.
type stats struct {
	fetched, posted, lost  atomic.Int64
	attempts, retries      atomic.Int64
	backoff, line, circuit atomic.Int64 // nanoseconds
	mu                     sync.Mutex
	openedAt               time.Time
	open                   time.Duration
	firstLoss              string
}

func (s *stats) Observe(_ context.Context, e belay.Event) {
	switch e := e.(type) {
	case belay.AttemptDone:
		s.attempts.Add(1)
	case belay.Retrying:
		s.retries.Add(1)
	case belay.CallDone:
		s.backoff.Add(int64(e.Waits.Backoff))
		s.line.Add(int64(e.Waits.Queue))
		s.circuit.Add(int64(e.Waits.Circuit))
	case belay.CircuitChanged:
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case e.State == belay.BreakerClosed && !s.openedAt.IsZero():
			s.open += time.Since(s.openedAt)
			s.openedAt = time.Time{}
		case e.State == belay.BreakerOpen && s.openedAt.IsZero():
			s.openedAt = time.Now()
		}
	}
}

func (s *stats) lose(what string, err error) {
	s.lost.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.firstLoss == "" {
		s.firstLoss = what + ": " + err.Error()
	}
}

// progress shows the progress of the work: one line that changes on a terminal, a line every few seconds
// elsewhere.
func (s *stats) progress() (stop func()) {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	every := 5 * time.Second
	if terminal {
		every = 100 * time.Millisecond
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				if terminal {
					fmt.Print("\r\x1b[K")
				}
				return
			case <-tick.C:
			}
			n := s.fetched.Load()
			s.mu.Lock()
			state := "circuit closed"
			if !s.openedAt.IsZero() {
				state = "circuit open"
			}
			s.mu.Unlock()
			line := fmt.Sprintf("%3d of %d records, %d retries, %d lost, %s", n, records, s.retries.Load(), s.lost.Load(), state)
			if terminal {
				bar := strings.Repeat("█", int(n*30/records))
				fmt.Printf("\r\x1b[K%-30s %s", bar, line)
			} else {
				fmt.Println(line)
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func (s *stats) report(p *belaytest.Partner, took time.Duration, bare, detail bool) bool {
	twice := len(p.WrittenTwice())
	s.mu.Lock()
	defer s.mu.Unlock()
	seconds := func(n *atomic.Int64) string { return fmt.Sprintf("%.1f s", time.Duration(n.Load()).Seconds()) }
	how := "through Belay"
	if bare {
		how = "through plain net/http"
	}
	fmt.Printf("%d of %d records and %d of %d notes %s in %.1f s, %d lost\n\n",
		s.fetched.Load(), records, s.posted.Load(), records/notes, how, took.Seconds(), s.lost.Load())
	if !detail {
		return false
	}
	row := func(name string, value any) { fmt.Printf("  %-34s %8v\n", name, value) }
	row("records fetched", s.fetched.Load())
	row("notes posted", fmt.Sprintf("%d of %d", s.posted.Load(), records/notes))
	row("lost", s.lost.Load())
	row("writes done twice", twice)
	row("calls that reached the partner", len(p.Log()))
	row("429s", p.Count(http.StatusTooManyRequests))
	if !bare {
		row("attempts", s.attempts.Load())
		row("sent again by net/http itself", int64(len(p.Log()))-s.attempts.Load()) // without a permit: Boundaries in the README
		row("retries", s.retries.Load())
		row("circuit open", fmt.Sprintf("%.1f s", s.open.Seconds()))
		row("waited, all workers: for the limit", seconds(&s.line))
		row("  for the circuit to close", seconds(&s.circuit))
		row("  in backoff", seconds(&s.backoff))
	}
	if s.firstLoss != "" {
		fmt.Println("\nfirst loss:", s.firstLoss)
	}
	return s.lost.Load() == 0 && twice == 0 && s.fetched.Load() == records
}
