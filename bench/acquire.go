package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/belay-go/belay"
)

// contenders is the number of goroutines that take permits at the same time.
const contenders = 64

type taker struct {
	name   string
	take   func() func() // returns the function that one goroutine calls
	alone  []float64
	many   []float64
	allocs float64
}

func limiter(limits ...belay.Limit) func() func() {
	l, err := belay.NewLimiter(limits...)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	return func() func() {
		t := new(belay.Ticket)
		return func() {
			if err := l.Acquire(ctx, t); err != nil {
				panic(err)
			}
			l.Release(t, belay.Outcome{Sent: true})
		}
	}
}

// acquire measures the cost of a permit, taken and settled, if no call has to wait.
func acquire() {
	reference := rate.NewLimiter(1e12, 1e9)
	takers := []*taker{
		{name: "x/time/rate Wait, one tier", take: func() func() {
			return func() {
				if err := reference.Wait(context.Background()); err != nil {
					panic(err)
				}
			}
		}},
		{name: "Acquire, two sliding tiers", take: limiter(belay.PerSecond(1_000_000_000), belay.PerMinute(2_000_000_000))},
		{name: "Acquire, two fixed tiers", take: limiter(
			belay.PerSecond(1_000_000_000).Fixed(), belay.PerMinute(2_000_000_000).Fixed())},
		{name: "Acquire, one of 4,096 per ms", take: limiter(belay.Every(4096, time.Millisecond))},
	}
	for _, t := range takers {
		t.allocs = testing.AllocsPerRun(10_000, t.take())
	}
	const n = 20_000
	for range *rounds {
		for _, t := range takers {
			f := t.take()
			start := time.Now()
			for range n {
				f()
			}
			t.alone = append(t.alone, float64(time.Since(start).Nanoseconds())/n)
			t.many = append(t.many, together(t))
		}
	}
	fmt.Printf("\nA permit (%d processors)\n  %-34s %9s %9s %9s %9s %8s\n",
		runtime.GOMAXPROCS(0), "", "ns alone", "share", "ns of 64", "share", "allocs")
	alone, many := median(takers[0].alone), median(takers[0].many)
	for _, t := range takers {
		a, m := median(t.alone), median(t.many)
		fmt.Printf("  %-34s %9.0f %9.2f %9.0f %9.2f %8.0f\n", t.name, a, a/alone, m, m/many, t.allocs)
	}
}

// together returns the time that a permit takes while all contenders take permits.
func together(t *taker) float64 {
	const each = 2000
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range contenders {
		f := t.take()
		wg.Go(func() {
			<-begin
			for range each {
				f()
			}
		})
	}
	start := time.Now()
	close(begin)
	wg.Wait()
	return float64(time.Since(start).Nanoseconds()) / (contenders * each)
}
