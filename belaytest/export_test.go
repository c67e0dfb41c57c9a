package belaytest

import (
	"sync/atomic"
	"testing"
)

// CI says whether tests of this package are to find that CI is set.
var CI atomic.Bool

func init() { inCI = CI.Load }

// RunCheck runs one check of Conformance.
func RunCheck(t testing.TB, name string, s Subject) {
	for _, c := range checks {
		if c.name == name {
			c.run(t, &s)
		}
	}
}

// Checks are the names of the checks of Conformance.
func Checks() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}
