//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package boltinbox

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the lock that bbolt takes, to read, until f is closed. It reports false if another process has it.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
