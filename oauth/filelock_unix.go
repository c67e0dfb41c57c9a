//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package oauth

import (
	"errors"
	"os"
	"syscall"
)

// canLock is true: this platform has flock(2).
const canLock = true

// tryLock takes the lock of an open file by flock(2), without waiting, and reports whether it did. The lock
// belongs to this opening of the file. It ends when that is closed, which the kernel does when the process
// ends.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return false, err
		}
	}
}
