//go:build race

package belay_test

const raceEnabled = true
