package limiter

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Credential waits for a limit of its own for long does not keep others from waking when theirs is free.
func TestReadPassesAStuckWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerSecond(2), when(PerMinute(1), Writes))
		send(t, l, ticketFor(http.MethodPost))
		send(t, l, ticketFor(http.MethodGet))
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { send(t, l, ticketFor(http.MethodPost)) })
		synctest.Wait()
		send(t, l, ticketFor(http.MethodGet))
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
		wg.Wait()
		require.GreaterOrEqual(t, time.Since(start), time.Minute, "the write was stuck")
	})
}

// While somebody waits for long, others are let through without looking at the line again and again.
func TestStuckWriteCostsNoRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, Every(1, 100*time.Millisecond), when(PerMinute(1), Writes))
		send(t, l, ticketFor(http.MethodPost))
		time.Sleep(300 * time.Millisecond)
		var wg sync.WaitGroup
		wg.Go(func() { send(t, l, ticketFor(http.MethodPost)) })
		time.Sleep(50 * time.Millisecond)
		before := rounds(l)
		start := time.Now()
		send(t, l, ticketFor(http.MethodGet))
		require.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
		wg.Wait()
		require.LessOrEqual(t, rounds(l)-before, uint64(100))
	})
}

// A call that is given up while its store is asked gives back what another's permits let it have, and the next
// one goes.
func TestCancelledWhileAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := limiterOf(t, PerSecond(10).Shared(quotaFunc(func(ctx context.Context, _ int) (time.Duration, error) {
			if asked++; asked == 2 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, nil
		})))
		first, second := &Reservation{}, &Reservation{}
		require.NoError(t, acquire(t.Context(), l, first))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- acquire(ctx, l, second) }()
		synctest.Wait() // it asks
		release(l, first, Outcome{Kind: Unsent})
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Zero(t, l.Status().Waiting)
		require.Equal(t, free, second.state)
		time.Sleep(time.Minute)
		start := time.Now()
		send(t, l, &Reservation{})
		require.Zero(t, time.Since(start))
	})
}

// Calls that wait until a quota begins anew hold no places in flight meanwhile.
func TestThoseWhoWaitLongHoldNoPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, Limit{N: 10, Kind: InFlight}, PerSecond(1000))
		ticket := func(n uint64) *Reservation { return &Reservation{Ask: Ask{Credential: n*2 + 1}} }
		for i := range uint64(10) {
			send(t, l, ticket(i), "X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "50")
		}
		var wg sync.WaitGroup
		for i := range uint64(10) {
			wg.Go(func() { send(t, l, ticket(i)) })
		}
		synctest.Wait()
		require.Equal(t, 10, l.Status().Waiting)
		start := time.Now()
		send(t, l, ticket(99))
		require.LessOrEqual(t, time.Since(start), time.Second)
		wg.Wait()
	})
}

// The only place in flight is not kept free for a call that has to wait for a limit.
func TestOnlyPlaceIsNotKeptFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, Limit{N: 1, Kind: InFlight}, when(PerMinute(1), Writes))
		send(t, l, ticketFor(http.MethodPost))
		var wg sync.WaitGroup
		wg.Go(func() { send(t, l, ticketFor(http.MethodPost)) })
		synctest.Wait()
		start := time.Now()
		send(t, l, ticketFor(http.MethodGet))
		require.LessOrEqual(t, time.Since(start), time.Second)
		wg.Wait()
	})
}

