package belay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/belaytest"
	"github.com/belay-go/belay/internal/testkit"
)

// row is a partner of the table of limits: how it behaves, what the client knows, and the bounds.
type row struct {
	name     string
	partner  belaytest.Config
	known    []belay.Limit
	workers  int           // 0 means 8
	other    time.Duration // a second process sends one call in that time; 0 is none
	cost     func(i int) int
	write    func(i int) bool
	optimum  func(r *row) time.Duration // nil: the earliest times that the limits allow
	within   float64
	refusals int
	usually  int // of all seeds but one; 0 means refusals
}

const rowCalls = 2000

var table = []row{
	{
		name: "sliding 100/10 s, known", known: []belay.Limit{belay.Every(100, 10*time.Second)},
		partner: belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)}},
		within:  1.01,
	},
	{
		name: "sliding 100/10 s, not known, Retry-After a date",
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			Tell:   belaytest.TellDate,
		},
		within: 1.02, refusals: 10,
	},
	{
		name: "the same, partner's clock 3 s behind",
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			Tell:   belaytest.TellDate,
			Skew:   -3 * time.Second,
		},
		within: 1.02, refusals: 10,
	},
	{
		name: "the same, partner's clock 3 s ahead",
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			Tell:   belaytest.TellDate,
			Skew:   3 * time.Second,
		},
		within: 1.02, refusals: 10,
	},
	{
		name: "10/s and 300/min, known", known: []belay.Limit{belay.PerSecond(10), belay.PerMinute(300)},
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(10, time.Second), belaytest.Sliding(300, time.Minute)},
		},
		within: 1.01,
	},
	{
		name: "10/s and 300/min, not known",
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(10, time.Second), belaytest.Sliding(300, time.Minute)},
		},
		within: 1.03, refusals: 20, usually: 15, // 11 to 16 in 73 runs: two windows are learned, in the order that the calls come
	},
	{
		name: "fixed 100/10 s, X-RateLimit-* only",
		partner: belaytest.Config{
			Limits:  []belaytest.Limit{belaytest.Fixed(100, 10*time.Second)},
			Tell:    belaytest.TellNothing,
			Headers: true,
		},
		within: 1.01,
	},
	{
		name:    "fixed 100/10 s with headers, a second process spends 30 %",
		partner: belaytest.Config{Limits: []belaytest.Limit{belaytest.Fixed(100, 10*time.Second)}, Headers: true},
		other:   time.Second / 3, optimum: shared, within: 1.05, refusals: 5,
	},
	{
		name: "sliding 100/10 s, not known, no Retry-After",
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			Tell:   belaytest.TellNothing,
		},
		within: 1.25, refusals: 40,
	},
	{
		name:    "sliding 100/10 s, not known, a second process spends 30 %",
		partner: belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(100, 10*time.Second)}},
		other:   time.Second / 3, optimum: shared, within: 1.15, refusals: 40,
	},
	{
		name: "weighted: costs 1–20, score 500/10 s, known", known: []belay.Limit{belay.Every(500, 10*time.Second)},
		partner: belaytest.Config{Limits: []belaytest.Limit{belaytest.Sliding(500, 10*time.Second)}, Cost: costOf},
		cost:    func(i int) int { return 1 + i*7%20 }, within: 1.02,
	},
	{
		name:  "reads 100/s and writes 25/s, known, mixed 80:20",
		known: []belay.Limit{belay.PerSecond(100).When(belay.Reads), belay.PerSecond(25).When(belay.Writes)},
		partner: belaytest.Config{Limits: []belaytest.Limit{
			belaytest.Sliding(100, time.Second).When(belay.Reads), belaytest.Sliding(25, time.Second).When(belay.Writes),
		}},
		write: func(i int) bool { return i%5 == 0 }, within: 1.05,
	},
	{
		name: "15/s, answers after 800 ms, known", known: []belay.Limit{belay.PerSecond(15)},
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(15, time.Second)},
			Work:   800 * time.Millisecond,
		},
		workers: 32, within: 1.2,
	},
	{
		name: "25/s, answers after 300 ms, known", known: []belay.Limit{belay.PerSecond(25)},
		partner: belaytest.Config{
			Limits: []belaytest.Limit{belaytest.Sliding(25, time.Second)},
			Work:   300 * time.Millisecond,
		},
		workers: 32, within: 1.12,
	},
}

