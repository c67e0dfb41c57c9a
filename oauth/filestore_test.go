package oauth_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	"github.com/belay-go/belay/oauth"
)

// keep stores t.
func keep(ctx context.Context, s oauth.Store, key string, t oauth.Token) error {
	_, err := s.Update(ctx, key, func(context.Context, oauth.Token) (oauth.Token, error) { return t, nil })
	return err
}

// only returns the one file in dir that matches.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// What a process that was killed has left, or somebody has put there, decides nothing of a token's file.
func TestFileStoreLeftovers(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(t *testing.T, path, victim string){
		"for everybody": func(t *testing.T, path, _ string) {
			require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
			require.NoError(t, os.Chmod(path, 0o666))
		},
		"a link": func(t *testing.T, path, victim string) { require.NoError(t, os.Symlink(victim, path)) },
		"a link to nothing": func(t *testing.T, path, victim string) {
			require.NoError(t, os.Symlink(victim+"-not-there", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			victim := filepath.Join(t.TempDir(), "victim")
			require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o644))
			s := fileStore(t, dir)
			require.NoError(t, keep(t.Context(), s, "acme", aToken("one", "r", time.Time{})))
			path := only(t, dir, "*.token")
			leave(t, path+".new", victim)
			require.NoError(t, keep(t.Context(), s, "acme", aToken("two", "r", time.Time{})))
			info, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode(), "a plain file, for its owner alone")
			data, err := os.ReadFile(victim)
			require.NoError(t, err)
			require.Equal(t, "precious", string(data))
			require.NoFileExists(t, victim+"-not-there")
			got, err := s.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Equal(t, "two", got.Access.Reveal())
		})
	}
}

// A directory that everybody can write to is refused; one that is missing is made for its owner alone.
func TestFileStoreDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	fileStore(t, dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = oauth.NewFileStore(dir, belay.NewSecret(strings.Repeat("k", 32)))
	require.ErrorIs(t, err, belay.ErrInvalid)
	require.ErrorContains(t, err, dir)
}

// After a lock's file was deleted under its holder, those that come go one at a time all the same.
func TestFileStoreLockIsDeleted(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "deleted", func(t *testing.T) {
		dir := t.TempDir()
		var in, most, done atomic.Int32
		update := func() error {
			_, err := fileStore(
				t,
				dir,
			).Update(t.Context(), "acme", func(_ context.Context, have oauth.Token) (oauth.Token, error) {
				most.Store(max(most.Load(), in.Add(1)))
				time.Sleep(50 * time.Millisecond)
				in.Add(-1)
				done.Add(1)
				return have, nil
			})
			return err
		}
		holder := make(chan error, 1)
		held, end := make(chan struct{}), make(chan struct{})
		go func() {
			_, err := fileStore(
				t,
				dir,
			).Update(t.Context(), "acme", func(_ context.Context, have oauth.Token) (oauth.Token, error) {
				close(held)
				<-end
				return have, nil
			})
			holder <- err
		}()
		<-held
		waits := make(chan error, 1)
		go func() { waits <- update() }()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		require.Zero(t, in.Load(), "it waits")
		require.NoError(t, os.Remove(only(t, dir, "*.lock")))
		require.Empty(t, testkit.Work(4, 4, func(int) error { return update() }))
		require.NoError(t, <-waits)
		close(end)
		require.NoError(t, <-holder)
		require.Equal(t, int32(1), most.Load())
		require.Equal(t, int32(5), done.Load())
	})
}

// A token that could not be read again is not stored, by any store.
func TestTokensThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, store := range []oauth.Store{fileStore(t, dir), oauth.NewMemoryStore()} {
		o := app(t, testkit.NewIssuer(time.Hour), func(cfg *oauth.Config) { cfg.Store = store })
		require.NoError(
			t,
			o.Put(
				t.Context(),
				"acme",
				oauth.Token{Access: belay.NewSecret(strings.Repeat("<", 64<<10)), Refresh: belay.NewSecret("é")},
			),
		)
		for _, bad := range []oauth.Token{
			{Access: belay.NewSecret(strings.Repeat("<", 64<<10+1))},
			{Access: belay.NewSecret("abc\xff\xfedef")},
			{Access: belay.NewSecret("a"), Refresh: belay.NewSecret(strings.Repeat("<", 64<<10+1))},
			{Access: belay.NewSecret("a"), Refresh: belay.NewSecret("\xff\xff\xff\xff")},
		} {
			err := o.Put(t.Context(), "acme", bad)
			require.ErrorIs(t, err, belay.ErrInvalid)
			require.NotContains(t, err.Error(), "<<<")
		}
		kept, err := store.Load(t.Context(), "acme")
		require.NoError(t, err)
		require.Len(t, kept.Access.Reveal(), 64<<10)
		require.Equal(t, "é", kept.Refresh.Reveal())
	}
}