// Calls that are given up in the queue use up no turns of their tenant.
func TestCancelledCallsUseNoTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, Every(1, 100*time.Millisecond))
		send(t, l, &Reservation{Ask: Ask{Tenant: "x"}})
		var wg sync.WaitGroup
		wait := func(ctx context.Context, tenant string, gone func()) {
			wg.Go(func() {
				r := &Reservation{Ask: Ask{Tenant: tenant}}
				if acquire(ctx, l, r) == nil {
					release(l, r, Outcome{Answered: true})
					gone()
				}
			})
			synctest.Wait()
		}
		nothing := func() {}
		wait(t.Context(), "a", nothing)
		ctx, cancel := context.WithCancel(t.Context())
		for range 500 {
			wait(ctx, "a", nothing)
		}
		cancel()
		synctest.Wait()
		require.Equal(t, 1, l.Status().Waiting)
		start := time.Now()
		var second time.Duration
		wait(t.Context(), "a", func() { second = time.Since(start) })
		for range 400 {
			wait(t.Context(), "b", nothing)
		}
		wg.Wait()
		require.LessOrEqual(t, second, 2*time.Second)
		require.Greater(t, time.Since(start), 40*time.Second, "the others wait for their turns")
	})
}

// A call that looks for its limits while they are changed waits for the new ones.
func TestLimitsThatChangeWhileACallLooksForThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looking, changed := make(chan struct{}), make(chan struct{})
		var stop atomic.Bool
		l := limiterOf(t, when(PerDay(1), func(*http.Request) bool {
			if stop.Swap(false) {
				close(looking)
				<-changed
			}
			return true
		}))
		send(t, l, ticketFor(http.MethodGet))
		stop.Store(true)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { send(t, l, ticketFor(http.MethodGet)) })
		<-looking
		require.NoError(t, l.SetLimits(PerSecond(100)))
		close(changed)
		wg.Wait()
		require.LessOrEqual(t, time.Since(start), time.Second)
	})
}

// A condition of a new limit that panics ends the calls that waited under the old one, and no other.
func TestPanickingConditionLeavesTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t, PerDay(1))
		send(t, l, ticketFor(http.MethodGet))
		recovered := make(chan any, 1)
		go func() {
			defer func() { recovered <- recover() }()
			_ = acquire(t.Context(), l, ticketFor(http.MethodGet))
		}()
		synctest.Wait()
		require.NoError(t, l.SetLimits(when(PerSecond(100), func(*http.Request) bool { panic("mine") })))
		require.Equal(t, "mine", <-recovered)
		require.Zero(t, l.Status().Waiting)
		require.NoError(t, l.SetLimits(PerSecond(100)))
		start := time.Now()
		send(t, l, ticketFor(http.MethodGet))
		require.LessOrEqual(t, time.Since(start), time.Second)
	})
}

// A call that costs more than a limit that was told goes when all of that is free.
func TestCostAboveAToldLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		send(t, l, &Reservation{}, "RateLimit-Limit", "10, 10;w=1", "RateLimit-Remaining", "9")
		require.Len(t, l.Status().Limits, 1)
		require.Equal(t, "10 per 1s", l.Status().Limits[0].Limit)
		start := time.Now()
		send(t, l, &Reservation{Ask: Ask{Cost: 20}})
		require.Positive(t, time.Since(start))
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
		require.LessOrEqual(t, rounds(l), uint64(10))
	})
}

// A call that costs more than a limit that was inferred goes when all of that is free.
func TestCostAboveALearntLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		answered := func(o Outcome) {
			r := &Reservation{}
			require.NoError(t, acquire(t.Context(), l, r))
			time.Sleep(10 * time.Millisecond)
			release(l, r, o)
		}
		for range 3 {
			answered(Outcome{Answered: true})
		}
		answered(Outcome{Kind: Throttled, Wait: 10 * time.Second, Answered: true})
		time.Sleep(11 * time.Second)
		answered(Outcome{Answered: true})
		limits := l.Status().Limits
		require.Len(t, limits, 1)
		require.Equal(t, Inferred, limits[0].Source)
		require.Less(t, limits[0].Max, 5)
		start := time.Now()
		send(t, l, &Reservation{Ask: Ask{Cost: 5}})
		require.Positive(t, time.Since(start))
		require.LessOrEqual(t, time.Since(start), 11*time.Second)
	})
}

