package inbox

import (
	"slices"
	"time"

	"github.com/belay-go/belay/internal/heap"
)

// schedule decides which pending job is next. Partners take turns, and so do the integrations of a partner; the jobs
// of one integration go by due time. Each partner and each integration has a bound on its jobs at work, so that slow
// events of one leave workers to the others. Of each key only the first job takes part; the others wait behind it.
// It holds no bodies.
type schedule struct {
	perPartner, perIntegration int // bounds on the jobs at work

	all      map[uint64]*job // every pending job, by Seq, including those being handled
	keys     map[string]*keyQueue
	lanes    map[sender]*lane
	partners map[string]*partnerQueue
	timed    heap.Heap[*lane]         // lanes whose first job is not due, or that rest
	turns    heap.Heap[*partnerQueue] // partners that have a ready lane and are below their bound
	turn     uint64                   // the last turn that was given
	drain    bool                     // due times and rests do not count any more
}

// sender is the integration that an event comes from.
type sender struct{ partner, integration string }

// job is a pending item.
type job struct {
	heap.Place
	term     *term
	from     sender
	seq      uint64
	key      string
	due      time.Time
	received time.Time
	attempts int
	deferred int // attempts in a row that were refused, and did not count

	revived   bool      // replayed while its last result was being recorded
	revivedAt time.Time // when it was last replayed; zero for never
}

// Before orders jobs by due time, and jobs with the same due time by Seq.
func (j *job) Before(o *job) bool {
	if !j.due.Equal(o.due) {
		return j.due.Before(o.due)
	}
	return j.seq < o.seq
}

// partnerQueue holds the lanes of one partner.
type partnerQueue struct {
	heap.Place // in schedule.turns
	ready      heap.Heap[*lane]
	lanes      int
	working    int
	turn       uint64 // its last one
}

// Before orders partners by turn.
func (p *partnerQueue) Before(o *partnerQueue) bool { return p.turn < o.turn }

// lane holds the jobs of one integration.
type lane struct {
	heap.Place // in schedule.timed, or in partnerQueue.ready
	from       sender
	of         *partnerQueue
	due        heap.Heap[*job]
	working    int
	turn       uint64 // its last one
	ready      bool
	at         time.Time // if it is not ready: when it will be
	rest       time.Time // nothing is handled before that
	refused    int       // attempts in a row that were refused
	failed     int       // attempts in a row that failed or were refused
}

// Before orders lanes that are ready by turn, and others by time.
func (l *lane) Before(o *lane) bool {
	if l.ready {
		return l.turn < o.turn
	}
	return l.at.Before(o.at)
}

// refusals is the number of refusals in a row after which a whole integration rests, and of failures of any kind after
// which it has one event at work at a time.
const refusals = 2

// keyQueue holds the first job of a key and the jobs behind it, in order of Seq.
type keyQueue struct {
	first  *job
	taken  bool // first is being handled
	behind []*job
}

func newSchedule(perPartner, perIntegration int) schedule {
	return schedule{
		perPartner: perPartner, perIntegration: perIntegration, keys: make(map[string]*keyQueue),
		all: make(map[uint64]*job), lanes: make(map[sender]*lane), partners: make(map[string]*partnerQueue),
	}
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
		l := s.laneOf(line.first)
		l.due.Remove(line.first)
		s.place(l)
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
	s.push(j)
}

// push lets j take part in the turns.
func (s *schedule) push(j *job) {
	l := s.laneOf(j)
	l.due.Push(j)
	s.place(l)
}

// laneOf returns the lane of j, and creates it if necessary.
func (s *schedule) laneOf(j *job) *lane {
	l := s.lanes[j.from]
	if l == nil {
		p := s.partners[j.from.partner]
		if p == nil {
			p = new(partnerQueue)
			s.partners[j.from.partner] = p
		}
		p.lanes++
		l = &lane{from: j.from, of: p}
		s.lanes[j.from] = l
	}
	return l
}

// place moves a lane to where it belongs after a change, and its partner too.
func (s *schedule) place(l *lane) {
	p := l.of
	if l.Placed() {
		if l.ready {
			p.ready.Remove(l)
		} else {
			s.timed.Remove(l)
		}
	}
	bound := s.perIntegration
	if l.failed >= refusals {
		bound = 1
	}
	switch {
	case l.due.Len() == 0 && l.working == 0:
		delete(s.lanes, l.from)
		if p.lanes--; p.lanes == 0 {
			delete(s.partners, l.from.partner)
		}
	case l.due.Len() == 0 || l.working >= bound:
	default:
		if l.at = l.due.First().due; l.rest.After(l.at) {
			l.at = l.rest
		}
		l.ready = false
		s.timed.Push(l)
	}
	s.placePartner(p)
}

func (s *schedule) placePartner(p *partnerQueue) {
	switch fits := p.ready.Len() > 0 && p.working < s.perPartner; {
	case fits && p.Placed():
		s.turns.Fix(p)
	case fits:
		s.turns.Push(p)
	case p.Placed():
		s.turns.Remove(p)
	}
}

// next takes the job whose turn it is. If none is due, it returns the time until one is; a negative time means that
// there is none, or that one must end first.
func (s *schedule) next(now time.Time, drain bool) (*job, time.Duration) {
	s.drain = drain
	for s.timed.Len() > 0 && (s.drain || !s.timed.First().at.After(now)) {
		l := s.timed.Pop()
		l.ready = true
		l.of.ready.Push(l)
		s.placePartner(l.of)
	}
	if s.turns.Len() == 0 {
		if s.timed.Len() == 0 {
			return nil, -1
		}
		return nil, s.timed.First().at.Sub(now)
	}
	p := s.turns.First()
	l := p.ready.First()
	j := l.due.Pop()
	s.turn++
	p.turn, l.turn = s.turn, s.turn
	p.working++
	l.working++
	s.place(l)
	if j.revived = false; j.key != "" {
		s.keys[j.key].taken = true
	}
	return j, 0
}

// end takes note that j is at work no more.
func (s *schedule) end(j *job) {
	l := s.lanes[j.from]
	l.working--
	l.of.working--
	s.place(l)
}

// again returns a taken job, to wait until it is due.
func (s *schedule) again(j *job) {
	if j.key != "" {
		s.keys[j.key].taken = false
	}
	s.laneOf(j).due.Push(j)
	s.end(j)
}

// refused takes note that an attempt of a taken job was refused, until the given time. If that happens time and
// again, the whole integration rests until then.
func (s *schedule) refused(j *job, until time.Time) {
	l := s.lanes[j.from]
	j.deferred++
	l.failed++
	if l.refused++; l.refused >= refusals {
		l.rest = until
	}
}

// accepted takes note that an attempt of a taken job was not refused, and whether it failed.
func (s *schedule) accepted(j *job, failed bool) {
	l := s.lanes[j.from]
	j.deferred = 0
	if l.refused, l.rest = 0, (time.Time{}); failed {
		l.failed++
	} else {
		l.failed = 0
	}
}

// rests makes the integration of a taken job rest until the given time.
func (s *schedule) rests(j *job, until time.Time) { s.lanes[j.from].rest = until }

// done removes a taken job, and lets the next job of its key take part.
func (s *schedule) done(j *job) {
	delete(s.all, j.seq)
	s.end(j)
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
	s.push(line.first)
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
