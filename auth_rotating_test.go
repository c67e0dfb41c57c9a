package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// A rotation tests the new credential, takes it, tests it again, and takes the old one back where that fails; calls
// meanwhile use the one or the other, never neither.
func TestRotate(t *testing.T) {
	t.Parallel()
	good := map[string]bool{"Bearer old": true, "Bearer new": true}
	var neither atomic.Int32
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		key := req.Header.Get("Authorization")
		if key != "Bearer old" && key != "Bearer new" && key != "Bearer bad" {
			neither.Add(1)
		}
		if !good[key] {
			return testkit.Reply(401), nil
		}
		return testkit.Reply(200), nil
	})
	bearer := func(s string) belay.Authenticator { return belay.Bearer(belay.NewSecret(s)) }
	testkit.Bubble(t, "rotate", func(t *testing.T) {
		var events []string
		log := belay.ObserverFunc(func(_ context.Context, e belay.Event) { events = append(events, fmt.Sprintf("%T", e)) })
		r, err := belay.NewRotating(bearer("old"), belay.RotationObserver(log, "acme"))
		require.NoError(t, err)
		c := newClient(t, rt, belay.WithAuth(r))
		check := func(ctx context.Context, a belay.Authenticator) error { return get(ctx, c, "/me", belay.Auth(a)) }
		stop := make(chan struct{})
		done := make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
					if err := get(t.Context(), c, "/"); err != nil {
						done <- err
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		}()
		time.Sleep(10 * time.Millisecond)
		err = r.Rotate(t.Context(), bearer("bad"), check)
		require.ErrorIs(t, err, belay.ErrAuth)
		require.ErrorContains(t, err, "not taken")
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, r.Rotate(t.Context(), bearer("new"), check))
		time.Sleep(10 * time.Millisecond)
		n := 0
		err = r.Rotate(t.Context(), bearer("old"), func(context.Context, belay.Authenticator) error {
			if n++; n == 2 {
				return errors.New("the second check failed")
			}
			return nil
		})
		require.ErrorContains(t, err, "taken back")
		close(stop)
		require.NoError(t, <-done)
		require.Zero(t, neither.Load())
		require.Equal(
			t,
			[]string{"belay.RotationRolledBack", "belay.CredentialRotated", "belay.RotationRolledBack"},
			events,
		)
		cred, err := r.Credential(t.Context())
		require.NoError(t, err)
		req, _ := http.NewRequest(http.MethodGet, "https://partner.test/", nil)
		require.NoError(t, cred.Apply(req))
		require.Equal(t, "Bearer new", req.Header.Get("Authorization"))
	})
	testkit.Bubble(t, "overlap", func(t *testing.T) {
		r, err := belay.NewRotating(bearer("old"), belay.RotationOverlap(time.Hour))
		require.NoError(t, err)
		require.NoError(t, r.Rotate(t.Context(), bearer("bad"), nil))
		c := newClient(t, rt, belay.WithAuth(r))
		require.NoError(t, get(t.Context(), c, "/"), "the old one is good too")
		require.NoError(t, r.Rotate(t.Context(), bearer("bad"), nil))
		time.Sleep(2 * time.Hour)
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
	})
	testkit.Bubble(t, "refused while it is checked", func(t *testing.T) {
		var events []string
		log := belay.ObserverFunc(func(_ context.Context, e belay.Event) { events = append(events, fmt.Sprintf("%T", e)) })
		r, err := belay.NewRotating(bearer("old"), belay.RotationOverlap(time.Hour), belay.RotationObserver(log, "acme"))
		require.NoError(t, err)
		c := newClient(t, rt, belay.WithAuth(r))
		n := 0
		err = r.Rotate(t.Context(), bearer("bad"), func(ctx context.Context, a belay.Authenticator) error {
			if n++; n == 1 {
				return nil
			}
			return get(ctx, c, "/") // which goes back to the old one
		})
		require.ErrorIs(t, err, belay.ErrAuth)
		require.Equal(t, []string{"belay.RotationRolledBack"}, events)
	})
	testkit.Bubble(t, "authenticators that cannot be compared", func(t *testing.T) {
		r, err := belay.NewRotating(incomparable{[]string{"old"}})
		require.NoError(t, err)
		c := newClient(t, rt, belay.WithAuth(r))
		require.NoError(t, get(t.Context(), c, "/"))
		require.NoError(t, r.Rotate(t.Context(), incomparable{[]string{"bad"}}, nil))
		require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
	})
	_, err := belay.NewRotating(nil)
	require.ErrorIs(t, err, belay.ErrInvalid)
	_, err = belay.NewRotating(bearer("a\n"), belay.RotationOverlap(-1))
	require.ErrorContains(t, err, "-1ns")
	r, err := belay.NewRotating(bearer("a"))
	require.NoError(t, err)
	require.ErrorIs(t, r.Rotate(t.Context(), nil, nil), belay.ErrInvalid)
	var none *belay.Rotating
	require.ErrorIs(t, none.Rotate(t.Context(), bearer("a"), nil), belay.ErrInvalid)
}

// incomparable is an authenticator of which == panics.
type incomparable struct{ keys []string }

func (i incomparable) Credential(ctx context.Context) (belay.Credential, error) {
	return belay.Bearer(belay.NewSecret(i.keys[0])).Credential(ctx)
}

func bearer(s string) belay.Authenticator { return belay.Bearer(belay.NewSecret(s)) }

