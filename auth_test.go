package belay_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/testkit"
)

// vault is an authenticator of a user's own, with all that one can have: its credentials end, are replaced after
// a 401, and it is told what became of them.
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

// onlyObserves is an authenticator that cannot replace a credential.
type onlyObserves struct{ v *vault }

func (o onlyObserves) Credential(ctx context.Context) (belay.Credential, error) {
	return o.v.Credential(ctx)
}
func (o onlyObserves) Accepted(c belay.Credential) { o.v.Accepted(c) }
func (o onlyObserves) Rejected(c belay.Credential) { o.v.Rejected(c) }

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
	for _, layers := range []int{0, 1} {
		testkit.Bubble(t, fmt.Sprint("only observes, ", layers, " layers"), func(t *testing.T) {
			v := &vault{}
			var auth belay.Authenticator = onlyObserves{v}
			if layers > 0 {
				r, err := belay.NewRotating(auth)
				require.NoError(t, err)
				auth = r
			}
			status := 401
			c := newClient(
				t,
				testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(status), nil }),
				belay.WithAuth(auth),
			)
			require.ErrorIs(t, get(t.Context(), c, "/"), belay.ErrAuth)
			status = 200
			require.NoError(t, get(t.Context(), c, "/"))
			require.Equal(t, []string{"rejected 1", "accepted 2"}, v.told)
		})
	}
	_, err := belay.New("https://partner.test", belay.WithAuth(&vault{wrong: errors.New("the vault is sealed")}))
	require.ErrorContains(t, err, "WithAuth: the vault is sealed")
	require.ErrorIs(t, err, belay.ErrInvalid)
	c := newClient(t, testkit.RoundTrip(func(*http.Request) (*http.Response, error) { return testkit.Reply(200), nil }))
	require.ErrorContains(
		t,
		get(t.Context(), c, "/", belay.Auth(&vault{wrong: errors.New("the vault is sealed")})),
		"Auth: the vault is sealed",
	)
}

// Sign signs each attempt anew, after all waiting, and over the request as it is sent.
func TestSign(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "sign", func(t *testing.T) {
		var stamps []string
		n := 0
		rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
			n++
			mac := hmac.New(sha256.New, []byte("key"))
			data := make([]byte, 100)
			k, _ := req.Body.Read(data)
			fmt.Fprintf(mac, "%s %s %s %s", req.Method, req.URL.Path, req.Header.Get("X-Time"), data[:k])
			if req.Header.Get("X-Signature") != hex.EncodeToString(mac.Sum(nil)) {
				return testkit.Reply(400), nil
			}
			stamps = append(stamps, req.Header.Get("X-Time"))
			if n == 1 {
				return testkit.Reply(503, "Retry-After", "2"), nil
			}
			return testkit.Reply(200), nil
		})
		c := newClient(t, rt, belay.WithAuth(belay.Sign(func(req *http.Request, body []byte) error {
			now := fmt.Sprint(time.Now().UnixMilli())
			mac := hmac.New(sha256.New, []byte("key"))
			fmt.Fprintf(mac, "%s %s %s %s", req.Method, req.URL.Path, now, body)
			req.Header.Set("X-Time", now)
			req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
			return nil
		})))
		_, err := belay.Put[belay.None](t.Context(), c, "/things", map[string]int{"a": 1})
		require.NoError(t, err)
		require.Len(t, stamps, 2)
		require.NotEqual(t, stamps[0], stamps[1], "fresh")
		// A body that can be read only once.
		_, err = belay.Put[belay.None](
			t.Context(),
			c,
			"/things",
			belay.ReaderBody("text/plain", io.LimitReader(strings.NewReader("x"), 1)),
		)
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.Len(t, stamps, 2)
		failing := newClient(
			t,
			rt,
			belay.WithAuth(belay.Sign(func(*http.Request, []byte) error { return errors.New("no key") })),
		)
		require.ErrorContains(t, get(t.Context(), failing, "/"), "no key")
	})
	_, err := belay.New("https://partner.test", belay.WithAuth(belay.Sign(nil)))
	require.ErrorContains(t, err, "Sign")
}

// inQuery signs in the query, in place.
func inQuery(n *atomic.Int32) func(*http.Request) {
	return func(req *http.Request) {
		q := req.URL.Query()
		q.Add("sig", fmt.Sprintf("signature-%d-secret", n.Add(1)))
		req.URL.RawQuery = q.Encode()
		req.Header.Add("X-Sig", "of "+req.URL.Path)
	}
}

// byOwn is an authenticator of the user's that changes a request in place.
type byOwn struct{ f func(*http.Request) }

func (b *byOwn) Credential(context.Context) (belay.Credential, error) { return b, nil }

func (b *byOwn) Apply(req *http.Request) error { b.f(req); return nil }

func inPlace() map[string]belay.Authenticator {
	var a, b atomic.Int32
	sign := inQuery(&a)
	return map[string]belay.Authenticator{
		"Sign": belay.Sign(func(req *http.Request, _ []byte) error { sign(req); return nil }),
		"own":  &byOwn{inQuery(&b)},
	}
}

