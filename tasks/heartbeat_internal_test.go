package tasks

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A process is dead when its sign has not changed for long enough by the time that passes here, whatever the clock of
// the database does, and not because this process did not look.
func TestJudge(t *testing.T) {
	t.Parallel()
	const dead = 8 * time.Second
	for _, row := range []struct {
		name  string
		sign  func(at time.Duration) int64 // of the other process, by the database's clock
		looks func(i int) time.Duration    // between two looks
		judge time.Duration                // when it is first judged dead; negative for never within a minute
	}{
		{"it lives", func(at time.Duration) int64 { return 2 * int64(at/(2*time.Second)) }, nil, -1},
		{"it has died long ago", func(time.Duration) int64 { return -1e9 }, nil, dead},
		{"it has died, and its clock was ahead", func(time.Duration) int64 { return 1e15 }, nil, dead},
		{"it dies", func(at time.Duration) int64 { return int64(min(at, 10*time.Second) / (2 * time.Second)) }, nil, 18 * time.Second},
		{"its clock jumps back and forth", func(at time.Duration) int64 { return int64(at/(2*time.Second)) % 3 * 3600_000 }, nil, -1},
		{"nobody looked for a minute", func(time.Duration) int64 { return 1 }, func(int) time.Duration { return 20 * time.Second }, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h heartbeat
				began := time.Now()
				for i := 0; time.Since(began) <= time.Minute; i++ {
					at := time.Since(began)
					ids := h.judge(map[string]int64{"other": row.sign(at)}, time.Now(), dead)
					if slices.Contains(ids, "other") {
						if at != row.judge {
							t.Errorf("dead after %s, wanted %s", at, row.judge)
						}
						return
					}
					step := 2 * time.Second
					if row.looks != nil {
						step = row.looks(i)
					}
					time.Sleep(step)
				}
				if row.judge >= 0 {
					t.Errorf("never dead, wanted after %s", row.judge)
				}
			})
		})
	}
}
