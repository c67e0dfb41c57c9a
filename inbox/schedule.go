package inbox

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// schedule knows which events wait, and which of them is due first. Of one key only the first is in the heap, or at work; the
// others stand behind it. It holds no bodies.
type schedule struct {
	due  heap.Heap[*job]
	keys map[string]*keyQueue
	all  map[uint64]*job // pending, those at work too
}

// job is a pending item.
type job struct {
	heap.Place
	seq      uint64
	key      string
	due      time.Time
	received time.Time
	attempts int

	revived bool // it was replayed while its last attempt was noted
}

// Before orders jobs by when they are due, and then by their place in the store.
func (j *job) Before(o *job) bool {
	if !j.due.Equal(o.due) {
		return j.due.Before(o.due)
	}
	return j.seq < o.seq
}

// keyLine is the first of a key and those behind it, in order of Seq.
type keyQueue struct {
	first  *job
	taken  bool // the first is at work
	behind []*job
}

func newSchedule() schedule {
	return schedule{keys: make(map[string]*keyQueue), all: make(map[uint64]*job)}
}

// add puts a job in its place: by Seq within its key, although those that were stored at the same time may come in any order.
func (s *schedule) add(j *job) {
	s.all[j.seq] = j
	line := s.keys[j.key]
	switch {
	case j.key == "":
	case line == nil:
		s.keys[j.key] = &keyQueue{first: j}
	case j.seq < line.first.seq && !line.taken && line.first.attempts == 0:
		s.due.Remove(line.first)
		line.behind = slices.Insert(line.behind, 0, line.first)
		line.first = j
	default:
		at := len(line.behind)
		for at > 0 && line.behind[at-1].seq > j.seq {
			at--
		}
		line.behind = slices.Insert(line.behind, at, j)
		return
	}
	s.due.Push(j)
}

// next takes the job that is due, or returns how long until one is; a negative wait means that none waits.
func (s *schedule) next(now time.Time, all bool) (*job, time.Duration) {
	if s.due.Len() == 0 {
		return nil, -1
	}
	if wait := s.due.First().due.Sub(now); wait > 0 && !all {
		return nil, wait
	}
	j := s.due.Pop()
	if j.revived = false; j.key != "" {
		s.keys[j.key].taken = true
	}
	return j, 0
}

// again puts a job that was taken back, to wait until it is due.
func (s *schedule) again(j *job) {
	if j.key != "" {
		s.keys[j.key].taken = false
	}
	s.due.Push(j)
}

// done forgets a job that was taken, and lets the next of its key come.
func (s *schedule) done(j *job) {
	delete(s.all, j.seq)
	if j.key == "" {
		return
	}
	line := s.keys[j.key]
	if len(line.behind) == 0 {
		delete(s.keys, j.key)
		return
	}
	line.first, line.taken = line.behind[0], false
	line.behind[0] = nil
	line.behind = line.behind[1:]
	s.due.Push(line.first)
}

// oldest returns when the longest waiting was received, zero when none waits.
func (s *schedule) oldest() (t time.Time) {
	for _, j := range s.all {
		if t.IsZero() || j.received.Before(t) {
			t = j.received
		}
	}
	return t
}
