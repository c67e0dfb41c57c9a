package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// hanging returns a partner that answers after takes while up is true, and otherwise never.
func hanging(up *atomic.Bool, takes time.Duration) *testkit.Scripted {
	return testkit.Script(func(_ int, req *http.Request) (*http.Response, error) {
		var answers <-chan time.Time
		if up.Load() {
			answers = time.After(takes)
		}
		select {
		case <-answers:
			return testkit.Reply(200), nil
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	})
}

// A partner that hangs is seen, whoever's deadline ends the attempt.
func TestPartnerThatHangs(t *testing.T) {
	t.Parallel()
	type bound struct {
		deadline time.Duration // of the call's context
		opts     []belay.Option
	}
	inAll := belay.WithTimeout(3 * time.Second)
	for name, b := range map[string]bound{
		"a context's deadline of 2 s":       {deadline: 2 * time.Second},
		"a context's deadline of 10 s":      {deadline: 10 * time.Second},
		"WithTimeout":                       {opts: []belay.Option{inAll}},
		"WithTimeout, no attempt timeout":   {opts: []belay.Option{inAll, belay.WithAttemptTimeout(0)}},
		"WithTimeout below attempt timeout": {opts: []belay.Option{inAll, belay.WithAttemptTimeout(time.Minute)}},
		"the attempt timeout":               {opts: []belay.Option{belay.WithAttemptTimeout(2 * time.Second)}},
		"no limits":                         {2 * time.Second, []belay.Option{belay.Without(belay.LayerLimits)}},
		"an attempt timeout below a second": {opts: []belay.Option{
			belay.WithAttemptTimeout(200 * time.Millisecond), belay.WithTimeout(400 * time.Millisecond),
		}},
	} {
		for _, raw := range []bool{false, true} {
			testkit.Bubble(t, fmt.Sprint(name, " raw ", raw), func(t *testing.T) {
				var up atomic.Bool
				rt := hanging(&up, 0)
				c := newClient(t, rt, b.opts...)
				for range 30 {
					ctx := t.Context()
					if b.deadline > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, b.deadline)
						defer cancel()
					}
					var err error
					if raw {
						req, _ := c.NewRequest(ctx, "GET", "/", nil)
						_, err = c.HTTPClient().Do(req)
						var ne net.Error
						require.ErrorAs(t, err, &ne)
						if !errors.Is(err, belay.ErrCircuitOpen) {
							require.True(t, ne.Timeout(), "%v", err)
							require.True(t, os.IsTimeout(err), "%v", err)
						}
					} else {
						err = get(ctx, c, "/")
						require.ErrorIs(t, err, belay.ErrUnavailable)
						if !errors.Is(err, belay.ErrCircuitOpen) {
							require.True(t, os.IsTimeout(err), "%v", err)
						}
					}
					if ctx.Err() != nil {
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				}
				require.Less(t, len(rt.Log), 20)
				require.Equal(t, belay.HealthDown, c.Health().State)
				up.Store(true)
				time.Sleep(10 * time.Second)
				require.NoError(t, get(t.Context(), c, "/"))
				require.Equal(t, belay.HealthUp, c.Health().State)
			})
		}
	}
}

// Calls with little time, calls that are canceled and calls to a partner that is known to be slow prove nothing.
func TestHangsThatProveNothing(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(ctx context.Context) (context.Context, context.CancelFunc){
		"50 ms": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		},
		"less than three medians": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 11*time.Second)
		},
		"a cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Second, cancel)
			return ctx, cancel
		},
		"a deadline in the past": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Hour))
		},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			var up atomic.Bool
			up.Store(true)
			c := newClient(t, hanging(&up, 4*time.Second))
			for range 5 {
				require.NoError(t, get(t.Context(), c, "/"))
			}
			up.Store(false)
			for range 30 {
				ctx, cancel := ends(t.Context())
				err := get(ctx, c, "/")
				require.Error(t, err)
				require.NotErrorIs(t, err, belay.ErrCircuitOpen)
				if name == "a cancel" {
					require.ErrorIs(t, err, context.Canceled)
					require.NotErrorIs(t, err, belay.ErrUnavailable)
				}
				cancel()
			}
			require.Equal(t, belay.HealthUp, c.Health().State)
		})
	}
}

// A probe of a partner that hangs costs little of the time in which it may come back.
func TestProbesOfAPartnerThatHangs(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var up atomic.Bool
		c := newClient(t, hanging(&up, 50*time.Millisecond), belay.WithAttemptTimeout(5*time.Second))
		_ = testkit.Work(8, 8, func(int) error { return get(t.Context(), c, "/", belay.MaxAttempts(1)) })
		for range 20 {
			call := testkit.After(0, func() error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) })
			time.Sleep(time.Minute)
			up.Store(true)
			took, err := call()
			require.NoError(t, err)
			require.LessOrEqual(t, took-time.Minute, 7500*time.Millisecond)
			up.Store(false)
			_ = testkit.Work(8, 8, func(int) error { return get(t.Context(), c, "/", belay.MaxAttempts(1)) })
		}
	})
}
