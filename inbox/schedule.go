package inbox

import (
	"container/heap"
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
}

// keyLine holds those behind the first of a key.
type keyLine struct{ behind []*job }

func newSchedule() schedule {
	return schedule{keys: make(map[string]*keyLine), all: make(map[uint64]*job)}
}

// add puts a job in its place.
func (s *schedule) add(j *job) {
	s.all[j.seq] = j
	if j.key != "" {
		if line := s.keys[j.key]; line != nil {
			line.behind = append(line.behind, j)
			return
		}
		s.keys[j.key] = &keyLine{}
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
	return heap.Pop(&s.due).(*job), 0
}

// again puts a job that was taken back, to wait until it is due.
func (s *schedule) again(j *job) { heap.Push(&s.due, j) }

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
	heap.Push(&s.due, line.behind[0])
	line.behind[0] = nil
	line.behind = line.behind[1:]
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
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(*job)) }

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return j
}
