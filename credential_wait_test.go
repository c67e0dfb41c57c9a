package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// hasty gives a credential that is good for two seconds, and does not say so.
type hasty struct{ asked *atomic.Int32 }

type stamp time.Time

func (s stamp) Apply(req *http.Request) error {
	req.Header["Authorization"] = []string{time.Time(s).Format(time.RFC3339Nano)}
	return nil
}

func (h hasty) Credential(context.Context) (belay.Credential, error) {
	h.asked.Add(1)
	return stamp(time.Now()), nil
}

// A credential of the user's own goes out fresh, however long the call has waited for the circuit or in the queue.
func TestCredentialIsFreshWhenItGoesOut(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]belay.Option{
		"circuit": nil, "in flight": {belay.WithMaxInFlight(1)},
		"queue": {belay.WithRateLimit(belay.Every(1, 3*time.Second))},
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			began := time.Now()
			var asked, stale atomic.Int32
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				at, _ := time.Parse(time.RFC3339Nano, req.Header.Get("Authorization"))
				if time.Since(at) > 2*time.Second {
					stale.Add(1)
				}
				time.Sleep(time.Second)
				if name == "circuit" && time.Since(began) < time.Minute {
					return testkit.Reply(503), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, append(opts, belay.WithAuth(hasty{&asked}))...)
			require.Empty(
				t,
				testkit.Work(20, 60, func(int) error { return get(t.Context(), c, "/", belay.Patience(time.Hour)) }),
			)
			require.Zero(t, stale.Load())
		})
	}
	testkit.Bubble(t, "without a wait it is asked for once", func(t *testing.T) {
		var asked atomic.Int32
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		c := newClient(t, rt, belay.WithAuth(hasty{&asked}))
		require.NoError(t, get(t.Context(), c, "/"))
		require.EqualValues(t, 1, asked.Load())
	})
	testkit.Bubble(t, "a refusal after a wait is not asked for again", func(t *testing.T) {
		var asked atomic.Int32
		rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
		c := newClient(t, rt, belay.WithAuth(withdrawn{&asked}), belay.WithRateLimit(belay.Every(1, 3*time.Second)))
		require.NoError(t, get(t.Context(), c, "/"))
		asked.Store(0)
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
		require.EqualValues(t, 2, asked.Load(), "before the wait and after it")
		require.Zero(t, c.Health().Limiter.Waiting)
	})
}

// withdrawn gives one credential, and then an error.
type withdrawn struct{ asked *atomic.Int32 }

var errWithdrawn = errors.New("the grant was withdrawn")

func (w withdrawn) Credential(context.Context) (belay.Credential, error) {
	if w.asked.Add(1) > 1 {
		return nil, errWithdrawn
	}
	return stamp(time.Now()), nil
}

// A partner that counts by customer behind one credential: the pause of one customer is not that of the others.
func TestScopeIntegration(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var refused sync.Map
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			customer := req.Header.Get("Customer")
			if _, again := refused.LoadOrStore(customer, true); !again && customer == "a" {
				return testkit.Reply(429, "Retry-After", "20"), nil
			}
			return testkit.Reply(200), nil
		})
		root := newClient(t, rt, belay.WithAuth(belay.Bearer(belay.NewSecret("of the app"))),
			belay.WithClassifier(func(a *belay.Attempt) belay.Verdict {
				v := belay.Classify(a)
				if v.Class == belay.ClassRateLimited {
					v.Scope = belay.ScopeIntegration
				}
				return v
			}))
		client := func(name string) *belay.Client {
			c, err := root.With(belay.WithIntegration(name), belay.WithHeader("Customer", name))
			require.NoError(t, err)
			return c
		}
		call := testkit.After(0, func() error { return get(t.Context(), client("a"), "/") })
		synctest.Wait()
		began := time.Now()
		for i := range 5 {
			require.NoError(t, get(t.Context(), client(fmt.Sprint("b", i)), "/"))
		}
		require.Zero(t, time.Since(began))
		took, err := call()
		require.NoError(t, err)
		require.GreaterOrEqual(t, took, 20*time.Second)
		require.Equal(t, "integration", belay.ScopeIntegration.String())
	})
}

// A slow token does not use up the patience that a call has with its partner, observed or not.
func TestCredentialsAreNotPatience(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]belay.Option{
		"observed": {belay.WithObserver(belay.ObserverFunc(func(context.Context, belay.Event) {}))}, "not observed": nil,
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			began := time.Now()
			c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
				if time.Since(began) < 40*time.Second {
					return testkit.Reply(503), nil
				}
				return testkit.Reply(200), nil
			}), append(opts, belay.WithAuth(authFunc(func(context.Context) (belay.Credential, error) {
				if time.Since(began) < 30*time.Second {
					time.Sleep(30 * time.Second)
				}
				return stamp(time.Now()), nil
			})))...)
			require.NoError(t, get(t.Context(), c, "/", belay.Patience(20*time.Second)))
		})
	}
}

// The time for which a call waits for its credential is one of its waits.
func TestCredentialsAreWaits(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "", func(t *testing.T) {
		var done []belay.CallDone
		c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return testkit.Reply(200), nil
		}), belay.WithAuth(authFunc(func(context.Context) (belay.Credential, error) {
			if len(done) < 1 {
				time.Sleep(3 * time.Second)
			}
			return stamp(time.Now()), nil
		})), belay.WithObserver(belay.ObserverFunc(func(_ context.Context, e belay.Event) {
			if e, ok := e.(belay.CallDone); ok {
				done = append(done, e)
			}
		})))
		for range 2 {
			require.NoError(t, get(t.Context(), c, "/"))
		}
		require.Equal(t, belay.Waits{Credential: 3 * time.Second}, done[0].Waits)
		require.Equal(t, 4*time.Second, done[0].Duration)
		require.Equal(t, 3*time.Second, done[0].Waits.Total())
		require.Zero(t, done[1].Waits)
	})
}