// costOf reads what a call costs from its path.
func costOf(req *http.Request) int {
	n, _ := strconv.Atoi(req.URL.Query().Get("limit"))
	return n
}

// shared is the optimum where 30 of 100 in ten seconds are another's.
func shared(*row) time.Duration { return time.Duration(rowCalls-70) * 10 * time.Second / 70 }

// earliest returns how long the work takes at best: each worker sends its next call as soon as the limits allow
// it to arrive, on a way of 15 ms each.
func earliest(r *row) time.Duration {
	type sent struct {
		at   time.Duration
		cost int
	}
	limits := [][3]int{} // number, window in seconds, kind: 0 all, 1 reads, 2 writes
	switch {
	case r.write != nil:
		limits = append(limits, [3]int{100, 1, 1}, [3]int{25, 1, 2})
	case r.cost != nil:
		limits = append(limits, [3]int{500, 10, 0})
	case len(r.partner.Limits) == 2:
		limits = append(limits, [3]int{10, 1, 0}, [3]int{300, 60, 0})
	case r.workers > 0:
		limits = append(limits, [3]int{15, 1, 0})
		if r.partner.Work < 500*time.Millisecond {
			limits[0][0] = 25
		}
	default:
		limits = append(limits, [3]int{100, 10, 0})
	}
	const way = 15 * time.Millisecond
	free := make([]time.Duration, max(8, r.workers)) // when each worker is
	var log [3][]sent
	for i := range rowCalls {
		cost, kind := 1, 1
		if r.cost != nil {
			cost = r.cost(i)
		}
		if r.write != nil && r.write(i) {
			kind = 2
		}
		worker := slices.Index(free, slices.Min(free))
		at := free[worker] + way
		for _, l := range limits {
			if l[2] != 0 && l[2] != kind {
				continue
			}
			used := cost
			for _, s := range slices.Backward(log[l[2]]) {
				if used += s.cost; used > l[0] {
					at = max(at, s.at+time.Duration(l[1])*time.Second)
					break
				}
			}
		}
		log[0] = append(log[0], sent{at, cost})
		log[kind] = append(log[kind], sent{at, cost})
		free[worker] = at + r.partner.Work + way
	}
	return slices.Max(free)
}

type outcome struct {
	took     time.Duration
	refusals int // of ours
	failed   int
}

func (r *row) run(t *testing.T, seed uint64) (o outcome) {
	cfg := r.partner
	cfg.Latency, cfg.Jitter, cfg.Seed = 5*time.Millisecond, 20*time.Millisecond, seed
	p := belaytest.New(cfg)
	workers := max(r.workers, 8)
	c, err := belay.New(
		"https://partner.test",
		belay.WithTransport(p),
		belay.WithRateLimit(r.known...),
		belay.WithMaxInFlight(max(10, workers)),
		belay.WithCost(costOf),
	)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var other sync.WaitGroup
	if r.other > 0 {
		other.Go(func() {
			for tick := time.NewTicker(r.other); ; {
				select {
				case <-tick.C:
				case <-ctx.Done():
					tick.Stop()
					return
				}
				other.Go(func() {
					req, _ := http.NewRequest(http.MethodGet, "https://partner.test/other", nil)
					if resp, err := p.RoundTrip(req); err == nil {
						_ = resp.Body.Close()
					}
				})
			}
		})
	}
	start := time.Now()
	failed := testkit.Work(workers, rowCalls, func(i int) error {
		path, method := "/things", http.MethodGet
		if r.cost != nil {
			path += "?limit=" + strconv.Itoa(r.cost(i))
		}
		if r.write != nil && r.write(i) {
			method = http.MethodPut
		}
		_, err := belay.Send[belay.None](t.Context(), c, method, path, nil)
		return err
	})
	o.took, o.failed = time.Since(start), len(failed)
	cancel()
	other.Wait()
	for _, rec := range p.Log() {
		if rec.Status == http.StatusTooManyRequests && rec.Path != "/other" {
			o.refusals++
		}
	}
	return o
}