// A credential that changes a request in place changes its attempt's alone: each is signed by itself, and the
// caller's stays.
func TestSignInPlace(t *testing.T) {
	t.Parallel()
	for name, auth := range inPlace() {
		testkit.Bubble(t, name, func(t *testing.T) {
			var seen []string
			d := &diary{}
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				seen = append(seen, req.URL.RawQuery+" "+strings.Join(req.Header["X-Sig"], ","))
				if len(seen) < 3 {
					return testkit.Reply(503), nil
				}
				return testkit.JSONReply(
					400,
					map[string]string{"message": "bad signature " + req.URL.Query().Get("sig") + " at " + req.URL.String()},
				), nil
			})
			c := newClient(t, rt, belay.WithAuth(auth), belay.WithObserver(d))
			req, err := c.NewRequest(t.Context(), http.MethodGet, "/x?a=1", nil)
			require.NoError(t, err)
			_, err = c.Do(req)
			require.Equal(t, []string{
				"a=1&sig=signature-1-secret of /x", "a=1&sig=signature-2-secret of /x", "a=1&sig=signature-3-secret of /x",
			}, seen)
			require.Equal(t, "https://partner.test/x?a=1", req.URL.String())
			require.Empty(t, req.Header["X-Sig"])
			require.ErrorContains(t, err, "bad signature REDACTED")
			require.NotContains(t, shown(err)+d.Text(), "-secret")
		})
	}
}

// Each hop of a redirect is signed by itself, and one that leads elsewhere is not.
func TestSignInPlaceAndRedirects(t *testing.T) {
	t.Parallel()
	for name, auth := range inPlace() {
		testkit.Bubble(t, name, func(t *testing.T) {
			var seen []string
			rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				seen = append(
					seen,
					fmt.Sprint(req.URL, " ", strings.Join(req.Header["X-Sig"], ","), " ", req.Header.Get("Referer")),
				)
				switch req.URL.Path {
				case "/a":
					return testkit.Reply(307, "Location", "/b?page=2"), nil
				case "/b":
					return testkit.Reply(302, "Location", "https://other.test/c?sig="+req.URL.Query().Get("sig")), nil
				}
				return testkit.Reply(200), nil
			})
			c := newClient(t, rt, belay.WithAuth(auth), belay.WithRedirects(belay.RedirectAny))
			require.NoError(t, get(t.Context(), c, "/a"))
			require.Equal(t, []string{
				"https://partner.test/a?sig=signature-1-secret of /a ",
				"https://partner.test/b?page=2&sig=signature-2-secret of /b https://partner.test/a",
				"https://other.test/c  ",
			}, seen)
		})
	}
}

type failing struct{ err error }

func (f failing) Credential(context.Context) (belay.Credential, error) { return nil, f.err }

// An authenticator that fails ends the call as ErrAuth, unless the caller gave up.
func TestAuthenticatorFails(t *testing.T) {
	t.Parallel()
	rt := testkit.Script(func(int, *http.Request) (*http.Response, error) { return testkit.Reply(200), nil })
	for _, why := range []error{nil, errors.New("the vault is sealed")} {
		c := newClient(t, rt, belay.WithAuth(failing{why}))
		err := get(t.Context(), c, "/")
		require.ErrorIs(t, err, belay.ErrAuth)
		if why != nil {
			require.ErrorIs(t, err, why)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := get(ctx, newClient(t, rt, belay.WithAuth(failing{context.Canceled})), "/")
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, belay.ErrAuth)
	require.Empty(t, rt.Log)
}

// A policy that wraps a transport by itself has no origin to keep a credential for.
func TestWrapSendsNoCredential(t *testing.T) {
	t.Parallel()
	var got []string
	rt := testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("Authorization")+req.Header.Get("X-Secret"))
		return stub{}.RoundTrip(req)
	})
	hc := &http.Client{Transport: belay.Chain(rt, belay.RetryPolicy{}.Wrap)}
	ctx := belay.CallContext(
		t.Context(),
		belay.Auth(belay.Bearer(belay.NewSecret("token"))),
		belay.Header("X-Secret", "s"),
	)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://anywhere.test/", nil)
	require.NoError(t, err)
	resp, err := hc.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, []string{""}, got)
}

// A limit of one customer stops no other one, whatever kind of value its authenticator is; it stops its own calls, those
// of clients that were made from its client too.
func TestPausesByCredentialOfAnyKind(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(key string) belay.Authenticator{
		"a pointer":                func(key string) belay.Authenticator { return bearer(key) },
		"not comparable":           func(key string) belay.Authenticator { return incomparable{[]string{key}} },
		"not comparable, but told": func(key string) belay.Authenticator { return identified{incomparable{[]string{key}}} },
	} {
		testkit.Bubble(t, name, func(t *testing.T) {
			limited := true
			root := newClient(t, testkit.RoundTrip(func(req *http.Request) (*http.Response, error) {
				if limited && req.Header.Get("Authorization") == "Bearer a" {
					limited = false
					return testkit.Reply(429, "Retry-After", "17"), nil
				}
				return testkit.Reply(200), nil
			}))
			with := func(c *belay.Client, opts ...belay.Option) *belay.Client {
				made, err := c.With(opts...)
				require.NoError(t, err)
				return made
			}
			a, b := with(root, belay.WithAuth(of("a"))), with(root, belay.WithAuth(of("b")))
			took := func(c *belay.Client, opts ...belay.CallOption) time.Duration {
				began := time.Now()
				require.NoError(t, get(t.Context(), c, "/", opts...))
				return time.Since(began)
			}
			require.ErrorIs(t, get(t.Context(), a, "/", belay.MaxAttempts(1)), belay.ErrRateLimited)
			require.Zero(t, took(b), "another customer")
			if name == "not comparable, but told" {
				require.Zero(t, took(root, belay.Auth(of("b"))))
			}
			time.Sleep(7 * time.Second)
			require.Equal(t, 10*time.Second, took(with(a, belay.WithIntegration("a"))), "made from its client")
		})
	}
}

// identified is an authenticator that cannot be compared, and tells what it is.
type identified struct{ incomparable }

func (i identified) CredentialID() string { return "key " + i.keys[0] }
