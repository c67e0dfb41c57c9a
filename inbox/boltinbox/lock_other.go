//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltinbox

import "os"

// lock does nothing where there is no such lock: bbolt takes its own.
func lock(*os.File) (bool, error) { return true, nil }
