package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/belay-go/belay"
	"github.com/belay-go/belay/internal/errkit"
)

// FileStore keeps each integration's token in a file of its own, encrypted (AES-256-GCM), with mode 0600. The
// processes of one machine may share its directory: an Update holds a lock between them. A new token is on
// the disk in full before it is used; until then, the old token stays there. It is safe for concurrent use.
// If the platform has no such lock (for example Windows), [NewFileStore] returns an error.
type FileStore struct {
	dir  string
	seal *Sealer
	at   func(step string) // a test's hook for each step of a write; nil otherwise
}

// ErrUnreadable means that a token's file cannot be read: it was written with another key, or is damaged. The
// file is left as it is.
var ErrUnreadable = errors.New("belay: token file unreadable")

const (
	maxFile     = 1 << 20
	lockRecheck = 5 * time.Millisecond
)

// NewFileStore returns a store in dir, which is created with mode 0700 if it is missing. It is an error if
// everybody can write to dir. The key is 32 bytes, from the place where the process keeps its secrets.
func NewFileStore(dir string, key belay.Secret) (*FileStore, error) {
	if dir == "" {
		return nil, errkit.Invalidf("NewFileStore: the directory is empty")
	}
	if n := len(key.Reveal()); n != 32 {
		return nil, errkit.Invalidf("NewFileStore: the key has %d bytes, must be 32", n)
	}
	if !canLock {
		return nil, errkit.Invalidf("NewFileStore: this platform has no lock between processes that ends with its holder")
	}
	seal, err := NewSealer(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errkit.Invalidf("NewFileStore: %w", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o002 != 0 {
		return nil, errkit.Invalidf("NewFileStore: everybody can write to %s", dir)
	}
	return &FileStore{dir: dir, seal: seal}, nil
}

// Format prints the directory alone, for any verb.
func (s FileStore) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "FileStore{%s}", s.dir) }

// path returns the file of a key. The file's name is a hash, because the key may be a customer's name.
func (s *FileStore) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".token")
}

// Load implements Store. It takes no lock, because files are replaced whole.
func (s *FileStore) Load(_ context.Context, key string) (Token, error) {
	f, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	}
	if err != nil {
		return Token{}, fmt.Errorf("reading a token: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("reading a token: %w", err)
	case len(data) > maxFile:
		return Token{}, fmt.Errorf("%w: %s: above %d bytes", ErrUnreadable, f.Name(), maxFile)
	}
	t, err := s.seal.open(key, data)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrUnreadable, f.Name(), err)
	}
	return t, err
}

// Update implements Store.
func (s *FileStore) Update(
	ctx context.Context, key string, f func(context.Context, Token) (Token, error),
) (Token, error) {
	unlock, err := s.lock(ctx, key)
	if err != nil {
		return Token{}, err
	}
	defer unlock()
	have, err := s.Load(ctx, key)
	if err != nil {
		return Token{}, err
	}
	t, err := f(ctx, have)
	if err != nil {
		return Token{}, err
	}
	if have.equal(t) {
		return t, nil
	}
	return t, s.write(key, t)
}

// lock waits for the lock of a key, which ends with this process at the latest.
func (s *FileStore) lock(ctx context.Context, key string) (unlock func(), err error) {
	path := s.path(key) + ".lock"
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("locking a token: %w", err)
		}
		ok, err := tryLock(f)
		if ok && still(f, path) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("locking a token: %w", err)
		}
		if err := errkit.Sleep(ctx, lockRecheck); err != nil {
			return nil, fmt.Errorf("locking a token: %w", err)
		}
	}
}

// still reports whether f is still the file at path. A cleanup may have removed it.
func still(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func (s *FileStore) write(key string, t Token) error {
	s.reached("answered")
	if t.empty() {
		if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a token: %w", err)
		}
		return syncDir(s.dir)
	}
	data, err := s.seal.Seal(key, t)
	if err != nil {
		return err
	}
	path := s.path(key)
	// The name of the new file is always the same. The lock is held, so an existing file was left by a process
	// that was killed.
	err = s.writeFile(path+".new", data)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		s.reached("renamed")
		err = syncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("writing a token: %w", err)
	}
	s.reached("saved")
	return nil
}

func (s *FileStore) reached(step string) {
	if s.at != nil {
		s.at(step)
	}
}

func (s *FileStore) writeFile(path string, data []byte) error {
	// An existing file is not reused, because another user may have chosen its mode and its place.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.reached("created")
	_, err = f.Write(data)
	s.reached("written")
	err = errors.Join(err, f.Sync(), f.Close())
	s.reached("synced")
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// reveal returns the texts of secrets; nil for none.
func reveal(secrets map[string]belay.Secret) map[string]string {
	if len(secrets) == 0 {
		return nil
	}
	out := make(map[string]string, len(secrets))
	for name, s := range secrets {
		out[name] = s.Reveal()
	}
	return out
}

// conceal returns texts as secrets; nil for none.
func conceal(texts map[string]string) map[string]belay.Secret {
	if len(texts) == 0 {
		return nil
	}
	out := make(map[string]belay.Secret, len(texts))
	for name, text := range texts {
		out[name] = belay.NewSecret(text)
	}
	return out
}

// equal reports whether t and o are the same, so that there is nothing to write.
func (t Token) equal(o Token) bool {
	return t.same(o) && t.Refresh.Reveal() == o.Refresh.Reveal() && t.Type == o.Type &&
		t.Obtained.Equal(o.Obtained) && t.Expiry.Equal(o.Expiry) && maps.Equal(reveal(t.Extra), reveal(o.Extra))
}