// Every row of the table runs with eleven seeds: the time over the optimum, the refusals and the failures stay
// in their bounds. With -v it prints the table, of which make bench shows the lines.
func TestLimitTable(t *testing.T) {
	seeds := 11
	if testkit.RaceEnabled {
		seeds = 2 // the same code, slowly
	}
	for _, r := range table {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			optimum := earliest(&r)
			if r.optimum != nil {
				optimum = r.optimum(&r)
			}
			var worst outcome
			var refused []int
			for seed := range seeds {
				synctest.Test(t, func(t *testing.T) {
					o := r.run(t, uint64(seed))
					refused = append(refused, o.refusals)
					worst.took, worst.refusals, worst.failed = max(
						worst.took,
						o.took,
					), max(
						worst.refusals,
						o.refusals,
					), max(
						worst.failed,
						o.failed,
					)
				})
			}
			over := worst.took.Seconds() / optimum.Seconds()
			t.Logf(
				"limits: %-58s %7.1f s %7.3f (≤ %4.2f) %4d (≤ %2d) %3d failed",
				r.name,
				worst.took.Seconds(),
				over,
				r.within,
				worst.refusals,
				r.refusals,
				worst.failed,
			)
			require.Zero(t, worst.failed, "failed")
			require.LessOrEqual(t, worst.refusals, r.refusals, "429s")
			slices.Sort(refused)
			if r.usually > 0 && seeds > 2 {
				require.LessOrEqual(t, refused[len(refused)-2], r.usually, "429s, but for one seed")
			}
			require.LessOrEqual(t, over, r.within, "took %s, optimum %s", worst.took, optimum)
		})
	}
}

// A known limit is never exceeded in any window, and next to nothing is lost to be safe.
func TestKnownLimitIsKeptExactly(t *testing.T) {
	type limits struct {
		name    string
		ours    []belay.Limit
		theirs  []belaytest.Limit
		n       int
		optimum time.Duration
		within  float64
		seeds   uint64
	}
	for _, l := range []limits{
		{
			"sliding 100/10s",
			[]belay.Limit{belay.Every(100, 10*time.Second)},
			[]belaytest.Limit{belaytest.Sliding(100, 10*time.Second)},
			2000, 190 * time.Second, 1.01, 11,
		},
		{
			"10/s and 300/min",
			[]belay.Limit{belay.PerSecond(10), belay.PerMinute(300)},
			[]belaytest.Limit{belaytest.Sliding(10, time.Second), belaytest.Sliding(300, time.Minute)},
			2000, 389 * time.Second, 1.01, 11,
		},
		{
			"fixed 100/10s",
			[]belay.Limit{belay.Every(100, 10*time.Second).Fixed()},
			[]belaytest.Limit{belaytest.Fixed(100, 10*time.Second)},
			2000, 190 * time.Second, 1.01, 11,
		},
		{
			"buckets 5000/min",
			[]belay.Limit{belay.PerMinute(5000)},
			[]belaytest.Limit{belaytest.Sliding(5000, time.Minute)},
			10500, 120 * time.Second, 1.06, 1, // slow to simulate
		},
	} {
		for seed := range l.seeds {
			t.Run(fmt.Sprintf("%s seed %d", l.name, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := belaytest.New(belaytest.Config{
						Limits: l.theirs, Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Seed: seed,
					})
					c, err := belay.New(
						"https://partner.test",
						belay.WithTransport(p),
						belay.WithRateLimit(l.ours...),
						belay.WithMaxInFlight(64),
					)
					require.NoError(t, err)
					start := time.Now()
					failed := testkit.Work(64, l.n, func(int) error {
						_, err := belay.Get[belay.None](t.Context(), c, "/things")
						return err
					})
					took := time.Since(start)
					require.Empty(t, failed)
					require.Zero(t, p.Count(429), "429s")
					require.Len(t, p.Log(), l.n)
					require.LessOrEqual(t, took.Seconds(), l.optimum.Seconds()*l.within, "took %s, optimum %s", took, l.optimum)
				})
			})
		}
	}
}
