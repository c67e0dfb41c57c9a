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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		require.Equal(t, []string{"belay.RotationRolledBack", "belay.CredentialRotated", "belay.RotationRolledBack"}, events)
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

// A signature is made of what is sent, anew for each attempt, after all waiting.
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
		_, err = belay.Put[belay.None](t.Context(), c, "/things", belay.Reader("text/plain", io.LimitReader(strings.NewReader("x"), 1)))
		require.ErrorIs(t, err, belay.ErrInvalid)
		require.Len(t, stamps, 2)
		failing := newClient(t, rt, belay.WithAuth(belay.Sign(func(*http.Request, []byte) error { return errors.New("no key") })))
		require.ErrorContains(t, get(t.Context(), failing, "/"), "no key")
	})
	_, err := belay.New("https://partner.test", belay.WithAuth(belay.Sign(nil)))
	require.ErrorContains(t, err, "Sign")
}

func fileStore(t *testing.T, dir string) *belay.FileStore {
	t.Helper()
	s, err := belay.NewFileStore(dir, belay.NewSecret(strings.Repeat("k", 32)))
	require.NoError(t, err)
	return s
}

// A token's file holds it whole, encrypted, for its owner alone; another key or a torn file is a clear error, and the file stays.
func TestFileStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := fileStore(t, dir)
	none, err := s.Load(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, none.Access.Reveal())
	want := belay.Token{Access: belay.NewSecret("access-secret"), Refresh: belay.NewSecret("refresh-secret"), Type: "MAC", Obtained: time.Now().Round(0), Expiry: time.Now().Add(time.Hour).Round(0)}
	_, err = s.Update(t.Context(), "acme", func(context.Context, belay.Token) (belay.Token, error) { return want, nil })
	require.NoError(t, err)
	got, err := fileStore(t, dir).Load(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"access-secret", "refresh-secret", "MAC"}, []string{got.Access.Reveal(), got.Refresh.Reveal(), got.Type})
	require.True(t, got.Expiry.Equal(want.Expiry) && got.Obtained.Equal(want.Obtained))
	files, err := filepath.Glob(filepath.Join(dir, "*.token"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NotContains(t, string(data), "secret")
	require.NotContains(t, files[0], "acme")
	other, err := belay.NewFileStore(dir, belay.NewSecret(strings.Repeat("x", 32)))
	require.NoError(t, err)
	_, err = other.Load(t.Context(), "acme")
	require.ErrorIs(t, err, belay.ErrTokenFile)
	for _, torn := range [][]byte{nil, data[:5], data[:20], data[:len(data)-1], append([]byte("x"), data...), []byte(strings.Repeat("z", 2<<20))} {
		require.NoError(t, os.WriteFile(files[0], torn, 0o600))
		_, err = s.Update(t.Context(), "acme", func(context.Context, belay.Token) (belay.Token, error) { return want, nil })
		require.ErrorIs(t, err, belay.ErrTokenFile)
		left, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, len(torn), len(left), "untouched")
	}
	// A file under another integration's name is not its token.
	require.NoError(t, os.WriteFile(files[0], data, 0o600))
	_, err = s.Update(t.Context(), "other", func(context.Context, belay.Token) (belay.Token, error) { return want, nil })
	require.NoError(t, err)
	all, err := filepath.Glob(filepath.Join(dir, "*.token"))
	require.NoError(t, err)
	for _, f := range all {
		if f != files[0] {
			require.NoError(t, os.WriteFile(f, data, 0o600))
		}
	}
	_, err = s.Load(t.Context(), "other")
	require.ErrorIs(t, err, belay.ErrTokenFile)
	// An error of the function leaves it as it is, and so does a context that ends while another holds the lock.
	_, err = s.Update(t.Context(), "acme", func(context.Context, belay.Token) (belay.Token, error) { return want, errors.New("mine") })
	require.ErrorContains(t, err, "mine")
	_, err = s.Update(t.Context(), "acme", func(ctx context.Context, _ belay.Token) (belay.Token, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := fileStore(t, dir).Update(ctx, "acme", func(context.Context, belay.Token) (belay.Token, error) { return want, nil })
		return want, err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for _, bad := range []string{"", "short", strings.Repeat("k", 33)} {
		_, err := belay.NewFileStore(dir, belay.NewSecret(bad))
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	_, err = belay.NewFileStore("", belay.NewSecret(strings.Repeat("k", 32)))
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// TestStoreChild is not a test: it is the process that TestStoreKilled starts and kills. It writes tokens one after the other.
func TestStoreChild(t *testing.T) {
	dir := os.Getenv("BELAY_STORE_CHILD")
	if dir == "" {
		t.Skip("run by TestStoreKilled")
	}
	s := fileStore(t, dir)
	for {
		_, err := s.Update(t.Context(), "acme", func(_ context.Context, have belay.Token) (belay.Token, error) {
			n := len(have.Access.Reveal()) % 5000
			value := strings.Repeat("a", n+1)
			return belay.Token{Access: belay.NewSecret(value), Refresh: belay.NewSecret(value)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Killed at any moment, a process leaves the old token or the new one, whole, and no lock.
func TestStoreKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := fileStore(t, dir)
	last := 0
	for i := range 20 {
		child := exec.Command(os.Args[0], "-test.run", "^TestStoreChild$")
		child.Env = append(os.Environ(), "BELAY_STORE_CHILD="+dir)
		require.NoError(t, child.Start())
		for changes := 0; changes <= i%4; { // so it is at work
			got, err := s.Load(t.Context(), "acme")
			require.NoError(t, err, "it is whole at every moment")
			if n := len(got.Access.Reveal()); n != last {
				changes, last = changes+1, n
			}
		}
		for range i { // and killed at another moment each time
			_, err := s.Load(t.Context(), "acme")
			require.NoError(t, err)
		}
		require.NoError(t, child.Process.Kill())
		_ = child.Wait()
		got, err := s.Update(t.Context(), "acme", func(_ context.Context, have belay.Token) (belay.Token, error) { return have, nil })
		require.NoError(t, err)
		require.Equal(t, got.Access.Reveal(), got.Refresh.Reveal(), "one token, not two halves")
		last = len(got.Access.Reveal())
	}
	require.Positive(t, last)
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(left), 3, "the token, its lock, and at most one that was not finished")
}

// A memory store waits for whoever updates the same key, by context, and forgets its locks.
func TestMemoryStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := belay.NewMemoryStore()
		n := 0
		failed := testkit.Work(50, 50, func(int) error {
			_, err := m.Update(t.Context(), "a", func(_ context.Context, have belay.Token) (belay.Token, error) {
				was := n
				time.Sleep(time.Millisecond)
				n = was + 1
				return have, nil
			})
			return err
		})
		require.Empty(t, failed)
		require.Equal(t, 50, n)
		_, err := m.Update(t.Context(), "a", func(ctx context.Context, have belay.Token) (belay.Token, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return m.Update(ctx, "a", func(context.Context, belay.Token) (belay.Token, error) { return have, nil })
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
