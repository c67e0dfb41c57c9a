//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package oauth

import (
	"errors"
	"os"
)

const canLock = false

func tryLock(*os.File) (bool, error) { return false, errors.New("no lock on this platform") }