func rotating(t *testing.T, s string, opts ...belay.RotatingOption) *belay.Rotating {
	t.Helper()
	r, err := belay.NewRotating(bearer(s), opts...)
	require.NoError(t, err)
	return r
}

// A panic of the second check takes the old credential back, and lets the next rotation begin.
func TestRotateCheckPanics(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "panic", func(t *testing.T) {
		r := rotating(t, "old")
		n := 0
		require.PanicsWithValue(t, "check", func() {
			_ = r.Rotate(t.Context(), bearer("new"), func(context.Context, belay.Authenticator) error {
				if n++; n == 2 {
					panic("check")
				}
				return nil
			})
		})
		require.Equal(t, 2, n)
		require.Equal(t, "Bearer old", authorization(t, r))
		require.NoError(t, r.Rotate(t.Context(), bearer("new"), nil))
		require.Equal(t, "Bearer new", authorization(t, r))
	})
}

// With a context that has ended nothing is rotated.
func TestRotateWithAnEndedContext(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d := &diary{}
		r := rotating(t, "old", belay.RotationObserver(d, "acme"))
		for range 50 { // as a select among two that are ready draws lots
			err := r.Rotate(ctx, bearer("new"), func(context.Context, belay.Authenticator) error {
				t.Error("checked")
				return nil
			})
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Equal(t, "Bearer old", authorization(t, r))
		require.Empty(t, d.Kinds())
	})
}

// A credential is not rotated to itself, nor to none.
func TestRotateToItself(t *testing.T) {
	t.Parallel()
	r := rotating(t, "old")
	var none *belay.Rotating
	for _, next := range []belay.Authenticator{r, none, &belay.Rotating{}} {
		require.ErrorIs(t, r.Rotate(t.Context(), next, nil), belay.ErrInvalid)
	}
	require.Equal(t, "Bearer old", authorization(t, r))
	_, err := belay.NewRotating(none)
	require.ErrorIs(t, err, belay.ErrInvalid)
	_, err = belay.New("https://partner.test", belay.WithAuth(none))
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// Within an overlap a new credential that can be refreshed is asked first, and is not taken back for a token
// that has ended.
func TestOverlapAsksTheRefresherFirst(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "refresher", func(t *testing.T) {
		i, d := testkit.NewIssuer(time.Hour), &diary{}
		i.Access["old"] = time.Time{}
		r := rotating(t, "old", belay.RotationOverlap(2*time.Hour), belay.RotationObserver(d, "acme"))
		c := newClient(t, i, belay.WithAuth(r))
		require.NoError(
			t,
			r.Rotate(t.Context(), app(t, i).ClientCredentials(""), func(ctx context.Context, a belay.Authenticator) error {
				return get(ctx, c, "/", belay.Auth(a))
			}),
		)
		require.Equal(t, "Bearer access-1-secret", authorization(t, r))
		i.Mu.Lock()
		delete(i.Access, "access-1-secret")
		i.Mu.Unlock()
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, "Bearer access-2-secret", authorization(t, r))
		require.Equal(t, []string{"CredentialRotated"}, d.Kinds())
	})
	testkit.Bubble(t, "a key", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") == "Bearer old" {
				return testkit.Reply(200), nil
			}
			return testkit.Reply(401), nil
		})
		r := rotating(t, "old", belay.RotationOverlap(time.Hour))
		require.NoError(t, r.Rotate(t.Context(), bearer("new"), nil))
		require.NoError(t, get(t.Context(), newClient(t, rt, belay.WithAuth(r)), "/"))
		require.Equal(t, "Bearer old", authorization(t, r))
	})
}

// watched is a key that learns how the partner answered it.
type watched struct {
	belay.Authenticator
	accepted, rejected int
}

func (w *watched) Accepted(belay.Credential) { w.accepted++ }
func (w *watched) Rejected(belay.Credential) { w.rejected++ }

// A key that is no longer in use when its 401 comes is told of it.
func TestRetiredKeyIsToldOfItsRejection(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "a rotation meanwhile", func(t *testing.T) {
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			if req.Header.Get("Authorization") == "Bearer old" {
				return testkit.Reply(401), nil
			}
			return testkit.Reply(200), nil
		})
		old, next := &watched{Authenticator: bearer("old")}, &watched{Authenticator: bearer("new")}
		r, err := belay.NewRotating(old)
		require.NoError(t, err)
		c := newClient(t, rt, belay.WithAuth(r))
		done := make(chan error, 1)
		go func() { done <- get(t.Context(), c, "/") }()
		synctest.Wait()
		require.NoError(t, r.Rotate(t.Context(), next, nil))
		require.NoError(t, <-done)
		require.Equal(t, [4]int{0, 1, 1, 0}, [4]int{old.accepted, old.rejected, next.accepted, next.rejected})
	})
}

// noCredential returns neither a credential nor an error.
type noCredential struct{}

func (noCredential) Credential(context.Context) (belay.Credential, error) { return nil, nil }

// An authenticator that returns no credential fails the call, within a Rotating as without.
func TestNoCredentialIsAnError(t *testing.T) {
	t.Parallel()
	r, err := belay.NewRotating(noCredential{})
	require.NoError(t, err)
	rt := testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
	for _, a := range []belay.Authenticator{noCredential{}, r} {
		require.ErrorContains(t, get(t.Context(), newClient(t, rt, belay.WithAuth(a)), "/"), "no credential")
	}
}
