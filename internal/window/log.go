package window

import "time"

// Log remembers when permits were last taken, and by which holder, so that limits can be inferred. Permits of
// one holder that follow each other closely share one entry. It holds the last few thousand entries.
type Log struct {
	last entry // not in the ring yet, so that permits taken one after the other touch little memory
	next int64 // the number of last
	ring []entry
}

// Holder is who took permits: a credential and an origin, by their numbers, which never clash. Zero is none.
type Holder struct{ Credential, Origin uint64 }

type entry struct {
	at     time.Duration // time of its first permit
	holder Holder        // the holder
	n      int           // permits
}

const (
	logged   = 4096                   // most entries in the ring
	crowd    = 64                     // permits in an entry, after which another begins
	dear     = 1024                   // most permits recorded for one call
	together = 500 * time.Microsecond // longest time between the first and the last permit of an entry
)

// Note records n permits of holder, and returns a mark above zero that identifies them.
func (l *Log) Note(now time.Duration, holder Holder, n int) (mark int64) {
	if l.last.holder != holder || now-l.last.at >= together || l.last.n == 0 || l.last.n >= crowd {
		l.push()
		l.last = entry{at: now, holder: holder}
	}
	l.last.n += min(n, dear)
	return l.next + 1
}

// push puts last into the ring.
func (l *Log) push() {
	if l.last.n == 0 {
		return
	}
	if int(l.next) == len(l.ring) && l.next < logged {
		l.ring = append(l.ring, entry{})
	}
	l.ring[l.next%logged] = l.last
	l.next++
}

// Gone removes n permits that the partner did not count.
func (l *Log) Gone(mark int64, n int) {
	switch i := mark - 1; {
	case i == l.next:
		l.last.n = max(0, l.last.n-n)
	case i >= l.next-logged && i >= 0 && i < l.next:
		e := &l.ring[i%logged]
		e.n = max(0, e.n-n)
	}
}

// Since appends to the slice to, in order, the times after since at which permits were taken with the credential or for
// the origin of that number. A number of 0 means all. Whole is false if the log may have forgotten some of these
// permits.
func (l *Log) Since(number uint64, since time.Duration, to []time.Duration) (at []time.Duration, whole bool) {
	first := max(0, l.next-logged)
	i := l.next
	for ; i > first; i-- {
		if l.ring[(i-1)%logged].at <= since {
			break
		}
	}
	whole = i > first || first == 0
	add := func(e entry) {
		for range e.n {
			if e.at > since && (number == 0 || e.holder.Credential == number || e.holder.Origin == number) {
				to = append(to, e.at)
			}
		}
	}
	for ; i < l.next; i++ {
		add(l.ring[i%logged])
	}
	add(l.last)
	return to, whole
}
