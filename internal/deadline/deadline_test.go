package deadline

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errLate = errors.New("late")

// Each attempt is ended when its own time is up, to the nanosecond, whatever the others do; and one that only
// pauses is not.
func TestKeepsEachTime(t *testing.T) {
	t.Parallel()
	const after = 30 * time.Second
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			o := New(after, errLate)
			r := rand.New(rand.NewPCG(seed, 1))
			var group sync.WaitGroup
			ended := 0
			var mu sync.Mutex
			for range 200 {
				steps := make([]time.Duration, r.IntN(6))
				for i := range steps {
					steps[i] = time.Duration(r.Int64N(int64(after)))
				}
				start, hangs := time.Duration(r.Int64N(int64(2*after))), r.IntN(2) == 0
				group.Go(func() {
					time.Sleep(start)
					a := &Deadline{Keeper: o}
					ctx := a.Context(t.Context())
					a.Begin()
					for i, d := range steps {
						time.Sleep(d)
						if i%2 == 0 {
							a.Pause()
							time.Sleep(2 * after)
						}
						a.Begin()
					}
					if !hangs {
						time.Sleep(after - 1)
						a.Pause()
						require.NoError(t, ctx.Err(), "a nanosecond before its time")
						a.End()
						return
					}
					began := time.Now()
					<-ctx.Done()
					require.Equal(t, after, time.Since(began))
					require.Equal(t, errLate, context.Cause(ctx))
					require.True(t, a.Expired())
					a.End()
					mu.Lock()
					ended++
					mu.Unlock()
				})
			}
			group.Wait()
			require.NotZero(t, ended)
			require.Zero(t, o.Watched())
		})
	}
}

// One timer serves all attempts, one after the other, for as long as their time.
func TestTakesOneTimer(t *testing.T) {
	t.Parallel()
	o := New(time.Hour, errLate)
	var timer *time.Timer
	for range 1000 {
		a := &Deadline{Keeper: o}
		a.Context(t.Context())
		a.Begin()
		if timer == nil {
			timer = o.timer
		}
		require.Same(t, timer, o.timer)
		a.End()
	}
	require.Zero(t, o.Watched())
	timer.Stop()
}
