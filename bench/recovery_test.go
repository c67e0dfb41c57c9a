package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outages are the outages of the table: the kind, and about how long each lasts.
var outages = []struct {
	kind  string
	lasts time.Duration
}{
	{"503", 3 * time.Second},
	{"503", 20 * time.Second},
	{"503", time.Minute},
	{"503", 10 * time.Minute},
	{"hang", time.Minute},
	{"tls", 15 * time.Second},
	{"refused", 15 * time.Second},
}

// scene is one line of the table.
type scene struct {
	kind  string
	lasts time.Duration
	mode  string // closed: 8 workers in a closed loop; open: 20 calls per second
	stack string
}

// recovered is the outcome of a scene, and the form of its bounds. Times are in seconds. In a bound, zero means
// that there is none.
type recovered struct {
	late     float64 // from the end of the outage to the first call that succeeds
	wasted   float64 // requests that reached the partner in vain
	failed   float64 // calls that failed
	back     float64 // from the first success until a second has 90 % of the successes before; +Inf for never
	peak     float64 // most requests in a second after the outage, over the pace before
	disorder float64 // share of the pairs of waiting calls that overtook one another; NaN where none is counted
}

// recoveryBounds are the bounds of the medians of Belay, by outage. The times at which it probes are drawn at
// random, so the bounds of the lateness leave some room.
var recoveryBounds = map[string]recovered{
	"503 3s":      {late: 1, wasted: 17, failed: 0.5, back: 1.05, peak: 2},
	"503 20s":     {late: 2.6, wasted: 27, back: 1.05, peak: 2},
	"503 1m0s":    {late: 3.6, wasted: 38, back: 1.05, peak: 2},
	"503 10m0s":   {late: 4, back: 1.05, peak: 2},
	"hang 1m0s":   {late: 5.2, back: 1.05, peak: 2},
	"tls 15s":     {late: 2, back: 1.05, peak: 2},
	"refused 15s": {late: 2, back: 1.05, peak: 2},
}

// bounds returns the bounds of a scene. A call with five minutes of patience fails only in the longest outage.
func (s scene) bounds() (most recovered, ok bool) {
	if s.stack != "belay" && s.stack != "belay patience" {
		return most, false
	}
	most, ok = recoveryBounds[fmt.Sprint(s.kind, " ", s.lasts)]
	if s.stack == "belay patience" && s.lasts < 5*time.Minute {
		most.failed = 0.5
		if s.mode == "open" {
			most.disorder = 0.03
		}
	}
	return most, ok
}

const (
	healthyFor = 20 * time.Second
	watchFor   = time.Minute     // after the first success
	watchMost  = 3 * time.Minute // after the outage
	openPace   = 50 * time.Millisecond
)

