package belay_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

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
		require.Empty(t, d.kinds())
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

// Within an overlap a new credential that can be refreshed is asked first, and is not taken back for a token that has ended.
func TestOverlapAsksTheRefresherFirst(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "refresher", func(t *testing.T) {
		i, d := newIssuer(time.Hour), &diary{}
		i.access["old"] = time.Time{}
		r := rotating(t, "old", belay.RotationOverlap(2*time.Hour), belay.RotationObserver(d, "acme"))
		c := newClient(t, i, belay.WithAuth(r))
		require.NoError(t, r.Rotate(t.Context(), app(t, i).ClientCredentials(""), func(ctx context.Context, a belay.Authenticator) error {
			return get(ctx, c, "/", belay.Auth(a))
		}))
		require.Equal(t, "Bearer access-1-secret", authorization(t, r))
		i.mu.Lock()
		delete(i.access, "access-1-secret")
		i.mu.Unlock()
		require.NoError(t, get(t.Context(), c, "/"))
		require.Equal(t, "Bearer access-2-secret", authorization(t, r))
		require.Equal(t, []string{"CredentialRotated"}, d.kinds())
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
