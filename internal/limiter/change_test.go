package limiter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Limits that are counted by a store that cannot be compared may be set again, and hold.
func TestSetLimitsWithAStoreThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		store := quotaFunc(func(context.Context, int) (time.Duration, error) { asked++; return 0, nil })
		l := limiterOf(t, PerDay(4).Shared(store))
		require.NoError(t, l.SetLimits(PerDay(4).Shared(store)))
		send(t, l, &Reservation{})
		require.Equal(t, 1, asked)
	})
}

type downQuota struct{}

func (*downQuota) Take(context.Context, int) (time.Duration, error) { return 0, errStoreDown }

// The fallback of a limit changes with the limit, though its store stays.
func TestSetLimitsChangesTheFallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &downQuota{}
		l := limiterOf(t, PerDay(4).Shared(store).FailClosed())
		require.NoError(t, l.SetLimits(PerDay(4).Shared(store).FailOpen()))
		start := time.Now()
		send(t, l, &Reservation{})
		require.LessOrEqual(t, time.Since(start), time.Second)
	})
}

// The same limit given twice is no smaller than once.
func TestSetLimitsTheSameTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerMinute(10))
		require.NoError(t, l.SetLimits(PerMinute(10), PerMinute(10)))
		require.Equal(t, 10, sendSome(t, l, 20))
	})
}

// New limits are given to the calls that wait by priority, not in the order in which they were moved.
func TestSetLimitsKeepsPriorities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerHour(1))
		send(t, l, &Reservation{})
		var low, high atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wait := func(level int, gone *atomic.Int32) {
			wg.Go(func() {
				if acquire(ctx, l, &Reservation{Ask: Ask{Level: level}}) == nil {
					gone.Add(1)
				}
			})
			synctest.Wait()
		}
		for range 100 {
			wait(2, &low)
		}
		for range 10 {
			wait(0, &high)
		}
		require.NoError(t, l.SetLimits(PerHour(11)))
		synctest.Wait()
		require.EqualValues(t, 10, high.Load())
		require.Zero(t, low.Load())
		cancel()
		wg.Wait()
	})
}

// A new limit counts what was sent before it came.
func TestNewLimitCountsWhatWasSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerSecond(10))
		for range 10 {
			send(t, l, &Reservation{})
			time.Sleep(time.Second)
		}
		require.NoError(t, l.SetLimits(PerSecond(10), PerMinute(10)))
		require.Zero(t, sendSome(t, l, 1))
	})
}

// A refusal that pauses nobody takes nothing away from what a new limit counts.
func TestNewLimitCountsWhatWasSentBeforeARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerMinute(100))
		for range 89 {
			send(t, l, &Reservation{})
		}
		r := &Reservation{}
		require.NoError(t, acquire(t.Context(), l, r))
		release(l, r, Outcome{Kind: Throttled, Wait: time.Second, Scope: ScopeCall})
		require.NoError(t, l.SetLimits(PerMinute(50)))
		require.Zero(t, sendSome(t, l, 60))
	})
}

// A limit that is lowered and raised again has forgotten nothing.
func TestLoweredAndRaisedLimitForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerMinute(10))
		require.Equal(t, 10, sendSome(t, l, 20))
		require.NoError(t, l.SetLimits(PerMinute(2)))
		require.NoError(t, l.SetLimits(PerMinute(10)))
		require.Zero(t, sendSome(t, l, 20))
	})
}

// A new limit, too, counts calls without an answer as long as the partner may have counted them after they were sent.
func TestNewLimitCountsUpToTheSlack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerSecond(10))
		require.Equal(t, 10, sendSome(t, l, 10))
		require.NoError(t, l.SetLimits(PerSecond(9)))
		time.Sleep(time.Second + firstSlack - 90*time.Millisecond)
		require.Zero(t, sendSome(t, l, 10))
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 9, sendSome(t, l, 10))
	})
}

// Limits that change all the time do not make a waiter wait anew each time.
func TestSetLimitsOftenHoldsBackNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerMinute(10))
		require.Equal(t, 10, sendSome(t, l, 10))
		start := time.Now()
		waited := make(chan time.Duration, 1)
		go func() {
			send(t, l, &Reservation{})
			waited <- time.Since(start)
		}()
		for i := range 20 {
			time.Sleep(30 * time.Second)
			require.NoError(t, l.SetLimits(Every(10, time.Minute+time.Duration(i%2)*time.Second)))
		}
		require.LessOrEqual(t, <-waited, 2*time.Minute)
	})
}

// Whatever limits follow one another under whatever traffic, the partner never counts more than the largest of them,
// everybody goes, and nothing is left in the line.
func TestSetLimitsUnderTraffic(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { changeUnderTraffic(t, seed) })
	}
}

