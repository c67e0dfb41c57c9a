package errbody

import (
	"maps"
	"slices"
	"time"
)

// Tables are the tables by which bodies are understood, for the page that lists them.
type Tables struct {
	Seconds, Millis, Times []string // fields that hold a wait or a time
	LimitCodes, LimitTexts []string
	EndedCodes, InUseCodes []string
}

// Known returns the tables.
func Known() (t Tables) {
	for _, name := range slices.Sorted(maps.Keys(waitFields)) {
		if waitFields[name] == time.Second {
			t.Seconds = append(t.Seconds, name)
		} else {
			t.Millis = append(t.Millis, name)
		}
	}
	t.Times = slices.Sorted(maps.Keys(resetFields))
	t.LimitCodes, t.LimitTexts = slices.Sorted(maps.Keys(limitCodes)), limitTexts[:]
	t.EndedCodes, t.InUseCodes = slices.Sorted(maps.Keys(endedCodes)), slices.Sorted(maps.Keys(inUseCodes))
	return t
}
