package belay

import (
	"sync/atomic"
	"time"
)

// recent counts the outcomes of the last minutes, one slot a minute. It is made with the first outcome, because
// thousands of clients have none. Two outcomes at the turn of a minute may be counted in either, and one of them may be
// lost.
type recent struct{ slots [recentMinutes]recentSlot }

type recentSlot struct {
	minute     atomic.Int64
	ok, failed atomic.Uint32
	relapses   atomic.Uint32 // failures that followed a success
}

const recentMinutes = 5

// note counts an outcome at a time in nanoseconds since 1970. A relapse is a failure that follows a success.
func (o *outcomes) note(at int64, failed, relapse bool) {
	r := o.recent.Load()
	if r == nil {
		o.recent.CompareAndSwap(nil, new(recent))
		r = o.recent.Load()
	}
	minute := at / int64(time.Minute)
	s := &r.slots[minute%recentMinutes]
	if have := s.minute.Load(); have != minute && s.minute.CompareAndSwap(have, minute) {
		s.ok.Store(0)
		s.failed.Store(0)
		s.relapses.Store(0)
	}
	if failed {
		if s.failed.Add(1); relapse {
			s.relapses.Add(1)
		}
	} else {
		s.ok.Add(1)
	}
}

// counts returns the attempts of the last minutes, how many of them failed, and how often a failure followed a success.
func (o *outcomes) counts() (attempts, failed, relapses int) {
	r := o.recent.Load()
	if r == nil {
		return 0, 0, 0
	}
	now := time.Now().UnixNano() / int64(time.Minute)
	for i := range r.slots {
		if s := &r.slots[i]; s.minute.Load() > now-recentMinutes {
			n := int(s.failed.Load())
			attempts, failed = attempts+int(s.ok.Load())+n, failed+n
			relapses += int(s.relapses.Load())
		}
	}
	return attempts, failed, relapses
}
