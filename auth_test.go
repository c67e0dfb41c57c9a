package belay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// vault is an authenticator of a user's own, with all that one can have: its credentials end, are replaced after a 401, and it is
// told what became of them.
type vault struct {
	wrong    error
	lifetime time.Duration

	mu   sync.Mutex
	n    int
	told []string
}

type vaultKey struct {
	n    int
	ends time.Time
}

func (k vaultKey) Apply(req *http.Request) error {
	req.Header.Set("X-Key", fmt.Sprint(k.n))
	return nil
}

func (k vaultKey) Expired() bool { return !k.ends.IsZero() && !time.Now().Before(k.ends) }

func (v *vault) Credential(context.Context) (belay.Credential, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	k := vaultKey{n: v.n}
	if v.lifetime > 0 {
		k.ends = time.Now().Add(v.lifetime)
	}
	return k, nil
}

func (v *vault) note(what string, c belay.Credential) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(v.told, fmt.Sprint(what, " ", c.(vaultKey).n))
}

func (v *vault) Check() error { return v.wrong }

func (v *vault) Reject(_ context.Context, c belay.Credential) bool {
	v.note("reject", c)
	return true
}

func (v *vault) Accepted(c belay.Credential) { v.note("accepted", c) }
func (v *vault) Rejected(c belay.Credential) { v.note("rejected", c) }

// A user's own authenticator has the powers that those of this module have, by itself and within a Rotating.
func TestAuthenticatorOfOnesOwn(t *testing.T) {
	t.Parallel()
	for _, layers := range []int{0, 1, 2} {
		within := fmt.Sprint(layers, " layers of Rotating")
		wrap := func(t *testing.T, v *vault) (a belay.Authenticator) {
			a = v
			for range layers {
				r, err := belay.NewRotating(a)
				require.NoError(t, err)
				a = r
			}
			return a
		}
		testkit.Bubble(t, "told, "+within, func(t *testing.T) {
			v := &vault{}
			refused := map[string]bool{"2": true, "3": true, "4": true}
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if refused[req.Header.Get("X-Key")] {
					return testkit.Reply(401), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithAuth(wrap(t, v)))
			require.NoError(t, get(t.Context(), c, "/"))
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			require.NoError(t, get(t.Context(), c, "/"))
			require.Equal(t, []string{"accepted 1", "reject 2", "rejected 3", "reject 4", "accepted 5"}, v.told)
		})
		testkit.Bubble(t, "expires, "+within, func(t *testing.T) {
			v := &vault{lifetime: time.Minute}
			var sent []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.Header.Get("X-Key"))
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithAuth(wrap(t, v)), belay.WithRateLimit(belay.PerHour(1)))
			require.NoError(t, get(t.Context(), c, "/"))
			require.NoError(t, get(t.Context(), c, "/")) // waits for an hour
			require.Equal(t, []string{"1", "3"}, sent, "the second has ended in the queue")
		})
	}
	_, err := belay.New("https://partner.test", belay.WithAuth(&vault{wrong: errors.New("the vault is sealed")}))
	require.ErrorContains(t, err, "WithAuth: the vault is sealed")
	require.ErrorIs(t, err, belay.ErrInvalid)
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil }))
	require.ErrorContains(t, get(t.Context(), c, "/", belay.Auth(&vault{wrong: errors.New("the vault is sealed")})), "Auth: the vault is sealed")
}