// A waiter is under the fallback only until the store is asked again.
func TestStoreIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := limiterOf(t, PerDay(4).Shared(quotaFunc(func(context.Context, int) (time.Duration, error) {
			if asked++; asked == 1 {
				return 0, errStoreDown
			}
			return 0, nil
		})))
		start := time.Now()
		send(t, l, &Reservation{})
		send(t, l, &Reservation{})
		require.LessOrEqual(t, time.Since(start), quotaRetry+time.Second)
		require.Equal(t, 2, asked)
	})
}

// Permits that the store never gave are not given back to it: those of its fallback go with that.
func TestFallbackLeavesNoPermits(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(t *testing.T, l *Limiter, up func()){
		"one after the other": func(t *testing.T, l *Limiter, up func()) {
			for range 100 {
				r := &Reservation{}
				require.NoError(t, acquire(t.Context(), l, r))
				release(l, r, Outcome{Kind: Unsent})
				time.Sleep(19 * time.Millisecond)
			}
			up()
			time.Sleep(110 * time.Millisecond)
		},
		"at its end": func(t *testing.T, l *Limiter, up func()) {
			require.NoError(t, acquire(t.Context(), l, &Reservation{}))
			time.Sleep(quotaRetry - 100*time.Millisecond)
			for range 50 {
				r := &Reservation{}
				require.NoError(t, acquire(t.Context(), l, r))
				release(l, r, Outcome{Kind: Unsent})
			}
			up()
			time.Sleep(110 * time.Millisecond)
		},
		"all at once": func(t *testing.T, l *Limiter, up func()) {
			var tickets [100]Reservation
			for i := range tickets {
				require.NoError(t, acquire(t.Context(), l, &tickets[i]))
			}
			time.Sleep(1500 * time.Millisecond)
			for i := range tickets {
				release(l, &tickets[i], Outcome{Kind: Unsent})
			}
			up()
			time.Sleep(600 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down, given := true, 0
				l := limiterOf(t, PerMinute(1).Shared(quotaFunc(func(context.Context, int) (time.Duration, error) {
					switch {
					case down:
						return 0, errStoreDown
					case given > 0:
						return time.Minute, nil
					}
					given++
					return 0, nil
				})).FailOpen())
				outage(t, l, func() { down = false })
				require.Equal(t, 1, sendSome(t, l, 200))
				require.Equal(t, 1, given)
			})
		})
	}
}

// Permits of a store that were not used are good for a second from when it gave them, and do not add up over longer.
func TestUnusedPermitsDoNotAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		l := limiterOf(t, PerSecond(1).Shared(quotaFunc(func(context.Context, int) (time.Duration, error) {
			if d := time.Second - time.Since(last); d > 0 {
				return d, nil
			}
			last = time.Now()
			return 0, nil
		})))
		var tickets [10]Reservation
		for i := range tickets {
			require.NoError(t, acquire(t.Context(), l, &tickets[i]))
		}
		for i := range tickets {
			release(l, &tickets[i], Outcome{Kind: Unsent})
		}
		require.Equal(t, 1, sendSome(t, l, 20))
	})
}

// A permit that was not used may be used within a second, and is worth nothing afterwards.
func TestUnusedPermitIsGoodForASecond(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]int{quotaCredit / 2: 1, quotaCredit: 0, 5 * quotaCredit: 0} {
		synctest.Test(t, func(t *testing.T) {
			given := 0
			l := limiterOf(t, PerMinute(1).Shared(quotaFunc(func(context.Context, int) (time.Duration, error) {
				if given > 0 {
					return time.Minute, nil
				}
				given++
				return 0, nil
			})))
			r := &Reservation{}
			require.NoError(t, acquire(t.Context(), l, r))
			release(l, r, Outcome{Kind: Unsent})
			time.Sleep(after)
			require.Equal(t, want, sendSome(t, l, 5), after)
		})
	}
}