// The zero Token takes away what there was, the file too.
func TestZeroTokenRemoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, store := range []oauth.Store{fileStore(t, dir), oauth.NewMemoryStore()} {
		require.NoError(t, keep(t.Context(), store, "acme", aToken("a", "r", time.Time{})))
		for range 2 { // and taking away what is not there is no error
			require.NoError(t, keep(t.Context(), store, "acme", oauth.Token{}))
			kept, err := store.Load(t.Context(), "acme")
			require.NoError(t, err)
			require.Empty(t, kept.Access.Reveal()+kept.Refresh.Reveal())
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.token*"))
	require.NoError(t, err)
	for _, path := range left {
		require.True(t, strings.HasSuffix(path, ".lock"), path)
	}
}

// A file that cannot be read is named, and that is not trouble that passes.
func TestTokenFileIsNamed(t *testing.T) {
	t.Parallel()
	testkit.Bubble(t, "torn", func(t *testing.T) {
		dir, i := t.TempDir(), testkit.NewIssuer(time.Hour)
		o := app(t, i, func(cfg *oauth.Config) { cfg.Store = fileStore(t, dir) })
		seeded(t, o, "acme", past())
		path := only(t, dir, "*.token")
		require.NoError(t, os.WriteFile(path, []byte("torn"), 0o600))
		for _, err := range []error{
			o.Put(t.Context(), "acme", aToken("a", "r", time.Time{})),
			get(t.Context(), newClient(t, i, belay.WithAuth(o.RefreshToken("acme"))), "/"),
		} {
			require.ErrorIs(t, err, oauth.ErrUnreadable)
			require.NotErrorIs(t, err, belay.ErrTransient)
			require.ErrorContains(t, err, path)
		}
		require.Zero(t, i.Asked())
	})
}

// A store prints nothing of its key nor of its tokens, by any verb, by itself or within others.
func TestFileStoreDoesNotPrint(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef0123456789ABCDEF"
	s, err := oauth.NewFileStore(t.TempDir(), belay.NewSecret(key))
	require.NoError(t, err)
	require.NoError(t, keep(t.Context(), s, "acme", aToken("access-x-secret", "refresh-x-secret", time.Time{})))
	o := app(t, testkit.RoundTrip(nil), func(cfg *oauth.Config) { cfg.Store = s })
	cfg := oauth.Config{TokenURL: "https://partner.test/token", Store: s}
	bad := []string{
		"-secret",
		key[:8],
		key[24:],
		"48 49 50 51",
		"30 31 32 33",
		"30313233",
		"0x30, 0x31",
		"0x30313233",
		"0x33323130",
	}
	for at := 0; at < len(key); at += 4 { // as the round keys of the cipher hold it
		word := []byte(key[at : at+4])
		for _, n := range []uint32{binary.BigEndian.Uint32(word), binary.LittleEndian.Uint32(word)} {
			bad = append(bad, fmt.Sprint(n), fmt.Sprintf("%x", n))
		}
	}
	for name, v := range map[string]any{
		"pointer": s, "value": *s, "within": struct{ S *oauth.FileStore }{s},
		"hidden": struct{ s oauth.Store }{s}, "config": cfg, "app": o, "credential": o.RefreshToken("acme"),
	} {
		text := testkit.Verbs(v) + fmt.Sprintf("%o %X %U %c %e %b", v, v, v, v, v, v)
		for _, b := range bad {
			require.NotContains(t, text, b, name)
		}
	}
	require.NotContains(t, fmt.Sprint(errors.Unwrap(keep(t.Context(), s, "acme", oauth.Token{}))), key)
}

func fileStore(t *testing.T, dir string) *oauth.FileStore {
	t.Helper()
	s, err := oauth.NewFileStore(dir, belay.NewSecret(strings.Repeat("k", 32)))
	require.NoError(t, err)
	return s
}

// A token's file holds it whole, encrypted, for its owner alone; another key or a torn file is a clear error,
// and the file stays.
func TestFileStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := fileStore(t, dir)
	none, err := s.Load(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, none.Access.Reveal())
	want := oauth.Token{
		Access:   belay.NewSecret("access-secret"),
		Refresh:  belay.NewSecret("refresh-secret"),
		Type:     "MAC",
		Obtained: time.Now().Round(0),
		Expiry:   time.Now().Add(time.Hour).Round(0),
	}
	_, err = s.Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return want, nil })
	require.NoError(t, err)
	got, err := fileStore(t, dir).Load(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(
		t,
		[]string{"access-secret", "refresh-secret", "MAC"},
		[]string{got.Access.Reveal(), got.Refresh.Reveal(), got.Type},
	)
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
	other, err := oauth.NewFileStore(dir, belay.NewSecret(strings.Repeat("x", 32)))
	require.NoError(t, err)
	_, err = other.Load(t.Context(), "acme")
	require.ErrorIs(t, err, oauth.ErrUnreadable)
	for _, torn := range [][]byte{
		nil, data[:5], data[:20], data[:len(data)-1], append([]byte("x"), data...), []byte(strings.Repeat("z", 2<<20)),
	} {
		require.NoError(t, os.WriteFile(files[0], torn, 0o600))
		_, err = s.Update(t.Context(), "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return want, nil })
		require.ErrorIs(t, err, oauth.ErrUnreadable)
		left, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, len(torn), len(left), "untouched")
	}
	// A file under another integration's name is not its token.
	require.NoError(t, os.WriteFile(files[0], data, 0o600))
	_, err = s.Update(t.Context(), "other", func(context.Context, oauth.Token) (oauth.Token, error) { return want, nil })
	require.NoError(t, err)
	all, err := filepath.Glob(filepath.Join(dir, "*.token"))
	require.NoError(t, err)
	for _, f := range all {
		if f != files[0] {
			require.NoError(t, os.WriteFile(f, data, 0o600))
		}
	}
	_, err = s.Load(t.Context(), "other")
	require.ErrorIs(t, err, oauth.ErrUnreadable)
	// An error of the function leaves it as it is, and so does a context that ends while another holds the lock.
	_, err = s.Update(
		t.Context(),
		"acme",
		func(context.Context, oauth.Token) (oauth.Token, error) { return want, errors.New("mine") },
	)
	require.ErrorContains(t, err, "mine")
	_, err = s.Update(t.Context(), "acme", func(ctx context.Context, _ oauth.Token) (oauth.Token, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := fileStore(
			t,
			dir,
		).Update(ctx, "acme", func(context.Context, oauth.Token) (oauth.Token, error) { return want, nil })
		return want, err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for _, bad := range []string{"", "short", strings.Repeat("k", 33)} {
		_, err := oauth.NewFileStore(dir, belay.NewSecret(bad))
		require.ErrorIs(t, err, belay.ErrInvalid)
	}
	_, err = oauth.NewFileStore("", belay.NewSecret(strings.Repeat("k", 32)))
	require.ErrorIs(t, err, belay.ErrInvalid)
}

// TestStoreChild is not a test: it is the process that TestStoreKilled starts and kills. It writes tokens one
// after the other.
func TestStoreChild(t *testing.T) {
	dir := os.Getenv("BELAY_STORE_CHILD")
	if dir == "" {
		t.Skip("run by TestStoreKilled")
	}
	s := fileStore(t, dir)
	for {
		_, err := s.Update(t.Context(), "acme", func(_ context.Context, have oauth.Token) (oauth.Token, error) {
			n := len(have.Access.Reveal()) % 5000
			value := strings.Repeat("a", n+1)
			return oauth.Token{Access: belay.NewSecret(value), Refresh: belay.NewSecret(value)}, nil
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
		got, err := s.Update(
			t.Context(),
			"acme",
			func(_ context.Context, have oauth.Token) (oauth.Token, error) { return have, nil },
		)
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
		m := oauth.NewMemoryStore()
		n := 0
		failed := testkit.Work(50, 50, func(int) error {
			_, err := m.Update(t.Context(), "a", func(_ context.Context, have oauth.Token) (oauth.Token, error) {
				was := n
				time.Sleep(time.Millisecond)
				n = was + 1
				return have, nil
			})
			return err
		})
		require.Empty(t, failed)
		require.Equal(t, 50, n)
		_, err := m.Update(t.Context(), "a", func(ctx context.Context, have oauth.Token) (oauth.Token, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return m.Update(ctx, "a", func(context.Context, oauth.Token) (oauth.Token, error) { return have, nil })
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
