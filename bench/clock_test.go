package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-go/belay"
)

// clockwork is a partner whose windows follow the clock: one begins whenever the Unix time is a multiple of per.
// It advertises what is left of a window.
type clockwork struct {
	limit int
	per   time.Duration

	mu      sync.Mutex
	rng     *rand.Rand
	window  int64
	used    int
	refused int
}

// way returns how long a message takes, 5 to 25 ms.
func (p *clockwork) way() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 5*time.Millisecond + time.Duration(p.rng.Int64N(int64(20*time.Millisecond)))
}

func (p *clockwork) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := pass(req.Context(), p.way()); err != nil {
		return nil, err
	}
	status, header := p.count()
	if err := pass(req.Context(), p.way()); err != nil {
		return nil, err
	}
	return reply(req, status, header), nil
}

func (p *clockwork) count() (int, http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UnixNano()
	if w := now / int64(p.per); w != p.window {
		p.window, p.used = w, 0
	}
	status := http.StatusOK
	if p.used == p.limit {
		status = http.StatusTooManyRequests
		p.refused++
	} else {
		p.used++
	}
	left := time.Duration((p.window+1)*int64(p.per) - now)
	return status, http.Header{
		"X-Ratelimit-Limit":     {strconv.Itoa(p.limit)},
		"X-Ratelimit-Remaining": {strconv.Itoa(p.limit - p.used)},
		"X-Ratelimit-Reset":     {strconv.Itoa(int((left + time.Second - 1) / time.Second))},
	}
}

// clockScene is a partner with windows by the clock, and the work of 8 workers.
type clockScene struct {
	name     string
	limit    int
	per      time.Duration
	lasts    time.Duration // the work ends then
	deadline bool          // the calls know when it ends
	calls    int           // the work ends after so many successes; 0 is no bound
	pause    time.Duration // of a worker after a call that failed
}

var clockScenes = []clockScene{
	{"100 per 10 s", 100, 10 * time.Second, 35 * time.Second, false, 0, 50 * time.Millisecond},
	{"200 per hour", 200, time.Hour, 2 * time.Hour, true, 250, time.Second},
}

type clockOutcome struct {
	refused, failed, ok int
	took                time.Duration
}

func (s clockScene) run(t *testing.T, offset time.Duration, seed uint64) (o clockOutcome) {
	now := time.Now().UnixNano()
	time.Sleep(time.Duration(-now%int64(s.per)) + s.per + offset) // to the offset within a window
	p := &clockwork{limit: s.limit, per: s.per, rng: rand.New(rand.NewPCG(seed, 2))}
	c, err := belay.New("https://partner.test", belay.WithTransport(p))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if s.deadline {
		ctx, cancel = context.WithTimeout(t.Context(), s.lasts)
	}
	defer cancel()
	defer time.AfterFunc(s.lasts, cancel).Stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := belay.Get[belay.None](ctx, c, "/things")
				over := ctx.Err() != nil
				mu.Lock()
				if err == nil {
					o.ok++
				} else if !over {
					o.failed++
				}
				done := s.calls > 0 && o.ok >= s.calls
				mu.Unlock()
				if done {
					cancel()
				} else if err != nil {
					_ = pass(ctx, s.pause)
				}
			}
		})
	}
	wg.Wait()
	o.took, o.refused = time.Since(began), p.refused
	return o
}

// With -v it prints the refusals of a partner whose windows follow the clock, by where in a window the work
// begins.
func TestWindowsByTheClock(t *testing.T) {
	for _, s := range clockScenes {
		t.Run(s.name, func(t *testing.T) {
			var all clockOutcome
			for i := range 12 {
				synctest.Test(t, func(t *testing.T) {
					o := s.run(t, time.Duration(i)*s.per/12, uint64(i))
					t.Logf("clock: %-13s from %2d/12: %4d 429s %5d failed %5d done in %s", s.name, i,
						o.refused, o.failed, o.ok, o.took.Round(10*time.Millisecond))
					all.refused, all.failed, all.ok = all.refused+o.refused, all.failed+o.failed, all.ok+o.ok
				})
			}
			t.Logf("clock: %-13s in all:     %4d 429s %5d failed %5d done", s.name, all.refused, all.failed, all.ok)
		})
	}
}
