//go:build race

package testkit

// RaceEnabled reports whether the race detector is on. The race detector allocates memory.
const RaceEnabled = true