func changeUnderTraffic(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	most, per := 4+r.IntN(20), time.Second*time.Duration(1+r.IntN(4))
	limits := func(r *rand.Rand) []Limit {
		limits := []Limit{Every(1+r.IntN(most), per)}
		if r.IntN(2) == 0 {
			limits = append(limits, Every(1+r.IntN(3*most), 2*per))
		}
		if seed%2 == 0 && r.IntN(3) == 0 {
			limits = append(limits, when(Every(1+r.IntN(most), per), Writes))
		}
		return limits
	}
	root := limiterOf(t, limits(r)...)
	l := root
	if r.IntN(2) == 0 {
		var err error
		l, err = root.With(Limit{N: 1 + r.IntN(4), Kind: InFlight})
		require.NoError(t, err)
	}
	start := time.Now()
	over := make(chan struct{})
	changes := rand.New(rand.NewPCG(seed, 2))
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(changes.IntN(3000)) * time.Millisecond):
				if err := root.SetLimits(limits(changes)...); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	var a arrivals
	var wg sync.WaitGroup
	for i := range uint64(150) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, i+7))
			ms := func(most int) time.Duration { return time.Duration(r.IntN(most)) * time.Millisecond }
			time.Sleep(ms(10_000))
			k := ticketFor([]string{http.MethodGet, http.MethodPost}[r.IntN(2)])
			k.Level, k.Tenant = 2-r.IntN(3), fmt.Sprint(r.IntN(4))
			ctx := t.Context()
			if r.IntN(4) == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, ms(9000))
				defer cancel()
			}
			if err := acquire(ctx, l, k); err != nil {
				if ctx == t.Context() {
					t.Error(err)
				}
				return
			}
			if r.IntN(8) == 0 {
				time.Sleep(ms(300))
				release(l, k, Outcome{Kind: Unsent})
				return
			}
			time.Sleep(ms(99))
			a.note(time.Since(start), k)
			time.Sleep(ms(99))
			release(l, k, Outcome{Answered: true})
		})
	}
	wg.Wait()
	close(over)
	require.NoError(t, a.sliding(most, per, nil), "seed %d", seed)
	require.LessOrEqual(t, time.Since(start), 10*time.Minute, "seed %d", seed)
	requireEmpty(t, l)
}

// A thousand calls wait for different limits while these change again and again: every call goes, none beyond its
// limit, and nothing is left in the line.
func TestSetLimitsWhileAThousandWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const kinds, each = 8, 125
		of := func(kind int) func(*http.Request) bool {
			path := fmt.Sprint("/", kind)
			return func(req *http.Request) bool { return req.URL.Path == path }
		}
		perKind := make([]func(*http.Request) bool, kinds)
		for k := range kinds {
			perKind[k] = of(k)
		}
		limits := func(n int, only ...int) (all []Limit) {
			for _, k := range only {
				limit := PerMinute(n)
				limit.When = perKind[k]
				all = append(all, limit)
			}
			return append(all, PerSecond(20))
		}
		all := []int{0, 1, 2, 3, 4, 5, 6, 7}
		l := limiterOf(t, limits(1, all...)...)
		var mu sync.Mutex
		var sent [kinds][]time.Time
		var wg sync.WaitGroup
		for k := range kinds {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprint("https://partner.test/", k), nil)
			require.NoError(t, err)
			for range each {
				wg.Go(func() {
					r := &Reservation{Ask: Ask{Request: req, Patience: 24 * time.Hour}}
					if err := l.Acquire(t.Context(), r); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					sent[k] = append(sent[k], time.Now())
					mu.Unlock()
					l.Settle(r, Outcome{Answered: true})
					l.Release(r)
				})
			}
		}
		synctest.Wait()
		require.Equal(t, kinds*(each-1), l.Status().Waiting)
		for range 20 { // their limits come, go and change
			for _, next := range [][]Limit{
				limits(2, 7, 3, 0), limits(1, all...), limits(3, 1, 2, 4, 5, 6), limits(1, all...), limits(2, all...),
			} {
				require.NoError(t, l.SetLimits(next...))
				time.Sleep(100 * time.Millisecond)
			}
		}
		require.NoError(t, l.SetLimits(limits(30, all...)...))
		wg.Wait()
		require.Zero(t, l.Status().Waiting)
		for k := range kinds {
			require.Len(t, sent[k], each)
		}
		var times []time.Time
		for k := range kinds {
			times = append(times, sent[k]...)
		}
		slices.SortFunc(times, time.Time.Compare)
		for i := 20; i < len(times); i++ { // the limit that was there all the time
			require.GreaterOrEqual(t, times[i].Sub(times[i-20]), time.Second)
		}
	})
}
