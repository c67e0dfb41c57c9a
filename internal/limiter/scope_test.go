package limiter

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Many credentials paused at once are bounded: beyond that everybody waits.
func TestPausesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := New()
		require.NoError(t, err)
		s := l.sched
		limited := func(n int, wait time.Duration) {
			ticket := &Reservation{Ask: Ask{Credential: uint64(n+10) | 1<<40}}
			require.NoError(t, acquire(t.Context(), l, ticket))
			release(l, ticket, Outcome{Kind: Throttled, Wait: wait, Scope: ScopeCredential})
		}
		for n := range maxScopes {
			limited(n, time.Second)
		}
		require.Len(t, s.scopes, maxScopes)
		time.Sleep(time.Second)
		limited(-1, time.Second) // the old ones make room
		require.Len(t, s.scopes, 1)
		for n := range maxScopes - 1 {
			limited(n, time.Minute)
		}
		limited(-2, 10*time.Second)
		require.Equal(t, 10*time.Second, (s.everyone.until - s.now()).Round(time.Second))
	})
}

// One credential may be paused twice, by its route too; the longer pause holds.
func TestTwoPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := New(PerSecond(1000))
		require.NoError(t, err)
		by := func() *Reservation { return &Reservation{Ask: Ask{Credential: 1, Route: "r"}} }
		a, b := by(), by()
		require.NoError(t, acquire(t.Context(), l, a))
		require.NoError(t, acquire(t.Context(), l, b))
		o := Outcome{Kind: Throttled, Wait: 2 * time.Second, Scope: ScopeCredential}
		release(l, a, o)
		waiting := make(chan time.Duration, 2)
		start := time.Now()
		for range 2 {
			go func() {
				w := by()
				if err := acquire(t.Context(), l, w); err != nil {
					t.Error(err)
				}
				waiting <- time.Since(start)
				release(l, w, Outcome{Answered: true})
			}()
		}
		synctest.Wait()
		o.Scope, o.Wait = ScopeRoute, 5*time.Second
		release(l, b, o)
		require.Equal(t, 5*time.Second, <-waiting)
		require.Equal(t, 5*time.Second, <-waiting)
		// A pause that ends sooner than the one there is changes nothing.
		c := by()
		require.NoError(t, acquire(t.Context(), l, c))
		d := by()
		require.NoError(t, acquire(t.Context(), l, d))
		release(l, c, Outcome{Kind: Throttled, Wait: 9 * time.Second})
		release(l, d, Outcome{Kind: Throttled, Wait: time.Second})
		require.Equal(t, 9*time.Second, (l.sched.everyone.until - l.sched.now()).Round(time.Millisecond))
	})
}

// A pause that grows turns away the calls that sat out the shorter one.
func TestPauseThatGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := New()
		require.NoError(t, err)
		ticket := func() *Reservation { return &Reservation{Ask: Ask{Credential: 1, MaxPause: time.Minute}} }
		a, b := ticket(), ticket()
		require.NoError(t, acquire(t.Context(), l, a))
		require.NoError(t, acquire(t.Context(), l, b))
		limited := func(ticket *Reservation, wait time.Duration) {
			release(l, ticket, Outcome{Kind: Throttled, Wait: wait, Scope: ScopeCredential})
		}
		limited(a, 10*time.Second)
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- acquire(t.Context(), l, ticket()) }()
		synctest.Wait()
		limited(b, 30*time.Minute)
		requireTooLong(t, <-done)
		require.Zero(t, time.Since(start))
		require.Zero(t, l.sched.waiting.Load())
	})
}
