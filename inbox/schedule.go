package inbox

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// schedule orders the pending jobs by due time. Of each key only the first job is in the heap or being
// handled; the others wait behind it. It holds no bodies.
type schedule struct {
	due  heap.Heap[*job]
	keys map[string]*keyQueue
	all  map[uint64]*job // every pending job, by Seq, including those being handled
}

// job is a pending item.
type job struct {
	heap.Place
	seq      uint64
	key      string
	due      time.Time
	received time.Time
	attempts int

	revived bool // replayed while its last result was being recorded
}

// Before orders jobs by due time, and jobs with the same due time by Seq.
func (j *job) Before(o *job) bool {
	if !j.due.Equal(o.due) {
		return j.due.Before(o.due)
	}
	return j.seq < o.seq
}

// keyQueue holds the first job of a key and the jobs behind it, in order of Seq.
type keyQueue struct {
	first  *job
	taken  bool // first is being handled
	behind []*job
}

func newSchedule() schedule {
	return schedule{keys: make(map[string]*keyQueue), all: make(map[uint64]*job)}
}

// add inserts a job, by Seq within its key, because jobs that were stored at the same time may be added in
// any order.
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

// next takes the first job if it is due or if all is true. Otherwise it returns the time until the first job
// is due; a negative time means that no job waits.
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

// again returns a taken job to the heap, to wait until it is due.
func (s *schedule) again(j *job) {
	if j.key != "" {
		s.keys[j.key].taken = false
	}
	s.due.Push(j)
}

// done removes a taken job, and moves the next job of its key into the heap.
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

// oldest returns the earliest time of arrival among the pending jobs, or the zero time if there are none.
func (s *schedule) oldest() (t time.Time) {
	for _, j := range s.all {
		if t.IsZero() || j.received.Before(t) {
			t = j.received
		}
	}
	return t
}
