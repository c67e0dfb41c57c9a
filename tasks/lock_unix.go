//go:build unix

package tasks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// ErrLocked means that another process works on the SQLite file. Its text says which one.
var ErrLocked = errors.New("another process works on the file")

// lockFile holds a file until the function that it returns is called, or the process ends: alone, or with others that
// share it. The file says who holds it.
func lockFile(path string, shared bool) (unlock func(), err error) {
	how, me := syscall.LOCK_EX, fmt.Sprintf("process %d\n", os.Getpid())
	if shared {
		how, me = syscall.LOCK_SH, "processes with Config.Shared\n"
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 200))
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is held by %s", ErrLocked, path, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	_, _ = f.WriteAt([]byte(me), 0)
	_ = f.Truncate(int64(len(me)))
	return func() { _ = f.Close() }, nil
}
