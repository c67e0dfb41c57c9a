package inbox

import (
	"container/heap"
	"slices"
	"time"
)

// schedule knows which events wait, and which of them is due first. Of one key only the first is in the heap, or at work; the
// others stand behind it. It holds no bodies.
type schedule struct {
	due  dueHeap
	keys map[string]*keyLine
	all  map[uint64]*job // pending, those at work too
}

// job is a pending item.
type job struct {
	seq      uint64
	key      string
	due      time.Time
	received time.Time
	attempts int

	at      int  // its place in the heap
	revived bool // it was replayed while its last attempt was noted
}

// keyLine is the first of a key and those behind it, in order of Seq.
type keyLine struct {
	first  *job
	taken  bool // the first is at work
	behind []*job
}

func newSchedule() schedule {
	return schedule{keys: make(map[string]*keyLine), all: make(map[uint64]*job)}
}

// add puts a job in its place: by Seq within its key, although those that were stored at the same time may come in any order.
func (s *schedule) add(j *job) {
	s.all[j.seq] = j
	line := s.keys[j.key]
	switch {
	case j.key == "":
	case line == nil:
		s.keys[j.key] = &keyLine{first: j}
	case j.seq < line.first.seq && !line.taken && line.first.attempts == 0:
		heap.Remove(&s.due, line.first.at)
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
	heap.Push(&s.due, j)
}

// next takes the job that is due, or returns how long until one is; a negative wait means that none waits.
func (s *schedule) next(now time.Time, all bool) (*job, time.Duration) {
	if len(s.due) == 0 {
		return nil, -1
	}
	if wait := s.due[0].due.Sub(now); wait > 0 && !all {
		return nil, wait
	}
	j := heap.Pop(&s.due).(*job)
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
	heap.Push(&s.due, j)
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
	heap.Push(&s.due, line.first)
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

type dueHeap []*job

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].seq < h[j].seq
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *dueHeap) Push(x any) {
	j := x.(*job)
	j.at = len(*h)
	*h = append(*h, j)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return j
}
