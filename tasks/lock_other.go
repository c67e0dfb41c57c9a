//go:build !unix

package tasks

import "errors"

// ErrLocked means that another process works on the SQLite file.
var ErrLocked = errors.New("another process works on the file")

func lockFile(_ string, shared bool) (func(), error) {
	if shared {
		return func() {}, nil
	}
	return nil, errors.New("this platform has no lock of a file that ends with its process: set Config.Shared")
}
