package limiter

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// arrival is a call when the partner counted it.
type arrival struct {
	at    time.Duration
	cost  int
	write bool
}

type arrivals struct {
	mu  sync.Mutex
	all []arrival
}

func (a *arrivals) note(at time.Duration, r *Reservation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, arrival{at, r.cost(), r.Request.Method == http.MethodPost})
}

// counted returns those that count, in order.
func (a *arrivals) counted(counts func(arrival) bool) []arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Clone(a.all)
	if counts != nil {
		all = slices.DeleteFunc(all, func(x arrival) bool { return !counts(x) })
	}
	slices.SortStableFunc(all, func(x, y arrival) int { return cmp.Compare(x.at, y.at) })
	return all
}

// sliding returns an error where more than n came within any stretch of per.
func (a *arrivals) sliding(n int, per time.Duration, counts func(arrival) bool) error {
	all := a.counted(counts)
	first, sum := 0, 0
	for _, x := range all {
		for sum += x.cost; all[first].at+per <= x.at; first++ {
			sum -= all[first].cost
		}
		if sum > n {
			return fmt.Errorf("%d in %v at %v, %d are allowed", sum, per, x.at, n)
		}
	}
	return nil
}

// fixed returns an error where more than n came within a window of per that the first call after the one before opens.
func (a *arrivals) fixed(n int, per time.Duration, counts func(arrival) bool) error {
	end, sum := time.Duration(-1), 0
	for _, x := range a.counted(counts) {
		if x.at >= end {
			end, sum = x.at+per, 0
		}
		if sum += x.cost; sum > n {
			return fmt.Errorf("%d in a window of %v at %v, %d are allowed", sum, per, x.at, n)
		}
	}
	return nil
}

// bucket returns an error where a bucket of burst that fills at n per per ran dry.
func (a *arrivals) bucket(n int, per time.Duration, burst int, counts func(arrival) bool) error {
	tokens, last := float64(burst), time.Duration(0)
	for _, x := range a.counted(counts) {
		tokens = min(float64(burst), tokens+float64(n)*(x.at-last).Seconds()/per.Seconds())
		last = x.at
		if tokens -= float64(x.cost); tokens < -1e-3 {
			return fmt.Errorf("%.3f tokens short of a bucket of %d, %d per %v, at %v", -tokens, burst, n, per, x.at)
		}
	}
	return nil
}

// requireEmpty requires that nothing is left in the line.
func requireEmpty(t *testing.T, l *Limiter) {
	t.Helper()
	require.Zero(t, l.Status().Waiting)
	require.Empty(t, l.sched.queues)
	require.Empty(t, l.sched.tenants)
}

// A partner that counts a call at any time up to the slack after it was sent never counts more than the limits that it
// was known by, whatever the costs, priorities, tenants and calls that are given up or not sent; and no time is lost.
func TestStrictPartner(t *testing.T) {
	t.Parallel()
	for seed := range uint64(80) {
		synctest.Test(t, func(t *testing.T) { strictPartner(t, seed) })
	}
}

func strictPartner(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	costs := 1 + r.IntN(4)
	type check struct {
		broken   func(a *arrivals) error
		fastest  func(cost int) time.Duration
		describe string
	}
	var limits []Limit
	var checks []check
	for range 1 + r.IntN(3) {
		n, per := 2*costs+r.IntN(20), time.Duration(1+r.IntN(5))*time.Second
		if r.IntN(10) == 0 {
			n += 4100 // counted by slices of time
		}
		limit, kind := Every(n, per), r.IntN(3)
		var counts func(arrival) bool
		var broken func(a *arrivals) error
		switch kind {
		case 0:
			broken = func(a *arrivals) error { return a.sliding(n, per, counts) }
		case 1:
			limit = limit.Fixed()
			broken = func(a *arrivals) error { return a.fixed(n, per, counts) }
		case 2:
			burst := 3*costs + int(float64(n)/per.Seconds()/5) + 1 + r.IntN(10)
			limit = limit.Bucket(burst)
			broken = func(a *arrivals) error { return a.bucket(n, per, burst, counts) }
		}
		describe := limit.String()
		if seed%2 == 0 && r.IntN(2) == 0 {
			limit, describe = when(limit, Writes), describe+", writes"
			counts = func(x arrival) bool { return x.write }
		}
		limits = append(limits, limit)
		checks = append(
			checks,
			check{broken, func(cost int) time.Duration { return time.Duration(cost) * per / time.Duration(n) }, describe},
		)
	}
	if r.IntN(2) == 0 {
		limits = append(limits, Limit{N: 1 + r.IntN(8), Kind: InFlight})
	}
	l := limiterOf(t, limits...)
	time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
	start := time.Now()
	var a arrivals
	var wg sync.WaitGroup
	for i := range uint64(300) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, i+7))
			ms := func(most int) time.Duration { return time.Duration(r.IntN(most)) * time.Millisecond }
			time.Sleep(ms(10_000) / time.Duration(1+r.IntN(5)))
			k := ticketFor([]string{http.MethodGet, http.MethodPost}[r.IntN(2)])
			k.Cost, k.Level, k.Tenant = r.IntN(costs+1), 2-r.IntN(3), fmt.Sprint(r.IntN(4))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if r.IntN(4) == 0 {
				time.AfterFunc(ms(3000), cancel)
			}
			if err := acquire(ctx, l, k); err != nil {
				if ctx.Err() == nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				return
			}
			if r.IntN(8) == 0 {
				time.Sleep(ms(300))
				release(l, k, Outcome{Kind: Unsent})
				return
			}
			there, back := ms(100), ms(300)
			if r.IntN(2) == 0 {
				there, back = time.Millisecond, time.Millisecond
			}
			time.Sleep(there)
			a.note(time.Since(start), k)
			time.Sleep(back)
			release(l, k, Outcome{Answered: true})
		})
	}
	wg.Wait()
	took, optimum, total := time.Since(start), 10*time.Second, 0
	for _, x := range a.counted(nil) {
		total += x.cost
	}
	for _, c := range checks {
		require.NoError(t, c.broken(&a), "seed %d: %s", seed, c.describe)
		optimum = max(optimum, c.fastest(total))
	}
	require.LessOrEqual(t, took, 3*optimum+20*time.Second, "seed %d: %v", seed, limits)
	requireEmpty(t, l)
}

