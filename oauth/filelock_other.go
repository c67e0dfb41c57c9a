//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package oauth

import (
	"errors"
	"os"
)

// canLock is false: this platform has no lock between processes that ends with its holder.
const canLock = false

func tryLock(*os.File) (bool, error) { return false, errors.New("no lock on this platform") }