func (s scene) run(t *testing.T, seed uint64) recovered {
	rng := rand.New(rand.NewPCG(seed, 1))
	lasts := time.Duration(float64(s.lasts) * (0.9 + 0.2*rng.Float64()))
	from := time.Now().Add(healthyFor)
	o := &outage{kind: s.kind, from: from, until: from.Add(lasts), rng: rng}
	timeout := time.Duration(0)
	if s.kind == "hang" {
		timeout = 5 * time.Second
	}
	r := &traffic{do: stack(t, s.stack, o, timeout)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // ends a scene in which something hangs
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	r.begin(ctx, s.mode, &wg, stop)
	for time.Sleep(healthyFor + lasts); time.Since(o.until) < watchMost; time.Sleep(time.Second) {
		ends := r.successes(o.until)
		if len(ends) > 0 && time.Since(ends[0]) > watchFor && !math.IsInf(s.back(ends, r.pace(from)), 1) {
			break
		}
	}
	close(stop)
	wg.Wait()
	return s.measure(o, r)
}

// pace returns the successes per second in the ten seconds before the outage.
func (r *traffic) pace(from time.Time) float64 {
	n := 0
	for _, end := range r.successes(from.Add(-10 * time.Second)) {
		if end.Before(from) {
			n++
		}
	}
	return float64(n) / 10
}

// back returns how long after the first of the successes a second has 90 % of pace.
func (s scene) back(ends []time.Time, pace float64) float64 {
	first := 0
	for i, end := range ends {
		for end.Sub(ends[first]) >= time.Second {
			first++
		}
		if float64(i-first+1) >= 0.9*pace {
			return end.Sub(ends[0]).Seconds()
		}
	}
	return math.Inf(1)
}

func (s scene) measure(o *outage, r *traffic) recovered {
	pace := r.pace(o.from)
	m := recovered{late: math.Inf(1), back: math.Inf(1), disorder: math.NaN(), wasted: float64(o.wasted)}
	end, back := o.until.Add(watchMost), o.until
	if ends := r.successes(o.until); len(ends) > 0 {
		back = ends[0]
		m.late = ends[0].Sub(o.until).Seconds()
		m.back = s.back(ends, pace)
		end = ends[0].Add(watchFor)
	}
	var waited []*trip
	for _, c := range r.trips {
		if !c.ok {
			m.failed++
		} else if c.began.Before(back) && !c.arrived.Before(o.until) {
			waited = append(waited, c)
		}
	}
	first, most := 0, 0
	for i, at := range o.arrivals {
		for at.Sub(o.arrivals[first]) >= time.Second || o.arrivals[first].Before(o.until) && first < i {
			first++
		}
		if !at.Before(o.until) && at.Before(end) {
			most = max(most, i-first+1)
		}
	}
	m.peak = float64(most) / pace
	if s.mode == "open" && s.stack == "belay patience" {
		m.disorder = disorder(waited)
	}
	return m
}

// disorder returns the share of pairs of calls that arrived in another order than they began.
func disorder(waited []*trip) float64 {
	slices.SortFunc(waited, func(a, b *trip) int { return a.began.Compare(b.began) })
	pairs, swapped := 0, 0
	for i, b := range waited {
		for _, a := range waited[:i] {
			if pairs++; a.arrived.After(b.arrived) {
				swapped++
			}
		}
	}
	return float64(swapped) / float64(max(1, pairs))
}

// check compares the medians with their bounds.
func (s scene) check(t *testing.T, got recovered) {
	most, ok := s.bounds()
	if !ok {
		return
	}
	for _, b := range []struct {
		name      string
		got, most float64
	}{
		{"lateness", got.late, most.late},
		{"wasted requests", got.wasted, most.wasted},
		{"failed calls", got.failed, most.failed},
		{"time until the pace is back", got.back, most.back},
		{"peak", got.peak, most.peak},
		{"disorder", got.disorder, most.disorder},
	} {
		if b.most != 0 && !(b.got <= b.most) {
			t.Errorf("%s %s, %s, %s: %s is %.2f, must be at most %.2f",
				s.kind, s.lasts, s.mode, s.stack, b.name, b.got, b.most)
		}
	}
}

// Every outage runs with eleven seeds; the table has the medians, and the latest recovery. With -v it is
// printed.
func TestRecovery(t *testing.T) {
	seeds := 11
	if testing.Short() {
		seeds = 3
	}
	var scenes []scene
	for _, o := range outages {
		for _, mode := range []string{"closed", "open"} {
			for _, name := range stacks {
				scenes = append(scenes, scene{o.kind, o.lasts, mode, name})
			}
		}
	}
	lines := make([]string, len(scenes))
	t.Run("scenes", func(t *testing.T) {
		for i, s := range scenes {
			t.Run(fmt.Sprintf("%s %s %s %s", s.kind, s.lasts, s.mode, s.stack), func(t *testing.T) {
				t.Parallel()
				var all []recovered
				for seed := range seeds {
					synctest.Test(t, func(t *testing.T) { all = append(all, s.run(t, uint64(seed))) })
				}
				got := medians(all)
				worst := slices.MaxFunc(all, func(a, b recovered) int { return cmp.Compare(a.late, b.late) })
				lines[i] = s.line(got, worst.late)
				s.check(t, got)
			})
		}
	})
	t.Logf("recovery: %-8s %6s %-7s%-15s %8s %8s %7s %7s %8s %7s %8s", "kind", "lasts", "mode", "stack",
		"late", "latest", "wasted", "failed", "back", "peak", "disorder")
	for _, line := range lines {
		if line != "" {
			t.Log("recovery: " + line)
		}
	}
}

func (s scene) line(m recovered, latest float64) string {
	disorder := "-"
	if !math.IsNaN(m.disorder) {
		disorder = fmt.Sprintf("%.2f %%", 100*m.disorder)
	}
	return fmt.Sprintf("%-8s %4.0f s %-7s%-15s %6.2f s %6.2f s %7.0f %7.0f %6.2f s %6.2fx %8s",
		s.kind, s.lasts.Seconds(), s.mode, s.stack, m.late, latest, m.wasted, m.failed, m.back, m.peak, disorder)
}

// medians returns the median of each measure by itself.
func medians(all []recovered) recovered {
	of := func(f func(recovered) float64) float64 {
		slices.SortFunc(all, func(a, b recovered) int { return cmp.Compare(f(a), f(b)) })
		return f(all[len(all)/2])
	}
	return recovered{
		late:     of(func(m recovered) float64 { return m.late }),
		wasted:   of(func(m recovered) float64 { return m.wasted }),
		failed:   of(func(m recovered) float64 { return m.failed }),
		back:     of(func(m recovered) float64 { return m.back }),
		peak:     of(func(m recovered) float64 { return m.peak }),
		disorder: of(func(m recovered) float64 { return m.disorder }),
	}
}