// Headers that make no sense, however many, stop no call and become no limit.
func TestSenselessHeadersStopNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var headers []string
		for i := range 500 {
			headers = append(
				headers,
				fmt.Sprintf("X-RateLimit-Limit-Q%d", i),
				"1e9",
				fmt.Sprintf("X-RateLimit-Remaining-Q%d", i),
				"0",
				fmt.Sprintf("X-RateLimit-Reset-Q%d", i),
				strings.Repeat("9", 1000),
			)
		}
		for _, v := range []string{"NaN", "-1", "1e400", "Inf", "0x10", ""} {
			headers = append(
				headers,
				"RateLimit-Limit",
				v,
				"RateLimit",
				`"a";r=`+v+`;t=`+v,
				"RateLimit-Policy",
				`"a";q=1;w=`+v,
			)
		}
		l := limiterOf(t)
		start := time.Now()
		for range 3 {
			send(t, l, &Reservation{Ask: Ask{Credential: 3, Method: http.MethodGet, Route: "/x", MaxPause: time.Minute}}, headers...)
		}
		require.Zero(t, time.Since(start))
		require.Empty(t, l.Status().Limits)
		require.Positive(t, l.Status().Ignored)
	})
}

// However many quotas the answers name, only a few are kept, and reading thousands takes no time to speak of.
func TestManyQuotasAreBounded(t *testing.T) {
	t.Parallel()
	l := limiterOf(t)
	start := time.Now()
	for round := range 3 {
		var headers []string
		for i := range 1000 {
			name := fmt.Sprintf("Acme%d-RateLimit-", 1000*round+i)
			headers = append(headers, name+"Limit", "100", name+"Remaining", "90", name+"Reset", "60")
		}
		send(t, l, &Reservation{}, headers...)
	}
	require.Less(t, time.Since(start), 5*time.Second)
	require.NotEmpty(t, l.Status().Limits)
	require.LessOrEqual(t, len(l.Status().Limits), maxAdvertised)
}

// A quota whose limit and window change from one answer to the next is the one that was told last.
func TestToldWindowMayChange(t *testing.T) {
	t.Parallel()
	for name, told := range map[string][]string{
		"second to hour": {"5000, 5000;w=1", "6000, 6000;w=3600"},
		"hour to second": {"6000, 6000;w=3600", "5000, 5000;w=1"},
		"large to small": {"5000, 5000;w=60", "1200, 1200;w=60"},
		"a millisecond":  {"5000, 5000;w=0.001", "5000, 5000;w=0.001", "6000, 6000;w=3600"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, after := range []time.Duration{0, 100 * time.Millisecond, time.Minute} {
				synctest.Test(t, func(t *testing.T) {
					l := limiterOf(t)
					time.Sleep(after)
					for _, limit := range told {
						send(t, l, &Reservation{}, "RateLimit-Limit", limit, "RateLimit-Remaining", "1000")
					}
					var n, seconds int
					_, err := fmt.Sscanf(told[len(told)-1], "%d, %d;w=%d", &n, &n, &seconds)
					require.NoError(t, err)
					limits := l.Status().Limits
					require.Len(t, limits, 1)
					require.Equal(t, Every(n, time.Duration(seconds)*time.Second).String(), limits[0].Limit)
					require.GreaterOrEqual(t, limits[0].Used, n-1000)
				})
			}
		})
	}
}

// A window that was told once holds for answers that do not name it again.
func TestToldWindowHoldsWithoutBeingNamed(t *testing.T) {
	t.Parallel()
	for _, reset := range [][]string{nil, {"RateLimit-Reset", "30"}} {
		synctest.Test(t, func(t *testing.T) {
			l := limiterOf(t)
			send(t, l, &Reservation{}, "RateLimit-Limit", "10, 10;w=60", "RateLimit-Remaining", "9")
			send(t, l, &Reservation{}, append([]string{"RateLimit-Limit", "10", "RateLimit-Remaining", "8"}, reset...)...)
			require.Equal(t, 8, sendSome(t, l, 50), reset)
		})
	}
}

// A window whose end was told soon at first, and an hour off in the next one, has not ended after a minute.
func TestToldWindowEndsWhenItIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		tell := func(left, reset int) {
			send(
				t,
				l,
				&Reservation{},
				"RateLimit-Limit",
				"20",
				"RateLimit-Remaining",
				fmt.Sprint(left),
				"RateLimit-Reset",
				fmt.Sprint(reset),
			)
		}
		tell(10, 5)
		time.Sleep(6 * time.Second)
		for i := range 10 {
			tell(19-i, 3600)
		}
		time.Sleep(61 * time.Second)
		require.LessOrEqual(t, sendSome(t, l, 20), 10)
	})
}

// A quota that is told to be used up for months is asked about again after an hour.
func TestToldForMonthsIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := limiterOf(t)
		ticket := func() *Reservation { return &Reservation{Ask: Ask{MaxPause: time.Minute}} }
		send(t, l, ticket(), "X-RateLimit-Limit", "100", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "8000000")
		requireTooLong(t, acquire(t.Context(), l, ticket()))
		time.Sleep(longestPause)
		send(t, l, ticket())
	})
}
